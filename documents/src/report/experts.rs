//! What `plan --json` prints of a placement of experts.

use serde::{Deserialize, Serialize};

use crate::diagnostic::DiagnosticDocument;
use crate::plan::PlanDocument;

/// A placement of experts in figures. Loads are those of the device that has most in each layer, over
/// the mean of all devices, and the mean of all layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ExpertsReportDocument {
    /// The plan.
    pub plan: PlanDocument,
    /// Layers of experts.
    pub n_layers: u64,
    /// Greatest loads, in means.
    pub load: f64,
    /// What no placement is below, in means.
    pub bound: f64,
    /// `load / bound - 1`.
    pub gap: f64,
    /// Greatest loads as `eplb` places the same experts, in means.
    pub eplb_load: f64,
    /// Visits (pairs of a token and an expert) of the devices that have most, of all layers in a step.
    pub busiest_visits: f64,
    /// The same if all devices had as many.
    pub even_visits: f64,
    /// Why the search ended.
    pub stop_reason: String,
    /// Seconds of planning; null where nothing may depend on the clock.
    pub elapsed_s: Option<f64>,
    /// Of reading.
    pub warnings: Vec<DiagnosticDocument>,
}
