//! Every pipeline, class by class of devices.

use cost_model::runs::served::bound::spread;
use cost_model::runs::served::classes::{Classes, First};
use cost_model::runs::served::{Costs, Goal, Piece};

use super::MOST_STATES;
use crate::run::{Control, StopReason};

/// More than any pipeline takes.
const IMPOSSIBLE: u64 = u64::MAX >> 1;
/// States between two looks at the limits.
const LOOK: u64 = 1 << 16;

/// A pipeline by class: its stages' class and number of blocks, and its period.
type Chain = (Vec<(usize, u32)>, u64);

/// The best pipeline with its period, or none where none fits; nothing where it was not all looked at, with
/// why. Channels that several transfers share are left aside.
pub(super) fn search(
    costs: &Costs,
    goal: Goal,
    (known, control): (Option<u64>, &Control),
) -> Result<(Option<Vec<Piece>>, u64), StopReason> {
    let Some(classes) = Classes::of(costs) else { return Err(StopReason::SizeLimit) };
    let n_blocks = costs.n_blocks() as usize;
    if n_blocks >= usize::from(u16::MAX) {
        return Err(StopReason::SizeLimit);
    }
    let of_sets = classes.devices.len().saturating_mul(n_blocks + 1).max(1);
    let Some(n_sets) = classes.n_sets(MOST_STATES / of_sets) else {
        return Err(StopReason::SizeLimit);
    };
    // Where all ways back are alike, who is first does not matter.
    let firsts: Vec<First> = match classes.back(costs) {
        Some(back) => vec![First::Any { back }],
        None => (0..classes.devices.len()).map(First::Class).collect(),
    };
    let mut best: Option<Chain> = None;
    // Of plans that are as good, the one of fewest stages.
    let mut most = known.unwrap_or(IMPOSSIBLE >> 16);
    let latency = spread(costs, Goal::Latency);
    let mut states: Vec<State> = Vec::new();
    for n_stages in 1..=costs.n_devices().min(n_blocks) {
        for in_flight in costs.in_flight(goal, n_stages, (most, latency)) {
            // What was found since may ask for more of them.
            if latency > most.saturating_mul(in_flight) {
                break;
            }
            for first in &firsts {
                let scope =
                    Scope { costs, classes: &classes, n_sets, n_stages, in_flight, first: *first };
                if let Some(chain) = scope.improved(most, (control, &mut states))? {
                    most = chain.1.saturating_sub(1);
                    best = Some(chain);
                }
            }
        }
    }
    let period = best.as_ref().map_or(most.saturating_add(1), |chain| chain.1);
    Ok((best.map(|chain| devices(&classes, &chain.0)), period))
}

/// The first free devices of each stage's class.
fn devices(classes: &Classes, chain: &[(usize, u32)]) -> Vec<Piece> {
    let mut used = vec![0; classes.devices.len()];
    let mut next = 0;
    let of = |(class, n): &(usize, u32)| {
        let device = classes.devices[*class][used[*class]];
        used[*class] += 1;
        next += n;
        Piece { device, blocks: next - n..next }
    };
    chain.iter().map(of).collect()
}

/// Pipelines of so many stages.
struct Scope<'c> {
    costs: &'c Costs,
    classes: &'c Classes,
    n_sets: usize,
    n_stages: usize,
    in_flight: u64,
    first: First,
}

/// Of a state the least sum so far, and the class and blocks of the stage before.
type State = (u64, u16, u16);

impl Scope<'_> {
    /// The least period of at most so many nanoseconds with its pipeline.
    fn improved(
        &self,
        most: u64,
        (control, states): (&Control, &mut Vec<State>),
    ) -> Result<Option<Chain>, StopReason> {
        let Some(mut best) = self.within(most, (control, states))? else { return Ok(None) };
        let mut low = control.bound().get();
        while low < best.1 {
            let middle = low + (best.1 - low) / 2;
            match self.within(middle, (control, states))? {
                Some(chain) => best = chain,
                None => low = middle + 1,
            }
        }
        Ok(Some(best))
    }

    /// The least sum of stages and boundaries where none is longer, and batches in flight suffice.
    fn within(
        &self,
        most: u64,
        (control, states): (&Control, &mut Vec<State>),
    ) -> Result<Option<Chain>, StopReason> {
        let n_classes = self.classes.devices.len();
        let width = self.costs.n_blocks() as usize + 1;
        // Kept from one look to the next: fresh memory takes longer than the look.
        states.clear();
        states.resize(self.n_sets * n_classes * width, (IMPOSSIBLE, 0, 0));
        let steps = self.steps();
        for class in (0..n_classes).filter(|class| self.first.allows(*class)) {
            let place = (steps[class] * n_classes + class) * width;
            self.place((0, 0, None), (class, 1, most), &mut states[place..place + width]);
        }
        let mut spent = 0;
        for set in 1..self.n_sets {
            let used: Vec<usize> = steps
                .iter()
                .zip(&self.classes.devices)
                .map(|(step, devices)| set / step % (devices.len() + 1))
                .collect();
            let n_used: usize = used.iter().sum();
            spent += width as u64;
            if n_used >= self.n_stages {
                continue;
            }
            for (class, block) in
                (0..n_classes).flat_map(|class| (1..width - 1).map(move |block| (class, block)))
            {
                let sum = states[(set * n_classes + class) * width + block].0;
                spent += 1;
                if sum >= IMPOSSIBLE {
                    continue;
                }
                for next in 0..n_classes {
                    let is_free = used[next] < self.classes.devices[next].len();
                    let way = self.classes.way(self.costs, class, next).filter(|_| is_free);
                    let Some(way) = way.filter(|way| way.pass <= most) else { continue };
                    let place = ((set + steps[next]) * n_classes + next) * width;
                    let from = (block as u32, sum.saturating_add(way.pass), Some(class));
                    spent += self.place(
                        from,
                        (next, n_used + 1, most),
                        &mut states[place..place + width],
                    );
                }
                if spent > LOOK {
                    control.spend(spent);
                    spent = 0;
                    control.stop().map_or(Ok(()), Err)?;
                }
            }
        }
        control.spend(spent);
        control.stop().map_or(Ok(()), Err)?;
        Ok(self.ended(states, &steps, most))
    }

    /// By class, how much further a set is in which one device of it more is used.
    fn steps(&self) -> Vec<usize> {
        let next = |next: &mut usize, devices: &Vec<usize>| {
            let step = *next;
            *next *= devices.len() + 1;
            Some(step)
        };
        self.classes.devices.iter().scan(1, next).collect()
    }

    /// Puts a stage of every number of blocks behind a state; how many there are.
    fn place(
        &self,
        (block, sum, before): (u32, u64, Option<usize>),
        (class, number, most): (usize, usize, u64),
        states: &mut [State],
    ) -> u64 {
        let n_blocks = self.costs.n_blocks();
        let device = self.classes.first(class);
        let limit = self.costs.limits.get(device).copied().flatten().unwrap_or(u64::MAX);
        let ends = [block == 0, number == self.n_stages];
        let left = (self.n_stages - number) as u32;
        let first_end = if ends[1] { n_blocks } else { block + 1 };
        let mut n = 0;
        for end in first_end..=n_blocks.saturating_sub(left) {
            let stage_ns = self.costs.stage_ns(device, &(block..end), ends);
            n += 1;
            if stage_ns > most
                || self.costs.stage_bytes(&(block..end), ends, self.in_flight) > limit
            {
                break;
            }
            let all = sum.saturating_add(stage_ns);
            let state = &mut states[end as usize];
            if all < state.0 && all <= most.saturating_mul(self.in_flight) {
                let from = before.map_or(u16::MAX, |before| before as u16);
                *state = (all, from, (end - block) as u16);
            }
        }
        n
    }

    /// The best of the states that have all blocks.
    fn ended(&self, states: &[State], steps: &[usize], most: u64) -> Option<Chain> {
        let n_classes = self.classes.devices.len();
        let width = self.costs.n_blocks() as usize + 1;
        let mut best: Option<(u64, usize, usize)> = None;
        for (at, chunk) in states.chunks(width).enumerate() {
            let (set, class) = (at / n_classes, at % n_classes);
            let Some((sum, ..)) = chunk.last().filter(|state| state.0 < IMPOSSIBLE) else {
                continue;
            };
            let Some(back) = self.back(class).filter(|ns| *ns <= most) else { continue };
            let sum = sum.saturating_add(back);
            if sum <= most.saturating_mul(self.in_flight)
                && best.is_none_or(|(least, ..)| sum < least)
            {
                best = Some((sum, set, class));
            }
        }
        let (sum, mut set, mut class) = best?;
        let (mut chain, mut block) = (Vec::new(), width - 1);
        loop {
            let (_, before, n) = states[(set * n_classes + class) * width + block];
            chain.push((class, u32::from(n)));
            block -= usize::from(n);
            set -= steps[class];
            if before == u16::MAX || block == 0 {
                break;
            }
            class = usize::from(before);
        }
        chain.reverse();
        let period = self.longest(&chain).max(sum.div_ceil(self.in_flight));
        Some((chain, period))
    }

    /// The longest stage or transfer.
    fn longest(&self, chain: &[(usize, u32)]) -> u64 {
        let (mut next, n) = (0, chain.len());
        let mut longest = 0;
        for (at, (class, blocks)) in chain.iter().enumerate() {
            let (start, ends) = (next, [at == 0, at + 1 == n]);
            next += blocks;
            longest =
                longest.max(self.costs.stage_ns(self.classes.first(*class), &(start..next), ends));
            let way = match chain.get(at + 1) {
                Some((to, _)) => self.classes.way(self.costs, *class, *to).map(|way| way.pass),
                None => self.back(*class),
            };
            longest = longest.max(way.unwrap_or(0));
        }
        longest
    }

    /// Nanoseconds from the last stage to the first; `None` where there is no way.
    fn back(&self, class: usize) -> Option<u64> {
        if self.n_stages < 2 || !self.costs.returns() {
            return Some(0);
        }
        self.first.back(self.classes, self.costs, class)
    }
}
