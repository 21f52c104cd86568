//! All orders of a period, and those of templates.

use cost_model::streams::Slowdowns;
use cost_model::streams::period::{Orders, Period};

/// Most orders of a stream under one cut that are looked at.
const MOST: usize = 1 << 12;

/// What a bound is reached within.
const TOLERANCE: f64 = 1e-12;

/// A piece: its nano-batch, and its position there.
type At = (usize, usize);

/// The best orders of a period and seconds of a layer, where at best so many seconds of work are done in
/// one.
#[must_use]
pub fn best(period: &Period, slowdowns: &Slowdowns, rate: f64) -> Option<(Orders, f64)> {
    let bound_s = period.bound_s(rate);
    let mut best: Option<(Orders, f64)> = None;
    for orders in orders(period) {
        let Some(seconds) = period.cycle_s(&orders, slowdowns) else { continue };
        if best.as_ref().is_none_or(|(_, least)| seconds < *least) {
            best = Some((orders, seconds));
        }
        if best.as_ref().is_some_and(|(_, least)| *least <= bound_s * (1.0 + TOLERANCE)) {
            break;
        }
    }
    best
}

/// All orders of a period whose first piece is the first one of the first nano-batch.
pub fn orders(period: &Period) -> impl Iterator<Item = Orders> + '_ {
    cuts(period).into_iter().flat_map(|ahead| {
        let of_streams = (0..period.streams.len()).map(|stream| of_stream(period, stream, &ahead));
        let mut all: Vec<Vec<Vec<At>>> = vec![Vec::new()];
        for orders in of_streams {
            let with = |before: &Vec<Vec<At>>| -> Vec<Vec<Vec<At>>> {
                let one = |order: &Vec<At>| before.iter().cloned().chain([order.clone()]).collect();
                orders.iter().map(one).collect()
            };
            all = all.iter().flat_map(with).collect();
        }
        all.into_iter().map(move |streams| Orders { streams, ahead: ahead.clone() })
    })
}

/// By nano-batch, how many of its pieces are of the next layer; none of the first one.
fn cuts(period: &Period) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for (nano_batch, chain) in period.chains.iter().enumerate() {
        let n = if nano_batch == 0 { 1 } else { chain.len().max(1) };
        let with = |before: &Vec<usize>| -> Vec<Vec<usize>> {
            (0..n).map(|first| before.iter().copied().chain([first]).collect()).collect()
        };
        all = all.iter().flat_map(with).collect();
    }
    all
}

/// All orders of a stream that keep those of its nano-batches.
fn of_stream(period: &Period, stream: usize, ahead: &[usize]) -> Vec<Vec<At>> {
    let of = |nano_batch: usize| -> Vec<At> {
        let (chain, first) = (&period.chains[nano_batch], ahead[nano_batch]);
        let order = (first..chain.len()).chain(0..first);
        order.filter(|at| chain[*at].stream == stream).map(|at| (nano_batch, at)).collect()
    };
    let each: Vec<Vec<At>> = (0..period.chains.len()).map(of).collect();
    let is_first = period.chains.first().and_then(|chain| chain.first()).map(|step| step.stream);
    let (mut order, mut all) = (Vec::new(), Vec::new());
    let mut next = vec![0; each.len()];
    if is_first == Some(stream) {
        order.push((0, 0));
        next[0] = 1;
    }
    merge(&each, &mut next, &mut order, &mut all);
    all
}

fn merge(each: &[Vec<At>], next: &mut [usize], order: &mut Vec<At>, all: &mut Vec<Vec<At>>) {
    if all.len() >= MOST {
        return;
    }
    let mut is_whole = true;
    for nano_batch in 0..each.len() {
        let Some(at) = each[nano_batch].get(next[nano_batch]).copied() else { continue };
        is_whole = false;
        next[nano_batch] += 1;
        order.push(at);
        merge(each, next, order, all);
        order.pop();
        next[nano_batch] -= 1;
    }
    if is_whole {
        all.push(order.clone());
    }
}
