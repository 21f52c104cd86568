//! A plan of nano-batches as a picture: two layers of each kind that follow each other in the steady state.

use cost_model::streams::Span;
use documents::plan::PlanDocument;
use exporters::Export;
use exporters::svg::streams::{Piece, Row};
use ir::units::Nanos;

use super::OPS;
use super::decided::{Entry, piece, timetable};
use super::setting::Setting;
use crate::answer::words::ranges;
use crate::kinds::cells::{nanos, of_rows, span};

/// Layers that are drawn.
const SHOWN: u32 = 2;

/// The picture of a legal plan.
#[must_use]
pub fn drawn(plan: &PlanDocument, setting: &Setting, entries: &[Entry]) -> Export {
    let names = OPS.map(|op| op.0);
    let rows = entries.iter().flat_map(|entry| of_entry(entry, &names)).collect();
    let bound = Nanos(plan.cost.as_ref().map_or(0, |cost| cost.bound_ns));
    let summary = format!(
        "bound {bound} \u{b7} two layers in the steady state, the second from the line on \u{b7} bars: \
         nano-batch"
    );
    of_rows((plan, &setting.run), &names, (&summary, rows))
}

fn of_entry(entry: &Entry, names: &[&str]) -> Vec<Row> {
    let period = &entry.cut.split.period;
    let times = timetable(entry);
    let mut rows = Vec::new();
    for (at, resource) in period.streams.iter().enumerate() {
        let on_stream = times.iter().filter(|(step, _)| period.chains[step.0][step.1].stream == at);
        let mut pieces = Vec::new();
        for later in 0..SHOWN {
            pieces.extend(on_stream.clone().map(|(step, [start_s, end_s])| {
                let piece = piece(&entry.cut, *step);
                let found = Span { start_s: *start_s, end_s: *end_s };
                let which = if later == 0 { "this layer" } else { "the next layer" };
                Piece {
                    span: span(&found, f64::from(later) * entry.cycle_s),
                    // Fused ops are drawn as their first one.
                    op: names
                        .iter()
                        .position(|name| piece.op.starts_with(name))
                        .unwrap_or(names.len()),
                    label: piece.nano_batch.to_string(),
                    told: format!(
                        "{}, nano-batch {}, part {}, {which}",
                        piece.op, piece.nano_batch, piece.part
                    ),
                }
            }));
        }
        pieces.sort_by_key(|piece| piece.span.start);
        let first = at == 0;
        rows.push(Row {
            name: if first { format!("layers {}", ranges(&entry.layers)) } else { String::new() },
            stream: resource.name().to_owned(),
            figure: if first { format!("cycle: {}", nanos(entry.cycle_s)) } else { String::new() },
            turn_ns: Some(nanos(entry.cycle_s).get()),
            pieces,
        });
    }
    rows
}
