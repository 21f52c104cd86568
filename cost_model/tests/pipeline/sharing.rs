//! Exact contention against a simulation that looks at everything at every event.

use std::collections::BTreeMap;

use cost_model::runs::judge::costs::{Link, Nic, PipelineCosts, RankCosts, Sharing, StageCosts};
use cost_model::runs::judge::judge;
use cost_model::runs::judge::verify::verify;
use cost_model::runs::judge::way::Contention;
use ir::grid::{Cell, Grid};
use ir::units::{Bytes, BytesPerSecond, Nanos};

use crate::laws::times;
use crate::naive::{Naive, Times};
use crate::random::{Random, costs, grid};

/// What a transfer under way still has to do.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// Until this instant.
    StartUp(u64),
    /// So much, in 2^-20 ns.
    Moving(u128),
}

struct Simulation<'a> {
    naive: Naive<'a>,
    times: Times,
    /// Produced, in order, not ended.
    open: Vec<Cell>,
    under_way: BTreeMap<Cell, Phase>,
    produced: Vec<Cell>,
    now: u64,
}

impl Simulation<'_> {
    fn load(&self, cell: Cell) -> u64 {
        let (from, to, link, _) = self.naive.leaves(cell).unwrap();
        if link.sharing == Sharing::Own {
            return 1;
        }
        let costs = self.naive.costs;
        let moving = |other: &Cell| {
            matches!(self.under_way[other], Phase::Moving(_))
                && self.naive.leaves(*other).unwrap().2.sharing == Sharing::Nic
        };
        let count = |rank: usize, end: fn((usize, usize, Link, u64)) -> usize| {
            let Some(nic) = costs.ranks[rank].nic else { return 1 };
            let others = self.under_way.keys().filter(|other| {
                let rank = end(self.naive.leaves(**other).unwrap());
                costs.ranks[rank].nic == Some(nic) && moving(other)
            });
            others.count() as u64 * u64::from(costs.nics[nic as usize].n_copies)
        };
        count(from, |way| way.0).max(count(to, |way| way.1))
    }

    fn rate(&self, cell: Cell) -> u128 {
        // Rounded to nearest, half up.
        let load = self.load(cell);
        u128::from(((2 << 20) / load).div_ceil(2).max(1))
    }

    /// Ends transfers and start-ups that are over, runs cells, starts transfers: until nothing more
    /// happens at this instant.
    fn settle(&mut self) {
        loop {
            let before = (self.times.cells.len(), self.produced.len(), self.under_way.clone());
            let over = |phase: &Phase| {
                matches!(phase, Phase::Moving(0)) || *phase == Phase::StartUp(self.now)
            };
            let ended: Vec<Cell> =
                self.under_way.iter().filter(|(_, p)| over(p)).map(|(cell, _)| *cell).collect();
            for cell in ended {
                let (_, _, link, bytes) = self.naive.leaves(cell).unwrap();
                let start_up = Link { bandwidth: None, ..link }.time(Bytes(bytes), 1).0;
                let work = link.time(Bytes(bytes), 1).0 - start_up;
                if self.under_way[&cell] == Phase::Moving(0) || work == 0 {
                    self.under_way.remove(&cell);
                    self.open.retain(|other| *other != cell);
                    self.times.transfers.get_mut(&cell).unwrap().1 = self.now;
                } else {
                    self.under_way.insert(cell, Phase::Moving(u128::from(work) << 20));
                }
            }
            self.run_cells();
            self.produce();
            self.start();
            if before == (self.times.cells.len(), self.produced.len(), self.under_way.clone()) {
                return;
            }
        }
    }

    fn run_cells(&mut self) {
        for row in &self.naive.grid.rows {
            let mut free = 0;
            for &cell in row {
                if let Some(span) = self.times.cells.get(&cell) {
                    free = span.1;
                    continue;
                }
                let mut makers =
                    self.naive.rank.keys().filter(|other| self.naive.reader(**other) == Some(cell));
                let arrived = makers.next().is_none_or(|maker| {
                    let maps = [&self.times.cells, &self.times.transfers];
                    let leaves = usize::from(self.naive.leaves(*maker).is_some());
                    maps[leaves].get(maker).is_some_and(|span| span.1 <= self.now)
                });
                if free > self.now || !arrived {
                    break;
                }
                free = self.now + self.naive.duration(cell);
                self.times.cells.insert(cell, (self.now, free));
            }
        }
    }

    fn produce(&mut self) {
        let mut made: Vec<(usize, usize, Cell)> = Vec::new();
        for (&cell, span) in &self.times.cells {
            let is_new = span.1 == self.now && !self.produced.contains(&cell);
            if is_new && self.naive.leaves(cell).is_some() {
                let reader = self.naive.reader(cell).unwrap();
                made.push((self.naive.rank[&reader].1, self.naive.rank[&cell].0, cell));
            }
        }
        made.sort_unstable();
        for (_, _, cell) in made {
            self.produced.push(cell);
            self.open.push(cell);
        }
    }

    fn start(&mut self) {
        for (position, &cell) in self.open.clone().iter().enumerate() {
            let leads = !self.open[..position].iter().any(|other| self.naive.meets(cell, *other));
            if leads && !self.times.transfers.contains_key(&cell) {
                let (_, _, link, bytes) = self.naive.leaves(cell).unwrap();
                let start_up = Link { bandwidth: None, ..link }.time(Bytes(bytes), 1).0;
                self.times.transfers.insert(cell, (self.now, u64::MAX));
                self.under_way.insert(cell, Phase::StartUp(self.now + start_up));
            }
        }
    }

    fn run(mut self) -> Times {
        loop {
            self.settle();
            let ends = self.times.cells.values().map(|span| span.1).filter(|end| *end > self.now);
            let transfers = self.under_way.iter().map(|(cell, phase)| match phase {
                Phase::StartUp(until) => *until,
                Phase::Moving(rest) => self.now + rest.div_ceil(self.rate(*cell)) as u64,
            });
            let Some(next) = ends.chain(transfers).min() else { return self.times };
            let elapsed = u128::from(next - self.now);
            let is_moving = |phase: &Phase| matches!(phase, Phase::Moving(_));
            let moving = self.under_way.iter().filter(|(_, phase)| is_moving(phase));
            let rates: Vec<(Cell, u128)> = moving.map(|(c, _)| (*c, self.rate(*c))).collect();
            for (cell, rate) in rates {
                if let Some(Phase::Moving(rest)) = self.under_way.get_mut(&cell) {
                    *rest = rest.saturating_sub(rate * elapsed);
                }
            }
            self.now = next;
        }
    }
}

fn simulate(costs: &PipelineCosts, grid: &Grid) -> Times {
    Simulation {
        naive: Naive::new(costs, grid),
        times: Times::default(),
        open: Vec::new(),
        under_way: BTreeMap::new(),
        produced: Vec::new(),
        now: 0,
    }
    .run()
}

#[test]
fn exact_contention_is_what_the_plain_simulation_gives() {
    let mut random = Random(11);
    let mut n_slowed = 0;
    for round in 0..1_000 {
        let costs = costs(&mut random, 1, Sharing::Nic);
        let grid = grid(&mut random, &costs);
        let judged = judge(&costs, &grid, Contention::Exact).unwrap();
        let found = times(&judged, &grid);
        assert_eq!(found, simulate(&costs, &grid), "round {round}\n{grid}{costs:?}");
        assert_eq!(verify(&costs, &grid, Contention::Exact), [], "round {round}");
        let alone = judge(&costs, &grid, Contention::Static).unwrap();
        n_slowed += usize::from(judged.report.step_time != alone.report.step_time);
    }
    assert!(n_slowed > 100, "{n_slowed}");
}

#[test]
fn what_shares_nothing_takes_its_own_time() {
    let mut random = Random(12);
    for round in 0..1_000 {
        let mut costs = costs(&mut random, u64::from(round % 3 > 0), Sharing::Nic);
        costs.ranks.iter_mut().for_each(|rank| rank.nic = None);
        let grid = grid(&mut random, &costs);
        let judged = [Contention::Static, Contention::Exact]
            .map(|contention| judge(&costs, &grid, contention).unwrap());
        assert_eq!(judged[0].timeline, judged[1].timeline, "round {round}\n{grid}");
        assert_eq!(judged[0].report, judged[1].report);
    }
}

/// Three ranks in a row; two equal replicas share the card of the one in the middle.
#[test]
fn copies_share_a_card_by_hand() {
    let stage = |rank, forward, activation| StageCosts {
        rank,
        forward: Nanos(forward),
        next: cost_model::runs::judge::costs::Boundary {
            activation: Bytes(activation),
            gradient: Bytes(0),
            link: Link {
                latency_ns: 2.0,
                bandwidth: BytesPerSecond::new(1e9),
                tier: 0,
                sharing: Sharing::Nic,
            },
        },
        ..StageCosts::default()
    };
    let mut costs = PipelineCosts {
        n_micro_batches: 1,
        stages: vec![stage(0, 1, 10), stage(1, 1, 6), stage(2, 1, 0)],
        ranks: vec![RankCosts::default(); 3],
        nics: vec![Nic { n_copies: 2 }],
        ..PipelineCosts::default()
    };
    costs.ranks[1].nic = Some(0);
    let grid = Grid::parse("0F0,0B0\n1F0,1B0\n2F0,2B0").unwrap();
    let judged = judge(&costs, &grid, Contention::Exact).unwrap();
    // Start-up 2, then 10 bytes at half a byte per nanosecond.
    let sent: Vec<_> = judged.timeline.transfers(&judged.lowered).map(|sent| sent.span).collect();
    assert_eq!((sent[0].start, sent[0].end), (1, 23));
    // Gradients are empty. The way out is another direction, with the copies again.
    assert_eq!((sent[1].start, sent[1].end), (24, 38));
}
