//! What `plan --json` prints of a plan of nano-batches.

use serde::{Deserialize, Serialize};

use crate::diagnostic::DiagnosticDocument;
use crate::plan::PlanDocument;

/// A plan of nano-batches in figures, all in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NanoBatchesReportDocument {
    /// The plan.
    pub plan: PlanDocument,
    /// Layers.
    pub n_layers: u64,
    /// All layers of a step, from the first piece to the last one.
    pub seconds: f64,
    /// What no cuts and orders that were looked at are below.
    pub bound_seconds: f64,
    /// The same as `seconds` where no samples are cut and nothing is fused.
    pub unsplit_seconds: f64,
    /// The most nano-batches of a layer.
    pub nano_batches: u32,
    /// Why the search ended.
    pub stop_reason: String,
    /// Seconds of planning; null where nothing may depend on the clock.
    pub elapsed_s: Option<f64>,
    /// Of reading.
    pub warnings: Vec<DiagnosticDocument>,
}
