//! Gradients merged by the rule of MG-WFBP: the baseline.
//!
//! # Decides
//! Which gradients are exchanged together, and whether by all-reduce or through servers.
//!
//! # Idea
//! In the order of readiness a gradient joins the bucket before it if that one's exchange has not ended
//! by then, and has either not started or would wait for less than the start-up that is saved.
//!
//! # Paper
//! Shi, Chu and Li, "MG-WFBP: Efficient Data Communication for Distributed Synchronous SGD Algorithms",
//! INFOCOM 2019, section 4.
//!
//! # Guarantee
//! None.
//!
//! # Complexity
//! Linear in the tensors.
//!
//! # Limits
//! One exchange at a time; what follows a gradient is not looked at.
//!
//! # Example
//! Tensors of 1, 1 and 4 bytes at 5, 6 and 20 s, start-up 2 s, 1 s a byte: the second makes the first wait
//! for 1 s and saves 2.

use cost_model::given::Goal;
use cost_model::given::gradients::{Buckets, cost, gradients};
use cost_model::links::collective::gradient::mg_wfbp;
use ir::instance::Instance;

use crate::given::runner::{Effort, Method, Solution};
use crate::run::algorithm::Guarantee;

/// How the row solves instances.
pub(crate) const METHOD: Method = Method {
    goals: &[Goal::StepTime],
    effort: Effort::Quick,
    guarantee: Guarantee::Heuristic,
    solve: |run, _| {
        let Instance::Gradients(instance) = run.instance() else { return Ok(()) };
        let gradients = gradients(instance);
        for all_reduce in &instance.costs {
            let Some(cost) = cost(instance, all_reduce.exchange) else { continue };
            let lengths = mg_wfbp(&gradients, cost);
            run.offer(Solution::Buckets(Buckets::whole(all_reduce.exchange, lengths)))?;
        }
        Ok(())
    },
};
