//! Plans of single ops: found, read back, and held against what they state.

pub mod busiest;
pub mod found;
pub mod narrower;
pub mod replay;
pub mod report;
mod slips;
pub mod stated;
pub mod trust;
