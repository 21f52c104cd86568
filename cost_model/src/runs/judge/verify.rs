//! Whether a grid and its timeline are legal, found out without the lowering: its own count of
//! cells, its own conditions on every start, and its own account of memory.

use std::collections::BTreeMap;

use ir::grid::{Cell, Grid, Pass};
use ir::id::StageId;

use super::Judged;
use super::costs::{PipelineCosts, Sharing};
use super::timeline::PipelineTransfer;
use super::violation::Violation;
use super::{judge, over_limit};
use crate::ops::judge::replay::Span;

mod storage;

/// At most this many violations are listed.
pub const MAX_VIOLATIONS: usize = 100;

/// Everything that is wrong with a grid, at most [`MAX_VIOLATIONS`]; empty = legal.
///
/// Times and memory are looked at only where every pass is there exactly once, because neither is
/// defined otherwise.
#[must_use]
pub fn verify(costs: &PipelineCosts, grid: &Grid) -> Vec<Violation> {
    let mut findings = Findings::default();
    let places = structure(costs, grid, &mut findings);
    if !findings.list.is_empty() {
        return findings.list;
    }
    match judge(costs, grid) {
        Ok(judged) => {
            check(costs, grid, &judged, &places, &mut findings);
            if let Some(violation) = over_limit(&judged.report) {
                findings.push(violation);
            }
        }
        Err(violation) => findings.push(violation),
    }
    findings.list
}

/// A capped list.
#[derive(Default)]
struct Findings {
    list: Vec<Violation>,
}

impl Findings {
    fn push(&mut self, violation: Violation) {
        if self.list.len() < MAX_VIOLATIONS {
            self.list.push(violation);
        }
    }

    fn is_full(&self) -> bool {
        self.list.len() >= MAX_VIOLATIONS
    }
}

/// Row and position of each cell.
type Places = BTreeMap<Cell, (usize, usize)>;

fn structure(costs: &PipelineCosts, grid: &Grid, findings: &mut Findings) -> Places {
    let mut places = Places::new();
    let (n_rows, n_ranks) = (grid.rows.len(), costs.ranks.len());
    if n_rows != n_ranks {
        let (plan, costs) = (n_rows as u64, n_ranks as u64);
        findings.push(Violation::Count { field: "rows", plan, costs });
    }
    for (rank, row) in grid.rows.iter().enumerate() {
        let number = u32::try_from(rank).unwrap_or(u32::MAX);
        for (position, &cell) in row.iter().enumerate() {
            match costs.rank_of(cell.stage) {
                Some(holder) if cell.micro_batch < costs.n_micro_batches => {
                    if holder != number {
                        findings.push(Violation::WrongRank { cell, rank: number, holder });
                    }
                }
                _ => findings.push(Violation::UnknownCell { cell, rank: number }),
            }
            if places.insert(cell, (rank, position)).is_some() {
                findings.push(Violation::Twice { cell, rank: number });
            }
        }
    }
    for stage in (0..costs.stages.len()).map(StageId::new) {
        for micro_batch in 0..costs.n_micro_batches {
            if findings.is_full() {
                return places;
            }
            passes(costs, stage, micro_batch, &places, findings);
        }
    }
    places
}

/// The passes of one stage on one micro-batch: all there, none twice, in the right order.
fn passes(
    costs: &PipelineCosts,
    stage: StageId,
    micro_batch: u32,
    places: &Places,
    findings: &mut Findings,
) {
    let rank = costs.rank_of(stage).unwrap_or(0);
    let cell = |pass| Cell { stage, pass, micro_batch };
    let at = |pass| places.get(&cell(pass)).copied();
    let whole = at(Pass::Backward);
    let parts = [at(Pass::BackwardInput), at(Pass::BackwardWeight)];
    let mut needed = vec![Pass::Forward];
    match (whole, parts) {
        (Some(_), [None, None]) => {}
        (Some(_), _) => findings.push(Violation::Twice { cell: cell(Pass::Backward), rank }),
        (None, [None, None]) => needed.push(Pass::Backward),
        (None, _) => needed.extend([Pass::BackwardInput, Pass::BackwardWeight]),
    }
    for pass in needed {
        if at(pass).is_none() {
            findings.push(Violation::Missing { cell: cell(pass), rank });
        }
    }
    let order = [
        (Pass::Forward, Pass::Recompute),
        (Pass::Forward, Pass::Backward),
        (Pass::Forward, Pass::BackwardInput),
        (Pass::Recompute, Pass::Backward),
        (Pass::Recompute, Pass::BackwardInput),
        (Pass::BackwardInput, Pass::BackwardWeight),
    ];
    for (first, second) in order {
        if let (Some((row, before)), Some((other, after))) = (at(first), at(second))
            && row == other
            && before > after
        {
            let (cell, needs) = (cell(second), cell(first));
            findings.push(Violation::TooEarly { cell, needs, rank });
        }
    }
}

fn check(
    costs: &PipelineCosts,
    grid: &Grid,
    judged: &Judged<'_>,
    places: &Places,
    findings: &mut Findings,
) {
    let sent: BTreeMap<Cell, PipelineTransfer> =
        judged.timeline.transfers(&judged.lowered).map(|sent| (sent.of, sent)).collect();
    let span = |cell: &Cell| -> Option<Span> {
        let (rank, position) = *places.get(cell)?;
        Some(judged.timeline.cell(&judged.lowered, rank, position))
    };
    for row in &grid.rows {
        let mut free = 0;
        for &cell in row {
            let Some(here) = span(&cell) else { continue };
            let ready = producer(costs, cell, places).map_or(0, |maker| {
                let arrival = sent.get(&maker).map(|sent| sent.span);
                arrival.or_else(|| span(&maker)).map_or(u64::MAX, |span| span.end)
            });
            if here.start != free.max(ready) {
                let rule = "a cell starts as soon as its rank is free and what it reads is there";
                findings.push(Violation::Clock { rule, cell });
            }
            if here.end - here.start != duration(costs, cell, places) {
                findings.push(Violation::Clock { rule: "a cell takes its time", cell });
            }
            free = here.end;
        }
    }
    channels(costs, &sent, span, findings);
    storage::check(costs, grid, judged, places, findings);
    storage::hosts(costs, judged, findings);
}

/// The cell whose output another reads.
fn producer(costs: &PipelineCosts, cell: Cell, places: &Places) -> Option<Cell> {
    let neighbour = |stage, pass| Cell { stage, pass, ..cell };
    let (before, after) = costs.neighbours(cell.stage);
    match cell.pass {
        Pass::Forward => Some(neighbour(before?, Pass::Forward)),
        Pass::Backward | Pass::BackwardInput => {
            let whole = neighbour(after?, Pass::Backward);
            let part = neighbour(after?, Pass::BackwardInput);
            Some(if places.contains_key(&whole) { whole } else { part })
        }
        Pass::BackwardWeight | Pass::Recompute => None,
    }
}

fn duration(costs: &PipelineCosts, cell: Cell, places: &Places) -> u64 {
    let stage = &costs.stages[cell.stage.index()];
    let again = Cell { pass: Pass::Recompute, ..cell };
    let late = if places.contains_key(&again) { 0 } else { stage.recompute.0 };
    match cell.pass {
        Pass::Forward => stage.forward.0,
        Pass::Recompute => stage.recompute.0,
        Pass::Backward => stage.backward.0 + late,
        Pass::BackwardInput => stage.backward_input.0 + late,
        Pass::BackwardWeight => stage.backward_weight.0,
    }
}

/// Channels serve one transfer at a time, each as soon as it can.
fn channels(
    costs: &PipelineCosts,
    sent: &BTreeMap<Cell, PipelineTransfer>,
    span: impl Fn(&Cell) -> Option<Span>,
    findings: &mut Findings,
) {
    let link = |sent: &PipelineTransfer| {
        let stage = sent.of.stage.index();
        let boundary = if sent.of.pass == Pass::Forward { stage } else { stage - 1 };
        costs.stages[boundary].next.link
    };
    let mut order: Vec<&PipelineTransfer> = sent.values().collect();
    order.sort_by_key(|sent| (sent.span.start, sent.span.end));
    let mut free: BTreeMap<(bool, u32, u8), u64> = BTreeMap::new();
    for transfer in order {
        let link = link(transfer);
        let ends = [(false, transfer.from, link.tier), (true, transfer.to, link.tier)];
        let channel = ends.iter().filter_map(|end| free.get(end)).copied().max().unwrap_or(0);
        let made = span(&transfer.of).map_or(u64::MAX, |span| span.end);
        let cell = transfer.of;
        if transfer.span.start != channel.max(made) {
            let rule = "a transfer starts as soon as it is made and both channels are free";
            findings.push(Violation::Clock { rule, cell });
        }
        let n_sharers = sharers(costs, transfer, link.sharing);
        let took = transfer.span.end - transfer.span.start;
        if took != link.time(transfer.bytes, n_sharers).0 {
            findings.push(Violation::Clock { rule: "a transfer takes its time", cell });
        }
        for end in ends {
            free.insert(end, transfer.span.end);
        }
    }
}

/// Devices that can send or receive through the busier of a transfer's two network cards.
fn sharers(costs: &PipelineCosts, transfer: &PipelineTransfer, sharing: Sharing) -> u64 {
    let leaves = |rank: u32| {
        costs.stages.windows(2).any(|pair| {
            let [before, after] = pair else { return false };
            before.next.link.sharing == Sharing::Nic
                && before.rank != after.rank
                && [before.rank, after.rank].contains(&rank)
        })
    };
    let through = |card: Option<u32>| {
        let Some(card) = card else { return 1 };
        let ranks = (0u32..).zip(&costs.ranks).filter(|(_, rank)| rank.nic == Some(card));
        let n = ranks.filter(|(rank, _)| leaves(*rank)).count() as u64;
        n * u64::from(costs.nics[card as usize].n_copies.max(1))
    };
    match sharing {
        Sharing::Own => 1,
        Sharing::Nic => {
            let ends = [transfer.from, transfer.to].map(|rank| costs.ranks[rank as usize].nic);
            ends.into_iter().map(through).max().unwrap_or(1).max(1)
        }
    }
}
