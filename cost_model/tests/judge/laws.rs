//! Laws over random problems and random plans.

use cost_model::explain::memory::peak;
use cost_model::ops::critical::{path, shares};
use cost_model::ops::judge::memory::{alive, curves, peaks};
use cost_model::ops::judge::replay::{Timeline, replay};
use cost_model::ops::judge::report::report;
use cost_model::ops::judge::verify::{Violation, step_time_ns, verify};
use cost_model::ops::problem::Problem;
use ir::id::{DeviceId, OpId, TensorId};
use ir::plan::Plan;
use ir::schedule::{Action, Task, Transfer};
use ir::tensor::Role;

use crate::random::{Random, random_case, random_plan, random_problem};

const N_CASES: u64 = 2_000;

#[test]
fn the_replay_and_the_verifiers_clock_agree() {
    for seed in 0..N_CASES {
        let mut random = Random(seed);
        let (_, problem) = random_problem(&mut random);
        let plan = random_plan(&problem, &mut random);
        assert_eq!(verify(&problem, &plan), [], "seed {seed}");
        let timeline = replay(&problem, &plan).unwrap();
        assert_eq!(step_time_ns(&problem, &plan), Some(timeline.step_time.get()), "seed {seed}");
    }
}

#[test]
fn the_critical_path_is_the_step_and_origins_add_up() {
    for seed in 0..N_CASES {
        let mut random = Random(seed);
        let (_, problem) = random_problem(&mut random);
        let plan = random_plan(&problem, &mut random);
        let timeline = replay(&problem, &plan).unwrap();
        let path = path(&problem, &plan, &timeline);
        let mut end = 0;
        for step in &path {
            assert_eq!(step.span.start, end, "seed {seed}: {path:?}");
            end = step.span.end;
        }
        assert_eq!(end, timeline.step_time.get(), "seed {seed}");
        assert_eq!(shares(&path).total(), end);
        for device in report(&problem, &plan, &timeline).devices {
            let busy = device.compute_ns + device.communication_ns;
            assert_eq!(device.origins.total(), busy, "seed {seed}");
            let lines = peak(&problem, &plan, &timeline, &device);
            let (total, lines) = lines.split_last().unwrap();
            assert_eq!(total.bytes, device.peak.bytes, "seed {seed}");
            assert_eq!(lines.iter().map(|line| line.bytes).sum::<u64>(), total.bytes);
        }
    }
}

#[test]
fn shuffled_orders_stop_both_or_neither() {
    let mut n_stuck = 0;
    for seed in 0..N_CASES {
        let mut random = Random(seed);
        let (_, problem) = random_problem(&mut random);
        let mut plan = random_plan(&problem, &mut random);
        for row in &mut plan.schedule.actions {
            for i in (1..row.len()).rev() {
                row.swap(i, random.below(i + 1));
            }
        }
        let mut violations = verify(&problem, &plan);
        match replay(&problem, &plan) {
            Ok(timeline) => {
                assert_eq!(violations, []);
                assert_eq!(step_time_ns(&problem, &plan), Some(timeline.step_time.get()));
            }
            Err(violation) => {
                n_stuck += 1;
                violations.push(violation);
                assert_eq!(violations.len(), 2);
                violations.iter().for_each(|v| assert_circle(&problem, &plan, v));
            }
        }
    }
    assert!(n_stuck > 100, "only {n_stuck} plans got stuck");
}

/// Each task of a circle must really wait for the one before it.
fn assert_circle(problem: &Problem, plan: &Plan, violation: &Violation) {
    let Violation::Deadlock { cycle } = violation else { panic!("{violation:?}") };
    for (i, later) in cycle.iter().enumerate() {
        let earlier = cycle[(i + cycle.len() - 1) % cycle.len()];
        assert!(waits(problem, plan, *later, earlier), "{later:?} on {earlier:?} in {cycle:?}");
    }
}

fn waits(problem: &Problem, plan: &Plan, later: Task, earlier: Task) -> bool {
    let follows = |list: Vec<Task>| list.windows(2).any(|pair| pair == [earlier, later]);
    let rows = plan.schedule.actions.iter();
    let in_row = rows.map(|r| r.iter().map(|Action::Op(op)| Task::Op(*op)).collect()).any(follows);
    let orders = plan.schedule.channels.values();
    let in_order = orders.map(|o| o.iter().map(|t| Task::Transfer(*t)).collect()).any(follows);
    let mut waits = plan.schedule.after.iter();
    let stated = waits.any(|w| w.task == later && w.after.contains(&earlier));
    let home = |op: OpId| plan.placement.of(op).unwrap();
    let data = match (earlier, later) {
        (Task::Op(a), Task::Op(b)) => {
            home(a) == home(b) && problem.inputs(b).iter().any(|t| problem.producer(*t) == Some(a))
        }
        (Task::Op(a), Task::Transfer(t)) => problem.producer(t.tensor) == Some(a),
        (Task::Transfer(Transfer { tensor, to }), Task::Op(b)) => {
            home(b) == to && problem.inputs(b).contains(&tensor)
        }
        (Task::Transfer(_), Task::Transfer(_)) => false,
    };
    in_row || in_order || stated || data
}

/// M1 to M4 read literally, for one instant.
fn bytes_at(problem: &Problem, plan: &Plan, timeline: &Timeline, d: DeviceId, at: u64) -> u64 {
    let span = |op: OpId| timeline.ops[op.index()].unwrap();
    let here = |op: &OpId| plan.placement.of(*op) == Some(d);
    let mut total = 0;
    for index in 0..problem.n_tensors() {
        let tensor = TensorId::new(index);
        let readers: Vec<OpId> = problem.consumers(tensor).iter().copied().filter(here).collect();
        let last = readers.iter().map(|op| span(*op).end).max();
        let role = problem.graph.tensor(tensor).role;
        let interval = match (role, problem.producer(tensor)) {
            (Role::Parameter, _) => last.map(|_| (0, u64::MAX)),
            (Role::Input, _) => last.map(|end| (0, end)),
            (Role::Activation, Some(maker)) if here(&maker) => {
                let mut sent = timeline.transfers.iter().filter(|t| t.transfer.tensor == tensor);
                let sent = sent.by_ref().map(|t| t.span.end).max();
                let output_end = problem.is_output(tensor).then_some(u64::MAX);
                let end =
                    [Some(span(maker).end), last, sent, output_end].into_iter().flatten().max();
                end.map(|end| (span(maker).start, end))
            }
            (Role::Activation, Some(_)) => timeline
                .transfers
                .iter()
                .find(|t| t.transfer.tensor == tensor && t.transfer.to == d)
                .and_then(|t| last.map(|end| (t.span.start, end))),
            (Role::Activation, None) => None,
        };
        if interval.is_some_and(|(start, end)| start <= at && at < end) {
            total += match role {
                Role::Parameter => problem.persistent_bytes(tensor),
                _ => problem.bytes(tensor),
            };
        }
    }
    let running = problem.actions.iter().filter(|op| here(op));
    let running = running.filter(|op| span(**op).start <= at && at < span(**op).end);
    total + running.map(|op| problem.temporary(*op)).sum::<u64>()
}

#[test]
fn peaks_agree_with_a_look_at_every_instant() {
    let mut n_at_the_end = 0;
    for seed in 0..N_CASES {
        let mut random = Random(seed);
        let (_, problem) = random_problem(&mut random);
        let plan = random_plan(&problem, &mut random);
        let timeline = replay(&problem, &plan).unwrap();
        let curves = curves(&problem, &plan, &timeline);
        let peaks = peaks(&problem, &plan, &timeline);
        for (device, (peak, curve)) in peaks.into_iter().zip(curves).enumerate() {
            let device = DeviceId::new(device);
            let level = |at| bytes_at(&problem, &plan, &timeline, device, at);
            let instants = 0..=timeline.step_time.get();
            let most = instants.clone().map(level).max().unwrap();
            let first = instants.clone().find(|at| level(*at) == most).unwrap();
            assert_eq!((peak.bytes, peak.at), (most, first), "seed {seed} {device}");
            let holdings = alive(&problem, &plan, &timeline, device, peak.at);
            assert_eq!(holdings.iter().map(|h| h.bytes).sum::<u64>(), most, "seed {seed}");
            for at in instants {
                let since = curve.iter().rfind(|level| level.at <= at).unwrap();
                assert_eq!(since.bytes, level(at), "seed {seed} {device} at {at}");
            }
        }
        let step_time = timeline.step_time.get();
        let made_last = |op: &&OpId| {
            let returned = |t: &TensorId| problem.is_output(*t) && problem.bytes(*t) > 0;
            timeline.ops[op.index()].is_some_and(|span| span.start == step_time)
                && problem.outputs(**op).iter().any(returned)
        };
        n_at_the_end += problem.actions.iter().filter(made_last).count();
    }
    assert!(n_at_the_end > 20, "only {n_at_the_end} outputs of the last instant");
}

#[test]
fn a_plan_is_legal_exactly_down_to_its_peak() {
    for seed in 0..N_CASES / 2 {
        let mut random = Random(seed);
        let (mut case, problem) = random_problem(&mut random);
        let plan = random_plan(&problem, &mut random);
        let timeline = replay(&problem, &plan).unwrap();
        let peaks = peaks(&problem, &plan, &timeline);
        let mut with_limits = |slack: i64| {
            for (device, peak) in case.cluster.devices.iter_mut().zip(&peaks) {
                let limit = peak.bytes.saturating_add_signed(slack);
                device.capacity = Some(ir::units::Bytes(limit));
            }
            verify(&case.problem(), &plan)
        };
        assert_eq!(with_limits(0), [], "seed {seed}");
        let over: Vec<_> = with_limits(-1)
            .into_iter()
            .map(|v| match v {
                Violation::MemoryExceeded { device, at, need, .. } => (device, at, need),
                other => panic!("{other:?}"),
            })
            .collect();
        let expected: Vec<_> = peaks
            .iter()
            .enumerate()
            .filter(|(_, peak)| peak.bytes > 0)
            .map(|(d, peak)| (DeviceId::new(d), peak.at, peak.bytes))
            .collect();
        assert_eq!(over, expected, "seed {seed}");
    }
}

#[test]
fn the_step_time_scales_with_all_durations() {
    for seed in 0..N_CASES / 4 {
        let mut random = Random(seed);
        let (mut case, problem) = random_problem(&mut random);
        let plan = random_plan(&problem, &mut random);
        let once = replay(&problem, &plan).unwrap().step_time.get();
        for kind in &mut case.cluster.links.kinds {
            kind.latency_ns *= 3.0;
            let third = kind.bandwidth.get() / 3.0;
            kind.bandwidth = ir::units::BytesPerSecond::new(third).unwrap();
        }
        let thrice = replay(&case.scaled(3).unwrap(), &plan).unwrap().step_time.get();
        assert_eq!(thrice, 3 * once, "seed {seed}");
    }
}

#[test]
fn one_device_takes_the_sum_of_its_ops() {
    let mut n = 0;
    for seed in 0..N_CASES {
        let mut random = Random(seed);
        let (_, problem) = random_problem(&mut random);
        if problem.cluster.n_devices() == 1 {
            n += 1;
            let mut plan = random_plan(&problem, &mut random);
            plan.schedule.after.clear();
            let sum: u64 = problem.actions.iter().map(|op| problem.time_ns(*op, DeviceId(0))).sum();
            assert_eq!(replay(&problem, &plan).unwrap().step_time.get(), sum);
        }
    }
    assert!(n > 100, "only {n} problems of one device");
}

#[test]
fn the_parts_of_a_report_add_up() {
    for seed in 0..N_CASES / 2 {
        let mut random = Random(seed);
        let (_, problem) = random_problem(&mut random);
        let plan = random_plan(&problem, &mut random);
        let timeline = replay(&problem, &plan).unwrap();
        let report = report(&problem, &plan, &timeline);
        for (device, peak) in report.devices.iter().zip(peaks(&problem, &plan, &timeline)) {
            assert_eq!(device.peak, peak);
            let (mut computing, mut talking) = (0, 0);
            for at in 0..timeline.step_time.get() {
                let mut ops = problem.actions.iter().filter(|op| {
                    let span = timeline.ops[op.index()].unwrap();
                    plan.placement.of(**op) == Some(device.device)
                        && span.start <= at
                        && at < span.end
                });
                let mut sent = timeline.transfers.iter().filter(|t| {
                    (t.from == device.device || t.transfer.to == device.device)
                        && t.span.start <= at
                        && at < t.span.end
                });
                if ops.next().is_some() {
                    computing += 1;
                } else if sent.next().is_some() {
                    talking += 1;
                }
            }
            assert_eq!((device.compute_ns, device.communication_ns), (computing, talking));
            let sum = device.compute_ns + device.communication_ns + device.idle_ns;
            assert_eq!(sum, timeline.step_time.get(), "seed {seed}");
        }
        for link in &report.links {
            assert!(link.busy_ns <= timeline.step_time.get(), "a channel is used one at a time");
        }
    }
}

/// Reverses the ids of ops and tensors, in the problem and in the plan alike.
#[test]
fn renumbering_keeps_the_step_time() {
    for seed in 0..N_CASES / 4 {
        let mut random = Random(seed);
        let case = random_case(&mut random);
        let Ok(problem) = case.scaled(1) else { continue };
        let plan = random_plan(&problem, &mut random);
        let (n_ops, n_tensors) = (problem.n_ops(), problem.n_tensors());
        let op = |id: OpId| OpId::new(n_ops - 1 - id.index());
        let tensor = |id: &mut TensorId| {
            *id = TensorId::new(n_tensors - 1 - id.index());
        };
        let mut other = case.clone();
        other.graph.ops.reverse();
        other.graph.tensors.reverse();
        other.times.reverse();
        other.temporary.reverse();
        other.graph.inputs.iter_mut().chain(&mut other.graph.outputs).for_each(tensor);
        for node in &mut other.graph.ops {
            let all = node.inputs.iter_mut().chain(&mut node.parameters).chain(&mut node.outputs);
            all.for_each(tensor);
        }
        other.constraints.pins.iter_mut().for_each(|(id, _)| *id = op(*id));
        let mut moved = plan.clone();
        moved.placement.device.reverse();
        let rename = |task: &mut Task| match task {
            Task::Op(id) => *id = op(*id),
            Task::Transfer(t) => tensor(&mut t.tensor),
        };
        for Action::Op(id) in moved.schedule.actions.iter_mut().flatten() {
            *id = op(*id);
        }
        moved.schedule.channels.values_mut().flatten().for_each(|t| tensor(&mut t.tensor));
        for wait in &mut moved.schedule.after {
            std::iter::once(&mut wait.task).chain(&mut wait.after).for_each(rename);
        }
        let after = other.problem();
        assert_eq!(verify(&after, &moved), []);
        let before = replay(&problem, &plan).unwrap().step_time;
        assert_eq!(replay(&after, &moved).unwrap().step_time, before, "seed {seed}");
    }
}
