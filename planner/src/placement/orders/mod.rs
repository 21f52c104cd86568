//! Contiguous pieces of linear orders, under the least target for the load of every device.
//!
//! # Decides
//! Placement and op orders.
//!
//! # Idea
//! Lay the ops out in one line that agrees with the graph. For a target load, each device in turn
//! takes the longest piece from the front of what is left that it can carry: work, transfers in,
//! transfers out, memory. The least target for which the devices suffice is found by bisection.
//! Several lines and several sequences of devices are tried. Every device runs its piece in the
//! order of the line, so that a value is made shortly before it is read and memory stays low.
//!
//! # Paper
//! Tarnawski et al., "Efficient algorithms for device placement of DNN graph operators", NeurIPS
//! 2020, section 5.1 (contiguous splits of one linearisation). The test of a target by greedy
//! filling is the classic one for the linear partitioning problem; Pinar and Aykanat, "Fast optimal
//! load balancing algorithms for 1D partitioning", JPDC 64(8), 2004, section 3.
//!
//! # Guarantee
//! None: with transfers the longest piece is not always the best one, and a line is one of many.
//!
//! # Complexity
//! O(lines x sequences x targets x (ops + edges)), about 20 targets.
//!
//! # Limits
//! Groups stand where their first member stands. An op that the device at hand can't run goes to
//! a device of one of its inputs that can, or to the first that can.
//!
//! # Example
//! `meshwright place model.onnx --cluster pod.yaml --objective max-load --algorithm orders`

mod device_sequence;
mod fill;
#[cfg(test)]
mod tests;

use cost_model::ops::bound::max_load_bound;
use cost_model::ops::max_load::{Load, loads};
use cost_model::ops::problem::{Objective, Problem};
use ir::diagnostic::Diagnostic;
use ir::id::{DeviceId, OpId};
use ir::plan::Placement;

use self::fill::{Filler, Target};
use crate::draft::{Draft, Orders};
use crate::line;
use crate::placement::stopped_early;
use crate::run::Run;
use crate::run::algorithm::{Decide, OptionRow, Options, Row};
use crate::run::no_plan::{NoPlan, Reason};

/// Options of the row: none.
pub const OPTIONS: &[OptionRow] = &[];

/// Targets that are tried first, as multiples of the bound.
const FACTORS: &[f64] = &[1.002, 1.01, 1.04, 1.15, 1.5, 2.5, 6.0, 20.0];
/// Steps of the bisection between the last target that failed and the first that did not, and the
/// distance at which it ends.
const N_STEPS: usize = 10;
const CLOSE: f64 = 1.0005;
/// Parts of the memory limits that the pieces may take by their own account, one after the other
/// where the verified plan takes more.
const SHARES: &[f64] = &[1.0, 0.9, 0.75];

struct Cut;

/// Makes the row ready to run.
///
/// # Errors
/// None: it has no options.
pub fn build(_: &Options) -> Result<Row, Diagnostic> {
    Ok(Row::Decide(Box::new(Cut)))
}

impl Decide for Cut {
    fn decide(&self, run: &Run, draft: Draft) -> Result<Draft, NoPlan> {
        let problem = run.problem();
        let mut found = Found::default();
        let bound = max_load_bound(problem).value.get();
        for line in line::lines(problem) {
            let mut offer = |piece: Pieces| found.offer(run, &draft, piece);
            solve(problem, &line, bound, &mut offer, &mut || {
                run.spend(problem.actions.len() as u64).is_err()
            });
            if run.stopped().is_some() && (found.best.is_some() || found.failure.is_some()) {
                break;
            }
        }
        match found.best {
            Some((_, draft)) => Ok(draft),
            None => Err(stopped_early(run).or(found.failure).unwrap_or_else(|| full(problem))),
        }
    }
}

/// The best plan so far, and why the last one was none.
#[derive(Default)]
struct Found {
    best: Option<(u64, Draft)>,
    failure: Option<NoPlan>,
}

impl Found {
    /// Whether the pieces make a legal plan.
    fn offer(&mut self, run: &Run, draft: &Draft, piece: Pieces) -> bool {
        let least = self.best.as_ref().map(|(value, _)| *value);
        // What a legal plan beats already needs no verdict.
        if let (Some(least), Some(value)) = (least, piece.value_ns)
            && value >= least
        {
            return true;
        }
        let next = draft.clone().placed(piece.placement).scheduled(piece.orders);
        match run.offer(&next) {
            Ok(scored) => {
                let value = scored.figures.value.get();
                if least.is_none_or(|least| value < least) {
                    self.best = Some((value, next));
                }
                true
            }
            Err(no_plan) => {
                self.failure = Some(no_plan);
                false
            }
        }
    }
}

fn full(problem: &Problem) -> NoPlan {
    let message = "no line of the ops, cut into pieces, fits into the memory of the devices";
    NoPlan::not_found(Reason::MemoryExceeded, "memory-exceeded", message)
        .fact("devices", problem.cluster.n_devices())
}

/// A line in pieces.
#[derive(Clone, Debug)]
pub(crate) struct Pieces {
    /// Device of each op.
    pub(crate) placement: Placement,
    /// Order of each device.
    pub(crate) orders: Orders,
    /// Max-load, where that is the objective.
    pub(crate) value_ns: Option<u64>,
}

/// Hands pieces of a line to `offer`, which says whether they make a legal plan: for max-load those
/// under the first target (from the bound on) that can be reached, then the best; for the step time those on the fewest
/// devices too. Where none was legal, less memory is given away the next time. `stop` is asked
/// before each filling but the first.
pub(crate) fn solve(
    problem: &Problem,
    line: &[OpId],
    bound: u64,
    offer: &mut dyn FnMut(Pieces) -> bool,
    stop: &mut dyn FnMut() -> bool,
) {
    let sequences = device_sequence::sequences(problem);
    let mut filler = Filler::new(problem, line);
    let by_load = problem.objective == Objective::MAX_LOAD;
    for &share in SHARES {
        let mut is_legal = false;
        let mut least: Option<(u64, Placement)> = None;
        for sequence in &sequences {
            let mut try_target = |load_ns: u64| {
                if least.is_some() && stop() {
                    return false;
                }
                let target = Target { load_ns, memory_share: share };
                let Some(placement) = filler.fill(sequence, &target) else { return false };
                let value = greatest(problem, &placement);
                if least.as_ref().is_none_or(|(best, _)| value < *best) {
                    if least.is_none() && by_load {
                        is_legal |= offer(pieces(problem, line, placement.clone(), Some(value)));
                    }
                    least = Some((value, placement));
                }
                true
            };
            search(bound, &mut try_target);
        }
        let Some((value, placement)) = least else { break };
        if !by_load {
            // The fewest devices, the fewest transfers.
            let all = Target { load_ns: u64::MAX, memory_share: share };
            let few = sequences.iter().find_map(|sequence| filler.fill(sequence, &all));
            is_legal |= few.is_some_and(|few| offer(pieces(problem, line, few, None)));
        }
        is_legal |= offer(pieces(problem, line, placement, by_load.then_some(value)));
        if is_legal || stop() {
            break;
        }
    }
}

/// Tries targets: first multiples of the bound, then between the last that failed and the first
/// that did not.
fn search(bound: u64, try_target: &mut dyn FnMut(u64) -> bool) {
    // A float cast saturates.
    let scaled = |factor: f64| (bound as f64 * factor).ceil() as u64;
    let mut failed = bound as f64;
    let mut reached = None;
    for &factor in FACTORS {
        if try_target(scaled(factor)) {
            reached = Some(bound as f64 * factor);
            break;
        }
        failed = bound as f64 * factor;
    }
    let Some(mut reached) = reached else {
        try_target(u64::MAX);
        return;
    };
    for _ in 0..N_STEPS {
        if reached <= failed * CLOSE {
            break;
        }
        let middle = (reached * failed).sqrt();
        if try_target(middle.ceil() as u64) {
            reached = middle;
        } else {
            failed = middle;
        }
    }
}

fn greatest(problem: &Problem, placement: &Placement) -> u64 {
    let loads = loads(problem, placement);
    loads.map_or(u64::MAX, |loads| loads.iter().map(Load::total_ns).max().unwrap_or(0))
}

fn pieces(problem: &Problem, line: &[OpId], placement: Placement, value_ns: Option<u64>) -> Pieces {
    let orders = Orders::Ops(orders_along(problem, line, &placement));
    Pieces { placement, orders, value_ns }
}

/// Order of each device: its ops as they stand in the line.
pub(crate) fn orders_along(
    problem: &Problem,
    line: &[OpId],
    placement: &Placement,
) -> Vec<Vec<OpId>> {
    let mut orders = vec![Vec::new(); problem.cluster.n_devices()];
    for &op in line {
        if let Some(order) =
            placement.of(op).and_then(|device: DeviceId| orders.get_mut(device.index()))
        {
            order.push(op);
        }
    }
    orders
}
