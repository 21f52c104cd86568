//! Hints that are followed lead to plans.

use std::sync::Arc;

use crate::placement::list_schedule::sketch::Sketch;
use crate::run::no_plan::{NoPlan, Reason};
use crate::run::{Outcome, Request, solve};

/// A chain of 6 ops with 100 bytes of parameters each; every op hands on 30 bytes.
fn chain(n_devices: usize, limit: u64) -> Sketch {
    let mut sketch = Sketch::new(1.0);
    for _ in 0..n_devices {
        sketch = sketch.device("a", limit);
    }
    sketch = sketch.op("op0", "a", 5, "", "t0:30").persistent(100);
    for i in 1..6 {
        let (input, output) = (format!("t{}", i - 1), format!("t{i}:30"));
        sketch = sketch.op(&format!("op{i}"), "a", 5, &input, &output).persistent(100);
    }
    sketch
}

fn run(sketch: &Sketch, recipe: &str) -> Result<Outcome, NoPlan> {
    let mut request = Request::new(crate::registry::recipe(recipe).unwrap());
    request.limits.deterministic = true;
    solve(Arc::new(sketch.problem()), &request, &mut |_| {})
}

/// The number after some words in the first hint that has others.
fn number(no_plan: &NoPlan, (words, before): (&str, &str)) -> u64 {
    let hint = no_plan.diagnostic.hints.iter().find(|hint| hint.contains(words)).unwrap();
    let rest = hint.split_once(before).unwrap().1;
    rest.split_once(' ').unwrap().0.parse().unwrap()
}

#[test]
fn hints_of_a_proof_work_when_they_are_followed() {
    let no_plan = run(&chain(2, 250), "auto").unwrap_err();
    assert!(no_plan.proved && no_plan.diagnostic.code == "memory-exceeded");
    // 300 bytes of parameters each are necessary, but the ops must also run.
    let limit = number(&no_plan, ("memory limit", "below "));
    assert!(limit > 300, "{limit}");
    assert!(run(&chain(2, limit), "auto").is_ok(), "{limit} bytes each");
    let count = number(&no_plan, (" devices, the added ones", "at least "));
    assert!(count >= 3);
    assert!(run(&chain(usize::try_from(count).unwrap(), 250), "auto").is_ok(), "{count} devices");
    assert!(no_plan.diagnostic.hints.iter().all(|hint| hint.contains("verified")));
}

#[test]
fn hints_of_a_failure_work_when_they_are_followed() {
    // The sums fit, but no device holds two ops. The small problem is searched to its end.
    for (n_devices, limit, proved) in [(2, 310, true), (4, 160, false)] {
        let no_plan = run(&chain(n_devices, limit), "auto").unwrap_err();
        assert_eq!((no_plan.proved, no_plan.reason), (proved, Reason::MemoryExceeded));
        assert!(no_plan.attempts.len() > 10);
        let enough = number(&no_plan, ("memory limit", "below "));
        assert!(enough > limit);
        assert!(run(&chain(n_devices, enough), "auto").is_ok(), "{enough} bytes each");
        let count = number(&no_plan, (" devices, the added ones", "at least "));
        assert!(run(&chain(usize::try_from(count).unwrap(), limit), "auto").is_ok(), "{count}");
    }
}

#[test]
fn another_recipe_is_named_where_it_finds_a_plan() {
    // Everything on one device does not fit.
    let no_plan = run(&chain(2, 450), "single").unwrap_err();
    let hint = no_plan.diagnostic.hints.last().unwrap();
    let recipe = hint.split('`').nth(1).unwrap();
    assert!(run(&chain(2, 450), recipe).is_ok(), "{hint}");
}

#[test]
fn no_hint_without_a_plan() {
    // Unlike devices and no ways: no count helps, and nothing is claimed.
    let mut sketch = chain(2, 250);
    sketch.links = Some(ir::cluster::Links {
        pairs: vec![ir::cluster::NO_ROUTE; 4],
        ..crate::placement::list_schedule::sketch::full_duplex(2, 1.0)
    });
    let no_plan = run(&sketch, "auto").unwrap_err();
    assert!(no_plan.diagnostic.hints.iter().all(|hint| !hint.contains("devices, the added")));
    assert!(no_plan.diagnostic.facts.iter().any(|(name, _)| *name == "missing"));
}

#[test]
fn the_fallback_moves_the_cuts_to_where_the_memory_is() {
    // A share of 8 bytes and the greatest op on top: the first of two devices takes three ops.
    let mut sketch = Sketch::new(1.0).device("a", 10).device("a", 10);
    for i in 0..4 {
        sketch = sketch.op(&format!("op{i}"), "a", 1, "", "").persistent(4);
    }
    assert!(run(&sketch, "m-topo").is_err());
    let outcome = run(&sketch, "m-topo(cap=limit)").unwrap();
    assert!(
        outcome.report.devices.iter().all(|d| d.limit.is_some_and(|limit| d.peak.bytes <= limit))
    );
}

#[test]
fn the_portfolio_stops_at_the_bound() {
    let outcome = run(&chain(2, 10_000), "auto").unwrap();
    assert_eq!(outcome.stop, crate::run::StopReason::ProvedOptimal);
    assert_eq!(outcome.attempts.len(), 1, "a chain on one device is the critical path");
}

#[test]
fn times_out_of_range_are_refused_by_every_recipe() {
    let mut sketch = chain(2, 10_000);
    for recipe in ["single", "m-topo", "m-etf", "auto"] {
        sketch.ops[3].times[0].1 = 1 << 62;
        let no_plan = run(&sketch, recipe).unwrap_err();
        let diagnostic = &no_plan.diagnostic;
        assert_eq!(
            (diagnostic.code, diagnostic.blame.exit_code()),
            ("out-of-range", 3),
            "{recipe}"
        );
        assert!(!no_plan.proved);
        sketch.ops[3].times[0].1 = 1 << 60;
        assert!(run(&sketch, recipe).is_ok(), "{recipe}");
    }
}

#[test]
fn ops_without_a_way_between_them_are_proved() {
    let mut sketch = Sketch::new(1.0).device("a", 99).device("b", 99);
    sketch = sketch.op("A", "a", 1, "", "x:1").op("B", "b", 1, "x", "");
    sketch.links = Some(ir::cluster::Links {
        pairs: vec![ir::cluster::NO_ROUTE; 4],
        ..crate::placement::list_schedule::sketch::full_duplex(2, 1.0)
    });
    let no_plan = run(&sketch, "auto").unwrap_err();
    assert!(no_plan.proved && no_plan.reason == Reason::Unreachable);
    assert!(no_plan.diagnostic.message.contains("`x`"), "{no_plan}");
    assert_eq!(no_plan.diagnostic.blame.exit_code(), 4);
}

#[test]
fn a_group_is_named_as_a_group() {
    // The two tied ops need 300 bytes together; what fills the devices first comes before them.
    let mut sketch = Sketch::new(1.0);
    for _ in 0..4 {
        sketch = sketch.device("a", 330);
    }
    for i in 0..4 {
        sketch = sketch.op(&format!("first{i}"), "a", 1, "", &format!("t{i}:1")).persistent(100);
    }
    sketch = sketch.op("g0", "a", 1, "t0 t1 t2 t3", "g:1").persistent(150).group();
    sketch = sketch.op("g1", "a", 1, "g", "h:1").persistent(150).group();
    let no_plan = run(&sketch, "m-etf").unwrap_err();
    assert!(no_plan.diagnostic.message.contains("the 2 ops tied to `g0`"), "{no_plan}");
}

/// What a trial finds, `auto` finds again.
#[test]
fn trials_are_part_of_the_portfolio() {
    let known = crate::placement::auto::lines(cost_model::ops::problem::Objective::STEP_TIME);
    for text in super::RECIPES {
        assert!(known.iter().any(|(line, ..)| line == text), "{text}");
    }
}
