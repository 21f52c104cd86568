//! What a plan draws and costs.

use serde::{Deserialize, Serialize};

/// What some devices of a stage do in a step: seconds and watts of each, joules of all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct DutyDocument {
    /// Their stage; absent for devices that are there and do nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<u32>,
    /// Their kind.
    pub kind: String,
    /// How many they are.
    pub n_devices: u64,
    /// Seconds in which one computes.
    pub computing_s: f64,
    /// Of them, what its operations take at the peak rate.
    pub products_s: f64,
    /// Seconds in which it sends or receives alone.
    pub transfers_s: f64,
    /// Joules of all of them in a step.
    pub joules: f64,
    /// Watts that one draws at most.
    pub most_w: f64,
}

/// Energy and price of a plan. Joules and watts of all are at the wall, those of devices are not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct EnergyDocument {
    /// Power usage effectiveness (PUE) of the site.
    pub pue: f64,
    /// Whether watts are shares of data sheets' limits for what no file states.
    pub is_nominal: bool,
    /// Seconds of a step, or between two batches that are served.
    pub step_s: f64,
    /// Joules of a step.
    pub joules_per_step: f64,
    /// Joules of each token that goes through the model (or sample, where it has no tokens).
    pub joules_per_token: f64,
    /// Joules of each token that it makes; absent where it makes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joules_per_output_token: Option<f64>,
    /// Joules of a token that no plan on these kinds, at these limits of boards, is below.
    pub least_joules_per_token: f64,
    /// Watts on average.
    pub mean_w: f64,
    /// Watts that are drawn at no instant more of.
    pub most_w: f64,
    /// Price of a token; absent where a kind that is used has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_token: Option<f64>,
    /// Price of a token that no plan on these kinds is below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least_price_per_token: Option<f64>,
    /// What its devices spend most time with: `products`, `memory`, `transfers` or `waiting`.
    pub binds: String,
    /// By stage and kind.
    pub devices: Vec<DutyDocument>,
}

/// What a plan that was tried takes, draws and costs, which none of the others beats in all of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct EnergyPointDocument {
    /// Devices that it uses.
    pub n_devices: u64,
    /// Devices and hosts that are left out.
    pub without: Vec<String>,
    /// Share of what it may draw that each board is limited to.
    pub board_limit: f64,
    /// Tokens (or samples) per second.
    pub tokens_per_s: f64,
    /// Joules of each.
    pub joules_per_token: f64,
    /// Watts at the wall that are drawn at most.
    pub most_w: f64,
    /// Price of each; absent where a kind that is used has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_per_token: Option<f64>,
}
