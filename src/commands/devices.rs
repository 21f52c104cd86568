//! `devices`: what a cluster file can name, and what this machine has.

use importers::cluster::{Catalogue, DeviceRow, LinkRow};
use ir::cluster::Check;
use ir::tensor::DType;
use ir::units::{Bytes, BytesPerSecond, Nanos, Work};
use profiler::backend::{Backend, State};
use serde_json::json;

use crate::cli::DevicesArgs;
use crate::printer::Printer;
use engine::exit::{CommandResult, Exit};
use engine::page::Column;

pub(crate) fn run(args: &DevicesArgs, printer: &Printer) -> CommandResult {
    if args.here {
        here(printer);
        return Ok(Exit::DONE);
    }
    let Catalogue { devices, links } = importers::cluster::catalogue()?;
    if args.links {
        let columns = [
            Column::Name("link"),
            Column::Name("joins"),
            Column::Number("rate"),
            Column::Number("latency"),
            Column::Name("checked"),
            Column::Rest("source"),
        ];
        printer.table(&columns, links.iter().map(link).collect());
        printer.line(
            "rate: per direction, achieved where that is known, else nominal; --json has both",
        );
    } else {
        let columns = [
            Column::Name("device"),
            Column::Number("memory"),
            Column::Number("bandwidth"),
            Column::Number("TFLOP/s"),
            Column::Name("link"),
            Column::Name("checked"),
        ];
        printer.table(&columns, devices.iter().map(device).collect());
        printer.line(
            "TFLOP/s: dense products in bf16 or else fp16; bandwidth: of the device's memory",
        );
    }
    printer.line(
        "recalled: remembered, the source was not at hand; where it matters, give measured \
        figures in the cluster file",
    );
    printer.document(&web::routes::devices::document()?);
    Ok(Exit::DONE)
}

fn device(row: &DeviceRow) -> Vec<String> {
    let kind = &row.kind;
    let peak = kind.peak.get(&DType::Bf16).or_else(|| kind.peak.get(&DType::F16));
    vec![
        kind.name.clone(),
        kind.memory.map_or("-".to_owned(), |bytes: Bytes| bytes.to_string()),
        kind.memory_bandwidth.map_or("-".to_owned(), rate),
        peak.map_or("-".to_owned(), |rate| format!("{:.0}", rate.get() / 1e12)),
        row.scaleup_link.clone(),
        check(kind.check).to_owned(),
    ]
}

fn link(row: &LinkRow) -> Vec<String> {
    vec![
        row.name.clone(),
        row.scope.name().to_owned(),
        rate(row.rate()),
        Nanos::rounded(row.latency_ns, Work::None).to_string(),
        check(row.check).to_owned(),
        row.source.clone(),
    ]
}

fn rate(rate: BytesPerSecond) -> String {
    let giga = rate.get() / 1e9;
    if giga < 99.95 { format!("{giga:.1} GB/s") } else { format!("{giga:.0} GB/s") }
}

fn check(check: Check) -> &'static str {
    match check {
        Check::Read => "read",
        Check::Measured => "measured",
        Check::Recalled => "recalled",
        Check::Given => "given",
    }
}

fn here(printer: &Printer) {
    let backends = profiler::probe();
    let row = |backend: &Backend| {
        let (state, what) = match &backend.state {
            State::Present { devices } => ("present", devices.join(", ")),
            State::Absent { reason } => ("absent", reason.clone()),
        };
        vec![backend.name.to_owned(), state.to_owned(), what]
    };
    let columns = [Column::Name("backend"), Column::Text("state"), Column::Text("what")];
    printer.table(&columns, backends.iter().map(row).collect());
    let document = |backend: &Backend| match &backend.state {
        State::Present { devices } => json!({ "name": backend.name, "devices": devices }),
        State::Absent { reason } => json!({ "name": backend.name, "absent": reason }),
    };
    let all: Vec<_> = backends.iter().map(document).collect();
    printer.document(&json!({ "backends": all }));
}
