//! How often replicas average their models, and which part of gradients and models they send.
//!
//! # Decides
//! The way, the steps between averages, and the ratios.
//!
//! # Idea
//! All that the file allows and that sends as much as it asks for is priced; of what takes as long, that
//! which sends most.
//!
//! # Paper
//! Xie et al., "CSER", NeurIPS 2020; Xie et al., "Local AdaAlter", arXiv:1911.09030; Douillard et al.,
//! "DiLoCo", arXiv:2311.08105. The formulas are those of `cost_model::given::synchronisation`.
//!
//! # Guarantee
//! Optimal: each choice is looked at.
//!
//! # Complexity
//! Choices.
//!
//! # Limits
//! Nothing overlaps with computing, and nothing is said of how training converges.
//!
//! # Example
//! Models of 1 s on the ring, beside 2 s of computing: every 4 steps a step takes 2.25 s.

use std::cmp::Reverse;

use cost_model::given::Goal;
use cost_model::given::synchronisation::{choices, step};
use ir::instance::Instance;

use crate::given::runner::{Effort, Method, Solution};
use crate::run::algorithm::Guarantee;

/// How the row solves instances.
pub(crate) const METHOD: Method = Method {
    goals: &[Goal::AveragedStep],
    effort: Effort::Quick,
    guarantee: Guarantee::Optimal,
    solve: |run, _| {
        let Instance::Averaging(instance) = run.instance() else { return Ok(()) };
        let all = choices(instance).into_iter();
        let priced = all.filter_map(|choice| Some((step(instance, &choice)?, choice)));
        let sent = |share: f64| Reverse((share * 1e12) as u64);
        let best =
            priced.min_by_key(|(step, choice)| (*step, sent(choice.sent_share()), choice.every));
        best.map_or(Ok(()), |(_, choice)| run.offer(Solution::Synchronisation(choice)).map(|_| ()))
    },
};
