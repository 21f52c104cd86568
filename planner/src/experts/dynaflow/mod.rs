//! Nano-batches of a layer whose pieces run beside each other.
//!
//! # Decides
//! Whether the samples of a serving step go through its layers in two nano-batches, where they are cut,
//! the order of the pieces on each stream, how pieces share the device that run beside each other, and
//! which are fused where samples are not cut.
//!
//! # Idea
//! A layer of the steady state is a cyclic job shop of one job for each nano-batch. With the first piece
//! of the first nano-batch as the start of the period, a cut says which pieces of another one are of the
//! next layer, and with that its order on each stream is given; so all interleavings of two orders on
//! each stream under all cuts are all that there are. Each is scored by the greatest circle of waiting,
//! or by the replay where ops slow each other. A split counts where it gains more than prices are off by.
//!
//! # Paper
//! DynaFlow, which ships the mechanism and no solver; Zhu et al., "NanoFlow: Towards Optimal Large
//! Language Model Serving Throughput", OSDI 2025, arXiv:2408.12757, plans by two integer programs.
//!
//! # Guarantee
//! The best order of each cut that was looked at; a bound for all orders of these.
//!
//! # Complexity
//! Orders of two nano-batches of four pieces are 72, of six 1,200.
//!
//! # Limits
//! Layers are compared by their steady state, and a cut is taken if so many layers as follow each other
//! gain by it from the first piece to the last one, too. Up to two nano-batches, cut between samples, at [`CUTS`] places where there are more (the bound is over these); two streams; equal layers.
//!
//! # Example
//! 110.3 and 44.2 us that are 1.24 times as fast on two streams take 124.6 us; each on multiprocessors of
//! its own takes 155.5 at best, and one after the other 154.5.

mod enumeration;
#[cfg(test)]
mod laws;

pub mod templates;

use cost_model::streams::Slowdowns;
use cost_model::streams::period::{Orders, Period};
use ir::diagnostic::Diagnostic;

pub use enumeration::{best, orders};

use crate::run::algorithm::{OptionRow, Options, bad_option};
use crate::run::entry::Entry;

const MIN_TOKENS: OptionRow = OptionRow {
    name: "min_tokens",
    unit: "tokens of a nano-batch; 0 = 256 in prefill and 16 in decode, halves of vLLM's thresholds",
    default: "0",
    summary: "fewer are not cut off",
};
const MIN_GAIN: OptionRow = OptionRow {
    name: "min_gain",
    unit: "percent of the time of a layer that is not cut",
    default: "11.2",
    summary: "what a cut has to gain; the default is the median error of steps with experts of models that \
              nothing was fitted on (docs/accuracy.md)",
};

/// Options of the rows.
pub const OPTIONS: &[OptionRow] = &[MIN_TOKENS, MIN_GAIN];
/// Options of templates, which cut whatever is gained.
pub const OF_TEMPLATES: &[OptionRow] = &[MIN_TOKENS];

/// The least tokens of a nano-batch, in prefill and decode, and what a cut has to gain, of a row.
///
/// # Errors
/// `bad-option`.
pub fn thresholds(entry: &Entry, options: &Options) -> Result<([u64; 2], f64), Diagnostic> {
    let tokens = match options.count(&MIN_TOKENS)? {
        0 => [256, 16],
        tokens => [tokens, tokens],
    };
    if !entry.options.contains(&MIN_GAIN) {
        return Ok((tokens, 0.0));
    }
    let percent = options.real(&MIN_GAIN)?;
    match (0.0..100.0).contains(&percent) {
        true => Ok((tokens, percent / 100.0)),
        false => Err(bad_option(&MIN_GAIN, options.text(&MIN_GAIN))),
    }
}

/// Most places at which samples are cut.
pub const CUTS: u64 = 64;

/// Samples of a step in nano-batches, and what a layer takes then.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// By nano-batch its samples on a device.
    pub samples: Vec<u64>,
    /// Tokens of the smallest nano-batch on a device.
    pub tokens: u64,
    /// Pieces of a layer.
    pub period: Period,
    /// What they do to each other, by their numbers.
    pub slowdowns: Slowdowns,
    /// The most seconds of work that are done in one.
    pub rate: f64,
}

impl Split {
    /// Seconds of so many layers that follow each other, from the first piece to the last one.
    #[must_use]
    pub fn seconds(&self, orders: &Orders, n_layers: usize) -> f64 {
        let times = self.period.replayed(orders, n_layers, &self.slowdowns);
        times.map_or(f64::INFINITY, |replayed| replayed.seconds())
    }
}

/// When samples are cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// The least tokens of a nano-batch.
    pub tokens: u64,
    /// What a cut has to gain, as a share of the time without one.
    pub gain: f64,
}

/// A layer in nano-batches.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Position among the splits.
    pub split: usize,
    /// In which order streams run.
    pub orders: Orders,
    /// Seconds of a layer in the steady state.
    pub cycle_s: f64,
    /// What none of the splits is below.
    pub bound_s: f64,
}

/// Plans a layer by the splits that there are, of which the first one is of all samples at once; `None`
/// without one. So many layers follow each other, and all of them together gain, too.
#[must_use]
pub fn solve(splits: &[Split], threshold: &Threshold, n_layers: usize) -> Option<Planned> {
    let whole = |split: &&Split| split.samples.len() == 1;
    let bound = |split: &Split| split.period.bound_s(split.rate);
    let bound_s = splits.iter().map(bound).reduce(f64::min)?;
    let mut found: Option<Planned> = None;
    for (split, candidate) in splits.iter().enumerate().filter(|indexed| whole(&indexed.1)) {
        let (orders, cycle_s) = best(&candidate.period, &candidate.slowdowns, candidate.rate)?;
        if found.as_ref().is_none_or(|best| cycle_s < best.cycle_s) {
            found = Some(Planned { split, orders, cycle_s, bound_s });
        }
    }
    let mut found = found?;
    let whole_s = found.cycle_s;
    let most_s = found.cycle_s * (1.0 - threshold.gain);
    for (split, candidate) in splits.iter().enumerate().filter(|indexed| !whole(&indexed.1)) {
        let is_hopeless = bound(candidate) >= found.cycle_s.min(most_s);
        if candidate.tokens < threshold.tokens || is_hopeless {
            continue;
        }
        let Some((orders, cycle_s)) = best(&candidate.period, &candidate.slowdowns, candidate.rate)
        else {
            continue;
        };
        let gains = || candidate.seconds(&orders, n_layers) < whole_s * n_layers as f64;
        if cycle_s < found.cycle_s && cycle_s < most_s && gains() {
            found = Planned { split, orders, cycle_s, bound_s };
        }
    }
    Some(found)
}
