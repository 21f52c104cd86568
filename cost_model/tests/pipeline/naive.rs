//! A judge in the plainest words: a sweep that finds the channels' orders, then the longest path in
//! the graph of all tasks; memory by counting instant by instant.

use std::collections::BTreeMap;

use cost_model::runs::judge::costs::{Link, PipelineCosts, Sharing};
use ir::grid::{Cell, Grid, Pass};
use ir::id::StageId;

/// Start and end of cells, and of the transfers of their outputs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) cells: BTreeMap<Cell, (u64, u64)>,
    pub(crate) transfers: BTreeMap<Cell, (u64, u64)>,
}

pub(crate) struct Naive<'a> {
    pub(crate) costs: &'a PipelineCosts,
    pub(crate) grid: &'a Grid,
    pub(crate) rank: BTreeMap<Cell, (usize, usize)>,
}

impl<'a> Naive<'a> {
    pub(crate) fn new(costs: &'a PipelineCosts, grid: &'a Grid) -> Self {
        let mut rank = BTreeMap::new();
        for (r, row) in grid.rows.iter().enumerate() {
            for (position, cell) in row.iter().enumerate() {
                rank.insert(*cell, (r, position));
            }
        }
        Self { costs, grid, rank }
    }

    fn has(&self, cell: Cell) -> bool {
        self.rank.contains_key(&cell)
    }

    pub(crate) fn duration(&self, cell: Cell) -> u64 {
        let stage = &self.costs.stages[cell.stage.index()];
        let late = !self.has(Cell { pass: Pass::Recompute, ..cell });
        let again = if late { stage.recompute.0 } else { 0 };
        match cell.pass {
            Pass::Forward => stage.forward.0,
            Pass::Backward => stage.backward.0 + again,
            Pass::BackwardInput => stage.backward_input.0 + again,
            Pass::BackwardWeight => stage.backward_weight.0,
            Pass::Recompute => stage.recompute.0,
        }
    }

    fn backward(&self, stage: u32, micro_batch: u32) -> Cell {
        let whole = Cell::new(stage, Pass::Backward, micro_batch);
        let part = Cell::new(stage, Pass::BackwardInput, micro_batch);
        if self.has(whole) { whole } else { part }
    }

    /// The cell that reads what another makes.
    pub(crate) fn reader(&self, cell: Cell) -> Option<Cell> {
        let stage = cell.stage.0;
        match cell.pass {
            Pass::Forward if stage as usize + 1 < self.costs.stages.len() => {
                Some(Cell { stage: StageId(stage + 1), ..cell })
            }
            Pass::Backward | Pass::BackwardInput if stage > 0 => {
                Some(self.backward(stage - 1, cell.micro_batch))
            }
            _ => None,
        }
    }

    /// The cell whose output another reads.
    fn maker(&self, cell: Cell) -> Option<Cell> {
        self.rank.keys().copied().find(|other| self.reader(*other) == Some(cell))
    }

    /// Where the output of a cell goes, if it leaves its rank.
    pub(crate) fn leaves(&self, cell: Cell) -> Option<(usize, usize, Link, u64)> {
        let reader = self.reader(cell)?;
        let (from, to) = (self.rank[&cell].0, self.rank[&reader].0);
        let first = &self.costs.stages[cell.stage.index().min(reader.stage.index())];
        let bytes =
            if cell.pass == Pass::Forward { first.next.activation } else { first.next.gradient };
        (from != to).then_some((from, to, first.next.link, bytes.0))
    }

    /// Transfers that may go through the card of a rank at once.
    fn sharers(&self, rank: usize) -> u64 {
        let Some(nic) = self.costs.ranks[rank].nic else { return 1 };
        let uses = |rank: usize| {
            self.costs.stages.windows(2).any(|pair| {
                let ends = [pair[0].rank as usize, pair[1].rank as usize];
                ends[0] != ends[1]
                    && ends.contains(&rank)
                    && pair[0].next.link.sharing == Sharing::Nic
            })
        };
        let ranks = (0..self.costs.ranks.len()).filter(|r| self.costs.ranks[*r].nic == Some(nic));
        ranks.filter(|r| uses(*r)).count() as u64
            * u64::from(self.costs.nics[nic as usize].n_copies)
    }

    fn transfer_time(&self, (from, to, link, bytes): (usize, usize, Link, u64)) -> u64 {
        let n =
            if link.sharing == Sharing::Nic { self.sharers(from).max(self.sharers(to)) } else { 1 };
        link.time(ir::units::Bytes(bytes), n).0
    }

    /// All times, or `None` if something can never start.
    pub(crate) fn replay(&self) -> Option<Times> {
        let order = self.sweep()?;
        let times = self.longest_paths(&order);
        Some(times)
    }

    /// The order in which transfers are appended to their channels.
    fn sweep(&self) -> Option<Vec<Cell>> {
        let mut times = Times::default();
        let mut order = Vec::new();
        loop {
            let before = (times.cells.len(), order.len());
            for row in &self.grid.rows {
                let mut free = 0;
                for &cell in row {
                    let arrival = match self.maker(cell) {
                        None => Some(0),
                        Some(maker) if self.leaves(maker).is_some() => {
                            times.transfers.get(&maker).map(|span| span.1)
                        }
                        Some(maker) => times.cells.get(&maker).map(|span| span.1),
                    };
                    let Some(arrival) = arrival else { break };
                    let start = arrival.max(free);
                    free = start + self.duration(cell);
                    times.cells.insert(cell, (start, free));
                }
            }
            let next = self.grid.rows.iter().enumerate().filter_map(|(rank, row)| {
                let open = |cell: &&Cell| {
                    self.leaves(**cell).is_some() && !times.transfers.contains_key(*cell)
                };
                let cell = *row.iter().find(open)?;
                let end = times.cells.get(&cell)?.1;
                Some((end, self.rank[&self.reader(cell)?].1, rank, cell))
            });
            if let Some((end, _, _, cell)) = next.min() {
                let way = self.leaves(cell)?;
                let start = order
                    .iter()
                    .filter(|other| self.meets(cell, **other))
                    .fold(end, |latest, other| latest.max(times.transfers[other].1));
                times.transfers.insert(cell, (start, start + self.transfer_time(way)));
                order.push(cell);
            } else if times.cells.len() == self.rank.len() {
                return Some(order);
            } else if before == (times.cells.len(), order.len()) {
                return None;
            }
        }
    }

    /// Whether two transfers take a channel in common.
    pub(crate) fn meets(&self, a: Cell, b: Cell) -> bool {
        match (self.leaves(a), self.leaves(b)) {
            (Some(a), Some(b)) => a.2.tier == b.2.tier && (a.0 == b.0 || a.1 == b.1),
            _ => false,
        }
    }

    /// The longest path to each task: cells and transfers are nodes; rows, data and channels edges.
    fn longest_paths(&self, order: &[Cell]) -> Times {
        let mut before: BTreeMap<(bool, Cell), Vec<(bool, Cell)>> = BTreeMap::new();
        for row in &self.grid.rows {
            for (position, &cell) in row.iter().enumerate() {
                let list = before.entry((false, cell)).or_default();
                list.extend(row[..position].iter().map(|earlier| (false, *earlier)));
                if let Some(maker) = self.maker(cell) {
                    list.push((self.leaves(maker).is_some(), maker));
                }
            }
        }
        for (position, &cell) in order.iter().enumerate() {
            let list = before.entry((true, cell)).or_default();
            list.push((false, cell));
            let earlier = order[..position].iter().filter(|other| self.meets(cell, **other));
            list.extend(earlier.map(|other| (true, *other)));
        }
        let mut ends: BTreeMap<(bool, Cell), (u64, u64)> = BTreeMap::new();
        while ends.len() < before.len() {
            let ready = before.iter().find(|(task, needs)| {
                !ends.contains_key(task) && needs.iter().all(|need| ends.contains_key(need))
            });
            let (&task, needs) = ready.unwrap();
            let start = needs.iter().map(|need| ends[need].1).max().unwrap_or(0);
            let time = match (task.0, self.leaves(task.1)) {
                (true, Some(way)) => self.transfer_time(way),
                _ => self.duration(task.1),
            };
            ends.insert(task, (start, start + time));
        }
        let mut times = Times::default();
        for ((is_transfer, cell), span) in ends {
            let map = if is_transfer { &mut times.transfers } else { &mut times.cells };
            map.insert(cell, span);
        }
        times
    }

    /// End of the gradient exchange that overlaps, of the rest, of what is added up over ranks, and of
    /// the optimizer, of a rank.
    pub(crate) fn end_of_step(&self, times: &Times, rank: usize) -> [u64; 4] {
        let tied = |rank: usize| {
            let stages = self.costs.stages.iter().filter(|stage| stage.rank as usize == rank);
            stages.map(|stage| stage.tied.0).sum::<u64>()
        };
        let (shared, exchanged) = self.exchanged(times, rank);
        let added = match tied(rank) {
            0 => exchanged,
            seconds => {
                let holders = (0..self.costs.ranks.len()).filter(|rank| tied(*rank) > 0);
                holders.map(|rank| self.exchanged(times, rank).1).max().unwrap() + seconds
            }
        };
        [shared, exchanged, added, added + self.costs.ranks[rank].optimizer.0]
    }

    /// End of the gradient exchange that overlaps, and of the rest.
    fn exchanged(&self, times: &Times, rank: usize) -> (u64, u64) {
        let mut stages: Vec<(u64, usize)> = Vec::new();
        for (stage, costs) in self.costs.stages.iter().enumerate() {
            let last = |(cell, span): (&Cell, &(u64, u64))| {
                let gives = matches!(cell.pass, Pass::Backward | Pass::BackwardWeight);
                (cell.stage.index() == stage && gives).then_some((span.1, span.0))
            };
            if costs.rank as usize == rank {
                let row = self.grid.rows[rank].iter().enumerate();
                let position = row.filter(|(_, c)| last((c, &times.cells[c])).is_some());
                let cell = position.map(|(_, cell)| cell).next_back().unwrap();
                stages.push((times.cells[cell].0, stage));
            }
        }
        stages.sort_unstable();
        let cells = self.grid.rows[rank].iter().map(|cell| times.cells[cell].1);
        let computed = cells.max().unwrap_or(0);
        let (mut free, mut rest) = (0, 0);
        for (open, stage) in stages {
            let costs = &self.costs.stages[stage];
            let beside = costs.overlapped.0.min(costs.exchange.0);
            rest += costs.exchange.0 - beside;
            if beside > 0 {
                free = open.max(free) + beside;
            }
        }
        (free, computed.max(free) + rest)
    }

    /// Bytes on a rank at an instant.
    pub(crate) fn bytes(&self, times: &Times, rank: usize, at: u64) -> u64 {
        let mut total = self.costs.ranks[rank].persistent.0;
        for (index, costs) in self.costs.stages.iter().enumerate() {
            if costs.rank as usize != rank {
                continue;
            }
            total += costs.persistent.0;
            let stage = index as u32;
            for k in 0..self.costs.n_micro_batches {
                let span = |pass| times.cells.get(&Cell::new(stage, pass, k)).copied();
                let made = span(Pass::Forward).unwrap().0;
                let first = times.cells[&self.backward(stage, k)];
                let again = span(Pass::Recompute).unwrap_or(first).0;
                let last = span(Pass::BackwardWeight).unwrap_or(first).1;
                let for_weight = costs.kept_for_weight.0.min(costs.stash.0 + costs.recomputed.0);
                let lives = |from: u64, to: u64| u64::from(from <= at && at < to);
                total += costs.stash.0 * lives(made, first.1);
                total += costs.recomputed.0 * lives(again, first.1);
                total += for_weight * lives(first.1, last);
                if let Some((from, _)) = span(Pass::BackwardInput) {
                    total += costs.made_for_weight.0 * lives(from, last);
                }
                for pass in Pass::ALL {
                    let bytes = match pass {
                        Pass::Forward | Pass::Recompute => costs.forward_temporary.0,
                        _ => costs.backward_temporary.0,
                    };
                    total += span(pass).map_or(0, |(from, to)| bytes * lives(from, to));
                }
            }
        }
        total
    }
}
