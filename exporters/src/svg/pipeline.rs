//! A picture of a training step: a row per pipeline rank with its passes as bars, what it exchanges
//! at the end and its optimizer behind them, its peak beside them.
//!
//! Passes narrower than a pixel are drawn as one bar, in which each kind is as high as its share; past 48 ranks the rest
//! is named in a note.

use cost_model::ops::judge::replay::Span;
use cost_model::runs::judge::Judged;
use ir::grid::{Grid, Pass};
use ir::units::Nanos;
use svg::node::element::{Group, Title};

use super::bars::Legend;
use super::{
    BAR, CHARACTER, FADED, INK, LEFT, MAX_ROWS, RIGHT, ROW, Style, TOP, WIDTH, draw_legend, head,
    rectangle, row_figures, row_head, text,
};
use crate::format::Export;

/// A judged step of a training run.
#[derive(Clone, Copy)]
pub struct PipelineSource<'a> {
    /// When everything happens.
    pub judged: &'a Judged<'a>,
    /// Passes by rank.
    pub grid: &'a Grid,
    /// Name of the model.
    pub model: &'a str,
    /// Name of the cluster.
    pub cluster: &'a str,
    /// Nanoseconds that no plan of the search falls below.
    pub bound: Nanos,
}

/// Fills of passes, exchanges and the optimizer, with their names.
const FILLS: [(&str, &str); 7] = [
    ("forward", "#7aa6d8"),
    ("backward", "#e0a458"),
    ("backward of inputs", "#e0a458"),
    ("backward of weights", "#c9cf6a"),
    ("recompute", "#b9a3d0"),
    ("gradient exchange", "#c8695d"),
    ("optimizer", "#7fb58c"),
];
/// Narrowest bar in pixels.
const NARROWEST: f64 = 1.0;

struct Bar {
    span: Span,
    /// Nanoseconds of each kind.
    ns: [u64; FILLS.len()],
    label: String,
}

impl Bar {
    fn new(span: Span, kind: usize, label: String) -> Self {
        let mut ns = [0; FILLS.len()];
        ns[kind] = span.end.saturating_sub(span.start);
        Self { span, ns, label }
    }

    /// Kinds that are in it, with their nanoseconds.
    fn parts(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.ns.iter().copied().enumerate().filter(|(_, ns)| *ns > 0)
    }
}

/// The picture.
#[must_use]
pub fn export(source: &PipelineSource<'_>) -> Export {
    let step = source.judged.report.step_time.get().max(1);
    let x = |ns: u64| super::x(ns, step);
    let n_ranks = source.grid.rows.len();
    let n_rows = n_ranks.min(MAX_ROWS);
    let bottom = TOP + ROW * n_rows as f64;
    let height = bottom + 56.0;
    let told = format!(
        "step time {} \u{b7} lower bound {} \u{b7} {n_ranks} pipeline ranks",
        Nanos(step),
        source.bound
    );
    let mut document = head((source.model, source.cluster), &told, step, (bottom, height));
    let mut used = [false; FILLS.len()];
    for rank in 0..n_rows {
        document = document.add(row(source, rank, step));
        for bar in bars(source, rank, (RIGHT - LEFT) / step as f64) {
            bar.parts().for_each(|(kind, _)| used[kind] = true);
            document = document.add(drawn(&bar, TOP + ROW * rank as f64 + 12.0, &x));
        }
    }
    if n_rows < n_ranks {
        let note = format!("... and {} more ranks", n_ranks - n_rows);
        document = document.add(text(&note, (WIDTH - 24.0, bottom + 18.0), 11, FADED).end());
    }
    let entries = FILLS.into_iter().zip(used).filter(|(_, used)| *used);
    let entries = entries.map(|((name, fill), _)| (name.to_owned(), fill)).collect();
    format!("{}\n", document.add(draw_legend(&Legend { entries }, bottom + 26.0))).into()
}

fn row(source: &PipelineSource<'_>, rank: usize, step: u64) -> Group {
    let top = TOP + ROW * rank as f64;
    let head = row_head(top, &format!("rank {rank}"));
    let Some(report) = source.judged.report.ranks.get(rank) else { return head };
    let busy = 100.0 * report.compute_ns as f64 / step as f64;
    row_figures(head, top, busy, (report.peak.bytes, report.limit))
}

/// Bars of a rank; `scale` is in pixels per nanosecond.
fn bars(source: &PipelineSource<'_>, rank: usize, scale: f64) -> Vec<Bar> {
    let Judged { lowered, timeline, .. } = source.judged;
    let cells = source.grid.rows[rank].iter().enumerate().map(|(position, cell)| {
        let kind = match cell.pass {
            Pass::Forward => 0,
            Pass::Backward => 1,
            Pass::BackwardInput => 2,
            Pass::BackwardWeight => 3,
            Pass::Recompute => 4,
        };
        let label = cell.micro_batch.to_string();
        Bar::new(timeline.cell(lowered, rank, position), kind, label)
    });
    let ends = timeline.ends.get(rank).into_iter().flat_map(|end| {
        [(5, end.exposed), (5, end.tied), (6, end.optimizer)]
            .map(|(kind, span)| Bar::new(span, kind, String::new()))
    });
    let mut all: Vec<Bar> = Vec::new();
    for bar in cells.chain(ends).filter(|bar| bar.span.end > bar.span.start) {
        match all.last_mut() {
            Some(last) if (bar.span.end - last.span.start) as f64 * scale < NARROWEST => {
                last.span.end = bar.span.end;
                last.ns.iter_mut().zip(bar.ns).for_each(|(own, ns)| *own += ns);
                last.label.clear();
            }
            _ => all.push(bar),
        }
    }
    all
}

fn drawn(bar: &Bar, top: f64, x: &dyn Fn(u64) -> f64) -> Group {
    let (from, to) = (x(bar.span.start), x(bar.span.end));
    let gap = if to - from > 3.0 { 0.8 } else { 0.0 };
    let sum = bar.parts().map(|(_, ns)| ns).sum::<u64>().max(1) as f64;
    let mut group = Group::new();
    let mut bottom = top + BAR;
    for (kind, ns) in bar.parts() {
        let (name, fill) = FILLS[kind];
        let hover = match bar.label.as_str() {
            "" => format!("{name}, {}", Nanos(ns)),
            label => format!("{name} {label}, {}", Nanos(ns)),
        };
        let height = BAR * (ns as f64 / sum);
        bottom -= height;
        let place = (from, bottom, (to - from - gap).max(0.4), height);
        group = group.add(rectangle(place, fill).add(Title::new(hover)));
    }
    if to - from <= CHARACTER * bar.label.len() as f64 + 4.0 || bar.label.is_empty() {
        return group;
    }
    group.add(text(&bar.label, ((from + to) / 2.0, top + BAR / 2.0 + 4.0), 11, INK).middle())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_narrower_than_a_pixel_keep_their_shares() {
        let span = |start, end| Span { start, end };
        let mut bar = Bar::new(span(0, 100), 0, String::new());
        bar.ns[1] = 200;
        bar.span.end = 300;
        let drawn = drawn(&bar, 0.0, &|ns| ns as f64 / 1000.0).to_string();
        for (name, height) in [("forward", BAR / 3.0), ("backward", 2.0 * BAR / 3.0)] {
            let fill = FILLS.iter().find(|(own, _)| *own == name).unwrap().1;
            let part = drawn.split("<rect").find(|part| part.contains(fill)).unwrap();
            let (_, rest) = part.split_once("height=\"").unwrap();
            let own: f64 = rest.split('"').next().unwrap().parse().unwrap();
            assert!((own - height).abs() < 0.1, "{name}: {drawn}");
        }
    }
}
