//! Steps of runs: their plans priced by the oracle, and judged or summed up in closed form.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use ir::card::BlockGroup;
use ir::grid::Grid;
use ir::stack::Stack;
use ir::tensor::DType;

use super::constants::Constants;
use super::corrections::Corrections;
use super::fit::Sample;
use super::model::Pricing;
use super::model::priced::{Passes, Priced};
use super::run::{Gradients, Run, Timed};
use super::system::System;
use crate::runs::judge::judge;
use crate::runs::judge::violation::Violation;
use crate::runs::oracle::{Ending, Place, Prices, Seat, StageFigures, ends_meet, lowered, seats};

/// What tells blocks of runs on one system apart.
type Block<'a> = (&'a [BlockGroup], [u64; 11], Gradients, DType);

/// Steps of runs on one system under one stack and one set of constants; remembers blocks.
pub struct Steps<'a> {
    system: &'a System,
    stack: &'a Stack,
    constants: &'a Constants,
    corrections: &'a Corrections,
    known: RefCell<HashMap<Block<'a>, Passes>>,
}

impl<'a> Steps<'a> {
    /// One that has seen nothing.
    #[must_use]
    pub fn new(
        system: &'a System,
        stack: &'a Stack,
        constants: &'a Constants,
        corrections: &'a Corrections,
    ) -> Self {
        Self { system, stack, constants, corrections, known: RefCell::default() }
    }

    /// What prices a run.
    #[must_use]
    pub fn pricing(&self, run: &'a Run) -> Pricing<'a> {
        Pricing {
            corrections: self.corrections,
            dtype: run.dtype,
            gradients: run.gradients,
            ..Pricing::unlimited(&run.model, self.system, self.stack, self.constants)
        }
    }

    fn priced(&self, run: &'a Run, ranks: &[u32]) -> (Priced<'a>, Vec<StageFigures>) {
        let (pricing, degrees) = (self.pricing(run), run.degrees());
        let key = Passes::key(degrees, self.system.per_host);
        let mut known = self.known.borrow_mut();
        let known = known
            .entry((&run.kinds, key, run.gradients, run.dtype))
            .or_insert_with(|| Passes::of(&pricing, degrees));
        let passes = Arc::new(known.of_depth(&run.model));
        let priced = Priced::new(pricing, degrees.clone(), passes).with_ends(ends_meet(ranks));
        let stages = &run.plan.partition.stages;
        let of = |((index, stage), seat): ((usize, &ir::plan::Stage), Seat)| {
            let place = Place::of(index, stages.len());
            let place = Place { last: place.last && run.timed != Timed::Blocks, ..place };
            let figures = priced.figures(&stage.blocks, stage.recompute, place);
            timed(run.timed, figures, &priced, seat)
        };
        let figures = stages.iter().enumerate().zip(seats(ranks)).map(of).collect();
        (priced, figures)
    }

    /// The step that the judge of pipelines finds, in seconds.
    ///
    /// # Errors
    /// What the judge finds wrong with the grid.
    pub fn judged_s(&self, run: &'a Run, grid: &Grid) -> Result<f64, Violation> {
        Ok(self.judged(run, grid)?.0)
    }

    /// The same, and the bytes of the rank that holds most.
    ///
    /// # Errors
    /// As [`Self::judged_s`].
    pub fn judged(&self, run: &'a Run, grid: &Grid) -> Result<(f64, u64), Violation> {
        let ranks = run.ranks();
        let (priced, figures) = self.priced(run, &ranks);
        let costs = lowered(&priced, &figures, &ranks, grid);
        let report = judge(&costs, grid)?.report;
        let peak = report.ranks.iter().map(|rank| rank.peak.bytes).max();
        Ok((report.step_time.seconds(), peak.unwrap_or(0)))
    }

    /// The step under 1F1B or interleaved 1F1B, in seconds: `m t + (sum of the other ranks' passes) /
    /// v`, transfers, exchange and optimizer, where `t` is the time of one micro-batch on the slowest
    /// of `p` ranks and `v` the chunks of a rank. Of `p` equal ranks that is `(m + (p - 1) / v) t`.
    #[must_use]
    pub fn closed_form_s(&self, run: &'a Run) -> f64 {
        let ranks = run.ranks();
        let (priced, figures) = self.priced(run, &ranks);
        let mut by_rank = vec![Rank::default(); run.degrees().pipeline.max(1) as usize];
        let mut slowest_hop_s = 0.0_f64;
        for (figures, seat) in figures.iter().zip(seats(&ranks)) {
            let ending = figures.ending.unwrap_or_else(|| priced.ending(figures, seat));
            by_rank[seat.rank as usize].add(figures, ending);
            let (bytes, link) = priced.way(seat.rank, seat.next, figures.sends);
            slowest_hop_s = slowest_hop_s.max(link.start_up_s + bytes / link.rate.get());
        }
        let (p, n_chunks) = (by_rank.len() as f64, figures.len() as f64);
        let m = run.degrees().n_micro_batches as f64;
        let slowest_s = by_rank.iter().map(|rank| rank.passes_s).fold(0.0, f64::max);
        let all_s: f64 = by_rank.iter().map(|rank| rank.passes_s).sum();
        let bubble_s = (all_s - slowest_s) / (n_chunks / p).max(1.0);
        // On the way through all ranks at start and end, and twice per chunk and micro-batch in
        // between, for the share `(p - 1) / p` of it that 1F1B cannot hide.
        let hops_s = 2.0 * slowest_hop_s * (p - 1.0) * (1.0 + m * n_chunks / p / p);
        let end_s = by_rank.iter().map(Rank::end_s).fold(0.0, f64::max);
        m * slowest_s + bubble_s + hops_s + end_s
    }
}

/// What of a stage's figures a time is of.
fn timed(timed: Timed, figures: StageFigures, priced: &Priced<'_>, seat: Seat) -> StageFigures {
    match timed {
        Timed::Step => figures,
        Timed::Passes => {
            let ending = priced.ending(&figures, seat);
            StageFigures { ending: Some(Ending { optimizer_s: 0.0, ..ending }), ..figures }
        }
        Timed::Forward | Timed::Blocks => StageFigures {
            backward_s: 0.0,
            weight_s: 0.0,
            recompute_s: 0.0,
            ending: Some(Ending::default()),
            ..figures
        },
    }
}

/// Sums over the chunks of a rank, in seconds.
#[derive(Clone, Copy, Default)]
struct Rank {
    passes_s: f64,
    backward_s: f64,
    ending: Ending,
}

impl Rank {
    fn add(&mut self, figures: &StageFigures, ending: Ending) {
        self.passes_s += figures.seconds();
        self.backward_s += figures.backward_s + figures.recompute_s;
        self.ending.exchange_s += ending.exchange_s;
        self.ending.tied_s += ending.tied_s;
        self.ending.overlapped_s += ending.overlapped_s;
        self.ending.optimizer_s += ending.optimizer_s;
    }

    /// What is left of the exchange beside the last backward pass, and the optimizer.
    fn end_s(&self) -> f64 {
        let Ending { exchange_s, overlapped_s, tied_s, optimizer_s } = self.ending;
        let late_s = (overlapped_s - self.backward_s).max(0.0);
        exchange_s - overlapped_s + late_s + tied_s + optimizer_s
    }
}

/// Steps of samples in closed form, in seconds; samples of one system stand together.
pub(crate) fn closed_forms(
    samples: &[Sample<'_>],
    stack: &Stack,
    constants: &Constants,
    corrections: &Corrections,
) -> Vec<f64> {
    let mut times = Vec::with_capacity(samples.len());
    for group in samples.chunk_by(|a, b| std::ptr::eq(a.system, b.system)) {
        let Some(first) = group.first() else { continue };
        let steps = Steps::new(first.system, stack, constants, corrections);
        times.extend(group.iter().map(|sample| steps.closed_form_s(sample.run)));
    }
    times
}
