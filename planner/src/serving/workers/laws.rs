//! What must not make a fleet dearer, and fleets under other arrivals, on small invented devices.

use cost_model::serving::arrivals::Length;
use cost_model::serving::{Iteration, IterationTime};
use ir::card::ModelCard;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::tests::{card, check, devices, free, link};
use super::*;
use crate::serving::fleet::{Objective, Role, Verdict};

/// An iteration of a launch, weights that are read, tokens, and cached tokens, on parts of a worker.
struct Line {
    ranks: f64,
    speed: f64,
}

impl IterationTime for Line {
    fn seconds(&self, iteration: &Iteration) -> f64 {
        let tokens = iteration.n_tokens() as f64;
        if tokens == 0.0 {
            return 0.0;
        }
        let prompts = iteration.prompts.iter();
        let pairs: f64 = prompts.map(|chunk| chunk.new as f64 * chunk.cached as f64).sum();
        let cached = iteration.decoding_cached as f64;
        let work_s = 4e-3 + 40e-6 * tokens + 0.4e-6 * cached + 1e-9 * pairs;
        0.5e-3 + work_s / (self.speed * self.ranks.powf(0.85))
    }
}

fn model() -> ModelCard {
    ModelCard::uniform(card("small", (1024, [8, 4, 128], 4096, 32_000, 16)))
}

/// A pool or two with few hosts, traffic, promises.
fn random(model: &ModelCard, seed: u64) -> Question<'_> {
    let random = &mut SmallRng::seed_from_u64(seed);
    let n_pools = random.random_range(1..=2_usize);
    let pool = |random: &mut SmallRng| {
        let per_host = [2, 4][random.random_range(0..2_usize)];
        let hosts = Some(random.random_range(2..=6));
        let mut of = devices(hosts, per_host, random.random_range(5_000_000_000..9_000_000_000));
        of.pool.price_per_hour = Some(f64::from(random.random_range(100..500_u32)) / 100.0);
        of
    };
    let all = (0..n_pools).map(|_| pool(random)).collect();
    let length = |random: &mut SmallRng| Length {
        n_input: random.random_range(200..3000),
        n_output: random.random_range(20..400),
        share: random.random_range(0.5..1.0),
    };
    let mix = (0..random.random_range(1..=2)).map(|_| length(random)).collect();
    let mut links = Vec::new();
    for from in 0..n_pools {
        for to in 0..n_pools {
            let rate = 10_f64.powf(random.random_range(8.0..11.0));
            links.push(Link { from, to, ..link(rate) });
        }
    }
    let objectives = [Objective::FewestDevices, Objective::LowestPrice, Objective::Throughput];
    let objective = objectives[random.random_range(0..3_usize)];
    let rate = random.random_range(1.0..12.0);
    Question {
        devices: all,
        links,
        budgets: vec![512, 2048],
        most_running: 64,
        most_devices_of_worker: 4,
        promises: Promises {
            ttft_s: random.random_bool(0.8).then(|| random.random_range(0.1..1.0)),
            tpot_s: random.random_bool(0.8).then(|| random.random_range(0.006..0.03)),
            ..Promises::default()
        },
        objective,
        requests_per_s: (objective != Objective::Throughput).then_some(rate),
        ..Question::new(model, mix, rate)
    }
}

fn line(pool: usize, shape: &Shape) -> Result<Box<dyn IterationTime>, Reason> {
    let speed = if pool == 0 { 1.0 } else { 1.6 };
    Ok(Box::new(Line { ranks: shape.devices() as f64, speed }))
}

/// The value of the fleet of the closed form; more is worse.
fn cost(question: &Question) -> f64 {
    let control = free();
    let (types, bytes) = types::Search::new(question, &control).run(&line);
    let program = program::of(question, &types.workers, bytes);
    let found = fleet::solve(&program, &control).unwrap();
    assert_ne!(found.verdict, Verdict::Open);
    match (found.best, question.objective) {
        (None, _) => f64::INFINITY,
        (Some(best), Objective::Throughput) => -best.value(Objective::Throughput),
        (Some(best), objective) => best.value(objective),
    }
}

#[test]
fn what_is_looser_or_more_never_costs_more() {
    let model = model();
    let (mut n_feasible, mut n_better) = (0, [0; 5]);
    for seed in 0..200 {
        let question = random(&model, seed);
        let before = cost(&question);
        n_feasible += u32::from(before.is_finite());
        let changes: [&dyn Fn(&mut Question); 5] = [
            &|q| q.promises.ttft_s = q.promises.ttft_s.map(|seconds| 1.3 * seconds),
            &|q| q.promises.tpot_s = q.promises.tpot_s.map(|seconds| 1.3 * seconds),
            &|q| {
                let pool = &mut q.devices[0].pool;
                pool.hosts = pool.hosts.map(|hosts| hosts + 1);
            },
            &|q| q.links.iter_mut().for_each(|link| link.bytes_per_s *= 3.0),
            &|q| q.devices[0].memory += 2_000_000_000,
        ];
        for (at, change) in changes.iter().enumerate() {
            let mut changed = question.clone();
            change(&mut changed);
            let after = cost(&changed);
            // The greatest throughput is proved to 2^-20 of it.
            let rounding = if question.objective == Objective::Throughput { 1e-5 } else { 1e-9 };
            assert!(after <= before + rounding * before.abs(), "{seed}, {at}: {before} -> {after}");
            n_better[at] += u32::from(after < before);
        }
    }
    println!("{n_feasible} feasible, better {n_better:?}");
    assert!(n_feasible > 100 && n_better.iter().all(|n| *n > 0), "{n_feasible} {n_better:?}");
}

#[test]
fn fleets_keep_their_promises_under_other_arrivals() {
    let model = model();
    let (mut n_kept, mut seed, mut n_lowered) = (0, 1000, 0);
    while n_kept < 20 {
        seed += 1;
        assert!(seed < 1200, "{n_kept} fleets of {seed}");
        let mut question = random(&model, seed);
        question.promises.statistic =
            if seed % 2 == 0 { Statistic::Mean } else { Statistic::Percentile(90.0) };
        let control = free();
        let answer = plan(&question, &line, &control).unwrap();
        check(&answer);
        let Some(best) = &answer.found.best else { continue };
        assert!(answer.is_kept(), "{seed} {:?}", answer.replays);
        n_lowered += u32::from(answer.n_rounds > 1);
        for other in [77, 78] {
            let fleet = (&answer.program, &answer.types.workers[..]);
            for replayed in replay_fleet((&question, &line), fleet, best, other) {
                let Ok([ttft_s, tpot_s]) = replayed.replayed else { panic!("{seed} {replayed:?}") };
                let role = answer.types.workers[replayed.of].figures.role;
                let seconds = match role {
                    Role::Aggregated => [ttft_s, tpot_s],
                    Role::Prefill => [ttft_s, 0.0],
                    Role::Decode => [0.0, tpot_s],
                };
                assert!(
                    question.promises.admit(seconds),
                    "{seed} {:?} {replayed:?}",
                    question.promises
                );
            }
        }
        n_kept += 1;
    }
    println!("{n_lowered} of {n_kept} after lower rates");
}
