//! The search behind [`super::labels`]: a program over ideals for bisected targets.

mod choice;
mod search;
mod stages;

use cost_model::given::time_per_sample::{Stage, bound, evaluate};
use ir::instance::StageInstance;
use ir::units::Nanos;

use super::ideals::lattice::Lattice;
pub(crate) use search::PAIRS_PER_LOOK;
use search::{Answer, Search};

/// What a search may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the list of ideals.
    pub memory_bytes: usize,
    /// Branches of one knapsack at first.
    pub n_branches: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: 1 << 27, n_branches: 5_000 }
    }
}

/// What the search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The best pipeline and its time per sample; `None` if there is none, or none was found.
    pub pipeline: Option<(Nanos, Vec<Stage>)>,
    /// No pipeline is faster than this; with no pipeline and `is_proved`, there is none.
    pub bound: Nanos,
    /// Whether the pipeline is optimal, or there is none.
    pub is_proved: bool,
}

/// First target, in units of the work bound, and the step from one to the next while none is met.
const FIRST: f64 = 4.0;

/// Past this many times the work bound, targets have no limit.
const FAR: f64 = 60.0;

/// The unit of values.
const NANOSECOND: f64 = 1e-9;

/// Values are rounded up, so that a pipeline with a lesser one is this part of a nanosecond faster;
/// the rest is room for the last digits of a target.
const NEARLY_ONE: f64 = 0.99;

/// Where value and bound are closer than this share, the next target is just below the value.
const NEAR: f64 = 0.004;

/// The best pipeline; proved where time and memory suffice.
#[must_use]
pub fn solve(instance: &StageInstance, limits: &Limits, stop: &dyn Fn() -> bool) -> Found {
    let found = Found { pipeline: None, bound: bound(instance), is_proved: false };
    let graph = stages::graph(instance);
    let Some(lattice) = Lattice::all(&graph, limits.memory_bytes) else { return found };
    bisected(instance, &mut Search::new(instance, &lattice, limits.n_branches, stop), found)
}

/// The best pipeline, from targets between the bound and the best value.
fn bisected(instance: &StageInstance, search: &mut Search<'_>, mut found: Found) -> Found {
    let work_bound = found.bound;
    // Targets up to `low` are given up, shown or not.
    let mut low = work_bound.seconds().max(NANOSECOND);
    let mut target = low * FIRST;
    let mut n_same = 0u32;
    loop {
        match search.at(target) {
            Answer::Pipeline(stages) => {
                let Ok(value) = evaluate(instance, &stages) else { return found };
                let best = found.pipeline.as_ref().map_or(Nanos::MAX, |(value, _)| *value);
                if value < best {
                    n_same = 0;
                    found.pipeline = Some((value, stages));
                } else {
                    // The same after rounding; or edges cost more than the cheapest choices
                    // promise. The next target leaves more room.
                    n_same += 1;
                    low = if n_same > 1 { low.max(target) } else { low };
                }
            }
            Answer::None { exact } => {
                low = low.max(target);
                match (&found.pipeline, exact) {
                    (None, exact) if target.is_infinite() => {
                        found.is_proved = exact;
                        if exact || !search.tries_harder() {
                            return found;
                        }
                    }
                    // Every value above the target is at least the next nanosecond.
                    (Some(_), true) => found.bound = found.bound.max(next_nanosecond(target)),
                    _ => {}
                }
            }
            Answer::Stopped => return found,
        }
        let Some((value, _)) = &found.pipeline else {
            // Without a limit on time, only memory stands against a pipeline.
            target = if low < work_bound.seconds() * FAR { target * FIRST } else { f64::INFINITY };
            continue;
        };
        found.bound = found.bound.min(*value);
        found.is_proved = value.get() - found.bound.get() <= 1;
        let below = value.seconds() - (NEARLY_ONE + f64::from(n_same)) * NANOSECOND;
        if found.is_proved {
            return found;
        }
        if low >= below * (1.0 - 1e-12) {
            if !search.tries_harder() {
                return found;
            }
            // What was given up without a proof is asked again.
            (low, n_same) = (found.bound.seconds().max(NANOSECOND), 0);
        }
        let is_near =
            n_same > 0 || value.seconds() < low * (1.0 + NEAR) && target < value.seconds();
        target = if is_near { below } else { (low * value.seconds()).sqrt().min(below) };
    }
}

/// The first whole nanosecond after a time in seconds.
fn next_nanosecond(seconds: f64) -> Nanos {
    Nanos((seconds / NANOSECOND).floor() as u64 + 1)
}
