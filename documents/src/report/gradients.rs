//! What `plan --json` prints of a plan of gradients.

use serde::{Deserialize, Serialize};

use crate::diagnostic::DiagnosticDocument;
use crate::plan::PlanDocument;

/// A plan of what the replicas of a model exchange together in figures, times in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct GradientsReportDocument {
    /// The plan.
    pub plan: PlanDocument,
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
    /// Why the search ended.
    pub stop_reason: String,
    /// Seconds of planning; null where nothing may depend on the clock.
    pub elapsed_s: Option<f64>,
    /// Of reading.
    pub warnings: Vec<DiagnosticDocument>,
}
