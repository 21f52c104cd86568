//! The linear relaxation of a [`Net`], for the solver.
//!
//! For each op v a 1 of one strategy x[v, k]. For each use u of a tensor t flows e[u, q, p] from placements q that
//! its producer leaves to placements p that the use wants: their sums over p are those of x with output q, their sums
//! over q those of the user's x with input p. A flow costs its resharding; of a tensor with several uses, which one
//! resharding serves, z[t, q, p] is at least each of its flows and costs instead.

use std::time::Instant;

use highs::{Col, HighsModelStatus, Model, RowProblem, Sense};

use super::answer::Refused;
use super::net::{Group, Net};
use crate::run::Control;

/// Rows of a program over columns between 0 and 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// Columns and their factors.
    pub terms: Vec<(usize, f64)>,
    /// Whether the sum may be greater; it is equal otherwise.
    pub is_least: bool,
    /// What it is.
    pub value: f64,
}

/// Costs of columns and rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Program {
    /// Microseconds by column.
    pub costs: Vec<f64>,
    /// Rows.
    pub rows: Vec<Row>,
    /// Columns that are whole: the first.
    pub n_whole: usize,
}

/// A program and the columns of its ops.
pub(super) struct Relaxation {
    pub program: Program,
    /// By op its first column.
    first: Vec<usize>,
}

/// Values of columns and duals of rows.
pub(super) struct Values {
    pub columns: Vec<f64>,
    pub duals: Vec<f64>,
}

impl Relaxation {
    /// Of some flows of a net, by use and pair of placements.
    pub(super) fn of(net: &Net, has: &[Vec<bool>]) -> Self {
        let mut of = Self { program: Program::default(), first: Vec::new() };
        for costs in &net.costs {
            let first = of.program.costs.len();
            of.first.push(first);
            of.program.costs.extend(costs);
            let terms = (first..first + costs.len()).map(|column| (column, 1.0)).collect();
            of.program.rows.push(Row { terms, is_least: false, value: 1.0 });
        }
        of.program.n_whole = of.program.costs.len();
        for parts in &net.budgets {
            let columns = of.first.iter().zip(parts);
            let terms = columns.flat_map(|(first, parts)| {
                parts.iter().enumerate().map(|(at, part)| (*first + at, -part))
            });
            let terms = terms.collect();
            of.program.rows.push(Row { terms, is_least: true, value: -1.0 });
        }
        for group in &net.groups {
            of.add(net, group, has);
        }
        of
    }

    /// Flows of a group's uses, with the shared cost where there are several.
    fn add(&mut self, net: &Net, group: &Group, has: &[Vec<bool>]) {
        let mut shared = vec![usize::MAX; group.costs.len()];
        for at in &group.uses {
            let ends = net.ends(*at);
            let mut margins = [0, 1].map(|end| -> Vec<Vec<(usize, f64)>> {
                let mut rows = vec![Vec::new(); group.n[end]];
                let first = self.first[ends[end].op];
                for (strategy, place) in ends[end].places.iter().enumerate() {
                    rows[*place as usize].push((first + strategy, -1.0));
                }
                rows
            });
            let wants = &net.uses[*at].wants;
            for (pair, cost) in group.costs.iter().enumerate() {
                let (q, p) = (pair / group.n[1], pair % group.n[1]);
                if !cost.is_finite() || !wants[p] || !has[*at][pair] {
                    continue;
                }
                let flow = self.program.costs.len();
                self.program.costs.push(if group.uses.len() > 1 { 0.0 } else { *cost });
                margins[0][q].push((flow, 1.0));
                margins[1][p].push((flow, 1.0));
                if group.uses.len() < 2 || *cost <= 0.0 {
                    continue;
                }
                if shared[pair] == usize::MAX {
                    shared[pair] = self.program.costs.len();
                    self.program.costs.push(*cost);
                }
                let terms = vec![(shared[pair], 1.0), (flow, -1.0)];
                self.program.rows.push(Row { terms, is_least: true, value: 0.0 });
            }
            let row = |terms| Row { terms, is_least: false, value: 0.0 };
            self.program.rows.extend(margins.into_iter().flatten().map(row));
        }
    }

    /// By op the strategy with the greatest value, and that value.
    pub(super) fn chosen(&self, values: &Values) -> Vec<(usize, f64)> {
        let ends = self.first.iter().skip(1).copied().chain([self.program.n_whole]);
        let of = |(first, end): (&usize, usize)| {
            let of_op = values.columns[*first..end].iter().copied().enumerate();
            of_op.max_by(|one, other| one.1.total_cmp(&other.1)).unwrap_or((0, 1.0))
        };
        self.first.iter().zip(ends).map(of).collect()
    }

    /// Duals of budgets.
    pub(super) fn budgets(&self, net: &Net, values: &Values) -> Vec<f64> {
        let first = net.costs.len();
        let budgets = &values.duals[first..first + net.budgets.len()];
        budgets.iter().map(|dual| dual.max(0.0)).collect()
    }
}

/// How far a value is from a whole number at most that it is taken for.
pub(super) const WHOLE: f64 = 1e-6;

/// Rules of presolve that are left out, as bits: sparsify, with which version 1.15.0 calls solutions optimal that are
/// not.
const RULES_OFF: i32 = 1 << 14;

/// The solution of a relaxation.
pub(super) fn solved(program: &Program, control: &Control) -> Result<Values, Refused> {
    let mut problem = RowProblem::new();
    let add = |cost: &f64| problem.add_column(*cost, 0.0..=1.0);
    let columns: Vec<Col> = program.costs.iter().map(add).collect();
    for row in &program.rows {
        let terms = row.terms.iter().map(|(column, factor)| (columns[*column], *factor));
        match row.is_least {
            true => problem.add_row(row.value.., terms),
            false => problem.add_row(row.value..=row.value, terms),
        }
    }
    let n = program.costs.len() as u64;
    let mut model = problem.try_optimise(Sense::Minimise).map_err(|_| Refused::NotSolved)?;
    configure(&mut model, n, control).ok_or(Refused::NotSolved)?;
    let solved = model.try_solve().map_err(|_| Refused::NotSolved)?;
    control.spend(n * solved.simplex_iteration_count().unsigned_abs());
    match solved.status() {
        HighsModelStatus::Optimal => {}
        HighsModelStatus::Infeasible => return Err(Refused::Infeasible),
        _ => return Err(Refused::NotSolved),
    }
    let solution = solved.get_solution();
    Ok(Values { columns: solution.columns().to_vec(), duals: solution.dual_rows().to_vec() })
}

/// One thread, and limits for so many columns: an iteration of the simplex counts as a node for each.
fn configure(model: &mut Model, n: u64, control: &Control) -> Option<()> {
    model.make_quiet();
    model.try_set_option("parallel", "off").ok()?;
    for (name, value) in [("threads", 1), ("random_seed", 0), ("presolve_rule_off", RULES_OFF)] {
        model.try_set_option(name, value).ok()?;
    }
    if let Some(end) = control.deadline() {
        let left = end.saturating_duration_since(Instant::now());
        model.try_set_option("time_limit", left.as_secs_f64()).ok()?;
    }
    if let Some(nodes) = control.nodes_left() {
        let iterations = i32::try_from(nodes / n.max(1)).unwrap_or(i32::MAX);
        model.try_set_option("simplex_iteration_limit", iterations).ok()?;
    }
    Some(())
}
