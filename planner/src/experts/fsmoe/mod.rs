//! Layers of experts in parts, and gradients beside them.
//!
//! # Decides
//! In how many parts the tokens of each layer go through it, forward and backward, and how many bytes
//! of gradients are summed up beside its backward pass and beside that of the rest of the layer.
//!
//! # Idea
//! Every number of parts from 1 to 64 is scored by the replay of the layer's pieces on its three
//! streams, whose orders are the paper's; numbers whose streams alone take longer than the best one are
//! passed over. Slices of gradients and the parts of backward passes are chosen together, by an exact
//! program over bytes hidden ([`gradients`]).
//!
//! # Paper
//! Pan et al., "FSMoE: A Flexible and Scalable Training System for Sparse Mixture-of-Experts Models",
//! ASPLOS 2025, arXiv:2501.10714, sections 4 and 5, which scores by a closed form of four cases
//! ([`Score::ClosedForm`]) and slices by differential evolution.
//!
//! # Guarantee
//! The best parts and slices to a byte of each layer, of all whose pieces run in the paper's order, while
//! states of the program are few enough not to be merged (4,096; fewer beyond 256 layers) and the first
//! layer makes gradients. The bound holds for every order of pieces, and always.
//!
//! # Complexity
//! A replay takes O(parts x log parts); slices take O(slots x states x parts), sorted.
//!
//! # Limits
//! Devices of a host share out each expert, hosts share out experts. Parts have as many tokens each.
//! Orders of pieces are not searched: others can be faster where gather and scatter differ much.
//!
//! # Example
//! Mixtral's layer on the paper's Testbed B takes 24.23 ms in 8 parts forward, and 45.29 ms in 6 backward.

pub mod gradients;
#[cfg(test)]
mod laws;
pub mod published;

use cost_model::streams::moe::{PartTimes, bound_s, closed_form_s, replayed_s};
use cost_model::streams::moe_step::{Layer, Model, Parts};

use gradients::{Line, Slice, Way};

/// Most parts of a layer.
pub const MOST_PARTS: u32 = 64;

/// How a number of parts is scored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Score {
    /// By the replay.
    #[default]
    Replay,
    /// By the paper's closed form.
    ClosedForm,
}

impl Score {
    /// Seconds of a layer in so many parts beside so many seconds of gradients.
    fn seconds(self, times: &PartTimes, n_parts: u32, gradients_s: f64) -> f64 {
        match self {
            Self::Replay => replayed_s(times, n_parts, gradients_s),
            Self::ClosedForm => closed_form_s(times, n_parts, gradients_s),
        }
    }
}

/// A step.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// By layer.
    pub layers: Vec<Parts>,
    /// Seconds of all layers, both passes, and of what follows them.
    pub seconds: f64,
    /// What no parts, slices and orders of pieces are below.
    pub bound_s: f64,
}

/// The best number of parts beside so many seconds of gradients, and its seconds as they are scored.
#[must_use]
pub fn best(times: &[PartTimes], gradients_s: f64, score: Score) -> (u32, f64) {
    let mut best = (0, f64::INFINITY);
    for (n, part_times) in (1..).zip(times) {
        // A stream alone takes as long as the best number of parts.
        if score == Score::Replay && bound_s(part_times, n, gradients_s) >= best.1 {
            continue;
        }
        let seconds = score.seconds(part_times, n, gradients_s);
        if seconds < best.1 {
            best = (n, seconds);
        }
    }
    best
}

/// Plans the layers of a model by the replay.
#[must_use]
pub fn solve(model: &Model) -> Planned {
    cut(model, Score::Replay)
}

/// Plans the layers of a model with parts scored either way; what it states is replayed.
#[must_use]
pub fn cut(model: &Model, score: Score) -> Planned {
    let mut slots = Vec::with_capacity(2 * model.layers.len());
    let mut existing = 0_u64;
    for kind in model.layers.iter().rev() {
        slots.extend([(2 * kind, existing), (2 * kind + 1, existing)]);
        existing = existing.saturating_add(model.kinds[*kind].gradient_bytes);
    }
    let reduce = model.reduce;
    let chosen = ways(model, |times, n| score.seconds(times, n, 0.0));
    // No order of a layer's pieces is below these.
    let least = ways(model, |times, n| bound_s(times, n, 0.0));
    let line = |kinds| Line { kinds, slots: &slots, all: existing, reduce };
    let forward: Vec<u32> =
        model.kinds.iter().map(|layer| best(&layer.forward, 0.0, score).0).collect();
    let slices = line(&chosen).sliced();
    let of_layer = |(kind, slices): (&usize, &[Slice])| Parts {
        forward: forward[*kind],
        backward: slices[0].parts,
        gradient_bytes: slices[0].bytes,
        others_gradient_bytes: slices[1].bytes,
    };
    let mut layers: Vec<Parts> =
        model.layers.iter().rev().zip(slices.chunks(2)).map(of_layer).collect();
    layers.reverse();
    let least_s = |layer: &Layer| {
        let each = (1..).zip(&layer.forward).map(|(n, times)| bound_s(times, n, 0.0));
        layer.others_s[0] + each.reduce(f64::min).unwrap_or_default()
    };
    let least_s: Vec<f64> = model.kinds.iter().map(least_s).collect();
    let forward_s: f64 = model.layers.iter().map(|kind| least_s[*kind]).sum();
    let bound_s = forward_s + line(&least).bound_s();
    let seconds = model.seconds(&layers);
    // The same times summed in another order differ in the last digits.
    let bound_s = if bound_s <= seconds * (1.0 + 1e-12) { bound_s.min(seconds) } else { bound_s };
    Planned { seconds, bound_s, layers }
}

/// By kind of layer the ways of its two slots: its experts in each number of parts, of so many seconds
/// alone, and the rest, beside which the link between hosts is idle.
fn ways(model: &Model, alone_s: impl Fn(&PartTimes, u32) -> f64) -> Vec<Vec<Way>> {
    let of = |layer: &Layer| {
        let way = |(n, times): (u32, &PartTimes)| {
            let busy_s = 2.0 * f64::from(n) * times.exchange_s;
            Way::new(n, (alone_s(times, n), busy_s), model.reduce)
        };
        let mut experts: Vec<Way> = (1..).zip(&layer.backward).map(way).collect();
        if experts.is_empty() {
            experts.push(Way::default());
        }
        [experts, vec![Way::new(0, (layer.others_s[1], 0.0), model.reduce)]]
    };
    model.kinds.iter().flat_map(of).collect()
}
