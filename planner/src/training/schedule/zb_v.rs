//! ZB-V: no bubble within the activations of 1F1B, with two stages per rank in the shape of a V.
//!
//! # Decides
//! The order of each pipeline rank, with the backward pass in two parts.
//!
//! # Idea
//! Rank i holds stage i on the way down and stage 2p - 1 - i on the way back, so the rank that starts
//! a forward pass also ends it and starts its backward pass. Forward passes fill the time until the
//! first gradient; weight parts that are put off fill the end.
//!
//! # Paper
//! Qi, Wan, Huang and Lin, "Zero bubble pipeline parallelism", arXiv 2401.10241, the section on
//! ZB-V (the conference's version leaves it out).
//!
//! # Guarantee
//! With equal stages, F = B = W, free transfers and m >= 2p - 1 no rank idles between its first and
//! its last cell; every rank keeps at most 2p pairs of stage and micro-batch, as much as the p whole
//! ones of the first rank of 1F1B.
//!
//! # Complexity
//! O(cells).
//!
//! # Limits
//! Two stages per rank. Made for F = B = W; other durations leave gaps. Ranks end one after the
//! other, see ZB-H2. Fewer than 2p - 1 micro-batches run in the order of 2p - 1 with the surplus
//! left out.
//!
//! # Example
//! 1 rank, 2 micro-batches: `0F0,1F0,1I0,1W0,0F1,0I0,0W0,1F1,1I1,1W1,0I1,0W1`.

use ir::diagnostic::Diagnostic;
use ir::grid::{Cell, Grid, Pass};

use super::{SPLIT, check_size};

/// The grid of `2 n_ranks` stages: stage `s` on rank `s`, stage `2 n_ranks - 1 - s` there too.
///
/// # Errors
/// `schedule-size` for a count of 0 or too many cells.
pub fn grid(n_ranks: u32, n_micro_batches: u32) -> Result<Grid, Diagnostic> {
    check_size(n_ranks, 2, n_micro_batches, SPLIT)?;
    // The order needs so many micro-batches to be in flight at all.
    let planned = n_micro_batches.max(2 * n_ranks - 1);
    check_size(n_ranks, 2, planned, SPLIT)?;
    Ok(Grid {
        rows: (0..n_ranks).map(|rank| row(n_ranks, planned, n_micro_batches, rank)).collect(),
    })
}

/// The stage on the way down, and the one on the way back.
#[derive(Clone, Copy)]
enum Leg {
    Down,
    Back,
}

/// A row under construction: each pass of a leg takes the micro-batches in order.
struct Row {
    stages: [u32; 2],
    n_micro_batches: u32,
    counts: [[u32; 5]; 2],
    cells: Vec<Cell>,
}

impl Row {
    fn n(&self, leg: Leg, pass: Pass) -> u32 {
        self.counts[leg as usize][pass as usize]
    }

    fn run(&mut self, leg: Leg, passes: &[Pass]) {
        for &pass in passes {
            let count = &mut self.counts[leg as usize][pass as usize];
            if *count < self.n_micro_batches {
                self.cells.push(Cell::new(self.stages[leg as usize], pass, *count));
            }
            *count += 1;
        }
    }
}

fn row(n_ranks: u32, planned: u32, n_micro_batches: u32, rank: u32) -> Vec<Cell> {
    use Leg::{Back, Down};
    use Pass::{BackwardInput as I, BackwardWeight as W, Forward as F};
    let stages = [rank, 2 * n_ranks - 1 - rank];
    let mut row = Row { stages, n_micro_batches, counts: [[0; 5]; 2], cells: Vec::new() };
    let from_end = n_ranks - rank;
    // Fill: until the first micro-batch is back, then until its gradient is.
    for _ in 0..2 * from_end - 1 {
        row.run(Down, &[F]);
    }
    for _ in 0..rank {
        row.run(Back, &[F]);
        row.run(Down, &[F]);
    }
    for _ in 0..from_end {
        row.run(Back, &[F, I, W]);
    }
    // Steady: one micro-batch forward and backward through both legs.
    while row.n(Back, F) < planned {
        if row.n(Down, F) < planned {
            row.run(Down, &[F]);
        }
        row.run(Down, &[I, W]);
        row.run(Back, &[F, I, W]);
    }
    // Drain: inputs first, for others wait for them.
    for _ in 0..rank {
        row.run(Down, &[I]);
        row.run(Back, &[I]);
    }
    for _ in 0..from_end {
        row.run(Down, &[I, W]);
    }
    for leg in [Back, Down] {
        while row.n(leg, W) < planned {
            row.run(leg, &[W]);
        }
    }
    row.cells
}
