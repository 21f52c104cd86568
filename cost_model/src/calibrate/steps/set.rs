//! A set of measured steps as runs on a system, and how they are predicted.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use ir::card::{Attention, FeedForward, Head, ModelCard, TransformerCard};
use ir::diagnostic::Diagnostic;
use ir::grid::Grid;
use ir::measured::StepRow;
use ir::plan::Parallelism;
use ir::stack::Stack;

use crate::kernels::plain_product;
use crate::runs::counts::step_flops;
use crate::runs::forms::constants::Constants;
use crate::runs::forms::corrections::Corrections;
use crate::runs::forms::fit::Sample;
use crate::runs::forms::model::counts::model_flops;
use crate::runs::forms::run::{Gradients, Run};
use crate::runs::forms::step::Steps;
use crate::runs::forms::system::System;
use crate::runs::memory::Reserve;

/// Makes the order of each rank: ranks, chunks of each, micro-batches.
pub type GridOf = fn(u32, u32, u32) -> Result<Grid, Diagnostic>;

/// Rows of the embedding where a table does not say: that of GPT-2's byte pairs. It is odd, so that
/// one tensor rank multiplies by an unaligned matrix; the measured heads of one rank take 4.1 ms
/// per 1,024 tokens and 1,024 columns, which is 78 TFLOP/s, the rate outside the tensor cores.
const USUAL_VOCABULARY: u64 = 50_257;
/// Heads where a table does not say. The BigScience chronicles try others against 64.
const USUAL_HEADS: u64 = 64;
/// Hidden sizes for which another count is assumed: no source states it.
const OTHER_HEADS: [(u64, u64); 1] = [(14_400, 80)];
/// 16-bit operations per second that no A100 exceeds, for devices whose data sheet states none.
const PEAK: f64 = 312e12;

/// A measured row as a run.
#[derive(Clone, Debug)]
pub struct Row {
    /// The row.
    pub measured: StepRow,
    /// The same as a run.
    pub run: Run,
}

/// Schedules by ranks, chunks and micro-batches; `None` where there is none.
type Grids = BTreeMap<(u32, u32, u32), Option<Arc<Grid>>>;

/// Measured steps of one source.
pub struct Set {
    /// Name in the table, such as `steps vTrain single`.
    pub part: &'static str,
    /// What ran them.
    pub system: System,
    /// With which software.
    pub stack: Stack,
    /// Rows that are judged.
    pub rows: Vec<Row>,
    /// Lines of rows that are faster than the devices' peak rate allows.
    pub refused: Vec<u64>,
    grid_of: GridOf,
    grids: RefCell<Grids>,
}

/// The card of a row; blocks that are not stated follow from the size that the model's name states.
fn card(row: &StepRow) -> TransformerCard {
    let heads = row.heads.unwrap_or_else(|| {
        let other = OTHER_HEADS.iter().find(|(hidden, _)| *hidden == row.hidden);
        other.map_or(USUAL_HEADS, |(_, heads)| *heads)
    });
    let vocabulary = row.vocabulary.unwrap_or(USUAL_VOCABULARY);
    let hidden = row.hidden as f64;
    let sized = row.stated_parameters.map_or(0.0, |parameters| {
        ((parameters - vocabulary as f64 * hidden) / (12.0 * hidden * hidden)).round()
    });
    TransformerCard {
        name: row.model.clone(),
        // A float cast saturates.
        n_layers: row.layers.unwrap_or(sized.max(1.0) as u32),
        hidden: row.hidden,
        n_heads: heads,
        n_kv_heads: heads,
        feed_forward: row.hidden.saturating_mul(4),
        form: FeedForward::Plain,
        sequence: row.sequence,
        vocabulary,
        experts: None,
        attention: Attention::Even,
        head: Head::Tied,
    }
}

fn run(row: &StepRow, gradients: Gradients) -> Run {
    let model = row.card.clone().unwrap_or_else(|| ModelCard::uniform(card(row)));
    let parallelism = Parallelism {
        data: row.data,
        tensor: row.tensor,
        pipeline: row.pipeline,
        context: row.context,
        expert: row.expert,
        n_micro_batches: row.n_micro_batches(),
        micro_batch: row.micro_batch,
        virtual_stages: row.virtual_stages,
        sequence: row.sequence_parallel,
        zero: row.zero,
        ..Parallelism::default()
    };
    let mut run = Run::of(model, parallelism, row.recompute).with_gradients(gradients);
    run.dtype = row.dtype;
    run
}

impl Set {
    /// A set of rows on a system, with gradients of the stack's where none are stated.
    #[must_use]
    pub fn new(
        part: &'static str,
        measured: &[StepRow],
        gradients: Option<Gradients>,
        (system, stack): (System, Stack),
        grid_of: GridOf,
    ) -> Self {
        let peak = |dtype| plain_product::peak(&system.device, dtype);
        let peak = |dtype| peak(dtype).map_or(PEAK, |(_, rate)| rate.get());
        let mut rows = Vec::new();
        let mut refused = Vec::new();
        for row in measured {
            let run = run(row, gradients.unwrap_or_else(|| Gradients::of(row.dtype, &stack)));
            let most = peak(row.dtype) * row.gpus as f64 * row.time_s;
            let flops = match row.card {
                Some(_) => model_flops(&run.model, row.global_batch),
                None => step_flops(&run.model.groups[0].card, row.global_batch, row.recompute),
            };
            if flops > most {
                refused.push(row.line);
            } else {
                rows.push(Row { measured: row.clone(), run });
            }
        }
        Self { part, system, stack, rows, refused, grid_of, grids: RefCell::default() }
    }

    /// Rows for which something holds, as samples of a fit.
    pub fn samples(&self, wanted: impl Fn(&Row) -> bool) -> Vec<Sample<'_>> {
        let chosen = self.rows.iter().filter(|row| wanted(row));
        let sample = |row| {
            let Row { measured, run }: &Row = row;
            Sample { run, system: &self.system, time_s: measured.time_s }
        };
        chosen.map(sample).collect()
    }

    /// Steps of all rows in seconds, each replayed by the judge of pipelines; not a number where a
    /// row has no schedule.
    #[must_use]
    pub fn predict(&self, constants: &Constants, corrections: &Corrections) -> Vec<f64> {
        self.predict_of(&self.rows.iter().collect::<Vec<_>>(), constants, corrections)
    }

    /// The same of some of its rows.
    #[must_use]
    pub fn predict_of(
        &self,
        rows: &[&Row],
        constants: &Constants,
        corrections: &Corrections,
    ) -> Vec<f64> {
        let steps = Steps::new(&self.system, &self.stack, constants, corrections);
        rows.iter().map(|row| self.step(&steps, &row.run)).collect()
    }

    /// Whether a device holds what a row takes, as far as its memory is stated.
    pub(super) fn fits(&self, row: &Row, constants: &Constants) -> bool {
        let none = Corrections::default();
        let steps = Steps::new(&self.system, &self.stack, constants, &none);
        let peak = self.judged(&steps, &row.run).map(|(_, bytes)| bytes as f64);
        let all = |peak: f64| peak + Reserve::device().bytes(row.run.degrees(), peak);
        let most = self.system.device.memory;
        peak.is_some_and(|peak| most.is_none_or(|most| all(peak) <= most.0 as f64))
    }

    fn step<'a>(&self, steps: &Steps<'a>, run: &'a Run) -> f64 {
        self.judged(steps, run).map_or(f64::NAN, |(seconds, _)| seconds)
    }

    fn judged<'a>(&self, steps: &Steps<'a>, run: &'a Run) -> Option<(f64, u64)> {
        let degrees = run.degrees();
        let count = u32::try_from(degrees.n_micro_batches).unwrap_or(u32::MAX);
        let key = (degrees.pipeline, degrees.virtual_stages, count);
        let mut grids = self.grids.borrow_mut();
        let grid = grids
            .entry(key)
            .or_insert_with(|| (self.grid_of)(key.0, key.1, key.2).ok().map(Arc::new));
        steps.judged(run, grid.as_ref()?).ok()
    }

    /// What a row is called in lines of the table.
    #[must_use]
    pub fn name(row: &Row) -> String {
        let StepRow { model, gpus, tensor, pipeline, data, micro_batch, global_batch, .. } =
            &row.measured;
        format!(
            "{model} on {gpus}, t {tensor} p {pipeline} d {data}, {micro_batch} of {global_batch}"
        )
    }
}
