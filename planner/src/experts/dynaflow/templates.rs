//! What templates have in common: a split in an order that is written down.

use cost_model::streams::period::{Orders, Period};

use super::{Planned, Split, Threshold, best};

/// Halves in some order, where they have tokens enough and something is exchanged; else all at once.
pub(in crate::experts) fn halves(
    splits: &[Split],
    threshold: &Threshold,
    order: impl Fn(&Period) -> Option<Orders>,
) -> Option<Planned> {
    // The last cut is the most even one.
    let found = splits.iter().rposition(|split| split.samples.len() == 2);
    let is_worth = |split: &Split| {
        split.tokens >= threshold.tokens
            && (1..split.period.streams.len()).any(|at| split.period.stream_s(at) > 0.0)
    };
    let found = found.filter(|at| is_worth(&splits[*at]));
    match found.and_then(|at| Some((at, order(&splits[at].period)?))) {
        Some((at, orders)) => of(splits, at, Some(orders)),
        None => of(splits, 0, None),
    }
}

/// A split in an order, or in its own where it is not cut.
pub(in crate::experts) fn of(
    splits: &[Split],
    split: usize,
    orders: Option<Orders>,
) -> Option<Planned> {
    let chosen = splits.get(split)?;
    let bound_s = splits.iter().map(|cut| cut.period.bound_s(cut.rate)).reduce(f64::min)?;
    let (orders, cycle_s) = match orders {
        Some(orders) => {
            let cycle_s = chosen.period.cycle_s(&orders, &chosen.slowdowns)?;
            (orders, cycle_s)
        }
        None => best(&chosen.period, &chosen.slowdowns, chosen.rate)?,
    };
    Some(Planned { split, orders, cycle_s, bound_s })
}
