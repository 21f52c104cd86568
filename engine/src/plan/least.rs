//! The plan of least energy or cost per token, or the fastest one under a cap of power: what other requests
//! would be answered on some sets of devices, with boards limited to some shares of what they may draw, and
//! the best of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use cost_model::energy::{LEAST_LIMIT, LIMITS, least_watts};
use documents::plan::PlanDocument;
use documents::plan::energy::{EnergyDocument, EnergyPointDocument};
use ir::cluster::Cluster;
use ir::diagnostic::{Blame, Diagnostic};
use planner::power::board_limits::{self, Figures, Nothing, Plans, Tried, best, search};
use planner::run::StopReason;
use planner::run::watch::Tell;
use serde_json::{Value, json};

use super::energy_front;
use crate::answer::energy::{COST, watts};
use crate::answer::exit::{CommandResult, Exit};
use crate::answer::follow::{Files, Follower, Watch};
use crate::answer::page::Page;
use crate::answer::words::rate;
use crate::inputs::load;
use crate::inputs::scale;
use crate::request::PlanRequest;
use crate::search::run::{Run, interrupted, late};

/// Most devices that are left out one by one; of more, whole hosts are.
const MOST_SINGLE: usize = 16;
/// So many times what a board draws at its least limit it draws without.
const REACH: f64 = 1.0 / LEAST_LIMIT;
/// Most sets of devices that are tried.
const MOST_SETS: usize = 48;
/// Least time that a plan gets, as long as there is some: less finds none.
const LEAST_TIME: Duration = Duration::from_millis(100);

/// Whether a request asks for it.
pub(crate) fn is_asked(request: &PlanRequest) -> bool {
    let is_of_energy = request.objective.is_some_and(|objective| objective.is_of_energy());
    is_of_energy || request.power_cap.is_some()
}

/// A plan on a set of devices, with how it was told.
struct Planned {
    without: Vec<String>,
    limit: f64,
    page: Page,
    plan: PlanDocument,
    energy: EnergyDocument,
    bytes: Vec<u8>,
    files: Files,
}

impl Planned {
    /// What is to be least: joules, a price or seconds of a token.
    fn value(&self, request: &PlanRequest) -> f64 {
        match request.objective.filter(|objective| objective.is_of_energy()) {
            None => self.seconds_per_token(),
            Some(objective) if objective.name() == COST => {
                self.energy.price_per_token.unwrap_or(f64::MAX)
            }
            Some(_) => self.energy.joules_per_token,
        }
    }

    /// What no plan on its devices is below of it, whatever the limits of boards.
    fn bound(&self, request: &PlanRequest) -> f64 {
        match request.objective.filter(|objective| objective.is_of_energy()) {
            None => {
                let cost = self.plan.cost.as_ref();
                let least =
                    cost.map_or(0.0, |cost| cost.bound_ns as f64 / cost.minimised_ns() as f64);
                self.seconds_per_token() * least
            }
            Some(objective) if objective.name() == COST => {
                self.energy.least_price_per_token.unwrap_or_default()
            }
            Some(_) => self.energy.least_joules_per_token,
        }
    }

    fn seconds_per_token(&self) -> f64 {
        self.energy.step_s * self.energy.joules_per_token / self.energy.joules_per_step
    }

    fn point(&self) -> EnergyPointDocument {
        let used = self.energy.devices.iter().filter(|device| device.stage.is_some());
        EnergyPointDocument {
            n_devices: used.map(|device| device.n_devices).sum(),
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

impl Space {
    fn of_search(&self, request: &PlanRequest) -> board_limits::Space<'_> {
        let (n_sets, cap) = (self.sets.len(), cap(request));
        board_limits::Space { n_sets, limits: self.limits, cap, reach: REACH }
    }
}

/// Plans.
///
/// # Errors
/// Those of planning on all devices; `power-cap` where nothing keeps to it.
pub(crate) fn plan(request: &PlanRequest, run: &mut Run<'_>) -> CommandResult {
    let Some(space) = run.read(request, space)? else { return Ok(interrupted(run.page)) };
    let end = run.ending(request);
    let of_search = space.of_search(request);
    let mut sets = OnSets { request, sets: &space.sets, end: &end, run };
    let found = search(&of_search, &mut sets)?;
    if best(&of_search, &found.tried, joules).is_none() && run.watch.is_cancelled() {
        return Ok(interrupted(run.page));
    }
    if found.tried.is_empty() {
        return Err(without(found.without, &space));
    }
    let is_unknown = |nothing: &&(usize, Nothing<_>)| matches!(nothing.1, Nothing::Unknown(_));
    let n_unknown = found.without.iter().filter(is_unknown).count();
    answer(request, (&found.tried, n_unknown, &space), run)
}

/// Plans on sets of devices.
struct OnSets<'s, 'r> {
    request: &'s PlanRequest,
    sets: &'s [Vec<String>],
    end: &'s Watch,
    run: &'s mut Run<'r>,
}

impl Plans for OnSets<'_, '_> {
    type Plan = Planned;
    type Error = Diagnostic;

    fn plan(
        &mut self,
        set: usize,
        limit: f64,
        n_left: usize,
    ) -> Result<(Planned, Figures), Nothing<Diagnostic>> {
        let on = (self.sets[set].as_slice(), limit);
        match planned(self.request, on, (n_left, self.end, self.run)) {
            Ok(Some(planned)) => {
                let value = planned.value(self.request);
                let most_w = planned.energy.most_w;
                Ok((planned, Figures { value, most_w }))
            }
            Ok(None) => Err(Nothing::Unknown(None)),
            Err(error) => Err(match error.blame {
                Blame::Usage | Blame::Input => Nothing::Refused(error),
                Blame::Infeasible => Nothing::Proved(error),
                _ => Nothing::Unknown(Some(error)),
            }),
        }
    }

    fn least_limit(&mut self, set: usize) -> Option<f64> {
        let (request, names) = (self.request.clone(), self.sets[set].clone());
        let read = self.end.run(move |_: Tell<()>| least_limit(&request, &names), &mut |()| {});
        read.done()
    }
}

/// Joules of a token.
fn joules(planned: &Planned) -> f64 {
    planned.energy.joules_per_token
}

/// Why there is no plan: proved where all sets of devices were searched. What stopped a search comes before what
/// was proved of another set.
fn without(sets: Vec<(usize, Nothing<Diagnostic>)>, space: &Space) -> Diagnostic {
    let mut is_proved = space.is_whole;
    let (mut first, mut of_search, mut refused) = (None, None, None);
    for (set, why) in sets {
        match why {
            // On all devices it is the request that is refused, on fewer perhaps their number.
            Nothing::Refused(error) if set == 0 => return error,
            Nothing::Proved(error) => first = first.or(Some(error)),
            Nothing::Unknown(error) => (is_proved, of_search) = (false, of_search.or(error)),
            Nothing::Refused(error) => (is_proved, refused) = (false, refused.or(Some(error))),
        }
    }
    let Some(first) = of_search.or(first).or(refused) else { return late() };
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
    let pue = request.pue.map_or(1.0, |pue| pue.0);
    Ok(Space { sets, is_whole, limits, least_w: pue * least_w })
}

/// Watts that no plan draws less than: one device that computes, at the least limit of its board.
fn least_w(cluster: &Cluster) -> f64 {
    let used: BTreeSet<_> = cluster.devices.iter().map(|device| device.kind.index()).collect();
    let kinds = used.into_iter().filter_map(|kind| cluster.kinds.get(kind));
    kinds.map(|kind| least_watts(kind).unwrap_or(0.0)).fold(f64::INFINITY, f64::min)
}

/// The least share of what they may draw that boards of a set can be limited to, where files may state less
/// than data sheets.
fn least_limit(request: &PlanRequest, set: &[String]) -> f64 {
    let path = request.problem.cluster.as_deref();
    let machines = path.and_then(|path| load::machines(path, (&request.problem.lost, set)).ok());
    let least = machines.map(|machines| scale::least_power(&machines.cluster));
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
    let problem = &request.problem;
    let (Some(profile), Some(cluster)) = (problem.profile.as_deref(), problem.cluster.as_deref())
    else {
        return Ok(false);
    };
    if importers::layers::is_folder(profile) {
        return Ok(true);
    }
    let profile = importers::profile::read(profile)?;
    let cluster = load::machines(cluster, (&problem.lost, &[]))?.cluster;
    Ok(cluster.kinds.iter().any(|kind| profile.has_measured_rates(&kind.name)))
}

/// Tells of the best of all plans that were tried.
fn answer(
    request: &PlanRequest,
    (all, n_unknown, space): (&[Tried<Planned>], usize, &Space),
    run: &mut Run<'_>,
) -> CommandResult {
    let of_search = space.of_search(request);
    let Some(found) = best(&of_search, all, joules) else {
        return Err(over_cap(of_search.cap.unwrap_or_default(), all, space));
    };
    let (best_value, best) = (found.figures.value, &found.plan);
    let bound = all.iter().map(|tried| tried.plan.bound(request)).fold(f64::INFINITY, f64::min);
    let is_kept =
        |tried: &&Tried<Planned>| of_search.cap.is_none_or(|cap| tried.figures.most_w <= cap);
    let within_cap = all.iter().filter(is_kept).map(|tried| tried.plan.point());
    let points = energy_front::of(within_cap.collect());
    let n_sets = [space.sets.len(), n_unknown];
    let least = all.iter().map(|tried| tried.limit).fold(1.0, f64::min);
    let any = board_limits::Space { cap: None, ..of_search };
    let is_better = |tried: &&Tried<Planned>| tried.figures.value < best_value * (1.0 - 1e-9);
    let free = board_limits::best(&any, all, joules).filter(is_better).map(|tried| &tried.plan);
    let counts = (all.len(), n_sets, space.limits, free, least);
    let sentences = sentences(request, (best, bound), counts);
    let files = match &best.files {
        Ok(files) => Ok(files.clone()),
        Err(error) => Err(error.clone()),
    };
    let written = run.follower.planned(best.bytes.clone(), files)?;
    let in_document = |document: &mut Value| {
        document["energy_front"] = json!(points);
        of_all_sets(document, space.is_whole && n_unknown == 0 && best_value <= bound);
    };
    run.page.append(&best.page, in_document, |screen| {
        let labels = ["searched", ""];
        let lines = labels.into_iter().zip(&sentences);
        lines.for_each(|(label, line)| screen.fact(label, line.clone()));
        screen.written.clone_from(&written);
        screen.next = Vec::new();
        screen.next(|plan| format!("meshwright explain {plan}"), "where each second goes");
    });
    if request.all {
        energy_front::print(&points, run.page);
    }
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
    if document.get("stop_reason").is_some_and(|reason| reason == StopReason::ProvedOptimal.name())
    {
        document["stop_reason"] = json!(StopReason::Finished.name());
    }
}

/// Why no plan keeps to a cap: impossible only below what any device draws that computes.
fn over_cap(cap: f64, all: &[Tried<Planned>], space: &Space) -> Diagnostic {
    let least = all.iter().map(|tried| tried.figures.most_w).fold(f64::INFINITY, f64::min);
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
type Told<'t> = (usize, [usize; 2], &'t [f64], Option<&'t Planned>, f64);

/// What the plan is the best of, how far it may be off, and whether the cap binds.
fn sentences(
    request: &PlanRequest,
    (best, bound): (&Planned, f64),
    (n, [n_sets, n_unknown], limits, free, least): Told<'_>,
) -> Vec<String> {
    let what = match request.objective.filter(|objective| objective.is_of_energy()) {
        None => "the fastest",
        Some(objective) if objective.name() == COST => "the least price per token",
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
    let mut sentences = vec![format!(
        "{what} of {n} plans on {known} sets of devices{unknown}, with boards at {at} % of their \
         limits; {of_boards}; {gap}"
    )];
    if let Some(cap) = request.power_cap {
        sentences.push(match free {
            None => {
                format!("the cap of {} leaves out no better plan of these", watts(cap.get()))
            }
            Some(free) => format!(
                "without the cap of {} the best of these plans makes {} tokens/s at up to {}",
                watts(cap.get()),
                rate(1.0 / free.seconds_per_token()),
                watts(free.energy.most_w)
            ),
        });
    }
    sentences
}

/// Plans on the devices of a cluster that are not left out, with boards limited to a share; nothing where
/// time is over.
fn planned(
    request: &PlanRequest,
    (without, limit): (&[String], f64),
    (n_left, end, run): (usize, &Watch, &mut Run<'_>),
) -> Result<Option<Planned>, Diagnostic> {
    let now = Instant::now();
    if run.watch.is_cancelled() || end.end.is_some_and(|end| end <= now + LEAST_TIME / 2) {
        return Ok(None);
    }
    let mut restricted = request.clone();
    restricted.problem.without.extend_from_slice(without);
    restricted.problem.board_limit = (limit < 1.0).then_some(limit);
    let share = end.end.map(|end| {
        let left = end.saturating_duration_since(now);
        now + (left / (n_left as u32 + 1)).max(LEAST_TIME.min(left))
    });
    let watch = Watch { end: share, ..run.watch.clone() };
    let (page, mut collected) = (run.page.like(), Kept::default());
    let inner =
        &mut Run { watch: &watch, follower: &mut collected, page: &page, is_tried: true, ..*run };
    if super::plan(&restricted, inner)? != Exit::DONE {
        return Ok(None);
    }
    let plan: PlanDocument = match serde_json::from_slice(&collected.plan) {
        Ok(plan) => plan,
        Err(_) => return Ok(None),
    };
    let Some(energy) = plan.energy.clone() else { return Ok(None) };
    let files = collected.files.unwrap_or_else(|| Ok(Vec::new()));
    let without = without.to_vec();
    Ok(Some(Planned { without, limit, page, plan, energy, bytes: collected.plan, files }))
}

/// Sets of devices, each by what is left out of all: whole hosts, or devices where these are few; as many of a
/// sort as powers of two, or all, or none. Also whether that is all sets that differ.
fn sets(request: &PlanRequest) -> Result<(Vec<Vec<String>>, bool), Diagnostic> {
    let Some(path) = request.problem.cluster.as_deref() else {
        return Ok((vec![Vec::new()], false));
    };
    let problem = &request.problem;
    let cluster = load::machines(path, (&problem.lost, &problem.without))?.cluster;
    let mut sorts: BTreeMap<(String, usize), Vec<String>> = BTreeMap::new();
    for (kind, name, n) in units(&cluster) {
        sorts.entry((kind, n)).or_default().push(name);
    }
    let sorts: Vec<Vec<String>> = sorts.into_values().collect();
    let counts = |n: usize, is_few: bool| {
        let powers = (0..).map(|power| 1_usize << power).take_while(|count| *count < n);
        let powers: Vec<usize> = if is_few { Vec::new() } else { powers.collect() };
        powers.into_iter().chain([n, 0])
    };
    let n_all = sorts.iter().fold(1_usize, |n, sort| n.saturating_mul(sort.len() + 1));
    let n_of = |is_few: bool| {
        sorts.iter().map(|sort| counts(sort.len(), is_few).count()).product::<usize>()
    };
    let is_few = n_of(false) > MOST_SETS;
    let mut sets: Vec<Vec<String>> = vec![Vec::new()];
    for sort in &sorts {
        let grown = sets.iter().flat_map(|set| {
            counts(sort.len(), is_few).map(|used| [set.clone(), sort[used..].to_vec()].concat())
        });
        sets = grown.take(4 * MOST_SETS).collect();
    }
    let n: usize = sorts.iter().map(Vec::len).sum();
    sets.retain(|set| set.len() < n);
    // All of them first: its refusals are those that are told.
    sets.sort_by_key(Vec::len);
    sets.truncate(MOST_SETS);
    let are_alike = cluster.classes.len() == 1 || sorts.iter().all(|sort| sort.len() == 1);
    let is_whole = cluster.devices.len() == n && are_alike && sets.len() + 1 == n_all;
    Ok((sets, is_whole))
}

/// Hosts, or devices where these are few or of one host, with their kind and number of devices.
fn units(cluster: &Cluster) -> Vec<(String, String, usize)> {
    let kind = |id| cluster.kind_of(id).name.clone();
    let has_hosts = cluster.devices.len() > MOST_SINGLE
        && cluster.nodes.len() > 1
        && cluster.devices.iter().all(|device| device.node.is_some());
    if !has_hosts {
        let device = |(id, device): (_, &ir::cluster::Device)| (kind(id), device.name.clone(), 1);
        return cluster.device_ids().zip(&cluster.devices).map(device).collect();
    }
    let mut hosts: BTreeMap<usize, (String, usize)> = BTreeMap::new();
    for (id, device) in cluster.device_ids().zip(&cluster.devices) {
        let at = device.node.map_or(0, |node| node.index());
        hosts.entry(at).or_insert_with(|| (kind(id), 0)).1 += 1;
    }
    let named = |(at, (kind, n)): (usize, (String, usize))| {
        let name = cluster.nodes.get(at).map_or_else(String::new, |node| node.name.clone());
        (kind, name, n)
    };
    hosts.into_iter().map(named).collect()
}
