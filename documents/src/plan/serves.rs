//! Plans of a model that serves as one forward pipeline.

use ir::card::ModelCard;
use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;

use super::check::refused;
use super::head::Head;
use super::phase::PhaseDocument;
use super::request::RequestDocument;
use super::served::ServedDocument;
use super::training::{BlocksDocument, RecomputeDocument, StageMeshDocument};
use super::{CostDocument, ModeDocument, PlanDocument, Reference, StageDocument, WorkloadDocument};
use crate::digest;

/// An inference pipeline, and what it was made of and for.
#[derive(Clone, Debug)]
pub struct ServedContext<'a> {
    /// The model.
    pub model: &'a ModelCard,
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The constants.
    pub profile: Reference,
    /// Name of the type that products are computed in.
    pub dtype: &'a str,
    /// Samples of a batch.
    pub batch: u64,
    /// What was asked for.
    pub request: RequestDocument,
    /// What was minimised.
    pub objective: &'a str,
    /// The row that made the plan.
    pub algorithm: &'a str,
    /// By stage its device, first block and number of blocks.
    pub stages: Vec<(String, u32, u32)>,
}

/// Blocks on a device with all samples of a batch.
fn stage((device, first, n): (String, u32, u32), batch: u64) -> StageDocument {
    let recompute = RecomputeDocument::None;
    StageDocument {
        ops: Vec::new(),
        blocks: Some(BlocksDocument { first, n, recompute, each: Vec::new() }),
        mesh: Some(StageMeshDocument { devices: vec![device], tensor: 1, samples: vec![batch] }),
    }
}

impl PlanDocument {
    /// The document of an inference pipeline.
    #[must_use]
    pub fn from_served(
        served: ServedDocument,
        context: ServedContext<'_>,
        cost: CostDocument,
    ) -> Self {
        let pipeline = u32::try_from(context.stages.len()).unwrap_or(u32::MAX);
        let of = |planned| stage(planned, context.batch);
        let stages = context.stages.into_iter().map(of).collect();
        let mut plan = Self::new(Head {
            model: Reference::new(&context.model.name, digest::card(context.model)),
            cluster: Reference::new(&context.cluster.name, digest::cluster(context.cluster)),
            profile: context.profile,
            workload: WorkloadDocument {
                dtype: Some(context.dtype.to_owned()),
                ..WorkloadDocument::of(ModeDocument::Inference, context.batch)
            },
            request: context.request,
            objective: context.objective.to_owned(),
            algorithm: context.algorithm.to_owned(),
        });
        plan.parallelism.pipeline = pipeline;
        plan.partition.stages = stages;
        (plan.cost, plan.served) = (Some(cost), Some(served));
        plan
    }

    /// Refuses an inference plan with impossible values.
    pub(super) fn check_served(&self, served: &ServedDocument) -> Result<(), Diagnostic> {
        if self.workload.mode != ModeDocument::Inference {
            return Err(refused("workload.mode", "is not that of an inference pipeline"));
        }
        match served.phase {
            PhaseDocument::Training => Err(refused("served.phase", "serves nothing")),
            PhaseDocument::Prefill if served.tokens == 0 => {
                Err(refused("served.tokens", "is 0, but must be at least 1"))
            }
            PhaseDocument::Decode if served.tokens != 1 => {
                Err(refused("served.tokens", "must be 1 in decode"))
            }
            PhaseDocument::Prefill | PhaseDocument::Decode => Ok(()),
        }
    }
}
