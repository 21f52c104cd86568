//! The plan of least energy or cost per token, or the fastest one under a cap of power: what other requests
//! would be answered on some sets of devices, with boards limited to some shares of what they may draw, and
//! the best of it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use cost_model::energy::{LEAST_LIMIT, LIMITS, least_watts};
use documents::plan::PlanDocument;
use documents::plan::energy::{EnergyDocument, EnergyPointDocument};
use ir::cluster::Cluster;
use ir::diagnostic::{Blame, Diagnostic};
use planner::run::StopReason;
use planner::run::watch::Tell;
use serde_json::{Value, json};

use super::energy_front;
use crate::answer::energy::{COST, watts};
use crate::answer::exit::{CommandResult, Exit};
use crate::answer::follow::{Files, Follower, Watch};
use crate::answer::page::Page;
use crate::inputs::load;
use crate::inputs::scale;
use crate::request::PlanRequest;
use crate::search::run::{Run, interrupted, late};

/// Most devices that are left out one by one; of more, whole hosts are.
const MOST_SINGLE: usize = 16;
/// So many times what a board draws at its least limit it draws without.
const REACH: f64 = 1.0 / LEAST_LIMIT;
/// How often the share is halved at which a cap is just kept.
const HALVINGS: usize = 4;
/// Most sets of devices that are tried.
const MOST_SETS: usize = 48;
/// Least time that a plan gets, as long as there is some: less finds none.
const LEAST_TIME: Duration = Duration::from_millis(100);
/// Of them, those that are tried with lower limits.
const MOST_LIMITED: usize = 6;

/// Whether a request asks for it.
pub(crate) fn is_asked(request: &PlanRequest) -> bool {
    let is_of_energy = request.objective.is_some_and(|own| own.is_of_energy());
    !request.is_tried && (is_of_energy || request.power_cap.is_some())
}

/// A plan that was tried, with how it was told.
struct Tried {
    without: Vec<String>,
    limit: f64,
    page: Page,
    plan: PlanDocument,
    energy: EnergyDocument,
    bytes: Vec<u8>,
    files: Files,
}

impl Tried {
    /// What is to be least: joules, a price or seconds of a token.
    fn value(&self, request: &PlanRequest) -> f64 {
        match request.objective.filter(|own| own.is_of_energy()) {
            None => self.seconds_per_token(),
            Some(own) if own.name() == COST => self.energy.price_per_token.unwrap_or(f64::MAX),
            Some(_) => self.energy.joules_per_token,
        }
    }

    /// What no plan on its devices is below of it, whatever the limits of boards.
    fn bound(&self, request: &PlanRequest) -> f64 {
        match request.objective.filter(|own| own.is_of_energy()) {
            None => {
                let cost = self.plan.cost.as_ref();
                let least = cost.map_or(0.0, |own| own.bound_ns as f64 / own.minimised_ns() as f64);
                self.seconds_per_token() * least
            }
            Some(own) if own.name() == COST => {
                self.energy.least_price_per_token.unwrap_or_default()
            }
            Some(_) => self.energy.least_joules_per_token,
        }
    }

    fn seconds_per_token(&self) -> f64 {
        self.energy.step_s * self.energy.joules_per_token / self.energy.joules_per_step
    }

    fn keeps_to(&self, cap: Option<f64>) -> bool {
        cap.is_none_or(|cap| self.energy.most_w <= cap)
    }

    fn point(&self) -> EnergyPointDocument {
        let used = self.energy.devices.iter().filter(|own| own.stage.is_some());
        EnergyPointDocument {
            n_devices: used.map(|own| own.n_devices).sum(),
            without: self.without.clone(),
            board_limit: self.limit,
            tokens_per_s: 1.0 / self.seconds_per_token(),
            joules_per_token: self.energy.joules_per_token,
            most_w: self.energy.most_w,
            price_per_token: self.energy.price_per_token,
        }
    }
}

/// Keeps what a plan is written with.
#[derive(Default)]
struct Kept {
    plan: Vec<u8>,
    files: Option<Files>,
}

impl Follower for Kept {
    fn planned(&mut self, plan: Vec<u8>, files: Files) -> Result<Vec<String>, Diagnostic> {
        (self.plan, self.files) = (plan, Some(files));
        Ok(Vec::new())
    }
}

/// What is known before anything is tried.
struct Space {
    sets: Vec<Vec<String>>,
    /// Whether they are all that there are, but for devices that may change places.
    is_whole: bool,
    limits: &'static [f64],
    /// Watts at the wall that no plan draws less than.
    least_w: f64,
}

/// Plans.
///
/// # Errors
/// Those of planning on all devices; `power-cap` where nothing keeps to it.
pub(crate) fn plan(request: &PlanRequest, run: &mut Run<'_>) -> CommandResult {
    let Some(space) = run.read(request, space)? else { return Ok(interrupted(run.page)) };
    let limits = space.limits;
    let end = run.ending(request);
    let mut all = Vec::new();
    let n_limited = (limits.len() - 1) * space.sets.len().min(MOST_LIMITED + 1);
    let sets: Vec<&[String]> = space.sets.iter().map(Vec::as_slice).collect();
    let n_left = |at| sets.len() - at + n_limited;
    let mut none = on_each(request, (&sets, &n_left), &mut all, (&end, run))?;
    if all.is_empty() && none.n_unknown() > 0 {
        // Shares of the time were too short for a first plan: half of what is left may do.
        let Without { first, unknown } = none;
        none = on_each(request, (&unknown, &|_| 1), &mut all, (&end, run))?;
        none.first = none.first.or(first);
    }
    let best = promising(request, &all);
    let mut left = best.len() * (limits.len() - 1);
    for (set, limit) in best.iter().flat_map(|set| limits[1..].iter().map(move |own| (set, *own))) {
        all.extend(tried(request, (set, limit), (left, &end, run)).ok().flatten());
        left -= 1;
    }
    if limits.len() > 1 {
        for set in &best {
            near_cap(request, set, &mut all, (&end, run));
        }
    }
    let keeps = all.iter().any(|own| own.keeps_to(cap(request)));
    if !keeps && run.watch.is_cancelled() {
        return Ok(interrupted(run.page));
    }
    if all.is_empty() {
        return Err(none.told(&space));
    }
    answer(request, (&all, none.n_unknown(), &space), run)
}

/// Plans each device set in its share of the remaining time, one in `n_left + 1` parts; returns the sets without a
/// plan.
///
/// # Errors
/// Usage and input errors of the full device set: no subset can be planned either.
fn on_each<'s>(
    request: &PlanRequest,
    (sets, n_left): (&[&'s [String]], &dyn Fn(usize) -> usize),
    all: &mut Vec<Tried>,
    (end, run): (&Watch, &mut Run<'_>),
) -> Result<Without<'s>, Diagnostic> {
    let mut none = Without::default();
    for (at, set) in sets.iter().enumerate() {
        match tried(request, (set, 1.0), (n_left(at), end, run)) {
            Err(error) if set.is_empty() && matches!(error.blame, Blame::Usage | Blame::Input) => {
                return Err(error);
            }
            Err(error) => none.take(set, error),
            Ok(None) => none.unknown.push(set),
            Ok(own) => all.extend(own),
        }
    }
    Ok(none)
}

/// Sets of devices without a plan.
#[derive(Default)]
struct Without<'s> {
    first: Option<Diagnostic>,
    /// Of them, those of which it is not known whether there is one.
    unknown: Vec<&'s [String]>,
}

impl<'s> Without<'s> {
    fn n_unknown(&self) -> usize {
        self.unknown.len()
    }

    fn take(&mut self, set: &'s [String], error: Diagnostic) {
        let is_proved = error.blame == Blame::Infeasible;
        if !is_proved {
            self.unknown.push(set);
        }
        // What stopped a search comes before what was proved of another set.
        if self.first.as_ref().is_none_or(|own| own.blame == Blame::Infeasible && !is_proved) {
            self.first = Some(error);
        }
    }

    /// Why there is no plan: proved where all sets of devices were searched.
    fn told(self, space: &Space) -> Diagnostic {
        let Some(first) = self.first else { return late() };
        let is_proved = self.unknown.is_empty() && space.is_whole;
        if first.blame != Blame::Infeasible || is_proved {
            return first;
        }
        let message = format!(
            "no plan was found on {} sets of devices; other sets were not searched",
            space.sets.len()
        );
        Diagnostic::error(Blame::NotFound, "no-plan", message)
            .fact("on_all_devices", first.message)
            .hint("leave --power-cap or --objective out, and the answer says what is missing")
    }
}

/// Reads what can be tried.
fn space(request: &PlanRequest) -> Result<Space, Diagnostic> {
    let (sets, is_whole) = sets(request)?;
    // Rates that were measured don't tell what a limit leaves of them.
    let is_measured = is_measured(request)?;
    let limits = if is_measured { &LIMITS[..1] } else { &LIMITS[..] };
    let least_w = match request.problem.cluster.as_deref() {
        Some(path) => least_w(&load::machines(path, (&request.problem.lost, &[]))?.cluster),
        None => 0.0,
    };
    let pue = request.pue.map_or(1.0, |own| own.0);
    Ok(Space { sets, is_whole, limits, least_w: pue * least_w })
}

/// Watts that no plan draws less than: one device that computes, at the least limit of its board.
fn least_w(cluster: &Cluster) -> f64 {
    let used: BTreeSet<_> = cluster.devices.iter().map(|own| own.kind.index()).collect();
    let kinds = used.into_iter().filter_map(|own| cluster.kinds.get(own));
    kinds.map(|own| least_watts(own).unwrap_or(0.0)).fold(f64::INFINITY, f64::min)
}

/// Sets of devices whose plans are best as they are, or near to the cap or under it.
fn promising(request: &PlanRequest, all: &[Tried]) -> Vec<Vec<String>> {
    let mut order: Vec<&Tried> = all.iter().collect();
    let over = |own: &Tried| cap(request).map_or(1.0, |cap| (own.energy.most_w / cap).max(1.0));
    // What draws too much at the least limit comes last, but what draws least is always looked at.
    let key = |own: &Tried| (over(own) > REACH, own.value(request) * over(own));
    order.sort_by(|a, b| {
        let (a, b) = (key(a), key(b));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
    });
    let least = all.iter().min_by(|a, b| a.energy.most_w.total_cmp(&b.energy.most_w));
    let best = order.iter().take(MOST_LIMITED).copied();
    let mut sets: Vec<Vec<String>> = Vec::new();
    for own in least.filter(|_| request.power_cap.is_some()).into_iter().chain(best) {
        if !sets.contains(&own.without) {
            sets.push(own.without.clone());
        }
    }
    sets
}

/// Tries limits between the highest that keeps to the cap and the lowest that does not.
fn near_cap(
    request: &PlanRequest,
    set: &[String],
    all: &mut Vec<Tried>,
    (end, run): (&Watch, &mut Run<'_>),
) {
    if request.power_cap.is_none() {
        return;
    }
    let own = || all.iter().filter(|own| own.without == set);
    let keeps = |own: &Tried| own.keeps_to(cap(request));
    let under = own().filter(|own| keeps(own)).map(|own| own.limit);
    let over = own().filter(|own| !keeps(own)).map(|own| own.limit);
    let (mut low, mut high) = (under.fold(0.0, f64::max), over.fold(1.0, f64::min));
    if low <= 0.0 {
        // Lower limits than the usual ones where all of these are too much.
        let (asked, own) = (request.clone(), set.to_vec());
        let read = end.run(move |_: Tell<()>| least_limit(&asked, &own), &mut |()| {});
        let Some(least) = read.done() else { return };
        let own = tried(request, (set, least), (HALVINGS + 1, end, run)).ok().flatten();
        if own.as_ref().is_some_and(keeps) {
            low = least;
        }
        all.extend(own);
    }
    if low <= 0.0 || low >= high {
        return;
    }
    for _ in 0..HALVINGS {
        // Nobody sets a limit more finely.
        let middle = ((low + high) / 2.0 * 1e4).round() / 1e4;
        let own = tried(request, (set, middle), (HALVINGS, end, run)).ok().flatten();
        if own.as_ref().is_some_and(keeps) {
            low = middle
        } else {
            high = middle
        }
        all.extend(own);
    }
}

/// The least share of what they may draw that boards of a set can be limited to, where files may state less
/// than data sheets.
fn least_limit(request: &PlanRequest, set: &[String]) -> f64 {
    let path = request.problem.cluster.as_deref();
    let machines = path.and_then(|path| load::machines(path, (&request.problem.lost, set)).ok());
    let least = machines.map(|own| scale::least_power(&own.cluster));
    // Rounded up, as limits are stated.
    (least.unwrap_or(LEAST_LIMIT) * 1e4 - 1e-6).ceil() / 1e4
}

/// Watts at the wall that a request caps.
fn cap(request: &PlanRequest) -> Option<f64> {
    request.power_cap.map(ir::units::Watts::get)
}

/// Whether a profile holds rates of a device that is planned on.
///
/// # Errors
/// Those of reading profile and cluster.
fn is_measured(request: &PlanRequest) -> Result<bool, Diagnostic> {
    let own = &request.problem;
    let (Some(profile), Some(cluster)) = (own.profile.as_deref(), own.cluster.as_deref()) else {
        return Ok(false);
    };
    if importers::layers::is_folder(profile) {
        return Ok(true);
    }
    let profile = importers::profile::read(profile)?;
    let cluster = load::machines(cluster, (&own.lost, &[]))?.cluster;
    Ok(cluster.kinds.iter().any(|own| profile.has_measured_rates(&own.name)))
}

/// Tells of the best of all plans that were tried.
fn answer(
    request: &PlanRequest,
    (all, n_unknown, space): (&[Tried], usize, &Space),
    run: &mut Run<'_>,
) -> CommandResult {
    let cap = cap(request);
    let key = |own: &Tried| [own.value(request), own.energy.joules_per_token, own.energy.most_w];
    let by_value = |a: &&Tried, b: &&Tried| key(a).partial_cmp(&key(b)).unwrap_or(Ordering::Equal);
    let Some(best) = all.iter().filter(|own| own.keeps_to(cap)).min_by(by_value) else {
        return Err(over_cap(cap.unwrap_or_default(), all, space));
    };
    let bound = all.iter().map(|own| own.bound(request)).fold(f64::INFINITY, f64::min);
    let kept = all.iter().filter(|own| own.keeps_to(cap));
    let points = energy_front::of(kept.map(Tried::point).collect());
    run.page.append(&best.page, |document| {
        document["energy_front"] = json!(points);
        of_all_sets(document, space.is_whole && n_unknown == 0 && best.value(request) <= bound);
    });
    energy_front::print(&points, run.page);
    let least = all.iter().map(|own| own.limit).fold(1.0, f64::min);
    let is_better = |own: &&Tried| own.value(request) < best.value(request) * (1.0 - 1e-9);
    let free = all.iter().min_by(by_value).filter(is_better);
    let n_sets = [space.sets.len(), n_unknown];
    for line in sentences(request, (best, bound), (all.len(), n_sets, space.limits, free, least)) {
        run.page.line(&line);
    }
    let files = match &best.files {
        Ok(own) => Ok(own.clone()),
        Err(error) => Err(error.clone()),
    };
    let written = run.follower.planned(best.bytes.clone(), files)?;
    written.iter().for_each(|name| run.page.talk(&format!("wrote {name}")));
    Ok(Exit::DONE)
}

/// What was proved of the plan's own devices and limits of boards is not proved of all that were asked for.
fn of_all_sets(document: &mut Value, is_optimum: bool) {
    if is_optimum {
        return;
    }
    if document.get("is_optimum").is_some() {
        document["is_optimum"] = json!(false);
    }
    if document.get("stop_reason").is_some_and(|own| own == StopReason::ProvedOptimal.name()) {
        document["stop_reason"] = json!(StopReason::Finished.name());
    }
}

/// Why no plan keeps to a cap: impossible only below what any device draws that computes.
fn over_cap(cap: f64, all: &[Tried], space: &Space) -> Diagnostic {
    let least = all.iter().map(|own| own.energy.most_w).fold(f64::INFINITY, f64::min);
    let (blame, message) = match cap < space.least_w {
        true => {
            let message = format!(
                "no plan keeps to {}: one device that computes draws at least {}",
                watts(cap),
                watts(space.least_w)
            );
            (Blame::Infeasible, message)
        }
        false => {
            let message = format!(
                "no plan that was tried keeps to {}: the least draws up to {}",
                watts(cap),
                watts(least)
            );
            (Blame::NotFound, message)
        }
    };
    Diagnostic::error(blame, "power-cap", message)
        .fact("power_cap_w", cap)
        .fact("least_w", least)
        .fact("least_possible_w", space.least_w)
        .hint(format!(
            "raise --power-cap to {}, or name devices that draw less",
            (least * 10.0).ceil() / 10.0
        ))
}

/// Plans, sets of devices and those of them without one, limits that could be tried, the best plan without
/// a cap where that is another, and the least limit that was tried.
type Told<'t> = (usize, [usize; 2], &'t [f64], Option<&'t Tried>, f64);

/// What the plan is the best of, how far it may be off, and whether the cap binds.
fn sentences(
    request: &PlanRequest,
    (best, bound): (&Tried, f64),
    (n, [n_sets, n_unknown], limits, free, least): Told<'_>,
) -> Vec<String> {
    let what = match request.objective.filter(|own| own.is_of_energy()) {
        None => "the fastest",
        Some(own) if own.name() == COST => "the least price per token",
        Some(_) => "the least energy per token",
    };
    let of_boards = match (best.limit < 1.0, limits.len() > 1) {
        (true, _) => {
            format!("boards with a known limit are held to {:.0} % of it", 100.0 * best.limit)
        }
        (false, true) => "boards keep their limits".to_owned(),
        (false, false) => "boards keep their limits, at which the profile measured them".to_owned(),
    };
    let at = if least < 1.0 { format!("{:.0} to 100", 100.0 * least) } else { "100".to_owned() };
    let unknown = match n_unknown {
        0 => String::new(),
        n => format!(" ({n} more were not planned in time, and may be better)"),
    };
    let value = best.value(request);
    let gap = match bound > 0.0 {
        true => {
            let gap = 100.0 * (value / bound - 1.0);
            format!("no plan on these sets is more than {gap:.1} % better")
        }
        false if value > 0.0 => "how much better others may be is not known".to_owned(),
        false => "no plan takes less than nothing".to_owned(),
    };
    let known = n_sets - n_unknown;
    let mut told = vec![format!(
        "{what} of {n} plans on {known} sets of devices{unknown}, with boards at {at} % of their \
         limits; {of_boards}; {gap}"
    )];
    if let Some(cap) = request.power_cap {
        told.push(match free {
            None => {
                format!("the cap of {} leaves out no better plan of these", watts(cap.get()))
            }
            Some(free) => format!(
                "the cap of {} binds: without it {:.1} tokens/s at up to {}",
                watts(cap.get()),
                1.0 / free.seconds_per_token(),
                watts(free.energy.most_w)
            ),
        });
    }
    told
}

/// Plans on the devices of a cluster that are not left out, with boards limited to a share; nothing where
/// time is over.
fn tried(
    request: &PlanRequest,
    (without, limit): (&[String], f64),
    (n_left, end, run): (usize, &Watch, &mut Run<'_>),
) -> Result<Option<Tried>, Diagnostic> {
    let now = Instant::now();
    if run.watch.is_cancelled() || end.end.is_some_and(|end| end <= now + LEAST_TIME / 2) {
        return Ok(None);
    }
    let mut own = request.clone();
    own.is_tried = true;
    own.problem.without = without.to_vec();
    own.problem.board_limit = (limit < 1.0).then_some(limit);
    let share = end.end.map(|end| {
        let left = end.saturating_duration_since(now);
        now + (left / (n_left as u32 + 1)).max(LEAST_TIME.min(left))
    });
    let watch = Watch { end: share, ..run.watch.clone() };
    let (page, mut kept) = (run.page.like(), Kept::default());
    let inner = &mut Run {
        start: run.start,
        watch: &watch,
        follower: &mut kept,
        page: &page,
        version: run.version,
    };
    if super::plan(&own, inner)? != Exit::DONE {
        return Ok(None);
    }
    let plan: PlanDocument = match serde_json::from_slice(&kept.plan) {
        Ok(plan) => plan,
        Err(_) => return Ok(None),
    };
    let Some(energy) = plan.energy.clone() else { return Ok(None) };
    let files = kept.files.unwrap_or_else(|| Ok(Vec::new()));
    let without = without.to_vec();
    Ok(Some(Tried { without, limit, page, plan, energy, bytes: kept.plan, files }))
}

/// Sets of devices, each by what is left out of all: whole hosts, or devices where these are few; as many of a
/// sort as powers of two, or all, or none. Also whether that is all sets that differ.
fn sets(request: &PlanRequest) -> Result<(Vec<Vec<String>>, bool), Diagnostic> {
    let Some(path) = request.problem.cluster.as_deref() else {
        return Ok((vec![Vec::new()], false));
    };
    let lost = &request.problem.lost;
    let cluster = load::machines(path, (lost, &[]))?.cluster;
    let mut sorts: BTreeMap<(String, usize), Vec<String>> = BTreeMap::new();
    for (kind, name, n) in units(&cluster) {
        sorts.entry((kind, n)).or_default().push(name);
    }
    let sorts: Vec<Vec<String>> = sorts.into_values().collect();
    let counts = |n: usize, is_few: bool| {
        let powers = (0..).map(|own| 1_usize << own).take_while(|own| *own < n);
        let powers: Vec<usize> = if is_few { Vec::new() } else { powers.collect() };
        powers.into_iter().chain([n, 0])
    };
    let n_all = sorts.iter().fold(1_usize, |n, own| n.saturating_mul(own.len() + 1));
    let n_of =
        |is_few: bool| sorts.iter().map(|own| counts(own.len(), is_few).count()).product::<usize>();
    let is_few = n_of(false) > MOST_SETS;
    let mut sets: Vec<Vec<String>> = vec![Vec::new()];
    for sort in &sorts {
        let grown = sets.iter().flat_map(|set| {
            counts(sort.len(), is_few).map(|used| [set.clone(), sort[used..].to_vec()].concat())
        });
        sets = grown.take(4 * MOST_SETS).collect();
    }
    let n: usize = sorts.iter().map(Vec::len).sum();
    sets.retain(|own| own.len() < n);
    // All of them first: its refusals are those that are told.
    sets.sort_by_key(Vec::len);
    sets.truncate(MOST_SETS);
    let are_alike = cluster.classes.len() == 1 || sorts.iter().all(|own| own.len() == 1);
    let is_whole = cluster.devices.len() == n && are_alike && sets.len() + 1 == n_all;
    Ok((sets, is_whole))
}

/// Hosts, or devices where these are few or of one host, with their kind and number of devices.
fn units(cluster: &Cluster) -> Vec<(String, String, usize)> {
    let kind = |own| cluster.kind_of(own).name.clone();
    let has_hosts = cluster.devices.len() > MOST_SINGLE
        && cluster.nodes.len() > 1
        && cluster.devices.iter().all(|own| own.node.is_some());
    if !has_hosts {
        let device = |(id, own): (_, &ir::cluster::Device)| (kind(id), own.name.clone(), 1);
        return cluster.device_ids().zip(&cluster.devices).map(device).collect();
    }
    let mut hosts: BTreeMap<usize, (String, usize)> = BTreeMap::new();
    for (id, device) in cluster.device_ids().zip(&cluster.devices) {
        let at = device.node.map_or(0, |own| own.index());
        hosts.entry(at).or_insert_with(|| (kind(id), 0)).1 += 1;
    }
    let named = |(at, (kind, n)): (usize, (String, usize))| {
        let name = cluster.nodes.get(at).map_or_else(String::new, |own| own.name.clone());
        (kind, name, n)
    };
    hosts.into_iter().map(named).collect()
}
