//! Gradients in buckets: the program over cuts against every way to cut, and against rules.

use cost_model::given::Goal;
use cost_model::given::gradients::{Buckets, bound, cost, evaluate, gradients};
use cost_model::links::collective::gradient::mg_wfbp;
use ir::instance::{Exchange, ExchangeCost, GradientInstance, GradientTensor, Instance};
use planner::given::bucket_cap::{best, capped};
use planner::given::gradient_buckets::solve;
use planner::given::runner::{Request, solve as run};
use planner::registry::entries;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Up to so many tensors, from hardly any exchange to hardly any passes.
pub(crate) fn sampled(seed: u64, most: usize) -> GradientInstance {
    let mut random = SmallRng::seed_from_u64(seed);
    let n = random.random_range(1..=most);
    let slow = 10.0_f64.powi(random.random_range(-2..=1));
    let mut ready_s = random.random_range(0.0..1.0);
    let tensor = |at| {
        // Some are there at once.
        ready_s += if random.random_bool(0.2) { 0.0 } else { random.random_range(0.0..1.0) };
        GradientTensor { name: format!("t{at}"), bytes: random.random_range(1..1000), ready_s }
    };
    let tensors: Vec<GradientTensor> = (0..n).map(tensor).collect();
    let start_up_s = if random.random_bool(0.1) { 0.0 } else { random.random_range(0.0..1.0) };
    let all_reduce = ExchangeCost {
        exchange: Exchange::AllReduce,
        start_up_s,
        per_byte_s: slow * random.random_range(1e-4..1e-2),
    };
    let mut costs = vec![all_reduce];
    if random.random_bool(0.3) {
        let exchange = Exchange::ParameterServer;
        costs.push(ExchangeCost { exchange, start_up_s: start_up_s / 2.0, ..all_reduce });
    }
    GradientInstance {
        name: String::new(),
        replicas: 4,
        samples: None,
        forward_s: random.random_range(0.0..1.0),
        backward_s: ready_s + random.random_range(0.0..0.5),
        costs,
        tensors,
    }
}

/// Calls `look` with every way to cut so many tensors into buckets.
pub(crate) fn every_cut(n: usize, look: &mut dyn FnMut(&[usize])) {
    for mask in 0..1_u32 << (n - 1) {
        let (mut lengths, mut last) = (Vec::new(), 0);
        for at in 1..n {
            if mask >> (at - 1) & 1 == 1 {
                lengths.push(at - last);
                last = at;
            }
        }
        lengths.push(n - last);
        look(&lengths);
    }
}

#[test]
fn the_program_is_the_enumeration_and_never_worse_than_rules() {
    let (mut n_better, mut n_cap_worse) = (0, 0);
    for seed in 0..10_000 {
        let own = sampled(seed, 14);
        for exchange in own.costs.iter().map(|cost| cost.exchange) {
            let (gradients, cost) = (gradients(&own), cost(&own, exchange).unwrap());
            let value =
                |lengths: Vec<usize>| evaluate(&own, &Buckets { exchange, lengths }).unwrap();
            let found = value(solve(&gradients, cost, &|_| false).unwrap());
            let mut least = None;
            every_cut(own.tensors.len(), &mut |lengths| {
                least = least.into_iter().chain([value(lengths.to_vec())]).min();
            });
            assert_eq!(Some(found), least, "{seed}");
            let rule = value(mg_wfbp(&gradients, cost));
            assert!(found <= rule, "{seed}");
            n_better += usize::from(found < rule);
            let cap = evaluate(&own, &capped(&own, exchange, best(&own, exchange, &|| false)));
            let cap = cap.unwrap();
            assert!(found <= cap, "{seed}");
            n_cap_worse += usize::from(found < cap);
            assert!(bound(&own) <= found, "{seed}");
        }
    }
    // What is asserted above is no equality.
    assert!(n_better > 500 && n_cap_worse > 500, "{n_better} {n_cap_worse}");
}

#[test]
fn no_cap_is_better_than_the_best() {
    for seed in 0..500 {
        let own = sampled(seed, 12);
        let exchange = Exchange::AllReduce;
        let of = |cap| evaluate(&own, &capped(&own, exchange, cap)).unwrap();
        let found = of(best(&own, exchange, &|| false));
        let all: u64 = own.tensors.iter().map(|tensor| tensor.bytes).sum();
        let least = (1..=all).map(of).min().unwrap();
        assert_eq!(found, least, "{seed}");
    }
}

#[test]
fn the_rule_merges_as_its_recurrences_do() {
    // Start-up 2, 1 a byte. The second is there before the first has ended and waits for less than 2 s:
    // merged. The third comes 3 s after the start of both: alone. The fourth is there before the third
    // has started.
    let times = [(5.0, 2), (6.0, 2), (9.0, 3), (11.0, 1)];
    let mut own = sampled(0, 1);
    own.costs =
        vec![ExchangeCost { exchange: Exchange::AllReduce, start_up_s: 2.0, per_byte_s: 1.0 }];
    let tensor = |(ready_s, bytes)| GradientTensor { name: String::new(), bytes, ready_s };
    own.tensors = times.into_iter().map(tensor).collect();
    let cost = cost(&own, Exchange::AllReduce).unwrap();
    assert_eq!(mg_wfbp(&gradients(&own), cost), [2, 2]);
}

/// Twenty thousand tensors, all exchanged after all passes, within a few seconds.
#[test]
fn the_largest_file_ends() {
    let mut own = sampled(1, 1);
    let tensor =
        |at: u64| GradientTensor { name: format!("t{at}"), bytes: 1 + at % 7, ready_s: 1e-9 };
    own.tensors = (0..20_000).map(tensor).collect();
    let answer =
        run(&Instance::Gradients(own), Goal::StepTime, None, &Request::new(entries())).unwrap();
    assert!(answer.is_proved);
}
