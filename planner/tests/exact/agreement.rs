//! Program over ideals = integer program = column generation = all splits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cost_model::given::Goal;
use ir::instance::{Instance, LoadInstance};
use planner::given::latency;
use planner::given::max_load::check::check;
use planner::given::max_load::control::Control;
use planner::given::max_load::evaluate::evaluate;
use planner::given::max_load::search;
use planner::given::milp::{self, Verdict};
use planner::given::runner::{Answer, Request, rows_for, solve};
use planner::registry::entries;

use crate::brute::{Least, least};
use crate::sample::instance;

const N_INSTANCES: u64 = 5_000;
/// Latency takes the integer program longest: every fourth instance.
const LATENCY_EVERY: u64 = 4;
/// Instances that the integer program also solves from a first plan, and columns without trying
/// all placements.
const TABLE_EVERY: u64 = 20;

/// Calls `each` with every seed, on all cores; a failure on one thread fails the test.
pub(crate) fn for_seeds(n_seeds: u64, each: impl Fn(u64) + Sync) {
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..n_threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= n_seeds {
                        break;
                    }
                    each(seed);
                }
            });
        }
    });
}

/// A method of the table: it must be certain.
pub(crate) fn certain(wrapped: &Instance, goal: Goal, name: &str) -> Option<u64> {
    let answer: Answer = solve(wrapped, goal, Some(name), &Request::new(entries())).unwrap();
    assert!(answer.is_proved, "{name} is not certain: {wrapped:?}");
    let value = answer.best.map(|(value, _)| value.get());
    assert!(value.is_none_or(|value| value == answer.bound.value.get()), "{name}: {wrapped:?}");
    value
}

/// The integer program alone, without a plan to begin with.
pub(crate) fn program(instance: &LoadInstance, goal: Goal) -> Option<u64> {
    let options = milp::Options::default();
    let mut news = Vec::new();
    let found = milp::solve(instance, goal, &options, &|| false, &mut |one| {
        news.push((one.plan.map(|(value, _)| value), one.bound));
    });
    assert_ne!(found.verdict, Verdict::Open, "{goal:?}: {found:?} {instance:?}");
    let value = found.best.map(|(value, _)| value);
    // What is streamed only gets better, and ends with the result.
    let values: Vec<_> = news.iter().filter_map(|(value, _)| *value).collect();
    assert!(values.is_sorted_by(|a, b| a > b) && values.last().copied() == value, "{news:?}");
    assert!(news.iter().all(|(_, bound)| value.is_none_or(|value| *bound <= value)), "{news:?}");
    value.map(|value| value.get())
}

/// The search by columns without trying all placements: sound, and mostly closed.
fn columns_alone(instance: &LoadInstance, expected: &Least) -> bool {
    let control = Control::new(None, Some(3_000_000), Arc::default());
    let options = search::Options { exhausted: 0, ..search::Options::default() };
    let outcome = match search::solve(instance, &options, &control, &mut |_, _| {}) {
        Ok(outcome) => outcome,
        Err(error) => {
            let is_none = expected.free.is_none();
            assert!(is_none || error.code != "infeasible", "{instance:?}");
            return is_none && error.code == "infeasible";
        }
    };
    let least = expected.free.unwrap();
    assert!(outcome.bound_ns <= least && least <= outcome.value_ns, "{instance:?}");
    assert_eq!(evaluate(instance, &outcome.device_of), Some(outcome.value_ns));
    if let Some(certificate) = &outcome.certificate {
        assert_eq!(check(instance, certificate), Ok(()), "{instance:?}");
    }
    outcome.bound_ns == outcome.value_ns
}

#[test]
fn all_exact_methods_agree_with_all_splits() {
    let [n_none, n_ordered, n_alone, n_tried, n_promised] = [const { AtomicU64::new(0) }; 5];
    let count = |counter: &AtomicU64, is: bool| {
        counter.fetch_add(u64::from(is), Ordering::Relaxed);
    };
    for_seeds(N_INSTANCES, |seed| {
        let instance = instance(seed);
        let expected = least(&instance);
        let wrapped = Instance::Load(instance.clone());
        assert_eq!(certain(&wrapped, Goal::MaxLoad, "columns"), expected.free, "{seed}");
        assert_eq!(program(&instance, Goal::MaxLoad), expected.free, "{seed}");
        let contiguous = certain(&wrapped, Goal::ContiguousMaxLoad, "ideals");
        assert_eq!(contiguous, expected.ordered, "{seed}");
        assert_eq!(program(&instance, Goal::ContiguousMaxLoad), expected.ordered, "{seed}");
        if seed % LATENCY_EVERY == 0 {
            assert_eq!(program(&instance, Goal::Latency), expected.latency, "{seed}");
        }
        if seed % TABLE_EVERY == 0 {
            for (goal, value) in [
                (Goal::MaxLoad, expected.free),
                (Goal::ContiguousMaxLoad, expected.ordered),
                (Goal::Latency, expected.latency),
            ] {
                let rows =
                    rows_for(entries(), goal).filter(|(_, method)| method.guarantee.is_optimal());
                for (entry, _) in rows.inspect(|_| count(&n_promised, true)) {
                    if (entry.name, goal) == ("ideals", Goal::MaxLoad) {
                        // The best of its splits is no proof for all.
                        let answer =
                            solve(&wrapped, goal, Some("ideals"), &Request::new(entries()));
                        let best = answer.unwrap().best.map(|(value, _)| value.get());
                        assert_eq!(best, expected.ordered, "{seed}");
                    } else {
                        assert_eq!(certain(&wrapped, goal, entry.name), value, "{seed}");
                    }
                }
            }
            count(&n_tried, true);
            count(&n_alone, columns_alone(&instance, &expected));
        }
        let effort = latency::Effort { n_moves: 300, seed, ..latency::Effort::default() };
        if let Some(split) = latency::solve(&instance, &effort, &|| false) {
            assert!(expected.latency.is_some_and(|least| least <= split.value.get()), "{seed}");
        }
        count(&n_none, expected.free.is_none());
        count(&n_ordered, expected.ordered != expected.free);
    });
    let [none, ordered, alone, tried, promised] =
        [n_none, n_ordered, n_alone, n_tried, n_promised].map(AtomicU64::into_inner);
    // `milp` for three goals, `ideals` for two.
    assert_eq!(promised, 5 * tried);
    // Both kinds occur often, contiguity matters, and columns alone mostly come to an end.
    assert!(none > 200 && N_INSTANCES - none > 3_000 && ordered > 200, "{none} {ordered}");
    assert!(alone * 10 > tried * 8, "{alone} of {tried}");
}
