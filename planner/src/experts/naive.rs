//! Attention and experts on devices of their own, one after the other: the baseline.
//!
//! # Decides
//! How many devices hold attention; all samples that memory holds go through at once, in one part.
//!
//! # Idea
//! Every number of devices for attention is scored.
//!
//! # Paper
//! FinDEP, arXiv:2512.21487, section 5: what it compares itself to.
//!
//! # Guarantee
//! None.
//!
//! # Complexity
//! O(devices x layers).
//!
//! # Limits
//! Those of [`findep`](super::findep).
//!
//! # Example
//! Attention 2 ms, shared experts 1, an exchange 2 and experts 4: a layer takes 10 ms.

use super::findep::{Planned, Problem, Scope, search};

/// The best split.
#[must_use]
pub fn solve(problem: &Problem) -> Option<Planned> {
    search(problem, Scope::Largest)
}
