//! How a model is spread over devices: degrees of all axes, and what follows from them.

pub mod order;
pub mod per_layer;
pub mod search_3d;
