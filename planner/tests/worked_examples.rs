//! The worked examples, to the nanosecond.
#![allow(clippy::unwrap_used, reason = "tests")]

mod worked;

use std::sync::Arc;

use cost_model::ops::judge::memory::peaks;
use cost_model::ops::judge::replay::{Timeline, replay};
use cost_model::ops::judge::verify::verify;
use cost_model::ops::problem::Problem;
use ir::plan::Plan;
use ir::schedule::{Action, Task, Transfer};
use planner::registry;
use planner::run::{Request, solve};

use planner::no_plan::Reason;
use worked::{Expected, by_hand, examples};

fn op_name(problem: &Problem, op: ir::id::OpId) -> &str {
    &problem.graph.op(op).name
}

fn transfer_name(problem: &Problem, transfer: Transfer) -> String {
    format!("{}>{}", problem.graph.tensor(transfer.tensor).name, transfer.to.index())
}

fn task_name(problem: &Problem, task: Task) -> String {
    match task {
        Task::Op(op) => op_name(problem, op).to_owned(),
        Task::Transfer(transfer) => transfer_name(problem, transfer),
    }
}

fn orders(problem: &Problem, plan: &Plan) -> String {
    let of_device = |actions: &Vec<Action>| {
        let names = actions.iter().map(|Action::Op(op)| op_name(problem, *op));
        names.collect::<Vec<_>>().join(" ")
    };
    plan.schedule.actions.iter().map(of_device).collect::<Vec<_>>().join(" | ")
}

fn channels(problem: &Problem, plan: &Plan) -> String {
    let mut lines: Vec<String> = plan
        .schedule
        .channels
        .iter()
        .map(|(channel, transfers)| {
            let names = transfers.iter().map(|t| transfer_name(problem, *t));
            let channel = &problem.cluster.links.channels[channel.index()].name;
            format!("{channel} {}", names.collect::<Vec<_>>().join(" "))
        })
        .collect();
    lines.sort();
    lines.join(" | ")
}

fn waits(problem: &Problem, plan: &Plan) -> String {
    let wait = |wait: &ir::schedule::Wait| {
        let after = wait.after.iter().map(|task| task_name(problem, *task));
        format!("{} after {}", task_name(problem, wait.task), after.collect::<Vec<_>>().join(" "))
    };
    plan.schedule.after.iter().map(wait).collect::<Vec<_>>().join("; ")
}

/// Sorted: ties in start are of no interest.
fn spans(problem: &Problem, plan: &Plan, timeline: &Timeline) -> Vec<String> {
    let ops = problem.actions.iter().map(|op| {
        let span = timeline.ops[op.index()].unwrap();
        let device = plan.placement.of(*op).unwrap().index();
        format!("{}@{device}[{},{})", op_name(problem, *op), span.start, span.end)
    });
    let transfers = timeline.transfers.iter().map(|sent| {
        let name = transfer_name(problem, sent.transfer);
        format!("{name}[{},{})", sent.span.start, sent.span.end)
    });
    let mut all: Vec<String> = ops.chain(transfers).collect();
    all.sort();
    all
}

fn check(name: &str, problem: &Arc<Problem>, expected: &Expected) {
    let what = format!("{name}, {}", expected.algorithm);
    let request = Request::new(registry::recipe(expected.algorithm).unwrap());
    let outcome = solve(Arc::clone(problem), &request, &mut |_| {}).unwrap();
    let plan = &outcome.plan;
    assert!(verify(problem, plan).is_empty(), "{what}");
    let timeline = replay(problem, plan).unwrap();
    assert_eq!(timeline.step_time.get(), expected.step_time, "{what}");
    let peaks = peaks(problem, plan, &timeline);
    let peaks: Vec<String> = peaks.iter().map(|peak| peak.bytes.to_string()).collect();
    assert_eq!(peaks.join(" "), expected.peaks, "{what}");
    assert_eq!(orders(problem, plan), expected.orders, "{what}");
    assert_eq!(channels(problem, plan), expected.channels, "{what}");
    assert_eq!(waits(problem, plan), expected.after, "{what}");
    let mut wanted: Vec<&str> = expected.spans.split(' ').collect();
    wanted.sort_unstable();
    assert_eq!(spans(problem, plan, &timeline), wanted, "{what}");
}

#[test]
fn algorithms_do_what_was_worked_out_by_hand() {
    let mut n_checked = 0;
    for example in examples().iter().chain(&by_hand::examples()) {
        let problem = Arc::new(example.sketch.problem());
        for expected in &example.expected {
            check(example.name, &problem, expected);
            assert!(expected.step_time >= example.least, "{}", example.name);
            n_checked += 1;
        }
    }
    assert_eq!(n_checked, 13 + 23);
}

#[test]
fn m_topo_sees_the_late_parameter_too_late() {
    let problem = Arc::new(by_hand::late_sketch().problem());
    let request = Request::new(registry::recipe("m-topo").unwrap());
    let no_plan = solve(problem, &request, &mut |_| {}).unwrap_err();
    assert_eq!(no_plan.reason, Reason::MemoryExceeded);
    assert!(!no_plan.proved);
}

#[test]
fn the_portfolio_finds_the_least_step_time() {
    for example in examples().iter().chain(&by_hand::examples()) {
        let problem = Arc::new(example.sketch.problem());
        let request = Request::new(registry::recipe("auto").unwrap());
        let outcome = solve(problem, &request, &mut |_| {}).unwrap();
        assert_eq!(outcome.timeline.step_time.get(), example.least, "{}", example.name);
        assert_eq!(outcome.stop.name(), "proved-optimal", "{}", example.name);
        // Nothing runs after the recipe that meets the bound, or that proves the bound.
        let found_at = outcome.attempts.iter().position(|a| a.algorithm == outcome.algorithm);
        let last = outcome.attempts.last().unwrap();
        let proves = last.algorithm == "brute-force";
        assert!(proves || found_at == Some(outcome.attempts.len() - 1), "{}", example.name);
        assert_eq!(outcome.gap, 0.0, "{}", example.name);
    }
}
