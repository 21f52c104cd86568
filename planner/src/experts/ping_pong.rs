//! Attention and experts on devices of their own, micro-batches in turns between them: the baseline.
//!
//! # Decides
//! What [`findep`](super::findep) does, but for parts and order: tokens of a micro-batch go to the experts
//! and back as a whole, what all tokens visit follows attention.
//!
//! # Idea
//! Every number of devices for attention, size and number of micro-batches is scored, one micro-batch
//! included.
//!
//! # Paper
//! Ping-pong pipelines of MegaScale-Infer, arXiv:2504.02263, section 4.1, as FinDEP compares itself to them,
//! arXiv:2512.21487, section 5.
//!
//! # Guarantee
//! None. The best of its space.
//!
//! # Complexity
//! O(devices x sizes x layers x micro-batches).
//!
//! # Limits
//! Those of [`findep`](super::findep).
//!
//! # Example
//! Attention 2 ms, shared experts 1, an exchange 2 and experts 4: two micro-batches go through a layer in
//! 14 ms, one of them in 10.

use super::findep::{Planned, Problem, Scope, search};

/// The best split.
#[must_use]
pub fn solve(problem: &Problem) -> Option<Planned> {
    search(problem, Scope::Whole)
}
