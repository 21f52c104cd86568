//! Orders of devices with their best cuts, and what exchanges between them gain.

use cost_model::runs::served::{Costs, Goal, Piece};

use crate::run::Control;
use crate::serving::Plan;

/// More than any pipeline takes.
const IMPOSSIBLE: u64 = u64::MAX >> 1;
/// Most orders that are cut.
const MOST_ORDERS: usize = 4_000;

/// The best pipeline that was seen.
pub(super) fn best(costs: &Costs, goal: Goal, control: &Control) -> Option<Plan> {
    let mut seen = Seen { costs, goal, control, best: None, n: 0 };
    let most = costs.n_devices().min(costs.n_blocks() as usize);
    for order in [by(costs, speed), by(costs, room)] {
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
    order.sort_by_key(|own| (figure(costs, *own), *own));
    order
}

fn speed(costs: &Costs, device: usize) -> u64 {
    costs.stage_ns(device, &(0..costs.n_blocks()), [false; 2])
}

fn room(costs: &Costs, device: usize) -> u64 {
    u64::MAX - costs.limits.get(device).copied().flatten().unwrap_or(u64::MAX)
}

struct Seen<'c> {
    costs: &'c Costs,
    goal: Goal,
    control: &'c Control,
    best: Option<Plan>,
    n: usize,
}

impl Seen<'_> {
    fn is_over(&self) -> bool {
        self.n >= MOST_ORDERS || self.control.stop().is_some()
    }

    /// Cuts an order; whether that is better than what was seen.
    fn look(&mut self, order: &[usize]) -> bool {
        if self.is_over() {
            return false;
        }
        self.n += 1;
        let mut most =
            self.best.as_ref().map_or(IMPOSSIBLE >> 16, |own| own.judged.period.saturating_sub(1));
        let mut low = 0;
        let mut is_better = false;
        let mut within = most;
        while low <= most && most > 0 {
            match self.cut(order, within) {
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

    /// The cuts of an order with the least sum of which no stage takes longer.
    fn cut(&self, order: &[usize], most: u64) -> Option<Vec<Piece>> {
        let (costs, n) = (self.costs, order.len());
        let n_blocks = costs.n_blocks();
        let in_flight = self.goal.in_flight(n);
        let width = n_blocks as usize + 1;
        let mut sums = vec![vec![(IMPOSSIBLE, 0_u32); width]; n + 1];
        sums[0][0].0 = 0;
        for (at, device) in order.iter().enumerate() {
            let ends = [at == 0, at + 1 == n];
            let limit = costs.limits.get(*device).copied().flatten().unwrap_or(u64::MAX);
            let way = match order.get(at + 1) {
                Some(to) => costs.way(*device, *to).map(|own| own.pass),
                None if n > 1 && costs.returns() => {
                    costs.way(*device, order[0]).map(|own| own.back)
                }
                None => Some(0),
            };
            let way = way.filter(|own| *own <= most)?;
            let last = n_blocks.saturating_sub((n - at - 1) as u32);
            self.control.spend(width as u64);
            for block in at as u32..last {
                let sum = sums[at][block as usize].0;
                if sum >= IMPOSSIBLE {
                    continue;
                }
                for end in if ends[1] { n_blocks } else { block + 1 }..=last {
                    let own = costs.stage_ns(*device, &(block..end), ends);
                    if own > most || costs.stage_bytes(&(block..end), ends, in_flight) > limit {
                        break;
                    }
                    let all = sum.saturating_add(own).saturating_add(way);
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
        let order: Vec<usize> = best.pieces.iter().map(|own| own.device).collect();
        let n = order.len();
        let others: Vec<usize> =
            (0..self.costs.n_devices()).filter(|own| !order.contains(own)).collect();
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
