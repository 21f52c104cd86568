//! Shardings: where each tensor of a training step is split over the axes of a mesh.

use ir::card::ModelCard;
use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::tensor::DType;
use ir::workload::Optimizer;
use serde::{Deserialize, Serialize};

use super::check::refused;
use super::head::Head;
use super::request::RequestDocument;
use super::{CostDocument, ModeDocument, PlanDocument, Reference, WorkloadDocument};
use crate::digest;

/// Ops and collectives of a plan at most.
const MOST: usize = 1 << 16;

/// An axis of a mesh of devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct AxisDocument {
    /// Its name.
    pub axis: String,
    /// Devices of a group.
    pub size: u64,
}

/// By axis what it does to a tensor: `R` for replicated, `S(1)` for split along dimension 1, `P` for partial sums.
pub type PlacementDocument = Vec<String>;

/// An op, or without inputs a parameter or an input of the step. `layers.*` are all layers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct ShardedOpDocument {
    /// Its name.
    pub op: String,
    /// Placements of its inputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<PlacementDocument>,
    /// Placements of its outputs.
    pub outputs: Vec<PlacementDocument>,
}

/// A collective over the devices of an axis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct CollectiveDocument {
    /// The axis.
    pub axis: String,
    /// `all-reduce`, `reduce-scatter`, `all-gather` or `all-to-all`.
    pub operation: String,
}

/// Redistribution of a tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct RedistributionDocument {
    /// The tensor.
    pub tensor: String,
    /// As it is produced.
    pub from: PlacementDocument,
    /// As it is used.
    pub to: PlacementDocument,
    /// In their order.
    pub collectives: Vec<CollectiveDocument>,
    /// Bytes of the whole tensor.
    pub bytes: u64,
    /// Seconds of one.
    pub seconds: f64,
    /// How often in a micro-batch.
    pub times: u32,
}

/// Where each tensor of a training step is split.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct ShardingDocument {
    /// Name of the software stack.
    pub stack: String,
    /// Tokens of a sample.
    pub sequence_length: u64,
    /// Axes, the outermost first; devices are numbered along the last.
    pub mesh: Vec<AxisDocument>,
    /// Whether layers run again in the backward pass.
    pub recompute: bool,
    /// Most bytes of a device.
    pub peak_memory_bytes: u64,
    /// The op at which it holds them.
    pub peak_memory_at: String,
    /// Share of the collectives of parameters and gradients that the program priced; the rest was hidden in a replay.
    pub exposed_share: f64,
    /// Strategies.
    pub ops: Vec<ShardedOpDocument>,
    /// What takes time between ops.
    pub redistributions: Vec<RedistributionDocument>,
}

impl ShardingDocument {
    /// Refuses impossible values.
    pub(super) fn check(&self, plan: &PlanDocument) -> Result<(), Diagnostic> {
        let sizes = self.mesh.iter().map(|axis| axis.size);
        if self.mesh.is_empty() || self.mesh.len() > 3 || sizes.clone().any(|size| size == 0) {
            return Err(refused("sharding.mesh", "needs one to three axes of at least 1"));
        }
        if sizes.fold(1, u64::saturating_mul) > 1 << 20 {
            return Err(refused("sharding.mesh", "has more than 1,048,576 devices"));
        }
        if self.sequence_length == 0 {
            return Err(refused("sharding.sequence_length", "is 0, but must be at least 1"));
        }
        if self.ops.len() > MOST || self.redistributions.len() > MOST {
            return Err(refused("sharding.ops", "has more than 65,536 entries"));
        }
        match plan.workload.mode {
            ModeDocument::Training => Ok(()),
            ModeDocument::Inference => {
                Err(refused("workload.mode", "is not that of a training step"))
            }
        }
    }
}

/// What a sharding was planned for.
pub struct ShardingContext<'a> {
    /// The model.
    pub model: &'a ModelCard,
    /// The cluster.
    pub cluster: &'a Cluster,
    /// What its costs were measured by.
    pub profile: Reference,
    /// What was asked for.
    pub request: RequestDocument,
    /// Type that is computed in, and the optimizer.
    pub numbers: (DType, Optimizer),
    /// Samples of a step, and micro-batches one after another.
    pub samples: (u64, u64),
    /// The recipe.
    pub algorithm: &'a str,
}

impl PlanDocument {
    /// The document of a sharding.
    #[must_use]
    pub fn from_sharding(
        sharding: ShardingDocument,
        context: ShardingContext<'_>,
        cost: CostDocument,
    ) -> Self {
        let (dtype, optimizer) = context.numbers;
        let (batch, n_micro_batches) = context.samples;
        let mut plan = Self::new(Head {
            model: Reference::new(&context.model.name, digest::card(context.model)),
            cluster: Reference::new(&context.cluster.name, digest::cluster(context.cluster)),
            profile: context.profile,
            workload: WorkloadDocument {
                dtype: Some(dtype.name().to_owned()),
                optimizer: Some(optimizer.into()),
                micro_batch: Some(batch / n_micro_batches.max(1)),
                ..WorkloadDocument::of(ModeDocument::Training, batch)
            },
            request: context.request,
            objective: "step-time".to_owned(),
            algorithm: context.algorithm.to_owned(),
        });
        plan.parallelism.n_micro_batches = n_micro_batches;
        (plan.cost, plan.sharding) = (Some(cost), Some(Box::new(sharding)));
        plan
    }
}

/// A sharding in figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ShardingFigures {
    /// Seconds of a step, replayed.
    pub seconds: f64,
    /// What the program takes it for: ops and collectives one after another, hidden ones left out.
    pub priced_seconds: f64,
    /// What no sharding of the same micro-batches is priced below.
    pub bound_seconds: f64,
    /// Of a step, seconds of collectives.
    pub collective_seconds: f64,
    /// Of these, those that ops do not hide.
    pub exposed_seconds: f64,
    /// Micro-batches, one after another.
    pub n_micro_batches: u64,
    /// Most bytes of a device.
    pub peak_memory_bytes: u64,
    /// Strategies of all ops.
    pub n_strategies: u64,
    /// Columns of the integer program.
    pub n_columns: u64,
}
