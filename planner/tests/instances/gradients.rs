//! Gradients in buckets: the program over cuts against every way to cut, and against rules.

use cost_model::given::Goal;
use cost_model::given::gradients::{
    Buckets, Part, bound, cost, evaluate, gradients, overlap, spans,
};
use cost_model::links::collective::gradient::mg_wfbp;
use ir::instance::{
    Exchange, ExchangeCost, GradientInstance, GradientTensor, Instance, Lossy, LossyCost,
};
use planner::given::bucket_cap::{Closes, best, capped, cut, sizes};
use planner::given::gradient_buckets::solve;
use planner::given::runner::{Request, Solution, solve as run};
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
        lossy: Vec::new(),
        element_bytes: 4,
        tensors,
    }
}

/// The same with ways that send a part.
fn lossy_sampled(seed: u64, most: usize) -> GradientInstance {
    let mut instance = sampled(seed, most);
    let mut random = SmallRng::seed_from_u64(!seed);
    for by in Lossy::ALL {
        if random.random_bool(0.4) {
            continue;
        }
        let threshold = random.random_bool(0.3);
        instance.lossy.push(LossyCost {
            by,
            start_up_s: random.random_range(0.0..1.0),
            per_byte_s: instance.costs[0].per_byte_s * random.random_range(0.0..0.5),
            per_sent_byte_s: match by {
                Lossy::TwoWay => 0.0,
                _ => instance.costs[0].per_byte_s * random.random_range(0.5..4.0),
            },
            density: random.random_range(0.001..0.3),
            sent_element_bytes: 8,
            threshold_bytes: if threshold { random.random_range(0..600) } else { 0 },
        });
    }
    instance
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
        let instance = sampled(seed, 14);
        for exchange in instance.costs.iter().map(|cost| cost.exchange) {
            let (gradients, cost) = (gradients(&instance), cost(&instance, exchange).unwrap());
            let value = |lengths: Vec<usize>| {
                evaluate(&instance, &Buckets::whole(exchange, lengths)).unwrap()
            };
            let found =
                evaluate(&instance, &solve(&instance, exchange, &|_| false).unwrap()).unwrap();
            let mut least = None;
            every_cut(instance.tensors.len(), &mut |lengths| {
                least = least.into_iter().chain([value(lengths.to_vec())]).min();
            });
            assert_eq!(Some(found), least, "{seed}");
            let rule = value(mg_wfbp(&gradients, cost));
            assert!(found <= rule, "{seed}");
            n_better += usize::from(found < rule);
            let cap = evaluate(
                &instance,
                &capped(&instance, exchange, best(&instance, exchange, &|| false)),
            );
            let cap = cap.unwrap();
            assert!(found <= cap, "{seed}");
            n_cap_worse += usize::from(found < cap);
            assert!(bound(&instance) <= found, "{seed}");
        }
    }
    // What is asserted above is no equality.
    assert!(n_better > 500 && n_cap_worse > 500, "{n_better} {n_cap_worse}");
}

#[test]
fn no_cap_is_better_than_the_best() {
    for seed in 0..500 {
        let instance = sampled(seed, 12);
        let exchange = Exchange::AllReduce;
        let of = |cap| evaluate(&instance, &capped(&instance, exchange, cap)).unwrap();
        let found = of(best(&instance, exchange, &|| false));
        let all: u64 = instance.tensors.iter().map(|tensor| tensor.bytes).sum();
        let least = (1..=all).map(of).min().unwrap();
        assert_eq!(found, least, "{seed}");
    }
}

/// DeepSpeed's buckets, written down anew: what does not fit any more is exchanged first. No size is better, and
/// every size of those that are named makes the same buckets.
#[test]
fn no_size_of_a_bucket_that_closes_before_more_is_better_than_the_best() {
    for seed in 0..500 {
        let instance = sampled(seed, 12);
        let exchange = Exchange::AllReduce;
        let lengths = |size: u64| {
            let (mut lengths, mut bytes) = (vec![0], 0);
            for tensor in &instance.tensors {
                if bytes + tensor.bytes > size && bytes > 0 {
                    lengths.push(0);
                    bytes = 0;
                }
                bytes += tensor.bytes;
                *lengths.last_mut().unwrap() += 1;
            }
            lengths
        };
        let of = |size| evaluate(&instance, &Buckets::whole(exchange, lengths(size))).unwrap();
        let (first, last) = sizes(&instance, exchange, Closes::BeforeMore, &|| false);
        let all: u64 = instance.tensors.iter().map(|tensor| tensor.bytes).sum();
        let least = (1..=all).map(of).min().unwrap();
        assert_eq!(of(first), least, "{seed}");
        for size in [first, last.min(all), (first + last.min(all)) / 2] {
            assert_eq!(lengths(size), lengths(first), "{seed}");
            let found = cut(&instance, exchange, (size, Closes::BeforeMore));
            assert_eq!(found.lengths, lengths(size), "{seed}");
        }
        let (first, last) = sizes(&instance, exchange, Closes::OnceFull, &|| false);
        for size in [first, last.min(all)] {
            assert_eq!(
                capped(&instance, exchange, size),
                capped(&instance, exchange, first),
                "{seed}"
            );
        }
    }
}

/// Of so many tensors that not each size is looked at, the one that is found is near to the best of a grid of
/// others, and no worse than all in one or 25 MiB.
#[test]
fn sizes_of_many_tensors_are_near_to_the_best() {
    let mut random = SmallRng::seed_from_u64(1);
    let mut instance = sampled(1, 1);
    let mut ready_s = 0.0;
    let tensor = |at: u64| {
        ready_s += random.random_range(0.0..2e-4);
        GradientTensor { name: format!("t{at}"), bytes: random.random_range(4..400_000), ready_s }
    };
    instance.tensors = (0..12_000).map(tensor).collect();
    instance.backward_s = instance.tensors.last().unwrap().ready_s;
    let cost = ExchangeCost { exchange: Exchange::AllReduce, start_up_s: 1e-3, per_byte_s: 6e-10 };
    instance.costs = vec![cost];
    let all: u64 = instance.tensors.iter().map(|tensor| tensor.bytes).sum();
    for closes in [Closes::OnceFull, Closes::BeforeMore] {
        let of = |size: u64| {
            evaluate(&instance, &cut(&instance, Exchange::AllReduce, (size, closes))).unwrap().get()
        };
        let found = of(sizes(&instance, Exchange::AllReduce, closes, &|| false).0);
        let others = (1..=300).map(|at| all * at / 300).chain([25 << 20, all]).map(of);
        let least = others.min().unwrap();
        assert!(found as f64 <= 1.005 * least as f64, "{closes:?}: {found} {least}");
    }
}

#[test]
fn the_rule_merges_as_its_recurrences_do() {
    // Start-up 2, 1 a byte. The second is there before the first has ended and waits for less than 2 s:
    // merged. The third comes 3 s after the start of both: alone. The fourth is there before the third
    // has started.
    let times = [(5.0, 2), (6.0, 2), (9.0, 3), (11.0, 1)];
    let mut instance = sampled(0, 1);
    instance.costs =
        vec![ExchangeCost { exchange: Exchange::AllReduce, start_up_s: 2.0, per_byte_s: 1.0 }];
    let tensor = |(ready_s, bytes)| GradientTensor { name: String::new(), bytes, ready_s };
    instance.tensors = times.into_iter().map(tensor).collect();
    let cost = cost(&instance, Exchange::AllReduce).unwrap();
    assert_eq!(mg_wfbp(&gradients(&instance), cost), [2, 2]);
}

/// Twenty thousand tensors, all exchanged after all passes, within a few seconds.
#[test]
fn the_largest_file_ends() {
    let mut instance = sampled(1, 1);
    let tensor =
        |at: u64| GradientTensor { name: format!("t{at}"), bytes: 1 + at % 7, ready_s: 1e-9 };
    instance.tensors = (0..20_000).map(tensor).collect();
    let answer =
        run(&Instance::Gradients(instance), Goal::StepTime, None, &Request::new(entries()))
            .unwrap();
    assert!(answer.is_proved);
}

/// Seconds of a bucket by a way, counted anew: what the two loops below have in common with the planner
/// is the file.
fn counted(
    instance: &GradientInstance,
    tensors: &[GradientTensor],
    way: Option<usize>,
) -> Option<f64> {
    let bytes: u64 = tensors.iter().map(|tensor| tensor.bytes).sum();
    let Some(way) = way.map(|at| instance.lossy[at]) else {
        return Some(instance.costs[0].start_up_s + instance.costs[0].per_byte_s * bytes as f64);
    };
    if tensors.iter().any(|tensor| tensor.bytes < way.threshold_bytes) {
        return None;
    }
    let elements = |tensor: &GradientTensor| (tensor.bytes as f64 / 4.0).ceil() as u64;
    let of = |n: u64| (way.density * n as f64).ceil();
    let n_kept = match way.by {
        Lossy::TwoWay => 0.0,
        Lossy::LayerWise => tensors.iter().map(|tensor| of(elements(tensor))).sum(),
        _ => of(tensors.iter().map(elements).sum()),
    };
    Some(way.start_up_s + way.per_byte_s * bytes as f64 + 8.0 * n_kept * way.per_sent_byte_s)
}

/// Least step over all cuts and ways, in nanoseconds, and of those that take no longer the most bytes
/// that are sent as they are.
fn enumerated(instance: &GradientInstance) -> (u64, u64) {
    let mut all: Vec<(u64, u64)> = Vec::new();
    every_cut(instance.tensors.len(), &mut |lengths| {
        let n_ways = instance.lossy.len() + 1;
        for code in 0..n_ways.pow(lengths.len() as u32) {
            let (mut code, mut left, mut end_s, mut whole) =
                (code, &instance.tensors[..], 0.0_f64, 0);
            let mut is_legal = true;
            for n in lengths {
                let (bucket, rest) = left.split_at(*n);
                left = rest;
                let way = (code % n_ways).checked_sub(1);
                code /= n_ways;
                let Some(took_s) = counted(instance, bucket, way) else {
                    is_legal = false;
                    break;
                };
                whole += way.map_or_else(|| bucket.iter().map(|tensor| tensor.bytes).sum(), |_| 0);
                end_s = end_s.max(bucket[n - 1].ready_s) + took_s;
            }
            if is_legal {
                let step_s = instance.forward_s + end_s.max(instance.backward_s);
                all.push(((step_s * 1e9).round() as u64, whole));
            }
        }
    });
    let least = all.iter().map(|pair| pair.0).min().unwrap();
    // Sums in another order round otherwise.
    let as_good = all.iter().filter(|pair| pair.0 <= least + 1);
    (least, as_good.map(|pair| pair.1).max().unwrap())
}

fn whole_bytes(instance: &GradientInstance, buckets: &Buckets) -> u64 {
    let (mut left, mut whole) = (instance.tensors.iter(), 0);
    for (at, n) in buckets.lengths.iter().enumerate() {
        let bytes: u64 = left.by_ref().take(*n).map(|tensor| tensor.bytes).sum();
        whole += if buckets.part(at).is_none() { bytes } else { 0 };
    }
    whole
}

/// The step is the least of all, and what does not make it longer is sent as it is.
#[test]
fn ways_are_those_of_enumeration() {
    let (mut n_mixed, mut n_lossy) = (0, 0);
    for seed in 0..1500 {
        let instance = lossy_sampled(seed, 5);
        let found = solve(&instance, Exchange::AllReduce, &|_| false).unwrap();
        let value = evaluate(&instance, &found).unwrap().get();
        let (least, most_whole) = enumerated(&instance);
        assert!(value.abs_diff(least) <= 1, "{seed}: {value} {least}");
        assert_eq!(whole_bytes(&instance, &found), most_whole, "{seed}: {found:?}");
        let n = found.parts.iter().flatten().count();
        n_lossy += usize::from(n > 0);
        n_mixed += usize::from(n > 0 && n < found.lengths.len());
    }
    assert!(n_lossy > 500 && n_mixed > 100, "{n_lossy} {n_mixed}");
}

/// Where all-reduce and servers are offered, in either order, the step is the least of both, and of what
/// takes as long that is taken which sends most as it is.
#[test]
fn the_order_of_ways_decides_nothing() {
    let mut n_other = 0;
    for seed in 0..400 {
        let mut case = lossy_sampled(seed, 4);
        let first = ExchangeCost { exchange: Exchange::AllReduce, ..case.costs[0] };
        let factor = 0.5 + (seed % 7) as f64 / 4.0;
        let second = ExchangeCost {
            exchange: Exchange::ParameterServer,
            start_up_s: first.start_up_s / factor,
            per_byte_s: first.per_byte_s * factor,
        };
        let alone = [first, second].map(|cost| {
            case.costs = vec![cost];
            enumerated(&case)
        });
        let least = alone.iter().map(|pair| pair.0).min().unwrap();
        let whole =
            alone.iter().filter(|pair| pair.0 <= least + 1).map(|pair| pair.1).max().unwrap();
        for costs in [vec![first, second], vec![second, first]] {
            case.costs = costs;
            let instance = Instance::Gradients(case.clone());
            let answer = run(&instance, Goal::StepTime, None, &Request::new(entries())).unwrap();
            let Some((value, Solution::Buckets(found))) = answer.best else { panic!("{seed}") };
            assert!(value.get().abs_diff(least) <= 1, "{seed}: {value} {least}");
            assert_eq!(whole_bytes(&case, &found), whole, "{seed}: {found:?}");
        }
        n_other += usize::from(alone[0].0.abs_diff(alone[1].0) <= 1 && alone[0].1 != alone[1].1);
    }
    assert!(n_other > 10, "{n_other}");
}

/// On ten thousand cases: sending parts never makes the step longer, no overlap gains more than it can,
/// nothing is below the bound, and where layers have room, more is sent and no step is longer.
#[test]
fn parts_never_hurt_and_overlap_gains_no_more_than_it_can() {
    let (mut n_faster, mut n_raised) = (0, 0);
    for seed in 0..10_000 {
        let case = lossy_sampled(seed, 40);
        let dense = GradientInstance { lossy: Vec::new(), ..case.clone() };
        for exchange in case.costs.iter().map(|cost| cost.exchange) {
            let of = |instance: &GradientInstance| solve(instance, exchange, &|_| false).unwrap();
            let (found, whole) = (of(&case), of(&dense));
            assert!(whole.parts.is_empty());
            let value = evaluate(&case, &found).unwrap();
            let without = evaluate(&dense, &whole).unwrap();
            assert!(value <= without, "{seed}");
            assert!(bound(&case) <= value, "{seed}");
            n_faster += usize::from(value < without);
            for (instance, buckets) in [(&case, &found), (&dense, &whole)] {
                let (gain, most) = overlap(instance, buckets).unwrap();
                assert!(gain <= most * (1.0 + 1e-9), "{seed}: {gain} {most}");
                // By hand from the spans.
                let spans = spans(instance, buckets).unwrap();
                let t_c: f64 = spans.iter().map(|span| span.end_s - span.start_s).sum();
                let (t_f, t_b) = (case.forward_s, case.backward_s);
                let by_hand = 1.0 + t_b.min(t_c) / (t_f + t_b.max(t_c));
                assert!((most - by_hand).abs() < 1e-9, "{seed}");
                let step_s = evaluate(instance, buckets).unwrap().seconds();
                assert!((t_f + t_b + t_c) / step_s <= by_hand * (1.0 + 1e-6), "{seed}");
            }
            let raised = |(at, part): (usize, &Option<Part>)| {
                let part = (*part)?;
                let from: usize = found.lengths[..at].iter().sum();
                let of = |tensor: &GradientTensor| tensor.bytes.div_ceil(4) as f64;
                let way = case.lossy.iter().find(|cost| cost.by == part.by)?;
                let tensors = &case.tensors[from..from + found.lengths[at]];
                let least: f64 =
                    tensors.iter().map(|tensor| (way.density * of(tensor)).ceil()).sum();
                (part.by == Lossy::LayerWise && part.kept as f64 > least).then_some(())
            };
            n_raised += found.parts.iter().enumerate().filter_map(raised).count();
        }
    }
    assert!(n_faster > 1000 && n_raised > 100, "{n_faster} {n_raised}");
}
