//! A plan of parts as a picture: the passes of each entry of layers, stream by stream.

use cost_model::ops::judge::replay::Span;
use cost_model::streams::moe::OPS;
use cost_model::streams::replay::replay;
use cost_model::streams::{Slowdowns, Timetable};
use documents::plan::PlanDocument;
use exporters::Export;
use exporters::svg::streams::{Piece, Row, StreamsSource, export};
use ir::units::Nanos;

use super::decided::{Pass, name, of_entry, of_pass, ordered};
use super::setting::Setting;
use crate::experts::setting::ranges;

/// The picture of a legal plan.
#[must_use]
pub fn drawn(plan: &PlanDocument, setting: &Setting) -> Export {
    let cost = plan.cost.as_ref();
    let figure = |of: fn(&documents::plan::CostDocument) -> u64| Nanos(cost.map_or(0, of));
    let told = format!(
        "step time {} \u{b7} bound {} \u{b7} experts of layers that are planned alike, forward, then \
         backward; attention, norms and shared experts are left out",
        figure(|own| own.step_time_ns),
        figure(|own| own.bound_ns)
    );
    let rows = (0..plan.experts.layers.len()).flat_map(|at| of_layers(plan, setting, at));
    let (model, cluster) = (setting.run.model.name.as_str(), setting.run.cluster.name.as_str());
    export(&StreamsSource { model, cluster, told, ops: &OPS, rows: rows.collect() })
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
        let stated = plan.schedule.cells.iter().find(|own| own.cell == name(at, pass));
        let cell = stated.and_then(|own| ordered(&cell, own).ok()).unwrap_or(cell);
        let Ok(times) = replay(&cell, &Slowdowns::default()) else { continue };
        if rows.is_empty() {
            let of = |own: &cost_model::streams::Stream| Row {
                stream: own.resource.name().to_owned(),
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
            row.figure = format!("{word} {}", nanos(times.seconds()));
        }
        for (row, order) in rows.iter_mut().zip(&times.orders) {
            if pass == Pass::Backward {
                row.turn_ns = nanos(begin_s).get();
            }
            let piece = |piece: &usize| {
                let own = &cell.pieces[*piece];
                Piece { span: span(&times, *piece, begin_s), op: own.op as usize, part: own.part }
            };
            row.pieces.extend(order.iter().map(piece));
        }
        begin_s = end_s;
    }
    rows
}

fn nanos(seconds: f64) -> Nanos {
    Nanos((seconds * 1e9).round() as u64)
}

fn span(times: &Timetable, piece: usize, begin_s: f64) -> Span {
    let own = times.spans[piece];
    Span { start: nanos(begin_s + own.start_s).get(), end: nanos(begin_s + own.end_s).get() }
}
