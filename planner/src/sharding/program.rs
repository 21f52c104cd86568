//! A plan and how it comes about.

use super::answer::{Refused, Sharding};
use super::graph::{Graph, Strategy};
use super::mesh::{Mesh, Placement, Prices};
use super::net::{Net, UNIT_S, numbers};
use super::price::Tables;
use super::search;
use super::space::Space;
use crate::run::Control;

/// The best strategies for a graph on a mesh. Where time ends before the bound meets what was found, the best so far.
///
/// # Errors
/// If an op has no strategy, a limit leaves none, or time ends before there is any.
pub fn plan(
    graph: &Graph,
    mesh: &Mesh,
    prices: &dyn Prices,
    control: &Control,
) -> Result<Sharding, Refused> {
    let mut space = Space::of(graph, mesh, prices)?;
    let net = Net::of(&space, &mut Tables::default())?;
    let (n_columns, n_strategies) = (net.n_columns(), net.n_strategies());
    let all = space.strategies.iter().map(|of| vec![true; of.len()]).collect();
    let possible: Vec<Vec<usize>> = net.possible(all).iter().map(|of| numbers(of)).collect();
    if possible.iter().any(Vec::is_empty) {
        return Err(Refused::Infeasible);
    }
    space = space.only(&possible);
    let found = search::best(net.only(&possible).0, control)?;
    let sharding = space.sharding(&found.chosen).ok_or(Refused::NotSolved)?;
    let bound_s = (found.bound * UNIT_S).min(sharding.seconds);
    Ok(Sharding { bound_s, n_columns, n_strategies, ..sharding })
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
