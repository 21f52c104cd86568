//! The best of all fleets, by counting them with figures and hosts of the test's own; and what must not make a
//! fleet dearer.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::tests::{free, pool, question, worker};
use super::*;
use crate::run::Limits;

/// A sum of rates may miss the one asked for by this part of it.
const ROUNDING: f64 = 1e-12;

const OBJECTIVES: [Objective; 3] =
    [Objective::FewestDevices, Objective::LowestPrice, Objective::Throughput];

/// Few types on few hosts of odd sizes, sometimes with limits, promises and hand-overs.
fn random(seed: u64, n_pools: usize, n_types: usize) -> Question {
    let random = &mut SmallRng::seed_from_u64(seed);
    let pools: Vec<Pool> = (0..n_pools)
        .map(|_| Pool {
            hosts: Some(random.random_range(1..=if n_pools == 1 { 4 } else { 2 })),
            devices_per_host: random.random_range(2..=9),
            price_per_hour: Some(f64::from(random.random_range(100..500_u32)) / 100.0),
        })
        .collect();
    let roles = [Role::Prefill, Role::Decode, Role::Aggregated];
    let of = |at: usize, random: &mut SmallRng| {
        let n_devices = random.random_range(1..=8);
        let role = if at < 3 { roles[at] } else { roles[random.random_range(0..3)] };
        let half = if role == Role::Aggregated { 0.6 } else { 1.0 };
        WorkerType {
            role,
            pool: random.random_range(0..n_pools),
            n_devices,
            requests_per_s: half * f64::from(n_devices) * random.random_range(0.7..1.3),
            efficiency: if random.random_bool(0.5) { 1.0 } else { 0.9 },
            ttft_s: random.random_range(0.1..1.0),
            tpot_s: random.random_range(0.01..0.05),
        }
    };
    let types: Vec<WorkerType> = (0..n_types).map(|at| of(at, random)).collect();
    let objective = OBJECTIVES[random.random_range(0..3)];
    let n_devices: u32 = pools.iter().filter_map(|p| Some(p.hosts? * p.devices_per_host)).sum();
    let rate = f64::from(n_devices) * random.random_range(0.05..0.6);
    let mut question = question(pools, types, Some(rate));
    question.objective = objective;
    question.requests_per_s = (objective != Objective::Throughput).then_some(rate);
    question.ttft_s = random.random_bool(0.3).then_some(0.8);
    question.tpot_s = random.random_bool(0.3).then_some(0.04);
    if random.random_bool(0.3) {
        question.most_devices = Some(u64::from(random.random_range(1..=n_devices)));
    }
    if random.random_bool(0.3) {
        let most = f64::from(n_devices) * random.random_range(0.5..3.0);
        question.most_price_per_hour = Some((most * 100.0).round() / 100.0);
    }
    if random.random_bool(0.4) {
        question.bytes_per_request = 2.0;
        let of = |role: Role, random: &mut SmallRng| {
            let types = (0..n_types).filter(|at| question.types[*at].role == role);
            types.filter(|_| random.random_bool(0.7)).collect::<Vec<usize>>()
        };
        let lane = |random: &mut SmallRng| HandOver {
            from: of(Role::Prefill, random),
            to: of(Role::Decode, random),
            bytes_per_s: random.random_bool(0.5).then(|| random.random_range(0.2..3.0) * rate),
        };
        question.hand_overs = (0..random.random_range(1..=3)).map(|_| lane(random)).collect();
    }
    question
}

/// Requests per second that so many workers serve: by the least cut.
fn rate_by_hand(question: &Question, counts: &[u32]) -> f64 {
    let of = |role: Role| {
        let here = (0..counts.len()).filter(move |at| question.types[*at].role == role);
        let each = |at: usize| {
            let of = &question.types[at];
            (at, of.requests_per_s * of.efficiency * f64::from(counts[at]))
        };
        here.map(each).collect::<Vec<(usize, f64)>>()
    };
    let sum = |of: &[(usize, f64)]| of.iter().map(|(_, rate)| rate).sum::<f64>();
    let (prefill, decode) = (of(Role::Prefill), of(Role::Decode));
    let lanes = &question.hand_overs;
    if lanes.is_empty() {
        return sum(&of(Role::Aggregated)) + sum(&prefill).min(sum(&decode));
    }
    let mut least = f64::INFINITY;
    for cut in 0..1_u32 << prefill.len() {
        let (mut paid, mut open) = (0.0, Vec::new());
        for (bit, (at, rate)) in prefill.iter().enumerate() {
            if cut >> bit & 1 == 1 { paid += rate } else { open.push(*at) }
        }
        for cut in 0..1_u32 << lanes.len() {
            let (mut paid, mut reached) = (paid, HashSet::new());
            for (bit, lane) in lanes.iter().enumerate() {
                if !lane.from.iter().any(|at| open.contains(at)) {
                    continue;
                }
                if cut >> bit & 1 == 1 {
                    let limit = lane.bytes_per_s.unwrap_or(f64::INFINITY);
                    paid += limit / question.bytes_per_request;
                } else {
                    reached.extend(lane.to.iter().copied());
                }
            }
            let ends = decode.iter().filter(|(at, _)| reached.contains(at));
            least = least.min(paid + ends.map(|(_, rate)| rate).sum::<f64>());
        }
    }
    sum(&of(Role::Aggregated)) + least
}

/// Whether items fit into bins with so much room, by trying every bin for every item.
fn packs(items: &[u32], bins: &mut Vec<u32>, seen: &mut HashSet<(usize, Vec<u32>)>) -> bool {
    let Some((item, later)) = items.split_first() else { return true };
    let mut state = bins.clone();
    state.sort_unstable();
    if !seen.insert((items.len(), state)) {
        return false;
    }
    (0..bins.len()).any(|bin| {
        if bins[bin] < *item {
            return false;
        }
        bins[bin] -= item;
        let fits = packs(later, bins, seen);
        bins[bin] += item;
        fits
    })
}

/// Devices that workers take, and whether they fit on hosts.
fn devices_by_hand(question: &Question, counts: &[u32]) -> Vec<u64> {
    let mut devices = vec![0; question.pools.len()];
    for (of, count) in question.types.iter().zip(counts) {
        let size = question.pools[of.pool].devices_per_host;
        let each =
            if of.n_devices > size { of.n_devices.div_ceil(size) * size } else { of.n_devices };
        devices[of.pool] += u64::from(each * count);
    }
    devices
}

fn fits_by_hand(question: &Question, counts: &[u32]) -> bool {
    question.pools.iter().enumerate().all(|(at, pool)| {
        let (mut items, mut hosts) = (Vec::new(), pool.hosts.unwrap());
        for (of, count) in question.types.iter().zip(counts).filter(|(of, _)| of.pool == at) {
            if of.n_devices <= pool.devices_per_host {
                items.extend(std::iter::repeat_n(of.n_devices, *count as usize));
                continue;
            }
            match hosts.checked_sub(of.n_devices.div_ceil(pool.devices_per_host) * count) {
                Some(left) => hosts = left,
                None => return false,
            }
        }
        items.sort_unstable_by(|one, other| other.cmp(one));
        let mut bins = vec![pool.devices_per_host; hosts as usize];
        packs(&items, &mut bins, &mut HashSet::new())
    })
}

/// Value (devices, hundredths of currency, or minus the rate), devices, types and workers of the best fleet.
type Key = (f64, u64, usize, u32);

/// The best of all fleets.
fn brute(question: &Question) -> Option<Key> {
    fn grow(question: &Question, counts: &mut Vec<u32>, best: &mut Option<Key>) {
        if counts.len() == question.types.len() {
            judge(question, counts, best);
            return;
        }
        let of = &question.types[counts.len()];
        let is_late = |time: f64, promise: Option<f64>| promise.is_some_and(|most| time > most);
        let is_out = (of.role != Role::Decode && is_late(of.ttft_s, question.ttft_s))
            || (of.role != Role::Prefill && is_late(of.tpot_s, question.tpot_s));
        for count in 0.. {
            counts.push(count);
            let used = devices_by_hand(question, counts);
            let is_full = used
                .iter()
                .zip(&question.pools)
                .any(|(used, pool)| *used > u64::from(pool.hosts.unwrap() * pool.devices_per_host));
            let is_over = question.most_devices.is_some_and(|most| used.iter().sum::<u64>() > most);
            if is_full || is_over || (is_out && count > 0) {
                counts.pop();
                return;
            }
            grow(question, counts, best);
            counts.pop();
        }
    }
    let mut best = None;
    grow(question, &mut Vec::new(), &mut best);
    if question.objective == Objective::Throughput
        && let Some((value, ..)) = best.filter(|(value, ..)| *value < 0.0)
    {
        // The least of those that serve as much.
        let (objective, requests_per_s) = (Objective::FewestDevices, Some(-value));
        let same = Question { objective, requests_per_s, ..question.clone() };
        best = brute(&same).map(|(_, devices, types, workers)| (value, devices, types, workers));
    }
    best
}

fn judge(question: &Question, counts: &[u32], best: &mut Option<Key>) {
    let used = devices_by_hand(question, counts);
    let price = |(used, pool): (&u64, &Pool)| {
        used * (pool.price_per_hour.unwrap_or(0.0) * 100.0).round() as u64
    };
    let price = used.iter().zip(&question.pools).map(price).sum::<u64>() as f64;
    if question.most_price_per_hour.is_some_and(|most| price > (most * 100.0).round()) {
        return;
    }
    let rate = rate_by_hand(question, counts);
    if question.requests_per_s.is_some_and(|least| rate < least * (1.0 - ROUNDING)) {
        return;
    }
    let devices = used.iter().sum::<u64>();
    let value = match question.objective {
        Objective::FewestDevices => devices as f64,
        Objective::LowestPrice => price,
        Objective::Throughput => -rate,
    };
    let n_types = counts.iter().filter(|count| **count > 0).count();
    let key = (value, devices, n_types, counts.iter().sum());
    if best.is_none_or(|best| key < best) && fits_by_hand(question, counts) {
        *best = Some(key);
    }
}

fn key(question: &Question, plan: &Plan) -> Key {
    let value = match question.objective {
        Objective::FewestDevices => plan.figures.n_devices as f64,
        Objective::LowestPrice => (plan.figures.price_per_hour.unwrap() * 100.0).round(),
        Objective::Throughput => -plan.figures.requests_per_s,
    };
    (value, plan.figures.n_devices, plan.counts.len(), plan.n_workers() as u32)
}

/// Holds the search against all fleets; how many had a fleet, and how many of them no proof by counting.
fn against_all(seeds: std::ops::Range<u64>, n_pools: usize, n_types: usize) -> (usize, usize) {
    let (mut n, mut programs) = (0, 0);
    for seed in seeds {
        let question = random(seed, n_pools, n_types);
        let found = solve(&question, &free()).unwrap();
        // A fleet that serves nothing is none.
        let best = brute(&question).filter(|(value, ..)| *value != 0.0);
        let Some(best) = best else {
            assert_eq!((&found.best, found.verdict), (&None, Verdict::Infeasible), "{seed}");
            continue;
        };
        let plan = found.best.as_ref().unwrap_or_else(|| panic!("{seed}: {best:?} {found:?}"));
        assert_eq!(verify(&question, plan), Ok(()), "{seed}");
        let mine = key(&question, plan);
        assert!((mine.0 - best.0).abs() <= 1e-9 * best.0.abs(), "{seed}: {mine:?} {best:?}");
        assert_eq!((mine.1, mine.2, mine.3), (best.1, best.2, best.3), "{seed} {question:?}");
        assert!(found.ties_proved, "{seed} {question:?} {found:?}");
        let value = plan.value(question.objective);
        assert_eq!((found.verdict, found.bound), (Verdict::Optimal, Some(value)), "{seed}");
        for bound in [found.counted.unwrap(), found.relaxed.unwrap()] {
            let is_bound = match question.objective {
                Objective::Throughput => bound >= value * (1.0 - ROUNDING),
                _ => bound <= value + 1e-9,
            };
            assert!(is_bound, "{seed}: {bound} {value}");
        }
        n += 1;
        programs += usize::from(found.proof == Some(Proof::Program));
    }
    (n, programs)
}

#[test]
fn no_set_of_workers_is_better() {
    let (n, programs) = against_all(0..300, 1, 5);
    assert!(n > 150 && programs > 20, "{n} {programs}");
}

#[test]
fn no_mixed_fleet_is_better() {
    let (n, programs) = against_all(1_000..1_200, 3, 6);
    assert!(n > 100 && programs > 20, "{n} {programs}");
}

/// The value, to be made small; infinite where there is no fleet.
fn least(question: &Question) -> f64 {
    let found = value(question, &free()).unwrap();
    assert_ne!(found.verdict, Verdict::Open, "{question:?}");
    let value = found.best.map(|plan| plan.value(question.objective));
    match question.objective {
        Objective::Throughput => -value.unwrap_or(0.0),
        _ => value.unwrap_or(f64::INFINITY),
    }
}

#[test]
fn what_is_easier_never_costs_more() {
    let mut cheaper = 0;
    for seed in 0..1_000 {
        let question = random(10_000 + seed, 1 + seed as usize % 3, 6);
        let before = least(&question);
        let random = &mut SmallRng::seed_from_u64(seed);
        let at = random.random_range(0..question.types.len());
        let pool = random.random_range(0..question.pools.len());
        let changes: [&dyn Fn(&mut Question); 7] = [
            &|q| q.ttft_s = q.ttft_s.map(|time| time * 1.2),
            &|q| q.tpot_s = q.tpot_s.map(|time| time * 1.2),
            &|q| q.most_devices = q.most_devices.map(|most| most + 1),
            &|q| q.pools[pool].hosts = q.pools[pool].hosts.map(|hosts| hosts + 1),
            &|q| q.types[at].requests_per_s *= 1.1,
            &|q| {
                q.pools[pool].price_per_hour = q.pools[pool].price_per_hour.map(|price| price * 0.8)
            },
            &|q| q.hand_overs.iter_mut().for_each(|hand_over| hand_over.bytes_per_s = None),
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut easier = question.clone();
            change(&mut easier);
            if easier == question {
                continue;
            }
            let after = least(&easier);
            assert!(
                after <= before + 1e-9 * before.abs().min(1e9),
                "{seed} {number}: {before} {after}"
            );
            cheaper += usize::from(after < before);
        }
    }
    assert!(cheaper > 500, "{cheaper}");
}

#[test]
fn units_of_time_and_the_order_of_types_change_nothing() {
    for seed in 0..100 {
        let question = random(20_000 + seed, 2, 6);
        let found = solve(&question, &free()).unwrap();
        assert_eq!(found.best, solve(&question, &free()).unwrap().best, "{seed}");
        let counts = found.best.as_ref().map(|plan| plan.counts.clone());
        let mut slower = question.clone();
        for of in &mut slower.types {
            of.requests_per_s /= 7.0;
            (of.ttft_s, of.tpot_s) = (of.ttft_s * 7.0, of.tpot_s * 7.0);
        }
        slower.requests_per_s = slower.requests_per_s.map(|rate| rate / 7.0);
        (slower.ttft_s, slower.tpot_s) =
            (slower.ttft_s.map(|time| time * 7.0), slower.tpot_s.map(|time| time * 7.0));
        slower.bytes_per_request *= 7.0;
        let slow = solve(&slower, &free()).unwrap().best.map(|plan| plan.counts);
        assert_eq!(slow, counts, "{seed}");
        if !question.hand_overs.is_empty() {
            continue;
        }
        let mut order: Vec<usize> = (0..question.types.len()).collect();
        order.shuffle(&mut SmallRng::seed_from_u64(seed));
        let types = order.iter().map(|at| question.types[*at]).collect();
        let shuffled = solve(&Question { types, ..question.clone() }, &free()).unwrap().best;
        let mut same = shuffled.map(|plan| {
            plan.counts.iter().map(|(at, count)| (order[*at], *count)).collect::<Vec<_>>()
        });
        same.iter_mut().for_each(|counts| counts.sort_unstable());
        assert_eq!(same, counts, "{seed}");
    }
}

#[test]
fn the_checker_takes_what_fits_and_serves_and_nothing_else() {
    let (mut taken, mut refused) = (0, 0);
    for seed in 0..3_000 {
        let question = random(60_000 + seed, 1 + seed as usize % 3, 5);
        let ground = Ground::new(&question).unwrap();
        assert_eq!(ground.kept.len() + ground.left_out.len(), question.types.len());
        let random = &mut SmallRng::seed_from_u64(seed);
        let here: Vec<u32> = ground.kept.iter().map(|_| random.random_range(0..4)).collect();
        let mut counts = vec![0; question.types.len()];
        for (kept, count) in ground.kept.iter().zip(&here) {
            counts[kept.at] = *count;
        }
        let fits = fits_by_hand(&question, &counts);
        let Some(plan) = packing::plan(&ground, &here, (&[], &[])) else { continue };
        let devices = devices_by_hand(&question, &counts);
        assert_eq!(plan.figures.n_devices, devices.iter().sum::<u64>());
        let mut best = None;
        judge(&question, &counts, &mut best);
        let is_few = question.most_devices.is_none_or(|most| plan.figures.n_devices <= most);
        let is_good = fits && is_few && best.is_some();
        assert_eq!(verify(&question, &plan).is_ok(), is_good, "{seed} {plan:?}");
        if is_good { taken += 1 } else { refused += 1 }
    }
    assert!(taken > 100 && refused > 100, "{taken} {refused}");
}

#[test]
fn the_front_is_that_of_every_promise() {
    let mut n_points = 0;
    for seed in 0..100 {
        let mut question = random(40_000 + seed, 2, 8);
        question.tpot_s = None;
        let points = front(&question, &free()).unwrap();
        n_points += points.len();
        for of in &question.types {
            let promised = Question { tpot_s: Some(of.tpot_s), ..question.clone() };
            let point = points.iter().rev().find(|point| point.tpot_s <= of.tpot_s);
            let plan = point.and_then(|point| point.found.best.as_ref());
            let value = plan.map(|plan| plan.value(question.objective));
            let value = match question.objective {
                Objective::Throughput => -value.unwrap_or(0.0),
                _ => value.unwrap_or(f64::INFINITY),
            };
            assert_eq!(least(&promised), value, "{seed}");
        }
    }
    assert!(n_points > 100, "{n_points}");
}

#[test]
fn no_shorter_promise_can_be_kept_than_the_shortest() {
    let mut n = 0;
    for seed in 0..100 {
        let mut question = random(50_000 + seed, 2, 8);
        (question.ttft_s, question.tpot_s) = (Some(0.05), Some(0.05));
        if question.objective == Objective::Throughput {
            continue;
        }
        let Some((ttft_s, plan)) = reach(&question, &free()).unwrap().ttft else { continue };
        let with = |seconds: f64| Question { ttft_s: Some(seconds), ..question.clone() };
        assert_eq!(verify(&with(ttft_s), &plan), Ok(()));
        assert_eq!(plan.figures.ttft_s, Some(ttft_s));
        for of in question.types.iter().filter(|of| of.ttft_s < ttft_s) {
            assert_eq!(brute(&with(of.ttft_s)), None, "{seed}");
        }
        n += 1;
    }
    assert!(n > 20, "{n}");
}

/// Hundreds of types on three kinds of devices, as a search over degrees and batches makes them.
fn large(seed: u64) -> Question {
    let random = &mut SmallRng::seed_from_u64(seed);
    let pools = [(8, 2.9871), (4, 1.7763), (72, 6.1137)];
    let pools =
        pools.map(|(size, price)| Pool { price_per_hour: Some(price), ..pool(Some(40), size) });
    let mut types = Vec::new();
    for at in 0..600 {
        let role = [Role::Prefill, Role::Decode, Role::Aggregated][at % 3];
        let pool = random.random_range(0..3);
        let n_devices = [1, 2, 3, 4, 6, 8, 12, 16][random.random_range(0..8)];
        let half = if role == Role::Aggregated { 0.5 } else { 1.0 };
        let each = half * (pool as f64 + 1.0) * random.random_range(0.5..1.5);
        types.push(worker(role, pool, n_devices, each * f64::from(n_devices).powf(0.95)));
    }
    let mut question = question(pools.to_vec(), types, Some(random.random_range(50.0..300.0)));
    question.objective = OBJECTIVES[seed as usize % 2];
    question
}

#[test]
fn a_search_of_hundreds_of_types_ends_in_time() {
    for seed in 0..6 {
        let question = large(seed);
        let limits = Limits { time: Some(Duration::from_millis(300)), ..Limits::default() };
        let started = Instant::now();
        let found = solve(&question, &Control::new(&limits)).unwrap();
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        let bound = found.bound.unwrap();
        if let Some(plan) = found.best {
            assert_eq!(verify(&question, &plan), Ok(()));
            let value = plan.value(question.objective);
            assert!(found.counted.unwrap() <= bound && found.relaxed.unwrap() <= bound);
            assert!(bound <= value && (bound == value) == (found.verdict == Verdict::Optimal));
        }
    }
}

#[test]
fn what_is_cut_short_has_a_bound_that_holds() {
    for seed in 0..150 {
        let question = random(30_000 + seed, 2, 5);
        let best = brute(&question).filter(|(value, ..)| *value != 0.0);
        for nodes in [1, 3] {
            let limits = Limits { nodes: Some(nodes), ..Limits::default() };
            let found = solve(&question, &Control::new(&limits)).unwrap();
            let Some((best, ..)) = best else {
                assert_eq!(found.best, None, "{seed}");
                continue;
            };
            let Some(bound) = found.bound else { continue };
            let best =
                if question.objective == Objective::LowestPrice { best / 100.0 } else { best };
            match question.objective {
                Objective::Throughput => assert!(bound >= -best * (1.0 - 1e-9), "{seed}"),
                _ => assert!(bound <= best * (1.0 + 1e-9), "{seed}: {bound} {best}"),
            }
        }
    }
}
