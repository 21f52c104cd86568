//! A plan of two groups of devices as a picture: of each kind of layers one, and what else runs meanwhile.

use cost_model::streams::moe::OPS;
use cost_model::streams::{Cell, Span, Stream, Timetable};
use documents::plan::PlanDocument;
use exporters::Export;
use exporters::svg::streams::{Piece, Row};
use ir::units::Nanos;

use super::decided::{replayed, whole};
use super::setting::Setting;
use crate::answer::words::ranges;
use crate::kinds::cells::{nanos, of_rows, span};

/// The picture of a legal plan, of whose layers each kind has a cell.
#[must_use]
pub fn drawn(plan: &PlanDocument, setting: &Setting, cells: &[Cell]) -> Export {
    let all = whole(setting, cells);
    let times = replayed(&all).unwrap_or_default();
    let mut n = 0;
    let ends = setting.layers.iter().map(|kind| {
        n += cells.get(*kind).map_or(0, |cell| cell.pieces.len());
        n
    });
    let step = Step { ends: ends.collect(), all: &all, times: &times };
    let rows = plan.experts.layers.iter().flat_map(|entry| of_entry(&entry.layers, &step));
    let bound = Nanos(plan.cost.as_ref().map_or(0, |cost| cost.bound_ns));
    let summary = format!(
        "bound {bound} \u{b7} one layer of each kind, and what others do meanwhile \u{b7} bars: \
         micro-batch.part"
    );
    of_rows((plan, &setting.run), &OPS, (&summary, rows.collect()))
}

/// All layers, one after the other.
struct Step<'s> {
    all: &'s Cell,
    times: &'s Timetable,
    /// By layer how many pieces it and those before it have.
    ends: Vec<usize>,
}

impl Step<'_> {
    fn layer_of(&self, piece: usize) -> usize {
        self.ends.partition_point(|end| *end <= piece)
    }

    /// From the first piece of a layer to its last.
    fn window(&self, layer: u32) -> Span {
        let pieces =
            (0..self.times.spans.len()).filter(|piece| self.layer_of(*piece) == layer as usize);
        let none = Span { start_s: f64::INFINITY, end_s: 0.0 };
        pieces.fold(none, |all, piece| {
            let Span { start_s, end_s } = self.times.spans[piece];
            Span { start_s: start_s.min(all.start_s), end_s: end_s.max(all.end_s) }
        })
    }

    /// As much of a piece as a window has.
    fn shown(&self, piece: usize, window: &Span) -> Option<Piece> {
        let (source, found) = (&self.all.pieces[piece], self.times.spans[piece]);
        let cut = Span {
            start_s: found.start_s.max(window.start_s),
            end_s: found.end_s.min(window.end_s),
        };
        let (micro_batch, part, layer) = (source.nano_batch, source.part, self.layer_of(piece));
        (cut.start_s < cut.end_s).then(|| Piece {
            span: span(&cut, -window.start_s),
            op: source.op as usize,
            label: format!("{micro_batch}.{part}"),
            told: format!("layer {layer}, micro-batch {micro_batch}, part {part}"),
        })
    }
}

/// The streams of one of the layers, of the one in their middle: what fills and drains the groups is far.
fn of_entry(layers: &[u32], step: &Step<'_>) -> Vec<Row> {
    let Some(shown) = layers.get(layers.len() / 2) else { return Vec::new() };
    let window = step.window(*shown);
    let streams = step.all.streams.iter().zip(&step.times.orders).enumerate();
    let row = |(at, (stream, order)): (usize, (&Stream, &Vec<usize>))| Row {
        stream: stream.resource.name().to_owned(),
        pieces: order.iter().filter_map(|piece| step.shown(*piece, &window)).collect(),
        ..match at {
            0 => Row {
                name: format!("layers {}", ranges(layers)),
                figure: format!("layer {shown}: {}", nanos(window.end_s - window.start_s)),
                ..Row::default()
            },
            _ => Row::default(),
        }
    };
    streams.map(row).collect()
}
