//! Other fleets for the same requests: what people would have started, and what other promises cost.

use documents::plan::fleet::{AlternativeDocument, FleetDocument, RoleDocument, WorkerDocument};
use planner::run::Control;
use planner::serving::fleets::FleetSearch;
use planner::serving::serving_fleet::{Answer, Question, Reason};

use super::at_arrivals::AtArrivals;
use super::decided::why;
use super::search;
use super::setting::Setting;
use super::words::{self, latency};

/// Columns of the workers of a row.
const LISTED: usize = 36;
/// How much shorter, and longer, the TPOT is of fleets that show what the promise costs.
const TIGHTER: f64 = 0.8;
const LOOSER: f64 = 1.25;
/// Further parts of it, of fleets that the front is made of.
const FRONT: [f64; 4] = [0.64, 0.5, 1.6, 2.0];
/// The name of the plan among others.
const THIS: &str = "this plan";

/// A fleet that is planned beside the best one.
struct Other<'q> {
    name: String,
    question: Question<'q>,
    /// Whether it is one of those that the plan was searched among.
    is_within: bool,
}

/// What differs from the plan's question.
fn others<'q>(setting: &'q Setting, workers: &[WorkerDocument]) -> Vec<Other<'q>> {
    let base = setting.question();
    let has = |role: RoleDocument| workers.iter().any(|worker| worker.role == role);
    let mut all = Vec::new();
    let mut add = |name: &str, question: Question<'q>, is_within: bool| {
        all.push(Other { name: name.to_owned(), question, is_within });
    };
    if base.aggregated && base.disaggregated {
        if has(RoleDocument::Prefill) {
            let question = Question { disaggregated: false, ..base.clone() };
            add("aggregated only", question, true);
        } else {
            let question = Question { aggregated: false, ..base.clone() };
            add("prefill + decode", question, true);
        }
    }
    let sizes: Vec<u64> = workers.iter().map(|of| words::shape(of).devices()).collect();
    let per_host = base.devices.iter().map(|of| of.pool.devices_per_host).max().unwrap_or(1);
    let of_size =
        |n: u32| Question { least_devices_of_worker: n, most_devices_of_worker: n, ..base.clone() };
    let is_tensor = |of: &WorkerDocument| {
        u64::from(of.tensor) == words::shape(of).devices() && of.tensor == per_host
    };
    if per_host > 1 && !workers.iter().all(is_tensor) {
        let question = Question { tensor_alone: true, ..of_size(per_host) };
        add(&format!("TP {per_host}"), question, true);
    }
    if per_host > 1 && sizes.iter().any(|n| *n != u64::from(per_host)) {
        add(&format!("{per_host}-device workers"), of_size(per_host), true);
    }
    if sizes.iter().any(|n| *n > 1) {
        add("1-device workers", of_size(1), true);
    }
    if let Some(tpot_s) = base.promises.tpot_s {
        for part in [TIGHTER, LOOSER] {
            let (name, question) = limited(&base, part * tpot_s);
            add(&name, question, part < 1.0);
        }
    }
    all
}

/// The question with another limit of TPOT, and its name.
fn limited<'q>(base: &Question<'q>, tpot_s: f64) -> (String, Question<'q>) {
    let mut question = base.clone();
    question.promises.tpot_s = Some(tpot_s);
    (format!("TPOT <= {}", latency(tpot_s)), question)
}

/// The Pareto front of the plan, its rows, and fleets for further limits of TPOT, which are planned while there is
/// time; without a limit, of shorter ones than the plan's own TPOT.
pub(super) fn front(
    setting: &Setting,
    plan: &FleetDocument,
    rows: &[AlternativeDocument],
    (door, control): (FleetSearch, &Control),
) -> Vec<AlternativeDocument> {
    let of_workers = |of: fn(&WorkerDocument) -> Option<f64>| {
        plan.workers.iter().filter_map(of).reduce(f64::max)
    };
    let this = AlternativeDocument {
        name: THIS.to_owned(),
        workers: Some(words::listed(&words::groups(&plan.workers), LISTED)),
        n_devices: Some(plan.n_devices),
        price_per_hour: plan.price_per_hour,
        requests_per_s: Some(plan.requests_per_s),
        ttft_seconds: of_workers(|of| of.ttft_s),
        tpot_seconds: of_workers(|of| of.tpot_s),
        why: None,
    };
    let base = setting.question();
    let limits: Vec<f64> = match (base.promises.tpot_s, this.tpot_seconds) {
        (Some(promised), _) => FRONT.map(|part| part * promised).to_vec(),
        (None, Some(own)) => [TIGHTER, FRONT[0], FRONT[1]].map(|part| part * own).to_vec(),
        (None, None) => Vec::new(),
    };
    let mut all = vec![this];
    all.extend_from_slice(rows);
    for (name, question) in limits.into_iter().map(|tpot_s| limited(&base, tpot_s)) {
        if control.stop().is_some() {
            break;
        }
        let found = at_arrivals(setting, &question, (door, control));
        if let Some((found, is_kept)) = found {
            all.push(document(setting, name, (&found.answer, is_kept)));
        }
    }
    super::front::of(setting.asked.objective, &all)
}

/// Plans them one by one while there is time; the answers of those that the plan was searched among.
#[must_use]
pub(super) fn plan(
    setting: &Setting,
    workers: &[WorkerDocument],
    (door, control): (FleetSearch, &Control),
) -> (Vec<AlternativeDocument>, Vec<AtArrivals>) {
    let mut found = (Vec::new(), Vec::new());
    for Other { name, question, is_within } in others(setting, workers) {
        if control.stop().is_some() {
            break;
        }
        let other = at_arrivals(setting, &question, (door, control));
        if let Some((other, is_kept)) = other {
            found.0.push(document(setting, name, (&other.answer, is_kept)));
            found.1.extend(Some(other).filter(|_| is_within && is_kept));
        }
    }
    found
}

/// The best fleet for another question, at the arrivals of a file where there is one, and whether it keeps what is
/// promised there; `None` without time.
fn at_arrivals(
    setting: &Setting,
    question: &Question<'_>,
    (door, control): (FleetSearch, &Control),
) -> Option<(AtArrivals, bool)> {
    let search = |question: &Question<'_>| search::search(setting, question, (door, control));
    let found = AtArrivals::of(setting, question, control, &search).ok()?;
    let is_kept = found.is_kept(setting, &question.promises);
    control.stop().is_none().then_some((found, is_kept))
}

/// The row of an answer, and whether it keeps what is promised at the arrivals of a file.
pub(super) fn document(
    setting: &Setting,
    name: String,
    (answer, is_kept): (&Answer, bool),
) -> AlternativeDocument {
    let why = match (answer.is_kept(), is_kept) {
        (false, _) => Some(reason(answer)),
        (true, false) => Some("misses the limits at the arrivals of the file".to_owned()),
        (true, true) => None,
    };
    let (Some(best), None) = (&answer.found.best, &why) else {
        return AlternativeDocument { name, why, ..AlternativeDocument::default() };
    };
    AlternativeDocument {
        name,
        workers: Some(words::listed(&words::found(setting, answer), LISTED)),
        n_devices: Some(best.figures.n_devices),
        price_per_hour: best.figures.price_per_hour,
        requests_per_s: Some(best.figures.requests_per_s),
        ttft_seconds: search::slowest(answer, 0),
        tpot_seconds: search::slowest(answer, 1),
        why: None,
    }
}

/// Why there is none.
fn reason(answer: &Answer) -> String {
    if !answer.types.workers.is_empty() {
        return "needs more devices".to_owned();
    }
    let is_of_promise =
        |reason: &&Reason| matches!(reason, Reason::Ttft { .. } | Reason::Tpot { .. });
    let reasons = || answer.types.rejected.iter().map(|rejected| &rejected.reason);
    let first = reasons().find(is_of_promise).or_else(|| {
        reasons().find(|reason| !matches!(reason, Reason::Invalid(_) | Reason::Dominated { .. }))
    });
    first.map_or_else(|| "no worker shape fits".to_owned(), why)
}
