//! What `plan --json` prints of a plan of pieces on streams.

use serde::{Deserialize, Serialize};

use crate::diagnostic::DiagnosticDocument;
use crate::plan::PlanDocument;

/// A plan of pieces on streams in figures, all in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StreamsReportDocument {
    /// The plan.
    pub plan: PlanDocument,
    /// Layers.
    pub n_layers: u64,
    /// Both passes of all layers, with the gradients that nothing hides.
    pub seconds: f64,
    /// What no numbers of parts and slices of gradients are below.
    pub bound_seconds: f64,
    /// The same as `seconds` where every layer goes through in one part, and gradients follow the last.
    pub unsplit_seconds: f64,
    /// Bytes of gradients.
    pub gradient_bytes: u64,
    /// Of these, what follows the last layer.
    pub rest_bytes: u64,
    /// Why the search ended.
    pub stop_reason: String,
    /// Seconds of planning; null where nothing may depend on the clock.
    pub elapsed_s: Option<f64>,
    /// Of reading.
    pub warnings: Vec<DiagnosticDocument>,
}

/// A plan of attention and experts on devices of their own in figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DisaggregatedReportDocument {
    /// The plan.
    pub plan: PlanDocument,
    /// Layers.
    pub n_layers: u64,
    /// Seconds of a step.
    pub step_seconds: f64,
    /// Samples of all devices per second.
    pub samples_per_s: f64,
    /// What no groups, sizes, parts and orders are above.
    pub bound_samples_per_s: f64,
    /// The same as `samples_per_s` of `ping-pong`; null where it has no plan.
    pub ping_pong_samples_per_s: Option<f64>,
    /// The same of `naive`.
    pub naive_samples_per_s: Option<f64>,
    /// Why the search ended.
    pub stop_reason: String,
    /// Seconds of planning; null where nothing may depend on the clock.
    pub elapsed_s: Option<f64>,
    /// Of reading.
    pub warnings: Vec<DiagnosticDocument>,
}
