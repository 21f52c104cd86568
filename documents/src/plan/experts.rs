//! Copies of experts on devices, layer by layer.

use ir::card::ModelCard;
use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::profile::Profile;
use ir::workload::{Mode, StepPhase};
use serde::{Deserialize, Serialize};

use super::check::refused;
use super::request::RequestDocument;
use super::{
    CommunicationDocument, FORMAT, ModeDocument, ParallelismDocument, PartitionDocument,
    PlanDocument, Reference, ScheduleDocument, StageDocument, WorkloadDocument,
};
use crate::digest;

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", expecting = "`training`, `prefill` or `decode`")]
pub enum PhaseDocument {
    /// A forward and a backward pass of all tokens.
    Training,
    /// A forward pass of all tokens of new prompts.
    Prefill,
    /// A forward pass of the last token of each sample.
    Decode,
}

/// Layers of experts that are placed alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct ExpertLayersDocument {
    /// Positions of the layers in the model, from 0.
    pub layers: Vec<u32>,
    /// Experts that each device holds of one of these layers.
    pub slots: u32,
    /// How often each expert is visited, in any unit.
    pub visits: Vec<f64>,
    /// By expert the devices of its copies, each as often as it holds one.
    pub devices_of_expert: Vec<Vec<String>>,
    /// Share of a layer's visits on the device that has most, where those of an expert are split
    /// equally over its copies.
    pub greatest_load: f64,
    /// Share that no placement in these slots is below.
    pub bound: f64,
    /// Which bound it is.
    pub bound_method: String,
}

/// Expert placement: nothing in other plans.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default, expecting = "an object")]
pub struct ExpertsDocument {
    /// What a step does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<PhaseDocument>,
    /// Tokens of a sample, where they were stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence_length: Option<u64>,
    /// Tokens that go through each layer in a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Groups of experts that stay on one host each; 1 = experts may be anywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<u32>,
    /// All layers of experts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<ExpertLayersDocument>,
}

/// What a placement of experts was made of and for.
#[derive(Clone, Copy, Debug)]
pub struct ExpertsContext<'a> {
    /// The model.
    pub model: &'a ModelCard,
    /// The cluster, all of whose devices hold experts.
    pub cluster: &'a Cluster,
    /// What a step does.
    pub phase: StepPhase,
    /// Samples of a step.
    pub batch: u64,
    /// What was asked for.
    pub request: &'a RequestDocument,
    /// What was minimised.
    pub objective: &'a str,
    /// The row that placed them.
    pub algorithm: &'a str,
}

impl PlanDocument {
    /// The document of a placement of experts.
    #[must_use]
    pub fn from_experts(experts: ExpertsDocument, context: &ExpertsContext<'_>) -> Self {
        let profile = Profile::default();
        let n_devices = u32::try_from(context.cluster.devices.len()).unwrap_or(u32::MAX);
        Self {
            format: FORMAT.to_owned(),
            model: Reference::new(&context.model.name, digest::card(context.model)),
            cluster: Reference::new(&context.cluster.name, digest::cluster(context.cluster)),
            profile: Reference::new(&profile.name, digest::profile(&profile)),
            workload: WorkloadDocument {
                mode: match context.phase.mode() {
                    Mode::Training => ModeDocument::Training,
                    Mode::Inference => ModeDocument::Inference,
                },
                optimizer: None,
                dtype: None,
                batch: Some(context.batch),
                micro_batch: None,
            },
            request: context.request.clone(),
            objective: context.objective.to_owned(),
            algorithm: context.algorithm.to_owned(),
            parallelism: ParallelismDocument {
                data: 1,
                tensor: 1,
                pipeline: 1,
                expert: n_devices,
                context: 1,
                n_micro_batches: 1,
                training: None,
            },
            partition: PartitionDocument {
                stages: vec![StageDocument { ops: Vec::new(), blocks: None }],
            },
            placement: Vec::new(),
            experts: ExpertsDocument { phase: Some(context.phase.into()), ..experts },
            communication: CommunicationDocument {},
            schedule: ScheduleDocument {
                devices: Vec::new(),
                channels: Vec::new(),
                after: Vec::new(),
                grid: Vec::new(),
            },
            cost: None,
            training: None,
        }
    }

    /// Refuses what a placement of experts does not decide, and what it can't be without.
    pub(super) fn check_experts(&self) -> Result<(), Diagnostic> {
        let schedule = &self.schedule;
        let others = [
            ("training", self.training.is_some()),
            ("placement", !self.placement.is_empty()),
            ("schedule.devices", !schedule.devices.is_empty()),
            ("schedule.channels", !schedule.channels.is_empty()),
            ("schedule.after", !schedule.after.is_empty()),
            ("schedule.grid", !schedule.grid.is_empty()),
            ("cost", self.cost.is_some()),
        ];
        if let Some((member, _)) = others.into_iter().find(|(_, is_there)| *is_there) {
            return Err(refused(member, "is nothing that a placement of experts decides"));
        }
        let own = &self.experts;
        let missing = [
            ("experts.phase", own.phase.is_none()),
            ("experts.tokens", own.tokens.is_none()),
            ("experts.groups", own.groups.is_none()),
            ("workload.batch", self.workload.batch.is_none()),
        ];
        match missing.into_iter().find(|(_, is_missing)| *is_missing) {
            Some((member, _)) => Err(refused(member, "is missing")),
            None => Ok(()),
        }
    }
}

impl From<StepPhase> for PhaseDocument {
    fn from(phase: StepPhase) -> Self {
        match phase {
            StepPhase::Training => Self::Training,
            StepPhase::Prefill => Self::Prefill,
            StepPhase::Decode => Self::Decode,
        }
    }
}

impl From<PhaseDocument> for StepPhase {
    fn from(phase: PhaseDocument) -> Self {
        match phase {
            PhaseDocument::Training => Self::Training,
            PhaseDocument::Prefill => Self::Prefill,
            PhaseDocument::Decode => Self::Decode,
        }
    }
}
