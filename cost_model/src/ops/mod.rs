//! Plans of single ops: the problem with its costs, bounds on any plan, and the judge of one.

pub mod annotate;
pub mod bound;
pub mod critical;
mod flow;
pub mod gradients;
mod groups;
pub mod interval;
pub mod judge;
pub mod max_load;
pub mod objective;
pub mod origins;
pub mod problem;
pub mod workload;
