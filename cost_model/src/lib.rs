//! The cost model and the judge: durations and bytes of ops and transfers, the replay of a plan,
//! its verification, and lower bounds.
//!
//! Never knows which algorithm made a plan.

pub mod csr;
pub mod problem;
