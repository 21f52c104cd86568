//! The cost model and the judge: durations and bytes of ops and transfers, the replay of a plan,
//! its verification, and lower bounds.
//!
//! Never knows which algorithm made a plan.

pub mod accuracy;
pub mod annotate;
pub mod attention;
pub mod bound;
pub mod calibrate;
pub mod collective;
pub mod compute;
pub mod constants;
pub mod costs;
pub mod critical;
pub mod csr;
pub mod device_set;
pub mod explain;
pub mod fit;
mod flow;
mod groups;
pub mod instance;
pub mod interval;
pub mod judge;
pub mod layers;
pub mod lower;
pub mod matrix_product;
pub mod max_load;
pub mod memory;
pub mod moe;
pub mod objective;
pub mod origin;
pub mod origins;
pub mod overlap;
pub mod p_norm;
pub mod pipeline;
pub mod problem;
pub mod report;
pub mod residual;
pub mod score;
pub mod sibling;
pub mod stack;
pub mod training_memory;
pub mod transformer;
pub mod transformer_counts;
pub mod verify;
pub mod workload;
