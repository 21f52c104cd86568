//! Training runs: how a model is spread over devices, and what follows from that.

pub mod doors;
mod front;
pub mod order;
pub mod per_layer;
pub mod schedule;
pub mod search;
pub mod search_3d;
pub mod structure;
pub mod unlike_nodes;
