//! A plan of two groups of devices as people read it.

use cost_model::streams::moe::OPS;
use cost_model::streams::{Cell, Piece, Resource};
use documents::plan::PlanDocument;
use documents::plan::disaggregated::{DisaggregatedDocument, SplitDocument};
use ir::diagnostic::Diagnostic;
use serde_json::{Value, json};

use super::decided::{replayed, whole};
use super::setting::Setting;
use super::{Groups, Judged};
use crate::answer::page::{Column, Page};
use crate::answer::rows::Rows;
use crate::answer::words::ranges;
use crate::kinds::cells::check_layer;
use crate::kinds::kind::{Asked, Legal};

/// Where a step goes; when the pieces of one layer run, where one is named.
///
/// # Errors
/// `unknown-layer`.
pub fn explain(on: Legal<'_, Groups>, query: &Asked<'_>) -> Result<Value, Diagnostic> {
    let Asked { layer, rows, page, .. } = *query;
    if let Some(layer) = layer {
        check_layer(layer, on.setting.layers.len())?;
        return Ok(of_layer(on.setting, on.judged, layer as usize, (rows, page)));
    }
    let layers = table(on.plan, rows, page);
    let busy = busy(on.setting, on.judged, page);
    if let Some(groups) = &on.plan.experts.disaggregated {
        sentences(groups).iter().for_each(|line| page.line(line));
        by_length(groups, rows, page);
    }
    Ok(json!({ "seconds": on.judged.seconds, "busy_seconds": busy, "layers": layers }))
}

/// When each piece of a layer runs, from the start of the step.
fn of_layer(
    setting: &Setting,
    judged: &Judged,
    layer: usize,
    (rows, page): (Rows, &Page),
) -> Value {
    let all = whole(setting, &judged.cells);
    let n_pieces = |kind: &usize| judged.cells.get(*kind).map_or(0, |cell| cell.pieces.len());
    let first: usize = setting.layers.iter().take(layer).map(n_pieces).sum();
    let end = first + setting.layers.get(layer).map_or(0, n_pieces);
    let times = replayed(&all).unwrap_or_default();
    let columns = Column::row("stream | op | #micro-batch | #part | #start, ms | #end, ms");
    let (mut table, mut documents) = (Vec::new(), Vec::new());
    for (stream, order) in all.streams.iter().zip(&times.orders) {
        for piece in order.iter().filter(|piece| (first..end).contains(piece)) {
            let (piece, span) = (&all.pieces[*piece], times.spans[*piece]);
            let op = OPS.get(piece.op as usize).copied().unwrap_or_default();
            let ms = |seconds: f64| format!("{:.3}", seconds * 1e3);
            table.push(vec![
                stream.resource.name().to_owned(),
                op.to_owned(),
                piece.nano_batch.to_string(),
                piece.part.to_string(),
                ms(span.start_s),
                ms(span.end_s),
            ]);
            documents.push(json!({
                "stream": stream.resource.name(), "op": op, "nano_batch": piece.nano_batch,
                "part": piece.part, "start_s": span.start_s, "end_s": span.end_s,
            }));
        }
    }
    rows.table(&columns, table.into_iter(), page);
    json!({ "layer": layer, "pieces": documents })
}

/// A row for each entry of layers; all of them as a document.
pub fn table(plan: &PlanDocument, rows: Rows, page: &Page) -> Vec<Value> {
    let columns = Column::row(
        "layers | #attention, ms | #shared, ms | #dispatch, ms | #experts, ms \
             | #busiest share",
    );
    let (mut table, mut documents) = (Vec::new(), Vec::new());
    for entry in &plan.experts.layers {
        let pieces = entry.piece_seconds.unwrap_or_default();
        let seconds = [pieces.attention, pieces.shared, pieces.exchange, pieces.experts];
        let mut row = vec![ranges(&entry.layers)];
        row.extend(seconds.iter().map(|part| format!("{:.4}", part * 1e3)));
        row.push(match entry.devices_of_expert.is_empty() {
            true => "-".to_owned(),
            false => format!("{:.2} %", 100.0 * entry.greatest_load),
        });
        table.push(row);
        documents.push(json!({ "layers": entry.layers, "piece_seconds": pieces }));
    }
    rows.table(&columns, table.into_iter(), page);
    documents
}

/// Seconds in which each stream is busy.
fn busy(setting: &Setting, judged: &Judged, page: &Page) -> Vec<Value> {
    let all: Cell = whole(setting, &judged.cells);
    let on = |resource: Resource| {
        let is_on = |piece: &&Piece| {
            all.streams.get(piece.stream).is_some_and(|stream| stream.resource == resource)
        };
        all.pieces.iter().filter(is_on).map(|piece| piece.seconds).sum::<f64>()
    };
    let each = all.streams.iter().map(|stream| (stream.resource.name(), on(stream.resource)));
    let each: Vec<(&str, f64)> = each.collect();
    let words = each.iter().map(|(name, busy_s)| {
        format!("{name} {:.0} %", 100.0 * busy_s / judged.seconds.max(f64::MIN_POSITIVE))
    });
    page.line(&format!("busy: {}", words.collect::<Vec<_>>().join(", ")));
    each.iter().map(|(name, busy_s)| json!({ "stream": name, "seconds": busy_s })).collect()
}

/// Groups and decisions.
#[must_use]
pub fn sentences(groups: &DisaggregatedDocument) -> Vec<String> {
    let gb = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
    let limit = groups.limit_bytes.map_or_else(|| "unknown".to_owned(), gb);
    vec![
        format!(
            "{} attention devices hold {}, {} expert devices {}, of {limit}; without activations",
            groups.attention.len(),
            gb(groups.attention_bytes),
            groups.experts.len(),
            gb(groups.expert_bytes)
        ),
        format!(
            "step of {} samples: {}; {:.1} tokens per expert and chunk",
            groups.step_samples,
            decisions(&groups.step),
            groups.tokens_per_expert
        ),
    ]
}

fn decisions(step: &SplitDocument) -> String {
    format!(
        "micro-batch {1} x {0} per device, {2} chunks, order {3}, {4:.3} samples/s",
        step.micro_batches, step.samples, step.parts, step.order, step.samples_per_s
    )
}

/// What is best by length of samples.
pub fn by_length(groups: &DisaggregatedDocument, rows: Rows, page: &Page) {
    let columns = Column::row("#tokens | #samples | #micro-batches | #parts | order | #samples/s");
    let row = |length: &documents::plan::disaggregated::LengthDocument| {
        vec![
            length.tokens.to_string(),
            length.step.samples.to_string(),
            length.step.micro_batches.to_string(),
            length.step.parts.to_string(),
            length.step.order.clone(),
            format!("{:.3}", length.step.samples_per_s),
        ]
    };
    rows.table(&columns, groups.by_length.iter().map(row), page);
}
