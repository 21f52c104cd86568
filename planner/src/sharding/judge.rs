//! The program of all strategies and flows at once, by the solver alone: what the search is judged by.
//!
//! What copies of layers read is the mean of what all copies are handed, in place of one flow of the first copy and one
//! of the others.

use std::collections::BTreeMap;

use good_lp::solvers::highs::{HighsParallelType, highs};
use good_lp::{
    DualValues, Expression, ProblemVariables, ResolutionError, Solution, SolutionWithDual,
    SolverModel, Variable, constraint, variable,
};

use super::answer::{Refused, Sharding};
use super::bound;
use super::graph::Graph;
use super::mesh::{Mesh, Placement, Prices};
use super::net::UNIT_S;
use super::price::Tables;
use super::relaxation::{Program, Row};
use super::space::Space;

/// How far a value is from a whole number at most that it is taken for.
const WHOLE: f64 = 1e-6;

/// Columns of strategies, and their factors, by the placement of a tensor.
type ByPlacement = BTreeMap<Placement, Vec<(usize, f64)>>;

/// Where a tensor is used, by placement the user's strategies that want it there.
struct Use {
    tensor: usize,
    times: u32,
    wanted: ByPlacement,
}

/// By tensor, copies and placements the column of a resharding that several uses share.
type Shared = BTreeMap<(usize, u32, Placement, Placement), usize>;

/// A space with numbers of columns.
struct Columns<'a> {
    space: Space<'a>,
    /// By op the column of its first strategy.
    first: Vec<usize>,
}

/// Seconds of the best choice, and what no point of the relaxation costs less than.
pub(super) fn best(graph: &Graph, mesh: &Mesh, prices: &dyn Prices) -> Result<(f64, f64), Refused> {
    let space = Space::of(graph, mesh, prices)?;
    let mut n = 0;
    let first = |of: &Vec<super::graph::Strategy>| {
        n += of.len();
        n - of.len()
    };
    let first = space.strategies.iter().map(first).collect();
    let program = Columns { space, first }.program();
    let (values, bound) = solved(&program, false)?;
    let is_whole = values[..program.n_whole].iter().all(|x| (x - x.round()).abs() <= WHOLE);
    let values = if is_whole { values } else { solved(&program, true)?.0 };
    let cost: f64 = program.costs.iter().zip(&values).map(|(cost, x)| cost * x).sum();
    Ok((cost * UNIT_S, bound * UNIT_S))
}

impl Columns<'_> {
    /// Strategies by the placement that they leave a tensor in: of one between layers the mean of all copies, which is
    /// that of what they leave, but for the last one, and what the first one reads.
    fn produced(&self, tensor: usize) -> ByPlacement {
        let Some((op, operand)) = self.space.producer[tensor] else {
            let mut all = ByPlacement::new();
            for chain in self.space.graph.chains.iter().filter(|chain| chain.tensor == tensor) {
                let part = 1.0 / f64::from(chain.times);
                let ends = [(chain.enters, part), (chain.leaves, 1.0), (chain.ends, -part)];
                for (of, factor) in ends {
                    for (placement, columns) in self.produced(of) {
                        let scaled = columns.into_iter().map(|(x, by)| (x, by * factor));
                        all.entry(placement).or_default().extend(scaled);
                    }
                }
            }
            return all;
        };
        self.by_placement(op, operand)
    }

    fn by_placement(&self, op: usize, operand: usize) -> ByPlacement {
        let mut all = ByPlacement::new();
        for (at, strategy) in self.space.strategies[op].iter().enumerate() {
            let columns = all.entry(strategy.placements[operand].clone()).or_default();
            columns.push((self.first[op] + at, 1.0));
        }
        all
    }

    fn uses(&self) -> Vec<Use> {
        let mut uses = Vec::new();
        for (number, op) in self.space.graph.ops.iter().enumerate() {
            for (operand, tensor) in op.inputs.iter().enumerate() {
                let wanted = self.by_placement(number, operand);
                uses.push(Use { tensor: *tensor, times: op.times, wanted });
            }
        }
        let pins = self.space.graph.pins.iter().map(|pin| Use {
            tensor: pin.tensor,
            times: self.space.times(pin.like),
            wanted: self.produced(pin.like),
        });
        uses.extend(pins);
        uses
    }

    /// Seconds of resharding a tensor; none where there is no way, or a forbidden one.
    fn resharding(&self, tensor: usize, (from, to): (&Placement, &Placement)) -> Option<f64> {
        let tensor = &self.space.graph.tensors[tensor];
        let of = (&tensor.dims[..], tensor.element_bytes);
        let without = &self.space.graph.without;
        self.space.mesh.resharding(self.space.prices, of, (from, to), without).map(|of| of.0)
    }

    fn program(&self) -> Program {
        let all = self.space.graph.ops.iter().zip(&self.space.strategies);
        let costs: Vec<f64> = all
            .flat_map(|(op, of)| of.iter().map(|of| f64::from(op.times) * of.seconds / UNIT_S))
            .collect();
        let mut program = Program { n_whole: costs.len(), costs, rows: Vec::new() };
        for (first, of) in self.first.iter().zip(&self.space.strategies) {
            let terms = (*first..first + of.len()).map(|column| (column, 1.0)).collect();
            program.rows.push(Row { terms, is_least: false, value: 1.0 });
        }
        let uses = self.uses();
        let mut n_uses = vec![0; self.space.graph.tensors.len()];
        uses.iter().for_each(|of| n_uses[of.tensor] += 1);
        let mut shared = Shared::new();
        for of in &uses {
            self.flows(&mut program, of, (n_uses[of.tensor] > 1).then_some(&mut shared));
        }
        self.chains(&mut program);
        self.budgets(&mut program);
        program
    }

    /// The last copy of a layer leaves what one of them does.
    fn chains(&self, program: &mut Program) {
        for chain in &self.space.graph.chains {
            let leaves = self.produced(chain.leaves);
            for (placement, ends) in self.produced(chain.ends) {
                let of = leaves.get(&placement).into_iter().flatten();
                let one = of.map(|(column, _)| (*column, f64::from(chain.times)));
                let last = ends.into_iter().map(|(column, _)| (column, -1.0));
                let terms = one.chain(last).collect();
                program.rows.push(Row { terms, is_least: true, value: 0.0 });
            }
        }
    }

    /// Flows of a use, with the shared cost where there are several.
    fn flows(&self, program: &mut Program, of: &Use, mut shared: Option<&mut Shared>) {
        let produced = self.produced(of.tensor);
        let minus = |columns: &Vec<(usize, f64)>| -> Vec<(usize, f64)> {
            columns.iter().map(|(x, factor)| (*x, -factor)).collect()
        };
        let mut from: Vec<Vec<(usize, f64)>> = produced.values().map(minus).collect();
        let mut to: Vec<Vec<(usize, f64)>> = of.wanted.values().map(minus).collect();
        for (q, left) in produced.keys().enumerate() {
            for (p, wanted) in of.wanted.keys().enumerate() {
                let Some(seconds) = self.resharding(of.tensor, (left, wanted)) else {
                    continue;
                };
                let flow = program.costs.len();
                let cost = f64::from(of.times) * seconds / UNIT_S;
                program.costs.push(if shared.is_some() { 0.0 } else { cost });
                from[q].push((flow, 1.0));
                to[p].push((flow, 1.0));
                let Some(shared) = shared.as_deref_mut().filter(|_| cost > 0.0) else { continue };
                let key = (of.tensor, of.times, left.clone(), wanted.clone());
                let z = *shared.entry(key).or_insert_with(|| {
                    program.costs.push(cost);
                    program.costs.len() - 1
                });
                let terms = vec![(z, 1.0), (flow, -1.0)];
                program.rows.push(Row { terms, is_least: true, value: 0.0 });
            }
        }
        let rows = from.into_iter().chain(to);
        program.rows.extend(rows.map(|terms| Row { terms, is_least: false, value: 0.0 }));
    }

    fn budgets(&self, program: &mut Program) {
        for budget in &self.space.graph.budgets {
            let mut terms = Vec::new();
            for (tensor, element_bytes) in budget.tensors.iter() {
                let dims = &self.space.graph.tensors[*tensor].dims;
                let times = f64::from(self.space.times(*tensor));
                for (placement, columns) in self.produced(*tensor) {
                    let part = self.space.mesh.local(dims, &placement).unwrap_or(f64::INFINITY);
                    let part = times * part * element_bytes / budget.most_bytes;
                    terms.extend(columns.into_iter().map(|(column, by)| (column, -part * by)));
                }
            }
            program.rows.push(Row { terms, is_least: true, value: -1.0 });
        }
    }
}

/// Values of all columns, and a bound by duals of the relaxation; 0 where columns are whole.
fn solved(program: &Program, is_whole: bool) -> Result<(Vec<f64>, f64), Refused> {
    let mut variables = ProblemVariables::new();
    let column = |at: usize| {
        let of = variable().min(0.0).max(1.0);
        if is_whole && at < program.n_whole { of.integer() } else { of }
    };
    let columns: Vec<Variable> =
        (0..program.costs.len()).map(|at| variables.add(column(at))).collect();
    let mut objective = Expression::with_capacity(columns.len());
    for (column, cost) in columns.iter().zip(&program.costs) {
        objective.add_mul(*cost, *column);
    }
    let mut model = highs(variables.minimise(objective))
        .set_parallel(HighsParallelType::Off)
        .set_option("random_seed", 0)
        .set_threads(1);
    let mut references = Vec::with_capacity(program.rows.len());
    for row in &program.rows {
        let mut sum = Expression::with_capacity(row.terms.len());
        for (column, factor) in &row.terms {
            sum.add_mul(*factor, columns[*column]);
        }
        references.push(model.add_constraint(match row.is_least {
            true => constraint!(sum >= row.value),
            false => constraint!(sum == row.value),
        }));
    }
    let mut solution = model.solve().map_err(|error| match error {
        ResolutionError::Infeasible => Refused::Infeasible,
        _ => Refused::NotSolved,
    })?;
    let values = columns.iter().map(|column| solution.value(*column)).collect();
    let bound = match is_whole {
        true => 0.0,
        false => {
            let duals = solution.compute_dual();
            let duals: Vec<f64> = references.into_iter().map(|row| duals.dual(row)).collect();
            bound::of(program, &duals)
        }
    };
    Ok((values, bound))
}

/// Seconds of the best of all choices, one by one; `None` inside where there is none, outside where there are more than
/// `most`.
pub(super) fn enumerated(
    graph: &Graph,
    mesh: &Mesh,
    prices: &dyn Prices,
    most: usize,
) -> Option<Option<f64>> {
    let space = Space::of(graph, mesh, prices).ok()?;
    let counts = space.strategies.iter().map(Vec::len);
    let n = counts.clone().try_fold(1_usize, |n, count| n.checked_mul(count))?;
    if n > most {
        return None;
    }
    let mut tables = Tables::default();
    let choice = |number: usize| {
        let mut rest = number;
        let of = |count: usize| {
            let at = rest % count;
            rest /= count;
            at
        };
        counts.clone().map(of).collect::<Vec<_>>()
    };
    let bytes = |budget: &super::graph::Budget, of: &Sharding| -> f64 {
        let of_tensor = |(tensor, element_bytes): &(usize, f64)| {
            let (op, operand) = space.producer[*tensor].unwrap();
            let placement = &of.strategies[op].placements[operand];
            let part = mesh.local(&graph.tensors[*tensor].dims, placement).unwrap();
            f64::from(space.times(*tensor)) * part * element_bytes
        };
        budget.tensors.iter().map(of_tensor).sum()
    };
    let mut seconds = |number| {
        let of = space.sharding(&choice(number), &mut tables)?;
        let is_within = |budget: &super::graph::Budget| bytes(budget, &of) <= budget.most_bytes;
        graph.budgets.iter().all(is_within).then_some(of.seconds)
    };
    Some((0..n).filter_map(&mut seconds).reduce(f64::min))
}
