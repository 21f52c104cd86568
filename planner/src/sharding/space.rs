//! Strategies of all ops of a graph, and what a choice of them costs.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::answer::{Refused, Sharding, Step};
use super::graph::{Graph, Op, Strategy};
use super::mesh::{Mesh, Placement, Prices};
use super::price::Tables;

/// Graph, mesh and prices with strategies of all ops.
pub(super) struct Space<'a> {
    pub graph: &'a Graph,
    pub mesh: &'a Mesh,
    pub prices: &'a dyn Prices,
    /// By op the number of its choice: one for all ops that share a strategy.
    pub choice: Vec<usize>,
    /// By choice.
    pub strategies: Vec<Vec<Strategy>>,
    /// By tensor its op, and its number of the op's operands; none of what copies of layers read.
    pub producer: Vec<Option<(usize, usize)>>,
}

/// Strategies of an op at most.
const MOST: usize = 1 << 14;

/// Strategies of an op.
fn strategies_of(
    graph: &Graph,
    op: &Op,
    (mesh, prices): (&Mesh, &dyn Prices),
) -> Result<Vec<Strategy>, Refused> {
    let axes = u32::try_from(mesh.axes.len()).unwrap_or(u32::MAX);
    if op.rules.len().checked_pow(axes).is_none_or(|n| n > MOST) {
        return Err(Refused::TooLarge(op.name.clone()));
    }
    let of = graph.strategies(op, mesh, prices);
    if of.is_empty() { Err(Refused::NoStrategy(op.name.clone())) } else { Ok(of) }
}

impl<'a> Space<'a> {
    pub(super) fn of(
        graph: &'a Graph,
        mesh: &'a Mesh,
        prices: &'a dyn Prices,
    ) -> Result<Self, Refused> {
        let (mut strategies, mut producer) = (Vec::new(), vec![None; graph.tensors.len()]);
        let mut choice = vec![0; graph.ops.len()];
        for (number, op) in graph.ops.iter().enumerate() {
            if graph.is_own(number) {
                choice[number] = strategies.len();
                strategies.push(strategies_of(graph, op, (mesh, prices))?);
            }
            for (place, output) in op.outputs.iter().enumerate() {
                if producer[*output].replace((number, op.inputs.len() + place)).is_some() {
                    return Err(Refused::Producer(graph.tensors[*output].name.clone()));
                }
            }
        }
        for op in (0..graph.ops.len()).filter(|op| !graph.is_own(*op)) {
            choice[op] = choice[graph.tied[op]];
        }
        let is_read = |tensor: usize| graph.chains.iter().any(|chain| chain.tensor == tensor);
        for (number, tensor) in graph.tensors.iter().enumerate() {
            if producer[number].is_none() && !is_read(number) {
                return Err(Refused::Producer(tensor.name.clone()));
            }
        }
        Ok(Self { graph, mesh, prices, choice, strategies, producer })
    }

    /// The op that produces a tensor, and its number of the op's operands.
    pub(super) fn produced_by(&self, tensor: usize) -> Result<(usize, usize), Refused> {
        let name = || self.graph.tensors[tensor].name.clone();
        self.producer[tensor].ok_or_else(|| Refused::Producer(name()))
    }

    /// The space of some strategies of each op, by number, in each order of axes, with the place among them of the one
    /// that each is an order of.
    pub(super) fn ordered(&self, mesh: &'a Mesh, chosen: &[Vec<usize>]) -> (Self, Vec<Vec<usize>>) {
        let of_choice = |(of, chosen): (&Vec<Strategy>, &Vec<usize>)| {
            let all = chosen.iter().enumerate().flat_map(|(place, at)| {
                let Strategy { placements, seconds } = &of[*at];
                let orders = mesh.orders(placements).into_iter();
                orders.map(move |placements| (Strategy { placements, seconds: *seconds }, place))
            });
            all.unzip()
        };
        let all = self.strategies.iter().zip(chosen).map(of_choice);
        let (strategies, parents) = all.unzip();
        let (choice, producer) = (self.choice.clone(), self.producer.clone());
        let Self { graph, prices, .. } = *self;
        (Self { graph, mesh, prices, choice, strategies, producer }, parents)
    }

    /// What a choice of strategies costs; none where a tensor reaches no use.
    pub(super) fn sharding(&self, chosen: &[usize], tables: &mut Tables) -> Option<Sharding> {
        let of_choice = |choice: &usize| self.strategies[*choice][chosen[*choice]].clone();
        let strategies: Vec<Strategy> = self.choice.iter().map(of_choice).collect();
        let of_op = |tensor: usize| {
            let (op, operand) = self.producer[tensor]?;
            Some(&strategies[op].placements[operand])
        };
        // By tensor, and how often, the placements that it is produced in: of a copy of layers by the copy before.
        let produced = |tensor: usize, times: u32| -> Option<Vec<(&Placement, u32, bool)>> {
            let Some(chain) = self.graph.chains.iter().find(|chain| chain.tensor == tensor) else {
                return Some(vec![(of_op(tensor)?, times, false)]);
            };
            let [enters, leaves, ends] = [chain.enters, chain.leaves, chain.ends].map(of_op);
            (leaves == ends).then_some(())?;
            let first = times / chain.times.max(1);
            Some(vec![(enters?, first, false), (leaves?, times - first, true)])
        };
        let inputs = self.graph.ops.iter().zip(&strategies).flat_map(|(op, strategy)| {
            let of = |(tensor, to)| (tensor, op.times, to);
            op.inputs.iter().copied().zip(&strategy.placements).map(of)
        });
        let mut uses: Vec<(usize, u32, &Placement)> = inputs.collect();
        for pin in &self.graph.pins {
            uses.push((pin.tensor, self.times(pin.like), of_op(pin.like)?));
        }
        let mut steps: BTreeMap<(usize, &Placement, &Placement, u32, bool), Step> = BTreeMap::new();
        for (tensor, times, to) in uses {
            for (from, times, is_later) in
                produced(tensor, times)?.into_iter().filter(|of| of.1 > 0)
            {
                let key = (tensor, from, to, times, is_later);
                if let Entry::Vacant(place) = steps.entry(key) {
                    place.insert(self.step(tensor, (from, to), times, tables)?);
                }
            }
        }
        let steps: Vec<Step> = steps.into_values().filter(|step| step.seconds > 0.0).collect();
        let ops = self.graph.ops.iter().zip(&strategies);
        let seconds = ops.map(|(op, of)| f64::from(op.times) * of.seconds).sum::<f64>()
            + steps.iter().map(|step| f64::from(step.times) * step.seconds).sum::<f64>();
        let n_strategies = self.strategies.iter().map(Vec::len).sum();
        Some(Sharding { strategies, steps, seconds, bound_s: 0.0, n_columns: 0, n_strategies })
    }

    /// Resharding of a tensor; none where there is no way, or a forbidden one.
    fn step(
        &self,
        number: usize,
        (from, to): (&Placement, &Placement),
        times: u32,
        tables: &mut Tables,
    ) -> Option<Step> {
        let tensor = &self.graph.tensors[number];
        let of = (&tensor.dims[..], tensor.element_bytes);
        let table = tables.of((self.mesh, self.prices), of, &self.graph.without)?;
        let (seconds, collectives) = table.way(from, to)?;
        let seconds = tensor.exposed * seconds;
        let [from, to] = [from.clone(), to.clone()];
        Some(Step { tensor: number, from, to, collectives, seconds, times })
    }

    /// Copies of the op that produces a tensor.
    pub(super) fn times(&self, tensor: usize) -> u32 {
        self.producer[tensor].map_or(1, |(op, _)| self.graph.ops[op].times)
    }
}
