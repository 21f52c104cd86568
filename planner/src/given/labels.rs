//! Pipelines whose stages have a data and a tensor degree: the slowest stage is as fast as can be.
//!
//! # Decides
//! The stage of every layer, its configuration, and the degrees of every stage.
//!
//! # Idea
//! Stages are set from the last to the first, because the memory of a stage depends on how many
//! copies there are from it on. For a target time, the best ways to have the last layers done are
//! pairs (devices used, copies used), of which only those count that no other beats in both. A
//! stage fits if the fastest choice of configurations within memory meets the target: a knapsack,
//! answered by its relaxation where that suffices and by branching where not, and remembered. The
//! target is bisected; each success continues from the value of its plan, and the last failure is
//! the proof.
//!
//! # Paper
//! Tarnawski et al., "Piper: Multidimensional Planner for DNN Parallelization", NeurIPS 2021 (the
//! problem, the program over ideals; there the knapsack is answered by a heuristic).
//!
//! # Guarantee
//! Optimal, to the nanosecond, if the ideals fit into memory, no knapsack exceeds its branches,
//! and the search is not stopped; else none.
//!
//! # Complexity
//! O(pairs of nested ideals x degrees x pairs (devices, copies)) per target.
//!
//! # Limits
//! One tensor degree per stage; ideals can be exponentially many: then there is no answer. No door
//! to models: a plan of ops puts each op on one device, so that the degrees of a stage, which are
//! what this row decides, can't be said in it.
//!
//! # Example
//! Two equal layers on two devices: a stage each, or both on two copies.

use cost_model::given::Goal;
use ir::instance::Instance;

use super::time_per_sample::{Limits, PAIRS_PER_LOOK, solve};
use crate::given::runner::{Effort, Method, Solution, method};
use crate::run::algorithm::Guarantee;

/// How the row solves instances.
pub(crate) const METHOD: Method = Method {
    goals: &[Goal::TimePerSample],
    effort: Effort::Thorough,
    guarantee: Guarantee::Optimal,
    solve: |run, _| {
        let Instance::Stages(instance) = run.instance() else { return Ok(()) };
        let found = solve(instance, &Limits::default(), &|| run.spend(PAIRS_PER_LOOK));
        run.prove(found.bound, method::IDEALS);
        if let Some((_, stages)) = found.pipeline {
            run.offer(Solution::Stages(stages))?;
        }
        if found.is_proved {
            run.close(method::IDEALS);
        }
        Ok(())
    },
};
