//! Layers of experts in parts by the closed form of FSMoE: the baseline.
//!
//! # Decides
//! What [`fsmoe`](super::fsmoe) does.
//!
//! # Idea
//! Every number of parts from 1 to 64 is scored by the greatest of four expressions, by which stream
//! dominates; gradients are sliced as there.
//!
//! # Paper
//! Pan et al., "FSMoE: A Flexible and Scalable Training System for Sparse Mixture-of-Experts Models",
//! ASPLOS 2025, arXiv:2501.10714, section 4 (the tool rounds parts to 1, 2, 4 and 8; this does not).
//!
//! # Guarantee
//! None. Where gather and scatter take as long, the form is never below the replay; what the plan states
//! is replayed.
//!
//! # Complexity
//! O(parts) for a layer; slices as [`fsmoe`](super::fsmoe).
//!
//! # Limits
//! Those of [`fsmoe`](super::fsmoe).
//!
//! # Example
//! GPT2-XL's layer on the paper's Testbed B: 6 parts forward, 5 backward, as by the replay.

use cost_model::streams::moe_step::Model;

use super::fsmoe::{self, Planned, Score};

/// Plans the layers of a model.
#[must_use]
pub fn solve(model: &Model) -> Planned {
    fsmoe::cut(model, Score::ClosedForm)
}
