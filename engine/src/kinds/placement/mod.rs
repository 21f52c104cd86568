//! Plans of single ops: found, read back, and held against what they state.

pub mod alternatives;
pub mod busiest;
pub mod compare;
pub mod explain;
pub mod export;
pub mod found;
mod fused;
pub mod in_words;
mod kind;
pub mod narrower;
pub mod outcome;
pub mod plan;
pub mod replay;
pub mod report;
mod runnable;
mod slips;
pub mod stated;
pub mod trust;

/// Devices of ops.
pub struct Placement;
