//! What a run is of: model, devices, software, and what was asked of them.

pub mod capabilities;
pub mod checks;
pub mod edges;
pub mod global_batch;
pub mod hardware;
mod layered;
pub mod margin;
pub mod measured;
pub mod model;
pub mod numbers;
pub mod pins;
pub mod setting;
pub mod step;
mod tuned;
