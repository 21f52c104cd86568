//! The pruned search finds what judging everything finds, and its bounds hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use cost_model::kernels::stack::{
    compiled, megatron_bridge, megatron_core, megatron_deepspeed_2021, megatron_lm_tests,
    torchtitan, torchtune,
};
use cost_model::runs::forms::constants::Constants;
use cost_model::runs::forms::run::Gradients;
use cost_model::runs::forms::system::System;
use ir::card::{
    Attention, BlockGroup, ExpertCard, FeedForward, Head, ModelCard, SequenceParallel, StateFormat,
    TransformerCard,
};
use ir::measured::GpuFacts;
use ir::stack::Stack;
use ir::tuning::{Adapter, AdapterKind, BaseWeights, Module, Modules, Tuning};
use ir::units::{Bytes, BytesPerSecond};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::space::{Pins, RecomputeRule, Split, leaves};
use super::*;
use crate::run::{Limits, StopReason};
use crate::training::order::{Order, in_flight};

/// What may be pinned of recompute.
/// Seconds that no step of these models takes.
const FAR: f64 = 1e3;

const POLICIES: [RecomputeRule; 5] = [
    RecomputeRule::None,
    RecomputeRule::Selective,
    RecomputeRule::PerOp,
    RecomputeRule::Full,
    RecomputeRule::Alike,
];

pub(super) fn system(per_host: u64) -> System {
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

/// The same with a slow network, one card for a host, or both.
fn with_links(mut system: System, seed: u64) -> System {
    let rate = [25e9, 0.5e9][(seed / 6 % 2) as usize];
    system.network.rate = BytesPerSecond::new(rate).unwrap();
    system.per_card = [1, system.per_host][(seed / 12 % 2) as usize];
    system
}

pub(super) fn pick<T: Copy>(random: &mut SmallRng, of: &[T]) -> T {
    of[random.random_range(0..of.len())]
}

/// A small model of one or two kinds of blocks.
pub(super) fn model(random: &mut SmallRng) -> ModelCard {
    let form = pick(random, &[FeedForward::Plain, FeedForward::Gated]);
    let hidden = pick(random, &[256, 512, 1024]);
    let card = TransformerCard {
        name: "random".to_owned(),
        n_layers: 0,
        hidden,
        n_heads: 4,
        n_kv_heads: pick(random, &[1, 2, 4]),
        feed_forward: 4 * hidden,
        form,
        sequence: pick(random, &[128, 512]),
        vocabulary: pick(random, &[1000, 32_000]),
        experts: None,
        attention: Attention::Even,
        head: pick(random, &[Head::Tied, Head::Separate]),
    };
    let first = random.random_range(1..=5);
    let mut groups = vec![BlockGroup::of_card(card.clone(), first)];
    if random.random_bool(0.3) {
        let experts = ExpertCard {
            n_experts: 4,
            per_token: 2,
            feed_forward: pick(random, &[1, 1, 8]) * hidden,
            n_shared: 1,
            ..Default::default()
        };
        let with = TransformerCard { experts: Some(experts), ..card.clone() };
        let n_blocks = random.random_range(1..=2);
        let extra_weights = hidden * hidden;
        let group = BlockGroup { extra_weights, ..BlockGroup::of_card(with, n_blocks) };
        groups.insert(random.random_range(0..=1), group);
        if random.random_bool(0.3) {
            groups.push(BlockGroup::of_card(card, 1));
        }
    }
    let tuning = tuning(first, groups[0].n_blocks);
    ModelCard {
        name: "random".to_owned(),
        groups,
        n_predictions: 1,
        other_parameters: [0; 2],
        dtype: None,
        stored: None,
        tuning,
    }
}

/// What is trained of a model: all of it, adapters, or all but its first blocks and embedding.
fn tuning(first: u32, frozen_blocks: u32) -> Tuning {
    let adapter = Adapter {
        kind: AdapterKind::Lora,
        rank: 8,
        targets: Modules::ATTENTION,
        whole: Modules::default(),
        base: if frozen_blocks > 2 { BaseWeights::Nf4 } else { BaseWeights::Wide },
        is_wide: false,
    };
    match first {
        2 => Tuning { adapter: Some(adapter), ..Tuning::default() },
        4 => Tuning {
            frozen: Modules::default().with(Module::Embedding),
            frozen_blocks,
            ..Tuning::default()
        },
        _ => Tuning::default(),
    }
}

/// A space that is small enough to judge all of it.
pub(super) fn space(random: &mut SmallRng) -> Space {
    let orders: Vec<Order> =
        (0..random.random_range(1..=3)).map(|_| pick(random, &Order::ALL)).collect();
    let mut pins = Pins { orders, ..Pins::default() };
    if random.random_bool(0.3) {
        pins.recompute = pick(random, &POLICIES);
    }
    if random.random_bool(0.3) {
        pins.split = Some(pick(random, &[Split::Balanced, Split::Equal]));
    }
    if random.random_bool(0.5) {
        pins.micro_batch = Some(1);
    }
    if random.random_bool(0.4) {
        pins.context = Some(1);
    }
    Space {
        devices: vec![pick(random, &[1, 2, 2, 3, 4, 4])],
        global_batch: pick(random, &[2, 3, 4, 6]),
        pins,
    }
}

/// Stacks that overlap exchanges and tensor collectives, or not, and whose hosts bind, or not.
pub(super) fn stacks() -> [Stack; 7] {
    [
        megatron_core(),
        compiled(),
        megatron_bridge(),
        torchtitan(),
        megatron_deepspeed_2021(),
        megatron_lm_tests(),
        torchtune(),
    ]
}

pub(super) fn on_threads(threads: usize) -> Options {
    in_two(&Limits { threads, ..Limits::default() })
}

/// With what teams try first before the others, already where shapes are few.
fn in_two(limits: &Limits) -> Options {
    Options { n_at_once: 6, ..Options::within(limits) }
}

#[test]
fn the_pruned_search_finds_what_judging_everything_finds() {
    let mut n_with_plans = 0;
    let mut n_spared = 0;
    for seed in 0..13_500 {
        let mut random = SmallRng::seed_from_u64(seed);
        let model = model(&mut random);
        let system = system(pick(&mut random, &[1, 2, 4]));
        let stack = pick(&mut random, &[0, 1, 2, 3, 4, 5]);
        let stack = stacks()[stack].clone();
        let constants = Constants::nominal(&stack);
        let space = space(&mut random);
        let mut pricing = Pricing::unlimited(&model, &system, &stack, &constants);
        let one = Options { n_plans: 1, ..on_threads(1) };
        if random.random_bool(0.6) {
            // Between what nothing fits into and what everything does.
            let Some(least) = min_memory::least(&pricing, &space, &Options::default()) else {
                continue;
            };
            let factor = random.random_range(0.9..2.0);
            pricing.limit = Some(Bytes((least.bytes() as f64 * factor) as u64));
        }
        let n_plans = random.random_range(1..=2);
        let options = Options { n_plans, ..one.clone() };
        let pruned = solve(&pricing, &space, &options);
        let all = solve(&pricing, &space, &Options { pruning: Pruning::Off, ..options.clone() });
        let plans_of = |found: &Found| -> Vec<_> {
            found.plans.iter().map(|plan| (plan.step, plan.configuration.clone())).collect()
        };
        assert_eq!(plans_of(&pruned), plans_of(&all), "seed {seed}");
        n_with_plans += usize::from(!pruned.plans.is_empty());
        n_spared += usize::from(pruned.counts.n_judged < all.counts.n_judged);
    }
    assert!(n_with_plans > 8_000 && n_spared > 5_000, "{n_with_plans} {n_spared}");
}

#[test]
fn bounds_are_below_every_plan() {
    for seed in 0..1_500 {
        let mut random = SmallRng::seed_from_u64(seed);
        let model = model(&mut random);
        let system = with_links(system(2), seed);
        let stack = stacks()[seed as usize % 7].clone();
        let constants = Constants::nominal(&stack);
        let space = space(&mut random);
        let pricing = Pricing {
            gradients: Gradients::Full,
            format: StateFormat::HalfGradients,
            ..Pricing::unlimited(&model, &system, &stack, &constants)
        };
        for bounded in bounded(&pricing, &space, &Options::default()) {
            let (all, _) = leaves(&bounded.shape, &space, &pricing);
            for configuration in all {
                let passes = Arc::clone(&bounded.passes);
                let priced = configuration.priced(pricing, passes);
                let d = &configuration.degrees;
                let m = d.n_micro_batches as u32;
                let in_flight = in_flight(configuration.order, d, m).unwrap();
                let fitter = fit::Fitter::new(&priced, &configuration, &in_flight, f64::INFINITY);
                let fitted = fitter.fit().unwrap();
                assert_eq!(fitted.blocks.last().unwrap().end, model.n_blocks());
                let bounds = [
                    bounded.bound_s,
                    bound::of_configuration(&priced, &bounded.totals, &configuration),
                    relaxed::of_configuration(&priced, &configuration, &in_flight, f64::INFINITY),
                    bound::of_stages(&priced, &configuration, &fitted.figures),
                ];
                let judged = judge::judged(&priced, &configuration, fitted).unwrap();
                let step = judged.step.seconds();
                assert!(
                    bounds.iter().all(|bound| *bound <= step),
                    "{seed} {bounds:?} {step} {configuration:?}"
                );
                let parts: f64 = judged.parts.named().iter().map(|(_, part)| part).sum();
                assert!((parts / step - 1.0).abs() < 1e-3, "{parts} {step}");
            }
        }
    }
}

/// All ways to share `n` blocks out to `stages`, at least one each.
fn all_cuts(n: u32, stages: u32) -> Vec<Vec<u32>> {
    if stages == 1 {
        return vec![vec![n]];
    }
    let rest = |first: u32| {
        all_cuts(n - first, stages - 1).into_iter().map(move |rest| [vec![first], rest].concat())
    };
    (1..=n - (stages - 1)).flat_map(rest).collect()
}

/// The bound holds whatever the cuts, and polished cuts are no worse than ruled ones.
#[test]
fn the_bound_is_below_every_cut() {
    let (mut n_plans, mut n_best, mut widest, mut gaps) = (0, 0, 0.0_f64, 0.0);
    for seed in 0..1700 {
        let mut random = SmallRng::seed_from_u64(seed);
        let model = model(&mut random);
        let system = with_links(system(pick(&mut random, &[1, 2, 4])), seed);
        let stack = stacks()[seed as usize % 7].clone();
        let constants = Constants::nominal(&stack);
        let space = space(&mut random);
        let mut pricing = Pricing::unlimited(&model, &system, &stack, &constants);
        if random.random_bool(0.5) {
            let Some(least) = min_memory::least(&pricing, &space, &Options::default()) else {
                continue;
            };
            let factor = random.random_range(0.9..2.0);
            pricing.limit = Some(Bytes((least.bytes() as f64 * factor) as u64));
        }
        let limit = pricing.limit.map_or(f64::INFINITY, |limit| limit.as_f64());
        let mut least = u64::MAX;
        for bounded in bounded(&pricing, &space, &Options::default()) {
            for configuration in leaves(&bounded.shape, &space, &pricing).0 {
                let passes = Arc::clone(&bounded.passes);
                let priced = configuration.priced(pricing, passes);
                let d = &configuration.degrees;
                let m = d.n_micro_batches as u32;
                let in_flight = in_flight(configuration.order, d, m).unwrap();
                let fitter = fit::Fitter::new(&priced, &configuration, &in_flight, limit);
                let n = model.n_blocks();
                let own_s = relaxed::of_configuration(&priced, &configuration, &in_flight, limit)
                    .max(fitter.least_s(FAR).unwrap_or(0.0));
                let alike = configuration.recompute == RecomputeRule::Alike;
                for n_recomputed in 0..=if alike { n } else { 0 } {
                    let fitter = fitter.recomputing(n_recomputed);
                    for sizes in all_cuts(n, d.pipeline * d.virtual_stages) {
                        let fitted = fitter.cut_stages(fit::contiguous(&sizes));
                        let judged = fitted
                            .and_then(|fitted| judge::judged(&priced, &configuration, fitted).ok());
                        let Some(plan) = judged else { continue };
                        let step = plan.step.seconds();
                        assert!(own_s <= step, "{seed} {own_s} {step} {configuration:?} {sizes:?}");
                        least = least.min(plan.step.0);
                    }
                }
            }
        }
        let with = |cuts| {
            let options = Options { n_plans: 1, cuts, ..on_threads(1) };
            solve(&pricing, &space, &options)
        };
        let (ruled, polished) = (with(Cuts::Ruled), with(Cuts::Polished));
        let step = |found: &Found| found.plans.first().map(|plan| plan.step.0);
        let holds = least == u64::MAX || polished.bound_s * 1e9 <= least as f64 + 0.5;
        assert!(holds, "{seed}: {} {least}", polished.bound_s);
        let Some(step_ns) = step(&polished).filter(|_| space.pins.split != Some(Split::Equal))
        else {
            continue;
        };
        assert!(Some(step_ns) <= step(&ruled), "{seed}");
        n_plans += 1;
        gaps += step_ns as f64 * 1e-9 / polished.bound_s - 1.0;
        n_best += usize::from(step_ns <= least);
        widest = widest.max(step_ns as f64 / least as f64 - 1.0);
    }
    let (worst, mean) = (100.0 * widest, 100.0 * gaps / n_plans as f64);
    let summary =
        format!("{n_best} of {n_plans}, the worst {worst:.2} %, {mean:.2} % above the bound");
    assert!(n_plans > 800 && 10 * n_best >= 9 * n_plans, "{summary}");
}

/// Under any limit of memory the bound of a configuration holds for every way to cut unlike blocks
/// that fits.
#[test]
fn bounds_under_limits_are_below_every_cut_that_fits() {
    let mut n_limits = 0;
    for seed in 0..600 {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut model = model(&mut random);
        for group in &mut model.groups {
            group.card.vocabulary = 16;
            group.card.feed_forward *= pick(&mut random, &[1, 8]);
        }
        let system = with_links(system(2), seed);
        let stack = stacks()[seed as usize % 7].clone();
        let constants = Constants::nominal(&stack);
        let pricing = Pricing::unlimited(&model, &system, &stack, &constants);
        let any = pick(&mut random, &Order::ALL);
        let orders = vec![pick(&mut random, &[Order::Interleaved, any])];
        let recompute = pick(&mut random, &POLICIES);
        let pins =
            Pins { orders, recompute, pipeline: Some(2), micro_batch: Some(1), ..Pins::default() };
        let space = Space { devices: vec![2], global_batch: pick(&mut random, &[2, 4, 6]), pins };
        for bounded in bounded(&pricing, &space, &Options::default()) {
            for configuration in leaves(&bounded.shape, &space, &pricing).0 {
                let priced = configuration.priced(pricing, Arc::clone(&bounded.passes));
                let d = &configuration.degrees;
                let m = d.n_micro_batches as u32;
                let in_flight = in_flight(configuration.order, d, m).unwrap();
                let within = |limit| fit::Fitter::new(&priced, &configuration, &in_flight, limit);
                let mut cuts: Vec<(u64, f64)> = Vec::new();
                let alike = recompute == RecomputeRule::Alike;
                for n_recomputed in 0..=if alike { model.n_blocks() } else { 0 } {
                    let fitter = within(f64::INFINITY);
                    let fitter = fitter.recomputing(n_recomputed);
                    for sizes in all_cuts(model.n_blocks(), d.pipeline * d.virtual_stages) {
                        let fitted = fitter.cut_stages(fit::contiguous(&sizes));
                        let judged = fitted
                            .and_then(|fitted| judge::judged(&priced, &configuration, fitted).ok());
                        cuts.extend(judged.map(|plan| (plan.peak, plan.step.seconds())));
                    }
                }
                cuts.sort_by_key(|cut| cut.0);
                let mut least_s = f64::INFINITY;
                for (peak, step_s) in cuts {
                    least_s = least_s.min(step_s);
                    let limit = peak as f64 + 1.0;
                    let bounds = [
                        relaxed::of_configuration(&priced, &configuration, &in_flight, limit),
                        within(limit).least_s(FAR).unwrap_or(0.0),
                    ];
                    let holds = bounds.iter().all(|bound| *bound <= least_s);
                    assert!(holds, "{seed} {bounds:?} {least_s} {configuration:?}");
                    n_limits += 1;
                }
            }
        }
    }
    assert!(n_limits > 5_000, "{n_limits}");
}

#[test]
fn what_is_left_out_is_never_better() {
    for seed in 0..300 {
        let mut random = SmallRng::seed_from_u64(seed);
        let model = model(&mut random);
        let system = system(4);
        let stack = megatron_core();
        let constants = Constants::nominal(&stack);
        let free = Space { devices: vec![4], global_batch: 4, pins: Pins::default() };
        let pricing = Pricing::unlimited(&model, &system, &stack, &constants);
        let cuts = Cuts::Ruled;
        let one = Options { n_plans: 1, cuts, ..on_threads(1) };
        let best = |space: &Space| solve(&pricing, space, &one).plans[0].step;
        let of_all = best(&free);
        let mut pinned = free.clone();
        pinned.pins.zero = Some(ir::card::ZeroStage::None);
        assert!(of_all <= best(&pinned), "{seed}");
        let mut pinned = free.clone();
        pinned.pins.sequence = Some(SequenceParallel::Off);
        assert!(of_all <= best(&pinned), "{seed}");
    }
}

#[test]
fn thirty_blocks_on_four_ranks_stay_thirty() {
    let mut random = SmallRng::seed_from_u64(1);
    let mut model = model(&mut random);
    model.groups.truncate(1);
    model.groups[0].n_blocks = 30;
    let system = system(4);
    let stack = megatron_core();
    let constants = Constants::nominal(&stack);
    let pricing = Pricing::unlimited(&model, &system, &stack, &constants);
    let pins = Pins { pipeline: Some(4), orders: vec![Order::OneFOneB], ..Pins::default() };
    let space = Space { devices: vec![4], global_batch: 16, pins };
    for n_threads in [1, 3] {
        let found = solve(&pricing, &space, &on_threads(n_threads));
        let blocks = &found.plans[0].fitted.blocks;
        assert_eq!(blocks.len(), 4);
        assert_eq!(blocks.iter().map(|range| range.end - range.start).sum::<u32>(), 30);
        let plan = found.plans[0].plan().unwrap();
        assert_eq!(plan.partition.stages.len(), 4);
    }
}

#[test]
fn the_thread_count_changes_nothing() {
    for seed in 0..40 {
        let mut random = SmallRng::seed_from_u64(seed);
        let model = model(&mut random);
        let system = system(2);
        let stack = compiled();
        let constants = Constants::nominal(&stack);
        let pricing = Pricing::unlimited(&model, &system, &stack, &constants);
        let space = Space { devices: vec![2, 4], global_batch: 8, pins: Pins::default() };
        let with = |n_threads| {
            let found = solve(&pricing, &space, &on_threads(n_threads));
            (found.plans, found.counts)
        };
        assert_eq!(with(1), with(4), "seed {seed}");
    }
}

/// What a node budget or a gap leaves open is under its bound, and does not depend on threads.
#[test]
fn a_stopped_search_repeats_and_its_bound_holds() {
    let mut stops = Vec::new();
    for seed in 0..40 {
        let mut random = SmallRng::seed_from_u64(seed);
        let model = model(&mut random);
        let system = system(2);
        let stack = compiled();
        let constants = Constants::nominal(&stack);
        let pricing = Pricing::unlimited(&model, &system, &stack, &constants);
        let space = Space { devices: vec![2, 4], global_batch: 8, pins: Pins::default() };
        let optimum_s = solve(&pricing, &space, &on_threads(2)).bound_s;
        for (nodes, gap) in [(Some(40), 0.0), (None, 0.5)] {
            let with = |threads| {
                let limits = Limits { nodes, gap, threads, ..Limits::default() };
                let found = solve(&pricing, &space, &in_two(&limits));
                (found.plans, found.bound_s, found.stop, found.counts)
            };
            let (plans, bound_s, stop, counts) = with(1);
            let step_s = plans.first().map_or(f64::INFINITY, |plan| plan.step.seconds());
            assert!(bound_s <= optimum_s * (1.0 + 1e-9), "seed {seed}: {bound_s} {optimum_s}");
            assert!(gap == 0.0 || step_s <= bound_s * (1.0 + gap) || stop.is_complete());
            assert_eq!((plans, bound_s, stop, counts), with(4), "seed {seed}");
            stops.push(stop);
        }
    }
    for stop in [StopReason::NodeBudget, StopReason::GapReached] {
        assert!(stops.contains(&stop), "{stop:?} was not tried");
    }
}
