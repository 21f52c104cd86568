//! Training runs on a transformer card: costs of blocks and ends from the forms of
//! [`crate::kernels::plain_product`] and [`crate::links::collective`], of stages from these
//! ([`model`]), as [`crate::runs::oracle`] asks, and of the step by the judge of pipelines.
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
//! use cost_model::runs::forms::step::Steps;
//! use cost_model::runs::forms::system::System;
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
//! let step_s = Steps::new(&system, &stack, &constants, &none).closed_form_s(&run);
//! assert!(step_s > 1.0 && step_s < 3.0, "{step_s}");
//! ```

pub mod block;
pub mod correct;
pub mod corrections;
pub mod ends;
pub mod exchange;
pub mod fit;
pub mod hosts;
pub mod interval;
pub mod model;
pub mod rank_groups;
pub mod run;
pub mod step;
pub mod system;

pub use crate::kernels::precision;
pub use crate::kernels::step_constants as constants;

#[cfg(test)]
mod tests;
