//! What `plan --json` prints of experts in slots.

use serde::{Deserialize, Serialize};

use crate::diagnostic::DiagnosticDocument;
use crate::plan::PlanDocument;

/// Experts in slots in figures; those of layers and seconds stand in the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CachedReportDocument {
    /// The plan.
    pub plan: PlanDocument,
    /// Layers of experts.
    pub n_layers: u64,
    /// Share of the experts that steps need which lie in slots when a layer begins.
    pub hit_ratio: f64,
    /// Experts that are fetched when they are needed, of all steps and layers.
    pub missed: u64,
    /// Experts that are fetched before they are needed.
    pub ahead: u64,
    /// Seconds that a step waits for experts, the mean of all.
    pub exposed_s: f64,
    /// Weights on a device.
    pub memory_bytes: u64,
    /// Why the search ended.
    pub stop_reason: String,
    /// Seconds of planning; null where nothing may depend on the clock.
    pub elapsed_s: Option<f64>,
    /// Of reading.
    pub warnings: Vec<DiagnosticDocument>,
}
