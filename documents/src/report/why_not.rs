//! What `explain --why-not --json` says of a training run in its member `why_not`.

use serde::{Deserialize, Serialize};

/// The member of an explanation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ExplainedDocument {
    /// Nanoseconds of a step of the plan.
    pub step_time_ns: u64,
    /// Why the plan is not another one.
    pub why_not: WhyNotDocument,
}

/// Why a plan does not have some settings: at most one of `pinned` and `does_not_fit` is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WhyNotDocument {
    /// The settings, as `tensor=8`.
    pub pins: Vec<String>,
    /// Whether the plan has all of them.
    pub is_kept: bool,
    /// The fastest plan with them, beside the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<PinnedDocument>,
    /// Where no plan with them fits: what is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub does_not_fit: Option<ShortfallDocument>,
}

/// The fastest plan with pinned settings, beside the plan that is explained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PinnedDocument {
    /// Its degrees in one line.
    pub degrees: String,
    /// Devices that it takes.
    pub n_devices: u64,
    /// Whether the launcher that the plan was limited to runs it.
    pub is_launched: bool,
    /// Whether no plan with these settings is faster with the layer splits of the search; else it had
    /// to stop.
    pub is_complete: bool,
    /// Nanoseconds of a step.
    pub step_ns: DifferenceDocument,
    /// Nanoseconds of the terms of a step on the rank that computes longest; their differences add up
    /// to that of the steps.
    pub terms: Vec<DifferenceDocument>,
    /// Most bytes on any device.
    pub peak_bytes: DifferenceDocument,
    /// Bytes of what lies on that device at its peak; their differences add up to that of the peaks.
    pub memory: Vec<DifferenceDocument>,
}

/// A figure of both plans.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DifferenceDocument {
    /// What it is.
    pub name: String,
    /// Of the plan.
    pub plan: i64,
    /// Of the plan with the settings.
    pub pinned: i64,
    /// `pinned` less `plan`.
    pub difference: i64,
}

/// By how much no plan fits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ShortfallDocument {
    /// Whether it is proved that none fits.
    pub is_proved: bool,
    /// Degrees of the plan that needs least, in one line.
    pub degrees: String,
    /// Bytes that it needs on its fullest device.
    pub need_bytes: u64,
    /// Bytes that a device has for it.
    pub have_bytes: u64,
    /// What takes most of them.
    pub binds: String,
}
