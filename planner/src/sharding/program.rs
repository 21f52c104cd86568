//! A plan and how it comes about.

use super::answer::{Refused, Sharding};
use super::ascent::Duals;
use super::bound::Bound;
use super::graph::{Graph, Strategy};
use super::mesh::{Mesh, Placement, Prices};
use super::net::{Net, UNIT_S, numbers};
use super::price::Tables;
use super::search::{self, Before, Found};
use super::space::Space;
use crate::run::Control;

/// What searches on the same mesh begin with.
#[derive(Default)]
pub(super) struct Known {
    /// Prices of resharding where the order of axes counts, and where it does not.
    tables: [Tables; 2],
    /// The search before, where the next one differs by its prices and rows of memory alone.
    before: Before,
    /// Names of the rows of memory that the search before needed.
    pub rows: Vec<String>,
    /// Whether orders of axes may add a part without a search of their own, and large programs lack one to their bound.
    pub is_rough: bool,
}

impl Known {
    /// Has the next search begin anew, but for prices of resharding, with some rows of memory.
    pub(super) fn forget(&mut self, rows: Vec<String>) {
        (self.before.duals, self.rows) = (None, rows);
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
    again(graph, (mesh, prices), (control, &|_| true), &mut Known::default())
}

/// The same after other searches on this mesh. Orders of axes are searched only where what is found before, with its
/// bound, is worth it.
pub(super) fn again(
    graph: &Graph,
    (mesh, prices): (&Mesh, &dyn Prices),
    (control, is_worth): (&Control, &dyn Fn(&Sharding) -> bool),
    known: &mut Known,
) -> Result<Sharding, Refused> {
    let free = Mesh { is_ordered: false, ..mesh.clone() };
    let Known { tables: [tables, any], before, is_rough, .. } = known;
    let program = Program::of(Space::of(graph, &free, prices)?, any)?;
    before.gap = if *is_rough && program.n_columns > SMALL { LARGE } else { 0.0 };
    let (chosen, of_any) = program.best(any, before, control)?;
    if !mesh.is_ordered || mesh.axes.len() < 2 {
        return Ok(of_any);
    }
    let chosen: Vec<Vec<usize>> = chosen.into_iter().map(|at| vec![at]).collect();
    let of_chosen = Program::of(program.space.ordered(mesh, &program.named(&chosen)).0, tables)?;
    let gap = before.gap;
    let (_, best) = of_chosen.best(tables, &mut Before { gap, ..Before::default() }, control)?;
    let with_bound = |sharding: Sharding, bound_s: f64| {
        let bound_s = bound_s.min(sharding.seconds);
        let Sharding { n_columns, n_strategies, .. } = of_any;
        Sharding { bound_s, n_columns, n_strategies, ..sharding }
    };
    let more = if *is_rough { ROUGH } else { ORDERED };
    let enough = of_any.seconds * (1.0 + control.limits().gap.max(gap) + more);
    let best = with_bound(best, of_any.bound_s);
    if best.seconds <= enough || !is_worth(&best) || control.stop().is_some() {
        return Ok(best);
    }
    let most = best.seconds / UNIT_S;
    let (ordered, duals) = match program.ordered(mesh, (before, most), tables) {
        Err(Refused::Infeasible) => {
            before.reached = most;
            return Ok(with_bound(best, f64::INFINITY));
        }
        of => of?,
    };
    let enough = before.enough;
    let mut start = Before { duals, most, enough, gap, ..Before::default() };
    let found = ordered.best(tables, &mut start, control);
    before.reached = before.reached.max(start.reached);
    let bound_s = of_any.bound_s.max(start.reached * UNIT_S);
    Ok(match found {
        Ok((_, other)) if other.seconds < best.seconds => with_bound(other, bound_s),
        _ => with_bound(best, bound_s),
    })
}

/// Columns of a small program.
pub(super) const SMALL: usize = 100_000;
/// Part of the cost that orders of axes may add without a search of their own, and where that is rough.
const ORDERED: f64 = 1e-9;
const ROUGH: f64 = 0.02;
/// Part of the cost that large programs may lack to their bound in rough searches.
pub(super) const LARGE: f64 = 5e-3;

/// A space as numbers.
struct Program<'a> {
    space: Space<'a>,
    /// Of strategies with a way to and from others.
    net: Net,
    /// By op their numbers in the space.
    names: Vec<Vec<usize>>,
    n_columns: usize,
    n_strategies: usize,
}

impl<'a> Program<'a> {
    fn of(space: Space<'a>, tables: &mut Tables) -> Result<Self, Refused> {
        let net = Net::of(&space, tables)?;
        let (n_columns, n_strategies) = (net.n_columns(), net.n_strategies());
        let all = space.strategies.iter().map(|of| vec![true; of.len()]).collect();
        let names: Vec<Vec<usize>> = net.possible(all).iter().map(|of| numbers(of)).collect();
        if names.iter().any(Vec::is_empty) {
            return Err(Refused::Infeasible);
        }
        let net = net.only(&names).0;
        Ok(Self { space, net, names, n_columns, n_strategies })
    }

    /// Numbers in the space of some strategies of each op.
    fn named(&self, chosen: &[Vec<usize>]) -> Vec<Vec<usize>> {
        let all = chosen.iter().zip(&self.names);
        all.map(|(of, names)| of.iter().map(|at| names[*at]).collect()).collect()
    }

    /// The best strategies by number, and what they are.
    fn best(
        &self,
        tables: &mut Tables,
        before: &mut Before,
        control: &Control,
    ) -> Result<(Vec<usize>, Sharding), Refused> {
        let Found { chosen, bound } = search::best(self.net.clone(), before, control)?;
        let named = self.names.iter().zip(&chosen).map(|(of, at)| of[*at]);
        let sharding = self.space.sharding(&named.collect::<Vec<_>>(), tables);
        let sharding = sharding.ok_or(Refused::NotSolved)?;
        let bound_s = (bound * UNIT_S).min(sharding.seconds);
        let Self { n_columns, n_strategies, .. } = *self;
        Ok((chosen, Sharding { bound_s, n_columns, n_strategies, ..sharding }))
    }

    /// The program in which the order of axes counts, of strategies that may be in a choice below `most` microseconds,
    /// and duals to begin with. No way costs less where orders count: a strategy with which no choice without orders is
    /// below that is in none with them, and duals of placements are ones of all their orders.
    fn ordered(
        &self,
        mesh: &'a Mesh,
        (before, most): (&Before, f64),
        tables: &mut Tables,
    ) -> Result<(Self, Option<Duals>), Refused> {
        let Some(duals) = before.duals.as_ref() else {
            let space = self.space.ordered(mesh, &self.names).0;
            return Ok((Self::of(space, tables)?, None));
        };
        let Bound { least, more } = Bound::of(&self.net, duals);
        let left = more.iter().map(|of| {
            let below = of.iter().map(|more| least + more < most);
            numbers(&below.collect::<Vec<_>>())
        });
        let left: Vec<Vec<usize>> = left.collect();
        if left.iter().any(Vec::is_empty) {
            return Err(Refused::Infeasible);
        }
        let (space, parents) = self.space.ordered(mesh, &self.named(&left));
        let program = Self::of(space, tables)?;
        let of_op = |(names, (left, parents)): (&Vec<usize>, (&Vec<usize>, &Vec<usize>))| {
            names.iter().map(|at| left[parents[*at]]).collect()
        };
        let parents: Vec<Vec<usize>> =
            program.names.iter().zip(left.iter().zip(&parents)).map(of_op).collect();
        let duals = duals.inherited((&self.net, &program.net), &parents);
        Ok((program, Some(duals)))
    }
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
