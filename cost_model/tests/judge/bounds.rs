//! Bounds below every plan, and certificates only where there is none.

use std::collections::BTreeMap;

use cost_model::ops::bound::{lower_bound, memory_certificate, route_certificate};
use cost_model::ops::judge::memory::peaks;
use cost_model::ops::judge::replay::replay;
use ir::cluster::{Duplex, NO_ROUTE};
use ir::diagnostic::{Blame, Value};
use ir::id::DeviceId;
use ir::tensor::Role;
use ir::units::{Bytes, Nanos};

use crate::cases::{Case, cluster};
use crate::random::{Random, random_plan, random_problem};

#[test]
fn no_plan_is_below_the_bound() {
    let mut n_tight = 0;
    for seed in 0..4_000 {
        let mut random = Random(seed);
        let (mut case, mut problem) = random_problem(&mut random);
        let mut least = u64::MAX;
        let mut plans = Vec::new();
        for _ in 0..12 {
            let mut plan = random_plan(&problem, &mut random);
            plan.schedule.after.clear();
            least = least.min(replay(&problem, &plan).unwrap().step_time.get());
            plans.push(plan);
        }
        // Limits under which the first plan is legal must not push the bound above it.
        if random.one_in(2) {
            let timeline = replay(&problem, &plans[0]).unwrap();
            let peaks = peaks(&problem, &plans[0], &timeline);
            for (device, peak) in case.cluster.devices.iter_mut().zip(peaks) {
                device.capacity = Some(Bytes(peak.bytes));
            }
            problem = case.problem();
            least = timeline.step_time.get();
            assert_eq!(memory_certificate(&problem), None, "seed {seed}: a plan fits");
        }
        let bound = lower_bound(&problem);
        assert!(bound.value.get() <= least, "seed {seed}: {bound:?} above a plan of {least}");
        n_tight += u32::from(bound.value.get() == least);
    }
    assert!(n_tight > 1_000, "only {n_tight} bounds were met");
}

/// So many random plans of a small problem that the best is nearly always an optimal one: a bound
/// that is 1 ns too high would show.
#[test]
fn small_problems_meet_each_bound_and_never_break_it() {
    let mut tight = BTreeMap::new();
    for seed in 0..1_500 {
        let mut random = Random(seed);
        let (_, problem) = random_problem(&mut random);
        if problem.actions.len() > 6 || problem.cluster.n_devices() == 1 {
            continue;
        }
        let mut least = u64::MAX;
        for _ in 0..150 {
            let mut plan = random_plan(&problem, &mut random);
            plan.schedule.after.clear();
            least = least.min(replay(&problem, &plan).unwrap().step_time.get());
        }
        let bound = lower_bound(&problem);
        assert!(bound.value.get() <= least, "seed {seed}: {bound:?} above a plan of {least}");
        let (n, n_tight) = tight.entry(bound.method).or_insert((0, 0));
        *n += 1;
        *n_tight += u32::from(bound.value.get() == least);
    }
    for method in ["critical-path", "near-ancestors", "work", "pigeonhole", "split"] {
        assert!(tight.get(method).is_some_and(|(_, n)| *n > 3), "{method}: {tight:?}");
    }
}

/// Two chains of 4 + 4 meet in an op of 1 on two devices; a tensor takes 1 + 5. Side by side they
/// take 8 + 6 + 1, one after the other 16 + 1. The last ops of the chains alone would allow 12.
#[test]
fn chains_that_are_too_near_can_not_all_be_elsewhere() {
    let devices = [(0, u64::MAX), (0, u64::MAX)];
    let mut case = Case { cluster: cluster(&devices, 1.0, Duplex::Full), ..Case::default() };
    let tensors: Vec<_> = ["b1", "b2", "c1", "c2"].map(|name| case.activation(name, 5)).into();
    case.op("B1", &[(0, 4)], &[], &[tensors[0]]);
    case.op("B2", &[(0, 4)], &[tensors[0]], &[tensors[1]]);
    case.op("C1", &[(0, 4)], &[], &[tensors[2]]);
    case.op("C2", &[(0, 4)], &[tensors[2]], &[tensors[3]]);
    case.op("J", &[(0, 1)], &[tensors[1], tensors[3]], &[]);
    let bound = lower_bound(&case.problem());
    assert_eq!((bound.value, bound.method), (Nanos(15), "near-ancestors"));
}

#[test]
fn each_bound_by_hand() {
    let full = |devices: &[(usize, u64)]| Case {
        cluster: cluster(devices, 1.0, Duplex::Full),
        ..Case::default()
    };
    // 7 + 1 (latency) + 3 (bytes) + 2: the second op runs only on the other kind.
    let mut case = full(&[(0, u64::MAX), (1, u64::MAX)]);
    let x = case.activation("x", 3);
    case.op("A", &[(0, 7)], &[], &[x]);
    case.op("B", &[(1, 2)], &[x], &[]);
    let bound = lower_bound(&case.problem());
    assert_eq!((bound.value, bound.method), (Nanos(13), "critical-path"));
    // Ten ops of 3 on four equal devices: 30 / 4 = 7.5, but one device runs three of them.
    let mut case = full(&[(0, u64::MAX); 4]);
    (0..10).for_each(|i| {
        case.op(&format!("op{i}"), &[(0, 3)], &[], &[]);
    });
    let bound = lower_bound(&case.problem());
    assert_eq!((bound.value, bound.method), (Nanos(9), "pigeonhole"));
    // Devices of speed 1 and 2 share 60 ops of 2 or 1 ns: 40 on the fast one.
    let mut case = full(&[(0, u64::MAX), (1, u64::MAX)]);
    (0..60).for_each(|i| {
        case.op(&format!("op{i}"), &[(0, 2), (1, 1)], &[], &[]);
    });
    let bound = lower_bound(&case.problem());
    assert_eq!((bound.value, bound.method), (Nanos(40), "work"));
    // A, then ten ops of 3 on two devices, then B: 5 + 15 + 4.
    let mut case = full(&[(0, u64::MAX), (0, u64::MAX)]);
    let x = case.activation("x", 0);
    case.op("A", &[(0, 5)], &[], &[x]);
    let mut made = Vec::new();
    for i in 0..10 {
        made.push(case.activation(&format!("y{i}"), 0));
        case.op(&format!("op{i}"), &[(0, 3)], &[x], &[made[i]]);
    }
    case.op("B", &[(0, 4)], &made, &[]);
    let bound = lower_bound(&case.problem());
    assert_eq!((bound.value, bound.method), (Nanos(24), "window"));
    // Two ops of 4 with 20 ns between them do not fit on one device: 4 + 20 + 4, found by counting
    // what the device of B must hold before `split` finds the same.
    let mut case = full(&[(0, 10), (0, 10)]);
    let x = case.activation("x", 19);
    case.cluster.devices.iter_mut().for_each(|d| d.capacity = Some(Bytes(30)));
    let (w, v) = (case.tensor("w", 20, Role::Parameter), case.tensor("v", 20, Role::Parameter));
    case.op("A", &[(0, 4)], &[w], &[x]);
    case.op("B", &[(0, 4)], &[v, x], &[]);
    let bound = lower_bound(&case.problem());
    assert_eq!((bound.value, bound.method), (Nanos(28), "near-ancestors"));
}

fn fact<'a>(diagnostic: &'a ir::diagnostic::Diagnostic, name: &str) -> Option<&'a Value> {
    diagnostic.facts.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
}

#[test]
fn an_op_that_fits_nowhere_is_named() {
    let mut case =
        Case { cluster: cluster(&[(0, 20), (0, 25)], 1.0, Duplex::Full), ..Case::default() };
    let w = case.tensor("w", 10, Role::Parameter);
    let (x, y) = (case.activation("x", 8), case.activation("y", 4));
    case.op("A", &[(0, 1)], &[], &[x]);
    let b = case.op("B", &[(0, 1)], &[w, x], &[y]);
    case.temporary[b.index()] = 3;
    assert_eq!(memory_certificate(&case.problem()), None);
    case.temporary[b.index()] = 4;
    let diagnostic = memory_certificate(&case.problem()).unwrap().diagnostic;
    assert_eq!((diagnostic.code, diagnostic.blame), ("memory-exceeded", Blame::Infeasible));
    assert_eq!(diagnostic.message, "no device can hold op `B`");
    assert_eq!(fact(&diagnostic, "need"), Some(&Value::Bytes(Bytes(26))));
    assert_eq!(fact(&diagnostic, "have"), Some(&Value::Bytes(Bytes(25))));
    assert_eq!(fact(&diagnostic, "device"), Some(&Value::Text("d1".to_owned())));
    // An op of no length holds nothing but its parameters, and what the caller takes in the end.
    case.times[b.index()] = vec![(0, 0)];
    assert_eq!(memory_certificate(&case.problem()), None);
    case.graph.tensors[y.index()].bytes = Bytes(16);
    assert_eq!(memory_certificate(&case.problem()), None);
    case.graph.outputs = vec![y];
    let diagnostic = memory_certificate(&case.problem()).unwrap().diagnostic;
    assert_eq!(diagnostic.message, "no device can hold op `B`");
    assert_eq!(fact(&diagnostic, "need"), Some(&Value::Bytes(Bytes(26))));
}

#[test]
fn parameters_that_fit_no_cluster_are_counted_once() {
    let mut case =
        Case { cluster: cluster(&[(0, 20), (0, 20)], 1.0, Duplex::Full), ..Case::default() };
    for i in 0..4 {
        let w = case.tensor(&format!("w{i}"), 10, Role::Parameter);
        case.op(&format!("a{i}"), &[(0, 1)], &[w], &[]);
        case.op(&format!("b{i}"), &[(0, 1)], &[w], &[]);
    }
    assert_eq!(memory_certificate(&case.problem()), None);
    let w = case.tensor("more", 1, Role::Parameter);
    case.op("more", &[(0, 1)], &[w], &[]);
    let certificate = memory_certificate(&case.problem()).unwrap();
    assert_eq!(fact(&certificate.diagnostic, "need"), Some(&Value::Bytes(Bytes(41))));
    assert_eq!(fact(&certificate.diagnostic, "have"), Some(&Value::Bytes(Bytes(40))));
    assert_eq!(fact(&certificate.diagnostic, "missing"), Some(&Value::Bytes(Bytes(1))));
    assert_eq!((certificate.enough_each, certificate.enough_devices), (Some(21), Some(3)));
}

/// With the limit that it names no argument is left, with a byte less one is.
#[test]
fn the_numbers_of_a_certificate_are_the_least() {
    let (mut n_limits, mut n_counts) = (0, 0);
    for seed in 0..4_000 {
        let mut random = Random(seed);
        let (mut case, problem) = random_problem(&mut random);
        let n = problem.cluster.n_devices();
        for i in 0..random.below(8) {
            let w = case.tensor(&format!("own{i}"), random.below(20) as u64, Role::Parameter);
            case.op(&format!("reader{i}"), &[(0, 1), (1, 1)], &[w], &[]);
        }
        let limit = random.below(30) as u64;
        let mut with = |limit: u64| {
            case.cluster.devices.iter_mut().for_each(|d| d.capacity = Some(Bytes(limit)));
            memory_certificate(&case.problem())
        };
        let Some(certificate) = with(limit) else { continue };
        let enough = certificate.enough_each.unwrap();
        assert_eq!(with(enough), None, "seed {seed}: {enough} bytes each");
        assert!(with(enough - 1).is_some(), "seed {seed}: less than {enough} bytes each");
        n_limits += 1;
        if let Some(count) = certificate.enough_devices {
            let more = vec![(0, limit); usize::try_from(count).unwrap()];
            case.cluster = cluster(&more, 1.0, Duplex::Full);
            assert!(more.len() > n);
            assert_eq!(memory_certificate(&case.problem()), None, "seed {seed}: {count} devices");
            n_counts += 1;
        }
    }
    assert!(n_limits > 300 && n_counts > 50, "{n_limits} limits, {n_counts} counts");
}

/// A tensor whose producer and consumer are pinned to devices without a way between them.
#[test]
fn a_tensor_that_can_not_be_delivered_is_named() {
    let mut case = Case {
        cluster: cluster(&[(0, 20), (0, 20), (0, 20)], 1.0, Duplex::Full),
        ..Case::default()
    };
    let x = case.activation("x", 4);
    let a = case.op("A", &[(0, 1)], &[], &[x]);
    let b = case.op("B", &[(0, 1)], &[x], &[]);
    for (from, to) in [(0, 1), (1, 0)] {
        case.cluster.links.pairs[from * 3 + to] = NO_ROUTE;
    }
    assert_eq!(route_certificate(&case.problem()), None);
    case.constraints.pins = vec![(a, vec![DeviceId(0)]), (b, vec![DeviceId(1)])];
    let diagnostic = route_certificate(&case.problem()).unwrap();
    assert_eq!((diagnostic.code, diagnostic.blame), ("no-route", Blame::Infeasible));
    assert_eq!(fact(&diagnostic, "tensor"), Some(&Value::Text("x".to_owned())));
    assert_eq!(fact(&diagnostic, "producer"), Some(&Value::Text("A".to_owned())));
    assert_eq!(fact(&diagnostic, "consumer"), Some(&Value::Text("B".to_owned())));
    // One way, or one shared device, is enough.
    case.constraints.pins[1].1.push(DeviceId(2));
    assert_eq!(route_certificate(&case.problem()), None);
    case.constraints.pins[1].1 = vec![DeviceId(0), DeviceId(1)];
    assert_eq!(route_certificate(&case.problem()), None);
}

/// Where a certificate says that a tensor can't be delivered, every random plan is refused.
#[test]
fn a_certificate_of_routes_is_never_wrong() {
    let mut n_proved = 0;
    for seed in 0..3_000 {
        let mut random = Random(seed);
        let (mut case, problem) = random_problem(&mut random);
        let n = problem.cluster.n_devices();
        let pins = (0..n).map(DeviceId::new);
        case.constraints.pins.extend(problem.units().into_iter().zip(pins.cycle()).filter_map(
            |(unit, device)| {
                let op = *unit.first()?;
                problem.can_place(op, device).then(|| (op, vec![device]))
            },
        ));
        let connected = case.problem();
        for pair in 0..n * n {
            if random.one_in(2) {
                case.cluster.links.pairs[pair] = NO_ROUTE;
            }
        }
        let problem = case.problem();
        if route_certificate(&problem).is_some() {
            n_proved += 1;
            for _ in 0..8 {
                let plan = random_plan(&connected, &mut random);
                assert!(replay(&connected, &plan).is_ok(), "seed {seed}");
                assert!(replay(&problem, &plan).is_err(), "seed {seed}: a plan exists");
            }
        }
    }
    assert!(n_proved > 100, "only {n_proved} certificates");
}

/// Whatever a certificate says can't fit, no random plan fits.
#[test]
fn a_certificate_is_never_wrong() {
    let mut n_proved = 0;
    for seed in 0..3_000 {
        let mut random = Random(seed);
        let (mut case, problem) = random_problem(&mut random);
        let plans: Vec<_> = (0..8).map(|_| random_plan(&problem, &mut random)).collect();
        let highest: Vec<Vec<u64>> = plans
            .iter()
            .map(|plan| {
                let timeline = replay(&problem, plan).unwrap();
                peaks(&problem, plan, &timeline).iter().map(|peak| peak.bytes).collect()
            })
            .collect();
        for device in problem.cluster.device_ids().map(DeviceId::index) {
            let limit = highest[0][device].saturating_sub(random.below(4) as u64);
            case.cluster.devices[device].capacity = Some(Bytes(limit));
        }
        let problem = case.problem();
        if memory_certificate(&problem).is_none() {
            continue;
        }
        n_proved += 1;
        let fits = |peaks: &Vec<u64>| {
            problem.cluster.device_ids().all(|d| peaks[d.index()] <= problem.memory_limit(d))
        };
        assert!(!highest.iter().any(fits), "seed {seed}: a plan fits");
    }
    assert!(n_proved > 300, "only {n_proved} certificates");
}
