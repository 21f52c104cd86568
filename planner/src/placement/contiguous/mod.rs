//! Contiguous pieces of linear orders, one per device, as even as can be.
//!
//! # Decides
//! Placement, op orders and transfer orders.
//!
//! # Idea
//! Several topological orders of the ops are cut into pieces, one per device, so that the greatest
//! load is least: by time, by bytes, and by mixtures, over all devices and over fewer. Each cut is
//! dispatched in the order itself and by upward rank, and the best one that fits is kept. Where
//! none fits, local search takes bytes off the devices that are over their limits.
//!
//! # Paper
//! None for the whole; the least bottleneck of a line by bisection and greedy filling is Pinar and
//! Aykanat, "Fast optimal load balancing algorithms for 1D partitioning", JPDC 64(8), 2004.
//!
//! # Guarantee
//! None.
//!
//! # Complexity
//! A few dozen dispatches of O((ops + edges) log ops).
//!
//! # Limits
//! Colocation groups stand where their first op stands.
//!
//! # Example
//! `meshwright place model.onnx --algorithm contiguous`

mod cut;
mod orders;
#[cfg(test)]
mod tests;

use cost_model::ops::problem::Problem;
use ir::diagnostic::Diagnostic;
use ir::id::OpId;

pub(crate) use cut::{Line, Weights};
pub(crate) use orders::orders;

use crate::draft::{Draft, Orders};
use crate::placement::clusters::{Hierarchy, Units};
use crate::placement::dispatch::{Dispatcher, Network, Score};
use crate::placement::local_search::{Neighbourhood, Search, State, by_upward_rank, cost};
use crate::placement::stopped_early;
use crate::run::Run;
use crate::run::algorithm::{Decide, Options, Row};
use crate::run::no_plan::{NoPlan, Reason};

struct Contiguous;

/// Makes the row ready to run.
///
/// # Errors
/// None: it has no options.
pub fn build(_: &Options) -> Result<Row, Diagnostic> {
    Ok(Row::Decide(Box::new(Contiguous)))
}

/// Loads by which lines are cut.
pub(crate) const WEIGHTS: [Weights; 3] = [
    Weights { time: 1.0, bytes: 0.0 },
    Weights { time: 0.5, bytes: 0.5 },
    Weights { time: 0.0, bytes: 1.0 },
];

/// Changes that take bytes off devices, per unit, and their heat.
const REPAIRS_PER_UNIT: usize = 60;
const REPAIR_HEAT: f64 = 0.02;

impl Decide for Contiguous {
    fn decide(&self, run: &Run, draft: Draft) -> Result<Draft, NoPlan> {
        let problem = run.problem();
        let network = Network::new(problem);
        let units = Units::new(problem);
        let mut best = Best::new(&network);
        for order in orders(problem) {
            let items = first_come(&units, &order);
            let items = items.iter().map(std::slice::from_ref).collect();
            let line = Line::new(&network, &units, items);
            if let Some(no_plan) = best.try_cuts(&line, &units, &order, &mut || stopped_early(run))
            {
                return Err(no_plan);
            }
        }
        let Some((state, score)) = best.found else { return Err(no_cut()) };
        run.note("cuts", best.n_tried);
        let hierarchy = Hierarchy::new(&network, &units);
        let levels = 0..hierarchy.levels.len();
        let hood =
            Neighbourhood { network: &network, units: &units, hierarchy: &hierarchy, levels };
        let Some(mut search) = Search::new(hood, [state], run.seed()) else {
            return Err(no_cut());
        };
        if score.excess > 0.0 {
            run.note("repairs", repair(run, &mut search, REPAIRS_PER_UNIT * units.n()));
        }
        let (placement, schedule) = search.best_plan();
        Ok(draft.placed(placement).scheduled(Orders::Full(schedule)))
    }
}

/// Changes until everything fits; gives their number.
fn repair(run: &Run, search: &mut Search, most: usize) -> usize {
    for change in 0..most {
        if search.best().1.excess <= 0.0 || run.spend(1).is_err() {
            return change;
        }
        let left = 1.0 - change as f64 / most as f64;
        search.step(REPAIR_HEAT * left);
    }
    most
}

/// Units in the order of their first ops.
pub(crate) fn first_come(units: &Units, order: &[OpId]) -> Vec<u32> {
    let mut seen = vec![false; units.n()];
    let mut line = Vec::with_capacity(units.n());
    for op in order {
        let unit = units.of[op.index()];
        if !std::mem::replace(&mut seen[unit as usize], true) {
            line.push(unit);
        }
    }
    line
}

/// The best cut so far.
pub(crate) struct Best<'a> {
    dispatcher: Dispatcher<'a>,
    pub(crate) found: Option<(State, Score)>,
    n_tried: usize,
}

impl<'a> Best<'a> {
    pub(crate) fn new(network: &'a Network<'a>) -> Self {
        Self { dispatcher: Dispatcher::new(network), found: None, n_tried: 0 }
    }

    /// Cuts a line by each load over each number of devices; ops go in the order, or by rank.
    pub(crate) fn try_cuts(
        &mut self,
        line: &Line,
        units: &Units,
        order: &[OpId],
        stopped: &mut dyn FnMut() -> Option<NoPlan>,
    ) -> Option<NoPlan> {
        let mut seen: Vec<Vec<u16>> = Vec::new();
        let devices = fastest_first(self.dispatcher.network.problem, units);
        for n in counts(devices.len()) {
            for weights in WEIGHTS {
                let Some(home) = line.cut(&devices[..n], weights) else { continue };
                if seen.contains(&home) {
                    continue;
                }
                seen.push(home.clone());
                if self.found.is_some()
                    && let Some(no_plan) = stopped()
                {
                    return Some(no_plan);
                }
                self.try_orders(State::new(units, home, order), order);
            }
        }
        None
    }

    fn try_orders(&mut self, state: State, order: &[OpId]) {
        let mut ranked = state.clone();
        ranked.order(&by_upward_rank(&self.dispatcher, &state.device, order));
        for state in [state, ranked] {
            self.n_tried += 1;
            if let Some(score) = state.run(&mut self.dispatcher, u64::MAX)
                && self.found.as_ref().is_none_or(|(_, least)| cost(score) < cost(*least))
            {
                self.found = Some((state, score));
            }
        }
    }
}

/// All devices, three quarters, half, ... of them.
fn counts(n: usize) -> Vec<usize> {
    let mut counts = Vec::new();
    let mut left = n;
    while left > 0 {
        counts.push(left);
        left = if left <= 8 { left - 1 } else { left * 3 / 4 };
    }
    counts
}

/// Devices by the time that they would take for everything, then by id. What a device can't run
/// counts at its least time elsewhere, twice.
fn fastest_first(problem: &Problem, units: &Units) -> Vec<usize> {
    let total = |device: usize| {
        let times = (0..units.n()).map(|unit| match units.time_on(problem, unit, device) {
            u64::MAX => units.time[unit].saturating_mul(2),
            time => time,
        });
        times.fold(0u64, u64::saturating_add)
    };
    let mut devices: Vec<usize> = (0..problem.cluster.n_devices()).collect();
    devices.sort_by_cached_key(|device| (total(*device), *device));
    devices
}

fn no_cut() -> NoPlan {
    let message = "no order could be cut so that every op can run where it is";
    NoPlan::not_found(Reason::NoDevice, "no-cut", message)
        .hint("use an algorithm that looks at each op, such as `m-etf` or `heft`")
}
