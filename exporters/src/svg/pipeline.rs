//! A picture of a training step: a row per pipeline rank with its passes as bars, what it exchanges
//! at the end and its optimizer behind them, its peak beside them.
//!
//! Passes narrower than a pixel are drawn as one bar with the first of them; past 48 ranks the rest
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
    kind: usize,
    label: String,
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
            used[bar.kind] = true;
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
        Bar { span: timeline.cell(lowered, rank, position), kind, label }
    });
    let ends = timeline.ends.get(rank).into_iter().flat_map(|end| {
        [(5, end.exposed), (5, end.tied), (6, end.optimizer)].map(|(kind, span)| Bar {
            span,
            kind,
            label: String::new(),
        })
    });
    let mut all: Vec<Bar> = Vec::new();
    for bar in cells.chain(ends).filter(|bar| bar.span.end > bar.span.start) {
        match all.last_mut() {
            Some(last) if (bar.span.end - last.span.start) as f64 * scale < NARROWEST => {
                last.span.end = bar.span.end;
                last.label.clear();
            }
            _ => all.push(bar),
        }
    }
    all
}

fn drawn(bar: &Bar, top: f64, x: &dyn Fn(u64) -> f64) -> Group {
    let (name, fill) = FILLS[bar.kind];
    let (from, to) = (x(bar.span.start), x(bar.span.end));
    let gap = if to - from > 3.0 { 0.8 } else { 0.0 };
    let hover = match bar.label.as_str() {
        "" => format!("{name}, {}", Nanos(bar.span.end - bar.span.start)),
        label => format!("{name} {label}, {}", Nanos(bar.span.end - bar.span.start)),
    };
    let shape =
        rectangle((from, top, (to - from - gap).max(0.4), BAR), fill).add(Title::new(hover));
    let group = Group::new().add(shape);
    if to - from <= CHARACTER * bar.label.len() as f64 + 4.0 || bar.label.is_empty() {
        return group;
    }
    group.add(text(&bar.label, ((from + to) / 2.0, top + BAR / 2.0 + 4.0), 11, INK).middle())
}
