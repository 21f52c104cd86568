//! Rows that plan models that serve, on devices of any kinds, and fleets of workers.

pub mod fleet;
pub mod fleets;
pub mod serving_fleet;
pub mod serving_pipeline;

use std::sync::Arc;

use cost_model::runs::served::{Costs, Goal, Judged, Piece};

use crate::run::algorithm::Guarantee;
use crate::run::entry::{Problems, door};
use crate::run::{Control, StopReason};

/// A pipeline with what it takes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its stages.
    pub pieces: Vec<Piece>,
    /// What they take.
    pub judged: Judged,
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The best pipeline, where one fits.
    pub best: Option<Plan>,
    /// Nanoseconds that no pipeline's period is below.
    pub bound: u64,
    /// Which bound it is.
    pub bound_method: &'static str,
    /// Why it ended.
    pub stop: StopReason,
}

/// Searches the pipelines of some costs.
pub type Search = fn(&Costs, Goal, &Arc<Control>) -> Found;

/// How a row plans pipelines that serve.
pub struct Serves(pub Search, pub Guarantee);

/// Pipelines that serve a model.
pub const SERVING: Problems =
    Problems { name: "serving", planned: "plans pipelines that serve (--phase decode or prefill)" };

door!(Serves, SERVING, Goal::ALL.map(Goal::name).to_vec());
