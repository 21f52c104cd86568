//! Where a model is cut: contiguous parts, one device each.

pub(crate) mod blocks_anneal;
pub mod chain;
pub mod ideals;
pub(crate) mod labels;
pub mod latency;
pub mod straight;
pub mod time_per_sample;
