//! Every method through the table: legal, no better than the best, and as good where it proves so.

use cost_model::given::gradients::Buckets;
use cost_model::given::{Goal, Judge, latency, row, time_per_sample};
use ir::diagnostic::Blame;
use ir::instance::{Configuration, Instance, LayerProfile, ProfileNode, StageInstance, StageNode};
use ir::units::{Bytes, BytesPerSecond, Nanos};
use planner::given::runner::{Request, rows_for, solve};
use planner::registry::entries;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use time_per_sample::Stage;

use crate::sample::{every_split, instance};
use crate::{averaging, gradients, tasks};

#[test]
fn every_goal_has_a_row_and_its_name() {
    for row in cost_model::given::rows() {
        assert!(rows_for(entries(), row.goal).count() > 1, "{}: none but the portfolio", row.name);
        assert_eq!(cost_model::given::row(row.goal).name, row.name);
    }
}

#[test]
fn latencies_are_legal_and_nothing_is_below_their_bound() {
    let (mut n_optimal, mut n_found) = (0, 0);
    for seed in 0..300 {
        let instance = instance(seed, 6);
        let mut best = None;
        every_split(&instance, |devices| {
            if let Ok(value) = latency::evaluate(&instance, devices) {
                best = best.into_iter().chain([value]).min();
            }
        });
        let bound = latency::bound(&instance);
        assert!(best.is_none_or(|best| bound <= best), "{seed}");
        let request = Request::new(entries());
        let answer = solve(&Instance::Load(instance), Goal::Latency, None, &request).unwrap();
        let Some((value, _)) = answer.best else { continue };
        assert!(best.is_some_and(|best| best <= value), "{seed}");
        n_found += 1;
        n_optimal += usize::from(best == Some(value));
    }
    // A heuristic, but on six nodes it has to be good.
    assert!(n_found > 100 && n_optimal * 10 > n_found * 9, "{n_optimal} of {n_found}");
}

fn stages(seed: u64) -> StageInstance {
    let mut random = SmallRng::seed_from_u64(seed);
    let n_nodes = random.random_range(1..=4u32);
    let mut edges = Vec::new();
    for to in 1..n_nodes {
        for from in 0..to {
            if random.random_bool(0.6) {
                edges.push((from, to, Bytes(random.random_range(0..3))));
            }
        }
    }
    let nodes = (0..n_nodes).map(|node| {
        let mut configurations = Vec::new();
        for degree in [1, 2] {
            for name in 0..random.random_range(u32::from(degree == 1)..=2) {
                configurations.push(Configuration {
                    name: name.to_string(),
                    degree,
                    time: Nanos(random.random_range(1..9) * 1_000_000_000),
                    parameters: Bytes(random.random_range(0..4)),
                    bytes_per_sample: Bytes(random.random_range(0..6)),
                    bytes_fixed: Bytes(random.random_range(0..4)),
                    forward_sync: edges
                        .iter()
                        .filter(|(_, to, _)| *to == node)
                        .map(|(from, _, _)| (*from, Bytes(u64::from(degree))))
                        .collect(),
                    backward_sync: Vec::new(),
                });
            }
        }
        StageNode { source_id: u64::from(node), name: String::new(), configurations }
    });
    StageInstance {
        name: format!("stages {seed}"),
        nodes: nodes.collect(),
        edges,
        n_devices: random.random_range(1..=4),
        device_memory: Bytes(random.random_range(5..40)),
        bandwidth: BytesPerSecond::new(2.0).unwrap(),
        n_micro_batches: 4,
    }
}

/// Calls `each` with every pipeline: every stage of every node, degrees and configurations.
fn every_pipeline(instance: &StageInstance, each: &mut dyn FnMut(&[Stage])) {
    let n_nodes = instance.nodes.len();
    let mut stage_of = vec![0usize; n_nodes];
    loop {
        let n_stages = stage_of.iter().max().map_or(0, |last| last + 1);
        if (0..n_stages).all(|stage| stage_of.contains(&stage)) {
            let members = |stage| (0..n_nodes).filter(|node| stage_of[*node] == stage).collect();
            let members: Vec<Vec<usize>> = (0..n_stages).map(members).collect();
            fill(instance, &members, &mut Vec::new(), each);
        }
        let Some(at) = stage_of.iter().rposition(|stage| stage + 1 < n_nodes) else { return };
        stage_of[at] += 1;
        stage_of[at + 1..].fill(0);
    }
}

fn fill(
    instance: &StageInstance,
    members: &[Vec<usize>],
    stages: &mut Vec<Stage>,
    each: &mut dyn FnMut(&[Stage]),
) {
    let Some(inside) = members.get(stages.len()) else { return each(stages) };
    for (tensor, data) in [(1, 1), (1, 2), (1, 4), (2, 1), (2, 2)] {
        let counts = inside.iter().map(|node| instance.nodes[*node].configurations.len() as u32);
        let counts: Vec<u32> = counts.collect();
        let n_choices: u32 = counts.iter().product();
        for mut choice in 0..n_choices {
            let nodes = inside.iter().zip(&counts).map(|(node, count)| {
                let index = choice % count;
                choice /= count;
                (*node as u32, index)
            });
            let nodes: Vec<(u32, u32)> = nodes.collect();
            let degree = |(node, at): &(u32, u32)| {
                instance.nodes[*node as usize].configurations[*at as usize].degree
            };
            if nodes.iter().all(|pair| degree(pair) == tensor) {
                stages.push(Stage { nodes, data, tensor });
                fill(instance, members, stages, each);
                stages.pop();
            }
        }
    }
}

/// A chain of up to seven layers.
fn chain(seed: u64) -> LayerProfile {
    let mut random = SmallRng::seed_from_u64(seed);
    let times: Vec<u64> =
        (0..random.random_range(1..8)).map(|_| random.random_range(0..20)).collect();
    let node = |(at, time): (usize, &u64)| ProfileNode {
        id: format!("node{at}"),
        description: "Layer".to_owned(),
        forward: Nanos(*time),
        backward: Nanos::ZERO,
        activations: Bytes::ZERO,
        parameters: Bytes::ZERO,
    };
    LayerProfile {
        name: String::new(),
        nodes: times.iter().enumerate().map(node).collect(),
        edges: (1..times.len() as u32).map(|to| (to - 1, to)).collect(),
    }
}

/// Devices of a chain.
const N_DEVICES: usize = 3;

/// A small instance that has a goal.
fn sampled(seed: u64, goal: Goal) -> Instance {
    match goal {
        Goal::MaxLoad | Goal::ContiguousMaxLoad | Goal::Latency => {
            Instance::Load(instance(seed, 6))
        }
        Goal::TimePerSample => Instance::Stages(stages(seed)),
        Goal::SlowestStage => Instance::Profile(chain(seed)),
        Goal::StepTime => Instance::Gradients(gradients::sampled(seed, 8)),
        Goal::Makespan => Instance::Tasks(tasks::sampled(seed)),
        Goal::SlowestRound => Instance::Averaging(averaging::pairs(seed)),
        Goal::UploadTime => Instance::Averaging(averaging::clients(seed)),
        Goal::AveragedStep => Instance::Averaging(averaging::replicas(seed)),
    }
}

/// The least value over all solutions.
fn least(wrapped: &Instance, goal: Goal) -> Option<u64> {
    let mut best: Option<u64> = None;
    let mut take = |value: u64| best = best.into_iter().chain([value]).min();
    match (wrapped, row(goal).judge) {
        (Instance::Load(instance), Judge::Load { evaluate, .. }) => {
            every_split(instance, |devices| {
                if let Ok(value) = evaluate(instance, devices) {
                    take(value.get());
                }
            });
        }
        (Instance::Stages(instance), Judge::Stages { evaluate, .. }) => {
            every_pipeline(instance, &mut |stages| {
                if let Ok(value) = evaluate(instance, stages) {
                    take(value.get());
                }
            });
        }
        (Instance::Profile(profile), _) => {
            // Cut into at most three ranges.
            let n = profile.nodes.len();
            let sum = |from: usize, to: usize| -> u64 {
                profile.nodes[from..to].iter().map(|node| node.forward.get()).sum()
            };
            for (one, two) in (0..=n).flat_map(|one| (one..=n).map(move |two| (one, two))) {
                take(sum(0, one).max(sum(one, two)).max(sum(two, n)));
            }
        }
        (Instance::Gradients(instance), Judge::Buckets { evaluate, .. }) => {
            for exchange in instance.costs.iter().map(|cost| cost.exchange) {
                gradients::every_cut(instance.tensors.len(), &mut |lengths| {
                    let buckets = Buckets::whole(exchange, lengths.to_vec());
                    take(evaluate(instance, &buckets).unwrap().get());
                });
            }
        }
        (Instance::Tasks(instance), Judge::Tasks { evaluate, .. }) => {
            tasks::every_split(instance, &mut |devices| {
                take(evaluate(instance, devices).unwrap().get());
            });
        }
        (Instance::Averaging(instance), Judge::Rounds { evaluate, .. }) => {
            averaging::every_sequence(instance, &mut |rounds| {
                if let Ok(value) = evaluate(instance, rounds) {
                    take(value.get());
                }
            });
        }
        (Instance::Averaging(instance), Judge::Uploads { evaluate, .. }) => {
            averaging::every_share(instance, &mut |bytes| {
                if let Ok(value) = evaluate(instance, bytes) {
                    take(value.get());
                }
            });
        }
        (Instance::Averaging(instance), Judge::Synchronisation { .. }) => {
            averaging::every_period(instance).into_iter().for_each(&mut take);
        }
        _ => panic!("{goal:?} is no objective of this instance"),
    }
    best
}

/// Every row of the registry keeps what it promises: an optimum is the least of all solutions, and
/// nothing is below a bound.
#[test]
fn rows_keep_what_they_promise() {
    let mut promising: Vec<&str> = Vec::new();
    // What `ideals` promises of contiguous splits is tried in `exact`.
    let goals = cost_model::given::rows().iter().map(|row| row.goal);
    for goal in goals.filter(|goal| ![Goal::ContiguousMaxLoad, Goal::MaxLoad].contains(goal)) {
        let (mut n_found, mut n_none) = (0, 0);
        for seed in 0..200 {
            let wrapped = sampled(seed, goal);
            let least = least(&wrapped, goal);
            n_found += usize::from(least.is_some());
            n_none += usize::from(least.is_none());
            for (entry, method) in rows_for(entries(), goal) {
                let request = Request { n_devices: N_DEVICES, ..Request::new(entries()) };
                let answer = match solve(&wrapped, goal, Some(entry.name), &request) {
                    Ok(answer) => answer,
                    Err(error) => {
                        assert_eq!((error.blame, least), (Blame::Infeasible, None), "{seed}");
                        continue;
                    }
                };
                let value = answer.best.as_ref().map(|(value, _)| value.get());
                let bound = answer.bound.value.get();
                assert!(least.is_none_or(|least| bound <= least + 1), "{seed} {}", entry.name);
                if !method.guarantee.is_optimal() {
                    continue;
                }
                promising.push(entry.name);
                // To the nanosecond.
                let off = value.unwrap_or(0).abs_diff(least.unwrap_or(0));
                let is_least = value.is_some() == least.is_some() && off <= 1;
                assert!(is_least, "{seed} {}: {value:?} {least:?}", entry.name);
                assert!(answer.is_proved, "{seed} {}: {value:?} {bound}", entry.name);
            }
        }
        let has_some = [
            Goal::SlowestStage,
            Goal::StepTime,
            Goal::Makespan,
            Goal::UploadTime,
            Goal::AveragedStep,
        ];
        let may_have_none = !has_some.contains(&goal);
        assert!(n_found > 80 && (n_none > 5 || !may_have_none), "{goal:?} {n_found} {n_none}");
    }
    promising.sort_unstable();
    promising.dedup();
    let all = ["gradient-buckets", "labels", "milp", "straight", "sync-period", "upload-shares"];
    assert_eq!(promising, all);
}

#[test]
fn what_does_not_fit_is_refused() {
    let wrapped = Instance::Stages(stages(0));
    let code = |goal, name| solve(&wrapped, goal, name, &Request::new(entries())).unwrap_err().code;
    assert_eq!(code(Goal::Latency, None), "no-objective");
    assert_eq!(code(Goal::TimePerSample, Some("orders")), "wrong-algorithm");
    assert_eq!(code(Goal::TimePerSample, Some("m-etf")), "wrong-algorithm");
    assert_eq!(code(Goal::TimePerSample, Some("labls")), "unknown-algorithm");
    assert_eq!(row(Goal::TimePerSample).name, "time-per-sample");
}
