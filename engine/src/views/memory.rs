//! Memory over time of one device: every level where they fit, else the greatest of equal parts of
//! time; its peak is always among them.

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;
use serde::{Deserialize, Serialize};

use super::bytes::{Part, Section, damaged};
use super::curve::{Curve, Level};
use super::head::{DeviceFigures, DeviceHead};
use super::view::View;
use crate::answer::suggest;

/// Memory of a device over time.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MemoryCurve {
    /// Nanoseconds of the step.
    pub step_time_ns: u64,
    /// The device, and its peak.
    #[serde(flatten)]
    pub figures: DeviceFigures,
    /// Length of the parts of which each point is the greatest level, in nanoseconds; 0 where each
    /// point is a level.
    pub part_ns: u64,
    /// When each point is first reached, in nanoseconds.
    pub at_ns: Vec<u64>,
    /// Bytes of each point by kind; they add up to what lies there.
    pub bytes: BTreeMap<String, Vec<u64>>,
    /// What lies there at the peak, largest first.
    pub alive: Alive,
}

/// What lies on a device at its peak; all bytes add up to the peak.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Alive {
    /// The largest.
    pub largest: Vec<Holding>,
    /// How many others there are.
    pub n_others: u64,
    /// Their bytes.
    pub other_bytes: u64,
}

/// Something that lies on a device.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Holding {
    /// Its kind, one of those of `bytes`.
    pub kind: String,
    /// The tensor, the op whose scratch bytes it is, or the stage.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// The op whose it is, or that wrote it; null where there is none.
    pub op: Option<String>,
    /// Of how many micro-batches it is, where it is of several.
    pub n_micro_batches: Option<u32>,
    /// Since when it lies there, in nanoseconds; null where it is several.
    pub since_ns: Option<u64>,
    /// Until when; null where it stays, or is several.
    pub until_ns: Option<u64>,
    /// The op, or the device where a copy goes, with which it leaves; null as above, and where
    /// nothing reads it.
    pub freed_by: Option<String>,
}

impl View<'_> {
    /// Memory of a device (of a training run: of its pipeline rank), in at most `points` points.
    ///
    /// # Errors
    /// `unknown-device`, `no-points`; `bad-view`.
    pub fn memory(&self, device: &str, points: usize) -> Result<MemoryCurve, Diagnostic> {
        let head = self.device(device)?;
        if points == 0 {
            return Err(Diagnostic::usage("no-points", "a curve of 0 points shows nothing")
                .hint("ask for 1 point, the peak, or more"));
        }
        let curve = Curve::open(self.file, head.curve).ok_or_else(damaged)?;
        let (levels, part_ns) = self.points(&curve, points).ok_or_else(damaged)?;
        let column = |kind: usize| levels.iter().map(|level| level.bytes[kind]).collect();
        let kinds = self.head.memory_kinds.iter().take(super::curve::N_KINDS).cloned();
        Ok(MemoryCurve {
            step_time_ns: self.head.step_time_ns,
            figures: head.figures.clone(),
            part_ns,
            at_ns: levels.iter().map(|level| level.at).collect(),
            bytes: kinds.enumerate().map(|(at, kind)| (kind, column(at))).collect(),
            alive: self.alive(head).ok_or_else(damaged)?,
        })
    }

    fn points(&self, curve: &Curve<'_>, points: usize) -> Option<(Vec<Level>, u64)> {
        let (levels, has_more) = curve.levels(points)?;
        if !has_more {
            return Some((levels, 0));
        }
        // The level at the end of the step belongs to the last part.
        let end = self.head.step_time_ns.checked_add(1)?;
        let part_ns = end.div_ceil(points as u64).max(1);
        let mut levels = Vec::new();
        let (mut from, mut start) = (0u64, 0);
        while from < end {
            let to = from.saturating_add(part_ns).min(end);
            let (level, next) = curve.greatest((from, to), start)?;
            levels.push(level);
            (from, start) = (to, next);
        }
        Some((levels, part_ns))
    }

    fn alive(&self, head: &DeviceHead) -> Option<Alive> {
        let (at, length) = head.alive;
        let bytes = Part::section(self.file, Section::Details)?.slice(at, length)?;
        serde_json::from_slice(bytes.0).ok()
    }

    /// A device by its name, or the rank of a device.
    fn device(&self, name: &str) -> Result<&DeviceHead, Diagnostic> {
        let devices = &self.head.devices;
        let member = || {
            let (_, rank) = self.head.members.iter().find(|(device, _)| device == name)?;
            devices.get(*rank as usize)
        };
        let found = devices.iter().find(|device| device.figures.device == name).or_else(member);
        found.ok_or_else(|| {
            let shown: String = name.chars().take(80).collect();
            let known = devices.iter().map(|device| device.figures.device.as_str());
            let members = self.head.members.iter().map(|(device, _)| device.as_str());
            Diagnostic::usage("unknown-device", format!("the plan uses no device `{shown}`"))
                .hint(suggest::hint(name, known.chain(members)))
        })
    }
}
