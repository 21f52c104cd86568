//! The integer program of strategies and resharding.
//!
//! For each op v a 1 of one strategy x[v, k]. For each use u of a tensor t flows e[u, q, p] from placements q that
//! its producer leaves to placements p that the use wants: their sums over p are those of x with output q, their sums
//! over q those of the user's x with input p. A flow costs its resharding; of a tensor with several uses, which one
//! resharding serves, z[t, q, p] is at least each of its flows and costs instead.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use good_lp::solvers::highs::{HighsParallelType, highs};
use good_lp::{
    DualValues, Expression, ProblemVariables, ResolutionError, Solution, SolutionStatus,
    SolutionWithDual, SolverModel, Variable, constraint, variable,
};

use super::bound;
use super::graph::{Graph, Strategy};
use super::mesh::{Collective, Mesh, Placement, Prices};
use crate::run::Control;

/// The program counts microseconds, so that the solver's tolerances are small parts of it.
const UNIT_S: f64 = 1e-6;
/// How far a value is from a whole number at most that it is taken for.
const WHOLE: f64 = 1e-6;

/// Resharding of a tensor, for one or several uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Number of the tensor.
    pub tensor: usize,
    /// As it is produced.
    pub from: Placement,
    /// As it is used.
    pub to: Placement,
    /// By their order the axes and collectives; none where a part is cut out of what is there.
    pub collectives: Vec<(usize, Collective)>,
    /// Seconds of one.
    pub seconds: f64,
    /// How often it is done: once a layer.
    pub times: u32,
}

impl Step {
    /// Seconds of one, hidden ones among them.
    #[must_use]
    pub fn whole_s(&self, graph: &Graph) -> f64 {
        self.seconds / graph.tensors[self.tensor].exposed
    }
}

/// Strategies of all ops.
#[derive(Clone, Debug, PartialEq)]
pub struct Sharding {
    /// By number of the op.
    pub strategies: Vec<Strategy>,
    /// Resharding that costs something.
    pub steps: Vec<Step>,
    /// Seconds of all ops and collectives, one after another.
    pub seconds: f64,
    /// Seconds that no product of strategies is below, by [`bound`].
    pub bound_s: f64,
    /// Columns of the program, of which the first are the strategies.
    pub n_columns: usize,
    /// Strategies of all ops.
    pub n_strategies: usize,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No strategy of this op divides its tensors.
    NoStrategy(String),
    /// A tensor that no op produces, or several.
    Producer(String),
    /// Limits and pins leave nothing.
    Infeasible,
    /// Models whose ops have no rules.
    NoGraph,
    /// Time ended, or the solver failed.
    NotSolved,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStrategy(op) => write!(f, "no strategy of {op} divides its tensors"),
            Self::Producer(tensor) => write!(f, "{tensor} needs one op that produces it"),
            Self::Infeasible => write!(f, "limits of memory leave no strategies"),
            Self::NoGraph => write!(f, "mixtures of experts and latent attention have no rules"),
            Self::NotSolved => write!(f, "not solved in time"),
        }
    }
}

/// Rows of a program over columns between 0 and 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Columns and their factors.
    pub terms: Vec<(usize, f64)>,
    /// Whether the sum may be greater; it is equal otherwise.
    pub is_least: bool,
    /// What it is.
    pub value: f64,
}

/// Costs of columns and rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// Microseconds by column.
    pub costs: Vec<f64>,
    /// Rows.
    pub rows: Vec<Row>,
    /// Columns that are whole: the first.
    pub n_whole: usize,
}

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

/// Graph, mesh and prices with the strategies of all ops.
struct Space<'a> {
    graph: &'a Graph,
    mesh: &'a Mesh,
    prices: &'a dyn Prices,
    strategies: Vec<Vec<Strategy>>,
    /// By op the column of its first strategy.
    first: Vec<usize>,
    /// By tensor its op, and its number of the op's operands; none of what copies of layers read.
    producer: Vec<Option<(usize, usize)>>,
}

/// The best strategies for a graph on a mesh.
///
/// # Errors
/// If an op has no strategy, a limit leaves none, or time ends.
pub fn plan(
    graph: &Graph,
    mesh: &Mesh,
    prices: &dyn Prices,
    control: &Control,
) -> Result<Sharding, Refused> {
    let space = Space::of(graph, mesh, prices)?;
    let program = space.program();
    let (mut values, bound) = solved(&program, false, control)?;
    if values[..program.n_whole].iter().any(|x| (x - x.round()).abs() > WHOLE) {
        values = solved(&program, true, control)?.0;
    }
    let chosen: Vec<usize> = space
        .strategies
        .iter()
        .zip(&space.first)
        .map(|(of, first)| {
            let x = |at: &usize| values[first + at];
            (0..of.len()).max_by(|one, other| x(one).total_cmp(&x(other))).unwrap_or(0)
        })
        .collect();
    let mut sharding = space.sharding(&chosen).ok_or(Refused::NotSolved)?;
    sharding.bound_s = (bound * UNIT_S).min(sharding.seconds);
    sharding.n_columns = program.costs.len();
    Ok(sharding)
}

/// What strategies take that are stated by the placements of each op's inputs and outputs, without a bound.
///
/// # Errors
/// [`Refused::NoStrategy`] for placements that an op has no strategy of; [`Refused::Infeasible`] where a tensor
/// does not get from one op to another.
pub fn stated(
    graph: &Graph,
    mesh: &Mesh,
    prices: &dyn Prices,
    placements: &[Vec<Placement>],
) -> Result<Sharding, Refused> {
    let space = Space::of(graph, mesh, prices)?;
    let ops = graph.ops.iter().zip(&space.strategies).zip(placements);
    let chosen: Vec<usize> = ops
        .map(|((op, strategies), of)| {
            let found = strategies.iter().position(|strategy| strategy.placements == *of);
            found.ok_or_else(|| Refused::NoStrategy(op.name.clone()))
        })
        .collect::<Result<_, _>>()?;
    space.sharding(&chosen).ok_or(Refused::Infeasible)
}

/// Strategies of one op, and seconds of all ops with each in place of the stated one; infinite where a tensor does
/// not get from one op to another.
#[must_use]
pub fn alternatives(
    graph: &Graph,
    (mesh, prices): (&Mesh, &dyn Prices),
    placements: &[Vec<Placement>],
    op: usize,
) -> Vec<(Strategy, f64)> {
    let seconds = |strategy: &Strategy| {
        let mut all = placements.to_vec();
        all[op].clone_from(&strategy.placements);
        stated(graph, mesh, prices, &all).map_or(f64::INFINITY, |of| of.seconds)
    };
    let strategies = graph.strategies(&graph.ops[op], mesh, prices);
    strategies
        .into_iter()
        .map(|strategy| (seconds(&strategy), strategy))
        .map(|(s, of)| (of, s))
        .collect()
}

impl<'a> Space<'a> {
    fn of(graph: &'a Graph, mesh: &'a Mesh, prices: &'a dyn Prices) -> Result<Self, Refused> {
        let mut space = Self {
            graph,
            mesh,
            prices,
            strategies: Vec::new(),
            first: Vec::new(),
            producer: Vec::new(),
        };
        let mut n = 0;
        for op in &graph.ops {
            let strategies = graph.strategies(op, mesh, prices);
            if strategies.is_empty() {
                return Err(Refused::NoStrategy(op.name.clone()));
            }
            space.first.push(n);
            n += strategies.len();
            space.strategies.push(strategies);
        }
        for (number, tensor) in graph.tensors.iter().enumerate() {
            let of = |(op, at): (usize, &super::graph::Op)| {
                let mut places = at.outputs.iter().enumerate();
                let place = places.find(|(_, output)| **output == number)?.0;
                Some((op, at.inputs.len() + place))
            };
            let mut found = graph.ops.iter().enumerate().filter_map(of);
            match (found.next(), found.next()) {
                (Some(producer), None) => space.producer.push(Some(producer)),
                (None, None) if graph.chains.iter().any(|of| of.tensor == number) => {
                    space.producer.push(None);
                }
                _ => return Err(Refused::Producer(tensor.name.clone())),
            }
        }
        Ok(space)
    }

    /// Strategies by the placement that they leave a tensor in: of one between layers the mean of all copies, which is
    /// that of what they leave, but for the last one, and what the first one reads.
    fn produced(&self, tensor: usize) -> ByPlacement {
        let Some((op, operand)) = self.producer[tensor] else {
            let mut all = ByPlacement::new();
            for chain in self.graph.chains.iter().filter(|chain| chain.tensor == tensor) {
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
        for (at, strategy) in self.strategies[op].iter().enumerate() {
            let columns = all.entry(strategy.placements[operand].clone()).or_default();
            columns.push((self.first[op] + at, 1.0));
        }
        all
    }

    /// Copies of the op that produces a tensor.
    fn times(&self, tensor: usize) -> u32 {
        self.producer[tensor].map_or(1, |(op, _)| self.graph.ops[op].times)
    }

    fn uses(&self) -> Vec<Use> {
        let mut uses = Vec::new();
        for (number, op) in self.graph.ops.iter().enumerate() {
            for (operand, tensor) in op.inputs.iter().enumerate() {
                let wanted = self.by_placement(number, operand);
                uses.push(Use { tensor: *tensor, times: op.times, wanted });
            }
        }
        let pins = self.graph.pins.iter().map(|pin| Use {
            tensor: pin.tensor,
            times: self.times(pin.like),
            wanted: self.produced(pin.like),
        });
        uses.extend(pins);
        uses
    }

    /// Seconds and collectives of resharding a tensor; none where there is no way, or a forbidden one.
    fn resharding(
        &self,
        tensor: usize,
        (from, to): (&Placement, &Placement),
    ) -> Option<(f64, Vec<(usize, Collective)>)> {
        let tensor = &self.graph.tensors[tensor];
        let of = (&tensor.dims[..], tensor.element_bytes);
        let exposed = tensor.exposed;
        let (seconds, collectives) = self.mesh.resharding(self.prices, of, (from, to))?;
        let found = (exposed * seconds, collectives);
        let is_allowed = found.1.iter().all(|(_, of)| !self.graph.without.contains(of));
        is_allowed.then_some(found)
    }

    fn program(&self) -> Program {
        let all = self.graph.ops.iter().zip(&self.strategies);
        let costs: Vec<f64> = all
            .flat_map(|(op, of)| of.iter().map(|of| f64::from(op.times) * of.seconds / UNIT_S))
            .collect();
        let mut program = Program { n_whole: costs.len(), costs, rows: Vec::new() };
        for (first, of) in self.first.iter().zip(&self.strategies) {
            let terms = (*first..first + of.len()).map(|column| (column, 1.0)).collect();
            program.rows.push(Row { terms, is_least: false, value: 1.0 });
        }
        let uses = self.uses();
        let mut n_uses = vec![0; self.graph.tensors.len()];
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
        for chain in &self.graph.chains {
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
                let Some((seconds, _)) = self.resharding(of.tensor, (left, wanted)) else {
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
        for budget in &self.graph.budgets {
            let mut terms = Vec::new();
            let tensors = budget.tensors.iter();
            let produced = tensors.map(|(tensor, each)| (*tensor, self.produced(*tensor), *each));
            let operand = |(op, operand, each): &(usize, usize, f64)| {
                let of = &self.graph.ops[*op];
                let tensor = of.inputs.iter().chain(&of.outputs).nth(*operand);
                let tensor = tensor.copied().unwrap_or_default();
                (tensor, self.by_placement(*op, *operand), *each)
            };
            for (tensor, by, each) in produced.chain(budget.operands.iter().map(operand)) {
                let dims = &self.graph.tensors[tensor].dims;
                for (placement, columns) in by {
                    let part = self.mesh.local(dims, &placement).unwrap_or(f64::INFINITY);
                    let part = part * each / budget.most_bytes;
                    terms.extend(columns.into_iter().map(|(column, by)| (column, -part * by)));
                }
            }
            program.rows.push(Row { terms, is_least: true, value: -1.0 });
        }
    }

    /// What a choice of strategies costs; none where a tensor reaches no use.
    fn sharding(&self, chosen: &[usize]) -> Option<Sharding> {
        let all = self.strategies.iter().zip(chosen);
        let strategies: Vec<Strategy> = all.map(|(of, at)| of[*at].clone()).collect();
        let of_op = |tensor: usize| {
            let (op, operand) = self.producer[tensor]?;
            Some(&strategies[op].placements[operand])
        };
        // By tensor, and how often, the placements that it is produced in.
        let produced = |tensor: usize, times: u32| -> Option<Vec<(&Placement, u32)>> {
            let Some(chain) = self.graph.chains.iter().find(|chain| chain.tensor == tensor) else {
                return Some(vec![(of_op(tensor)?, times)]);
            };
            let [enters, leaves, ends] = [chain.enters, chain.leaves, chain.ends].map(of_op);
            (leaves == ends).then_some(())?;
            let first = times / chain.times.max(1);
            Some(vec![(enters?, first), (leaves?, times - first)])
        };
        let inputs = self.graph.ops.iter().zip(&strategies).flat_map(|(op, strategy)| {
            let of = |(tensor, to)| (tensor, op.times, to);
            op.inputs.iter().copied().zip(&strategy.placements).map(of)
        });
        let mut uses: Vec<(usize, u32, &Placement)> = inputs.collect();
        for pin in &self.graph.pins {
            uses.push((pin.tensor, self.times(pin.like), of_op(pin.like)?));
        }
        let mut steps: BTreeMap<(usize, &Placement, &Placement, u32), Step> = BTreeMap::new();
        for (tensor, times, to) in uses {
            for (from, times) in produced(tensor, times)?.into_iter().filter(|of| of.1 > 0) {
                let (seconds, collectives) = self.resharding(tensor, (from, to))?;
                let step = Step {
                    tensor,
                    from: from.clone(),
                    to: to.clone(),
                    collectives,
                    seconds,
                    times,
                };
                steps.insert((tensor, from, to, times), step);
            }
        }
        let steps: Vec<Step> = steps.into_values().filter(|step| step.seconds > 0.0).collect();
        let ops = self.graph.ops.iter().zip(&strategies);
        let seconds = ops.map(|(op, of)| f64::from(op.times) * of.seconds).sum::<f64>()
            + steps.iter().map(|step| f64::from(step.times) * step.seconds).sum::<f64>();
        let n_strategies = self.strategies.iter().map(Vec::len).sum();
        Some(Sharding { strategies, steps, seconds, bound_s: 0.0, n_columns: 0, n_strategies })
    }
}

/// Values of all columns, and a bound by duals of the relaxation; 0 where columns are whole.
fn solved(
    program: &Program,
    is_whole: bool,
    control: &Control,
) -> Result<(Vec<f64>, f64), Refused> {
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
    if let Some(end) = control.deadline() {
        let left = end.saturating_duration_since(Instant::now());
        model = model.set_time_limit(left.as_secs_f64());
    }
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
    if !matches!(solution.status(), SolutionStatus::Optimal) {
        return Err(Refused::NotSolved);
    }
    let values = columns.iter().map(|column| solution.value(*column)).collect();
    let bound = match is_whole {
        true => 0.0,
        false => {
            let duals = solution.compute_dual();
            bound::of(
                program,
                &references.into_iter().map(|row| duals.dual(row)).collect::<Vec<_>>(),
            )
        }
    };
    Ok((values, bound))
}

/// Seconds of the best of all choices, one by one; `None` inside where there is none, outside where there are more than
/// `most`.
#[cfg(test)]
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
    let choice = |number: usize| {
        let mut rest = number;
        let of = |count: usize| {
            let at = rest % count;
            rest /= count;
            at
        };
        counts.clone().map(of).collect::<Vec<_>>()
    };
    let seconds = |number| space.sharding(&choice(number)).map(|of| of.seconds);
    Some((0..n).filter_map(seconds).reduce(f64::min))
}
