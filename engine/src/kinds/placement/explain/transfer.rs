//! Why the transfers of a tensor take as long as they do.

use cost_model::explain::{self, Explanation};
use cost_model::ops::judge::replay::TransferSpan;
use documents::quantity::Duration;
use ir::diagnostic::Diagnostic;
use ir::id::DeviceId;
use ir::units::{Bytes, Nanos};
use serde_json::{Value, json};

use super::formula::{self, Sources};
use super::{device_name, position_of};
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::kinds::placement::replay::Replayed;

/// The transfers of one tensor, each to another device.
pub(super) fn explain(
    replayed: &Replayed,
    name: &str,
    rows: Rows,
    page: &Page,
) -> Result<Value, Diagnostic> {
    let problem = &replayed.on.loaded.problem;
    let names = problem.graph.tensors.iter().map(|tensor| tensor.name.as_str());
    let tensor = ir::id::TensorId::new(position_of("unknown-tensor", "tensor", name, names)?);
    let root = problem.root(tensor);
    let sent: Vec<&TransferSpan> =
        replayed.timeline.transfers.iter().filter(|t| t.transfer.tensor == root).collect();
    if sent.is_empty() {
        return Err(Diagnostic::usage("not-sent", format!("the tensor `{name}` is never sent"))
            .hint("all that read it run on the device that it is made on"));
    }
    let mut sources = Sources::default();
    let mut documents = Vec::new();
    for (at, transfer) in sent.iter().enumerate() {
        let Some(why) = why(replayed, root, transfer.from, transfer.transfer.to) else { continue };
        documents.push(json!({
            "from": device_name(replayed, transfer.from),
            "to": device_name(replayed, transfer.transfer.to),
            "start": Duration::from_ns(transfer.span.start),
            "end": Duration::from_ns(transfer.span.end),
            "why": formula::document(&why),
        }));
        if at >= rows.shown(sent.len()) {
            continue;
        }
        let (from, to) =
            (device_name(replayed, transfer.from), device_name(replayed, transfer.transfer.to));
        let (start, end) = (Nanos(transfer.span.start), Nanos(transfer.span.end));
        page.line(&format!("{name} from {from} to {to}, {start} to {end}"));
        formula::print(
            &why,
            &link(replayed, transfer.from, transfer.transfer.to),
            &mut sources,
            page,
        );
    }
    let shown = rows.shown(sent.len());
    if shown < sent.len() {
        page.line(&format!("... and {} more (--all)", sent.len() - shown));
    }
    sources.print(page);
    Ok(json!({
        "tensor": name,
        "bytes": problem.bytes(root),
        "transfers": documents,
    }))
}

/// Why a tensor takes as long as it does from one device to another; `None` where no way leads.
pub(super) fn why(
    replayed: &Replayed,
    tensor: ir::id::TensorId,
    from: DeviceId,
    to: DeviceId,
) -> Option<Explanation> {
    let problem = &replayed.on.loaded.problem;
    let route = problem.cluster.route(from, to)?;
    Some(explain::transfer(Bytes(problem.bytes(tensor)), route, problem.origins()))
}

/// Name of the way between two devices.
pub(super) fn link(replayed: &Replayed, from: DeviceId, to: DeviceId) -> String {
    let route = replayed.on.loaded.problem.cluster.route(from, to);
    route.map_or_else(String::new, |route| route.kind.name.clone())
}
