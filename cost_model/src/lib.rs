//! The cost model and the judge: durations and bytes of ops and transfers, the replay of a plan,
//! its verification, and lower bounds.
//!
//! Never knows which algorithm made a plan.

pub mod annotate;
pub mod bound;
pub mod compute;
pub mod constants;
pub mod costs;
pub mod csr;
pub mod device_set;
mod flow;
mod groups;
pub mod judge;
pub mod lower;
pub mod memory;
pub mod objective;
pub mod problem;
pub mod report;
pub mod verify;
pub mod workload;
