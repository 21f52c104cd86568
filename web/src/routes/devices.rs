//! `GET /api/devices`: the catalogue of devices and links.

use std::collections::BTreeMap;

use axum::routing::get;
use axum::{Json, Router};
use importers::cluster::{Catalogue, DeviceRow, LinkRow, catalogue};
use ir::cluster::Check;
use ir::diagnostic::Diagnostic;
use serde_json::{Value, json};

use crate::error::Problem;

/// The route.
pub(crate) fn router() -> Router {
    Router::new().route("/api/devices", get(answer))
}

async fn answer() -> Result<Json<Value>, Problem> {
    Ok(document().map(Json)?)
}

/// Devices and links with their figures, sources, and whether these were checked.
///
/// # Errors
/// As [`catalogue`].
pub fn document() -> Result<Value, Diagnostic> {
    let Catalogue { devices, links } = catalogue()?;
    Ok(json!({
        "devices": devices.iter().map(device).collect::<Vec<_>>(),
        "links": links.iter().map(link).collect::<Vec<_>>(),
    }))
}

fn device(row: &DeviceRow) -> Value {
    let kind = &row.kind;
    let peak: BTreeMap<&str, f64> = kind.peak.iter().map(|(t, r)| (t.name(), r.get())).collect();
    json!({
        "name": kind.name,
        "vendor": row.vendor,
        "form": row.form,
        "memory_bytes": kind.memory.map(ir::units::Bytes::get),
        "memory_bytes_per_s": kind.memory_bandwidth.map(ir::units::BytesPerSecond::get),
        "peak_flops_per_s": peak,
        "n_multiprocessors": kind.n_multiprocessors,
        "scaleup_link": row.scaleup_link,
        "host_link": row.host_link,
        "check": check(kind.check),
        "source": kind.source,
    })
}

fn link(row: &LinkRow) -> Value {
    json!({
        "name": row.name,
        "scope": row.scope.name(),
        "nominal_bytes_per_s": row.nominal.get(),
        "achieved_bytes_per_s": row.achieved.map(ir::units::BytesPerSecond::get),
        "latency_s": row.latency_ns / 1e9,
        "remark": row.remark,
        "check": check(row.check),
        "source": row.source,
    })
}

fn check(check: Check) -> &'static str {
    match check {
        Check::Read => "read",
        Check::Measured => "measured",
        Check::Recalled => "recalled",
        Check::Given => "given",
    }
}
