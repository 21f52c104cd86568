//! Laws over drawn cases.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;

const N_CASES: u64 = 1_000;

/// Weights are read or products are computed, whatever takes longer; a law of no line.
struct Roof(Affine);

impl IterationTime for Roof {
    fn seconds(&self, iteration: &Iteration) -> f64 {
        let computed = self.0.token_s * iteration.n_tokens() as f64;
        let read = self.0.base_s + self.0.cached_s * iteration.decoding_cached as f64;
        let quadratic =
            |chunk: &crate::serving::Chunk| (chunk.new * (chunk.cached + chunk.new)) as f64;
        computed.max(read) + 1e-7 * iteration.prompts.iter().map(quadratic).sum::<f64>()
    }
}

struct Case {
    requests: Vec<Request>,
    traffic: Traffic,
    scheduler: Scheduler,
    price: Affine,
}

fn drawn(random: &mut SmallRng) -> Case {
    let most = [4, 40][random.random_range(0..2)];
    let lengths: Vec<Length> = (0..random.random_range(1..4))
        .map(|_| Length {
            n_input: random.random_range(1..=3 * most),
            n_output: random.random_range(1..=most),
            share: random.random_range(0.1..1.0),
        })
        .collect();
    let price = Affine {
        base_s: random.random_range(0.001..0.02),
        token_s: random.random_range(0.0..0.001),
        cached_s: random.random_range(0.0..0.000_01),
    };
    let rate = 10.0_f64.powf(random.random_range(-1.0..2.5));
    let n = random.random_range(1..60);
    let requests = at_rate(&lengths, rate, Spacing::Poisson, n, random.random()).unwrap();
    let block_tokens = [1, 2, 16][random.random_range(0..3)];
    let shared_prefix = [0, 0, 1, 7, 20][random.random_range(0..5)];
    let most_blocks = |request: &Request| {
        u64::from(request.n_input + request.n_output).div_ceil(u64::from(block_tokens))
    };
    let largest = requests.iter().map(most_blocks).max().unwrap_or(1);
    let extra = random.random_range(0..=6 * largest);
    let max_num_seqs = random.random_range(1..20);
    let scheduler = Scheduler {
        mixing: [Mixing::Mixed, Mixing::Mixed, Mixing::PromptsFirst][random.random_range(0..3)],
        admission: [Admission::Chunk, Admission::Prompt, Admission::Answer]
            [random.random_range(0..3)],
        is_chunked: random.random_bool(0.8),
        block_tokens,
        shared_prefix,
        kv_blocks: largest + u64::from(shared_prefix / block_tokens) + extra,
        ..Scheduler::vllm(max_num_seqs, max_num_seqs + random.random_range(0..50), 0)
    };
    let longest = requests.iter().map(|request| request.n_input + request.n_output).max();
    let scheduler = match scheduler.is_chunked {
        true => scheduler,
        false => Scheduler {
            max_num_batched_tokens: scheduler.max_num_batched_tokens
                + u64::from(longest.unwrap_or(0)),
            ..scheduler
        },
    };
    let traffic = match random.random_bool(0.3) {
        true => Traffic::Closed { concurrency: random.random_range(1..30) },
        false => Traffic::Open,
    };
    let scheduler = Scheduler { is_ahead: random.random_bool(0.5), ..scheduler };
    Case { requests, traffic, scheduler, price }
}

fn cases() -> impl Iterator<Item = (u64, Case)> {
    (0..N_CASES).map(|seed| (seed, drawn(&mut SmallRng::seed_from_u64(seed))))
}

fn is_near(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-9 * one.abs().max(other.abs()).max(1e-3)
}

fn all(times: &Times) -> [f64; 5] {
    let Times { arrival_s, queued_s, scheduled_s, first_token_s, last_token_s } = *times;
    [arrival_s, queued_s, scheduled_s, first_token_s, last_token_s]
}

fn assert_same(seed: u64, replay: &Replay, slow: &slow::Slow) {
    let counts = (replay.n_iterations, replay.n_preemptions, replay.peak_kv_blocks);
    assert_eq!(counts, (slow.n_iterations, slow.n_preemptions, slow.peak), "case {seed}");
    for (request, (fast, slow)) in replay.times.iter().zip(&slow.times).enumerate() {
        let pairs = all(fast).into_iter().zip(all(slow));
        let differs = pairs.into_iter().any(|(fast, slow)| !is_near(fast, slow));
        assert!(!differs, "case {seed}, request {request}: {fast:?} {slow:?}");
    }
    assert_eq!(replay.gaps.n(), slow.gaps.len() as u64);
    let mean = replay.gaps.mean_s().unwrap_or(0.0) * slow.gaps.len() as f64;
    assert!(is_near(mean, slow.gaps.iter().sum()), "case {seed}: gaps");
    if let Some(exact) = Distribution::of(slow.gaps.clone()) {
        for percent in [1.0, 50.0, 90.0, 99.0, 100.0] {
            let (said, exact) =
                (replay.gaps.percentile_s(percent).unwrap(), exact.percentile(percent));
            let is_there = said <= exact * (1.0 + 1e-9) && said >= exact * (0.996 - 1e-9);
            assert!(is_there, "case {seed}: {percent} % of gaps: {said} {exact}");
        }
    }
}

#[test]
fn the_slow_replay_agrees() {
    let mut n_preemptions = 0;
    for (seed, Case { requests, traffic, scheduler, price }) in cases() {
        let fast = replay(&requests, traffic, &scheduler, &price).unwrap();
        assert_same(seed, &fast, &slow::replay(&requests, traffic, &scheduler, &price));
        let single = Scheduler { stride: 1, ..scheduler };
        let fast = replay(&requests, traffic, &single, &Roof(price)).unwrap();
        assert_same(seed, &fast, &slow::replay(&requests, traffic, &scheduler, &Roof(price)));
        n_preemptions += fast.n_preemptions;
    }
    assert!(n_preemptions > N_CASES, "{n_preemptions} preemptions");
}

#[test]
fn nothing_is_lost_and_order_is_kept() {
    for (seed, Case { requests, traffic, scheduler, price }) in cases() {
        let replay = replay(&requests, traffic, &scheduler, &price).unwrap();
        let n_gaps: u64 = requests.iter().map(|request| u64::from(request.n_output) - 1).sum();
        assert_eq!(replay.gaps.n(), n_gaps, "case {seed}");
        assert!(replay.peak_kv_blocks <= scheduler.kv_blocks, "case {seed}");
        assert!(replay.mean_running <= scheduler.max_num_seqs as f64 + 1e-9, "case {seed}");
        for times in &replay.times {
            let in_order = all(times).is_sorted_by(|one, other| *one <= *other + 1e-12);
            assert!(in_order, "case {seed}: {times:?}");
        }
        let starts = replay.times.iter().map(|times| times.scheduled_s);
        assert!(starts.is_sorted(), "case {seed}: not in order of arrival");
        if scheduler.admission == Admission::Answer {
            assert_eq!(replay.n_preemptions, 0, "case {seed}");
        }
        // Little's law, where nothing leaves the worker in between, or starts after it was scheduled.
        if replay.n_preemptions == 0 && !scheduler.is_ahead {
            let stays = replay.times.iter().map(|times| times.last_token_s - times.scheduled_s);
            assert!(is_near(stays.sum(), replay.mean_running * replay.total_s), "case {seed}");
        }
    }
}

#[test]
fn scaled_times_scale_the_answer() {
    for (seed, Case { requests, traffic, scheduler, price }) in cases() {
        let before = replay(&requests, traffic, &scheduler, &price).unwrap();
        for (factor, is_exact) in [(4.0, true), (3.7, false)] {
            let price = Affine {
                base_s: price.base_s * factor,
                token_s: price.token_s * factor,
                cached_s: price.cached_s * factor,
            };
            let later = |r: &Request| Request { arrival_s: r.arrival_s * factor, ..*r };
            let requests: Vec<Request> = requests.iter().map(later).collect();
            let after = replay(&requests, traffic, &scheduler, &price).unwrap();
            let pairs = before.times.iter().flat_map(all).zip(after.times.iter().flat_map(all));
            for (before, after) in pairs {
                let is_scaled = match is_exact {
                    true => before * factor == after,
                    false => is_near(before * factor, after),
                };
                assert!(is_scaled, "case {seed}: {before} {after}");
            }
        }
    }
}

/// Iterations of a request by itself.
fn n_alone(request: &Request, scheduler: &Scheduler) -> u64 {
    let shared = scheduler.shared_blocks(request.n_input) * u64::from(scheduler.block_tokens);
    (u64::from(request.n_input) - shared).div_ceil(scheduler.max_num_batched_tokens)
        + u64::from(request.n_output)
        - 1
}

/// Of a backlog without preemptions all tokens cost what they cost in any order, so that limits act
/// through the number of iterations alone; and as the request in front goes on in each as if it were by
/// itself, there are no more than for one request after the other. Limits that bind nowhere change nothing.
#[test]
fn looser_limits_act_through_the_number_of_iterations() {
    for (seed, Case { mut requests, scheduler, price, .. }) in cases() {
        requests.iter_mut().for_each(|request| request.arrival_s = 0.0);
        let tight = Scheduler { mixing: Mixing::Mixed, admission: Admission::Answer, ..scheduler };
        let loose = Scheduler {
            max_num_seqs: 1 << 20,
            max_num_batched_tokens: 1 << 20,
            kv_blocks: 1 << 40,
            ..tight
        };
        let looser = Scheduler { kv_blocks: 1 << 41, max_num_batched_tokens: 1 << 21, ..loose };
        let run = |scheduler| replay(&requests, Traffic::Open, scheduler, &price).unwrap();
        let [tight_run, loose_run] = [&tight, &loose].map(run);
        let most: u64 = requests.iter().map(|request| n_alone(request, &tight)).sum();
        assert!(tight_run.n_iterations <= most, "case {seed}");
        let more = tight_run.n_iterations as f64 - loose_run.n_iterations as f64;
        assert!(is_near(tight_run.total_s, loose_run.total_s + more * price.base_s), "case {seed}");
        assert!(loose_run.n_iterations <= tight_run.n_iterations, "case {seed}");
        assert_eq!(run(&looser), loose_run, "case {seed}");
    }
}

#[test]
fn at_1_percent_load_all_is_as_unloaded() {
    for (seed, Case { requests, scheduler, price, .. }) in cases() {
        let length =
            Length { n_input: requests[0].n_input, n_output: requests[0].n_output, share: 1.0 };
        let alone = [Request { arrival_s: 0.0, ..requests[0] }];
        let unloaded = replay(&alone, Traffic::Open, &scheduler, &price).unwrap();
        let [first, last] = [unloaded.times[0].first_token_s, unloaded.times[0].last_token_s];
        let rate = (0.01 / last, Spacing::Uniform);
        let (_, loaded) = replay_at_rate(&[length], rate, (50, seed), &scheduler, &price).unwrap();
        for times in &loaded.times {
            let [to_first, to_last] =
                [times.first_token_s, times.last_token_s].map(|end| end - times.arrival_s);
            // Differences of seconds that have grown to thousands.
            let is_same = |one: f64, other: f64| (one - other).abs() <= 1e-9 * loaded.total_s;
            assert!(is_same(to_first, first) && is_same(to_last, last), "case {seed}");
        }
    }
}

/// Prompts and answers mixed, nothing preempted: below the capacity the later half of a long run waits as
/// the earlier does; above, longer and longer. Ahead, requests that end one by one leave their places empty
/// for an iteration each, and those of a backlog, which end together, for none.
#[test]
fn a_queue_that_grows_is_said() {
    for (seed, Case { requests, scheduler, price, .. }) in cases().take(200) {
        let (n_input, n_output) = (requests[0].n_input, requests[0].n_output);
        let mix = [Length { n_input, n_output, share: 1.0 }];
        let (admission, mixing) = (Admission::Answer, Mixing::Mixed);
        let scheduler = Scheduler { admission, mixing, is_ahead: false, ..scheduler };
        let capacity = capacity(&mix, &scheduler, &price).unwrap();
        let rate = 1.1 * capacity;
        let at = |rate: f64, n| {
            let traffic = (rate, Spacing::Poisson);
            replay_at_rate(&mix, traffic, (n, seed), &scheduler, &price)
        };
        assert_eq!(at(rate, 100).err(), Some(Fault::Saturated { rate, capacity }), "case {seed}");
        assert!(at(0.9 * capacity, 4_000).is_ok(), "case {seed}");
        let waits = |rate: f64| {
            let requests = at_rate(&mix, rate, Spacing::Uniform, 4_000, seed).unwrap();
            let replay = replay(&requests, Traffic::Open, &scheduler, &price).unwrap();
            let of = |range| replay.summary(&requests, range).unwrap().ttft.mean();
            // In times between arrivals.
            (of(3_000..4_000) - of(1_000..2_000)) * rate
        };
        let (below, above) = (waits(0.9 * capacity), waits(rate));
        assert!(below < 20.0 && above > 100.0, "case {seed}: {below} {above}");
    }
}

/// Requests of one length that a worker gets at once stay in step for ever: two of them end every three
/// iterations. Out of step each gets a prompt's iteration and one more before the other ends: one
/// every two.
#[test]
fn batches_that_fall_out_of_step_are_said() {
    let mix = [Length { n_input: 4, n_output: 3, share: 1.0 }];
    let scheduler = Scheduler::sglang(2, 28, 1 << 20).synchronous();
    let price = Affine { base_s: 0.01, token_s: 0.0, cached_s: 0.0 };
    let in_step = capacity(&mix, &scheduler, &price).unwrap();
    assert!(is_near(in_step, 2.0 / 0.03), "{in_step}");
    let traffic = (0.9 * in_step, Spacing::Poisson);
    let run = replay_at_rate(&mix, traffic, (4_000, 0), &scheduler, &price);
    let Err(Fault::Saturated { rate, capacity }) = run else { panic!("not saturated") };
    assert!(rate == 0.9 * in_step && (capacity - 50.0).abs() < 0.1, "{capacity}");
}
