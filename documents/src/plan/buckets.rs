//! Plans of what the replicas of a model exchange together.

use ir::diagnostic::Diagnostic;
use serde::Serialize;

use super::check::refused;
use super::{CommunicationDocument, ModeDocument, PlanDocument, StageDocument};

impl PlanDocument {
    /// Makes it one of so many replicas of all ops, of so many samples together where they are stated.
    pub fn share_out(
        &mut self,
        replicas: u32,
        batch: Option<u64>,
        communication: CommunicationDocument,
    ) {
        (self.parallelism.data, self.workload.batch) = (replicas, batch);
        self.parallelism.n_micro_batches = 1;
        self.partition.stages = vec![StageDocument { ops: Vec::new(), blocks: None, mesh: None }];
        self.communication = communication;
    }

    /// Refuses degrees and steps that have no replicas' gradients.
    pub(super) fn check_buckets(&self) -> Result<(), Diagnostic> {
        let degrees = &self.parallelism;
        let ones = [degrees.tensor, degrees.pipeline, degrees.expert, degrees.context];
        if degrees.data < 2 || ones != [1; 4] || degrees.n_micro_batches != 1 {
            return Err(refused("parallelism", "is not that of replicas of all ops"));
        }
        match self.workload.mode {
            ModeDocument::Training => Ok(()),
            ModeDocument::Inference => Err(refused("workload.mode", "has no gradients")),
        }
    }
}

/// A plan of what the replicas of a model exchange together in figures, times in seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GradientsFigures {
    /// Replicas.
    pub replicas: u64,
    /// The step: both passes, and what of the exchange no pass hides.
    pub seconds: f64,
    /// What no buckets are below.
    pub bound_seconds: f64,
    /// Both passes alone.
    pub passes_seconds: f64,
    /// Samples per second of all replicas; null where no samples are stated.
    pub samples_per_s: Option<f64>,
}
