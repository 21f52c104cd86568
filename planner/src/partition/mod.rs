//! Where a model is cut: contiguous parts, one device each.

pub mod chain;
pub mod ideals;
pub mod latency;
pub mod straight;
pub mod time_per_sample;
