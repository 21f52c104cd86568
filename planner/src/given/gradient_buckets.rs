//! Gradients in buckets: the step is as short as it can be.
//!
//! # Decides
//! Which gradients are exchanged together, and whether by all-reduce or through servers.
//!
//! # Idea
//! Buckets are neighbours in the order of readiness, and one is exchanged at a time. The earliest end of
//! the first `j` tensors' exchange is the least over the last cut `i` of `max(earliest end of the first i,
//! readiness of tensor j) + start-up + bytes of i..j`: an earlier end of what is before never makes what
//! follows later.
//!
//! # Paper
//! None; the problem is that of Shi, Chu and Li, "MG-WFBP: Efficient Data Communication for Distributed
//! Synchronous SGD Algorithms", INFOCOM 2019.
//!
//! # Guarantee
//! Optimal.
//!
//! # Complexity
//! Quadratic in the tensors, for each way of exchange.
//!
//! # Limits
//! One exchange at a time, in the order of readiness; a tensor is never cut.
//!
//! # Example
//! Tensors of 1, 1 and 4 bytes at 5, 6 and 20 s, start-up 2 s, 1 s a byte: the first two go whenever they
//! like, the last alone, from 20 to 26 s.

use cost_model::given::Goal;
use cost_model::given::gradients::{Buckets, cost, gradients};
use cost_model::links::collective::gradient::{AllReduceCost, Gradient};
use ir::instance::Instance;

use crate::given::runner::{Effort, Method, Solution, method};
use crate::run::algorithm::Guarantee;

/// How the row solves instances.
pub(crate) const METHOD: Method = Method {
    goals: &[Goal::StepTime],
    effort: Effort::Thorough,
    guarantee: Guarantee::Optimal,
    solve: |run, _| {
        let Instance::Gradients(instance) = run.instance() else { return Ok(()) };
        let gradients = gradients(instance);
        for own in &instance.costs {
            let Some(cost) = cost(instance, own.exchange) else { continue };
            let stop = |n: usize| run.spend(n as u64);
            let Some(lengths) = solve(&gradients, cost, &stop) else { return Ok(()) };
            run.offer(Solution::Buckets(Buckets { exchange: own.exchange, lengths }))?;
        }
        run.close(method::GROUPS);
        Ok(())
    },
};

/// Tensors of each bucket, in the order of readiness, whose last exchange ends first; `None` where
/// `stop`, told of the cuts that were looked at, ended the search.
#[must_use]
pub fn solve(
    gradients: &[Gradient],
    cost: AllReduceCost,
    stop: &dyn Fn(usize) -> bool,
) -> Option<Vec<usize>> {
    let mut bytes = vec![0.0; gradients.len() + 1];
    for (at, own) in gradients.iter().enumerate() {
        bytes[at + 1] = bytes[at] + own.bytes;
    }
    let mut ends = vec![0.0_f64; gradients.len() + 1];
    let mut cuts = vec![0; gradients.len() + 1];
    let mut ready_s = 0.0_f64;
    for (to, own) in (1..).zip(gradients) {
        ready_s = ready_s.max(own.ready_s);
        let mut best = (f64::INFINITY, 0);
        for from in (0..to).rev() {
            let end = ends[from].max(ready_s) + cost.seconds(bytes[to] - bytes[from]);
            if end < best.0 {
                best = (end, from);
            }
            // Further back more bytes start no earlier.
            if ends[from] <= ready_s {
                break;
            }
        }
        (ends[to], cuts[to]) = best;
        if stop(to) {
            return None;
        }
    }
    let (mut lengths, mut to) = (Vec::new(), gradients.len());
    while to > 0 {
        lengths.push(to - cuts[to]);
        to = cuts[to];
    }
    lengths.reverse();
    Some(lengths)
}
