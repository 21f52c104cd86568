//! What is fixed never makes a plan better: random pinned searches against the free one.

use std::collections::BTreeMap;

use cost_model::kernels::stack::megatron_core;
use cost_model::runs::forms::constants::Constants;
use cost_model::runs::forms::model::Pricing;
use cost_model::runs::forms::system::System;
use exporters::runs::targets;
use exporters::training::Policy;
use ir::card::{
    Attention, BlockGroup, ExpertCard, FeedForward, Head, ModelCard, SequenceParallel,
    TransformerCard, ZeroStage,
};
use ir::measured::GpuFacts;
use ir::plan::Mesh;
use ir::units::Bytes;
use planner::training::order::Order;
use planner::training::search_3d::min_memory::least;
use planner::training::search_3d::space::{Capabilities, Pins, RecomputeRule, Space, Split};
use planner::training::search_3d::{Options, solve};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const N_CASES: u64 = 25;
const SEARCHES_OF_A_CASE: u64 = 20;
/// Share by which a pinned plan may be faster.
const TOLERANCE: f64 = 5e-4;

fn pick<T: Copy>(random: &mut SmallRng, of: &[T]) -> T {
    of[random.random_range(0..of.len())]
}

fn model(random: &mut SmallRng) -> ModelCard {
    let hidden = pick(random, &[512, 1024, 2048]);
    let experts = ExpertCard {
        n_experts: 8,
        per_token: 2,
        feed_forward: hidden,
        n_shared: 0,
        ..Default::default()
    };
    let card = TransformerCard {
        name: "random".to_owned(),
        n_layers: 0,
        hidden,
        n_heads: 8,
        n_kv_heads: pick(random, &[2, 4, 8]),
        feed_forward: 4 * hidden,
        form: pick(random, &[FeedForward::Plain, FeedForward::Gated]),
        sequence: pick(random, &[256, 1024]),
        vocabulary: pick(random, &[8_000, 50_000]),
        experts: random.random_bool(0.4).then_some(experts),
        attention: Attention::Even,
        head: pick(random, &[Head::Tied, Head::Separate]),
    };
    let n_blocks = random.random_range(6..=14);
    ModelCard {
        name: "random".to_owned(),
        groups: vec![BlockGroup::of_card(card, n_blocks)],
        n_predictions: 1,
        other_parameters: [0; 2],
        dtype: None,
        stored: None,
        tuning: Default::default(),
    }
}

fn system(per_host: u64) -> System {
    let facts = GpuFacts {
        memory_bandwidth: 2.0e12,
        peak: 312e12,
        n_multiprocessors: 108,
        last_level_cache: None,
        clock: None,
    };
    let mut system = System::a100_hosts("test", &facts, BTreeMap::new(), 25e9).unwrap();
    system.per_host = per_host;
    system
}

/// What a launcher has words for, as `--for` takes it.
fn capabilities(random: &mut SmallRng) -> Capabilities {
    let row = targets().nth(random.random_range(0..targets().count())).unwrap();
    let recomputes = row.recomputes.map_or(&RecomputeRule::FREE[..], |policies| {
        let again = policies.iter().map(|policy| match policy {
            Policy::None => RecomputeRule::None,
            Policy::Selective => RecomputeRule::Selective,
            Policy::PerOp => RecomputeRule::PerOp,
            Policy::Block => RecomputeRule::Alike,
            Policy::Full => RecomputeRule::Full,
        });
        &*again.collect::<Vec<_>>().leak()
    });
    Capabilities {
        target: row.name,
        accepts: row.accepts,
        offloaded: row.offloaded,
        splits: row.splits,
        recomputes,
        by_block: true,
        expert_overlap: false,
        expert_tensor: true,
    }
}

const KEYS: [&str; 15] = [
    "data",
    "tensor",
    "pipeline",
    "context",
    "expert",
    "expert-tensor",
    "micro-batch",
    "virtual-stages",
    "schedule",
    "recompute",
    "zero",
    "sequence-parallel",
    "split",
    "mesh",
    "for",
];

fn pin(random: &mut SmallRng, key: &str, pins: &mut Pins) {
    match key {
        "data" => pins.data = Some(pick(random, &[1, 2, 4])),
        "tensor" => pins.tensor = Some(pick(random, &[1, 2, 4])),
        "pipeline" => pins.pipeline = Some(pick(random, &[1, 2, 4])),
        "context" => pins.context = Some(pick(random, &[1, 1, 2])),
        "expert" => pins.expert = Some(pick(random, &[1, 1, 2, 4])),
        "expert-tensor" => pins.expert_tensor = Some(pick(random, &[1, 1, 2])),
        "micro-batch" => pins.micro_batch = Some(pick(random, &[1, 2, 4])),
        "virtual-stages" => pins.virtual_stages = Some(pick(random, &[1, 2, 3])),
        "schedule" => pins.orders = vec![pick(random, &Order::ALL)],
        "recompute" => {
            let policies = [
                RecomputeRule::None,
                RecomputeRule::Selective,
                RecomputeRule::PerOp,
                RecomputeRule::Full,
                RecomputeRule::Alike,
            ];
            pins.recompute = pick(random, &policies);
        }
        "zero" => {
            let zeros = [
                ZeroStage::None,
                ZeroStage::Optimizer,
                ZeroStage::Gradients,
                ZeroStage::Parameters,
            ];
            pins.zero = Some(pick(random, &zeros));
        }
        "sequence-parallel" => {
            pins.sequence = Some(pick(random, &[SequenceParallel::Off, SequenceParallel::On]));
        }
        "split" => pins.split = Some(pick(random, &[Split::Balanced, Split::Equal])),
        "mesh" => pins.mesh = Some(pick(random, &[Mesh::TpCpDpPp, Mesh::TpCpPpDp])),
        _ => pins.capabilities = Some(capabilities(random)),
    }
}

#[test]
fn no_pinned_search_beats_the_free_one_or_falls_below_its_bound() {
    let mut n_pinned: BTreeMap<&str, u32> = BTreeMap::new();
    let mut n_for: BTreeMap<&str, u32> = BTreeMap::new();
    let (mut n_plans, mut faults) = (0, Vec::new());
    let stack = megatron_core();
    let constants = Constants::nominal(&stack);
    let one = Options { n_plans: 1, ..Options::default() };
    for case in 0..N_CASES {
        let mut random = SmallRng::seed_from_u64(case);
        let model = model(&mut random);
        let system = system(pick(&mut random, &[2, 4, 8]));
        let free = Space {
            devices: vec![pick(&mut random, &[4, 8])],
            global_batch: pick(&mut random, &[8, 16]),
            pins: Pins::default(),
        };
        let mut pricing = Pricing::unlimited(&model, &system, &stack, &constants);
        let need = least(&pricing, &free, &one).unwrap().bytes() as f64;
        let factor = pick(&mut random, &[1.3, 2.0, 4.0]);
        pricing.limit = Some(Bytes((need * factor) as u64));
        let best = solve(&pricing, &free, &one);
        assert!(best.stop.is_complete());
        let best_s = best.plans[0].step.seconds();
        assert!(best.bound_s <= best_s);
        for index in 0..SEARCHES_OF_A_CASE {
            // Each key in its turn, and others beside it.
            let first = KEYS[((case * SEARCHES_OF_A_CASE + index) % KEYS.len() as u64) as usize];
            let mut pins = Pins::default();
            pin(&mut random, first, &mut pins);
            let mut keys = vec![first];
            for _ in 0..random.random_range(0..=2) {
                let key = pick(&mut random, &KEYS);
                pin(&mut random, key, &mut pins);
                keys.push(key);
            }
            keys.sort_unstable();
            keys.dedup();
            keys.iter().for_each(|key| *n_pinned.entry(key).or_default() += 1);
            if let Some(capabilities) = pins.capabilities {
                *n_for.entry(capabilities.target).or_default() += 1;
            }
            let pinned = solve(&pricing, &Space { pins: pins.clone(), ..free.clone() }, &one);
            let Some(plan) = pinned.plans.first() else { continue };
            n_plans += 1;
            let own_s = plan.step.seconds();
            if own_s < best_s * (1.0 - TOLERANCE) || own_s < best.bound_s {
                faults.push(format!(
                    "case {case}.{index}: {own_s} < {best_s}, bound {}: {pins:?} {:?}",
                    best.bound_s, plan.configuration
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}: {}", faults.len(), faults.join("\n"));
    assert!(n_plans >= 300, "{n_plans}");
    assert!(KEYS.iter().all(|key| n_pinned.get(key).is_some_and(|n| *n >= 30)), "{n_pinned:?}");
    assert_eq!(n_for.len(), targets().count(), "{n_for:?}");
}
