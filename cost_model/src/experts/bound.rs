//! Loads that no placement of a layer's experts is below.
//!
//! With experts in order of their shares `w_1 >= w_2 >= ...`, `D` devices, `S` slots, `E` experts:
//!
//! ```text
//! mean    1 / D: some device has its part of all visits
//! copies  least over counts c with sum c = S of the greatest w_e / c_e: a device with a copy of e has
//!         that much; to give each further copy to the greatest w_e / c_e is best, since any other
//!         counts leave one of these experts with no more copies than it had when it was greatest.
//!         The other slots of the device are full too: with the lightest experts where R = S - E = 0,
//!         else with copies of w_E / (R + 1) at least
//! pairs   for k = 1, 2, ...: the k + 1 smallest of the first k D + 1 experts with one copy: k + 1 of
//!         them share a device. At most R = S - E experts have more copies, so that the j-th with one
//!         copy has w_(j + R) at least
//! hosts   with groups on hosts: the heaviest group, the lightest others beside it, over the devices
//!         of a host; and the copies of a group alone in the slots that its host's other experts leave
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Shape;

/// What no placement is below, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// Share of the layer's visits.
    pub load: f64,
    /// Which of the bounds it is.
    pub method: &'static str,
}

/// Names of the bounds.
pub const METHODS: &[&str] = &["mean", "copies", "pairs", "hosts"];

/// The greatest of the bounds of a layer.
#[must_use]
pub fn bound(shares: &[f64], shape: &Shape) -> Bound {
    let n_devices = shape.host.len().max(1);
    let counts = counts(shares, shape.n_slots());
    let each = shares.iter().zip(&counts).map(|(share, n)| share / *n as f64);
    let all = [
        ("mean", shares.iter().sum::<f64>() / n_devices as f64),
        ("copies", each.fold(0.0, f64::max) + beside(shares, shape)),
        ("pairs", pairs(shares, shape)),
        ("hosts", hosts(shares, shape)),
    ];
    let first = Bound { load: 0.0, method: METHODS[0] };
    all.into_iter().fold(first, |best, (method, load)| {
        // What differs by rounding is one.
        if load > best.load * (1.0 + 1e-12) { Bound { load, method } } else { best }
    })
}

/// Copies of each expert in so many slots, the greatest share of a copy as small as can be: each further
/// copy goes to the expert with most visits per copy, the first of several.
#[must_use]
pub fn counts(shares: &[f64], n_slots: usize) -> Vec<usize> {
    let mut counts = vec![1; shares.len()];
    // Numbers from 0 up are in the order of their bits.
    let mut each: BinaryHeap<(u64, Reverse<usize>)> =
        (0..).zip(shares).map(|(expert, share)| (share.to_bits(), Reverse(expert))).collect();
    for _ in shares.len()..n_slots {
        let Some((_, Reverse(expert))) = each.pop() else { break };
        counts[expert] += 1;
        let share = shares[expert] / counts[expert] as f64;
        each.push((share.to_bits(), Reverse(expert)));
    }
    counts
}

/// What fills the other slots of a device at least.
fn beside(shares: &[f64], shape: &Shape) -> f64 {
    let n = shape.slots.saturating_sub(1);
    let spare = shape.n_slots().saturating_sub(shares.len());
    let mut sorted = shares.to_vec();
    sorted.sort_by(f64::total_cmp);
    match spare {
        0 => sorted.iter().take(n).sum(),
        _ => n as f64 * sorted.first().copied().unwrap_or_default() / (spare + 1) as f64,
    }
}

fn pairs(shares: &[f64], shape: &Shape) -> f64 {
    let n_devices = shape.host.len();
    let spare = shape.n_slots().saturating_sub(shares.len());
    let mut sorted = shares.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let of = |k: usize| {
        let last = k * n_devices + spare;
        sorted.get(last.checked_sub(k)?..=last).map(|window| window.iter().sum::<f64>())
    };
    (1..shape.slots).map_while(of).fold(0.0, f64::max)
}

fn hosts(shares: &[f64], shape: &Shape) -> f64 {
    let n_hosts = shape.n_hosts();
    if shape.groups <= 1 || n_hosts == 0 || !shape.groups.is_multiple_of(n_hosts) {
        return 0.0;
    }
    let mut groups = vec![Vec::new(); shape.groups];
    for (expert, share) in shares.iter().enumerate() {
        if let Some(group) = groups.get_mut(shape.group(expert, shares.len())) {
            group.push(*share);
        }
    }
    let others = shares.len() / n_hosts - shares.len() / shape.groups;
    let slots = (shape.n_slots() / n_hosts).saturating_sub(others);
    let alone = |group: &Vec<f64>| {
        let counts = counts(group, slots);
        group.iter().zip(counts).map(|(share, n)| share / n as f64).fold(0.0, f64::max)
    };
    let alone = groups.iter().map(alone).fold(0.0, f64::max);
    let mut sums: Vec<f64> = groups.iter().map(|group| group.iter().sum()).collect();
    sums.sort_by(f64::total_cmp);
    let beside: f64 = sums.iter().take(shape.groups / n_hosts - 1).sum();
    let heaviest = sums.last().copied().unwrap_or_default();
    alone.max((heaviest + beside) * n_hosts as f64 / shape.host.len() as f64)
}
