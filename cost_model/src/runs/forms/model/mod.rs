//! Training runs of models whose blocks are of several kinds, with a partition and a policy of
//! recompute per stage: what a plan of such a run costs, in time and memory of every rank.
//!
//! Blocks, ends and collectives are priced as in [`super::block`] and [`super::ends`], memory as in
//! [`crate::runs::memory`]; here they are put together by stages, as [`crate::runs::oracle`] asks.

use ir::card::{MemoryFeature, ModelCard, StateFormat};
use ir::stack::Stack;
use ir::tensor::DType;
use ir::units::Bytes;
use ir::workload::Optimizer;

pub use crate::runs::oracle::Offload;

use super::constants::Constants;
use super::corrections::{Corrections, NONE};
use super::run::Gradients;
use super::system::System;

mod both_ends;
pub mod counts;
mod ending;
pub mod expert_overlap;
mod figures;
mod host;
pub mod kind;
mod late;
mod part;
mod placeholders;
pub mod priced;
pub mod shape;
mod states;
mod tuned;

#[cfg(test)]
mod fine_tuning_tests;
#[cfg(test)]
mod tests;

/// What prices a training run: model, devices, software and formats of numbers.
#[derive(Clone, Copy, Debug)]
pub struct Pricing<'a> {
    /// The model.
    pub model: &'a ModelCard,
    /// Devices and links.
    pub system: &'a System,
    /// The software.
    pub stack: &'a Stack,
    /// Constants of the step-time model.
    pub constants: &'a Constants,
    /// What measured steps say of blocks beside them.
    pub corrections: &'a Corrections,
    /// Type that is computed in, one of [`super::precision::TYPES`].
    pub dtype: DType,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// Numbers of the gradients that replicas exchange.
    pub gradients: Gradients,
    /// Formats of parameters, gradients and master weights.
    pub format: StateFormat,
    /// What of the software costs memory beside what all of it does.
    pub features: &'a [MemoryFeature],
    /// Bytes beside what is computed, of each device: rounding of the allocator, small tensors.
    pub resident: f64,
    /// What a device can hold; `None` = unlimited.
    pub limit: Option<Bytes>,
    /// What hosts keep.
    pub offload: Offload,
}

impl<'a> Pricing<'a> {
    /// Of a run in bf16 with AdamW, by nominal costs, without limits.
    #[must_use]
    pub const fn unlimited(
        model: &'a ModelCard,
        system: &'a System,
        stack: &'a Stack,
        constants: &'a Constants,
    ) -> Self {
        Self {
            model,
            system,
            stack,
            constants,
            corrections: &NONE,
            dtype: DType::Bf16,
            optimizer: Optimizer::AdamW,
            gradients: Gradients::Half,
            format: StateFormat::Megatron,
            features: &[],
            resident: 0.0,
            limit: None,
            offload: Offload::Nothing,
        }
    }
}
