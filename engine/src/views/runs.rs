//! The view of a training run: its replay as lanes and memory of pipeline ranks, and its stages.

use std::collections::{BTreeMap, HashMap};

use cost_model::ops::judge::timeline::Span;
use cost_model::runs::forms::model::shape;
use cost_model::runs::forms::rank_groups;
use cost_model::runs::judge::Judged;
use cost_model::runs::judge::costs::{PipelineCosts, StageCosts};
use cost_model::runs::judge::memory::{HoldingKind, changes};
use cost_model::runs::judge::windows::{self, Doing, Part};
use ir::grid::{Cell, Grid, Pass};

use super::builder::Builder;
use super::curve::Change;
use super::gaps::{self, Awaited, Task};
use super::graph::{EdgeFigures, GroupFile, NodeFigures, NodeKind};
use super::head::{DeviceFigures, Role};
use super::kind::Kind;
use super::memory::{Alive, Holding};
use crate::kinds::training::layered::stage_text;
use crate::kinds::training::replay::Planned;

/// The file of a run.
pub(super) fn file(
    on: &Planned,
    costs: &PipelineCosts,
    grid: &Grid,
    judged: &Judged<'_>,
) -> Vec<u8> {
    let kinds = HoldingKind::ALL.map(HoldingKind::name);
    let mut to = Builder::new("run", judged.report.step_time.0, &kinds);
    let ranks: Vec<u32> =
        (0..costs.ranks.len()).map(|rank| to.names.name(&rank_name(rank))).collect();
    let mut source = Source { costs, grid, judged, to, ranks, cells: HashMap::new() };
    source.read_cells();
    source.lanes();
    source.links();
    source.memory(on);
    source.stages(on);
    source.members(on);
    source.to.finished()
}

fn rank_name(rank: usize) -> String {
    format!("rank {rank}")
}

fn kind(doing: Doing) -> Kind {
    match doing {
        Doing::Forward => Kind::Forward,
        Doing::Backward => Kind::Backward,
        Doing::BackwardInput => Kind::BackwardInput,
        Doing::BackwardWeight => Kind::BackwardWeight,
        Doing::Recompute => Kind::Recompute,
        Doing::Optimizer => Kind::Optimizer,
        Doing::Communication => Kind::Communication,
        Doing::Bubble => Kind::Wait,
    }
}

fn is_backward(pass: Pass) -> bool {
    matches!(pass, Pass::Backward | Pass::BackwardInput)
}

struct Source<'r> {
    costs: &'r PipelineCosts,
    grid: &'r Grid,
    judged: &'r Judged<'r>,
    to: Builder,
    /// By rank: the position of its name.
    ranks: Vec<u32>,
    /// What sends: by stage, direction and micro-batch, when it ends and its rank.
    cells: HashMap<(u32, bool, u32), (u64, usize)>,
}

impl Source<'_> {
    fn span(&self, rank: usize, position: usize) -> Span {
        self.judged.timeline.cell(&self.judged.lowered, rank, position)
    }

    fn read_cells(&mut self) {
        let grid = self.grid;
        for (rank, row) in grid.rows.iter().enumerate() {
            for (position, cell) in row.iter().enumerate() {
                let back = is_backward(cell.pass);
                if back || cell.pass == Pass::Forward {
                    let end = self.span(rank, position).end;
                    self.cells.insert((cell.stage.0, back, cell.micro_batch), (end, rank));
                }
            }
        }
    }

    fn lanes(&mut self) {
        let judged = self.judged;
        let mut touching = self.touching();
        let end = judged.report.step_time.0;
        for rank in 0..self.ranks.len() {
            let mut task = |part: Part| {
                let cell = part.cell?;
                let thing = self.to.names.thing(&format!("stage {}", cell.stage.0), None, None);
                let (kind, micro_batch) = (kind(part.doing), Some(cell.micro_batch));
                Some((Task { span: part.span, kind, thing, micro_batch }, cell))
            };
            let (mut tasks, cells): (Vec<Task>, Vec<Cell>) =
                windows::passes(judged, rank).filter_map(&mut task).unzip();
            let ends = &judged.timeline.ends[rank];
            let name = rank_name(rank);
            if ends.optimizer.start < ends.optimizer.end {
                let thing = self.to.names.thing("optimizer", None, None);
                let (span, kind) = (ends.optimizer, Kind::Optimizer);
                tasks.push(Task { span, kind, thing, micro_batch: None });
            }
            let touching = &mut touching[rank];
            touching.sort_by_key(|task| task.span.start);
            let drain = self.to.names.thing(&name, None, None);
            let mut awaited = |at: usize| self.awaited(cells.get(at), drain);
            let slices = gaps::device(&tasks, touching, &mut awaited, (end, drain));
            self.to.lane(&name, Some(&name), Role::Device, &slices);
        }
    }

    /// What the pass of a cell waits for that does not start when its rank is free.
    fn awaited(&mut self, cell: Option<&Cell>, rank: u32) -> Awaited {
        let nothing = Awaited { cause: Kind::Wait, thing: rank, micro_batch: None, ready: None };
        let Some(cell) = cell else { return nothing };
        let (before, after) = self.costs.neighbours(cell.stage);
        let back = is_backward(cell.pass);
        let from = if back { after } else { before };
        let Some(stage) = from.filter(|_| back || cell.pass == Pass::Forward) else {
            return nothing;
        };
        let key = (stage.0, back, cell.micro_batch);
        let Some((ready, rank)) = self.cells.get(&key).copied() else { return nothing };
        let thing =
            self.to.names.thing(&format!("stage {}", stage.0), Some(self.ranks[rank]), None);
        let micro_batch = Some(cell.micro_batch);
        Awaited { cause: Kind::Input, thing, micro_batch, ready: Some(ready) }
    }

    /// By rank: all that it sends, receives and exchanges.
    fn touching(&mut self) -> Vec<Vec<Task>> {
        let judged = self.judged;
        let mut touching: Vec<Vec<Task>> = vec![Vec::new(); self.ranks.len()];
        for ((from, to), task) in self.transfers() {
            touching[from as usize].push(task);
            touching[to as usize].push(task);
        }
        for (rank, tasks) in touching.iter_mut().enumerate() {
            tasks.extend(exchange(&judged.timeline.ends[rank], &mut self.to));
        }
        touching
    }

    fn transfers(&mut self) -> Vec<((u32, u32), Task)> {
        let judged = self.judged;
        let names = &mut self.to.names;
        let ranks = &self.ranks;
        let task = |sent: cost_model::runs::judge::timeline::PipelineTransfer| {
            let what = if is_backward(sent.of.pass) { "gradient" } else { "activation" };
            let [from, to] = [sent.from, sent.to].map(|rank| ranks.get(rank as usize).copied());
            let thing = names.thing(&format!("{what} of stage {}", sent.of.stage.0), from, to);
            let micro_batch = Some(sent.of.micro_batch);
            let kind = Kind::Transfer;
            ((sent.from, sent.to), Task { span: sent.span, kind, thing, micro_batch })
        };
        judged.timeline.transfers(&judged.lowered).map(task).collect()
    }

    /// A lane for each pair of ranks with transfers, and one for each exchange of gradients.
    fn links(&mut self) {
        let judged = self.judged;
        let end = judged.report.step_time.0;
        let mut pairs: BTreeMap<(u32, u32), Vec<Task>> = BTreeMap::new();
        for (pair, task) in self.transfers() {
            pairs.entry(pair).or_default().push(task);
        }
        for ((from, to), mut tasks) in pairs {
            tasks.sort_by_key(|task| task.span.start);
            let name = format!("rank {from} to rank {to}");
            let free = self.to.names.thing(&name, None, None);
            for slices in gaps::links(&tasks, (end, free)) {
                self.to.lane(&name, Some(&rank_name(from as usize)), Role::Link, &slices);
            }
        }
        for (rank, ends) in judged.timeline.ends.iter().enumerate() {
            let tasks = exchange(ends, &mut self.to);
            if tasks.is_empty() {
                continue;
            }
            let name = format!("exchange of rank {rank}");
            let free = self.to.names.thing(&name, None, None);
            for slices in gaps::links(&tasks, (end, free)) {
                self.to.lane(&name, Some(&rank_name(rank)), Role::Exchange, &slices);
            }
        }
    }

    fn memory(&mut self, on: &Planned) {
        let judged = self.judged;
        let n_ranks = self.ranks.len() as u64;
        let n_devices = shape::n_devices(&on.plan.parallelism) / n_ranks.max(1);
        for (rank, report) in judged.report.ranks.iter().enumerate() {
            let found = changes(&judged.lowered, &judged.timeline, rank).into_iter();
            let found = found.map(|change| Change {
                at: change.at,
                kind: change.what as usize,
                comes: u64::try_from(change.bytes).unwrap_or(0),
                goes: u64::try_from(change.bytes.saturating_neg()).unwrap_or(0),
            });
            let alive = report.alive.iter().map(|piece| Holding {
                kind: piece.what.name().to_owned(),
                name: piece
                    .stage
                    .map_or_else(|| rank_name(rank), |stage| format!("stage {}", stage.0)),
                bytes: piece.bytes,
                op: None,
                n_micro_batches: (piece.n_micro_batches > 0).then_some(piece.n_micro_batches),
                since_ns: None,
                until_ns: None,
                freed_by: None,
            });
            let alive = Alive { largest: alive.collect(), ..Alive::default() };
            let figures = DeviceFigures {
                device: rank_name(rank),
                n_devices,
                compute_ns: report.compute_ns,
                communication_ns: report.communication_ns,
                idle_ns: report.idle_ns,
                peak_bytes: report.peak.bytes,
                peak_at_ns: report.peak.at,
                limit_bytes: report.limit,
            };
            self.to.device(figures, found.collect(), &alive);
        }
    }

    /// The stages as the one group of the graph.
    fn stages(&mut self, on: &Planned) {
        let mut time = vec![0u64; self.costs.stages.len()];
        for (rank, row) in self.grid.rows.iter().enumerate() {
            for (position, cell) in row.iter().enumerate() {
                let span = self.span(rank, position);
                time[cell.stage.index()] += span.end - span.start;
            }
        }
        let m = u64::from(self.costs.n_micro_batches);
        let sent = |stage: &StageCosts| {
            [stage.next.activation.0, stage.next.gradient.0].map(|bytes| bytes.saturating_mul(m))
        };
        let stages = self.costs.stages.iter().zip(&on.plan.partition.stages).zip(&time);
        let node = |(number, ((costs, stage), ns)): (u32, ((&StageCosts, _), &u64))| {
            let stage: &ir::plan::Stage = stage;
            let peak = self.judged.report.ranks.get(costs.rank as usize).map_or(0, |rank| {
                let pieces = rank.alive.iter().filter(|p| p.stage.map(|of| of.0) == Some(number));
                pieces.map(|p| p.bytes).sum()
            });
            NodeFigures {
                id: format!("stage {number}"),
                name: format!("stage {number}"),
                kind: NodeKind::Stage,
                op_type: Some(stage_text(stage)),
                phase: None,
                n_ops: 0,
                n_equal: stage.blocks.len() as u64,
                devices: BTreeMap::from([(rank_name(costs.rank as usize), *ns)]),
                stage: Some(number),
                time_ns: *ns,
                critical_ns: None,
                first_ns: None,
                last_ns: None,
                parameter_bytes: costs.persistent.0,
                output_bytes: sent(costs)[0],
                peak_bytes: peak,
                origins: BTreeMap::new(),
                in_bytes: 0,
                out_bytes: 0,
            }
        };
        let nodes = (0u32..).zip(stages).map(node).collect();
        let mut edges = Vec::new();
        for (at, pair) in (0u32..).zip(self.costs.stages.windows(2)) {
            let is_cut = u64::from(pair[0].rank != pair[1].rank);
            let ways = [(at, at + 1), (at + 1, at)];
            for ((from, to), bytes) in ways.into_iter().zip(sent(&pair[0])) {
                let cut_bytes = bytes * is_cut;
                edges.push(EdgeFigures {
                    from,
                    to,
                    bytes,
                    n_tensors: m,
                    cut_bytes,
                    n_critical: None,
                });
            }
        }
        self.to.group(&GroupFile { id: String::new(), parent: None, nodes, edges });
    }

    /// The rank of each device that the run uses.
    fn members(&mut self, on: &Planned) {
        let degrees = &on.plan.parallelism;
        let n = usize::try_from(shape::n_devices(degrees)).unwrap_or(usize::MAX);
        let devices = on.setting.cluster.devices.iter().take(n).enumerate();
        let member = |(position, device): (usize, &ir::cluster::Device)| {
            (device.name.clone(), rank_groups::rank_of(degrees, position as u64))
        };
        self.to.head.members = devices.map(member).collect();
    }
}

fn exchange(ends: &cost_model::runs::judge::timeline::EndOfStep, to: &mut Builder) -> Vec<Task> {
    let beside = ends.overlapped.iter().map(|(stage, span)| (Some(*stage), *span));
    let all = beside.chain([(None, ends.exposed), (None, ends.tied)]);
    let all = all.filter(|(_, span)| span.start < span.end);
    all.map(|(stage, span)| {
        let name = match stage {
            Some(stage) => format!("gradients of stage {}", stage.0),
            None => "gradients".to_owned(),
        };
        let thing = to.names.thing(&name, None, None);
        Task { span, kind: Kind::Exchange, thing, micro_batch: None }
    })
    .collect()
}
