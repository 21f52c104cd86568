//! Plans of what the replicas of a model exchange together.

use ir::diagnostic::Diagnostic;

use super::check::refused;
use super::experts::ExpertsDocument;
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
        let (schedule, degrees) = (&self.schedule, &self.parallelism);
        let others = [
            ("training", self.training.is_some()),
            ("placement", !self.placement.is_empty()),
            ("experts", self.experts != ExpertsDocument::default()),
            ("schedule.devices", !schedule.devices.is_empty()),
            ("schedule.channels", !schedule.channels.is_empty()),
            ("schedule.after", !schedule.after.is_empty()),
            ("schedule.grid", !schedule.grid.is_empty()),
            ("schedule.cells", !schedule.cells.is_empty()),
            ("workload.micro_batch", self.workload.micro_batch.is_some()),
        ];
        if let Some((member, _)) = others.into_iter().find(|(_, is_there)| *is_there) {
            return Err(refused(member, "is nothing that a plan of gradients decides"));
        }
        let ones = [degrees.tensor, degrees.pipeline, degrees.expert, degrees.context];
        if degrees.data < 2 || ones != [1; 4] || degrees.n_micro_batches != 1 {
            return Err(refused("parallelism", "is not that of replicas of all ops"));
        }
        let missing = [
            ("communication.exchange", self.communication.exchange.is_none()),
            ("communication.buckets", self.communication.buckets.is_empty()),
            ("cost", self.cost.is_none()),
        ];
        if let Some((member, _)) = missing.into_iter().find(|(_, is_missing)| *is_missing) {
            return Err(refused(member, "is missing"));
        }
        match self.workload.mode {
            ModeDocument::Training => Ok(()),
            ModeDocument::Inference => Err(refused("workload.mode", "has no gradients")),
        }
    }
}
