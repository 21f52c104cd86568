//! The laws of the search on models that are chains of parts.

use std::sync::Arc;

use cost_model::kernels::stack::{compiled, megatron_core};
use cost_model::runs::forms::constants::Constants;
use cost_model::runs::forms::model::counts::n_parameters;
use cost_model::runs::forms::run::Gradients;
use ir::card::part::{Grows, PartCard, PartCore, PartPass, PartProduct};
use ir::card::{BlockGroup, FeedForward, Head, ModelCard, StateFormat, TransformerCard};
use ir::op::Product;
use ir::units::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::laws::on_threads;
use super::laws::system;
use super::space::{Pins, leaves};
use super::*;
use crate::training::order::{Order, in_flight};

fn pass(random: &mut SmallRng, grows: Grows) -> PartPass {
    let mut extent = || 1 << random.random_range(4..10);
    let product = Product { count: 1, m: extent(), k: extent(), n: extent() };
    PartPass {
        products: vec![PartProduct { product, grows, n_kernels: random.random_range(1..4) }],
        bytes: random.random_range(0..10_000_000),
        fixed_bytes: random.random_range(0..10_000_000),
        n_kernels: random.random_range(0..10),
        attention: vec![PartCore {
            flops: random.random_range(0..1_000_000_000),
            sequence: random.random_range(1..10_000),
            head_dim: random.random_range(1..300),
        }],
        added: random.random_range(0..1_000_000),
    }
}

/// Parts of any size, one of which may share a weight with an earlier one.
pub(in crate::training) fn model(random: &mut SmallRng) -> ModelCard {
    let n_parts = random.random_range(1..=7);
    let card = TransformerCard {
        name: "parts".to_owned(),
        n_layers: 0,
        hidden: 1,
        n_heads: 1,
        n_kv_heads: 1,
        feed_forward: 0,
        form: FeedForward::Gated,
        sequence: 1,
        vocabulary: 0,
        experts: None,
        attention: Default::default(),
        head: Head::Tied,
    };
    let part = |at: u32, random: &mut SmallRng| PartCard {
        forward: pass(random, Grows::Rows),
        backward_input: pass(random, Grows::Count),
        backward_weight: pass(random, Grows::Contracted),
        n_parameters: random.random_range(0..20_000_000),
        n_lines: random.random_range(0..20_000),
        tied: match at {
            3.. if random.random_bool(0.3) => vec![(random.random_range(0..at), 5_000_000)],
            _ => Vec::new(),
        },
        stash: random.random_range(0..100_000_000),
        input: random.random_range(0..10_000_000),
        behind: random.random_range(0..10_000_000),
        kept_before: match at {
            1.. if random.random_bool(0.3) => vec![(random.random_range(0..at), 20_000_000)],
            _ => Vec::new(),
        },
        fused: None,
    };
    // Another order of the same kernels holds the same weights.
    let either = |at: u32, random: &mut SmallRng| {
        let plain = part(at, random);
        let fused = random.random_bool(0.5).then(|| {
            let (n_parameters, n_lines) = (plain.n_parameters, plain.n_lines);
            let tied = plain.tied.clone();
            Box::new(PartCard { n_parameters, n_lines, tied, ..part(at, random) })
        });
        PartCard { fused, ..plain }
    };
    let groups = (0..n_parts).map(|at| BlockGroup {
        part: Some(Box::new(either(at, random))),
        ..BlockGroup::of_card(card.clone(), 1)
    });
    ModelCard {
        name: "parts".to_owned(),
        groups: groups.collect(),
        n_predictions: 1,
        other_parameters: [0; 2],
        dtype: None,
        stored: None,
        tuning: Default::default(),
    }
}

#[test]
fn the_pruned_search_finds_what_judging_everything_finds() {
    let mut n_with_plans = 0;
    for seed in 0..1_250 {
        let mut random = SmallRng::seed_from_u64(seed);
        let model = model(&mut random);
        let system = system([1, 2, 4][seed as usize % 3]);
        let stack = [megatron_core(), compiled()][seed as usize % 2].clone();
        let constants = Constants::nominal(&stack);
        let orders = (0..3).map(|_| Order::ALL[random.random_range(0..Order::ALL.len())]).collect();
        let space = Space {
            devices: vec![[1, 2, 3, 4][random.random_range(0..4)]],
            global_batch: [2, 3, 4, 6][random.random_range(0..4)],
            pins: Pins { orders, ..Pins::default() },
        };
        let mut pricing = Pricing::unlimited(&model, &system, &stack, &constants);
        if random.random_bool(0.6) {
            let Some(least) = min_memory::least(&pricing, &space, &Options::default()) else {
                continue;
            };
            let factor = random.random_range(0.9..2.0);
            pricing.limit = Some(Bytes((least.bytes() as f64 * factor) as u64));
        }
        let one = Options { n_plans: 1, ..on_threads(1) };
        let pruned = solve(&pricing, &space, &one);
        let all = solve(&pricing, &space, &Options { pruning: Pruning::Off, ..one.clone() });
        let plans_of = |found: &Found| -> Vec<_> {
            found.plans.iter().map(|plan| (plan.step, plan.configuration.clone())).collect()
        };
        assert_eq!(plans_of(&pruned), plans_of(&all), "seed {seed}");
        n_with_plans += usize::from(!pruned.plans.is_empty());
        for plan in &pruned.plans {
            let d = &plan.configuration.degrees;
            assert_eq!((d.tensor, d.context, d.expert), (1, 1, 1));
        }
    }
    assert!(n_with_plans > 700, "{n_with_plans}");
}

#[test]
fn bounds_are_below_every_plan_and_no_parameter_is_lost() {
    for seed in 0..300 {
        let mut random = SmallRng::seed_from_u64(seed);
        let model = model(&mut random);
        let system = system(2);
        let stack = megatron_core();
        let constants = Constants::nominal(&stack);
        let pricing = Pricing {
            gradients: Gradients::Full,
            format: StateFormat::HalfGradients,
            ..Pricing::unlimited(&model, &system, &stack, &constants)
        };
        let space = Space { devices: vec![4], global_batch: 4, pins: Pins::default() };
        for bounded in bounded(&pricing, &space, &Options::default()) {
            for configuration in leaves(&bounded.shape, &space, &pricing).0 {
                let passes = Arc::clone(&bounded.passes);
                let priced = configuration.priced(pricing, passes);
                let d = &configuration.degrees;
                let m = d.n_micro_batches as u32;
                let in_flight = in_flight(configuration.order, d, m).unwrap();
                let fitter = fit::Fitter::new(&priced, &configuration, &in_flight, f64::INFINITY);
                let fitted = fitter.fit().unwrap();
                let parameters: f64 =
                    fitted.figures.iter().map(|figures| figures.dense - figures.copies).sum();
                assert!((parameters - n_parameters(&model) as f64).abs() < 0.5, "{seed}");
                let bounds = [
                    bounded.bound_s,
                    bound::of_configuration(&priced, &bounded.totals, &configuration),
                    bound::of_stages(&priced, &configuration, &fitted.figures),
                ];
                let step = judge::judged(&priced, &configuration, fitted).unwrap().step.seconds();
                assert!(bounds.iter().all(|bound| *bound <= step), "{seed} {bounds:?} {step}");
            }
        }
    }
}
