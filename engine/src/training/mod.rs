//! Training runs on a model card, from a config or from a graph.

pub mod measured;
pub mod model;
pub mod numbers;
pub mod pins;
pub mod setting;
pub mod told;
pub mod unasked;
pub mod words;
