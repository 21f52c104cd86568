//! Published and hand-derived figures.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::*;
use crate::run::Limits;

pub(super) fn free() -> Control {
    Control::new(&Limits::default())
}

pub(super) fn worker(role: Role, pool: usize, n_devices: u32, requests_per_s: f64) -> WorkerType {
    let (ttft_s, tpot_s) = (0.5, 0.02);
    WorkerType { role, pool, n_devices, requests_per_s, efficiency: 1.0, ttft_s, tpot_s }
}

pub(super) fn question(pools: Vec<Pool>, types: Vec<WorkerType>, rate: Option<f64>) -> Question {
    Question {
        pools,
        types,
        objective: if rate.is_some() { Objective::FewestDevices } else { Objective::Throughput },
        requests_per_s: rate,
        ttft_s: None,
        tpot_s: None,
        most_price_per_hour: None,
        most_devices: None,
        hand_overs: Vec::new(),
        bytes_per_request: 0.0,
    }
}

pub(super) fn pool(hosts: Option<u32>, devices_per_host: u32) -> Pool {
    Pool { hosts, devices_per_host, price_per_hour: None }
}

/// The worker types of Qwen3-32B on H200 as AIConfigurator 0.12.0 predicts them for vLLM (4,000 tokens in,
/// 1,000 out; TTFT 2 s, TPOT 30 ms); it answers 56 devices, 7 times 4 prefill and 1 decode workers.
fn qwen() -> Question {
    let types = vec![
        worker(Role::Prefill, 0, 1, 2.0819),
        worker(Role::Decode, 0, 4, 7.2151),
        worker(Role::Decode, 0, 2, 3.3481),
        worker(Role::Aggregated, 0, 4, 3.567),
        worker(Role::Aggregated, 0, 2, 1.681),
    ];
    question(vec![pool(Some(1_000), 8)], types, Some(50.0))
}

#[test]
fn qwen3_32b_at_50_requests_per_second_takes_53_devices() {
    let question = qwen();
    let found = solve(&question, &free()).unwrap();
    let plan = found.best.unwrap();
    assert_eq!(plan.counts, [(0, 25), (1, 7)]);
    assert_eq!((plan.figures.n_devices, found.bound, found.counted), (53, Some(53.0), Some(53.0)));
    assert_eq!((found.verdict, found.proof), (Verdict::Optimal, Some(Proof::Counted)));
    assert!(found.ties_proved);
    assert_eq!(verify(&question, &plan), Ok(()));
    // min(25 x 2.0819, 7 x 7.2151).
    assert!((plan.figures.requests_per_s - 50.5057).abs() < 1e-9);
    // 50 x (1 / 2.0819 + 4 / 7.2151).
    assert!((speed_of_light(&question, 50.0).unwrap() - 51.7362).abs() < 1e-3);
    let fits = Question { pools: vec![pool(Some(7), 8)], ..question.clone() };
    assert_eq!(solve(&fits, &free()).unwrap().bound, Some(53.0));
    // 52 devices on hosts: one less than suffices.
    let short = Question { most_devices: Some(52), ..question.clone() };
    let none = solve(&short, &free()).unwrap();
    assert_eq!((none.best, none.verdict), (None, Verdict::Infeasible));
    assert_eq!(fewest(&short, &free()).unwrap().bound, Some(53.0));
    let [now, more] = more_devices(&question, 53, &free()).unwrap();
    let served = |found: Found| found.best.unwrap().figures.requests_per_s;
    assert_eq!(served(now), plan.figures.requests_per_s);
    // One prefill worker less, and an aggregated one on two devices.
    assert!((served(more) - (24.0 * 2.0819 + 1.681)).abs() < 1e-9);
}

#[test]
fn eight_devices_serve_what_five_prefill_and_three_decode_workers_do() {
    // Qwen3-32B-FP8 on H200 as AIConfigurator 0.12.0 predicts it for TensorRT-LLM: 15.26 requests/s by 5 and 3
    // workers; 0.9 requests in TTFT / 1.98 = 0.2681 s; 830.2 tokens/s on each of 4 devices, 500 a request.
    let types = vec![
        worker(Role::Prefill, 0, 1, 3.3567),
        worker(Role::Decode, 0, 1, 5.0867),
        worker(Role::Aggregated, 0, 4, 6.6416),
    ];
    let question = question(vec![pool(Some(1), 8)], types, None);
    let found = solve(&question, &free()).unwrap();
    let plan = found.best.unwrap();
    assert_eq!(plan.counts, [(0, 5), (1, 3)]);
    assert!((plan.figures.requests_per_s - 15.26).abs() < 1e-2);
    assert_eq!((found.verdict, found.bound), (Verdict::Optimal, Some(plan.figures.requests_per_s)));
}

#[test]
fn widths_that_divide_a_host_may_not_fill_it() {
    let types = vec![
        worker(Role::Prefill, 0, 15, 10.0),
        worker(Role::Decode, 0, 10, 3.0),
        worker(Role::Decode, 0, 6, 1.0),
    ];
    let lane =
        |to: usize, bytes: f64| HandOver { from: vec![0], to: vec![to], bytes_per_s: Some(bytes) };
    let with = |hosts: u32| Question {
        hand_overs: vec![lane(1, 6.0), lane(2, 4.0)],
        bytes_per_request: 1.0,
        ..question(vec![pool(Some(hosts), 30)], types.clone(), Some(10.0))
    };
    // One 15, two 10 and four 6 are 59 of 60 devices, and do not fit on two hosts of 30.
    let none = solve(&with(2), &free()).unwrap();
    assert_eq!((none.best, none.verdict), (None, Verdict::Infeasible));
    let found = solve(&with(3), &free()).unwrap();
    assert_eq!(found.best.unwrap().counts, [(0, 1), (1, 2), (2, 4)]);
    assert_eq!((found.verdict, found.bound), (Verdict::Optimal, Some(59.0)));
}

#[test]
fn a_slow_link_makes_workers_aggregated() {
    let mut question = qwen();
    question.bytes_per_request = 4_000.0 * 2.0 * 8.0 * 128.0 * 64.0 * 2.0;
    // 50 requests/s of 1.05 GB are 52.4 GB/s.
    for (bytes_per_s, has_prefill) in [(60e9, true), (1e9, false)] {
        question.hand_overs = vec![question.between(0, 0, Some(bytes_per_s))];
        let found = solve(&question, &free()).unwrap();
        let plan = found.best.unwrap();
        assert_eq!(verify(&question, &plan), Ok(()));
        assert_eq!(plan.counts[0].0 == 0, has_prefill, "{plan:?}");
        let bytes_handed = plan.figures.handed_over_per_s[0] * question.bytes_per_request;
        assert!(bytes_handed <= bytes_per_s && (bytes_handed > 0.0) == has_prefill);
        assert_eq!(found.verdict, Verdict::Optimal);
    }
}

#[test]
fn a_rate_that_is_missed_by_a_billionth_is_missed() {
    let types = vec![worker(Role::Aggregated, 0, 1, 0.7)];
    let with = |rate: f64| question(vec![pool(None, 8)], types.clone(), Some(rate));
    let devices = |rate: f64| solve(&with(rate), &free()).unwrap().bound;
    // Ten times 0.7 is below 7.0 by the error of decimals.
    assert_eq!(devices(7.0), Some(10.0));
    assert_eq!(devices(7.0 * (1.0 + 1e-9)), Some(11.0));
    let mut plan = solve(&with(7.0), &free()).unwrap().best.unwrap();
    assert!(matches!(verify(&with(7.0 * (1.0 + 1e-9)), &plan), Err(Flaw::Rate(_))));
    plan.figures.n_devices = 9;
    assert!(matches!(verify(&with(7.0), &plan), Err(Flaw::Stated(_))));
    plan.hosts.pop();
    assert!(matches!(verify(&with(7.0), &plan), Err(Flaw::Placed(0))));
}

#[test]
fn a_worker_wider_than_a_host_takes_whole_hosts() {
    let types = vec![worker(Role::Aggregated, 0, 12, 5.0), worker(Role::Aggregated, 0, 4, 1.0)];
    let question = question(vec![pool(Some(3), 8)], types, Some(7.0));
    let plan = solve(&question, &free()).unwrap().best.unwrap();
    assert_eq!((plan.counts.as_slice(), plan.figures.n_devices), (&[(0, 1), (1, 2)][..], 24));
    assert_eq!(plan.hosts[0], HostGroup { pool: 0, n_hosts: 2, times: 1, workers: vec![(0, 1)] });
}

#[test]
fn what_cannot_be_promised_is_said_with_what_can() {
    let mut question = qwen();
    let times = [0.6, 0.0, 0.0, 1.2, 0.9];
    let gaps = [0.0, 0.028, 0.02, 0.029, 0.018];
    for (at, of) in question.types.iter_mut().enumerate() {
        (of.ttft_s, of.tpot_s) = (times[at], gaps[at]);
    }
    (question.ttft_s, question.tpot_s) = (Some(0.5), Some(0.03));
    let none = solve(&question, &free()).unwrap();
    assert_eq!((none.best, none.verdict), (None, Verdict::Infeasible));
    let within = reach(&question, &free()).unwrap();
    assert_eq!(within.ttft.unwrap().0, 0.6);
    assert!(within.tpot.is_none());
    question.ttft_s = Some(2.0);
    let points = front(&question, &free()).unwrap();
    let of = |point: &Point| (point.tpot_s, point.found.best.as_ref().unwrap().figures.n_devices);
    // 25 + 15 x 2 with the narrow decode workers, 30 x 2 with the narrow aggregated ones.
    assert_eq!(points.iter().map(of).collect::<Vec<_>>(), [(0.018, 60), (0.02, 55), (0.028, 53)]);
    let plan = solve(&question, &free()).unwrap().best.unwrap();
    let steps = other_promises(&question, &plan, &free()).unwrap();
    let tighter = steps.iter().find(|step| step.promise == Broken::Tpot).unwrap();
    assert_eq!((tighter.seconds, tighter.found.bound), (0.02, Some(55.0)));
}

#[test]
fn what_is_cut_short_claims_only_its_bound() {
    for limits in [
        Limits { time: Some(Duration::ZERO), ..Limits::default() },
        Limits { nodes: Some(0), ..Limits::default() },
        Limits { cancel: Arc::new(AtomicBool::new(true)), ..Limits::default() },
    ] {
        let found = solve(&qwen(), &Control::new(&limits)).unwrap();
        assert_eq!((found.best, found.proof, found.verdict), (None, None, Verdict::Open));
        assert_eq!(found.bound, Some(53.0));
        assert!(!found.stop.is_complete());
    }
}

#[test]
fn what_is_no_question_is_refused() {
    let refused = |change: &dyn Fn(&mut Question)| {
        let mut question = qwen();
        change(&mut question);
        solve(&question, &free()).unwrap_err()
    };
    assert_eq!(refused(&|q| q.requests_per_s = None), Refused::Rate);
    assert_eq!(refused(&|q| q.objective = Objective::LowestPrice), Refused::NoPrice(0));
    assert_eq!(refused(&|q| q.types[1].pool = 3), Refused::Figure("pool", 1));
    assert_eq!(refused(&|q| q.types[0].efficiency = 1.5), Refused::Figure("efficiency", 0));
    let many = |q: &mut Question| {
        q.requests_per_s = Some(1e7);
        q.pools[0].hosts = None;
    };
    assert_eq!(refused(&many), Refused::TooMany("devices"));
    let endless = |q: &mut Question| {
        (q.requests_per_s, q.objective) = (None, Objective::Throughput);
        q.pools[0].hosts = None;
    };
    assert_eq!(refused(&endless), Refused::Unlimited);
}
