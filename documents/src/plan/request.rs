//! What was asked for: the flags that shaped the problem, so that a plan needs none of them again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The flags of a plan that neither the model nor the cluster says. Absent members were not given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default, expecting = "an object")]
pub struct RequestDocument {
    /// Extents of named dimensions.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub dims: BTreeMap<String, u64>,
    /// By input, the axis that counts samples.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub batch_axis: BTreeMap<String, u64>,
    /// Whether pairs that quantise and dequantise were priced as they stand.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub qdq_as_written: bool,
    /// `PATTERN=DEVICE,...` of ops, or `FIELD=VALUE` of a training run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pin: Vec<String>,
    /// `PATTERN=DEVICE,...`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forbid: Vec<String>,
    /// Patterns whose ops share a device, by group.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub colocate: Vec<Vec<String>>,
    /// The executor whose limits were kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executor: Option<String>,
    /// Least and most devices of a training run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devices: Option<[u32; 2]>,
    /// Bytes that a device was to hold at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory_bytes: Option<u64>,
    /// Memory margin: share of each device's memory that stays free, in place of the cluster file's reserve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_free: Option<f64>,
    /// Memory margin of older plans: share of the memory that the reserve leaves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_margin: Option<f64>,
    /// Whether optimizer states had to stay on the devices.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_offload: bool,
    /// Devices that were lost, so that spares of the cluster may be used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<String>,
    /// How many devices were to be held back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spares: Option<u32>,
    /// What was to be least where that is not what plans of this kind usually make least:
    /// `energy-per-token` or `cost-per-token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least: Option<String>,
    /// Power usage effectiveness (PUE) of the site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pue: Option<f64>,
    /// Watts at the wall that were to be drawn at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_cap_w: Option<f64>,
    /// Decided: the share of what it may draw that each board is limited to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub board_limit: Option<f64>,
    /// Decided: devices and hosts that are left out, and switched off.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
    /// Type of cached keys and values where it is not that of the products, such as `fp8`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_dtype: Option<String>,
    /// The mixture of types that llama.cpp's weights were to have, such as `Q4_K_M`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantization: Option<String>,
    /// Rows of a table of measured costs: its line, an operator, module or pattern, `KIND=SECONDS` and `bytes=N`,
    /// between tabs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub costs: Vec<String>,
    /// Adapters beside frozen weights, such as `lora:rank=16,targets=q+v`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
    /// Frozen parts, such as `embedding,layers=24`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeze: Option<String>,
    /// How unevenly tokens were taken to visit experts: `balanced`, or `zipf:S`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expert_skew: Option<String>,
}

impl RequestDocument {
    /// Whether nothing was asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
