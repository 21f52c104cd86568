//! Lowers a grid to flat arrays: what each cell costs, what it waits for and what it sends.
//!
//! A *port* is one tensor that crosses from a stage to a neighbour for one micro-batch: port
//! `1 + s x m + k` is the activation of micro-batch `k` on its way into stage `s`, and the gradients
//! follow after all activations. Port 0 stands for "nothing". A *step* is what a stage does in one
//! [`Variant`] of a pass; its costs don't depend on the micro-batch.

use ir::grid::{Cell, Grid, Pass};

use super::costs::PipelineCosts;
use super::structure;
use super::violation::Violation;
use super::way::{self, Way};

/// No port: nothing is waited for, or nothing is sent.
pub(super) const NO_PORT: u32 = 0;
/// Steps are numbered `stage x 8 + variant`.
pub(super) const VARIANT_BITS: u32 = 3;

/// A pass as it is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    Forward,
    Backward,
    Input,
    Weight,
    Recompute,
    /// Recompute has no cell of its own, so the backward pass starts with it.
    LateBackward,
    LateInput,
}

impl Variant {
    pub(super) const ALL: [Self; 7] = [
        Self::Forward,
        Self::Backward,
        Self::Input,
        Self::Weight,
        Self::Recompute,
        Self::LateBackward,
        Self::LateInput,
    ];
}

/// What a step costs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Step {
    /// Nanoseconds.
    pub(super) duration: u64,
    /// Bytes that are allocated at its start and outlive it or not, as `freed` says.
    pub(super) allocated: u64,
    /// Bytes that are freed at its end.
    pub(super) freed: u64,
    /// Bytes while it runs.
    pub(super) temporary: u64,
    /// What its output takes.
    pub(super) way: Way,
}

/// A grid ready for the replay.
#[derive(Clone, Debug)]
pub struct Lowered<'a> {
    pub(super) grid: &'a Grid,
    pub(super) costs: &'a PipelineCosts,
    /// By rank: where its cells begin; one more for the end.
    pub(super) row_start: Vec<u32>,
    /// By cell: its step.
    pub(super) step_of: Vec<u32>,
    /// By cell: the port that it reads.
    pub(super) input: Vec<u32>,
    /// By cell: the port that it writes.
    pub(super) output: Vec<u32>,
    /// By port: the position in its row of the cell that reads it.
    pub(super) reader: Vec<u32>,
    /// By step.
    pub(super) steps: Vec<Step>,
    /// Channels; sending and receiving ones are numbered alike.
    pub(super) n_channels: u32,
}

impl<'a> Lowered<'a> {
    /// Lowers a grid.
    ///
    /// # Errors
    /// The first defect of the costs or of the grid's structure; circles are found by the replay.
    pub fn new(costs: &'a PipelineCosts, grid: &'a Grid) -> Result<Self, Violation> {
        structure::sizes(costs, grid)?;
        let (steps, n_channels) = steps(costs)?;
        let n_cells = grid.n_cells();
        let n_slots = costs.stages.len() * costs.n_micro_batches as usize;
        let mut lowered = Self {
            grid,
            costs,
            row_start: Vec::with_capacity(costs.ranks.len() + 1),
            step_of: Vec::with_capacity(n_cells),
            input: Vec::with_capacity(n_cells),
            output: Vec::with_capacity(n_cells),
            reader: vec![0; 1 + 2 * n_slots],
            steps,
            n_channels,
        };
        let mut done = vec![0u8; n_slots];
        lowered.row_start.push(0);
        for (rank, row) in (0u32..).zip(&grid.rows) {
            lowered.row(rank, row, &mut done)?;
        }
        structure::complete(costs, &done)?;
        Ok(lowered)
    }

    /// Cells of all rows.
    #[must_use]
    pub fn n_cells(&self) -> usize {
        self.step_of.len()
    }

    fn row(&mut self, rank: u32, row: &[Cell], done: &mut [u8]) -> Result<(), Violation> {
        let n_micro_batches = self.costs.n_micro_batches;
        let n_slots = u32::try_from(done.len()).unwrap_or(u32::MAX);
        for (position, cell) in (0u32..).zip(row) {
            let stage = cell.stage.index();
            let holder = self.costs.stages.get(stage).map(|costs| costs.rank);
            if holder != Some(rank) || cell.micro_batch >= n_micro_batches {
                return Err(structure::foreign(self.costs, *cell, rank));
            }
            let slot = cell.stage.0 * n_micro_batches + cell.micro_batch;
            let state = &mut done[slot as usize];
            let Some(variant) = structure::next(cell.pass, state) else {
                return Err(structure::out_of_turn(*cell, rank, *state));
            };
            let (mut input, mut output) = (NO_PORT, NO_PORT);
            let (before, after) = self.costs.neighbours(cell.stage);
            match cell.pass {
                Pass::Forward => {
                    if before.is_some() {
                        input = 1 + slot;
                        self.reader[input as usize] = position;
                    }
                    if after.is_some() {
                        output = 1 + slot + n_micro_batches;
                    }
                }
                Pass::Backward | Pass::BackwardInput => {
                    if after.is_some() {
                        input = 1 + n_slots + slot;
                        self.reader[input as usize] = position;
                    }
                    if before.is_some() {
                        output = 1 + n_slots + slot - n_micro_batches;
                    }
                }
                Pass::BackwardWeight | Pass::Recompute => {}
            }
            self.step_of.push(cell.stage.0 << VARIANT_BITS | variant as u32);
            self.input.push(input);
            self.output.push(output);
        }
        self.row_start.push(u32::try_from(self.step_of.len()).unwrap_or(u32::MAX));
        Ok(())
    }

    /// The cells of a rank, as positions among all cells.
    pub(super) fn cells_of(&self, rank: usize) -> std::ops::Range<usize> {
        self.row_start[rank] as usize..self.row_start[rank + 1] as usize
    }

    /// The step of a cell.
    pub(super) fn step(&self, cell: usize) -> &Step {
        &self.steps[self.step_of[cell] as usize]
    }
}

fn steps(costs: &PipelineCosts) -> Result<(Vec<Step>, u32), Violation> {
    let ways = way::ways(costs)?;
    let mut steps = vec![Step::default(); costs.stages.len() << VARIANT_BITS];
    for (index, stage) in costs.stages.iter().enumerate() {
        let whole = stage.stash + stage.recomputed;
        let early = whole - stage.kept_for_weight;
        let forth = ways.forward[index];
        let back = ways.backward[index];
        let nowhere = Way::default();
        for variant in Variant::ALL {
            let (duration, allocated, freed, temporary, way) = match variant {
                Variant::Forward => {
                    (stage.forward, stage.stash.0, 0, stage.forward_temporary, forth)
                }
                Variant::Recompute => {
                    (stage.recompute, stage.recomputed.0, 0, stage.forward_temporary, nowhere)
                }
                Variant::Backward => (stage.backward, 0, whole.0, stage.backward_temporary, back),
                Variant::LateBackward => (
                    stage.recompute + stage.backward,
                    stage.recomputed.0,
                    whole.0,
                    stage.backward_temporary,
                    back,
                ),
                Variant::Input => (
                    stage.backward_input,
                    stage.made_for_weight.0,
                    early.0,
                    stage.backward_temporary,
                    back,
                ),
                Variant::LateInput => (
                    stage.recompute + stage.backward_input,
                    (stage.recomputed + stage.made_for_weight).0,
                    early.0,
                    stage.backward_temporary,
                    back,
                ),
                Variant::Weight => (
                    stage.backward_weight,
                    0,
                    (stage.kept_for_weight.min(whole) + stage.made_for_weight).0,
                    stage.backward_temporary,
                    nowhere,
                ),
            };
            steps[index << VARIANT_BITS | variant as usize] =
                Step { duration: duration.0, allocated, freed, temporary: temporary.0, way };
        }
    }
    structure::range(costs, &steps)?;
    Ok((steps, ways.n_channels))
}
