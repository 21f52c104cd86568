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
        let mut ascent = Self { net, duals, taken: vec![Vec::new(); net.groups.len()] };
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
            add(&mut taken, &self.duals.uses[*at], 1.0);
        }
        self.taken[number] = taken;
    }

    /// By strategy of an op what it costs with its duals.
    pub(super) fn reduced(&self, op: usize) -> Vec<f64> {
        reduced(self.net, &self.duals, op)
    }

    /// The sum of what the cheapest strategies cost.
    pub(super) fn bound(&self) -> f64 {
        let least = |op| self.reduced(op).into_iter().reduce(f64::min).unwrap_or(0.0);
        (0..self.net.costs.len()).map(least).sum::<f64>() - self.duals.budgets.iter().sum::<f64>()
    }

    /// Takes all that is left of a use at one of its ends.
    fn take(&mut self, at: usize, is_to: bool) {
        let number = self.net.uses[at].group;
        let group = &self.net.groups[number];
        let taken = &mut self.taken[number];
        let ends = &mut self.duals.uses[at];
        if !taken.is_empty() {
            add(taken, ends, -1.0);
        }
        match is_to {
            true => take_to(group, taken, ends, &self.net.uses[at].wants),
            false => take_from(group, taken, ends),
        }
        if !taken.is_empty() {
            add(taken, ends, 1.0);
        }
    }

    /// The turn of an op: it hands to all of its uses, or to those on one side.
    fn turn(&mut self, op: usize, side: Option<bool>) {
        let sides = &self.net.sides[op];
        let is_on = |of: &&(usize, bool), is_forward: bool| {
            let other = self.net.ends(of.0)[usize::from(!of.1)].op;
            if is_forward { other > op } else { other < op }
        };
        let count = |is_forward| sides.iter().filter(|of| is_on(of, is_forward)).count();
        let (handed, n): (Vec<(usize, bool)>, usize) = match side {
            None => (sides.clone(), sides.len()),
            Some(side) => {
                let handed = sides.iter().filter(|of| is_on(of, side)).copied();
                (handed.collect(), count(true).max(count(false)))
            }
        };
        let share = 1.0 / n.max(1) as f64;
        for (at, is_to) in sides {
            self.take(*at, *is_to);
        }
        let reduced = self.reduced(op);
        let least = reduced.iter().copied().reduce(f64::min).unwrap_or(0.0);
        for (at, is_to) in handed {
            let number = self.net.uses[at].group;
            let side = self.net.ends(at)[usize::from(is_to)];
            let mut marginal = vec![f64::INFINITY; self.net.groups[number].n[usize::from(is_to)]];
            for (place, cost) in side.places.iter().zip(&reduced) {
                let least = &mut marginal[*place as usize];
                *least = least.min(*cost);
            }
            let taken = &mut self.taken[number];
            let ends = &mut self.duals.uses[at];
            if !taken.is_empty() {
                add(taken, ends, -1.0);
            }
            for (dual, marginal) in ends[usize::from(is_to)].iter_mut().zip(marginal) {
                if marginal < f64::INFINITY {
                    *dual -= share * (marginal - least);
                }
            }
            if !taken.is_empty() {
                add(taken, ends, 1.0);
            }
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

    /// Sweeps until some of them lessen what the bound lacks of the best choice by too small a part of it, or time ends.
    pub(super) fn climb(&mut self, most: usize, best: f64, control: &Control) -> f64 {
        let mut bound = self.bound();
        for _ in 0..most {
            for _ in 0..SWEEPS {
                if control.stop().is_some() {
                    return self.bound();
                }
                self.sweep();
                control.spend(self.net.n_columns() as u64);
            }
            let next = self.bound();
            let gap = if best.is_finite() { best - next } else { COARSE * next };
            let is_slow = next - bound < LEAST * gap;
            bound = next;
            if is_slow || next >= best {
                break;
            }
        }
        bound
    }
}

/// Sweeps between looks at the bound.
const SWEEPS: usize = 8;
/// The part of what the bound lacks that those gain at least.
const LEAST: f64 = 0.05;
/// What the bound counts to lack where no choice is known, as a part of it.
const COARSE: f64 = 1e-3;

/// By strategy of an op what it costs with the duals of its placements.
pub(super) fn reduced(net: &Net, duals: &Duals, op: usize) -> Vec<f64> {
    let mut costs = net.costs[op].clone();
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
    costs
}

/// Adds to what is taken of each resharding what a use takes, times a factor.
fn add(taken: &mut [f64], [from, to]: &Ends, factor: f64) {
    for (row, one) in taken.chunks_mut(to.len().max(1)).zip(from) {
        for (taken, other) in row.iter_mut().zip(to) {
            let sum = one + other;
            *taken += factor * if sum > 0.0 { sum } else { 0.0 };
        }
    }
}

fn take_to(group: &Group, taken: &[f64], [from, to]: &mut Ends, wants: &[bool]) {
    to.fill(MOST);
    let n = group.n[1].max(1);
    for (q, (row, one)) in group.costs.chunks(n).zip(from.iter()).enumerate() {
        if taken.is_empty() {
            for (least, cost) in to.iter_mut().zip(row) {
                let left = cost - one;
                *least = if left < *least { left } else { *least };
            }
        } else {
            let taken = &taken[q * n..][..n];
            for ((least, cost), taken) in to.iter_mut().zip(row).zip(taken) {
                let left = cost - taken - one;
                *least = if left < *least { left } else { *least };
            }
        }
    }
    to.iter_mut().zip(wants).filter(|of| !of.1).for_each(|of| *of.0 = f64::NEG_INFINITY);
}

fn take_from(group: &Group, taken: &[f64], [from, to]: &mut Ends) {
    let n = group.n[1].max(1);
    for (q, (row, dual)) in group.costs.chunks(n).zip(from.iter_mut()).enumerate() {
        let mut least = MOST;
        if taken.is_empty() {
            for (cost, other) in row.iter().zip(to.iter()) {
                let left = cost - other;
                least = if left < least { left } else { least };
            }
        } else {
            let taken = &taken[q * n..][..n];
            for ((cost, other), taken) in row.iter().zip(to.iter()).zip(taken) {
                let left = cost - taken - other;
                least = if left < least { left } else { least };
            }
        }
        *dual = least;
    }
}
