//! What a cluster file can name, and what this machine has.

use std::collections::BTreeMap;

use importers::cluster::{Catalogue, DeviceRow, LinkRow, catalogue};
use ir::cluster::Check;
use ir::diagnostic::Diagnostic;
use ir::tensor::DType;
use ir::units::{Bytes, BytesPerSecond, Nanos, Watts, Work};
use profiler::backend::{Backend, State};
use serde_json::{Value, json};

use crate::answer::page::{Column, Page};

/// The kinds of devices in the catalogue.
///
/// # Errors
/// As [`catalogue`].
pub fn kinds(page: &Page) -> Result<(), Diagnostic> {
    let columns = Column::row("@device | #memory | #bandwidth | #TFLOP/s | @link | @checked");
    page.table(&columns, catalogue()?.devices.iter().map(device).collect());
    page.line("TFLOP/s: dense products in bf16 or else fp16; bandwidth: of the device's memory");
    recalled(page)
}

/// The links in the catalogue.
///
/// # Errors
/// As [`catalogue`].
pub fn links(page: &Page) -> Result<(), Diagnostic> {
    let columns = Column::row("@link | @joins | #rate | #latency | @checked | ~source");
    page.table(&columns, catalogue()?.links.iter().map(link).collect());
    page.line("rate: per direction, achieved where that is known, else nominal; --json has both");
    recalled(page)
}

fn recalled(page: &Page) -> Result<(), Diagnostic> {
    page.line(
        "recalled: remembered, the source was not at hand; where it matters, give measured \
        figures in the cluster file",
    );
    page.document(&document()?);
    Ok(())
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

/// The backends that can measure this machine.
pub fn here(page: &Page) {
    let backends = profiler::probe();
    let row = |backend: &Backend| {
        let (state, what) = match &backend.state {
            State::Present { devices } => ("present", devices.join(", ")),
            State::Absent { reason } => ("absent", reason.clone()),
        };
        vec![backend.name.to_owned(), state.to_owned(), what]
    };
    let columns = [Column::Name("backend"), Column::Text("state"), Column::Text("what")];
    page.table(&columns, backends.iter().map(row).collect());
    let document = |backend: &Backend| match &backend.state {
        State::Present { devices } => json!({ "name": backend.name, "devices": devices }),
        State::Absent { reason } => json!({ "name": backend.name, "absent": reason }),
    };
    let all: Vec<_> = backends.iter().map(document).collect();
    page.document(&json!({ "backends": all }));
}

/// Devices and links with their figures, sources, and whether these were checked.
///
/// # Errors
/// As [`catalogue`].
pub fn document() -> Result<Value, Diagnostic> {
    let Catalogue { devices, links } = catalogue()?;
    Ok(json!({
        "devices": devices.iter().map(device_document).collect::<Vec<_>>(),
        "links": links.iter().map(link_document).collect::<Vec<_>>(),
    }))
}

fn device_document(row: &DeviceRow) -> Value {
    let kind = &row.kind;
    let peak: BTreeMap<&str, f64> = kind.peak.iter().map(|(t, r)| (t.name(), r.get())).collect();
    json!({
        "name": kind.name,
        "vendor": row.vendor,
        "form": row.form,
        "memory_bytes": kind.memory.map(Bytes::get),
        "memory_bytes_per_s": kind.memory_bandwidth.map(BytesPerSecond::get),
        "peak_flops_per_s": peak,
        "n_multiprocessors": kind.n_multiprocessors,
        "power_w": kind.power.map(Watts::get),
        "scaleup_link": row.scaleup_link,
        "host_link": row.host_link,
        "check": check(kind.check),
        "source": kind.source,
    })
}

fn link_document(row: &LinkRow) -> Value {
    json!({
        "name": row.name,
        "scope": row.scope.name(),
        "nominal_bytes_per_s": row.nominal.get(),
        "achieved_bytes_per_s": row.achieved.map(BytesPerSecond::get),
        "latency_s": row.latency_ns / 1e9,
        "remark": row.remark,
        "check": check(row.check),
        "source": row.source,
    })
}
