//! What the search over degrees tries is what the rules of shapes allow, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use cost_model::kernels::stack::megatron_core;
use cost_model::runs::forms::constants::Constants;
use cost_model::runs::forms::model::{Pricing, shape};
use cost_model::runs::forms::system::System;
use ir::card::{
    Attention, ExpertCard, FeedForward, Head, ModelCard, SequenceParallel, TransformerCard,
};
use ir::measured::GpuFacts;
use ir::plan::Parallelism;
use planner::training::search_3d::space::{Pins, Space, shapes};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Data, tensor, pipeline, context, expert, samples of a micro-batch, micro-batches.
type Numbers = ([u32; 5], u64, u64);

fn numbers(degrees: &Parallelism) -> Numbers {
    let Parallelism { data, tensor, pipeline, context, expert, .. } = *degrees;
    ([data, tensor, pipeline, context, expert], degrees.micro_batch, degrees.n_micro_batches)
}

fn model(random: &mut SmallRng) -> ModelCard {
    let n_heads = random.random_range(1..=12);
    let n_kv_heads =
        (1..=n_heads).filter(|kv| n_heads % kv == 0).max_by_key(|_| random.random::<u8>());
    let experts = ExpertCard {
        n_experts: random.random_range(1..=12),
        per_token: 1,
        feed_forward: 64,
        n_shared: 0,
        ..Default::default()
    };
    ModelCard::uniform(TransformerCard {
        name: "random".to_owned(),
        n_layers: random.random_range(1..=8),
        hidden: 64 * n_heads,
        n_heads,
        n_kv_heads: n_kv_heads.unwrap_or(1),
        feed_forward: 256,
        form: FeedForward::Gated,
        sequence: random.random_range(1..=48),
        vocabulary: 1000,
        experts: Some(experts).filter(|_| random.random_bool(0.5)),
        attention: Attention::Even,
        head: Head::Separate,
    })
}

/// All degrees on so many devices that keep the rules, by trying every combination.
fn allowed(model: &ModelCard, n_devices: u32, batch: u64) -> BTreeSet<Numbers> {
    let mut found = BTreeSet::new();
    let divisors: Vec<u32> = (1..=n_devices).filter(|n| n_devices.is_multiple_of(*n)).collect();
    for tensor in &divisors {
        for context in &divisors {
            for pipeline in &divisors {
                let inner = tensor * context * pipeline;
                if !n_devices.is_multiple_of(inner) {
                    continue;
                }
                for expert in 1..=n_devices {
                    for micro_batch in 1..=batch {
                        let degrees = Parallelism {
                            data: n_devices / inner,
                            tensor: *tensor,
                            context: *context,
                            pipeline: *pipeline,
                            expert,
                            micro_batch,
                            n_micro_batches: batch / u64::from(n_devices / inner) / micro_batch,
                            ..Parallelism::default()
                        };
                        // Tensor ranks split an expert, or each has whole ones.
                        let whole = Parallelism {
                            expert_tensor: Some(1),
                            sequence: SequenceParallel::On,
                            ..degrees.clone()
                        };
                        let is_allowed = [&degrees, &whole]
                            .iter()
                            .any(|degrees| shape::broken(model, degrees, batch).is_empty());
                        if is_allowed {
                            found.insert(numbers(&degrees));
                        }
                    }
                }
            }
        }
    }
    found
}

#[test]
fn the_search_tries_what_the_rules_allow() {
    let mut random = SmallRng::seed_from_u64(9);
    let facts = GpuFacts {
        memory_bandwidth: 2.0e12,
        peak: 312e12,
        n_multiprocessors: 108,
        last_level_cache: None,
        clock: None,
    };
    let system = System::a100_hosts("test", &facts, BTreeMap::new(), 25e9).unwrap();
    let stack = megatron_core();
    let constants = Constants::nominal(&stack);
    let mut n_shapes = 0;
    for _ in 0..240 {
        let model = model(&mut random);
        let pricing = Pricing::unlimited(&model, &system, &stack, &constants);
        let n_devices = random.random_range(1..=16);
        let global_batch = random.random_range(1..=16);
        let space = Space { devices: vec![n_devices], global_batch, pins: Pins::default() };
        let tried: BTreeSet<Numbers> =
            shapes(&pricing, &space).iter().map(|shape| numbers(&shape.degrees)).collect();
        assert_eq!(tried, allowed(&model, n_devices, global_batch), "{model:?}");
        n_shapes += tried.len();
    }
    assert!(n_shapes > 500, "{n_shapes}");
}
