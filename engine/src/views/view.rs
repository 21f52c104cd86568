//! A view file that is read: what there is.

use ir::diagnostic::Diagnostic;
use serde::Serialize;

use super::bytes::{Part, Section, damaged};
use super::head::{DeviceFigures, Head, Role};
use super::names::Names;

/// A view file. Opening it reads its head alone; answers read the parts that they need.
#[derive(Clone, Debug)]
pub struct View<'a> {
    pub(super) file: &'a [u8],
    pub(super) head: Head,
    pub(super) names: Names<'a>,
}

/// What a view holds.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Overview {
    /// `ops`, `run` or `fleet`.
    pub plans: String,
    /// Nanoseconds of the step.
    pub step_time_ns: u64,
    /// Lanes of the timeline.
    pub lanes: Vec<LaneTold>,
    /// Devices, or pipeline ranks.
    pub devices: Vec<DeviceFigures>,
    /// Number of groups of the graph, and of slices of the timeline, idle ones counted.
    pub n_groups: usize,
    /// Slices of the timeline, idle ones counted.
    pub n_slices: u64,
    /// Bytes of the file.
    pub bytes: usize,
}

/// A lane of the timeline.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LaneTold {
    /// Its name.
    pub lane: String,
    /// The device that it belongs to.
    pub device: Option<String>,
    /// What it stands for.
    pub role: Role,
}

impl<'a> View<'a> {
    /// Opens a view file.
    ///
    /// # Errors
    /// `bad-view`: it is none, was cut off, or is of another version.
    pub fn open(file: &'a [u8]) -> Result<Self, Diagnostic> {
        let open = || {
            let head = Part::section(file, Section::Head)?;
            let head = serde_json::from_slice(head.0).ok()?;
            Some(Self { file, head, names: Names::open(file)? })
        };
        open().ok_or_else(damaged)
    }

    /// What it holds.
    #[must_use]
    pub fn overview(&self) -> Overview {
        let lane = |lane: &super::head::LaneHead| LaneTold {
            lane: lane.name.clone(),
            device: lane.device.clone(),
            role: lane.role,
        };
        Overview {
            plans: self.head.plans.clone(),
            step_time_ns: self.head.step_time_ns,
            lanes: self.head.lanes.iter().map(lane).collect(),
            devices: self.head.devices.iter().map(|device| device.figures.clone()).collect(),
            n_groups: self.head.groups.len(),
            n_slices: self.head.lanes.iter().fold(0, |sum, lane| sum.saturating_add(lane.n)),
            bytes: self.file.len(),
        }
    }
}
