//! Training runs on a model card, from a config or from a graph.

pub mod answer;
pub mod break_even;
pub mod capabilities;
mod claims;
pub mod compare;
pub mod document;
pub mod edges;
mod energy;
pub mod export;
pub mod figures;
mod global_batch;
mod hardware;
pub mod layered;
pub mod losses;
mod margin;
pub mod measured;
pub mod model;
mod no_configuration;
pub mod nothing_fits;
pub mod numbers;
pub mod pins;
pub mod replaced;
pub mod replay;
pub mod runnable;
mod runners;
pub mod searched;
pub mod setting;
mod spares;
mod tiers;
pub mod told;
mod trust;
pub mod unasked;
pub mod unlike;

/// The name of the search by forms.
pub const ALGORITHM: &str = "search-3d";
