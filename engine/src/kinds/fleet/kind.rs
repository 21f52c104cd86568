//! What the frame asks of a fleet.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use documents::plan::PlanDocument;
use documents::plan::fleet::FleetDocument;
use exporters::Export;
use exporters::serving::fleet::FleetSource;
use ir::diagnostic::Diagnostic;
use ir::plan_kind::PlanKind;
use planner::run::{Control, Limits};
use planner::serving::fleet::{Objective, Role};
use planner::serving::fleets::{FleetSearch, Fleets};
use planner::serving::serving_fleet;
use serde_json::json;

use super::decided::{self, Judged};
use super::setting::{self, Setting};
use super::words::per_second;
use super::{Fleet, compare, explain, log, plan, refused, search, traffic};
use crate::answer::differences;
use crate::answer::exit::CommandResult;
use crate::answer::page::Page;
use crate::answer::violations;
use crate::inputs::plan_file;
use crate::kinds::frame;
use crate::kinds::kind::{
    ChecksSubject, Explains, IsRow, Kind, Legal, Pair, Plans, Read, Target, Told,
};
use crate::request::PlanRequest;
use crate::request::fields::Honours;
use crate::request::subject::Subject;
use crate::search::row;

impl Kind for Fleet {
    const KIND: PlanKind = PlanKind::Fleet;
    const FLAGS: &'static [&'static str] = &["--cluster", "--profile", "--scale", "--requests"];
    const ROWS: &'static str = "a row that plans fleets of serving workers";
    const FIGURE: &'static str = "requests_per_s";
    const ELSEWHERE: &'static str = "other programs can be told from the plan's `fleet.workers`";
    const HONOURS: &'static Honours = &setting::HONOURS;
    const IS_ROW: IsRow = row::is::<Fleets>;
    const CHECK_SUBJECT: ChecksSubject = check_subject;
    const PLAN: Plans = plan::plan;
    const EXPLAIN: Explains<Self> = explain::explain;
    const EXPLAINED: &'static str = "rate and memory of each worker";
    const HOLDS_CLAIMS: bool = false;

    type Setting = Setting;
    type Judged = Judged;

    fn is_asked(request: &PlanRequest) -> Result<bool, Diagnostic> {
        plan::asked(request).map(|found| found.is_some())
    }

    fn read(plan: &Arc<PlanDocument>, target: Target<'_>) -> Result<Read<Setting>, Diagnostic> {
        let asked = setting::of_plan(stated(plan)?, &plan.objective, &plan.request)?;
        let mut problem = target.flags.problem.clone();
        problem.model.dtype = plan_file::workload(&plan.workload)?.dtype;
        let setting = Setting::read(target.model, &problem, asked)?;
        let others = target.others(plan, &setting.references());
        Ok(Read { warnings: setting.run.warnings.clone(), others, setting })
    }

    fn judge(setting: &mut Setting, plan: &PlanDocument) -> Result<Judged, Vec<Diagnostic>> {
        let fleet = stated(plan).map_err(|error| vec![error])?;
        decided::judge(setting, decided::of_document(setting, fleet)?)
    }

    fn stated_wrong(on: Legal<'_, Self>, proof: Option<&Arc<AtomicBool>>) -> Vec<Diagnostic> {
        let bound = on.plan.fleet.as_ref().and_then(|fleet| fleet.bound);
        let algorithm = on.plan.algorithm.as_str();
        let derived = decided::document(on.setting, on.judged, (algorithm, bound));
        let mut found = differences::of_plans(on.plan, &derived);
        if let (Some(proof), Some(bound)) = (proof, bound) {
            let beyond = || beyond(on.setting, on.judged, bound);
            found.extend(unproved(on, bound, proof).or_else(beyond));
        }
        found
    }

    fn told(on: Legal<'_, Self>) -> Told {
        let Judged { requests_per_s, n_devices, workers, .. } = on.judged;
        let n: usize = workers.iter().map(|(of, _)| of.replicas.len()).sum();
        Told {
            sentence: format!(
                "the plan is legal: {n} worker{} on {n_devices} device{} serve{} {} requests/s",
                if n == 1 { "" } else { "s" },
                if *n_devices == 1 { "" } else { "s" },
                if n == 1 { "s" } else { "" },
                per_second(*requests_per_s)
            ),
            figures: vec![("requests_per_s", json!(requests_per_s))],
        }
    }

    fn simulate(
        plan: &Arc<PlanDocument>,
        target: Target<'_>,
        _: Option<u64>,
        page: &Page,
    ) -> CommandResult {
        let Some(file) = target.requests else {
            return frame::explain::<Self>(
                plan,
                target,
                (&Subject::Step { longest: None }, None),
                page,
            );
        };
        let read = importers::request_log::read(file)?;
        let requests = traffic::requests(&read, 1.0);
        let ended =
            frame::with_legal::<Self, _>(plan, target, (false, page), |on, warnings, _| {
                let workers: Vec<_> = on.judged.workers.iter().map(|(of, _)| of.clone()).collect();
                let replay = log::replay(on.setting, &workers, &requests)
                    .map_err(|reason| log::unserved(file, &reason))?;
                let figures = log::figures(&replay, (read.n, requests.len()));
                let mut all = warnings;
                all.extend(log::cut(&figures));
                log::table(&figures, page);
                frame::warn::<Self>(&all, page);
                Ok(frame::replayed((&[], &all), json!({ "requests": figures }), page))
            })?;
        Ok(ended.unwrap_or_else(|exit| exit))
    }

    fn export(on: Legal<'_, Self>, target: &str) -> Result<Export, Diagnostic> {
        let stated = decided::document(on.setting, on.judged, ("", None));
        let fleet: &FleetDocument = stated
            .fleet
            .as_deref()
            .ok_or_else(|| refused("the plan is of no fleet", "give one that is"))?;
        exported(on.setting, fleet, target)
    }

    fn compare(pair: Pair<'_>, page: &Page) -> CommandResult {
        let (one, two) = (stated(pair.a)?, stated(pair.b)?);
        let other = compare::other(&pair, (one, two));
        frame::compare::<Self>(pair, other, |_| compare::compare(one, two, page), page)
    }
}

/// What starts a fleet. Routers send a request from any prefill worker to any decode worker.
///
/// # Errors
/// Those of the exporters; `cannot-express` where no link joins two such workers.
pub(super) fn exported(
    setting: &Setting,
    fleet: &FleetDocument,
    target: &str,
) -> Result<Export, Diagnostic> {
    let workers = decided::of_document(setting, fleet).unwrap_or_default();
    let pools = |role: Role| {
        let of_role = workers.iter().filter(move |of| of.stated.role == role);
        of_role.map(|of| of.stated.pool).collect::<BTreeSet<usize>>()
    };
    let receivers = pools(Role::Decode);
    for from in pools(Role::Prefill) {
        let is_joined = |to: &usize| {
            setting.links.iter().any(|of| (of.from, of.to) == (from, *to) && of.is_way())
        };
        let is_far = decided::n_hosts_within(setting, &workers).is_none();
        if let Some(to) = receivers.iter().find(|to| is_far && !is_joined(to)) {
            let name = |pool: usize| {
                let first = setting.pools[pool].hosts[0][0];
                setting.run.cluster.devices[first.index()].name.clone()
            };
            let message = format!(
                "{target} has one router for prefill and decode workers, and no link joins those of `{}` and `{}`",
                name(from),
                name(*to)
            );
            return Err(Diagnostic::usage("cannot-express", message).hint(
                "plan the devices that a network joins by themselves, or --mode aggregated",
            ));
        }
    }
    exporters::export(target, &source(setting, fleet))
}

/// Input of the exporters.
pub(super) fn source<'a>(setting: &'a Setting, fleet: &'a FleetDocument) -> FleetSource<'a> {
    let run = &setting.run;
    FleetSource {
        model: &run.model.name,
        cluster: &run.cluster,
        fleet,
        dtype: run.numbers.dtype.name(),
        cache: run.model.stored.as_ref().and_then(|stored| stored.cache),
    }
}

pub(super) fn stated(plan: &PlanDocument) -> Result<&FleetDocument, Diagnostic> {
    plan.fleet
        .as_deref()
        .ok_or_else(|| refused("the plan is of no fleet of serving workers", "give one that is"))
}

/// A bound that the fleet itself is better than.
fn beyond(setting: &Setting, judged: &Judged, bound: f64) -> Option<Diagnostic> {
    const SAME: f64 = 1e-9;
    let (value, is_most) = match setting.asked.objective {
        Objective::Throughput => (judged.requests_per_s, true),
        Objective::FewestDevices => (judged.n_devices as f64, false),
        Objective::LowestPrice => (judged.price_per_hour?, false),
    };
    let is_beyond =
        if is_most { value > bound * (1.0 + SAME) } else { value < bound * (1.0 - SAME) };
    is_beyond
        .then(|| differences::difference("fleet.bound", &bound.to_string(), &value.to_string()))
}

/// A bound that the same search does not find again.
fn unproved(on: Legal<'_, Fleet>, stated: f64, proof: &Arc<AtomicBool>) -> Option<Diagnostic> {
    let limits = Limits { cancel: Arc::clone(proof), ..Limits::default() };
    let control = Control::new(&limits);
    let setting = on.setting;
    let door = (serving_fleet::plan as FleetSearch, &control);
    let answer = search::best(setting, &setting.question(), door).ok()?;
    if proof.load(Ordering::Relaxed) {
        return Some(violations::unfinished("fleet.bound", stated));
    }
    let derived = answer.found.bound;
    let is_equal = derived.is_some_and(|bound| (bound - stated).abs() <= 1e-9 * stated.abs());
    (!is_equal).then(|| {
        let derived = derived.map_or_else(|| "none".to_owned(), |bound| bound.to_string());
        differences::difference("fleet.bound", &stated.to_string(), &derived)
    })
}

/// Refuses subjects that its plans have none of.
fn check_subject(subject: &Subject) -> Result<(), Diagnostic> {
    if matches!(subject, Subject::Step { longest: None } | Subject::Device(_)) {
        return Ok(());
    }
    let message = "a fleet has workers: no ops, transfers or critical path";
    Err(refused(message, "leave --op, --transfer and --longest out, or add --device"))
}
