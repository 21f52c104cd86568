//! The report of one plan: where the time and the memory go.

use cost_model::ops::judge::memory::Holding;
use cost_model::ops::judge::report::{DeviceReport, Report};
use cost_model::ops::problem::Problem;
use ir::units::Bytes;

use crate::printer::Printer;
use crate::table::Column;

/// Rows that are shown without `--all`.
pub(crate) const LISTED: usize = 16;

/// Which rows of a long table are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    /// The first few, and how many are left.
    Few,
    /// `--all`.
    All,
}

impl Rows {
    /// From the flag.
    pub(crate) fn of(flag: bool) -> Self {
        if flag { Self::All } else { Self::Few }
    }

    /// How many of `n` rows to show.
    pub(crate) fn shown(self, n: usize) -> usize {
        match self {
            Self::Few => n.min(LISTED),
            Self::All => n,
        }
    }
}

/// Prints the table of devices.
pub(crate) fn devices(problem: &Problem, report: &Report, rows: Rows, printer: &Printer) {
    let columns = [
        Column::Name("device"),
        Column::Number("compute"),
        Column::Number("comm"),
        Column::Number("idle"),
        Column::Number("peak memory"),
        Column::Number("of"),
        Column::Number("limit"),
        Column::RestName("largest at peak"),
    ];
    let shown = rows.shown(report.devices.len());
    let row = |device: &DeviceReport| row(problem, report, device);
    printer.table(&columns, report.devices[..shown].iter().map(row).collect());
    if shown < report.devices.len() {
        printer.line(&format!("... and {} more (--all)", report.devices.len() - shown));
    }
}

fn row(problem: &Problem, report: &Report, device: &DeviceReport) -> Vec<String> {
    let step = report.step_time.get();
    let share = |ns: u64| match step {
        0 => "-".to_owned(),
        _ => format!("{:.1} %", ns as f64 / step as f64 * 100.0),
    };
    let peak = Bytes(device.peak.bytes).to_string();
    let of = device.limit.filter(|limit| *limit > 0).map_or(String::new(), |limit| {
        format!("{:.0} %", device.peak.bytes as f64 / limit as f64 * 100.0)
    });
    vec![
        problem.cluster.devices[device.device.index()].name.clone(),
        share(device.compute_ns),
        share(device.communication_ns),
        share(device.idle_ns),
        peak,
        of,
        device.limit.map_or("none".to_owned(), |limit| Bytes(limit).to_string()),
        device.what_peaks.first().map_or(String::new(), holding),
    ]
}

fn holding(holding: &Holding) -> String {
    format!("{} {} {}", Bytes(holding.bytes), holding.what.name(), holding.name)
}
