//! unlike-nodes: a pipeline of a training run over nodes of different kinds.
//!
//! # Decides
//! Which node group, part of one, or set of equal ones has which stage, in which order; blocks, tensor
//! degree, replicas and recompute of each stage; the samples of each replica; the micro-batch; whether
//! hosts keep optimizer states.
//!
//! # Idea
//! Stages are chosen from the last to the first, so that what each has to keep is known. Groups that
//! may change places in every plan are one class, of which the first free one is taken. A plan so far
//! is never faster than what its stages take for all micro-batches with what lies before them, the
//! blocks that are left spread over the devices that are left as if they could be cut anywhere (the dual
//! of a linear program). First a beam fills stages up to a target time, for plans, and plans near the
//! best one are tried; then the whole space is gone through, the most promising part of a plan first,
//! as far as bounds and limits let it.
//!
//! # Paper
//! None for the search. The space is that of Um et al., USENIX ATC 2024 (Metis): device groups with
//! degrees of their own, uneven layers and data; order and sizes of the groups are free here.
//!
//! # Guarantee
//! Where the search finishes, no plan of the space is better under the judge's model: 1F1B, one
//! micro-batch size, every stage on devices of one group (in their order, up to 64 or an equal part; stages
//! of a group anywhere in the pipeline), or on whole groups of equal size of at most two classes; equal
//! samples for replicas of a class, between classes those with which the stage is fastest, of equally fast
//! ones the most even; the least of no, selective and full recompute with which it fits; replicas share out
//! optimizer states, tensor ranks split the sequence; all hosts keep optimizer states or none does. Where
//! edges may send a part, no plan is below [`Found::bound`] whatever each of them leaves out. Else
//! [`Found::bound`] holds: what no part of a plan that was left out is below.
//!
//! # Complexity
//! Exponential in groups and stages at worst; the caller's limits, [`Options::nodes`] and the memory of
//! half a million parts of plans end it.
//!
//! # Limits
//! Models of equal blocks without experts. Context degree 1. At most [`most_samples`] of a micro-batch on
//! one replica.
//!
//! # Example
//! `meshwright train config.json --cluster mixed.yaml --global-batch 128`, where nodes of the cluster are
//! of several kinds.

mod edges;
mod least;
mod prices;
mod search;
mod shapes;

#[cfg(test)]
mod edge_laws;
#[cfg(test)]
mod far_laws;
#[cfg(test)]
mod laws;

use std::sync::Arc;

use cost_model::runs::oracle::Offload;
use cost_model::runs::unlike::Fleet;
use ir::plan::Plan;
use ir::units::Nanos;

use crate::run::{Control, StopReason};
use prices::{Prices, Systems};
use search::Searched;
use shapes::{Classes, shapes};

/// Most samples of a micro-batch on one replica, where steps have enough divisors.
const USUAL_SAMPLES: u64 = 64;
/// Most samples of a micro-batch on one replica.
const MOST_SAMPLES: u64 = 1024;
/// So many times a micro-batch may be the next smaller one.
const DENSE: u64 = 4;

/// How a search runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Limits; a node is a plan, or a part of one, that was looked at.
    pub control: Arc<Control>,
    /// Parts of plans that the search of the whole space looks at; twice as many are near good plans.
    pub nodes: u64,
    /// Parts of plans that the beam keeps.
    pub width: usize,
    /// Devices that a plan has at most.
    pub devices: usize,
    /// Only plans that are faster are sought; that there are none proves it as a bound.
    pub below: Nanos,
    /// Of what goes between stages, most elements over those that are sent; 1 = all are.
    pub edge_ratio: u32,
    /// Whether hosts may keep optimizer states.
    pub may_offload: bool,
}

impl Default for Options {
    fn default() -> Self {
        let control = Arc::default();
        let below = Nanos(u64::MAX);
        Self {
            control,
            nodes: 3_000_000,
            width: 12,
            devices: usize::MAX,
            below,
            edge_ratio: 1,
            may_offload: false,
        }
    }
}

/// A plan with its step.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The plan.
    pub plan: Plan,
    /// Its step.
    pub step: Nanos,
    /// What hosts keep.
    pub offload: Offload,
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The best plan, where one fits.
    pub best: Option<Judged>,
    /// What no plan of the space is below.
    pub bound: Nanos,
    /// Why it ended; [`StopReason::Finished`] where no plan of the space is below the bound.
    pub stop: StopReason,
    /// Parts of plans that were looked at.
    pub n_nodes: u64,
    /// Plans that were judged.
    pub n_judged: u64,
}

impl Found {
    /// Whether no plan of the space is better.
    #[must_use]
    pub fn is_optimum(&self) -> bool {
        self.stop.is_complete() && self.best.as_ref().is_none_or(|best| best.step <= self.bound)
    }
}

/// A search of a fleet for the best plan of so many samples, which tells of better plans as they come.
pub type Search = fn(&Fleet<'_>, u64, &Options, &mut dyn FnMut(&Judged, Nanos)) -> Found;

/// Searches.
#[must_use]
pub fn solve(
    fleet: &Fleet<'_>,
    global_batch: u64,
    options: &Options,
    observer: &mut dyn FnMut(&Judged, Nanos),
) -> Found {
    match options.edge_ratio {
        0 | 1 => searched(fleet, global_batch, options, observer),
        _ => edges::solve(fleet, global_batch, options, observer),
    }
}

fn searched(
    fleet: &Fleet<'_>,
    global_batch: u64,
    options: &Options,
    observer: &mut dyn FnMut(&Judged, Nanos),
) -> Found {
    let classes = Classes::of(fleet);
    let shapes = shapes(&classes);
    let systems = Systems::of((fleet, &classes), &shapes);
    let n_devices = fleet.groups.iter().map(|group| group.devices.len()).sum();
    let most = most_samples(global_batch, n_devices);
    let mut fleets = vec![fleet.keeping(Offload::Nothing)];
    // What fits anywhere is never faster with states elsewhere.
    if options.may_offload && fleet.groups.iter().any(|group| group.limit.is_some()) {
        fleets.push(fleet.keeping(Offload::Optimizer));
    }
    let prices = Prices::new((&fleets, &classes), (&shapes, &systems), most);
    Searched::new((&fleets, &classes, &shapes), prices, (global_batch, options)).run(observer)
}

/// Most samples of a micro-batch on one of so many devices, in a step of so many samples: more where few
/// numbers divide them.
#[must_use]
pub fn most_samples(global_batch: u64, n_devices: usize) -> u64 {
    let n = n_devices.max(1) as u64;
    let usual = n.saturating_mul(USUAL_SAMPLES);
    let within = divisors(global_batch, usual).last().copied().unwrap_or(1);
    let next = (usual + 1..=n.saturating_mul(MOST_SAMPLES).min(global_batch))
        .find(|divisor| global_batch.is_multiple_of(*divisor));
    let next = next.filter(|next| *next > DENSE * within);
    next.map_or(USUAL_SAMPLES, |next| (2 * next.div_ceil(n)).clamp(USUAL_SAMPLES, MOST_SAMPLES))
}

/// Micro-batches of a step of so many samples, up to so many.
fn divisors(n: u64, most: u64) -> Vec<u64> {
    (1..=n.min(most)).filter(|divisor| n.is_multiple_of(*divisor)).collect()
}
