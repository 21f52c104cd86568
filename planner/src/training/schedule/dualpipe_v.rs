//! DualPipeV: two stages per rank in the shape of a V, each forward pass beside a backward pass.
//!
//! # Decides
//! The order of each pipeline rank; some backward passes are split.
//!
//! # Idea
//! Rank i holds stages i and 2p - 1 - i, as in ZB-V. In the steady part a forward pass of one leg is
//! followed by a backward pass of the other leg on another micro-batch; executors run the two at
//! once, so that the communication of one hides behind the other.
//!
//! # Paper
//! DeepSeek-AI, "DeepSeek-V3 technical report", arXiv 2412.19437, section 3.2.1 and figure 5
//! (DualPipe); Sea AI Lab, "DualPipe could be better without the Dual", 2025 (the half of it that
//! keeps one copy of the parameters).
//!
//! # Guarantee
//! With equal stages and free transfers no rank idles longer than (p - 1)(F + B + B - 3W) between
//! its first and its last cell, the published bubble for pairs that take F + B, where B is the whole
//! backward pass and W its weight part. A rank keeps at most 2p + 1 pairs of stage and micro-batch.
//!
//! # Complexity
//! O(cells).
//!
//! # Limits
//! At least 2p micro-batches. The grid has no cell for a pair that runs at once: the judge counts
//! one after the other, which is what pairs take without any overlap.
//!
//! # Example
//! 1 rank, 2 micro-batches: `0F0,1F0,0F1,1B0,1F1,0B0,1B1,0I1,0W1`.

use std::collections::VecDeque;

use ir::diagnostic::Diagnostic;
use ir::grid::{Cell, Grid, Pass};

use super::{SPLIT, check_size};

/// The grid of `2 n_ranks` stages: stage `s` on rank `s`, stage `2 n_ranks - 1 - s` there too.
///
/// # Errors
/// `schedule-size` for a count of 0 or too many cells; `schedule-too-short` for fewer than
/// `2 n_ranks` micro-batches.
pub fn grid(n_ranks: u32, n_micro_batches: u32) -> Result<Grid, Diagnostic> {
    check_size(n_ranks, 2, n_micro_batches, SPLIT)?;
    if n_micro_batches < 2 * n_ranks {
        let message = format!(
            "{n_micro_batches} micro-batches don't fill DualPipeV on {n_ranks} ranks, which needs {}",
            2 * n_ranks
        );
        return Err(Diagnostic::usage("schedule-too-short", message)
            .fact("micro_batches", u64::from(n_micro_batches))
            .fact("ranks", u64::from(n_ranks))
            .hint(format!("use {} micro-batches or more", 2 * n_ranks)));
    }
    Ok(Grid { rows: (0..n_ranks).map(|rank| row(n_ranks, n_micro_batches, rank)).collect() })
}

/// The stage on the way down, and the one on the way back.
#[derive(Clone, Copy)]
enum Leg {
    Down,
    Back,
}

/// A row under construction: each leg takes the micro-batches in order.
struct Row {
    stages: [u32; 2],
    n_forward: [u32; 2],
    n_backward: [u32; 2],
    /// Weight parts that were put off.
    weights: VecDeque<(u32, u32)>,
    cells: Vec<Cell>,
}

impl Row {
    fn forward(&mut self, leg: Leg) {
        let k = &mut self.n_forward[leg as usize];
        self.cells.push(Cell::new(self.stages[leg as usize], Pass::Forward, *k));
        *k += 1;
    }

    fn backward(&mut self, leg: Leg) {
        let k = &mut self.n_backward[leg as usize];
        self.cells.push(Cell::new(self.stages[leg as usize], Pass::Backward, *k));
        *k += 1;
    }

    fn input(&mut self, leg: Leg) {
        let stage = self.stages[leg as usize];
        let k = &mut self.n_backward[leg as usize];
        self.cells.push(Cell::new(stage, Pass::BackwardInput, *k));
        self.weights.push_back((stage, *k));
        *k += 1;
    }

    fn weight(&mut self) {
        if let Some((stage, k)) = self.weights.pop_front() {
            self.cells.push(Cell::new(stage, Pass::BackwardWeight, k));
        }
    }
}

fn row(n_ranks: u32, n_micro_batches: u32, rank: u32) -> Vec<Cell> {
    use Leg::{Back, Down};
    let mut row = Row {
        stages: [rank, 2 * n_ranks - 1 - rank],
        n_forward: [0; 2],
        n_backward: [0; 2],
        weights: VecDeque::new(),
        cells: Vec::new(),
    };
    let from_end = n_ranks - 1 - rank;
    // Fill.
    for _ in 0..2 * from_end {
        row.forward(Down);
    }
    for _ in 0..=rank {
        row.forward(Down);
        row.forward(Back);
    }
    for _ in 0..from_end {
        row.input(Back);
        row.weight();
        row.forward(Back);
    }
    // Steady: pairs of a forward and a backward pass of opposite legs.
    for _ in 0..n_micro_batches + rank + 1 - 2 * n_ranks {
        row.forward(Down);
        row.backward(Back);
        row.forward(Back);
        row.backward(Down);
    }
    // Drain: from the middle on weight parts are put off, and then fill what is left.
    for _ in 0..from_end {
        row.backward(Back);
        row.forward(Back);
        row.backward(Down);
    }
    for turn in 0..2 * (rank + 1) {
        let leg = if turn % 2 == 0 { Back } else { Down };
        if turn <= rank { row.backward(leg) } else { row.input(leg) }
    }
    for _ in 0..from_end {
        row.weight();
        row.input(Down);
    }
    while !row.weights.is_empty() {
        row.weight();
    }
    row.cells
}
