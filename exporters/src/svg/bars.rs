//! What is drawn where, and in which colour.

use std::collections::BTreeMap;

use cost_model::ops::judge::replay::Span;
use cost_model::runs::judge::windows::Doing;
use ir::id::{DeviceId, OpId};
use ir::module::unit_of;
use ir::op::{Op, Phase};

use super::{BACKWARD, FORWARD, Legend, OPTIMIZER, WEIGHT};
use crate::format::Source;

/// More bars than this are merged.
const MAX_BARS: usize = 5000;

/// Bars nearer than this, in pixels, look like one.
const TOUCH: f64 = 0.5;

/// Blocks in turn.
const PALETTE: [&str; 10] = [
    "#85a9e6", "#e0a06e", "#a3d9a0", "#d8b4e2", "#e8d27a", "#7fc4c9", "#eba5ad", "#b9b6d3",
    "#c2cf8a", "#d0b49f",
];
/// Ops of which neither part nor block is known.
const PLAIN: &str = "#a9bcd6";
const SENT: &str = "#8b78ae";
const RECEIVED: &str = "#cba9d6";

/// Which strip of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// Ops.
    Compute,
    /// Transfers to other devices.
    Sent,
    /// Transfers from other devices.
    Received,
}

/// A bar.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub(super) row: usize,
    pub(super) lane: Lane,
    pub(super) span: Span,
    pub(super) fill: &'static str,
    /// Its block, or its name where no op has a block; else empty.
    pub(super) label: String,
    /// Shown when the pointer rests on it.
    pub(super) hover: String,
    /// Bars of one block may be merged.
    block: usize,
    n_merged: usize,
}

/// More blocks than this repeat colours and are not listed.
const MAX_BLOCKS: usize = PALETTE.len();

/// All bars of the first `n_rows` devices. `scale` is in pixels per nanosecond.
pub(super) fn collect(source: &Source<'_>, n_rows: usize, scale: f64) -> (Vec<Bar>, Legend) {
    let colours = Colours::new(source);
    let mut bars = ops(source, n_rows, &colours);
    bars.extend(transfers(source, n_rows));
    bars.sort_by_key(|bar| (bar.row, bar.lane, bar.span));
    if bars.len() > MAX_BARS {
        bars = merged(bars, scale);
    }
    let has_transfers = bars.iter().any(|bar| bar.lane != Lane::Compute);
    (bars, colours.legend(has_transfers))
}

/// What colours tell apart.
struct Colours<'a> {
    /// Some op is not of the forward pass.
    is_training: bool,
    /// Blocks in order of first use.
    blocks: BTreeMap<&'a str, usize>,
    names: Vec<&'a str>,
}

const PHASES: [(Phase, Doing, &str); 4] = [
    (Phase::Forward, Doing::Forward, FORWARD),
    (Phase::BackwardInput, Doing::BackwardInput, BACKWARD),
    (Phase::BackwardWeight, Doing::BackwardWeight, WEIGHT),
    (Phase::Optimizer, Doing::Optimizer, OPTIMIZER),
];

impl<'a> Colours<'a> {
    fn new(source: &Source<'a>) -> Self {
        let problem = source.problem;
        let mut colours = Self {
            is_training: problem.graph.ops.iter().any(|op| op.phase != Phase::Forward),
            blocks: BTreeMap::new(),
            names: Vec::new(),
        };
        for &op in &problem.actions {
            if let Some(name) = problem.graph.ops.get(op.index()).and_then(block_name) {
                let next = colours.names.len();
                if *colours.blocks.entry(name).or_insert(next) == next {
                    colours.names.push(name);
                }
            }
        }
        colours
    }

    /// Block number and colour of an op.
    fn of(&self, op: &Op) -> (usize, &'static str) {
        let block = block_name(op).and_then(|name| self.blocks.get(name).copied());
        if self.is_training {
            let position = PHASES.iter().position(|row| row.0 == op.phase).unwrap_or(0);
            let fill = PHASES.get(position).map_or(PLAIN, |row| row.2);
            // Equal blocks of different parts of the step stay apart.
            return (block.map_or(0, |block| block + 1) * PHASES.len() + position, fill);
        }
        match block {
            None => (usize::MAX, PLAIN),
            Some(block) => (block, PALETTE[block % PALETTE.len()]),
        }
    }

    fn legend(&self, has_transfers: bool) -> Legend {
        let mut legend = Legend::default();
        if self.is_training {
            legend.entries.extend(PHASES.iter().map(|row| (row.1.name().to_owned(), row.2)));
        } else if self.names.is_empty() {
            legend.entries.push(("op".to_owned(), PLAIN));
        } else {
            let shown = self.names.iter().take(MAX_BLOCKS).zip(PALETTE);
            legend.entries.extend(shown.map(|(name, fill)| (short(name).to_owned(), fill)));
            let more = self.names.len().saturating_sub(MAX_BLOCKS);
            if more > 0 {
                legend.entries.push((format!("and {more} more, colours repeat"), "none"));
            }
        }
        if has_transfers {
            legend.entries.push(("sent".to_owned(), SENT));
            legend.entries.push(("received".to_owned(), RECEIVED));
        }
        legend
    }
}

fn block_name(op: &Op) -> Option<&str> {
    op.module.as_deref().map(unit_of).filter(|name| !name.is_empty())
}

/// The last part of a name, with the list before it if it is a number: `h.3`.
fn short(name: &str) -> &str {
    let Some(last) = name.rfind('.') else {
        return name;
    };
    let tail = name.get(last + 1..).unwrap_or(name);
    if !tail.bytes().all(|byte| byte.is_ascii_digit()) {
        return tail;
    }
    let head = name.get(..last).unwrap_or_default();
    head.rfind('.').and_then(|dot| name.get(dot + 1..)).unwrap_or(name)
}

fn ops(source: &Source<'_>, n_rows: usize, colours: &Colours<'_>) -> Vec<Bar> {
    let problem = source.problem;
    let bar = |op: &OpId| {
        let row = source.plan.placement.of(*op)?.index();
        let span = source.timeline.ops.get(op.index()).copied().flatten()?;
        let node = problem.graph.ops.get(op.index())?;
        let (block, fill) = colours.of(node);
        let unnamed = if colours.names.is_empty() { node.name.as_str() } else { "" };
        let label = block_name(node).map_or(unnamed, short);
        (row < n_rows).then(|| Bar {
            row,
            lane: Lane::Compute,
            span,
            fill,
            label: label.to_owned(),
            hover: node.name.clone(),
            block,
            n_merged: 1,
        })
    };
    problem.actions.iter().filter_map(bar).collect()
}

fn transfers(source: &Source<'_>, n_rows: usize) -> Vec<Bar> {
    let devices = &source.problem.cluster.devices;
    let name = |device: DeviceId| devices.get(device.index()).map_or("", |d| d.name.as_str());
    let mut bars = Vec::new();
    for sent in &source.timeline.transfers {
        let Some(tensor) = source.problem.graph.tensors.get(sent.transfer.tensor.index()) else {
            continue;
        };
        let to = sent.transfer.to;
        let hover =
            format!("{} from {} to {}, {}", tensor.name, name(sent.from), name(to), tensor.bytes);
        for (device, lane, fill) in [(sent.from, Lane::Sent, SENT), (to, Lane::Received, RECEIVED)]
        {
            if device.index() < n_rows {
                bars.push(Bar {
                    row: device.index(),
                    lane,
                    span: sent.span,
                    fill,
                    label: String::new(),
                    hover: hover.clone(),
                    block: 0,
                    n_merged: 1,
                });
            }
        }
    }
    bars
}

/// Neighbouring bars of one label.
pub(super) struct Run<'a> {
    pub(super) row: usize,
    pub(super) span: Span,
    pub(super) label: &'a str,
    pub(super) fill: &'static str,
}

/// Runs of bars that lie closer than 2 pixels and have one label; bars without a label stand in
/// no run's way. `scale` is in pixels per nanosecond.
pub(super) fn runs(bars: &[Bar], scale: f64) -> Vec<Run<'_>> {
    let mut runs: Vec<Run<'_>> = Vec::new();
    for bar in bars.iter().filter(|bar| bar.lane == Lane::Compute) {
        let near = |run: &&mut Run<'_>| {
            let gap = bar.span.start.saturating_sub(run.span.end) as f64 * scale;
            run.row == bar.row && gap < 2.0
        };
        match runs.last_mut().filter(near) {
            Some(run) if bar.label.is_empty() => run.span.end = run.span.end.max(bar.span.end),
            Some(run) if run.label == bar.label && run.fill == bar.fill => {
                run.span.end = bar.span.end
            }
            _ if bar.label.is_empty() => {}
            _ => runs.push(Run { row: bar.row, span: bar.span, label: &bar.label, fill: bar.fill }),
        }
    }
    runs
}

/// Joins neighbours that touch: those of one block, and those too thin to be told apart, where the
/// longer one gives the colour.
fn merged(bars: Vec<Bar>, scale: f64) -> Vec<Bar> {
    let mut joined: Vec<Bar> = Vec::new();
    for bar in bars {
        let Some(last) = joined.last_mut().filter(|l| (l.row, l.lane) == (bar.row, bar.lane))
        else {
            joined.push(bar);
            continue;
        };
        let pixels = |from: u64, to: u64| to.saturating_sub(from) as f64 * scale;
        let touches = pixels(last.span.end, bar.span.start) < TOUCH;
        let thin = pixels(last.span.start, bar.span.end) < TOUCH;
        if !(touches && last.block == bar.block || thin) {
            joined.push(bar);
            continue;
        }
        if bar.span.end - bar.span.start > last.span.end - last.span.start {
            (last.fill, last.block) = (bar.fill, bar.block);
            last.label = bar.label;
        }
        last.n_merged += 1;
        last.span.end = last.span.end.max(bar.span.end);
        let what = if last.lane == Lane::Compute { "ops" } else { "transfers" };
        last.hover = format!("{} {what} {}", last.n_merged, last.label);
    }
    joined
}
