//! Expert ranks that take tensor ranks: the search beside brute force over all that the rules of degrees
//! allow.

use std::sync::Arc;

use cost_model::kernels::stack::megatron_core;
use cost_model::runs::forms::constants::Constants;
use cost_model::runs::forms::model::priced::Passes;
use cost_model::runs::forms::model::shape::check;
use ir::card::{ExpertCard, ModelCard, SequenceParallel, ZeroStage};
use ir::plan::Parallelism;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::laws::{model, on_threads, pick, system};
use super::space::{Configuration, Pins, Shape, Space, leaves};
use super::*;
use crate::training::order::{Order, in_flight};

const DEVICES: u32 = 8;

/// A model whose blocks all have experts.
fn mixture(random: &mut SmallRng) -> ModelCard {
    let mut model = model(random);
    model.tuning = ir::tuning::Tuning::default();
    let experts = ExpertCard {
        n_experts: 8,
        per_token: 2,
        feed_forward: pick(random, &[256, 1024, 4096]),
        ..ExpertCard::default()
    };
    for group in &mut model.groups {
        group.card.experts = Some(experts);
        (group.card.n_heads, group.card.n_kv_heads) = (8, 4);
    }
    model
}

/// All degrees of so many devices that keep the rules, one replica's batch at a time, without a pipeline.
fn all_degrees(model: &ModelCard, global_batch: u64) -> Vec<Parallelism> {
    let to = |n: u32| 1..=n;
    let tensors = to(DEVICES).flat_map(|tensor| to(DEVICES).map(move |data| (tensor, data)));
    let ranks = tensors.flat_map(|pair| to(DEVICES).map(move |expert| (pair, expert)));
    let splits = ranks.flat_map(|all| (0..=DEVICES).map(move |of_expert| (all, of_expert)));
    let degrees = splits.map(|(((tensor, data), expert), of_expert)| Parallelism {
        tensor,
        data,
        expert,
        expert_tensor: Some(of_expert).filter(|n| *n > 0),
        n_micro_batches: global_batch / u64::from(data),
        sequence: if tensor > 1 { SequenceParallel::On } else { SequenceParallel::Off },
        ..Parallelism::default()
    });
    degrees
        .filter(|d| d.tensor * d.data == DEVICES && d.expert_tensor != Some(d.tensor))
        .filter(|d| check(model, d, global_batch).is_ok())
        .collect()
}

#[test]
fn no_split_of_experts_that_the_rules_allow_beats_the_search() {
    let (mut n_whole, mut n_between) = (0, 0);
    for seed in 0..40 {
        let mut random = SmallRng::seed_from_u64(seed);
        let model = mixture(&mut random);
        let system = system(pick(&mut random, &[4, 8]));
        let stack = megatron_core();
        let constants = Constants::nominal(&stack);
        let pins = Pins {
            pipeline: Some(1),
            context: Some(1),
            micro_batch: Some(1),
            orders: vec![Order::OneFOneB],
            // Where all hold whole layers, tensor ranks are of no use.
            zero: Some(ZeroStage::Optimizer),
            tensor: pick(&mut random, &[None, Some(2), Some(4)]),
            ..Pins::default()
        };
        let space = Space { devices: vec![DEVICES], global_batch: 8, pins };
        let pricing = Pricing::unlimited(&model, &system, &stack, &constants);
        let best = |pins: Pins| {
            let space = Space { pins, ..space.clone() };
            let found = solve(&pricing, &space, &Options { n_plans: 1, ..on_threads(1) });
            found.plans.first().map(|plan| (plan.step, plan.configuration.degrees.clone()))
        };
        let (found, degrees) = best(space.pins.clone()).unwrap();
        n_whole += u32::from(degrees.expert_tensor == Some(1));
        let of_tensor = |d: &Parallelism| space.pins.tensor.is_none_or(|pin| pin == d.tensor);
        for degrees in all_degrees(&model, 8).into_iter().filter(of_tensor) {
            let shape = Shape { n_devices: DEVICES, degrees: degrees.clone() };
            let (all, _) = leaves(&shape, &space, &pricing);
            let step = |configuration: &Configuration| {
                let passes = Arc::new(Passes::of(&pricing, &degrees));
                let priced = configuration.priced(pricing, passes);
                let in_flight = in_flight(configuration.order, &configuration.degrees, 8).unwrap();
                let fitter = fit::Fitter::new(&priced, configuration, &in_flight, f64::INFINITY);
                judge::judged(&priced, configuration, fitter.fit().unwrap()).unwrap().step
            };
            // One replica shares nothing out.
            let Some(least) = all.iter().map(step).min() else { continue };
            match degrees.expert_tensor {
                None | Some(1) => assert!(found <= least, "{seed} {degrees:?}"),
                // What is searched where it is pinned alone.
                Some(between) => {
                    let pins = Pins { expert_tensor: Some(between), ..space.pins.clone() };
                    let (pinned, _) = best(pins).unwrap();
                    assert!(pinned <= least, "{seed} {degrees:?}");
                    n_between += 1;
                }
            }
        }
    }
    assert!(n_whole >= 5 && n_between >= 50, "{n_whole} {n_between}");
}
