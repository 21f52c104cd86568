use ir::cluster::{Channel, Links, NO_ROUTE};
use ir::id::{ChannelId, OpId};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use cost_model::ops::judge::replay::replay;
use cost_model::ops::judge::verify::verify;
use cost_model::ops::problem::Problem;

use super::sketch::{Sketch, SketchOp, route_kind};
use super::{Policy, Variant, naive, schedule};
use crate::draft::{Draft, Orders};
use crate::run::no_plan::Reason;

/// Full or half duplex, one or two tiers, and sometimes a receive channel that two devices share.
fn random_links(rng: &mut SmallRng, n_devices: usize) -> Links {
    let latency = f64::from(rng.random_range(0..3u8));
    let n_tiers = rng.random_range(1..3);
    let half = rng.random_bool(0.3);
    let mut links = Links {
        kinds: (0..n_tiers)
            .map(|t| route_kind(t, latency + t as f64, 1.0 / (1 + t) as f64))
            .collect(),
        n_tiers,
        pairs: vec![NO_ROUTE; n_devices * n_devices],
        ..Links::default()
    };
    for device in 0..n_devices * n_tiers {
        links.send.push(ChannelId::new(links.channels.len()));
        links.channels.push(Channel { name: format!("send{device}") });
        if half {
            links.receive.push(links.send[device]);
        } else if device > 0 && rng.random_bool(0.1) {
            links.receive.push(links.receive[device - 1]);
        } else {
            links.receive.push(ChannelId::new(links.channels.len()));
            links.channels.push(Channel { name: format!("recv{device}") });
        }
    }
    for from in 0..n_devices {
        for to in (0..n_devices).filter(|to| *to != from) {
            if !rng.random_bool(0.03) {
                // The same tier both ways.
                links.pairs[from * n_devices + to] = ((from + to) % n_tiers) as u16;
            }
        }
    }
    links
}

pub(crate) fn random_sketch(rng: &mut SmallRng) -> Sketch {
    let n_devices = rng.random_range(1..5);
    let n_kinds = rng.random_range(1..=n_devices);
    let mut sketch = Sketch::new(0.0);
    let scale = rng.random_range(9..30u64);
    for device in 0..n_devices {
        let limit = rng.random_bool(0.9).then(|| rng.random_range(scale * 2 / 3..=scale));
        sketch.devices.push((format!("k{}", device % n_kinds), limit));
    }
    sketch.links = Some(random_links(rng, n_devices));
    let mut tensors: Vec<String> = Vec::new();
    for number in 0..rng.random_range(1..16) {
        let mut op = SketchOp { name: format!("o{number}"), ..SketchOp::default() };
        for kind in 0..n_kinds {
            if kind == number % n_kinds || rng.random_bool(0.4) {
                op.times.push((format!("k{kind}"), rng.random_range(0..10)));
            }
        }
        for _ in 0..rng.random_range(0..3) {
            if !tensors.is_empty() {
                let from = tensors.len().saturating_sub(5);
                let tensor = tensors[rng.random_range(from..tensors.len())].clone();
                if !op.inputs.contains(&tensor) {
                    op.inputs.push(tensor);
                }
            }
        }
        for output in 0..rng.random_range(0..3usize) {
            op.outputs.push((format!("t{number}.{output}"), rng.random_range(0..6)));
        }
        if rng.random_bool(0.3) {
            let number = rng.random_range(0..3u64);
            op.parameters.push((format!("w{number}"), number + 1));
        }
        if rng.random_bool(0.2) {
            let number = rng.random_range(0..2u64);
            op.graph_inputs.push((format!("x{number}"), number + 1));
        }
        op.temporary = if rng.random_bool(0.4) { rng.random_range(0..scale * 2 / 3) } else { 0 };
        op.group = rng.random_bool(0.3).then(|| rng.random_range(0..2));
        tensors.extend(op.outputs.iter().map(|(name, _)| name.clone()));
        sketch.ops.push(op);
    }
    sketch.graph_outputs = tensors.into_iter().filter(|_| rng.random_bool(0.1)).collect();
    sketch
}

/// Random favourites: each op at most one consumer, each at most once.
fn random_favourites(rng: &mut SmallRng, problem: &Problem) -> Vec<Option<OpId>> {
    let mut taken = vec![false; problem.n_ops()];
    let mut favourite = vec![None; problem.n_ops()];
    for &op in &problem.actions {
        let consumers = problem.outputs(op).iter().flat_map(|t| problem.consumers(*t));
        let consumers: Vec<OpId> = consumers.copied().filter(|c| !taken[c.index()]).collect();
        if !consumers.is_empty() && rng.random_bool(0.8) {
            let child = consumers[rng.random_range(0..consumers.len())];
            taken[child.index()] = true;
            favourite[op.index()] = Some(child);
        }
    }
    favourite
}

fn random_problem(rng: &mut SmallRng) -> Problem {
    loop {
        let sketch = random_sketch(rng);
        // A group may have no device that runs all of it.
        if let Some(problem) = sketch.try_problem() {
            return problem;
        }
    }
}

#[test]
fn the_engine_does_what_the_rules_say() {
    let (mut n_plans, mut n_waits, mut n_transfers, mut n_failures) = (0, 0, 0, 0);
    for seed in 0..16_000 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let problem = random_problem(&mut rng);
        let favourite =
            if rng.random_bool(0.5) { random_favourites(&mut rng, &problem) } else { Vec::new() };
        let variant = if rng.random_bool(0.3) { Variant::Reserve } else { Variant::Plain };
        let policy = Policy { variant, favourite };
        let expected = naive::schedule(&problem, &policy);
        let listed = match schedule(&problem, &policy, &mut || None) {
            Ok(listed) => listed,
            Err(no_plan) => {
                let memory = no_plan.reason == Reason::MemoryExceeded;
                assert!(memory || no_plan.reason == Reason::Unreachable, "seed {seed}");
                assert!(!no_plan.proved);
                assert_eq!(expected, None, "seed {seed}");
                n_failures += 1;
                continue;
            }
        };
        assert_eq!(Some(&listed), expected.as_ref(), "seed {seed}");
        n_plans += 1;
        n_waits += listed.schedule.after.len();
        n_transfers += listed.schedule.channels.values().map(Vec::len).sum::<usize>();
        assert!(listed.schedule.after.iter().all(|wait| !wait.after.is_empty()), "seed {seed}");
    }
    // The sample must reach every rule.
    assert!(n_plans > 6_000 && n_failures > 1_000, "{n_plans} {n_failures}");
    assert!(n_waits > 300 && n_transfers > 15_000, "{n_waits} {n_transfers}");
}

#[test]
fn plans_are_legal_and_the_replay_has_the_times_of_the_schedule() {
    let (mut n_waits, mut n_rescued) = (0, 0);
    for seed in 20_000..28_000 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let problem = random_problem(&mut rng);
        let favourite = random_favourites(&mut rng, &problem);
        let policy = Policy { favourite, ..Policy::default() };
        let Ok((listed, ledger)) = super::schedule_with_times(&problem, &policy) else {
            let policy = Policy { variant: Variant::Room, ..policy };
            n_rescued += usize::from(schedule(&problem, &policy, &mut || None).is_ok());
            continue;
        };
        let plan = Draft::default()
            .placed(listed.placement)
            .scheduled(Orders::Full(listed.schedule))
            .finish(&problem);
        assert_eq!(verify(&problem, &plan), Vec::new(), "seed {seed}");
        let timeline = replay(&problem, &plan).unwrap();
        for &op in &problem.actions {
            let span = timeline.ops[op.index()].unwrap();
            assert_eq!((span.start, span.end), ledger[op.index()], "seed {seed}, {op}");
        }
        n_waits += plan.schedule.after.len();
    }
    assert!(n_waits > 150, "{n_waits}");
    assert!(n_rescued > 0, "room kept for the rest finds {n_rescued} plans more");
}

#[test]
fn room_kept_for_the_rest_gives_legal_plans_and_packs_what_greed_does_not() {
    for seed in 30_000..34_000 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let problem = random_problem(&mut rng);
        let policy = Policy { variant: Variant::Room, ..Policy::default() };
        let Ok(listed) = schedule(&problem, &policy, &mut || None) else { continue };
        let draft = Draft::default().placed(listed.placement);
        let plan = draft.scheduled(Orders::Full(listed.schedule)).finish(&problem);
        assert_eq!(verify(&problem, &plan), Vec::new(), "seed {seed}");
    }
    // Parameters of 6, 6, 4 and 4 on two devices of 10: greed puts one 6 on each device and then a 4
    // beside each only if the second op does not go beside the first. Op D must wait for C.
    let sketch = Sketch::new(9.0).device("a", 10).device("a", 10);
    let sketch = sketch.op("A", "a", 1, "", "x:0").persistent(4);
    let sketch = sketch.op("B", "a", 1, "x", "y:0").persistent(4);
    let sketch = sketch.op("C", "a", 1, "y", "z:0").persistent(6);
    let problem = sketch.op("D", "a", 1, "z", "").persistent(6).problem();
    let with = |variant| Policy { variant, ..Policy::default() };
    assert!(schedule(&problem, &with(Variant::Plain), &mut || None).is_err());
    assert!(schedule(&problem, &with(Variant::Room), &mut || None).is_ok());
}

#[test]
fn sums_past_64_bits_are_refused() {
    let sketch = Sketch::new(0.0).device("a", 10).op("A", "a", u64::MAX / 2, "", "x:1");
    let no_plan = schedule(&sketch.problem(), &Policy::default(), &mut || None).unwrap_err();
    assert_eq!(no_plan.diagnostic.code, "out-of-range");
    let sketch = Sketch::new(0.0).device("a", 10).op("A", "a", 1, "", "x:18446744073709551615");
    let no_plan = schedule(&sketch.problem(), &Policy::default(), &mut || None).unwrap_err();
    assert_eq!(no_plan.reason, Reason::Unsupported);
}

#[test]
fn the_first_ready_op_without_room_is_named() {
    let sketch = Sketch::new(0.0)
        .device("a", 10)
        .op("A", "a", 1, "", "x:4")
        .op("B", "a", 1, "x", "")
        .temporary(7);
    let no_plan = schedule(&sketch.problem(), &Policy::default(), &mut || None).unwrap_err();
    assert_eq!(
        no_plan.diagnostic.message,
        "no device has room for op `B` beside what was placed before it"
    );
    let facts = no_plan.diagnostic.facts;
    assert!(facts.contains(&("need", ir::units::Bytes(7).into())), "{facts:?}");
    assert!(facts.contains(&("have", ir::units::Bytes(6).into())), "{facts:?}");
}
