//! A plan of parts as a picture: the passes of each entry of layers, stream by stream.

use cost_model::streams::Slowdowns;
use cost_model::streams::moe::OPS;
use cost_model::streams::replay::replay;
use documents::plan::PlanDocument;
use exporters::Export;
use exporters::svg::streams::{Piece, Row};
use ir::units::Nanos;

use super::decided::{Pass, name, of_entry, of_pass};
use super::setting::Setting;
use crate::answer::words::ranges;
use crate::kinds::cells::{nanos, of_rows, ordered, span};

/// The picture of a legal plan.
#[must_use]
pub fn drawn(plan: &PlanDocument, setting: &Setting) -> Export {
    let cost = plan.cost.as_ref();
    let bound = Nanos(cost.map_or(0, |cost| cost.bound_ns));
    let summary = format!(
        "bound {bound} \u{b7} experts of equal layers, forward, then backward \u{b7} without attention, norms \
         and shared experts"
    );
    let rows = (0..plan.experts.layers.len()).flat_map(|at| of_layers(plan, setting, at));
    of_rows((plan, &setting.run), &OPS, (&summary, rows.collect()))
}

/// The streams of an entry; none where its layers have no experts.
fn of_layers(plan: &PlanDocument, setting: &Setting, at: usize) -> Vec<Row> {
    let entry = &plan.experts.layers[at];
    let first = entry.layers.first().copied().unwrap_or_default();
    let mut rows: Vec<Row> = Vec::new();
    let mut begin_s = 0.0;
    for pass in [Pass::Forward, Pass::Backward] {
        let Some(cell) = of_pass(setting, first, &of_entry(entry), pass) else { continue };
        // In the orders that the plan states.
        let stated = plan.schedule.cells.iter().find(|cell| cell.cell == name(at, pass));
        let cell = stated.and_then(|stated| ordered(&cell, stated).ok()).unwrap_or(cell);
        let Ok(times) = replay(&cell, &Slowdowns::default()) else { continue };
        if rows.is_empty() {
            let of = |stream: &cost_model::streams::Stream| Row {
                stream: stream.resource.name().to_owned(),
                ..Row::default()
            };
            rows = cell.streams.iter().map(of).collect();
            if let Some(row) = rows.first_mut() {
                row.name = format!("layers {}", ranges(&entry.layers));
            }
        }
        let end_s = begin_s + times.seconds();
        let word = if pass == Pass::Forward { "forward" } else { "backward" };
        if let Some(row) = rows.get_mut(usize::from(pass == Pass::Backward)) {
            row.figure = format!("{word}: {}", nanos(times.seconds()));
        }
        for (row, order) in rows.iter_mut().zip(&times.orders) {
            if pass == Pass::Backward {
                row.turn_ns = Some(nanos(begin_s).get());
            }
            let piece = |piece: &usize| {
                let source = &cell.pieces[*piece];
                Piece {
                    span: span(&times.spans[*piece], begin_s),
                    op: source.op as usize,
                    label: source.part.to_string(),
                    told: format!("{word}, part {}", source.part),
                }
            };
            row.pieces.extend(order.iter().map(piece));
        }
        begin_s = end_s;
    }
    rows
}
