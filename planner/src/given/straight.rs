//! Straight pipelines of measured layers: the slowest stage is as fast as can be.
//!
//! # Decides
//! The stage of every layer.
//!
//! # Idea
//! Without replicas, memory and activations the problem is contiguous max-load on equal
//! accelerators whose transfers cost nothing.
//!
//! # Paper
//! Narayanan et al., "PipeDream: Generalized Pipeline Parallelism for DNN Training", SOSP 2019,
//! section 3.1. The authors search the states of one antichain order; here all ideals count.
//!
//! # Guarantee
//! Optimal where [`super::ideals`] is.
//!
//! # Complexity
//! That of [`super::ideals`].
//!
//! # Limits
//! No replicated stages. No door to models: transfers cost nothing here, which no objective of
//! models says; the same program with transfers is [`super::ideals`], which has one.
//!
//! # Example
//! Layers of 3, 1 and 2 ms on two devices: stages of 3 and 3 ms.

use cost_model::given::Goal;
use cost_model::given::straight::counted;
use ir::instance::{Instance, LayerProfile, LoadInstance, LoadNode};
use ir::op::Phase;
use ir::units::{Bytes, Nanos};

use super::ideals::{Found, Limits, program, solve as solve_ideals, tell};
use crate::given::runner::{Effort, Method};
use crate::run::algorithm::Guarantee;

/// How the row solves instances.
pub(crate) const METHOD: Method = Method {
    goals: &[Goal::SlowestStage],
    effort: Effort::Thorough,
    guarantee: Guarantee::Optimal,
    solve: |run, _| {
        let Instance::Profile(profile) = run.instance() else { return Ok(()) };
        let stop = || run.spend(program::PAIRS_PER_LOOK);
        tell(run, solve(profile, run.n_devices(), &Limits::default(), &stop))
    },
};

/// Stages in place of devices; layers that don't count are in the stage of a neighbour.
#[must_use]
pub fn solve(
    profile: &LayerProfile,
    n_devices: usize,
    limits: &Limits,
    stop: &dyn Fn() -> bool,
) -> Found {
    let counted = counted(profile);
    let nodes = profile.nodes.iter().zip(&counted).zip(0..).map(|((node, counted), source_id)| {
        let time = if *counted { node.forward + node.backward } else { Nanos::ZERO };
        LoadNode {
            source_id,
            name: node.id.clone(),
            cpu: time,
            accelerator: Some(time),
            transfer: Nanos::ZERO,
            bytes: Bytes::ZERO,
            colour: None,
            phase: Phase::Forward,
        }
    });
    let mut edges = profile.edges.clone();
    edges.sort_unstable();
    let instance = LoadInstance {
        name: profile.name.clone(),
        nodes: nodes.collect(),
        edges,
        n_colours: 0,
        n_accelerators: n_devices,
        n_cpus: 0,
        accelerator_memory: Bytes::MAX,
    };
    solve_ideals(&instance, limits, stop)
}
