//! Layers of experts in parts, and gradients beside them.
//!
//! # Decides
//! In how many parts the tokens of each layer go through it, forward and backward, and how many bytes
//! of gradients are summed up beside its backward pass and beside that of the rest of the layer.
//!
//! # Idea
//! Every number of parts from 1 to 64 is scored by the replay of the layer's pieces on its three
//! streams; numbers whose streams alone take longer than the best one are passed over. Gradients are
//! sliced by an exact program over equal units of bytes, in which a layer takes the best number of parts
//! beside its slice.
//!
//! # Paper
//! Pan et al., "FSMoE: A Flexible and Scalable Training System for Sparse Mixture-of-Experts Models",
//! ASPLOS 2025, arXiv:2501.10714, sections 4 and 5, which scores by a closed form of four cases
//! ([`Score::ClosedForm`]) and slices by differential evolution.
//!
//! # Guarantee
//! The best number of parts of each layer, and the best slices in their units; a bound for slices of any
//! size.
//!
//! # Complexity
//! A replay takes O(parts x log parts); slices take O(slots x units^2).
//!
//! # Limits
//! Devices of a host share out each expert, hosts share out experts. Parts have as many tokens each.
//!
//! # Example
//! Mixtral's layer on the paper's Testbed B takes 24.23 ms in 8 parts forward, and 45.29 ms in 6 backward.

pub mod gradients;
#[cfg(test)]
mod laws;
pub mod published;

use cost_model::streams::moe::{PartTimes, bound_s, closed_form_s, replayed_s};
use cost_model::streams::moe_step::{Layer, Model, Parts};

use gradients::{Line, Slot, n_units};

/// Most parts of a layer.
pub const MOST_PARTS: u32 = 64;
/// Units that gradients are sliced in, about.
const UNITS: u64 = 128;

/// How a number of parts is scored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Score {
    /// By the replay.
    #[default]
    Replay,
    /// By the paper's closed form.
    ClosedForm,
}

/// A step.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// By layer.
    pub layers: Vec<Parts>,
    /// Seconds of all layers, both passes, and of what follows them.
    pub seconds: f64,
    /// What no parts and slices are below.
    pub bound_s: f64,
}

/// The best number of parts beside so many seconds of gradients, and its seconds as they are scored.
#[must_use]
pub fn best(times: &[PartTimes], gradients_s: f64, score: Score) -> (u32, f64) {
    let mut best = (0, f64::INFINITY);
    for (n, own) in (1..).zip(times) {
        let seconds = match score {
            // A stream alone takes as long as the best number of parts.
            Score::Replay if bound_s(own, n, gradients_s) >= best.1 => continue,
            Score::Replay => replayed_s(own, n, gradients_s),
            Score::ClosedForm => closed_form_s(own, n, gradients_s),
        };
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
    let Model { kinds, layers, reduce } = model;
    let all = model.gradient_bytes();
    let unit = unit(model);
    let of_units = |n: usize| reduce.seconds((n as u64).saturating_mul(unit).min(all));
    let gradients_s: Vec<f64> = (0..=n_units(all, unit)).map(of_units).collect();
    let beside = |own: &Layer| -> Vec<u32> {
        gradients_s.iter().map(|own_s| best(&own.backward, *own_s, score).0).collect()
    };
    let chosen: Vec<Vec<u32>> = kinds.iter().map(beside).collect();
    // Two slots of each kind: its experts, and the rest.
    let slots_of = |(own, chosen): (&Layer, &Vec<u32>)| {
        [experts(own, chosen, &gradients_s), others(own, &gradients_s)]
    };
    let slots: Vec<Slot> = kinds.iter().zip(&chosen).flat_map(slots_of).collect();
    let mut line = Vec::new();
    let mut existing = 0_u64;
    for kind in layers.iter().rev() {
        line.extend([(2 * kind, existing), (2 * kind + 1, existing)]);
        existing = existing.saturating_add(kinds[*kind].gradient_bytes);
    }
    let line = Line { kinds: &slots, slots: &line, unit, all, reduce: *reduce };
    let sliced = line.sliced();
    let forward: Vec<(u32, f64)> =
        kinds.iter().map(|own| best(&own.forward, 0.0, Score::Replay)).collect();
    let mut sent = 0;
    let mut bytes = |units: usize| {
        let before = line.bytes(sent);
        sent += units;
        line.bytes(sent) - before
    };
    let planned = layers.iter().rev().zip(sliced.units.chunks(2)).map(|(kind, units)| Parts {
        forward: match score {
            Score::Replay => forward[*kind].0,
            Score::ClosedForm => best(&kinds[*kind].forward, 0.0, score).0,
        },
        backward: chosen[*kind][units[0]],
        gradient_bytes: bytes(units[0]),
        others_gradient_bytes: bytes(units[1]),
    });
    let mut planned: Vec<Parts> = planned.collect();
    planned.reverse();
    let forward_s = |kind: &usize| {
        let experts_s = Some(forward[*kind].1).filter(|own| own.is_finite());
        kinds[*kind].others_s[0] + experts_s.unwrap_or_default()
    };
    Planned {
        seconds: model.seconds(&planned),
        bound_s: layers.iter().map(forward_s).sum::<f64>() + line.bound_s(),
        layers: planned,
    }
}

/// Bytes of a unit: of the layers that make most gradients each makes as many whole ones.
fn unit(model: &Model) -> u64 {
    let most = model.kinds.iter().map(|own| own.gradient_bytes).max().unwrap_or_default();
    let each = (UNITS / model.layers.len().max(1) as u64).max(1);
    // However much other kinds make, there are no more than twice as many units.
    most.div_ceil(each).max(model.gradient_bytes() / (2 * UNITS)).max(1)
}

/// The backward pass of a kind's experts beside gradients, in the parts that were chosen for each.
fn experts(own: &Layer, chosen: &[u32], gradients_s: &[f64]) -> Slot {
    let at = |n: u32| (n as usize).checked_sub(1).and_then(|at| own.backward.get(at));
    let beside = |(n, gradients_s): (&u32, &f64)| match at(*n) {
        Some(times) => replayed_s(times, *n, *gradients_s),
        // Without experts nothing is beside them.
        None if *gradients_s > 0.0 => f64::INFINITY,
        None => 0.0,
    };
    let alone = |(n, own): (u32, &PartTimes)| {
        (replayed_s(own, n, 0.0), 2.0 * f64::from(n) * own.exchange_s)
    };
    let mut alone_s: Vec<(f64, f64)> = (1..).zip(&own.backward).map(alone).collect();
    if alone_s.is_empty() {
        alone_s.push((0.0, 0.0));
    }
    Slot { beside_s: chosen.iter().zip(gradients_s).map(beside).collect(), alone_s }
}

/// The backward pass of the rest of a layer, beside which the link between hosts is idle.
fn others(own: &Layer, gradients_s: &[f64]) -> Slot {
    let alone_s = own.others_s[1];
    Slot {
        beside_s: gradients_s.iter().map(|own_s| own_s.max(alone_s)).collect(),
        alone_s: vec![(alone_s, 0.0)],
    }
}
