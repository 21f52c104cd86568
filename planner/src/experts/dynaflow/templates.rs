//! Orders that stacks are written with: baselines of [`super::solve`].
//!
//! # Decides
//! What [`dynaflow`](super) does.
//!
//! # Idea
//! ```text
//! sequential    all samples at once
//! comm-fusion   the same with fused pieces, where a table has some
//! comm-overlap  halves; each stream runs a piece of the first one, then the same of the second one
//! dual-batch    halves; attention(1), dispatch(0), expert(0), dispatch(1), expert(1), combine(0),
//!               attention(0) of the next layer, combine(1)
//! ```
//!
//! # Paper
//! DynaFlow's policies; the order of two batches is that of its policy for mixtures of experts.
//!
//! # Guarantee
//! None: a half is cut off wherever it has tokens enough, whatever is gained.
//!
//! # Complexity
//! One replay.
//!
//! # Limits
//! `dual-batch` cuts layers of four pieces, which exchange twice. An odd sample is in the second half.
//!
//! # Example
//! Where each of four pieces of a half takes a second, two halves take 4 s in either order.

use cost_model::streams::period::{Orders, Period};

use super::{Planned, Split, Threshold, best};

/// All samples at once.
#[must_use]
pub fn sequential(splits: &[Split], _: &Threshold, _: usize) -> Option<Planned> {
    of(splits, 0, None)
}

/// All samples at once, with fused pieces where there are some.
#[must_use]
pub fn comm_fusion(splits: &[Split], _: &Threshold, _: usize) -> Option<Planned> {
    let last = splits.iter().rposition(|own| own.samples.len() == 1)?;
    of(splits, last, None)
}

/// Halves in turn.
#[must_use]
pub fn comm_overlap(splits: &[Split], threshold: &Threshold, _: usize) -> Option<Planned> {
    halves(splits, threshold, |period| {
        let order = |stream: usize| {
            let n = period.chains.iter().map(Vec::len).max().unwrap_or_default();
            let all = (0..n).flat_map(|at| (0..period.chains.len()).map(move |own| (own, at)));
            let is_on = |at: &(usize, usize)| {
                period.chains[at.0].get(at.1).is_some_and(|own| own.stream == stream)
            };
            all.filter(is_on).collect()
        };
        let streams = (0..period.streams.len()).map(order).collect();
        Some(Orders { streams, ahead: vec![0; period.chains.len()] })
    })
}

/// Halves in eight steps.
#[must_use]
pub fn dual_batch(splits: &[Split], threshold: &Threshold, _: usize) -> Option<Planned> {
    halves(splits, threshold, |period| {
        let is_usual = |chain: &Vec<_>| chain.len() == 4;
        period.chains.iter().all(is_usual).then(eight_steps)
    })
}

/// The eight steps, the last one of the first half a layer ahead.
#[must_use]
pub fn eight_steps() -> Orders {
    Orders {
        streams: vec![vec![(1, 0), (0, 2), (1, 2), (0, 0)], vec![(0, 1), (1, 1), (0, 3), (1, 3)]],
        ahead: vec![1, 0],
    }
}

/// Halves in some order, where they have tokens enough and something is exchanged; else all at once.
fn halves(
    splits: &[Split],
    threshold: &Threshold,
    order: impl Fn(&Period) -> Option<Orders>,
) -> Option<Planned> {
    // The last cut is the most even one.
    let found = splits.iter().rposition(|own| own.samples.len() == 2);
    let is_worth = |own: &Split| {
        own.tokens >= threshold.tokens
            && (1..own.period.streams.len()).any(|at| own.period.stream_s(at) > 0.0)
    };
    let found = found.filter(|at| is_worth(&splits[*at]));
    match found.and_then(|at| Some((at, order(&splits[at].period)?))) {
        Some((at, orders)) => of(splits, at, Some(orders)),
        None => of(splits, 0, None),
    }
}

/// A split in an order, or in its own where it is not cut.
fn of(splits: &[Split], split: usize, orders: Option<Orders>) -> Option<Planned> {
    let own = splits.get(split)?;
    let bound_s = splits.iter().map(|own| own.period.bound_s(own.rate)).reduce(f64::min)?;
    let (orders, cycle_s) = match orders {
        Some(orders) => {
            let cycle_s = own.period.cycle_s(&orders, &own.slowdowns)?;
            (orders, cycle_s)
        }
        None => best(&own.period, &own.slowdowns, own.rate)?,
    };
    Some(Planned { split, orders, cycle_s, bound_s })
}
