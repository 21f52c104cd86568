//! Training runs on a model card, from a config or from a graph.

pub mod answer;
pub mod break_even;
mod claims;
pub mod compare;
pub mod document;
mod energy;
pub mod explain;
pub mod export;
pub mod figures;
pub mod followed;
mod kind;
pub mod layered;
pub mod losses;
mod no_configuration;
pub mod nothing_fits;
pub mod plan;
pub mod plan_layered;
pub mod plan_unlike;
mod recommended;
pub mod replaced;
pub mod replay;
pub mod runnable;
mod runners;
mod screen;
pub mod searched;
mod spares;
mod tiers;
pub mod told;
mod trust;
pub mod unasked;
pub mod unlike;
mod usual;
mod why_not;

/// The name of the search by forms.
pub const ALGORITHM: &str = "search-3d";

/// Degrees, stages and schedules of training runs.
pub struct Training;
