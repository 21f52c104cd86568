//! Tasks by size, each to the device where it ends first: the baseline.
//!
//! # Decides
//! The device of every task.
//!
//! # Idea
//! The largest task first, to the device that would have ended it first.
//!
//! # Paper
//! Graham, "Bounds on Multiprocessing Timing Anomalies", SIAM J. Applied Mathematics 17(2), 1969;
//! Tang et al., FedML Parrot, arXiv:2303.01778, section 4.
//!
//! # Guarantee
//! On K devices that are alike at most 4/3 - 1/(3K) times the optimum; none on unlike ones.
//!
//! # Complexity
//! Tasks x devices.
//!
//! # Limits
//! Tasks do not wait for each other.
//!
//! # Example
//! Tasks of 3, 2 and 2 s on two devices: 3, and 2 after 2: the last ends after 4 s.

use cost_model::given::Goal;
use cost_model::given::tasks::Times;
use ir::instance::Instance;

use crate::given::runner::{Effort, Method, Solution};
use crate::run::algorithm::Guarantee;

/// How the row solves instances.
pub(crate) const METHOD: Method = Method {
    goals: &[Goal::Makespan],
    effort: Effort::Quick,
    guarantee: Guarantee::Heuristic,
    solve: |run, _| {
        let Instance::Tasks(instance) = run.instance() else { return Ok(()) };
        run.offer(Solution::Devices(solve(&Times::of(instance)))).map(|_| ())
    },
};

/// The device of each task, by position.
#[must_use]
pub fn solve(times: &Times) -> Vec<u32> {
    let mut loads = vec![0_u64; times.n_devices()];
    let mut found = vec![0; times.n_tasks()];
    for task in times.by_size() {
        let end = |device: &usize| loads[*device].saturating_add(times.at(task, *device));
        if let Some(device) = (0..times.n_devices()).min_by_key(end) {
            loads[device] = end(&device);
            found[task] = device as u32;
        }
    }
    found
}
