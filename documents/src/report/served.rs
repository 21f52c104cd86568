//! What `plan --json` prints of a pipeline that serves.

use serde::{Deserialize, Serialize};

use crate::diagnostic::DiagnosticDocument;
use crate::plan::PlanDocument;
use crate::plan::energy::EnergyPointDocument;

/// The best that one device does alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AloneDocument {
    /// The device.
    pub device: String,
    /// Seconds of a batch.
    pub latency_seconds: f64,
    /// Tokens per second.
    pub tokens_per_s: f64,
}

/// A pipeline that serves in figures, times in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ServedReportDocument {
    /// The plan.
    pub plan: PlanDocument,
    /// Between the ends of two batches.
    pub period_seconds: f64,
    /// Of a batch from its start to its end.
    pub latency_seconds: f64,
    /// What no pipeline of the objective is below.
    pub bound_seconds: f64,
    /// Tokens per second of all batches in flight.
    pub tokens_per_s: f64,
    /// Null where no device holds the model.
    pub alone: Option<AloneDocument>,
    /// Why the search ended.
    pub stop_reason: String,
    /// Seconds of planning; null where nothing may depend on the clock.
    pub elapsed_s: Option<f64>,
    /// Plans that were tried for energy, price or under a cap, of which no other is better in all of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub energy_front: Vec<EnergyPointDocument>,
    /// Of reading.
    pub warnings: Vec<DiagnosticDocument>,
}
