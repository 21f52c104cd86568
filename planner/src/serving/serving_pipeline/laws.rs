//! The search finds the best of all pipelines, its bound is below every one of them, and what looks for a
//! shorter one from the other end finds none.

use cost_model::runs::served::bound::is_below;
use cost_model::runs::served::{Held, Piece, Speed, Way, Ways};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::run::Limits;

/// Sums before each of so many blocks.
fn sums(each: &mut dyn FnMut() -> u64, n: usize) -> Vec<u64> {
    (0..n).fold(vec![0], |mut sums, _| {
        sums.push(sums[sums.len() - 1] + each());
        sums
    })
}

/// Few devices of a few kinds, some of which do not reach each other; with channels of their own, or of
/// several, or one for both directions.
fn random(seed: u64, shares: bool) -> Costs {
    let random = &mut SmallRng::seed_from_u64(seed);
    let n = random.random_range(1..=4);
    let n_blocks = random.random_range(1..=6);
    let n_kinds = random.random_range(1..=3);
    let speed = |random: &mut SmallRng| Speed {
        before: {
            let (least, most) = (random.random_range(1..50), random.random_range(50..100));
            sums(&mut || random.random_range(least..most), n_blocks)
        },
        embedding: random.random_range(0..30),
        head: random.random_range(0..150),
    };
    let speeds: Vec<Speed> = (0..n_kinds).map(|_| speed(random)).collect();
    let bytes = Held {
        weights: sums(&mut || random.random_range(5..10), n_blocks),
        cache: sums(&mut || random.random_range(0..4), n_blocks),
        embedding: random.random_range(0..10),
        head: random.random_range(0..5),
        copy: random.random_range(0..8),
        scratch: [2, 3],
    };
    let limit = |random: &mut SmallRng| match random.random_bool(0.3) {
        true => None,
        false => Some(random.random_range(5..90)),
    };
    let limits: Vec<Option<u64>> = (0..n_kinds).map(|_| limit(random)).collect();
    let of: Vec<usize> = (0..n).map(|_| random.random_range(0..n_kinds)).collect();
    let is_decode = random.random_bool(0.5);
    let way = |random: &mut SmallRng| Way {
        pass: random.random_range(1..60),
        back: if is_decode { random.random_range(1..20) } else { 0 },
        tier: 0,
    };
    let kinds: Vec<Way> = (0..3).map(|_| way(random)).collect();
    // Mostly a switch, sometimes any ways at all.
    let is_switch = random.random_bool(0.6);
    let mut pair = || match (is_switch, random.random_range(0..12_u16)) {
        (true, _) => 0,
        (false, number) => number % 4,
    };
    let pairs = (0..n * n).map(|_| pair()).collect();
    let (send, receive) = match shares {
        false => ((0..n).collect(), (n..2 * n).collect()),
        true => {
            ((0..n).map(|device| device / 2).collect(), (0..n).map(|device| device / 2).collect())
        }
    };
    Costs {
        speeds,
        speed_of: of.clone(),
        limits: of.iter().map(|kind| limits[*kind]).collect(),
        held: bytes,
        ways: Ways { kinds, of: pairs, n_tiers: 1, send, receive },
    }
}

/// Of a pipeline, the least of the periods with each number of batches in flight for which there is room,
/// from sums of the figures alone; channels are those of single devices.
fn by_hand(costs: &Costs, goal: Goal, pieces: &[Piece]) -> Option<u64> {
    let n = pieces.len();
    let sum = |sums: &[u64], piece: &Piece| {
        sums[piece.blocks.end as usize] - sums[piece.blocks.start as usize]
    };
    let (mut latency, mut busiest) = (0, 0);
    let mut room = if goal == Goal::Throughput { n as u64 } else { 1 };
    for (at, piece) in pieces.iter().enumerate() {
        let (first, last) = (at == 0, at + 1 == n);
        let speed = &costs.speeds[costs.speed_of[piece.device]];
        let ends = [(first, speed.embedding), (last, speed.head)];
        let ns = sum(&speed.before, piece)
            + ends.iter().filter(|end| end.0).map(|end| end.1).sum::<u64>();
        let to = pieces[(at + 1) % n].device;
        let way =
            costs.ways.kinds.get(usize::from(costs.ways.of[piece.device * costs.n_devices() + to]));
        let way = match (n > 1, last) {
            (false, _) => 0,
            (true, false) => way?.pass,
            (true, true) if costs.returns() => way?.back,
            _ => 0,
        };
        latency += ns + way;
        busiest = busiest.max(ns).max(way);
        let bytes = &costs.held;
        let ends = [
            (first, bytes.embedding),
            (last, bytes.head),
            (last && !first, bytes.copy),
            (true, bytes.scratch[usize::from(last)]),
        ];
        let stage_bytes = sum(&bytes.weights, piece)
            + ends.iter().filter(|end| end.0).map(|end| end.1).sum::<u64>();
        let fits = |batches: &u64| {
            costs.limits[piece.device]
                .is_none_or(|limit| stage_bytes + batches * sum(&bytes.cache, piece) <= limit)
        };
        room = (1..=room).rev().find(fits)?;
    }
    (1..=room).map(|batches| busiest.max(latency.div_ceil(batches))).min()
}

/// The least period of all pipelines: every order of every set of devices, with every cut.
fn brute(costs: &Costs, goal: Goal) -> Option<u64> {
    fn grow(costs: &Costs, goal: Goal, pieces: &mut Vec<Piece>, best: &mut Option<u64>) {
        let start = pieces.last().map_or(0, |piece| piece.blocks.end);
        if start == costs.n_blocks() {
            let judged = costs.judge(pieces, goal);
            let has_own =
                costs.ways.send.iter().zip(0..).all(|(channel, device)| *channel == device);
            if has_own {
                let period = judged.as_ref().ok().map(|judged| judged.period);
                assert_eq!(period, by_hand(costs, goal, pieces), "{pieces:?}");
            }
            if let Ok(judged) = judged {
                assert!(
                    judged
                        .stages
                        .iter()
                        .all(|stage| stage.limit.is_none_or(|most| stage.peak <= most))
                );
                *best = Some(best.map_or(judged.period, |best| best.min(judged.period)));
            }
            return;
        }
        for device in 0..costs.n_devices() {
            if pieces.iter().any(|piece| piece.device == device) {
                continue;
            }
            for end in start + 1..=costs.n_blocks() {
                pieces.push(Piece { device, blocks: start..end });
                grow(costs, goal, pieces, best);
                pieces.pop();
            }
        }
    }
    let mut best = None;
    grow(costs, goal, &mut Vec::new(), &mut best);
    best
}

fn free() -> Arc<Control> {
    Arc::new(Control::new(&Limits::default()))
}

#[test]
fn the_search_finds_the_best_of_all_pipelines() {
    let (mut n, mut several) = (0, 0);
    for (seed, goal) in (0..500).flat_map(|seed| Goal::ALL.map(|goal| (seed, goal))) {
        let costs = random(seed, false);
        let found = solve(&costs, goal, &free());
        let best = brute(&costs, goal);
        let period = found.best.as_ref().map(|plan| plan.judged.period);
        assert_eq!(period, best, "{seed} {goal:?}");
        let Some(best) = best else { continue };
        assert_eq!((found.stop, found.bound), (StopReason::ProvedOptimal, best), "{seed} {goal:?}");
        assert!(spread(&costs, goal) <= best, "{seed} {goal:?}");
        let never = || false;
        assert_eq!(is_below(&costs, goal, best, &never), Some(false), "{seed} {goal:?}");
        assert_eq!(is_below(&costs, goal, best + 1, &never), Some(true), "{seed} {goal:?}");
        n += 1;
        several += usize::from(found.best.is_some_and(|plan| plan.pieces.len() > 1));
    }
    assert!(n > 600 && several > 150, "{n} {several}");
}

#[test]
fn shared_channels_leave_a_bound_below_and_a_legal_plan() {
    let mut proved = 0;
    for (seed, goal) in (0..300).flat_map(|seed| Goal::ALL.map(|goal| (seed, goal))) {
        let costs = random(seed, true);
        let found = solve(&costs, goal, &free());
        let best = brute(&costs, goal);
        assert_eq!(found.best.is_some(), best.is_some(), "{seed} {goal:?}");
        let (Some(best), Some(plan)) = (best, found.best) else { continue };
        assert!(found.bound <= best && best <= plan.judged.period, "{seed} {goal:?}");
        assert_eq!(costs.judge(&plan.pieces, goal).ok(), Some(plan.judged), "{seed} {goal:?}");
        proved += usize::from(found.stop == StopReason::ProvedOptimal);
    }
    assert!(proved > 200, "{proved}");
}

#[test]
fn what_is_cut_short_has_a_bound_that_holds() {
    for seed in 0..300 {
        let costs = random(seed, false);
        for (goal, nodes) in Goal::ALL.into_iter().flat_map(|goal| [(goal, 1), (goal, 40)]) {
            let limits = Limits { nodes: Some(nodes), ..Limits::default() };
            let found = solve(&costs, goal, &Arc::new(Control::new(&limits)));
            if let Some(best) = brute(&costs, goal) {
                assert!(found.bound <= best, "{seed} {goal:?}");
                assert!(found.best.is_none_or(|plan| plan.judged.period >= best));
            }
        }
    }
}
