//! A layer of experts whose tokens go through it in parts (FSMoE, arXiv:2501.10714, section 4).
//!
//! Tensor ranks and the shards of an expert are the devices of a host; experts lie on hosts. A part of
//! the tokens is sent to its experts' hosts, gathered inside them, computed, summed up and scattered, and
//! sent back:
//!
//! ```text
//! inter-node   dispatch of every part; all-reduce of gradients; combine of every part
//! intra-node   gather and scatter, the first that is ready
//! compute      experts, part by part
//! ```
//!
//! With `n` parts of `a` (a dispatch, and a combine), `g`, `e` and `s` seconds and `t` of gradients, the
//! closed form takes the greatest of
//!
//! ```text
//! inter-node with gradients   2 n a + t
//! experts                     2 a + g + s + n e
//! exchange                    2 n a + g + s
//! intra-node                  2 a + n (g + s)
//! ```
//!
//! It is never below the replay where `g = s`, and else may be.

use super::replay::replay;
use super::{Cell, Order, Piece, Resource, Slowdowns, Stream};

/// Names of the ops, by their numbers; the last two are those of [`super::groups`].
pub const OPS: [&str; 8] =
    ["dispatch", "gather", "experts", "scatter", "combine", "gradients", "attention", "shared"];
const DISPATCH: u32 = 0;
const GATHER: u32 = 1;
const EXPERTS: u32 = 2;
const SCATTER: u32 = 3;
const COMBINE: u32 = 4;
const GRADIENTS: u32 = 5;

/// Seconds of one part.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PartTimes {
    /// Of its dispatch, and of its combine.
    pub exchange_s: f64,
    /// Of gathering it inside a host.
    pub gather_s: f64,
    /// Of its experts.
    pub experts_s: f64,
    /// Of summing it up and scattering it inside a host.
    pub scatter_s: f64,
}

/// A layer in so many parts, between whose exchanges gradients are summed up for so long.
#[must_use]
pub fn cell(times: &PartTimes, n_parts: u32, gradients_s: f64) -> Cell {
    let n = n_parts.max(1) as usize;
    let stream = |resource, order| Stream { resource, order };
    let mut inter: Vec<usize> = (0..n).collect();
    inter.extend((gradients_s > 0.0).then_some(5 * n));
    inter.extend(4 * n..5 * n);
    let mut cell = Cell::new([
        stream(Resource::Compute, Order::Stated((2 * n..3 * n).collect())),
        stream(Resource::IntraNode, Order::FirstReady),
        stream(Resource::InterNode, Order::Stated(inter)),
    ]);
    let ops = [
        (DISPATCH, 2, times.exchange_s),
        (GATHER, 1, times.gather_s),
        (EXPERTS, 0, times.experts_s),
        (SCATTER, 1, times.scatter_s),
        (COMBINE, 2, times.exchange_s),
    ];
    for (at, (op, stream, seconds)) in ops.into_iter().enumerate() {
        for part in 0..n {
            // Each op waits for the one before it of the same part.
            let after = at.checked_sub(1).map(|before| before * n + part).into_iter().collect();
            let part = part as u32;
            cell.add(Piece { op, nano_batch: 0, part, stream, seconds, after });
        }
    }
    if gradients_s > 0.0 {
        let (op, seconds, after) = (GRADIENTS, gradients_s, Vec::new());
        cell.add(Piece { op, nano_batch: 0, part: 0, stream: 2, seconds, after });
    }
    cell
}

/// Seconds of a layer by the replay.
#[must_use]
pub fn replayed_s(times: &PartTimes, n_parts: u32, gradients_s: f64) -> f64 {
    let times = replay(&cell(times, n_parts, gradients_s), &Slowdowns::default());
    // Pieces wait for earlier ones alone.
    times.map_or(f64::INFINITY, |times| times.seconds())
}

/// Seconds of a layer by the closed form.
#[must_use]
pub fn closed_form_s(times: &PartTimes, n_parts: u32, gradients_s: f64) -> f64 {
    let PartTimes { exchange_s: a, gather_s: g, experts_s: e, scatter_s: s } = *times;
    let n = f64::from(n_parts.max(1));
    let cases = [
        2.0 * n * a + gradients_s,
        2.0 * a + g + s + n * e,
        2.0 * n * a + g + s,
        2.0 * a + n * (g + s),
    ];
    cases.into_iter().fold(0.0, f64::max)
}

/// Seconds that the replay is not below: what each stream carries between the first dispatch and the
/// last combine, and the way of the last part.
#[must_use]
pub fn bound_s(times: &PartTimes, n_parts: u32, gradients_s: f64) -> f64 {
    let PartTimes { exchange_s: a, gather_s: g, experts_s: e, scatter_s: s } = *times;
    let n = f64::from(n_parts.max(1));
    let way = (n + 1.0) * a + g + e + s;
    let streams = [2.0 * n * a + gradients_s, 2.0 * a + g + s + n * e, 2.0 * a + n * (g + s)];
    streams.into_iter().fold(way, f64::max)
}
