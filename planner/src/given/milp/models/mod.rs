//! Integer programs for models on a cluster, solved by HiGHS: `milp`'s door to models.
//!
//! # Decides
//! Placement; op orders follow from it.
//!
//! # Idea
//! A colocation group, or an op in none, is on one device: one that its pins leave and that has room
//! for it. Tensors with the same producer and the same readers are one net; an op with several
//! outputs has several. A net costs its reader's device where its producer is on another, and its
//! producer's where a reader is on another, more for each slower way that it takes, so that devices
//! and links may all differ. Of devices that nothing tells apart, the one with the greatest unit
//! comes first. For max-load the greatest load is minimised; for step time its relaxation: paths
//! with their transfers, and the work of each device. The search starts from the plan of
//! [`crate::placement::auto`], whose value is the unit of all times.
//!
//! # Paper
//! As [`super`]; the nearest-device form of a net's price is that of the linear program for metric
//! labelling: Kleinberg and Tardos, Journal of the ACM 49(5), 2002.
//!
//! # Guarantee
//! Never above the plan of `auto`, and every plan is judged. The bound is the greatest of those of
//! `auto`, of `columns` on equal devices (without the pins, if there are any), whose certificate is
//! checked, and of the program: the solver's word, less its tolerance of 10^-6. A value that meets
//! the program's bound needs a second run, as for instances. Of the memory the program knows
//! parameters only, so that its bound holds for every legal plan.
//!
//! # Complexity
//! Exponential in units x devices at worst. Half of the time goes to `auto`, and nine tenths on
//! equal devices, where it has `columns`.
//!
//! # Limits
//! Max-load and step time. Programs of more than 2 million entries are left to `auto`. The program
//! for step time leaves orders and channels out: a plan that meets its bound is the best, but the
//! best plan need not meet it.
//!
//! # Example
//! `meshwright place model.onnx --cluster mixed.yaml --objective max-load --algorithm milp`

mod loads;
mod steps;
mod units;

use std::cell::RefCell;
use std::time::{Duration, Instant};

use cost_model::ops::bound::Bound;
use cost_model::ops::problem::Objective;
use ir::diagnostic::Diagnostic;
use ir::plan::Placement;
use ir::units::Nanos;

use super::forms::Form;
use super::search::{Search, Task};
use super::watch::Watch;
use super::{MOST_ENTRIES, News, Verdict};
use crate::draft::{Draft, Orders};
use crate::given::as_instance;
use crate::given::runner::method;
use crate::line;
use crate::placement::auto;
use crate::placement::orders::{self, orders_along};
use crate::run::Run;
use crate::run::algorithm::{Decide, Options, Row};
use crate::run::no_plan::{NoPlan, Reason};
use units::Ground;

/// Part of the time that `auto` may take, and where it has `columns`: its bound is the better one on
/// devices that nothing tells apart.
const AUTO_SHARE: f64 = 0.5;
const COLUMNS_SHARE: f64 = 0.9;
/// Time of the program where no limit is set.
const USUAL_TIME: Duration = Duration::from_secs(30);
/// Labels, states and moves of other searches that a node of the tree counts for.
const NODES_PER_NODE: u64 = 200_000;

struct Programs;

/// Makes the row ready to run.
///
/// # Errors
/// None: it has no options.
pub fn build(_: &Options) -> Result<Row, Diagnostic> {
    Ok(Row::Decide(Box::new(Programs)))
}

impl Decide for Programs {
    fn decide(&self, run: &Run, draft: Draft) -> Result<Draft, NoPlan> {
        let objective = run.problem().objective;
        if ![Objective::MAX_LOAD, Objective::STEP_TIME].contains(&objective) {
            let message = format!("`milp` has no program for {}", objective.label());
            return Err(NoPlan::not_found(Reason::Unsupported, "not-for-objective", message)
                .hint("use --objective max-load or step-time"));
        }
        let start = start(run);
        run.has_own_part();
        let (mut best, failure) = match start {
            Ok(start) => (Some(start), None),
            Err(no_plan) if no_plan.proved => return Err(no_plan),
            Err(no_plan) => (None, Some(no_plan)),
        };
        if run.stopped().is_none() && !run.is_optimal() {
            improve(run, &mut best);
        }
        let (_, found) = best.ok_or_else(|| failure.unwrap_or_else(auto::nothing))?;
        Ok(Draft { placement: found.placement, schedule: found.schedule, ..draft })
    }
}

/// A plan and its value.
type Valued = (Nanos, Draft);

/// The plan to start from. `auto` plans the model as it is; behind a transform stands a cut of one
/// line.
fn start(run: &Run) -> Result<Valued, NoPlan> {
    if !run.is_transformed() {
        let share = if as_instance::applies(run.problem()) { COLUMNS_SHARE } else { AUTO_SHARE };
        let time = run.time_left().map_or(auto::DEFAULT_TIME, |left| left.mul_f64(share));
        let scored = auto::best(run, time)?;
        as_instance::bound_without_pins(run, run.time_left().map(|left| left.mul_f64(share)));
        return Ok((scored.figures.value, Draft::from_plan(scored.plan)));
    }
    let Ok(Row::Decide(orders)) = orders::build(&Options::default()) else {
        return Err(auto::nothing());
    };
    let draft = orders.decide(run, Draft::default())?;
    Ok((run.offer(&draft)?.figures.value, draft))
}

/// Looks for a better plan, and for a bound.
fn improve(run: &Run, best: &mut Option<Valued>) {
    let problem = run.problem();
    let ground = Ground::new(problem, best.as_ref().map(|(value, _)| *value));
    run.note("units", ground.n_units());
    if ground.n_entries() > MOST_ENTRIES {
        return;
    }
    let begun = best
        .as_ref()
        .and_then(|(value, draft)| Some((*value, ground.devices(draft.placement.as_deref()?))));
    let best = RefCell::new(best);
    let judge = |devices: &[u32]| {
        let found = offered(run, &ground.placement(devices))?;
        let value = found.0;
        if best.borrow().as_ref().is_none_or(|(least, _)| value < *least) {
            **best.borrow_mut() = Some(found);
        }
        Some(value)
    };
    let stop = || run.stopped().is_some() || run.is_optimal();
    let mut on_news = |news: News| prove(run, news.bound);
    let class_of: Vec<u32> = (0..ground.n_units() as u32).collect();
    let mut watch = Watch::new(&class_of, &judge, &stop, &mut on_news, run.known_bound());
    if let Some(begun) = begun {
        watch.begin(begun);
    }
    let end = run.time_left().or((!run.is_deterministic()).then_some(USUAL_TIME));
    let deadline = end.and_then(|time| Instant::now().checked_add(time));
    let nodes = run.nodes_left().map(|nodes| (nodes / NODES_PER_NODE).max(1));
    let task = OnCluster { ground: &ground, objective: problem.objective };
    let verdict = Search { task: &task, deadline, nodes }.run(&mut watch);
    // That there is none at all is the solver's word, and more than it is asked.
    if verdict != Verdict::Infeasible {
        prove(run, watch.found(verdict).bound);
    }
}

fn prove(run: &Run, value: Nanos) {
    run.bound(Bound { value, method: method::PROGRAM });
}

/// A placement with its ops along the line of [`line::depth_first`] or in topological order; `None`
/// where no such plan is legal.
fn offered(run: &Run, placement: &Placement) -> Option<Valued> {
    let problem = run.problem();
    let plain = Draft::default().placed(placement.clone());
    let orders = orders_along(problem, &line::depth_first(problem), placement);
    let along = plain.clone().scheduled(Orders::Ops(orders));
    let judged = |draft: Draft| Some((run.offer(&draft).ok()?.figures.value, draft));
    let found = judged(along);
    if found.is_some() && problem.objective == Objective::MAX_LOAD {
        return found;
    }
    found.into_iter().chain(judged(plain)).min_by_key(|(value, _)| *value)
}

/// A model on a cluster.
struct OnCluster<'a> {
    ground: &'a Ground<'a>,
    objective: Objective,
}

impl Task for OnCluster<'_> {
    fn form(&self) -> Form {
        match self.objective {
            Objective::MAX_LOAD => loads::form(self.ground),
            _ => steps::form(self.ground),
        }
    }

    fn places(&self, plan: &[u32]) -> Option<Vec<usize>> {
        Some(self.ground.places(plan))
    }

    fn too_much(&self, _: &Form, plan: &[u32]) -> Vec<(Vec<usize>, Vec<usize>)> {
        self.ground.too_much(plan)
    }
}
