//! What the times of a plan rest on, in words.

use cost_model::ops::judge::report::Report;
use cost_model::ops::problem::Problem;
use engine::ops::trust::{Trust, words};

use crate::commands::report::Rows;
use crate::printer::Printer;

/// Prints what the times rest on: the step's critical path, and devices that differ from it.
pub(crate) fn print(
    trust: &Trust,
    problem: &Problem,
    report: &Report,
    rows: Rows,
    printer: &Printer,
) {
    if trust.shares.total() == 0 {
        return;
    }
    let step = words(&trust.shares);
    let devices: Vec<(&str, String)> = report
        .devices
        .iter()
        .filter(|device| device.origins.total() > 0)
        .map(|device| {
            let name = &problem.cluster.devices[device.device.index()].name;
            (name.as_str(), words(&device.origins))
        })
        .collect();
    if devices.iter().all(|(_, words)| *words == step) {
        printer.line(&format!("origin of times: {step}, on every device"));
        return;
    }
    if rows == Rows::Few {
        printer.line(&format!("origin of times: {step} of the step (by device: --all)"));
        return;
    }
    printer.line(&format!("origin of times: {step} of the step"));
    for (name, words) in &devices {
        printer.line(&format!("  {name} {words}"));
    }
}
