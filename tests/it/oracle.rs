//! Every row of the registry against the exhaustive search, on ten thousand random problems; the
//! exhaustive search against a walk along the clock; the bounds against both.

use std::collections::BTreeMap;
use std::sync::Arc;

use cost_model::ops::bound::{lower_bound, memory_certificate};
use cost_model::ops::judge::memory::{Peak, peaks};
use cost_model::ops::judge::replay::replay;
use cost_model::ops::judge::verify::verify;
use cost_model::ops::problem::Problem;
use ir::diagnostic::Value;
use ir::graph::Graph;
use ir::id::TensorId;
use ir::op::{GivenCost, Work};
use ir::plan::Plan;
use ir::tensor::Role;
use ir::units::{Bytes, Nanos};
use planner::algorithm::Guarantee;
use planner::no_plan::NoPlan;
use planner::placement::brute_force::{self, Verdict};
use planner::run::{Outcome, StopReason};

use crate::layered::even_cluster;
use crate::random_problem::{
    KIND_NAMES, RandomProblem, build, classify, op, random_problem, tensor, without_limits,
};
use crate::recipes::{Tried, recipes};
use crate::time_grid;

/// Random problems, where the number of cases is not stated.
const N_PROBLEMS: u64 = 2_500;
/// Integer programs take as long as a thousand other plans: so many problems go by without one
/// (planner/tests/programs draws more).
const PROGRAMS: u64 = 50;
const N_THREADS: u64 = 2;

/// The walk along the clock takes too long beyond this.
const MOST_ACTIONS_ON_THE_GRID: usize = 5;

/// What was met, to see that nothing was left out.
#[derive(Debug, Default)]
struct Tally {
    problems: u64,
    heterogeneous: u64,
    limited: u64,
    colocated: u64,
    infeasible: u64,
    limited_infeasible: u64,
    /// Limits cost time, or every plan.
    limits_matter: u64,
    certificates: u64,
    waiting_optima: u64,
    /// A device of the best plan holds most when the step is over.
    fullest_at_the_end: u64,
    bounds_met: u64,
    on_the_grid: u64,
    plans: u64,
    optima: u64,
    no_plans: u64,
    failures: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.problems += other.problems;
        self.heterogeneous += other.heterogeneous;
        self.limited += other.limited;
        self.colocated += other.colocated;
        self.infeasible += other.infeasible;
        self.limited_infeasible += other.limited_infeasible;
        self.limits_matter += other.limits_matter;
        self.certificates += other.certificates;
        self.waiting_optima += other.waiting_optima;
        self.fullest_at_the_end += other.fullest_at_the_end;
        self.bounds_met += other.bounds_met;
        self.on_the_grid += other.on_the_grid;
        self.plans += other.plans;
        self.optima += other.optima;
        self.no_plans += other.no_plans;
        self.failures.extend(other.failures);
    }
}

/// The least step time by exhaustive search; `None` if no plan exists.
pub(crate) fn optimum(problem: &Problem) -> Option<(Plan, u64)> {
    match brute_force::solve(problem, &mut |_| false) {
        Verdict::Optimal(plan, step_time) => Some((*plan, step_time)),
        Verdict::Infeasible(_) => None,
        other => panic!("the exhaustive search gave up: {other:?}"),
    }
}

/// What is wrong with a plan that claims a step time.
pub(crate) fn objections(problem: &Problem, plan: &Plan, claimed: u64) -> Vec<String> {
    let violations = verify(problem, plan);
    let mut found: Vec<String> =
        violations.iter().map(|v| format!("{}: {}", v.code(), v.diagnostic(problem))).collect();
    match replay(problem, plan) {
        Ok(timeline) if timeline.step_time.get() == claimed => {}
        Ok(timeline) => found.push(format!("claims {claimed}, takes {}", timeline.step_time.get())),
        Err(violation) => found.push(format!("can't be replayed: {}", violation.code())),
    }
    found
}

/// Whether a row must find the optimum of a problem.
pub(crate) fn promises_optimum(problem: &Problem, tried: &Tried) -> bool {
    let promises = tried.entry.promises();
    promises.contains(&("models", Guarantee::Optimal)) && brute_force::applies(problem)
}

/// What is wrong with a row's plan, given the optimum.
fn outcome_objections(
    problem: &Problem,
    tried: &Tried,
    outcome: &Outcome,
    best: Option<u64>,
) -> Vec<String> {
    let value = outcome.timeline.step_time.get();
    let mut found = objections(problem, &outcome.plan, value);
    if outcome.report.step_time.get() != value {
        found.push("report and timeline differ".to_owned());
    }
    let Some(best) = best else {
        found.push("a plan where the search proved that none exists".to_owned());
        return found;
    };
    if value < best {
        found.push(format!("takes {value}, below the optimum of {best}"));
    }
    if outcome.bound.value.get() > best {
        found.push(format!("claims a bound of {}", outcome.bound.value.get()));
    }
    if outcome.stop == StopReason::ProvedOptimal && value != best {
        found.push(format!("claims that {value} is optimal"));
    }
    let ran_to_its_end = !matches!(outcome.stop, StopReason::NodeBudget | StopReason::Deadline);
    if promises_optimum(problem, tried) && ran_to_its_end && value != best {
        found.push(format!("promises the optimum of {best}, takes {value}"));
    }
    found
}

fn no_plan_objections(
    problem: &Problem,
    tried: &Tried,
    no_plan: &NoPlan,
    best: Option<u64>,
) -> Vec<String> {
    let mut found = Vec::new();
    if no_plan.proved && best.is_some() {
        found.push(format!("claims a proof that no plan exists: {no_plan}"));
    }
    if promises_optimum(problem, tried) && best.is_some() {
        found.push(format!("promises the optimum and finds no plan: {no_plan}"));
    }
    found
}

fn check(seed: u64, tally: &mut Tally) {
    let RandomProblem { problem, heterogeneous, limited, colocated } = random_problem(seed);
    let best = optimum(&problem);
    let least = best.as_ref().map(|(_, step_time)| *step_time);
    tally.problems += 1;
    tally.heterogeneous += u64::from(heterogeneous);
    tally.limited += u64::from(limited);
    tally.colocated += u64::from(colocated);
    tally.infeasible += u64::from(best.is_none());
    tally.limited_infeasible += u64::from(best.is_none() && limited);
    let mut failed = |row: &str, objections: Vec<String>| {
        for objection in objections {
            tally.failures.push(format!("problem {seed}, {row}: {objection}"));
        }
    };
    let bound = lower_bound(&problem).value.get();
    let certificate = memory_certificate(&problem);
    if let Some((plan, step_time)) = &best {
        failed("exhaustive search", objections(&problem, plan, *step_time));
        if bound > *step_time {
            failed("bound", vec![format!("{bound} is above the optimum of {step_time}")]);
        }
        if let Some(certificate) = &certificate {
            failed("certificate", vec![format!("a plan exists: {}", certificate.diagnostic)]);
        }
        tally.waiting_optima += u64::from(!plan.schedule.after.is_empty());
        let at_the_end = |peak: &Peak| peak.at > 0 && peak.at == *step_time;
        let timeline = replay(&problem, plan);
        let is_met = timeline.is_ok_and(|t| peaks(&problem, plan, &t).iter().any(at_the_end));
        tally.fullest_at_the_end += u64::from(is_met);
        tally.bounds_met += u64::from(bound == *step_time);
    }
    tally.certificates += u64::from(certificate.is_some());
    if limited {
        let unlimited = optimum(&without_limits(&problem)).map(|(_, step_time)| step_time);
        tally.limits_matter += u64::from(unlimited != least);
    }
    check_rows(seed, &problem, least, tally);
    if problem.actions.len() <= MOST_ACTIONS_ON_THE_GRID {
        tally.on_the_grid += 1;
        let walked = time_grid::least_step_time(&problem);
        if walked != least {
            let message = format!("problem {seed}, grid: {walked:?} against {least:?}");
            tally.failures.push(message);
        }
    }
}

fn check_rows(seed: u64, problem: &Arc<Problem>, best: Option<u64>, tally: &mut Tally) {
    let is_due = |tried: &Tried| !tried.text.contains("milp") || seed.is_multiple_of(PROGRAMS);
    for tried in recipes(seed).into_iter().filter(is_due) {
        let found = match tried.solve(problem, seed) {
            Ok(outcome) => {
                tally.plans += 1;
                tally.optima += u64::from(Some(outcome.timeline.step_time.get()) == best);
                outcome_objections(problem, &tried, &outcome, best)
            }
            Err(no_plan) => {
                tally.no_plans += 1;
                no_plan_objections(problem, &tried, &no_plan, best)
            }
        };
        for objection in found {
            tally.failures.push(format!("problem {seed}, {}: {objection}", tried.text));
        }
    }
}

#[test]
fn no_row_beats_the_exhaustive_search_and_no_plan_is_illegal() {
    let n_problems = benchmark_data::cases(N_PROBLEMS);
    let workers: Vec<_> = (0..N_THREADS)
        .map(|worker| {
            std::thread::spawn(move || {
                let mut tally = Tally::default();
                (0..n_problems).filter(|seed| seed % N_THREADS == worker).for_each(|seed| {
                    check(seed, &mut tally);
                });
                tally
            })
        })
        .collect();
    let mut tally = Tally::default();
    for worker in workers {
        tally.add(worker.join().unwrap());
    }
    let failures = std::mem::take(&mut tally.failures);
    println!("{tally:#?}");
    assert!(
        failures.is_empty(),
        "{} failures, such as\n{}",
        failures.len(),
        failures.iter().take(20).cloned().collect::<Vec<_>>().join("\n")
    );
    assert_eq!(tally.problems, n_problems);
    assert!(2 * tally.heterogeneous >= n_problems, "half are heterogeneous");
    assert!(2 * tally.limited >= n_problems, "half have limits that bind");
    assert!(5 * tally.limited_infeasible >= tally.limited, "a fifth of those are infeasible");
    assert!(4 * tally.colocated >= n_problems, "a quarter have groups");
    assert!(2 * tally.limits_matter >= tally.limited, "limits change the answer often enough");
    assert!(tally.waiting_optima > 0, "some optimal plans wait for memory");
    assert!(tally.fullest_at_the_end > 0, "some outputs are made at the last instant");
    assert!(tally.certificates > 0, "some problems are refused by counting");
    assert!(tally.certificates < tally.infeasible, "counting does not prove everything");
    assert!(tally.bounds_met > 0 && tally.on_the_grid > 0);
    assert!(tally.optima > 0 && tally.no_plans > 0);
}

/// A makes `x` (60 B) and `read` (30 B) in 5 ns, of which B makes `y` (80 B) in no time; the caller
/// takes `x` and `y`.
fn output_of_the_last_instant(n_devices: usize, limit: u64) -> Problem {
    let activation = |name: &str, bytes| tensor(name.to_owned(), bytes, Role::Activation);
    let cost = |ns, temporary| {
        let time = BTreeMap::from([(KIND_NAMES[0].to_owned(), Nanos(ns))]);
        Work::Given(GivenCost { time, temporary: Bytes(temporary) })
    };
    let [x, read, y] = [0, 1, 2].map(TensorId::new);
    let graph = Graph {
        tensors: vec![activation("x", 60), activation("read", 30), activation("y", 80)],
        ops: vec![
            op("A".to_owned(), Vec::new(), Vec::new(), vec![x, read], cost(5, 0)),
            op("B".to_owned(), vec![x, read], Vec::new(), vec![y], cost(0, 70)),
        ],
        outputs: vec![x, y],
        ..Graph::default()
    };
    let mut cluster = even_cluster(n_devices);
    cluster.devices.iter_mut().for_each(|device| device.capacity = Some(Bytes(limit)));
    classify(&mut cluster);
    build(graph, cluster).unwrap()
}

/// On one device 60 + 80 B lie there when the step is over. With less room B goes to the other one,
/// after the transfers of both tensors: 5 + (5 + 60) + (5 + 30) ns. A itself needs 90 B.
#[test]
fn everybody_counts_an_output_of_the_last_instant() {
    for (n_devices, limit, best) in
        [(1, 140, Some(5)), (1, 139, None), (2, 140, Some(5)), (2, 139, Some(105)), (2, 89, None)]
    {
        let problem = Arc::new(output_of_the_last_instant(n_devices, limit));
        let found = optimum(&problem);
        assert_eq!(found.as_ref().map(|(_, step_time)| *step_time), best);
        assert_eq!(time_grid::least_step_time(&problem), best);
        if let Some((plan, step_time)) = found {
            assert_eq!(objections(&problem, &plan, step_time), [""; 0]);
            let peaks = peaks(&problem, &plan, &replay(&problem, &plan).unwrap());
            let most = peaks.iter().map(|peak| peak.bytes).max();
            assert_eq!(most, Some(if step_time == 5 { 140 } else { 90 }));
            assert_eq!(peaks.contains(&Peak { bytes: 140, at: 5 }), step_time == 5);
        }
        for turn in 0..recipes(0).len() as u64 {
            let mut tally = Tally::default();
            check_rows(turn, &problem, best, &mut tally);
            assert_eq!(tally.failures, [""; 0], "{n_devices} devices of {limit} B");
        }
    }
    let certificate = memory_certificate(&output_of_the_last_instant(1, 139)).unwrap();
    let need = certificate.diagnostic.facts.into_iter().find(|(name, _)| *name == "need");
    assert_eq!(need, Some(("need", Value::Bytes(Bytes(140)))));
    assert_eq!(memory_certificate(&output_of_the_last_instant(1, 140)), None);
}
