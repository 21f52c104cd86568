//! Schedules worked by hand, laws over drawn cases, and a slow replay that agrees.

mod laws;
mod recorded;
mod slow;

use super::*;
use crate::serving::Iteration;

/// Seconds of an iteration, of each token in it, and of each cached token of those that decode.
#[derive(Clone, Copy, Debug)]
pub(in crate::serving) struct Affine {
    pub(in crate::serving) base_s: f64,
    pub(in crate::serving) token_s: f64,
    pub(in crate::serving) cached_s: f64,
}

impl IterationTime for Affine {
    fn seconds(&self, iteration: &Iteration) -> f64 {
        self.base_s
            + self.token_s * iteration.n_tokens() as f64
            + self.cached_s * iteration.decoding_cached as f64
    }
}

fn request(arrival_s: f64, n_input: u32, n_output: u32) -> Request {
    Request { arrival_s, n_input, n_output }
}

fn times(of: [f64; 5]) -> Times {
    let [arrival_s, queued_s, scheduled_s, first_token_s, last_token_s] = of;
    Times { arrival_s, queued_s, scheduled_s, first_token_s, last_token_s }
}

/// Four tokens an iteration, two requests, blocks of two tokens.
fn small(kv_blocks: u64) -> Scheduler {
    Scheduler { block_tokens: 2, ..Scheduler::vllm(2, 4, kv_blocks).synchronous() }
}

const HAND: Affine = Affine { base_s: 1.0, token_s: 0.5, cached_s: 0.0 };

fn three() -> [Request; 3] {
    [request(0.0, 3, 3), request(0.5, 4, 2), request(1.0, 1, 1)]
}

/// 0 to 2.5: the prompt of A. 2.5 to 5.5: A decodes, three tokens of B. 5.5 to 7.5: A ends, the last
/// token of B's prompt; C waits for a place. 7.5 to 9.5: B ends, C's prompt gives its only token.
#[test]
fn three_requests_by_hand() {
    let replay = replay(&three(), Traffic::Open, &small(6), &HAND).unwrap();
    let expected = [
        times([0.0, 0.0, 0.0, 2.5, 7.5]),
        times([0.5, 2.5, 2.5, 7.5, 9.5]),
        times([1.0, 2.5, 7.5, 9.5, 9.5]),
    ];
    assert_eq!(replay.times, expected);
    assert_eq!((replay.n_iterations, replay.n_preemptions, replay.peak_kv_blocks), (4, 0, 5));
    assert_eq!(replay.total_s, 9.5);
    assert_eq!(replay.mean_running, (2.5 + 2.0 * 3.0 + 2.0 * 2.0 + 2.0 * 2.0) / 9.5);
    assert_eq!(replay.gaps.n(), 3);
    assert_eq!(replay.gaps.mean_s(), Some(7.0 / 3.0));
    let summary = replay.summary(&three(), 0..3).unwrap();
    assert_eq!(summary.ttft.mean(), (2.5 + 7.0 + 8.5) / 3.0);
    assert_eq!([50.0, 66.0, 67.0].map(|p| summary.ttft.percentile(p)), [7.0, 7.0, 8.5]);
    assert_eq!(summary.tpot.unwrap().mean(), (2.5 + 2.0) / 2.0);
    assert_eq!(summary.requests_per_s, 3.0 / 9.5);
}

#[test]
fn iterations_by_hand() {
    let ran = |start_s, seconds, n_prompts, n_prompt_tokens, n_decoding| Ran {
        start_s,
        seconds,
        n_iterations: 1,
        n_prompts,
        n_prompt_tokens,
        n_decoding,
    };
    let all = [
        ran(0.0, 2.5, 1, 3, 0),
        ran(2.5, 3.0, 1, 3, 1),
        ran(5.5, 2.0, 1, 1, 1),
        ran(7.5, 2.0, 1, 1, 1),
    ];
    assert_eq!(first_iterations(&three(), &small(6), &HAND, 9).unwrap(), all);
    assert_eq!(first_iterations(&three(), &small(6), &HAND, 2).unwrap(), all[..2]);
}

/// Ahead, A's second token has an iteration of its own, 2.5 to 4, for B came after that was put together;
/// 4 to 7: A ends, three tokens of B. 7 to 8.5: B's last one alone, for A still had its place at 4. 8.5 to
/// 10.5: B ends, C.
#[test]
fn three_requests_ahead_by_hand() {
    let ahead = Scheduler { is_ahead: true, ..small(6) };
    let replay = replay(&three(), Traffic::Open, &ahead, &HAND).unwrap();
    let expected = [
        times([0.0, 0.0, 0.0, 2.5, 7.0]),
        times([0.5, 2.5, 2.5, 8.5, 10.5]),
        times([1.0, 2.5, 7.0, 10.5, 10.5]),
    ];
    assert_eq!(replay.times, expected);
    assert_eq!((replay.n_iterations, replay.n_preemptions), (5, 0));
}

/// B waits for one iteration, in which A decodes alone to 4; then as without waiting: A ends at 7 beside three
/// tokens of B, whose last one and C, which nobody that decodes lets wait, end at 9.
#[test]
fn prompts_that_wait_for_more_by_hand() {
    let gathering = Some(Gathering { iterations: 1, tokens: 100 });
    let replay =
        replay(&three(), Traffic::Open, &Scheduler { gathering, ..small(6) }, &HAND).unwrap();
    let expected = [
        times([0.0, 0.0, 0.0, 2.5, 7.0]),
        times([0.5, 2.5, 4.0, 9.0, 10.5]),
        times([1.0, 2.5, 7.0, 9.0, 9.0]),
    ];
    assert_eq!(replay.times, expected);
    assert_eq!(replay.n_iterations, 5);
    // A prompt and a token of A are enough not to wait.
    let gathering = Some(Gathering { iterations: 9, tokens: 2 });
    let enough = Scheduler { gathering, ..small(6) };
    let at_once = super::replay(&three(), Traffic::Open, &small(6), &HAND).unwrap();
    assert_eq!(super::replay(&three(), Traffic::Open, &enough, &HAND).unwrap(), at_once);
}

/// With four blocks A's fifth token at 5.5 takes those of B, which begins again at 7.
#[test]
fn a_preemption_by_hand() {
    let replay = replay(&three(), Traffic::Open, &small(4), &HAND).unwrap();
    let expected = [
        times([0.0, 0.0, 0.0, 2.5, 7.0]),
        times([0.5, 2.5, 2.5, 10.0, 12.0]),
        times([1.0, 2.5, 10.0, 12.0, 12.0]),
    ];
    assert_eq!(replay.times, expected);
    assert_eq!((replay.n_iterations, replay.n_preemptions, replay.peak_kv_blocks), (5, 1, 4));
}

/// Prompts first: A's prompt to 2.5, three seconds for B's, A and B decode for two, A for 1.5 more while
/// C still waits for a place, which B's end gives it: C's prompt comes before A's last token.
#[test]
fn prompts_first_by_hand() {
    let scheduler = Scheduler { mixing: Mixing::PromptsFirst, ..small(6) };
    let replay = replay(&three(), Traffic::Open, &scheduler, &HAND).unwrap();
    let expected = [
        times([0.0, 0.0, 0.0, 2.5, 10.5]),
        times([0.5, 2.5, 2.5, 5.5, 7.5]),
        times([1.0, 2.5, 7.5, 9.0, 9.0]),
    ];
    assert_eq!(replay.times, expected);
    // A waits 3 + 2 s for its second token and 1.5 + 1.5 s for its third, B 2 s.
    assert_eq!(replay.gaps.mean_s(), Some((5.0 + 3.0 + 2.0) / 3.0));
}

#[test]
fn gaps_are_counted_as_they_are() {
    let mut gaps = Gaps::default();
    gaps.add_steps(0.010, 0.000_1, 100, 3);
    gaps.add(1.0, 1);
    let exact: f64 = (0..100).map(|i| 3.0 * (0.010 + 0.000_1 * f64::from(i))).sum::<f64>() + 1.0;
    assert_eq!(gaps.n(), 301);
    assert!((gaps.mean_s().unwrap() - exact / 301.0).abs() < 1e-12);
    for (percent, exact) in [(50.0, 0.010 + 50.0 * 0.000_1), (99.0, 0.010 + 99.0 * 0.000_1)] {
        let said = gaps.percentile_s(percent).unwrap();
        assert!(said <= exact && said > exact * 0.996, "{percent}: {said}, {exact}");
    }
    assert_eq!(gaps.percentile_s(100.0), Some(1.0));
}

#[test]
fn what_cannot_be_replayed_is_refused() {
    let run = |requests: &[Request], scheduler: &Scheduler| {
        replay(requests, Traffic::Open, scheduler, &HAND).unwrap_err()
    };
    let plain = small(6);
    assert_eq!(run(&[request(0.0, 0, 1)], &plain), Fault::Request { index: 0 });
    assert_eq!(run(&[request(f64::NAN, 1, 1)], &plain), Fault::Request { index: 0 });
    assert_eq!(run(&[request(1.0, 1, 1), request(0.0, 1, 1)], &plain), Fault::Order { index: 1 });
    assert_eq!(run(&[request(0.0, 10, 4)], &plain), Fault::Cache { index: 0, n_blocks: 7 });
    let whole = Scheduler { is_chunked: false, ..plain };
    assert_eq!(run(&[request(0.0, 3, 3)], &whole), Fault::Prompt { index: 0, n_tokens: 5 });
    assert_eq!(run(&[], &Scheduler { max_num_seqs: 0, ..plain }), Fault::Limits);
    assert_eq!(run(&[], &Scheduler { block_tokens: u32::MAX, ..plain }), Fault::Limits);
    assert_eq!(run(&[], &Scheduler { max_num_seqs: 5, ..plain }), Fault::Budget);
    let closed = Traffic::Closed { concurrency: 0 };
    assert_eq!(replay(&three(), closed, &plain, &HAND), Err(Fault::Traffic));
    let endless = Affine { base_s: f64::INFINITY, ..HAND };
    let fault = replay(&three(), Traffic::Open, &plain, &endless).unwrap_err();
    assert_eq!(fault, Fault::Price { seconds: f64::INFINITY });
    assert_eq!(replay(&[], Traffic::Open, &plain, &HAND).unwrap().total_s, 0.0);
}

#[test]
fn no_input_hangs() {
    let huge = request(0.0, u32::MAX, u32::MAX);
    let scheduler = Scheduler { max_rounds: 1_000, ..Scheduler::vllm(1, 1, u64::MAX / 32) };
    let fault = replay(&[huge], Traffic::Open, &scheduler, &HAND).unwrap_err();
    assert_eq!(fault, Fault::Rounds { limit: 1_000, n_completed: 0 });
    // Four billion tokens of an answer are a few hundred rounds.
    let long = request(0.0, 1, u32::MAX);
    assert!(replay(&[long], Traffic::Open, &scheduler, &HAND).unwrap().n_rounds < 1_000);
}
