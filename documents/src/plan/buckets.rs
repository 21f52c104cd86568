//! Plans of what the replicas of a model exchange together.

use ir::diagnostic::Diagnostic;

use super::check::{refuse_any, refused};
use super::{CommunicationDocument, ModeDocument, PlanDocument, StageDocument};

impl PlanDocument {
    /// Whether it states what is exchanged together.
    #[must_use]
    pub fn has_buckets(&self) -> bool {
        self.communication.exchange.is_some() || !self.communication.buckets.is_empty()
    }

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

    /// Refuses what a plan of buckets does not decide, and what it can't be without.
    pub(super) fn check_buckets(&self) -> Result<(), Diagnostic> {
        let degrees = &self.parallelism;
        refuse_any(self.decided_elsewhere(), "is nothing that a plan of gradients decides")?;
        let ones = [degrees.tensor, degrees.pipeline, degrees.expert, degrees.context];
        if degrees.data < 2 || ones != [1; 4] || degrees.n_micro_batches != 1 {
            return Err(refused("parallelism", "is not that of replicas of all ops"));
        }
        let missing = [
            ("communication.exchange", self.communication.exchange.is_none()),
            ("communication.buckets", self.communication.buckets.is_empty()),
            ("cost", self.cost.is_none()),
        ];
        refuse_any(missing, "is missing")?;
        match self.workload.mode {
            ModeDocument::Training => Ok(()),
            ModeDocument::Inference => Err(refused("workload.mode", "has no gradients")),
        }
    }
}
