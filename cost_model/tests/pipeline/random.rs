//! Pipelines drawn at random, legal ones and others.

use cost_model::runs::judge::costs::{
    Boundary, Link, Nic, PipelineCosts, RankCosts, Sharing, StageCosts,
};
use ir::grid::{Cell, Grid, Pass};
use ir::id::StageId;
use ir::units::{Bytes, BytesPerSecond, Nanos};

/// splitmix64 (Steele, Lea, Flood 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    fn nanos(&mut self, least: u64, below: u64) -> Nanos {
        Nanos(least + self.below(below))
    }

    fn bytes(&mut self, below: u64) -> Bytes {
        Bytes(self.below(below))
    }
}

/// Costs of up to 6 stages on up to 4 ranks. `least` is the least duration of a pass.
pub(crate) fn costs(random: &mut Random, least: u64, sharing: Sharing) -> PipelineCosts {
    let n_ranks = 1 + random.below(4);
    let n_stages = 1 + random.below(6);
    let stages = (0..n_stages)
        .map(|_| StageCosts {
            rank: random.below(n_ranks) as u32,
            forward: random.nanos(least, 6),
            backward: random.nanos(least, 9),
            backward_input: random.nanos(least, 6),
            backward_weight: random.nanos(least, 6),
            recompute: random.nanos(0, 4),
            stash: random.bytes(20),
            recomputed: random.bytes(20),
            kept_for_weight: random.bytes(40),
            made_for_weight: random.bytes(12),
            forward_temporary: random.bytes(9),
            backward_temporary: random.bytes(9),
            persistent: random.bytes(50),
            on_host: Bytes::ZERO,
            next: Boundary {
                activation: random.bytes(6),
                gradient: random.bytes(6),
                link: Link {
                    latency_ns: random.below(4) as f64,
                    bandwidth: BytesPerSecond::new(1e9),
                    tier: random.below(2) as u8,
                    sharing,
                },
            },
            exchange: random.nanos(0, 12),
            overlapped: random.nanos(0, 12),
            tied: random.nanos(0, 9),
        })
        .collect();
    let n_nics = 1 + random.below(3);
    let ranks = (0..n_ranks)
        .map(|_| RankCosts {
            optimizer: random.nanos(0, 5),
            limit: None,
            persistent: random.bytes(9),
            nic: (random.below(4) > 0).then(|| random.below(n_nics) as u32),
        })
        .collect();
    let nics = (0..n_nics).map(|_| Nic { n_copies: 1 + random.below(3) as u32 }).collect();
    let n_micro_batches = 1 + random.below(5) as u32;
    PipelineCosts { n_micro_batches, stages, ranks, nics, hosts: Vec::new() }
}

/// A grid that can run: cells in a random order in which each comes after what it needs.
pub(crate) fn grid(random: &mut Random, costs: &PipelineCosts) -> Grid {
    let mut rows = vec![Vec::new(); costs.ranks.len()];
    let mut done: Vec<Cell> = Vec::new();
    let split: Vec<bool> = costs.stages.iter().map(|_| random.below(2) == 0).collect();
    let early: Vec<u64> = costs.stages.iter().map(|_| random.below(3)).collect();
    loop {
        let mut ready = Vec::new();
        for stage in 0..costs.stages.len() as u32 {
            for k in 0..costs.n_micro_batches {
                let again = early[stage as usize] > u64::from(k % 2);
                ready.extend(next(costs, &done, stage, k, (split[stage as usize], again)));
            }
        }
        if ready.is_empty() {
            return Grid { rows };
        }
        let cell = ready[random.below(ready.len() as u64) as usize];
        rows[costs.stages[cell.stage.index()].rank as usize].push(cell);
        done.push(cell);
    }
}

/// What a stage may do next with a micro-batch.
fn next(
    costs: &PipelineCosts,
    done: &[Cell],
    stage: u32,
    k: u32,
    (is_split, again): (bool, bool),
) -> Option<Cell> {
    let has = |stage: u32, pass| done.contains(&Cell::new(stage, pass, k));
    let came_back = |stage| has(stage, Pass::Backward) || has(stage, Pass::BackwardInput);
    if !has(stage, Pass::Forward) {
        let arrived = stage == 0 || has(stage - 1, Pass::Forward);
        return arrived.then(|| Cell::new(stage, Pass::Forward, k));
    }
    if again && !has(stage, Pass::Recompute) {
        return Some(Cell::new(stage, Pass::Recompute, k));
    }
    if !came_back(stage) {
        let arrived = stage as usize + 1 == costs.stages.len() || came_back(stage + 1);
        let pass = if is_split { Pass::BackwardInput } else { Pass::Backward };
        return arrived.then(|| Cell::new(stage, pass, k));
    }
    let is_open = is_split && !has(stage, Pass::BackwardWeight);
    is_open.then(|| Cell::new(stage, Pass::BackwardWeight, k))
}

/// Something else: two cells change places, or one is lost, doubled, renamed or moved.
pub(crate) fn spoil(random: &mut Random, grid: &mut Grid) {
    let rank = random.below(grid.rows.len() as u64) as usize;
    let n = grid.rows[rank].len() as u64;
    if n == 0 {
        return;
    }
    let (a, b) = (random.below(n) as usize, random.below(n) as usize);
    let row = &mut grid.rows[rank];
    match random.below(8) {
        0 => {
            row.remove(a);
        }
        1 => row.insert(a, row[b]),
        2 => row[a].micro_batch += 1,
        3 => row[a].stage = StageId(row[a].stage.0 + 1),
        4 => row[a].pass = Pass::ALL[random.below(5) as usize],
        5 => {
            let cell = row.remove(a);
            let other = random.below(grid.rows.len() as u64) as usize;
            grid.rows[other].push(cell);
        }
        _ => row.swap(a, b),
    }
}
