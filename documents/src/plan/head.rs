//! What every plan begins with.

use super::request::RequestDocument;
use super::{
    FORMAT, ModeDocument, ParallelismDocument, PartitionDocument, PlanDocument, Reference,
    StageDocument, WorkloadDocument,
};

/// What every plan states: what it was made of and for, and by what.
#[derive(Clone, Debug)]
pub struct Head {
    /// The model.
    pub model: Reference,
    /// The cluster.
    pub cluster: Reference,
    /// The measured constants.
    pub profile: Reference,
    /// What was planned for.
    pub workload: WorkloadDocument,
    /// What was asked for.
    pub request: RequestDocument,
    /// What was minimised.
    pub objective: String,
    /// The recipe that made the plan.
    pub algorithm: String,
}

impl PlanDocument {
    /// A plan that decides nothing yet: one stage of everything, no degree above 1.
    #[must_use]
    pub fn new(head: Head) -> Self {
        let Head { model, cluster, profile, workload, request, objective, algorithm } = head;
        Self {
            format: FORMAT.to_owned(),
            model,
            cluster,
            profile,
            workload,
            request,
            objective,
            algorithm,
            parallelism: ParallelismDocument::ONE,
            partition: PartitionDocument {
                stages: vec![StageDocument { ops: Vec::new(), blocks: None, mesh: None }],
            },
            ..Self::default()
        }
    }
}

impl Default for ParallelismDocument {
    fn default() -> Self {
        Self::ONE
    }
}

impl ParallelismDocument {
    /// All degrees 1.
    pub const ONE: Self = Self {
        data: 1,
        tensor: 1,
        pipeline: 1,
        expert: 1,
        context: 1,
        n_micro_batches: 1,
        training: None,
    };
}

impl WorkloadDocument {
    /// So many samples, all at once, in the model's own numbers.
    #[must_use]
    pub fn of(mode: ModeDocument, batch: u64) -> Self {
        Self { mode, optimizer: None, dtype: None, batch: Some(batch), micro_batch: None }
    }
}
