//! DualPipe: micro-batches enter the pipeline at both ends, each rank holds two stages.
//!
//! # Decides
//! The order of each pipeline rank; some backward passes are split.
//!
//! # Idea
//! A second copy of the model lies in the opposite direction, and half of the micro-batches go
//! through it. So both ends work from the beginning, and a forward pass of one direction stands
//! beside a backward pass of the other, whose communication it hides.
//!
//! # Paper
//! DeepSeek-AI, "DeepSeek-V3 technical report", arXiv 2412.19437, section 3.2.1, figure 5 and
//! table 2.
//!
//! # Guarantee
//! With equal stages and free transfers no rank idles longer than (p / 2 - 1)(F + B + B - 3W)
//! between its first and its last cell, the published bubble for pairs that take F + B, where B is
//! the whole backward pass and W its weight part. A rank keeps at most p + 1 pairs of stage and
//! micro-batch and two copies of a stage's parameters.
//!
//! # Complexity
//! O(cells).
//!
//! # Limits
//! An even number of ranks and of micro-batches, at least 2p. No cell for a pair that runs at once:
//! the judge counts one after the other. The exchange of gradients between the two copies is the
//! costs' affair ([`cost_model::runs::judge::costs::StageCosts::exchange`]).
//!
//! # Example
//! 2 ranks, 4 micro-batches, of which 0 and 1 enter at rank 0, rank 0:
//! `0F0,3F2,0F1,3B2,3F3,0B0,3B3,0I1,0W1`.

use std::collections::VecDeque;

use ir::diagnostic::Diagnostic;
use ir::grid::{Cell, Grid, Pass};

use super::{SPLIT, check_size};

/// Copies of the model in the costs that judge such a grid.
pub const N_COPIES: u32 = 2;

/// The grid of `2 n_ranks` stages: stage `s` of the first copy on rank `s`, its twin `n_ranks + s` on
/// rank `n_ranks - 1 - s`. The first half of the micro-batches goes through the first copy.
///
/// # Errors
/// `schedule-size` for a count of 0 or too many cells; `schedule-indivisible` for an odd count of
/// ranks or micro-batches; `schedule-too-short` for fewer than `2 n_ranks` micro-batches.
pub fn grid(n_ranks: u32, n_micro_batches: u32) -> Result<Grid, Diagnostic> {
    check_size(n_ranks, N_COPIES, n_micro_batches, SPLIT)?;
    for (what, count) in [("ranks", n_ranks), ("micro-batches", n_micro_batches)] {
        if !count.is_multiple_of(2) {
            let message = format!("DualPipe can't halve {count} {what}");
            return Err(Diagnostic::usage("schedule-indivisible", message)
                .fact(what, u64::from(count))
                .hint(format!("use {} {what}", count + 1)));
        }
    }
    if n_micro_batches < 2 * n_ranks {
        let least = 2 * n_ranks;
        let message = format!(
            "{n_micro_batches} micro-batches don't fill DualPipe on {n_ranks} ranks, which needs {least}"
        );
        return Err(Diagnostic::usage("schedule-too-short", message)
            .fact("micro_batches", u64::from(n_micro_batches))
            .fact("ranks", u64::from(n_ranks))
            .hint(format!("use {least} micro-batches or more")));
    }
    Ok(Grid { rows: (0..n_ranks).map(|rank| row(n_ranks, n_micro_batches, rank)).collect() })
}

/// The direction whose first rank is nearer, and the other one.
#[derive(Clone, Copy)]
enum Way {
    Near,
    Far,
}

/// A row under construction: each direction takes its micro-batches in order.
struct Row {
    stages: [u32; 2],
    n_forward: [u32; 2],
    n_backward: [u32; 2],
    /// Weight parts that were put off.
    weights: VecDeque<(u32, u32)>,
    cells: Vec<Cell>,
}

/// Form of a backward pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Whole,
    Input,
}

impl Row {
    fn forward(&mut self, way: Way) {
        let k = &mut self.n_forward[way as usize];
        self.cells.push(Cell::new(self.stages[way as usize], Pass::Forward, *k));
        *k += 1;
    }

    fn backward(&mut self, way: Way, form: Form) {
        let stage = self.stages[way as usize];
        let k = &mut self.n_backward[way as usize];
        let pass = if form == Form::Whole { Pass::Backward } else { Pass::BackwardInput };
        self.cells.push(Cell::new(stage, pass, *k));
        if form == Form::Input {
            self.weights.push_back((stage, *k));
        }
        *k += 1;
    }

    fn weight(&mut self) {
        if let Some((stage, k)) = self.weights.pop_front() {
            self.cells.push(Cell::new(stage, Pass::BackwardWeight, k));
        }
    }
}

fn row(n_ranks: u32, n_micro_batches: u32, rank: u32) -> Vec<Cell> {
    use Form::{Input, Whole};
    use Way::{Far, Near};
    // Stage and first micro-batch of the copy that enters at rank 0, and of its twin.
    let mut copies = [(rank, 0), (2 * n_ranks - 1 - rank, n_micro_batches / 2)];
    if rank >= n_ranks / 2 {
        copies.reverse();
    }
    let firsts = copies.map(|copy| copy.1);
    let mut row = Row {
        stages: copies.map(|copy| copy.0),
        n_forward: firsts,
        n_backward: firsts,
        weights: VecDeque::new(),
        cells: Vec::new(),
    };
    let from_end = rank.min(n_ranks - 1 - rank);
    let to_middle = n_ranks / 2 - 1 - from_end;
    // Fill.
    for _ in 0..2 * to_middle {
        row.forward(Near);
    }
    for _ in 0..=from_end {
        row.forward(Near);
        row.forward(Far);
    }
    for _ in 0..to_middle {
        row.backward(Far, Input);
        row.weight();
        row.forward(Far);
    }
    // Steady: pairs of a forward and a backward pass of opposite directions.
    for _ in 0..n_micro_batches / 2 + from_end + 1 - n_ranks {
        row.forward(Near);
        row.backward(Far, Whole);
        row.forward(Far);
        row.backward(Near, Whole);
    }
    // Drain: from the middle on weight parts are put off, and then fill what is left.
    for _ in 0..to_middle {
        row.backward(Far, Whole);
        row.forward(Far);
        row.backward(Near, Whole);
    }
    for turn in 0..2 * (from_end + 1) {
        let form = if turn <= from_end { Whole } else { Input };
        row.backward(if turn % 2 == 0 { Far } else { Near }, form);
    }
    for _ in 0..to_middle {
        row.weight();
        row.backward(Near, Input);
    }
    while !row.weights.is_empty() {
        row.weight();
    }
    row.cells
}
