//! Duals of a [`Net`] by ascent, op by op.
//!
//! Each end of a use has a dual by placement. What both take together is at most what resharding costs: of a use
//! alone, or of all uses that share it, of which those count that take more than nothing. Then no choice of strategies
//! costs less than the sum over ops of the least of its strategies, with the duals of their placements added. An op
//! takes from each of its uses all that is left, and hands to those on one side what its strategies do not need, in
//! equal parts, which lowers no least one. Ops take their turns forwards, then backwards
//! (Kolmogorov, IEEE PAMI 2006; with shared costs not of it).

use super::net::{Group, Net, Places};
use crate::run::Control;

/// Duals at the two ends of a use by placement.
pub(super) type Ends = [Vec<f64>; 2];

/// Duals of a net.
#[derive(Clone)]
pub(super) struct Duals {
    /// By use.
    pub uses: Vec<Ends>,
    /// By budget.
    pub budgets: Vec<f64>,
}

/// What a strategy may cost at most, in microseconds; taken for what has no way.
const MOST: f64 = 1e12;

/// Duals that are improved.
pub(super) struct Ascent<'a> {
    pub net: &'a Net,
    pub duals: Duals,
    /// By group of several uses what they take together.
    taken: Vec<Vec<f64>>,
    /// Duals of an end while they change.
    new: Vec<f64>,
    /// Costs of an op's strategies, and the least by placement, while it has its turn.
    costs: Vec<f64>,
    least: Vec<f64>,
    n_columns: u64,
}

impl Duals {
    /// Those of a net of the same strategies and uses, and more or fewer budgets; none of other nets.
    pub(super) fn fitted(mut self, net: &Net) -> Option<Self> {
        let n = |of: &super::net::Use| net.groups[of.group].n;
        let is_of = |(of, ends): (&super::net::Use, &Ends)| n(of) == [ends[0].len(), ends[1].len()];
        let fits = net.uses.len() == self.uses.len() && net.uses.iter().zip(&self.uses).all(is_of);
        self.budgets.resize(net.budgets.len(), 0.0);
        fits.then_some(self)
    }

    /// Those of a net in which each strategy is an order of one of another net.
    pub(super) fn inherited(&self, (from, to): (&Net, &Net), parents: &[Vec<usize>]) -> Self {
        let of_use = |(at, of): (usize, &super::net::Use)| {
            let [n_from, n_to] = to.groups[of.group].n;
            let mut ends = [vec![0.0; n_from], vec![f64::NEG_INFINITY; n_to]];
            let sides = to.ends(at).into_iter().zip(from.ends(at));
            for ((side, parent), (new, duals)) in sides.zip(ends.iter_mut().zip(&self.uses[at])) {
                for (place, of) in side.places.iter().zip(&parents[side.op]) {
                    new[*place as usize] = duals[parent.places[*of] as usize];
                }
            }
            ends
        };
        let uses = to.uses.iter().enumerate().map(of_use).collect();
        Self { uses, budgets: self.budgets.clone() }
    }

    /// Those of a net of some strategies.
    pub(super) fn only(&self, places: &Places, net: &Net) -> Self {
        let of_use = |(of, ends): (&super::net::Use, &Ends)| {
            let places = &places[of.group];
            let mut ends = [0, 1].map(|end| -> Vec<f64> {
                places[end].iter().map(|place| ends[end][*place as usize]).collect()
            });
            let wants = ends[1].iter_mut().zip(&of.wants);
            wants.filter(|of| !of.1).for_each(|of| *of.0 = f64::NEG_INFINITY);
            ends
        };
        let uses = net.uses.iter().zip(&self.uses).map(of_use).collect();
        Self { uses, budgets: self.budgets.clone() }
    }
}

impl<'a> Ascent<'a> {
    /// Duals that no use takes anything of.
    pub(super) fn new(net: &'a Net) -> Self {
        let of_use = |of: &super::net::Use| {
            let [from, to] = net.groups[of.group].n;
            let to = (0..to).map(|p| if of.wants[p] { 0.0 } else { f64::NEG_INFINITY });
            [vec![0.0; from], to.collect()]
        };
        let duals = Duals {
            uses: net.uses.iter().map(of_use).collect(),
            budgets: vec![0.0; net.budgets.len()],
        };
        Self::from(net, duals)
    }

    /// From duals that were found before.
    pub(super) fn from(net: &'a Net, duals: Duals) -> Self {
        let (taken, n_columns) = (vec![Vec::new(); net.groups.len()], net.n_columns() as u64);
        let (new, costs, least) = (Vec::new(), Vec::new(), Vec::new());
        let mut ascent = Self { net, duals, taken, new, costs, least, n_columns };
        (0..net.groups.len()).for_each(|group| ascent.count(group));
        ascent
    }

    fn count(&mut self, number: usize) {
        let group = &self.net.groups[number];
        if group.uses.len() < 2 {
            return;
        }
        let mut taken = vec![0.0; group.costs.len()];
        for at in &group.uses {
            add(&mut taken, &self.duals.uses[*at]);
        }
        self.taken[number] = taken;
    }

    /// The sum of what the cheapest strategies cost.
    pub(super) fn bound(&self) -> f64 {
        let mut costs = Vec::new();
        let mut least = |op| {
            reduced(self.net, &self.duals, op, &mut costs);
            costs.iter().copied().reduce(f64::min).unwrap_or(0.0)
        };
        (0..self.net.costs.len()).map(&mut least).sum::<f64>()
            - self.duals.budgets.iter().sum::<f64>()
    }

    /// Takes all that is left of a use at one of its ends.
    fn take(&mut self, at: usize, is_to: bool) {
        let number = self.net.uses[at].group;
        let group = &self.net.groups[number];
        let (taken, ends) = (&self.taken[number], &self.duals.uses[at]);
        self.new.clear();
        self.new.resize(group.n[usize::from(is_to)], MOST);
        match is_to {
            true => left_to(group, taken, ends, &mut self.new),
            false => left_from(group, taken, ends, &mut self.new),
        }
        if is_to {
            let wants = self.new.iter_mut().zip(&self.net.uses[at].wants);
            wants.filter(|of| !of.1).for_each(|of| *of.0 = f64::NEG_INFINITY);
        }
        self.set(at, is_to);
    }

    /// Gives an end of a use its new duals.
    fn set(&mut self, at: usize, is_to: bool) {
        let taken = &mut self.taken[self.net.uses[at].group];
        let ends = &mut self.duals.uses[at];
        if !taken.is_empty() {
            change(taken, ends, (&self.new, is_to));
        }
        std::mem::swap(&mut ends[usize::from(is_to)], &mut self.new);
    }

    /// The turn of an op: it hands to all of its uses, or to those on one side.
    fn turn(&mut self, op: usize, side: Option<bool>) {
        let net = self.net;
        let sides = &net.sides[op];
        let is_on = |(at, is_to): &(usize, bool), is_forward: bool| {
            let other = net.ends(*at)[usize::from(!is_to)].op;
            if is_forward { other > op } else { other < op }
        };
        let count = |is_forward| sides.iter().filter(|of| is_on(of, is_forward)).count();
        let n = side.map_or(sides.len(), |_| count(true).max(count(false)));
        let share = 1.0 / n.max(1) as f64;
        for (at, is_to) in sides {
            self.take(*at, *is_to);
        }
        reduced(net, &self.duals, op, &mut self.costs);
        let least = self.costs.iter().copied().reduce(f64::min).unwrap_or(0.0);
        for (at, is_to) in sides.iter().filter(|of| side.is_none_or(|side| is_on(of, side))) {
            let end = usize::from(*is_to);
            self.least.clear();
            self.least.resize(net.groups[net.uses[*at].group].n[end], f64::INFINITY);
            for (place, cost) in net.ends(*at)[end].places.iter().zip(&self.costs) {
                let least = &mut self.least[*place as usize];
                *least = if *cost < *least { *cost } else { *least };
            }
            self.new.clone_from(&self.duals.uses[*at][end]);
            for (dual, marginal) in self.new.iter_mut().zip(&self.least) {
                if *marginal < f64::INFINITY {
                    *dual -= share * (marginal - least);
                }
            }
            self.set(*at, *is_to);
        }
    }

    /// All ops forwards and backwards, that hand to all of their uses.
    fn sweep(&mut self) {
        (0..self.net.groups.len()).for_each(|group| self.count(group));
        let n = self.net.costs.len();
        (0..n).chain((0..n).rev()).for_each(|op| self.turn(op, None));
    }

    /// All ops forwards and backwards, that hand to what comes after: duals to choose strategies by in either order.
    pub(super) fn align(&mut self) {
        (0..self.net.groups.len()).for_each(|group| self.count(group));
        let n = self.net.costs.len();
        (0..n).for_each(|op| self.turn(op, Some(true)));
        (0..n).rev().for_each(|op| self.turn(op, Some(false)));
    }

    /// Sweeps until the bound reaches a target, some of them lessen what it lacks by too small a part, or time ends; the
    /// bound, and whether more sweeps would do the same.
    pub(super) fn climb(&mut self, most: usize, target: f64, control: &Control) -> (f64, bool) {
        let mut bound = self.bound();
        for _ in 0..most {
            for _ in 0..SWEEPS {
                if control.stop().is_some() {
                    return (self.bound(), true);
                }
                self.sweep();
                control.spend(self.n_columns);
            }
            let next = self.bound();
            let gap = if target.is_finite() { target - next } else { 0.0 };
            let is_slow = next - bound < LEAST * gap.max(COARSE * next);
            bound = next;
            if is_slow || next >= target {
                return (bound, true);
            }
        }
        (bound, false)
    }
}

/// Sweeps between looks at the bound.
const SWEEPS: usize = 8;
/// The part of what the bound lacks that those gain at least.
const LEAST: f64 = 0.05;
/// What the bound counts to lack at least, as a part of it: the rest is the solver's.
const COARSE: f64 = 1e-3;

/// By strategy of an op what it costs with the duals of its placements.
fn reduced(net: &Net, duals: &Duals, op: usize, costs: &mut Vec<f64>) {
    costs.clone_from(&net.costs[op]);
    for (at, is_to) in &net.sides[op] {
        let end = usize::from(*is_to);
        let (side, dual) = (net.ends(*at)[end], &duals.uses[*at][end]);
        for (cost, place) in costs.iter_mut().zip(&side.places) {
            *cost += dual[*place as usize];
        }
    }
    for (parts, dual) in net.budgets.iter().zip(&duals.budgets) {
        costs.iter_mut().zip(&parts[op]).for_each(|(cost, part)| *cost += dual * part);
    }
}

const fn positive(sum: f64) -> f64 {
    if sum > 0.0 { sum } else { 0.0 }
}

/// Adds to what is taken of each resharding what a use takes.
fn add(taken: &mut [f64], [from, to]: &Ends) {
    for (row, one) in taken.chunks_mut(to.len().max(1)).zip(from) {
        row.iter_mut().zip(to).for_each(|(taken, other)| *taken += positive(one + other));
    }
}

/// Changes what is taken of each resharding as the duals of an end do.
fn change(taken: &mut [f64], [from, to]: &Ends, (new, is_to): (&[f64], bool)) {
    for (q, row) in taken.chunks_mut(to.len().max(1)).enumerate() {
        let one = from[q];
        if is_to {
            for ((taken, other), new) in row.iter_mut().zip(to).zip(new) {
                *taken += positive(one + new) - positive(one + other);
            }
        } else {
            for (taken, other) in row.iter_mut().zip(to) {
                *taken += positive(new[q] + other) - positive(one + other);
            }
        }
    }
}

/// What is left of a resharding for one end of a use, which takes some of it itself.
const fn left(cost: f64, taken: f64, (one, other): (f64, f64)) -> f64 {
    cost - (taken - positive(one + other)) - one
}

/// By placement that is wanted the least that is left.
fn left_to(group: &Group, taken: &[f64], [from, to]: &Ends, least: &mut [f64]) {
    let n = group.n[1].max(1);
    for (q, (row, one)) in group.costs.chunks(n).zip(from).enumerate() {
        if taken.is_empty() {
            for (least, cost) in least.iter_mut().zip(row) {
                let left = cost - one;
                *least = if left < *least { left } else { *least };
            }
        } else {
            let others = taken[q * n..][..n].iter().zip(to);
            for ((least, cost), (taken, other)) in least.iter_mut().zip(row).zip(others) {
                let left = left(*cost, *taken, (*one, *other));
                *least = if left < *least { left } else { *least };
            }
        }
    }
}

/// By placement that is produced the least that is left.
fn left_from(group: &Group, taken: &[f64], [from, to]: &Ends, least: &mut [f64]) {
    let n = group.n[1].max(1);
    for (q, (row, least)) in group.costs.chunks(n).zip(least).enumerate() {
        *least = if taken.is_empty() {
            least_of([row, to], |[cost, other]| cost - other)
        } else {
            let one = from[q];
            least_of([row, to, &taken[q * n..][..n]], |[cost, other, taken]| {
                left(cost, taken, (other, one))
            })
        };
    }
}

/// Lanes of a minimum.
const LANES: usize = 8;

/// The least value, at most [`MOST`], of operands of one length. Lanes have a minimum each, for compilers reorder no
/// minimum of floats.
fn least_of<const N: usize>(operands: [&[f64]; N], value: impl Fn([f64; N]) -> f64) -> f64 {
    let min = |least: f64, other: f64| if other < least { other } else { least };
    let chunks = operands.map(|of| of.as_chunks::<LANES>());
    let mut lanes = [MOST; LANES];
    for at in 0..chunks[0].0.len() {
        let here = chunks.map(|(whole, _)| whole[at]);
        for (lane, least) in lanes.iter_mut().enumerate() {
            *least = min(*least, value(here.map(|of| of[lane])));
        }
    }
    let rest = (0..chunks[0].1.len()).map(|at| value(chunks.map(|(_, rest)| rest[at])));
    lanes.into_iter().chain(rest).fold(MOST, min)
}
