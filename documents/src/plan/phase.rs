//! What a step does.

use ir::workload::StepPhase;
use serde::{Deserialize, Serialize};

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
