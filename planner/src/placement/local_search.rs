//! Local search on the step time: moves ops and blocks of them, and changes orders.
//!
//! # Decides
//! Placement, op orders and transfer orders anew, starting from any plan.
//!
//! # Idea
//! Simulated annealing in cycles, each from the best plan so far. A change moves an op, a
//! colocation group, a cluster of the coarsening or a block around an op to another device, swaps
//! two of them, or puts an op before another one; most begin on the critical path. A change is
//! dispatched whole by a fast event loop that stops as soon as the change can't be kept. What
//! exceeds a memory limit costs more, so that the search can pass through it, and can start there.
//! Every better plan goes to the judge.
//!
//! # Paper
//! Kirkpatrick, Gelatt and Vecchi, "Optimization by simulated annealing", Science 220, 1983;
//! critical-path moves as in Nowicki and Smutnicki, Management Science 42(6), 1996.
//!
//! # Guarantee
//! Never worse than the plan that it starts from.
//!
//! # Complexity
//! A change takes O((ops + edges) log ops) at most. Without a time limit their number is fixed by
//! the size of the problem; with one, it ends at the limit, or when `patience` is exhausted.
//!
//! # Limits
//! Plans that wait for memory are left as they are if they can't be had without waits.
//!
//! # Example
//! `meshwright place model.onnx --algorithm 'm-etf,local-search' --time-limit 10s`

mod moves;
mod search;
mod state;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use cost_model::ops::judge::replay::replay;
use cost_model::ops::problem::Problem;
use ir::diagnostic::Diagnostic;
use ir::id::OpId;
use ir::plan::Plan;

pub(crate) use moves::Neighbourhood;
pub(crate) use search::{Search, cost};
pub(crate) use state::{State, by_upward_rank};

use crate::draft::{Draft, Orders};
use crate::placement::clusters::{Hierarchy, Units};
use crate::placement::dispatch::Network;
use crate::run::Run;
use crate::run::algorithm::{Improve, OptionRow, Options, Row};
use crate::run::no_plan::{NoPlan, Reason};

/// `changes`.
pub const CHANGES: OptionRow = OptionRow {
    name: "changes",
    unit: "count",
    default: "0",
    summary: "how many changes are tried; 0: by the size of the problem, or the time limit",
};

/// `patience`.
pub const PATIENCE: OptionRow = OptionRow {
    name: "patience",
    unit: "count",
    default: "0",
    summary: "cycles that gain less than 0.1 % before it gives up; 0: it goes on to its limit",
};

/// Options of the row.
pub const OPTIONS: &[OptionRow] = &[CHANGES, PATIENCE];

struct LocalSearch {
    /// See [`CHANGES`].
    changes: u64,
    /// See [`PATIENCE`].
    patience: u64,
}

/// Makes the row ready to run.
///
/// # Errors
/// `bad-option`.
pub fn build(options: &Options) -> Result<Row, Diagnostic> {
    Ok(Row::Improve(Box::new(LocalSearch {
        changes: options.count(&CHANGES)?,
        patience: options.count(&PATIENCE)?,
    })))
}

impl Improve for LocalSearch {
    fn improve(&self, run: &Run, plan: Plan) -> Result<Plan, NoPlan> {
        let problem = run.problem();
        let Some(home) = homes(problem, &plan) else {
            let message = "the plan leaves ops without a device";
            return Err(NoPlan::not_found(Reason::Unsupported, "op-not-placed", message));
        };
        let network = Network::new(problem);
        let units = Units::new(problem);
        let hierarchy = Hierarchy::new(&network, &units);
        let levels = 0..hierarchy.levels.len();
        let hood =
            Neighbourhood { network: &network, units: &units, hierarchy: &hierarchy, levels };
        let topological = problem.topological_order();
        let planned = State::new(&units, home.clone(), &by_start(problem, &plan));
        let plain = State::new(&units, home, &topological);
        let Some(search) = Search::new(hood, [planned, plain], run.seed()) else {
            return Ok(plan);
        };
        let mut walk = Walk { run, search, offered: None, cost_of_offer: Duration::ZERO };
        let n_changes = walk.anneal(&topological, self.changes, self.patience);
        run.note("changes", n_changes);
        // The runner keeps the best that was offered.
        Ok(plan)
    }
}

/// Device by unit; `None` where an op has none.
fn homes(problem: &Problem, plan: &Plan) -> Option<Vec<u16>> {
    let units = problem.units();
    let home = |unit: &Vec<OpId>| {
        let device = plan.placement.of(*unit.first()?)?;
        u16::try_from(device.index()).ok()
    };
    units.iter().map(home).collect()
}

/// Ops in the order of their starts; those of one instant as the device orders have them.
fn by_start(problem: &Problem, plan: &Plan) -> Vec<OpId> {
    let mut order: Vec<OpId> =
        plan.schedule.actions.iter().flatten().map(|ir::schedule::Action::Op(op)| *op).collect();
    if let Ok(timeline) = replay(problem, plan) {
        order.sort_by_key(|op| timeline.ops[op.index()].map_or(0, |span| span.start));
    }
    order
}

/// Mean growth that is accepted at the start of a cycle, as a part of the step time; cycles take
/// turns.
const HEATS: [f64; 4] = [0.004, 0.02, 0.001, 0.008];
/// Changes of the first cycle: so many per unit, and so many more.
const FIRST_PER_UNIT: u64 = 30;
const FIRST: u64 = 60;
/// Each cycle is longer than the one before by this part.
const GROWTH: (u64, u64) = (5, 4);
/// A cycle that gains less than this part of the cost counts as idle.
const LEAST_GAIN: f64 = 0.001;
/// Changes without a time limit: so many per unit, and so many more; fewer where one is slow.
const CHANGES_PER_UNIT: u64 = 250;
const MOST_EFFORT: u64 = 60_000_000;
/// At least so many changes lie between two offers to the judge.
const CHANGES_PER_OFFER: u64 = 200;

/// The search within a run.
struct Walk<'a, 'b> {
    run: &'a Run,
    search: Search<'b>,
    /// Step time of the last plan that the judge was shown.
    offered: Option<u64>,
    cost_of_offer: Duration,
}

impl Walk<'_, '_> {
    /// Cycles until time, changes or hope are spent; gives the number of changes.
    fn anneal(&mut self, topological: &[OpId], changes: u64, patience: u64) -> u64 {
        let n_units = self.search.hood.units.n() as u64;
        let most = self.most_changes(changes);
        let mut n_changes = 0u64;
        let mut length = FIRST_PER_UNIT * n_units + FIRST;
        let mut idle = 0u64;
        for cycle in 0usize.. {
            self.search.restart();
            self.search.rank(topological);
            let before = cost(self.search.best().1);
            let heat = HEATS[cycle % HEATS.len()];
            for change in 0..length {
                let left = 1.0 - change as f64 / length as f64;
                self.search.step(heat * left * left);
                n_changes += 1;
                if n_changes.is_multiple_of(CHANGES_PER_OFFER) {
                    self.offer();
                }
                if n_changes >= most || self.must_stop() {
                    self.offer();
                    return n_changes;
                }
            }
            self.offer();
            let gains = cost(self.search.best().1) < before * (1.0 - LEAST_GAIN);
            idle = if gains { 0 } else { idle + 1 };
            if (patience > 0 && idle >= patience) || self.run.is_optimal() {
                return n_changes;
            }
            length = length * GROWTH.0 / GROWTH.1;
        }
        n_changes
    }

    fn most_changes(&self, changes: u64) -> u64 {
        if changes > 0 {
            return changes;
        }
        if self.run.time_left().is_some() {
            return u64::MAX;
        }
        let hood = &self.search.hood;
        let effort = hood.network.n_steps().max(1);
        (CHANGES_PER_UNIT * hood.units.n() as u64 + FIRST).min(MOST_EFFORT / effort).max(1)
    }

    /// Whether the run says so, or what is left is needed to judge the last plan.
    fn must_stop(&self) -> bool {
        self.run.spend(1).is_err()
            || self.run.time_left().is_some_and(|left| left < self.cost_of_offer * 2)
    }

    /// Shows the best plan to the judge if it fits and is new.
    fn offer(&mut self) {
        let (_, score) = self.search.best();
        if score.excess > 0.0 || self.offered.is_some_and(|value| value <= score.makespan) {
            return;
        }
        self.offered = Some(score.makespan);
        let started = Instant::now();
        let (placement, schedule) = self.search.best_plan();
        let draft = Draft::default().placed(placement).scheduled(Orders::Full(schedule));
        // The judge has the last word; a plan that it refuses is only not kept.
        let _ = self.run.offer(&draft);
        self.cost_of_offer = started.elapsed();
    }
}
