//! Devices that come and go: from what plan another one goes on, what moves, and which device stands in
//! for which.

use serde::{Deserialize, Serialize};

/// What a device held of a training run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct HeldByDocument {
    /// The device.
    pub device: String,
    /// Its blocks: the first, and how many, of each of its stages.
    pub blocks: Vec<[u32; 2]>,
    /// Whether it had the first stage, and whether the last.
    pub ends: [bool; 2],
    /// Its tensor rank, and how many there were.
    pub tensor: [u32; 2],
    /// Its replica, and how many there were.
    pub replica: [u32; 2],
    /// What replicas shared out: ZeRO stage 0 to 3.
    pub zero: u8,
}

/// A running plan that this one goes on from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct ReplacedDocument {
    /// Its step time.
    pub step_time_ns: u64,
    /// What the devices held that are left.
    pub devices: Vec<HeldByDocument>,
}

/// Part of a tensor that has to get to a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct MoveDocument {
    /// `block 3 weights`, `embedding optimizer` and so on.
    pub tensor: String,
    /// Which of its elements: the first, and the one behind the last.
    pub elements: [u64; 2],
    /// The device that has it, or `checkpoint` where none has it any more.
    pub from: String,
    /// The device that needs it.
    pub to: String,
    /// Bytes that move.
    pub bytes: u64,
}

/// Which device stands in where one of some is lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct SpareDocument {
    /// The stage.
    pub stage: u32,
    /// Devices of it that are alike, of which one is lost.
    pub lost: Vec<String>,
    /// Devices that stand in, for the lost one or for its whole replica.
    pub spares: Vec<String>,
    /// Why none does, or none is known to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The step with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_time_ns: Option<u64>,
    /// Bytes that they get from devices that still have them.
    pub bytes: u64,
    /// How long these take at least.
    pub copy_ns: u64,
    /// Bytes that no device has any more.
    pub checkpoint_bytes: u64,
}
