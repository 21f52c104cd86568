//! The search for the best choice of strategies, and the proof that it is.
//!
//! Duals by [`ascent`](super::ascent) give a bound and a choice. A strategy with which no choice costs less than the
//! best that is known ([`bound`](super::bound)) is left out, and of what remains the same is done again. Then the solver
//! gets the relaxation of the strategies and flows that cost least more: first some, which give a better choice, then all
//! that any better choice may have. Where its values are not whole, one strategy of an op, and all its others, are two
//! parts that are searched by themselves.
//!
//! No choice costs less than the least of these: the bounds of choices with what was left out, and the bounds of all
//! parts. A choice with a strategy or a flow that the solver did not get costs at least the bound that left it out, and
//! any other is a point of the relaxation, of which the duals of its rows give a bound. So the bound is of the whole
//! space, though its parts are of different duals.

use super::answer::Refused;
use super::ascent::{Ascent, Duals};
use super::bound::{self, Bound, slack};
use super::choice::{FIRST, rounded, within};
use super::net::{Net, Places, Use, numbers, part};
use super::relaxation::{Relaxation, WHOLE, solved};
use crate::run::Control;

/// A choice of strategies.
pub(super) struct Found {
    /// By op the number of its strategy.
    pub chosen: Vec<usize>,
    /// Microseconds that no choice is below.
    pub bound: f64,
}

/// Part of the cost that a bound may lack to count as met, where no gap is allowed. What is answered is the bound itself.
const TOLERANCE: f64 = 1e-11;
/// Looks at the bound of an ascent at most.
const LOOKS: usize = 25;
/// Columns of the first relaxations at most, about; further ones have all that are left.
const COLUMNS: [usize; 2] = [4000, 32_000];
/// Part of the bound that what the solver gets costs more at least.
const NEAR: f64 = 1e-9;

/// Parts of a search at most.
const PARTS: usize = 1000;

/// What searches of equal strategies and uses pass on.
pub(super) struct Before {
    /// Duals that the next one begins with.
    pub duals: Option<Duals>,
    /// Microseconds of a bound that suffices.
    pub enough: f64,
    /// Microseconds that a choice has to be below to be found.
    pub most: f64,
    /// Microseconds of the bound that the last one reached.
    pub reached: f64,
    /// Part of the cost that a bound may lack, where limits allow less.
    pub gap: f64,
}

impl Default for Before {
    fn default() -> Self {
        let (enough, most) = (f64::INFINITY, f64::INFINITY);
        Self { duals: None, enough, most, reached: 0.0, gap: 0.0 }
    }
}

/// A part of all choices, and what is known of it.
struct Part {
    net: Net,
    duals: Duals,
    bound: Bound,
    /// What no choice of it costs less than, whatever these duals say.
    floor: f64,
    /// By op the numbers of its strategies in the whole net.
    names: Vec<Vec<usize>>,
}

/// The search of a part.
struct Search<'a> {
    control: &'a Control,
    part: Part,
    /// The cost of the best choice so far, by numbers in the whole net.
    best: (f64, Vec<usize>),
    /// The least bound of what was left out, of this part and of those before.
    without: f64,
    /// Relaxations so far.
    n: usize,
    /// Duals of the whole net, once they are found.
    whole: Option<Duals>,
    /// A bound that suffices.
    enough: f64,
    /// Part of the cost that a bound may lack.
    gap: f64,
}

/// How a part ends.
enum End {
    /// No choice of it costs less than this and the best.
    Bound(f64),
    /// Two parts, the second with one strategy of an op alone.
    Parts(Vec<Part>),
}

/// The best choice of a net, from duals of a search of equal strategies and uses; the next may begin with those of this
/// one.
///
/// # Errors
/// If limits leave none, or time ends before one is found.
pub(super) fn best(net: Net, start: &mut Before, control: &Control) -> Result<Found, Refused> {
    let names = net.costs.iter().map(|of| (0..of.len()).collect()).collect();
    let before = start.duals.take().and_then(|duals| duals.fitted(&net));
    let mut ascent = before.map_or_else(|| Ascent::new(&net), |duals| Ascent::from(&net, duals));
    let gap = control.limits().gap.max(start.gap);
    let (duals, mut best) = priced(&mut ascent, (start.most, gap), control);
    let mut whole = None;
    let bound = Bound::of(&net, &duals);
    let mut without = f64::INFINITY;
    let mut open = vec![Part { net, duals, bound, floor: 0.0, names }];
    let (mut n, mut is_ended) = (0, false);
    while let Some(part) = open.pop() {
        n += 1;
        is_ended |= n > PARTS || n > 1 && control.stop().is_some();
        let before = part.least();
        let is_near = best.0.is_finite() && before >= best.0 * (1.0 - gap);
        let is_met = is_near || before >= start.enough;
        if is_ended || is_met {
            without = without.min(before);
            continue;
        }
        let (n, enough) = (0, start.enough);
        let mut search = Search { control, part, best, without, n, whole, enough, gap };
        let end = search.run();
        let least = search.part.least();
        (best, without, whole) = (search.best, search.without, search.whole);
        match end {
            Ok(End::Bound(bound)) => without = without.min(bound),
            Ok(End::Parts(parts)) => open.extend(parts),
            Err(Refused::Infeasible) => {}
            Err(_) => (without, is_ended) = (without.min(least), true),
        }
    }
    let (cost, chosen) = best;
    (start.duals, start.reached) = (whole, without.min(cost));
    match chosen.is_empty() {
        true if is_ended || control.stop().is_some() => Err(Refused::NotSolved),
        true => Err(Refused::Infeasible),
        false => Ok(Found { chosen, bound: without.min(cost) }),
    }
}

impl Part {
    /// The part with some of its strategies.
    fn only(&self, left: &[Vec<usize>]) -> Self {
        let (net, places) = self.net.only(left);
        let duals = self.duals.only(&places, &net);
        let names = self.names.iter().zip(left);
        let names = names.map(|(names, left)| left.iter().map(|at| names[*at]).collect());
        let bound = Bound::of(&net, &duals);
        Self { net, duals, bound, floor: self.floor, names: names.collect() }
    }

    /// What no choice of it costs less than.
    fn least(&self) -> f64 {
        self.bound.least.max(self.floor)
    }
}

impl Search<'_> {
    fn run(&mut self) -> Result<End, Refused> {
        loop {
            self.climb();
            if self.whole.is_none() {
                self.whole = Some(self.part.duals.clone());
            }
            let before = self.part.net.n_columns();
            if self.is_met() || self.control.stop().is_some() {
                return Ok(End::Bound(self.part.least()));
            }
            if !self.narrow() {
                return Ok(End::Bound(f64::INFINITY));
            }
            let is_narrower = 10 * self.part.net.n_columns() < 9 * before;
            if !is_narrower && let Some(end) = self.relaxed()? {
                return Ok(end);
            }
        }
    }

    fn tolerance(&self) -> f64 {
        let tolerance = TOLERANCE.max(self.gap);
        if self.best.0.is_finite() { tolerance * self.best.0.abs() } else { 0.0 }
    }

    /// What a bound is at least to count as met.
    fn most_bound(&self) -> f64 {
        (self.best.0 - self.tolerance()).min(self.enough)
    }

    fn is_met(&self) -> bool {
        self.part.least() >= self.most_bound()
    }

    /// Takes duals if they are better than those so far.
    fn take(&mut self, duals: Duals) {
        let bound = Bound::of(&self.part.net, &duals);
        if bound.least > self.part.bound.least {
            (self.part.duals, self.part.bound) = (duals, bound);
        }
    }

    /// Takes a choice of what is left if it is better than the best so far.
    fn offer(&mut self, (cost, chosen): (f64, Vec<usize>)) {
        if cost < self.best.0 {
            let names = self.part.names.iter().zip(&chosen).map(|(names, at)| names[*at]);
            self.best = (cost, names.collect());
        }
    }

    /// Improves the duals, with choices on the way: where a gap suffices, few sweeps do.
    fn climb(&mut self) {
        let mut looks = 1;
        while looks < LOOKS {
            let mut ascent = Ascent::from(&self.part.net, self.part.duals.clone());
            let target = self.most_bound();
            let (_, is_over) = ascent.climb(looks, target, self.control);
            let duals = ascent.duals.clone();
            ascent.align();
            let choice = within(&self.part.net, &ascent.duals);
            self.take(duals);
            self.offer(choice);
            if is_over && target.is_finite() || self.is_met() {
                break;
            }
            looks *= 4;
        }
    }

    /// Leaves out strategies that are in no better choice; false where an op has none left.
    fn narrow(&mut self) -> bool {
        let most = self.most();
        let mut left = Vec::new();
        for more in &self.part.bound.more {
            left.push(more.iter().map(|more| *more < most).collect());
            let out = more.iter().filter(|more| **more >= most);
            self.without =
                out.fold(self.without, |least, more| least.min(self.part.bound.least + more));
        }
        let left: Vec<Vec<usize>> =
            self.part.net.possible(left).iter().map(|of| numbers(of)).collect();
        if left.iter().any(Vec::is_empty) {
            return false;
        }
        if left.iter().zip(&self.part.names).all(|(left, names)| left.len() == names.len()) {
            return true;
        }
        self.part = self.part.only(&left);
        true
    }

    /// Solves the relaxation of the strategies and flows that cost least more. Where those are all that are in any
    /// better choice, that is the end.
    fn relaxed(&mut self) -> Result<Option<End>, Refused> {
        let slack = slack(&self.part.net, &self.part.duals, &self.part.bound);
        let (most, is_all) = self.near(&slack);
        let near = |more: &Vec<f64>| more.iter().map(|more| *more < most).collect();
        let near = self.part.net.possible(self.part.bound.more.iter().map(near).collect());
        let chosen: Vec<Vec<usize>> = near.iter().map(|of| numbers(of)).collect();
        let omitted = self.part.bound.least + most;
        if chosen.iter().any(Vec::is_empty) {
            return Ok(is_all.then_some(End::Bound(omitted)));
        }
        let (small, places) = self.part.net.only(&chosen);
        let has = gathered(&self.part.net, (&slack, most), &places);
        let relaxation = Relaxation::of(&small, &has);
        let values = match solved(&relaxation.program, self.control) {
            Err(Refused::Infeasible) => return Ok(is_all.then_some(End::Bound(omitted))),
            values => values?,
        };
        let greatest = relaxation.chosen(&values);
        let numbers: Vec<usize> = greatest.iter().map(|of| of.0).collect();
        let is_within = small.is_within(&numbers);
        if is_within {
            let cost = small.cost(&numbers);
            let numbers = chosen.iter().zip(numbers).map(|(chosen, at)| chosen[at]);
            self.offer((cost, numbers.collect()));
        }
        if !small.budgets.is_empty() {
            let budgets = relaxation.budgets(&small, &values);
            let duals = Duals { budgets, ..self.part.duals.clone() };
            let mut ascent = Ascent::from(&self.part.net, duals);
            ascent.climb(LOOKS, self.most_bound(), self.control);
            let duals = ascent.duals;
            self.take(duals);
        }
        if !is_all {
            return Ok(None);
        }
        let bound = bound::of(&relaxation.program, &values.duals).min(omitted);
        Ok(Some(match branch(&chosen, &greatest, is_within) {
            Some((op, strategy)) if bound < self.most_bound() => {
                End::Parts(self.parts(op, strategy, bound))
            }
            _ => End::Bound(bound.max(self.part.least())),
        }))
    }

    /// The part without a strategy of an op, and that with it alone, of neither of which a choice costs less than a
    /// bound.
    fn parts(&self, op: usize, strategy: usize, bound: f64) -> Vec<Part> {
        let part = |is_with| {
            let all = self.part.net.costs.iter().enumerate();
            let left = all.map(|(at, of)| {
                let is_left = |number: &usize| at != op || (*number == strategy) == is_with;
                (0..of.len()).filter(is_left).collect()
            });
            Part { floor: bound, ..self.part.only(&left.collect::<Vec<_>>()) }
        };
        [false, true].into_iter().map(part).collect()
    }

    /// How much more the strategies and flows cost that the solver does not get, and whether those are in no better
    /// choice.
    fn near(&mut self, slack: &[Vec<f64>]) -> (f64, bool) {
        let most = self.most();
        let all = slack.iter().flatten().chain(self.part.bound.more.iter().flatten());
        let mut all: Vec<f64> = all.copied().filter(|more| *more < most).collect();
        let n = COLUMNS.get(self.n).copied().unwrap_or(usize::MAX);
        self.n += 1;
        if all.len() <= n {
            return (most, true);
        }
        let (_, nth, _) = all.select_nth_unstable_by(n, f64::total_cmp);
        let nth = nth.max(NEAR * self.part.bound.least);
        (nth.min(most), nth >= most)
    }

    /// How much more than the bound a better choice costs at most.
    fn most(&self) -> f64 {
        if self.best.0.is_finite() {
            self.best.0 - self.tolerance() - self.part.bound.least
        } else {
            f64::INFINITY
        }
    }
}

/// An op, and the strategy of the greatest value, to search with and without it: the op of the least such value, or where
/// all are whole and break a limit by less than the solver sees, any op with a choice left.
fn branch(
    chosen: &[Vec<usize>],
    greatest: &[(usize, f64)],
    is_within: bool,
) -> Option<(usize, usize)> {
    let all = chosen.iter().zip(greatest).enumerate();
    let all = all.filter(|(_, (chosen, _))| chosen.len() > 1);
    let least = all.min_by(|one, other| one.1.1.1.total_cmp(&other.1.1.1));
    let (op, (chosen, (strategy, value))) = least?;
    (*value < 1.0 - WHOLE || !is_within).then(|| (op, chosen[*strategy]))
}

/// Of some strategies' placements by use and pair of placements whether it costs less than so much more.
fn gathered(net: &Net, (slack, most): (&[Vec<f64>], f64), places: &Places) -> Vec<Vec<bool>> {
    let of_use = |(slack, of): (&Vec<f64>, &Use)| {
        let (row, [from, to]) = (net.groups[of.group].n[1], &places[of.group]);
        let pairs = from.iter().flat_map(|q| to.iter().map(|p| (*q as usize, *p as usize)));
        pairs.map(|(q, p)| slack[q * row + p] < most).collect()
    };
    slack.iter().zip(&net.uses).map(of_use).collect()
}

/// Duals of budgets for which the best bound was found, each by halves between those that use too much and too little,
/// and the best choice on the way below some cost.
fn priced(
    ascent: &mut Ascent<'_>,
    (most, gap): (f64, f64),
    control: &Control,
) -> (Duals, (f64, Vec<usize>)) {
    let net = ascent.net;
    let mut cheapest = (most, Vec::new());
    if net.budgets.is_empty() {
        return (ascent.duals.clone(), cheapest);
    }
    let mut best = (ascent.climb(LOOKS, f64::INFINITY, control).0, ascent.duals.clone());
    let mut between = vec![(0.0, f64::INFINITY); net.budgets.len()];
    for _ in 0..PRICES {
        let (cost, chosen) = rounded(net, &ascent.duals);
        let duals = &mut ascent.duals.budgets;
        for ((parts, dual), (low, high)) in net.budgets.iter().zip(duals).zip(&mut between) {
            match part(parts, &chosen) > 1.0 {
                true => *low = *dual,
                false => *high = *dual,
            }
            *dual = match high.is_finite() {
                true => f64::midpoint(*low, *high),
                false => (2.0 * *low).max(FIRST * best.0),
            };
        }
        if cost < cheapest.0 {
            cheapest = (cost, chosen);
        }
        let is_near = best.0 >= cheapest.0 * (1.0 - gap);
        let is_same = between.iter().all(|(low, high)| low == high);
        if is_near || is_same || control.stop().is_some() {
            break;
        }
        let (bound, _) = ascent.climb(1, f64::INFINITY, control);
        if bound > best.0 {
            best = (bound, ascent.duals.clone());
        }
    }
    (best.1, cheapest)
}

/// Steps of duals of budgets.
const PRICES: usize = 24;
