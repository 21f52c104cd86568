//! Accelerate's `max_memory`: the bytes that each device has for weights beside the activations of the
//! plan, for `device_map="auto"` within the limits of the plan.
//!
//! Its keys are whole numbers for accelerators, which JSON has not as keys: the file is YAML.

use std::fmt::Write;

use ir::diagnostic::Diagnostic;
use ir::workload::Mode;

use crate::format::{Export, Source};
use crate::modules::devices::{Devices, Place};
use crate::modules::refusal;

pub(crate) const TARGET: &str = "max-memory";

/// One line per device that the plan uses and that has a limit, accelerators first.
///
/// # Errors
/// `cannot-express` for training, and for accelerators in two hosts.
pub fn export(source: &Source<'_>) -> Result<Export, Diagnostic> {
    if source.problem.workload.mode == Mode::Training {
        let message = "max_memory counts weights alone, and training holds more with each of them";
        let error = refusal(TARGET, message.to_owned());
        return Err(error.hint("plan inference, or export to accelerate, which names devices"));
    }
    let devices = Devices::new(source, TARGET)?;
    let rooms = source.report.devices.iter().filter_map(|report| {
        let beside = report.peak.bytes.saturating_sub(report.parameter_bytes);
        Some((report.device, report.limit?.saturating_sub(beside)))
    });
    let rooms: Vec<_> = rooms.collect();
    let mut lines: Vec<(Place, u64)> = Vec::new();
    for device in devices.used() {
        let place = devices.place(device);
        let Some((_, room)) = rooms.iter().find(|(id, _)| *id == device) else { continue };
        match lines.iter_mut().find(|(other, _)| *other == place) {
            Some((_, bytes)) => *bytes = bytes.saturating_add(*room),
            None => lines.push((place, *room)),
        }
    }
    // Accelerate takes the first of them first.
    lines.sort_by_key(|(place, _)| match place {
        Place::Accelerator(number) => (false, *number, ""),
        Place::Storage(name) => (true, 0, *name),
    });
    let mut text = String::new();
    for (place, bytes) in lines {
        // Writing to a string can't fail.
        let _ = match place {
            Place::Accelerator(number) => writeln!(text, "{number}: {bytes}"),
            Place::Storage(name) => writeln!(text, "{name}: {bytes}"),
        };
    }
    Ok(Export::from(text))
}
