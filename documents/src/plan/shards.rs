//! A sharding as a plan document.

use ir::card::ModelCard;
use ir::cluster::Cluster;
use ir::tensor::DType;
use ir::workload::Optimizer;

use super::head::Head;
use super::request::RequestDocument;
use super::sharding::ShardingDocument;
use super::{CostDocument, ModeDocument, PlanDocument, Reference, WorkloadDocument};
use crate::digest;

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
