//! A question in whole numbers: the types that are kept, and why the others are not.

use std::collections::BTreeMap;

use super::flow::Lane;
use super::question::{
    Broken, HandOver, MOST_DEVICES, Objective, PRICE_PARTS, Question, Refused, Role,
};
use super::units::{Scale, enough, limit_parts, parts, workers};

/// Why a type is not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// It breaks a promise.
    Breaks(Broken),
    /// No worker of it fits into the limits of hosts, devices or price.
    DoesNotFit,
    /// No hand-over names it.
    NoHandOver,
    /// The type of this number serves as much with as few devices.
    Dominated(usize),
}

/// A type that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// Its number in the question.
    pub(super) at: usize,
    pub(super) role: Role,
    pub(super) pool: usize,
    /// Devices of a worker.
    pub(super) width: u32,
    /// Hosts that it takes whole.
    pub(super) span: u32,
    /// Devices that it takes.
    pub(super) devices: u64,
    /// Price in parts; 0 where none counts.
    pub(super) price: u64,
    /// What it adds to the objective, in the unit of the ground.
    pub(super) cost: u64,
    /// Its rate in units.
    pub(super) rate: i128,
    /// Workers that can be of use.
    pub(super) most: u64,
    /// Number of its end: types of a role that share all hand-overs.
    pub(super) end: usize,
}

/// A question in whole numbers.
#[derive(Clone, Debug)]
pub(super) struct Ground<'q> {
    pub(super) question: &'q Question,
    pub(super) kept: Vec<Kept>,
    pub(super) left_out: Vec<(usize, LeftOut)>,
    /// Ends of prefill and decode types.
    pub(super) n_ends: [usize; 2],
    pub(super) lanes: Vec<Lane>,
    pub(super) scale: Scale,
    /// What must be served, in units.
    pub(super) demand: Option<i128>,
    /// Whether more workers of some type would be of use than are looked at.
    pub(super) is_cut: bool,
    /// Devices, or parts of currency, of a unit of cost.
    pub(super) unit: u64,
}

impl<'q> Ground<'q> {
    /// The ground of a question.
    ///
    /// # Errors
    /// If it is refused.
    pub(super) fn new(question: &'q Question) -> Result<Self, Refused> {
        question.check()?;
        let scale = Scale::of(question);
        let demand = question.requests_per_s.map(|rate| enough(scale.units(rate)));
        let mut ground = Self {
            question,
            kept: Vec::new(),
            left_out: Vec::new(),
            n_ends: [0; 2],
            lanes: Vec::new(),
            scale,
            demand,
            is_cut: false,
            unit: 1,
        };
        let mut ends = [BTreeMap::new(), BTreeMap::new()];
        for at in 0..question.types.len() {
            ground.take(at, &mut ends)?;
        }
        ground.n_ends = [ends[0].len(), ends[1].len()];
        ground.lanes = lanes(question, &ends, scale);
        ground.kept.sort_by_key(|kept| (kept.role, kept.pool, kept.end, kept.width, -kept.rate));
        ground.leave_dominated();
        ground.price();
        Ok(ground)
    }

    fn take(
        &mut self,
        at: usize,
        ends: &mut [BTreeMap<Vec<usize>, usize>; 2],
    ) -> Result<(), Refused> {
        let (question, of) = (self.question, &self.question.types[at]);
        if let Some(broken) = question.broken(of) {
            self.left_out.push((at, LeftOut::Breaks(broken)));
            return Ok(());
        }
        let pool = &question.pools[of.pool];
        let devices = pool.footprint(of.n_devices);
        let price = pool.price_per_hour.map_or(0, parts) * devices;
        let rate = self.scale.units(of.rate());
        let limits = [
            pool.fit(of.n_devices),
            question.most_devices.map(|most| most / devices.max(1)),
            question.most_price_per_hour.and_then(|most| limit_parts(most).checked_div(price)),
        ];
        let limit = limits.into_iter().flatten().min();
        if limit == Some(0) || rate == 0 {
            self.left_out.push((at, LeftOut::DoesNotFit));
            return Ok(());
        }
        let of_use = self.demand.map(|demand| workers(demand, rate));
        let most = limit.into_iter().chain(of_use).min().ok_or(Refused::Unlimited)?;
        let most_of = MOST_DEVICES / devices.max(1);
        self.is_cut |= most > most_of;
        let most = most.min(most_of);
        let end = match end(question, at, of.role, ends) {
            Some(end) => end,
            None => {
                self.left_out.push((at, LeftOut::NoHandOver));
                return Ok(());
            }
        };
        let (width, span) = (of.n_devices, pool.span(of.n_devices));
        let (role, pool) = (of.role, of.pool);
        let kept = Kept { at, role, pool, width, span, devices, price, cost: 0, rate, most, end };
        self.kept.push(kept);
        Ok(())
    }

    /// Leaves out every type that another one of its role, pool and hand-overs dominates: one of at least its
    /// rate with at most its devices. In any plan, workers of the one can take the place of workers of the
    /// other: on the same host, or on some of the same hosts, so that all of them still fit; with no more
    /// devices and no higher price; with no more types and as many workers. Promises were seen to before, so
    /// that latencies do not matter here.
    fn leave_dominated(&mut self) {
        let mut remaining: Vec<Kept> = Vec::new();
        for kept in std::mem::take(&mut self.kept) {
            // By width, then by falling rate: one that dominates comes first.
            let by = remaining.iter().rev().find(|by| {
                (by.role, by.pool, by.end) == (kept.role, kept.pool, kept.end)
                    && by.rate >= kept.rate
            });
            match by {
                Some(by) => self.left_out.push((kept.at, LeftOut::Dominated(by.at))),
                None => remaining.push(kept),
            }
        }
        self.kept = remaining;
        self.left_out.sort_by_key(|(at, _)| *at);
    }

    /// What types add to the objective, in the greatest unit in which all are whole.
    fn price(&mut self) {
        let is_price = self.question.objective == Objective::LowestPrice;
        let cost = |kept: &Kept| if is_price { kept.price } else { kept.devices };
        let unit = self.kept.iter().map(cost).fold(0, greatest_divisor).max(1);
        for kept in &mut self.kept {
            kept.cost = cost(kept) / unit;
        }
        self.unit = unit;
    }

    /// Devices, or currency, of so many units of cost.
    pub(super) fn cost(&self, units: i128) -> f64 {
        let is_price = self.question.objective == Objective::LowestPrice;
        let whole = units as f64 * self.unit as f64;
        if is_price { whole / PRICE_PARTS } else { whole }
    }
}

fn greatest_divisor(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { greatest_divisor(other, one % other) }
}

/// Number of the end of a type; `None` where no hand-over names it.
fn end(
    question: &Question,
    at: usize,
    role: Role,
    ends: &mut [BTreeMap<Vec<usize>, usize>; 2],
) -> Option<usize> {
    let side = match role {
        Role::Prefill => 0,
        Role::Decode => 1,
        Role::Aggregated => return Some(0),
    };
    let names = |lane: &usize| {
        let hand_over = &question.hand_overs[*lane];
        [&hand_over.from, &hand_over.to][side].contains(&at)
    };
    let through: Vec<usize> = (0..question.hand_overs.len()).filter(names).collect();
    if through.is_empty() && !question.hand_overs.is_empty() {
        return None;
    }
    let next = ends[side].len();
    Some(*ends[side].entry(through).or_insert(next))
}

/// Hand-overs between ends.
fn lanes(question: &Question, ends: &[BTreeMap<Vec<usize>, usize>; 2], scale: Scale) -> Vec<Lane> {
    if question.hand_overs.is_empty() {
        let all = |side: usize| ends[side].values().copied().collect();
        return vec![Lane { from: all(0), to: all(1), most: None }];
    }
    let lane = |(at, hand_over): (usize, &HandOver)| {
        let of = |side: usize| {
            let through = ends[side].iter().filter(|(through, _)| through.contains(&at));
            through.map(|(_, end)| *end).collect()
        };
        let most = question.hand_over_rate(hand_over).map(|rate| scale.units(rate));
        Lane { from: of(0), to: of(1), most }
    };
    question.hand_overs.iter().enumerate().map(lane).collect()
}
