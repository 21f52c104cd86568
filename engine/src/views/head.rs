//! What a view file holds, and where.

use serde::{Deserialize, Serialize};

/// The head of a view file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Head {
    /// `ops`, `run` or `fleet`.
    pub(super) plans: String,
    pub(super) step_time_ns: u64,
    pub(super) lanes: Vec<LaneHead>,
    pub(super) devices: Vec<DeviceHead>,
    /// Kinds of what lies in memory, by position.
    pub(super) memory_kinds: Vec<String>,
    /// Names of devices that stand for others: the rank of each device of a run.
    pub(super) members: Vec<(String, u32)>,
    /// Groups of the graph, ordered by id: id, and where it lies in the details.
    pub(super) groups: Vec<(String, u64, u64)>,
}

/// A lane.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LaneHead {
    pub(super) name: String,
    pub(super) device: Option<String>,
    pub(super) role: Role,
    pub(super) n: u64,
    pub(super) slices: u64,
    pub(super) sums: u64,
    pub(super) longest: u64,
}

/// What a lane stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A device, or a pipeline rank and all its equal devices.
    Device,
    /// A channel of a device, or what goes from one rank to another.
    Link,
    /// Gradients that a rank exchanges with its replicas.
    Exchange,
}

/// Figures of a device, or of a pipeline rank; they are those of the report.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DeviceFigures {
    /// Its name; `rank 0` of a training run.
    pub device: String,
    /// Devices that it stands for.
    pub n_devices: u64,
    /// Nanoseconds in which it runs something.
    pub compute_ns: u64,
    /// Nanoseconds in which it runs nothing while it sends, receives or exchanges.
    pub communication_ns: u64,
    /// Nanoseconds in which it does nothing.
    pub idle_ns: u64,
    /// The most that lies in its memory, in bytes.
    pub peak_bytes: u64,
    /// When that is first reached, in nanoseconds.
    pub peak_at_ns: u64,
    /// Bytes that it can hold; null where that is unlimited.
    pub limit_bytes: Option<u64>,
}

/// A device.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct DeviceHead {
    pub(super) figures: DeviceFigures,
    /// First block of its memory curve, and their number.
    pub(super) curve: (u64, u64),
    /// Where what is alive at its peak lies in the details.
    pub(super) alive: (u64, u64),
}
