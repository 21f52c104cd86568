//! A plan of streams as people read it: by entry of layers, what each pass takes.

use cost_model::streams::moe::OPS;
use cost_model::streams::replay::replay;
use cost_model::streams::{Piece, Resource, Slowdowns};
use documents::plan::PlanDocument;
use ir::diagnostic::Diagnostic;
use serde_json::{Value, json};

use super::Streams;
use super::decided::{Pass, of_entry, of_pass};
use super::setting::Setting;
use crate::answer::page::{Column, Page};
use crate::answer::rows::Rows;
use crate::answer::words::ranges;
use crate::kinds::cells::check_layer;
use crate::kinds::kind::{Asked, Legal};

/// What passes take; of one layer, where one is named.
///
/// # Errors
/// `unknown-layer`.
pub fn explain(on: Legal<'_, Streams>, query: &Asked<'_>) -> Result<Value, Diagnostic> {
    let Asked { layer, rows, page, .. } = *query;
    if let Some(layer) = layer {
        return of_layer(on, layer, rows, page);
    }
    let entries = table(on.plan, on.setting, rows, page);
    let rest_bytes = on.setting.model.rest_bytes(on.judged);
    let rest_s = on.setting.model.reduce.seconds(rest_bytes);
    page.line(&format!(
        "{:.1} MB of gradients follow the last layer: {:.3} ms",
        rest_bytes as f64 / 1e6,
        rest_s * 1e3
    ));
    Ok(json!({
        "seconds": on.setting.model.seconds(on.judged),
        "rest_bytes": rest_bytes,
        "rest_seconds": rest_s,
        "layers": entries,
    }))
}

/// When each piece of a layer's passes runs.
fn of_layer(
    on: Legal<'_, Streams>,
    layer: u32,
    rows: Rows,
    page: &Page,
) -> Result<Value, Diagnostic> {
    check_layer(layer, on.judged.len())?;
    let parts = on.judged.get(layer as usize).copied().unwrap_or_default();
    let columns = Column::row("pass | stream | op | #part | #start, ms | #end, ms");
    let (mut table, mut documents) = (Vec::new(), Vec::new());
    for (pass, name) in [(Pass::Forward, "forward"), (Pass::Backward, "backward")] {
        let Some(cell) = of_pass(on.setting, layer, &parts, pass) else { continue };
        let Ok(times) = replay(&cell, &Slowdowns::default()) else { continue };
        for (stream, order) in cell.streams.iter().zip(&times.orders) {
            for piece in order {
                let (piece, span) = (&cell.pieces[*piece], times.spans[*piece]);
                let op = OPS.get(piece.op as usize).copied().unwrap_or_default();
                let ms = |seconds: f64| format!("{:.3}", seconds * 1e3);
                table.push(vec![
                    name.to_owned(),
                    stream.resource.name().to_owned(),
                    op.to_owned(),
                    piece.part.to_string(),
                    ms(span.start_s),
                    ms(span.end_s),
                ]);
                documents.push(json!({
                    "pass": name, "stream": stream.resource.name(), "op": op, "part": piece.part,
                    "start_s": span.start_s, "end_s": span.end_s,
                }));
            }
        }
    }
    if table.is_empty() {
        page.line(&format!("layer {layer} has no experts, and so no streams"));
    }
    rows.table(&columns, table.into_iter(), page);
    Ok(json!({ "layer": layer, "pieces": documents }))
}

/// A row for each pass of each entry, as many as are shown; all of them as a document.
pub fn table(plan: &PlanDocument, setting: &Setting, rows: Rows, page: &Page) -> Vec<Value> {
    let columns =
        Column::row("layers | pass | #parts | #ms | #experts | #compute | #intra | #inter | #MB");
    let (mut table, mut documents) = (Vec::new(), Vec::new());
    for entry in &plan.experts.layers {
        let parts = of_entry(entry);
        let first = entry.layers.first().copied().unwrap_or_default();
        if first as usize >= setting.model.layers.len() {
            continue;
        }
        let whole = setting.model.layer_s(first as usize, &parts);
        for (pass, whole_s) in [Pass::Forward, Pass::Backward].into_iter().zip(whole) {
            let (name, n, bytes) = match pass {
                Pass::Forward => ("forward", parts.forward, 0),
                Pass::Backward => {
                    ("backward", parts.backward, parts.gradient_bytes + parts.others_gradient_bytes)
                }
            };
            let (experts_s, busy) = busy(setting, first, entry, pass);
            let share = |busy_s: f64| match experts_s > 0.0 {
                true => format!("{:.0} %", 100.0 * busy_s / experts_s),
                false => "-".to_owned(),
            };
            table.push(vec![
                ranges(&entry.layers),
                name.to_owned(),
                n.to_string(),
                format!("{:.3}", whole_s * 1e3),
                format!("{:.3}", experts_s * 1e3),
                share(busy[0]),
                share(busy[1]),
                share(busy[2]),
                format!("{:.1}", bytes as f64 / 1e6),
            ]);
            documents.push(json!({
                "layers": entry.layers, "pass": name, "parts": n, "seconds": whole_s,
                "experts_seconds": experts_s, "compute_seconds": busy[0],
                "intra_node_seconds": busy[1], "inter_node_seconds": busy[2],
                "gradient_bytes": bytes,
            }));
        }
    }
    rows.table(&columns, table.into_iter(), page);
    page.line(
        "ms of a pass, and of its experts; how long of those compute and links inside and between hosts \
         are busy; MB of gradients summed up beside it",
    );
    documents
}

/// Seconds of the experts of a pass, and how long of them compute and both kinds of links are busy.
fn busy(
    setting: &Setting,
    layer: u32,
    entry: &documents::plan::experts::ExpertLayersDocument,
    pass: Pass,
) -> (f64, [f64; 3]) {
    let Some(cell) = of_pass(setting, layer, &of_entry(entry), pass) else {
        return (0.0, [0.0; 3]);
    };
    let times = replay(&cell, &Slowdowns::default());
    let on = |resource: Resource| {
        let is_on = |piece: &&Piece| {
            cell.streams.get(piece.stream).is_some_and(|stream| stream.resource == resource)
        };
        cell.pieces.iter().filter(is_on).map(|piece| piece.seconds).sum()
    };
    let busy = [Resource::Compute, Resource::IntraNode, Resource::InterNode].map(on);
    (times.map_or(0.0, |times| times.seconds()), busy)
}
