//! A plan and how it comes about.

use super::answer::{Refused, Sharding};
use super::graph::{Graph, Strategy};
use super::mesh::{Mesh, Placement, Prices};
use super::net::{Net, UNIT_S, numbers};
use super::price::Tables;
use super::search::{self, Before};
use super::space::Space;
use crate::run::Control;

/// What searches on the same mesh begin with.
#[derive(Default)]
pub(super) struct Known {
    /// Prices of resharding where the order of axes counts, and where it does not.
    tables: [Tables; 2],
    /// The search before, where the next one differs by its prices and rows of memory alone.
    before: Before,
    /// The same of searches in which the order of axes counts.
    ordered: Before,
}

impl Known {
    /// Has the next search begin anew, but for prices of resharding.
    pub(super) fn forget(&mut self) {
        (self.before.duals, self.ordered.duals) = (None, None);
    }

    /// Has searches end at a bound.
    pub(super) fn until(seconds: f64) -> Self {
        let before = Before { enough: seconds / UNIT_S, ..Before::default() };
        Self { before, ..Self::default() }
    }

    /// Seconds of the bound that the last search reached, and whether that is enough.
    pub(super) fn reached(&self) -> (f64, bool) {
        let Before { enough, reached, .. } = self.before;
        (reached * UNIT_S, reached >= enough)
    }
}

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
    again(graph, (mesh, prices), control, &mut Known::default())
}

/// The same after other searches on this mesh.
pub(super) fn again(
    graph: &Graph,
    (mesh, prices): (&Mesh, &dyn Prices),
    control: &Control,
    known: &mut Known,
) -> Result<Sharding, Refused> {
    let free = Mesh { is_ordered: false, ..mesh.clone() };
    let Known { tables: [tables, any], before, ordered } = known;
    let space = Space::of(graph, &free, prices)?;
    let found = searched(&space, any, before, control)?;
    if !mesh.is_ordered || mesh.axes.len() < 2 {
        return Ok(found.1);
    }
    let of_any = found.1;
    let space = space.ordered(mesh, &found.0);
    let (_, best) = searched(&space, tables, &mut Before::default(), control)?;
    let with_bound = |sharding: Sharding, bound_s: f64| {
        let bound_s = bound_s.min(sharding.seconds);
        Sharding {
            bound_s,
            n_columns: of_any.n_columns,
            n_strategies: of_any.n_strategies,
            ..sharding
        }
    };
    let enough = of_any.seconds * (1.0 + control.limits().gap + ORDERED);
    if best.seconds <= enough || control.stop().is_some() {
        return Ok(with_bound(best, of_any.bound_s));
    }
    let space = Space::of(graph, mesh, prices)?;
    match searched(&space, tables, ordered, control) {
        Ok((_, other)) => {
            let bound_s = other.bound_s.max(of_any.bound_s);
            let other = if other.seconds < best.seconds { other } else { best };
            Ok(with_bound(other, bound_s))
        }
        Err(_) => Ok(with_bound(best, of_any.bound_s)),
    }
}

/// Part of the cost that orders of axes may add without a search of their own.
const ORDERED: f64 = 1e-9;

/// The best of a space: numbers of its strategies, and what they are.
fn searched(
    space: &Space<'_>,
    tables: &mut Tables,
    before: &mut Before,
    control: &Control,
) -> Result<(Vec<usize>, Sharding), Refused> {
    let net = Net::of(space, tables)?;
    let (n_columns, n_strategies) = (net.n_columns(), net.n_strategies());
    let all = space.strategies.iter().map(|of| vec![true; of.len()]).collect();
    let possible: Vec<Vec<usize>> = net.possible(all).iter().map(|of| numbers(of)).collect();
    if possible.iter().any(Vec::is_empty) {
        return Err(Refused::Infeasible);
    }
    let found = search::best(net.only(&possible).0, before, control)?;
    let chosen: Vec<usize> = possible.iter().zip(&found.chosen).map(|(of, at)| of[*at]).collect();
    let sharding = space.sharding(&chosen, tables).ok_or(Refused::NotSolved)?;
    let bound_s = (found.bound * UNIT_S).min(sharding.seconds);
    Ok((chosen, Sharding { bound_s, n_columns, n_strategies, ..sharding }))
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
    let graph = &Graph { tied: Vec::new(), ..graph.clone() };
    let space = Space::of(graph, mesh, prices)?;
    let chosen = chosen(&space, placements)?;
    space.sharding(&chosen, &mut Tables::default()).ok_or(Refused::Infeasible)
}

/// Numbers of the strategies of stated placements, where each op has its own.
fn chosen(space: &Space<'_>, placements: &[Vec<Placement>]) -> Result<Vec<usize>, Refused> {
    let ops = space.graph.ops.iter().zip(&space.strategies).zip(placements);
    ops.map(|((op, strategies), of)| {
        let found = strategies.iter().position(|strategy| strategy.placements == *of);
        found.ok_or_else(|| Refused::NoStrategy(op.name.clone()))
    })
    .collect()
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
    let graph = &Graph { tied: Vec::new(), ..graph.clone() };
    let found = || {
        let space = Space::of(graph, mesh, prices)?;
        let chosen = chosen(&space, placements)?;
        Ok::<_, Refused>((space, chosen))
    };
    let Ok((space, mut chosen)) = found() else { return Vec::new() };
    let (strategies, mut tables) =
        (space.strategies[op].iter().cloned().enumerate(), Tables::default());
    strategies
        .map(|(at, strategy)| {
            chosen[op] = at;
            let sharding = space.sharding(&chosen, &mut tables);
            (strategy, sharding.map_or(f64::INFINITY, |of| of.seconds))
        })
        .collect()
}
