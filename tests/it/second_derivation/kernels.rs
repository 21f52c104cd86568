//! Seconds of kernels, the one thing that is taken from the engine: on devices whose links take no
//! time.

use cost_model::kernels::stack::preset;
use cost_model::links::collective::Link;
use cost_model::runs::forms::constants::Constants;
use cost_model::runs::forms::corrections::Corrections;
use cost_model::runs::forms::model::priced::{Passes, Priced};
use cost_model::runs::forms::model::{Offload, Pricing};
use cost_model::runs::forms::run::Gradients;
use cost_model::runs::forms::system::System;
use ir::card::{ModelCard, SequenceParallel, StateFormat};
use ir::cluster::Cluster;
use ir::plan::Parallelism;
use ir::profile::Profile;
use ir::stack::{AttentionKernel, Launch, Stack};
use ir::tensor::DType;
use ir::units::BytesPerSecond;
use ir::workload::Optimizer;
use serde_json::Value;

use super::shape::Numbers;

/// Seconds of kernels on one device.
pub(super) struct Kernels {
    /// Forward and backward pass of a block.
    pub(super) block: [f64; 2],
    /// The least that they take, because a host has to launch them.
    pub(super) launched: [f64; 2],
    /// Head, loss and their backward pass, a third of it forward.
    pub(super) head: f64,
    /// Optimizer, per parameter.
    pub(super) optimizer: f64,
    /// Share of an exchange of gradients that the stack runs beside passes.
    pub(super) overlap: f64,
}

/// Parameters whose optimizer is timed.
const MANY: f64 = 1e9;

/// The stack of mixtures: tokens go by all-to-alls, and nothing overlaps.
pub(super) const IN_TURN: &str = "megatron-core-no-overlap";

/// Of the default stack, or of that of mixtures, for the `parallelism` of a plan.
pub(super) fn kernels(
    model: &ModelCard,
    cluster: &Cluster,
    parallelism: &Value,
    numbers: Numbers,
) -> Kernels {
    let name = if model.has_experts() { IN_TURN } else { "megatron-core" };
    let mut stack = preset(name).unwrap();
    if numbers.is_single {
        stack.attention = AttentionKernel::Unfused;
    }
    let recorded = Stack { launch: Launch::CudaGraphs, ..stack.clone() };
    let constants = Constants::nominal(&stack);
    let mut system = System::of(cluster, &Profile::default()).unwrap();
    let free = Link { start_up_s: 0.0, rate: BytesPerSecond::new(1e30).unwrap() };
    (system.inside, system.network) = (free, free);
    let corrections = Corrections::default();
    let pricing = |stack| Pricing {
        model,
        system: &system,
        stack,
        constants: &constants,
        corrections: &corrections,
        dtype: if numbers.is_single { DType::F32 } else { DType::Bf16 },
        optimizer: if numbers.is_sgd { Optimizer::Sgd } else { Optimizer::AdamW },
        gradients: Gradients::Full,
        format: StateFormat::default(),
        features: &[],
        resident: 0.0,
        limit: None,
        offload: Offload::Nothing,
    };
    let degree = |name: &str| parallelism[name].as_u64().unwrap() as u32;
    let training = &parallelism["training"];
    let degrees = Parallelism {
        tensor: degree("tensor"),
        context: degree("context"),
        expert: degree("expert"),
        expert_tensor: training["expert_tensor"].as_u64().map(|n| n as u32),
        data: degree("data"),
        micro_batch: training["micro_batch"].as_u64().unwrap(),
        sequence: match training["sequence_parallel"].as_bool().unwrap() {
            true => SequenceParallel::On,
            false => SequenceParallel::Off,
        },
        ..Parallelism::default()
    };
    let (bare, launched) =
        (Passes::of(&pricing(&recorded), &degrees), Passes::of(&pricing(&stack), &degrees));
    let both = |passes: &Passes| [passes.kinds[0].forward_s, passes.kinds[0].backward_s];
    let (block, launched_block, head) = (both(&bare), both(&launched), launched.head_s);
    let alone = Priced::new(pricing(&stack), Parallelism::default(), launched.into());
    Kernels {
        block,
        launched: launched_block,
        head,
        optimizer: alone.optimizer_s(MANY, 0.0) / MANY,
        overlap: stack.overlap_data,
    }
}
