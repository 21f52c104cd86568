//! Orders of devices with their best cuts, and what exchanges between them gain.

use cost_model::runs::served::bound::spread;
use cost_model::runs::served::{Costs, Goal, Piece};

use crate::run::Control;
use crate::serving::Plan;

/// More than any pipeline takes.
const IMPOSSIBLE: u64 = u64::MAX >> 1;
/// Most orders that are cut.
const MOST_ORDERS: usize = 4_000;

/// The best pipeline that was seen.
pub(super) fn best(costs: &Costs, goal: Goal, control: &Control) -> Option<Plan> {
    let latency = spread(costs, Goal::Latency);
    let mut seen = Seen { costs, goal, control, latency, best: None, n: 0 };
    let most = costs.n_devices().min(costs.n_blocks() as usize);
    let orders = [by(costs, speed), by(costs, room)];
    for order in &orders {
        seen.fill(order);
        order.iter().take_while(|_| control.stop().is_none()).for_each(|device| {
            let way = along(costs, order, *device);
            seen.fill(&way);
        });
    }
    for order in orders {
        for n in 1..=most {
            seen.look(&order[..n]);
        }
        for device in &order {
            seen.look(&[*device]);
        }
        // What is last has the head: the fastest may be wanted there.
        for n in 2..=most {
            let mut turned = order[..n].to_vec();
            turned.reverse();
            seen.look(&turned);
        }
    }
    while seen.exchanged() {}
    seen.best
}

/// Devices by growing figures.
fn by(costs: &Costs, figure: fn(&Costs, usize) -> u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..costs.n_devices()).collect();
    order.sort_by_key(|device| (figure(costs, *device), *device));
    order
}

/// A way from a device over others, each the first of the order that the one before reaches.
fn along(costs: &Costs, order: &[usize], first: usize) -> Vec<usize> {
    let mut way = vec![first];
    let mut left: Vec<usize> = order.iter().copied().filter(|device| *device != first).collect();
    let mut last = first;
    while let Some(at) = left.iter().position(|device| costs.way(last, *device).is_some()) {
        last = left.remove(at);
        way.push(last);
    }
    way
}

fn speed(costs: &Costs, device: usize) -> u64 {
    costs.stage_ns(device, &(0..costs.n_blocks()), [false; 2])
}

fn room(costs: &Costs, device: usize) -> u64 {
    u64::MAX - costs.limits.get(device).copied().flatten().unwrap_or(u64::MAX)
}

/// The most of a range, its start included, up to which something holds.
fn most_that(range: std::ops::Range<u32>, holds: impl Fn(&u32) -> bool) -> u32 {
    let (mut low, mut high) = (range.start, range.end.saturating_sub(1).max(range.start));
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if holds(&middle) { low = middle } else { high = middle - 1 }
    }
    low
}

struct Seen<'c> {
    costs: &'c Costs,
    goal: Goal,
    control: &'c Control,
    /// Nanoseconds that no latency is below.
    latency: u64,
    best: Option<Plan>,
    n: usize,
}

impl Seen<'_> {
    fn is_over(&self) -> bool {
        self.n >= MOST_ORDERS || self.control.stop().is_some()
    }

    /// Gives each device of an order as many blocks as it holds, and keeps that where it is better than what
    /// was seen; what holds none is passed over.
    fn fill(&mut self, order: &[usize]) {
        let (costs, n_blocks) = (self.costs, self.costs.n_blocks());
        let mut pieces: Vec<Piece> = Vec::new();
        let mut block = 0;
        for device in order {
            let limit = costs.limits.get(*device).copied().flatten().unwrap_or(u64::MAX);
            let holds = |end: &u32| {
                let ends = [block == 0, *end == n_blocks];
                costs.stage_bytes(&(block..*end), ends, 1) <= limit
            };
            // The last block needs room for the head beside it.
            let end = if holds(&n_blocks) { n_blocks } else { most_that(block..n_blocks, holds) };
            if end > block {
                pieces.push(Piece { device: *device, blocks: block..end });
                block = end;
            }
            if block == n_blocks {
                break;
            }
        }
        self.control.spend(order.len() as u64);
        let Ok(judged) = costs.judge(&pieces, self.goal) else { return };
        if self.best.as_ref().is_none_or(|best| judged.period < best.judged.period) {
            self.best = Some(Plan { pieces, judged });
        }
    }

    /// Cuts an order; whether that is better than what was seen.
    fn look(&mut self, order: &[usize]) -> bool {
        if self.is_over() {
            return false;
        }
        self.n += 1;
        let mut most = self
            .best
            .as_ref()
            .map_or(IMPOSSIBLE >> 16, |plan| plan.judged.period.saturating_sub(1));
        let mut low = 0;
        let mut is_better = false;
        let mut within = most;
        while low <= most && most > 0 && (self.best.is_none() || self.control.stop().is_none()) {
            let within_it = (within, self.latency);
            let in_flight = self.costs.in_flight(self.goal, order.len(), within_it);
            let is_over = || self.best.is_some() && self.control.stop().is_some();
            let mut in_flight = in_flight.take_while(|_| !is_over());
            match in_flight.find_map(|batches| self.cut(order, (within, batches))) {
                Some(pieces) => {
                    let Ok(judged) = self.costs.judge(&pieces, self.goal) else { return is_better };
                    let period = judged.period;
                    if self.best.as_ref().is_none_or(|best| period < best.judged.period) {
                        self.best = Some(Plan { pieces, judged });
                        is_better = true;
                    }
                    most = within.min(period).saturating_sub(1);
                }
                None => low = within.saturating_add(1),
            }
            within = low + most.saturating_sub(low) / 2;
        }
        is_better
    }

    /// The cuts of an order with the least sum of which no stage takes longer, with room for so many
    /// batches in flight.
    fn cut(&self, order: &[usize], (most, in_flight): (u64, u64)) -> Option<Vec<Piece>> {
        let (costs, n) = (self.costs, order.len());
        let n_blocks = costs.n_blocks();
        let width = n_blocks as usize + 1;
        let mut sums = vec![vec![(IMPOSSIBLE, 0_u32); width]; n + 1];
        sums[0][0].0 = 0;
        for (at, device) in order.iter().enumerate() {
            let ends = [at == 0, at + 1 == n];
            let limit = costs.limits.get(*device).copied().flatten().unwrap_or(u64::MAX);
            let way = match order.get(at + 1) {
                Some(to) => costs.way(*device, *to).map(|way| way.pass),
                None if n > 1 && costs.returns() => {
                    costs.way(*device, order[0]).map(|way| way.back)
                }
                None => Some(0),
            };
            let way = way.filter(|ns| *ns <= most)?;
            let last = n_blocks.saturating_sub((n - at - 1) as u32);
            self.control.spend(width as u64);
            if self.best.is_some() && self.control.stop().is_some() {
                return None;
            }
            for block in at as u32..last {
                let sum = sums[at][block as usize].0;
                if sum >= IMPOSSIBLE {
                    continue;
                }
                for end in if ends[1] { n_blocks } else { block + 1 }..=last {
                    let stage_ns = costs.stage_ns(*device, &(block..end), ends);
                    if stage_ns > most || costs.stage_bytes(&(block..end), ends, in_flight) > limit
                    {
                        break;
                    }
                    let all = sum.saturating_add(stage_ns).saturating_add(way);
                    let known = &mut sums[at + 1][end as usize];
                    if all < known.0 {
                        *known = (all, block);
                    }
                }
            }
        }
        if sums[n][width - 1].0 > most.saturating_mul(in_flight) {
            return None;
        }
        let mut pieces = Vec::with_capacity(n);
        let mut end = n_blocks;
        for (at, device) in order.iter().enumerate().rev() {
            let start = sums[at + 1][end as usize].1;
            pieces.push(Piece { device: *device, blocks: start..end });
            end = start;
        }
        pieces.reverse();
        Some(pieces)
    }

    /// Exchanges, takes in, leaves out one device, or two; whether that was better.
    fn exchanged(&mut self) -> bool {
        let Some(best) = &self.best else { return false };
        let order: Vec<usize> = best.pieces.iter().map(|piece| piece.device).collect();
        let n = order.len();
        let others: Vec<usize> =
            (0..self.costs.n_devices()).filter(|device| !order.contains(device)).collect();
        let mut is_better = false;
        for at in 0..n {
            for other in at + 1..n {
                let mut next = order.clone();
                next.swap(at, other);
                is_better |= self.look(&next);
            }
            let mut next = order.clone();
            next.remove(at);
            is_better |= !next.is_empty() && self.look(&next);
        }
        for other in others {
            for at in 0..=n {
                let mut next = order.clone();
                next.insert(at, other);
                is_better |= self.look(&next);
                if at < n {
                    let mut next = order.clone();
                    next[at] = other;
                    is_better |= self.look(&next);
                }
            }
            if self.is_over() {
                break;
            }
        }
        is_better
    }
}
