//! Training runs on a transformer card: costs of blocks and ends from the forms of
//! [`crate::kernels::plain_product`] and [`crate::links::collective`], of chunks from these, and of the step by the judge
//! of pipelines.
//!
//! A [`run::Run`] says what trains how, a [`system::System`] on what, a [`ir::stack::Stack`] with
//! which software, and [`constants::Constants`] hold what measured steps may correct.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use cost_model::runs::forms::constants::Constants;
//! use cost_model::runs::forms::corrections::Corrections;
//! use cost_model::runs::forms::run::Run;
//! use cost_model::runs::forms::step::Timer;
//! use cost_model::runs::forms::system::System;
//! use cost_model::runs::forms::{Way, predict};
//! use ir::card::{Attention, FeedForward, Head, Recompute, TransformerCard};
//! use ir::measured::GpuFacts;
//! use ir::plan::Parallelism;
//!
//! let card = TransformerCard {
//!     name: "gpt".to_owned(),
//!     n_layers: 24,
//!     hidden: 2048,
//!     n_heads: 16,
//!     n_kv_heads: 16,
//!     feed_forward: 8192,
//!     form: FeedForward::Plain,
//!     sequence: 1024,
//!     vocabulary: 51_200,
//!     experts: None,
//!     attention: Attention::Even,
//!     head: Head::Tied,
//! };
//! let parallelism = Parallelism { tensor: 2, micro_batch: 4, n_micro_batches: 8, ..Default::default() };
//! let run = Run::equal(card, parallelism, Recompute::Full);
//! let facts = GpuFacts {
//!     memory_bandwidth: 2.039e12,
//!     peak: 312e12,
//!     n_multiprocessors: 108,
//!     last_level_cache: None,
//!     clock: None,
//! };
//! let system = System::a100_hosts("a100", &facts, BTreeMap::new(), 22.5e9).unwrap();
//! let stack = cost_model::kernels::stack::megatron_deepspeed_2021();
//! let constants = Constants::nominal(&stack);
//! let none = Corrections::default();
//! let timer = Timer::new(&system, &stack, &constants, &none);
//! let step = predict(&timer.costs(&run), &Way::ClosedForm).unwrap();
//! assert!(step.step_s > 1.0 && step.step_s < 3.0, "{step:?}");
//! ```

use ir::grid::Grid;

use crate::kernels::origin::Origin;
use crate::runs::judge::violation::Violation;

pub mod block;
mod closed;
pub mod constants;
pub mod corrections;
pub mod ends;
pub mod fit;
pub mod hosts;
pub mod interval;
mod lower;
pub mod model;
pub mod precision;
mod products;
pub mod rank_groups;
mod rates;
pub mod run;
pub mod step;
pub mod system;

use step::StepCosts;

/// How the step follows from the costs of its chunks.
#[derive(Clone, Debug)]
pub enum Way<'a> {
    /// By formula, of equal stages: fast enough for fits.
    ClosedForm,
    /// By replaying the order of each rank.
    Replay(&'a Grid),
}

/// A predicted step. The parts are those of the slowest rank and add up to the whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepPrediction {
    /// The whole step in seconds.
    pub step_s: f64,
    /// Kernels and launches of all passes.
    pub compute_s: f64,
    /// Tensor- and context-parallel collectives of all passes.
    pub tensor_s: f64,
    /// Waiting for other stages.
    pub bubble_s: f64,
    /// Transfers between stages that nothing hides (an estimate, never more than the waiting).
    pub neighbours_s: f64,
    /// Gradient exchange after the last pass.
    pub exchange_s: f64,
    /// Optimizer.
    pub optimizer_s: f64,
    /// Where the figure comes from.
    pub origin: Origin,
}

/// The step of given costs; its origin is [`Origin::Nominal`], for the caller to raise where
/// constants were fitted.
///
/// # Errors
/// What the judge of pipelines finds wrong with a grid.
pub fn predict(costs: &StepCosts, way: &Way<'_>) -> Result<StepPrediction, Violation> {
    match way {
        Way::ClosedForm => Ok(costs.closed_form(Origin::Nominal)),
        Way::Replay(grid) => costs.replay(grid, Origin::Nominal),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests;
