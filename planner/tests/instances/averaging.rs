//! Nodes that average in pairs or through a server, few enough to try everything.

use cost_model::given::Goal;
use cost_model::given::averaging::{Matching, bound, evaluate, joined_by, pair_time};
use ir::diagnostic::{Blame, Diagnostic};
use ir::instance::{AllReplicas, AveragingInstance, Instance, Peers, SyncBy, SyncWay};
use ir::units::Nanos;
use planner::given::gossip_matchings::{chance, fastest_round};
use planner::given::runner::{Answer, Request, Solution, solve};
use planner::registry::entries;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

fn instance(bytes: Vec<u64>, peers: Peers) -> AveragingInstance {
    let nodes = (0..bytes.len()).map(|node| node.to_string()).collect();
    AveragingInstance { name: String::new(), nodes, bytes, kept: 0.5, peers }
}

/// Two to six nodes, of which few or many have a way to each other, two or three rounds.
pub(crate) fn pairs(seed: u64) -> AveragingInstance {
    let mut random = SmallRng::seed_from_u64(seed);
    let n = random.random_range(2..=6);
    let share = random.random_range(0.5..1.0);
    let rate = |random: &mut SmallRng, at: usize| {
        let is = at / n != at % n && random.random_bool(share);
        if is { f64::from(random.random_range(1..12_u32)) } else { 0.0 }
    };
    let bytes_per_s = (0..n * n).map(|at| rate(&mut random, at)).collect();
    let rounds = if n == 6 { 2 } else { random.random_range(1..=3) };
    instance(vec![1000; n], Peers::Pairs { bytes_per_s, rounds })
}

/// Up to four clients.
pub(crate) fn clients(seed: u64) -> AveragingInstance {
    let mut random = SmallRng::seed_from_u64(seed);
    let n = random.random_range(2..=4);
    let bytes_per_s = (0..n).map(|_| random.random_range(0.1..9.0)).collect();
    let bytes = (0..n).map(|_| random.random_range(1..6)).collect();
    instance(bytes, Peers::Server { bytes_per_s })
}

/// Replicas that average every so many steps.
pub(crate) fn replicas(seed: u64) -> AveragingInstance {
    let mut random = SmallRng::seed_from_u64(seed);
    let n = random.random_range(2..=9);
    let mut some = |most: f64| -> Vec<f64> {
        (0..random.random_range(1..=4)).map(|_| random.random_range(1.0..most)).collect()
    };
    let ways: Vec<SyncWay> = SyncBy::ALL
        .into_iter()
        .map(|by| SyncWay {
            by,
            every: some(50.0).into_iter().map(|period| period as u64).collect(),
            gradients: if by == SyncBy::Cser { some(99.0) } else { vec![1.0] },
            models: if by == SyncBy::LocalAdaAlter { vec![1.0] } else { some(9.0) },
        })
        .collect();
    let peers = AllReplicas {
        bytes_per_s: random.random_range(0.1..9.0),
        latency_s: random.random_range(0.0..0.1),
        compute_s: random.random_range(0.0..3.0),
        ways: ways.into_iter().filter(|_| random.random_bool(0.7)).collect(),
        least_sent: random.random_range(0.0..0.5),
    };
    instance(vec![random.random_range(1..6); n], Peers::All(peers))
}

/// Steps of all that the file allows, by the formulas as they are published, in nanoseconds.
pub(crate) fn every_period(instance: &AveragingInstance) -> Vec<u64> {
    let Peers::All(all) = &instance.peers else { return Vec::new() };
    let (n, bytes) = (instance.nodes.len() as f64, instance.bytes[0] as f64);
    let (beta, alpha) = (2.0 * (n - 1.0) / (n * all.bytes_per_s), 2.0 * (n - 1.0) * all.latency_s);
    let mut found = vec![all.compute_s + bytes * beta + alpha];
    for way in &all.ways {
        for h in way.every.iter().map(|period| *period as f64) {
            for r1 in &way.gradients {
                for r2 in &way.models {
                    let (share, starts) = match way.by {
                        SyncBy::Cser => (1.0 / r1 + 1.0 / (h * r2), 1.0 + 1.0 / h),
                        SyncBy::LocalAdaAlter => (2.0 / h, 1.0 / h),
                        SyncBy::OuterSteps => (1.0 / (h * r2), 1.0 / h),
                    };
                    if share >= all.least_sent {
                        found.push(all.compute_s + bytes * share * beta + alpha * starts);
                    }
                }
            }
        }
    }
    found.into_iter().map(|seconds| (seconds * 1e9).round() as u64).collect()
}

/// All matchings of all nodes, but one of an odd number.
fn matchings(left: &[u32]) -> Vec<Matching> {
    let Some((first, rest)) = left.split_first() else { return vec![Vec::new()] };
    let without =
        |partner: &u32| rest.iter().copied().filter(|other| other != partner).collect::<Vec<_>>();
    let with = |partner: &u32| {
        let others = matchings(&without(partner)).into_iter();
        others
            .map(|mut all| {
                all.push([*first, *partner]);
                all
            })
            .collect::<Vec<_>>()
    };
    let mut all: Vec<Matching> = rest.iter().flat_map(with).collect();
    if left.len() % 2 == 1 {
        all.extend(matchings(rest));
    }
    all
}

/// Calls `each` with every sequence of rounds.
pub(crate) fn every_sequence(instance: &AveragingInstance, each: &mut dyn FnMut(&[Matching])) {
    let Peers::Pairs { rounds, .. } = &instance.peers else { return };
    let nodes: Vec<u32> = (0..instance.nodes.len() as u32).collect();
    let all = matchings(&nodes);
    let mut at = vec![0; *rounds];
    loop {
        each(&at.iter().map(|index| all[*index].clone()).collect::<Vec<_>>());
        let Some(next) = at.iter().rposition(|index| index + 1 < all.len()) else { return };
        at[next] += 1;
        at[next + 1..].fill(0);
    }
}

/// Calls `each` with all that clients may send.
pub(crate) fn every_share(instance: &AveragingInstance, each: &mut dyn FnMut(&[u64])) {
    let mut bytes = vec![0; instance.nodes.len()];
    loop {
        each(&bytes);
        let is_less = |at: &usize| bytes[*at] < instance.bytes[*at];
        let Some(next) = (0..bytes.len()).rev().find(is_less) else { return };
        bytes[next] += 1;
        bytes[next + 1..].fill(0);
    }
}

fn answered(instance: &AveragingInstance) -> Result<Answer, Diagnostic> {
    let wrapped = Instance::Averaging(instance.clone());
    solve(&wrapped, Goal::SlowestRound, None, &Request::new(entries()))
}

/// Every sequence of all matchings is looked at.
#[test]
fn few_nodes_are_as_fast_as_by_enumeration() {
    let (mut n_found, mut n_none, mut n_above) = (0, 0, 0);
    for seed in 0..2000 {
        let instance = pairs(seed);
        let mut least: Option<Nanos> = None;
        every_sequence(&instance, &mut |rounds| {
            let value = evaluate(&instance, rounds).ok();
            least = least.into_iter().chain(value).min();
        });
        match (answered(&instance), least) {
            (Ok(answer), Some(least)) => {
                let value = answer.best.as_ref().map(|best| best.0);
                assert!(value == Some(least) && answer.is_proved, "{seed}: {value:?} {least}");
                n_found += 1;
                n_above += usize::from(least > bound(&instance));
            }
            (Err(error), None) => {
                assert_eq!(error.blame, Blame::Infeasible, "{seed}");
                n_none += 1;
            }
            (answer, least) => panic!("{seed}: {answer:?} {least:?}"),
        }
    }
    assert!(n_found > 800 && n_none > 300 && n_above > 250, "{n_found} {n_none} {n_above}");
}

/// `B = 1 + ((7 i j + 3 (i + j)) mod 97)` of 14 nodes: the best round has 40, a random one 9.70.
#[test]
fn a_published_matrix() {
    let n = 14;
    let rate = |at: usize| {
        let (i, j) = (at / n, at % n);
        let rate = 1 + (7 * i * j + 3 * (i + j)) % 97;
        if i == j { 0.0 } else { rate as f64 }
    };
    let of = |rounds: usize| {
        let bytes_per_s = (0..n * n).map(rate).collect();
        instance(vec![1_000_000; n], Peers::Pairs { bytes_per_s, rounds })
    };
    // A tree of links joins all with 37 at best (by hand: by Kruskal from the fastest one on), so that
    // rounds of 40 alone never do; of more than two the others have 40.
    for rounds in [2, 3, 4] {
        let instance = of(rounds);
        let answer = answered(&instance).unwrap();
        let (value, solution) = answer.best.unwrap();
        let least = (500_000.0 / value.seconds()).round();
        assert!(answer.is_proved && least == 37.0, "{rounds}: {least}");
        let Solution::Rounds(found) = solution else { panic!("rounds") };
        assert_eq!(joined_by(n, &found).len(), n - 1);
        let time = |pair: &[u32; 2]| pair_time(&instance, pair[0] as usize, pair[1] as usize);
        let of_round = |round: &Matching| round.iter().filter_map(time).max();
        let fastest = fastest_round(&instance).unwrap();
        assert_eq!((500_000.0 / fastest.seconds()).round(), 40.0);
        assert!(rounds == 2 || found.iter().any(|round| of_round(round) == Some(fastest)));
    }
    let mean = chance(&of(2)).unwrap();
    assert!((mean - 9.70).abs() < 0.5, "{mean}");
}

/// All are joined, and the bound is met or told of, with a hundred nodes.
#[test]
fn many_nodes_are_joined() {
    for (seed, rounds) in (0..20).flat_map(|seed| [2, 3, 4].map(|rounds| (seed, rounds))) {
        let mut random = SmallRng::seed_from_u64(seed);
        let n = if seed % 2 == 0 { 100 } else { 99 };
        let rate = |at: usize| if at / n == at % n { 0.0 } else { random.random_range(0.1..331.0) };
        let bytes_per_s = (0..n * n).map(rate).collect();
        let instance = instance(vec![1_000_000; n], Peers::Pairs { bytes_per_s, rounds });
        let answer = answered(&instance).unwrap();
        let (value, _) = answer.best.as_ref().unwrap();
        let gap = value.as_f64() / answer.bound.value.as_f64() - 1.0;
        assert!(
            *value >= bound(&instance) && gap < if n == 100 { 1e-9 } else { 0.1 },
            "{seed} {rounds}: {gap}"
        );
    }
}
