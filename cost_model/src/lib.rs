//! The cost model and the judge: durations and bytes of ops and transfers, the replay of a plan,
//! its verification, and lower bounds.
//!
//! Never knows which algorithm made a plan.

pub mod calibrate;
pub mod energy;
pub mod experts;
pub mod explain;
pub mod given;
pub mod kernels;
pub mod links;
pub mod numeric;
pub mod ops;
pub mod runs;
pub mod serving;
pub mod streams;
