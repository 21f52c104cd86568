//! A view file under construction.

use serde::Serialize;

use super::bytes::{Section, Writer};
use super::curve::{self, Change};
use super::graph::GroupFile;
use super::head::{DeviceFigures, DeviceHead, Head, LaneHead, Role};
use super::lane::{self, Slice};
use super::memory::Alive;
use super::names::Interned;

/// A view file under construction.
pub(super) struct Builder {
    /// Names and things so far.
    pub(super) names: Interned,
    /// What there is so far.
    pub(super) head: Head,
    writer: Writer,
}

impl Builder {
    /// A view of a step.
    pub(super) fn new(plans: &str, step_time_ns: u64, memory_kinds: &[&str]) -> Self {
        let head = Head {
            plans: plans.to_owned(),
            step_time_ns,
            memory_kinds: memory_kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            ..Head::default()
        };
        Self { names: Interned::default(), head, writer: Writer::default() }
    }

    /// Appends a lane.
    pub(super) fn lane(&mut self, name: &str, device: Option<&str>, role: Role, slices: &[Slice]) {
        let place = lane::write(slices, self.head.step_time_ns, &mut self.writer);
        self.head.lanes.push(LaneHead {
            name: name.to_owned(),
            device: device.map(str::to_owned),
            role,
            n: slices.len() as u64,
            slices: place.slices,
            sums: place.sums,
            longest: place.longest,
        });
    }

    /// Appends a device with its memory.
    pub(super) fn device(&mut self, figures: DeviceFigures, changes: Vec<Change>, alive: &Alive) {
        let curve = curve::write(changes, &mut self.writer);
        let alive = self.detail(alive);
        self.head.devices.push(DeviceHead { figures, curve, alive });
    }

    /// Appends a group of the graph.
    pub(super) fn group(&mut self, group: &GroupFile) {
        let (at, length) = self.detail(group);
        self.head.groups.push((group.id.clone(), at, length));
    }

    fn detail(&mut self, detail: &impl Serialize) -> (u64, u64) {
        let details = self.writer.of(Section::Details);
        let at = details.len();
        // Plain structures and names can't fail to be written to memory.
        let _ = serde_json::to_writer(&mut *details, detail);
        (at as u64, (details.len() - at) as u64)
    }

    /// The file.
    pub(super) fn finished(mut self) -> Vec<u8> {
        self.head.groups.sort();
        self.names.write(&mut self.writer);
        let _ = serde_json::to_writer(self.writer.of(Section::Head), &self.head);
        self.writer.finished()
    }
}
