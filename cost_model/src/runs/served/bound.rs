//! What no pipeline is below, by formula and by a search of its own, from the first stage to the last.

use super::classes::{Classes, First};
use super::{Costs, Goal};

/// The bound by formula.
pub const SPREAD: &str = "spread-blocks";
/// That every pipeline was looked at.
pub const EVERY: &str = "every-pipeline";

/// Most states that [`is_below`] keeps.
const MOST_STATES: usize = 1 << 24;
/// What is not known yet.
const NONE: u64 = u64::MAX;
/// More than any pipeline takes.
const IMPOSSIBLE: u64 = u64::MAX >> 1;

/// Nanoseconds and bytes of the least block, and blocks that a device can hold.
struct Room {
    block_ns: u64,
    blocks: u64,
}

/// Nanoseconds of blocks that lie anywhere, each as fast as the fastest, on devices that hold as many as one
/// batch leaves them room for: all done side by side, ends with a block each (throughput), or one after the
/// other on the fastest, with the boundaries that memory asks for (latency).
#[must_use]
pub fn spread(costs: &Costs, goal: Goal) -> u64 {
    let n_blocks = u64::from(costs.n_blocks());
    let mut rooms: Vec<Room> = (0..costs.n_devices()).map(|device| room(costs, device)).collect();
    let head = costs.speeds.iter().map(|speed| speed.head).min().unwrap_or(0);
    let embedding = costs.speeds.iter().map(|speed| speed.embedding).min().unwrap_or(0);
    match goal {
        Goal::Throughput => {
            // The first and the last stage have a block beside their ends.
            let ended = |of: fn(&super::Speed) -> u64| {
                let speeds = costs.speeds.iter();
                speeds
                    .map(|speed| of(speed).saturating_add(least(&speed.before)))
                    .min()
                    .unwrap_or(0)
            };
            let ends = ended(|speed| speed.head).max(ended(|speed| speed.embedding));
            let (mut low, mut high) = (ends, u64::MAX >> 8);
            let done = |within: u64| {
                let of = |room: &Room| room.blocks.min(within / room.block_ns.max(1));
                rooms.iter().map(of).fold(0, u64::saturating_add) >= n_blocks
            };
            while low < high {
                let middle = low + (high - low) / 2;
                if done(middle) { high = middle } else { low = middle + 1 }
            }
            low
        }
        Goal::Latency => {
            rooms.sort_by_key(|room| room.block_ns);
            let (mut left, mut sum) = (n_blocks, head.saturating_add(embedding));
            for room in &rooms {
                let n = room.blocks.min(left);
                sum = sum.saturating_add(room.block_ns.saturating_mul(n));
                left -= n;
            }
            rooms.sort_by_key(|room| std::cmp::Reverse(room.blocks));
            let mut so_far = 0_u64;
            let full = rooms.iter().take_while(|room| {
                so_far = so_far.saturating_add(room.blocks);
                so_far < n_blocks
            });
            let crossings = full.count() as u64;
            let way = |of: fn(&super::Way) -> u64| costs.ways.kinds.iter().map(of).min();
            let back = if crossings > 0 { way(|kind| kind.back).unwrap_or(0) } else { 0 };
            let pass = way(|kind| kind.pass).unwrap_or(0).saturating_mul(crossings);
            sum.saturating_add(pass).saturating_add(back)
        }
    }
}

/// The least of what sums are of.
fn least(sums: &[u64]) -> u64 {
    sums.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).min().unwrap_or(0)
}

fn room(costs: &Costs, device: usize) -> Room {
    let speed = costs.speed_of.get(device).and_then(|index| costs.speeds.get(*index));
    let sizes = &costs.held;
    let bytes = least(&sizes.weights).saturating_add(least(&sizes.cache));
    let scratch = sizes.scratch[0].min(sizes.scratch[1]);
    let limit = costs.limits.get(device).copied().flatten();
    let room = limit.map_or(u64::MAX, |limit| limit.saturating_sub(scratch));
    let blocks = room.checked_div(bytes).unwrap_or(u64::MAX).min(u64::from(costs.n_blocks()));
    Room { block_ns: speed.map_or(0, |speed| least(&speed.before)), blocks }
}

/// Whether any pipeline has a shorter period than this many nanoseconds, channels that several transfers
/// share left aside; `None` where there are more states than can be kept, or `is_over` says so.
#[must_use]
pub fn is_below(
    costs: &Costs,
    goal: Goal,
    period: u64,
    is_over: &dyn Fn() -> bool,
) -> Option<bool> {
    let classes = Classes::of(costs)?;
    let n_blocks = costs.n_blocks() as usize;
    let n_states = classes.n_sets(MOST_STATES)?;
    let n_states = n_states.checked_mul(classes.devices.len())?.checked_mul(n_blocks)?;
    if n_states > MOST_STATES {
        return None;
    }
    let Some(most) = period.checked_sub(1) else { return Some(false) };
    // Where all ways back are alike, who is first does not matter.
    let firsts: Vec<First> = match classes.back(costs) {
        Some(back) => vec![First::Any { back }],
        None => (0..classes.devices.len()).map(First::Class).collect(),
    };
    let latency = spread(costs, Goal::Latency);
    let scopes = (1..=costs.n_devices().min(n_blocks)).flat_map(|n_stages| {
        costs.in_flight(goal, n_stages, (most, latency)).map(move |in_flight| (n_stages, in_flight))
    });
    for (n_stages, in_flight) in scopes {
        for first in &firsts {
            let known = vec![NONE; n_states];
            let mut rest =
                Rest { costs, classes: &classes, most, in_flight, first: *first, known, is_over };
            let mut least = IMPOSSIBLE;
            let mut used = vec![0; classes.devices.len()];
            for class in (0..used.len()).filter(|class| first.allows(*class)) {
                used[class] += 1;
                least = least.min(rest.least(&mut used, (class, 0), n_stages)?);
                used[class] -= 1;
            }
            if least < IMPOSSIBLE && least <= most.saturating_mul(in_flight) {
                return Some(true);
            }
        }
    }
    Some(false)
}

/// What is left of a pipeline of so many stages.
struct Rest<'c> {
    costs: &'c Costs,
    classes: &'c Classes,
    /// Nanoseconds that no stage and no transfer takes more than.
    most: u64,
    in_flight: u64,
    first: First,
    /// By devices used, class of the stage and its first block.
    known: Vec<u64>,
    is_over: &'c dyn Fn() -> bool,
}

impl Rest<'_> {
    /// The least sum of a stage that begins at a block on a class, and of all after it; so many stages are
    /// left with it. Its device is among those used.
    fn least(
        &mut self,
        used: &mut Vec<usize>,
        (class, block): (usize, u32),
        left: usize,
    ) -> Option<u64> {
        let n_blocks = self.costs.n_blocks();
        let sizes = self.classes.devices.iter().map(|devices| devices.len() + 1);
        let set = sizes.zip(&*used).fold(0, |set, (size, n_used)| set * size + n_used);
        let at = (set * used.len() + class) * n_blocks as usize + block as usize;
        if let Some(known) = self.known.get(at).filter(|known| **known != NONE) {
            return Some(*known);
        }
        if (self.is_over)() {
            return None;
        }
        let device = self.classes.first(class);
        let limit = self.costs.limits.get(device).copied().flatten().unwrap_or(u64::MAX);
        let is_last = left == 1;
        let first_end = if is_last { n_blocks } else { block + 1 };
        let last_end = (n_blocks + 1).saturating_sub(left as u32);
        let mut best = IMPOSSIBLE;
        for end in first_end..=last_end {
            let (blocks, ends) = (block..end, [block == 0, is_last]);
            let stage_ns = self.costs.stage_ns(device, &blocks, ends);
            if stage_ns > self.most || self.costs.stage_bytes(&blocks, ends, self.in_flight) > limit
            {
                break;
            }
            let rest = match is_last {
                true => self.back(class, used),
                false => self.onward(used, (class, end), left)?,
            };
            best = best.min(stage_ns.saturating_add(rest));
        }
        if let Some(known) = self.known.get_mut(at) {
            *known = best;
        }
        Some(best)
    }

    /// The least way to a next stage that begins at a block, with all after it.
    fn onward(
        &mut self,
        used: &mut Vec<usize>,
        (class, block): (usize, u32),
        left: usize,
    ) -> Option<u64> {
        let mut best = IMPOSSIBLE;
        for next in 0..used.len() {
            let is_free = used[next] < self.classes.devices[next].len();
            let way = self.classes.way(self.costs, class, next).filter(|_| is_free);
            let Some(way) = way.filter(|way| way.pass <= self.most) else { continue };
            used[next] += 1;
            let rest = self.least(used, (next, block), left - 1);
            used[next] -= 1;
            best = best.min(way.pass.saturating_add(rest?));
        }
        Some(best)
    }

    /// Nanoseconds from the last stage to the first.
    fn back(&self, class: usize, used: &[usize]) -> u64 {
        if used.iter().sum::<usize>() < 2 || !self.costs.returns() {
            return 0;
        }
        let back = self.first.back(self.classes, self.costs, class);
        back.filter(|back| *back <= self.most).unwrap_or(IMPOSSIBLE)
    }
}
