//! The linear program of S1: which edges should stay on one device.
//!
//! min w + 0.01 x (sum of g_e x_e) / (sum of g_e) over x in [0, 1], s >= 0, w, with
//! s_i + p_i + c_ij x_ij <= s_j; s_i + p_i <= w; at most one outgoing and at most one incoming edge
//! of an op at 0 (in sum). All times are divided by U, the greatest p_i or c_e.

use std::time::Duration;

use cost_model::ops::problem::Problem;
use good_lp::solvers::highs::{HighsParallelType, HighsProblem, highs};
use good_lp::{
    Expression, ProblemVariables, Solution, SolutionStatus, SolverModel, Variable, constraint,
    variable,
};

use super::favourites::Edge;

/// Weight of the term that makes the favourites unique.
const TIE_WEIGHT: f64 = 0.01;
/// The golden ratio's fraction, whose multiples spread evenly over [0, 1).
const GOLDEN: f64 = 0.618_033_988_749_894_9;
/// Grid to which x is rounded, so that a threshold is met with equality.
const GRID: f64 = 1e-6;
/// HiGHS's number of the dual simplex method.
const DUAL_SIMPLEX: i32 = 1;

/// How long the solver may take.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    pub(super) time: Option<Duration>,
    /// Simplex iterations.
    pub(super) iterations: Option<u64>,
}

/// What the solver said.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Relaxation {
    /// x_e by edge number.
    Optimal(Vec<f64>),
    /// Any other verdict.
    NotSolved(&'static str),
}

/// Solves the program.
pub(super) fn relax(problem: &Problem, edges: &[Edge], limits: Limits) -> Relaxation {
    if edges.is_empty() {
        return Relaxation::Optimal(Vec::new());
    }
    let time: Vec<u64> = problem.actions.iter().map(|op| problem.least_time_ns(*op)).collect();
    let unit = time.iter().copied().chain(edges.iter().map(|edge| edge.time)).max().unwrap_or(0);
    // Nothing takes any time: every edge is as good as another.
    let unit = unit.max(1) as f64;
    let tie = tie_weights(edges);
    if !(unit.is_finite() && tie.iter().all(|weight| weight.is_finite())) {
        return Relaxation::NotSolved("not-finite");
    }

    let mut variables = ProblemVariables::new();
    let x = variables.add_vector(variable().min(0.0).max(1.0), edges.len());
    let start = variables.add_vector(variable().min(0.0), problem.actions.len());
    let makespan = variables.add(variable().min(0.0));
    let mut objective = Expression::with_capacity(edges.len() + 1);
    objective.add_mul(1.0, makespan);
    for (variable, weight) in x.iter().zip(&tie) {
        objective.add_mul(*weight, *variable);
    }
    let mut model = configured(highs(variables.minimise(objective)), limits);
    let mut index = vec![usize::MAX; problem.n_ops()];
    for (position, op) in problem.actions.iter().enumerate() {
        index[op.index()] = position;
    }
    let p: Vec<f64> = time.iter().map(|time| *time as f64 / unit).collect();
    for (edge, x) in edges.iter().zip(&x) {
        let (i, j) = (index[edge.from.index()], index[edge.to.index()]);
        let c = edge.time as f64 / unit;
        model.add_constraint(constraint!(start[j] - start[i] - c * *x >= p[i]));
    }
    for (start, p) in start.iter().zip(&p) {
        model.add_constraint(constraint!(makespan - *start >= *p));
    }
    add_degrees(&mut model, problem.n_ops(), edges, &x);
    verdict(model, &x)
}

/// g_e, scaled to the weight of the second term of the objective.
fn tie_weights(edges: &[Edge]) -> Vec<f64> {
    let weights: Vec<f64> = edges
        .iter()
        .enumerate()
        .map(|(number, edge)| {
            let k = (number + 1) as f64;
            edge.time.max(1) as f64 * (1.0 + 0.1 * (k * GOLDEN).fract())
        })
        .collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| TIE_WEIGHT * weight / sum).collect()
}

/// Sums of x over an op's outgoing and incoming edges are at least their number less 1.
fn add_degrees(model: &mut HighsProblem, n_ops: usize, edges: &[Edge], x: &[Variable]) {
    let ends: [fn(&Edge) -> usize; 2] = [|edge| edge.from.index(), |edge| edge.to.index()];
    for end in ends {
        let mut of_op: Vec<Vec<Variable>> = vec![Vec::new(); n_ops];
        for (edge, variable) in edges.iter().zip(x) {
            of_op[end(edge)].push(*variable);
        }
        // One edge alone may be 0: no row.
        for of_op in of_op.iter().filter(|of_op| of_op.len() > 1) {
            let sum: Expression = of_op.iter().sum();
            model.add_constraint(constraint!(sum >= (of_op.len() - 1) as f64));
        }
    }
}

/// The least feasibility tolerance that HiGHS takes.
const TIGHTEST: f64 = 1e-10;

fn configured(model: HighsProblem, limits: Limits) -> HighsProblem {
    let mut model = model
        .set_option("solver", "simplex")
        .set_option("simplex_strategy", DUAL_SIMPLEX)
        .set_option("random_seed", 0)
        // The second term of the objective tells favourites apart by less than the usual 1e-7.
        .set_option("primal_feasibility_tolerance", TIGHTEST)
        .set_option("dual_feasibility_tolerance", TIGHTEST)
        .set_parallel(HighsParallelType::Off)
        .set_threads(1);
    if let Some(time) = limits.time {
        model = model.set_time_limit(time.as_secs_f64());
    }
    if let Some(iterations) = limits.iterations {
        let iterations = i32::try_from(iterations).unwrap_or(i32::MAX);
        model = model.set_option("simplex_iteration_limit", iterations);
    }
    model
}

fn verdict(model: HighsProblem, x: &[Variable]) -> Relaxation {
    let solution = match model.solve() {
        Ok(solution) => solution,
        Err(good_lp::ResolutionError::Infeasible) => return Relaxation::NotSolved("infeasible"),
        Err(good_lp::ResolutionError::Unbounded) => return Relaxation::NotSolved("unbounded"),
        Err(_) => return Relaxation::NotSolved("not-solved"),
    };
    if !matches!(solution.status(), SolutionStatus::Optimal) {
        return Relaxation::NotSolved("limit-reached");
    }
    let values: Vec<f64> = x.iter().map(|x| (solution.value(*x) / GRID).round() * GRID).collect();
    if values.iter().all(|value| value.is_finite()) {
        Relaxation::Optimal(values)
    } else {
        Relaxation::NotSolved("not-finite")
    }
}
