//! Where gradients are summed up: slices of them beside the parts of a backward pass.
//!
//! A backward pass is a line of slots: layers of experts and what lies between them. A slot hides an
//! all-reduce beside its own work; gradients exist once the slot that makes them has ended (the prefix
//! rule), and what no slot took follows the last one.
//!
//! A way to run a slot (a number of parts) takes `A` seconds, for `B` of which its link is busy. Beside
//! `x` bytes of `a + b x` seconds it takes `max(A, B + a + b x)`: the first `(A - B - a) / b` bytes are
//! hidden, each further one takes the `b` seconds that it takes after the last slot. So a slice is never
//! larger than what its way hides, and as much is hidden as exists:
//!
//! ```text
//! hidden(slot) = min(existing(slot), hidden(slot - 1) + free(way of the slot))
//! T = sum of A(way of each slot) + a + b (all - hidden(last slot))
//! ```
//!
//! The choice of ways is a program over bytes hidden: of two states the one that hides more for no more
//! seconds is kept, and the one that hides less if the other one's seconds are more by at least what its
//! further bytes take. The first layer's gradients exist after the last slot: nothing hides them.

use cost_model::streams::moe_step::Reduce;

/// States of all slots together: with more of them, neighbours are merged.
const STATES: usize = 1 << 21;
/// Most states of a slot.
const MOST: usize = 1 << 12;
/// Fewest states of a slot that are kept, however many slots there are.
const FEWEST: usize = 16;

/// A way that a slot can run in.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Way {
    /// Parts; 0 of a slot that is not cut.
    pub parts: u32,
    /// Seconds alone.
    pub seconds: f64,
    /// Bytes that take no second more beside it.
    pub free: f64,
}

impl Way {
    /// A way that takes so long alone, of which its link is busy for so long.
    #[must_use]
    pub fn new(parts: u32, (seconds, busy_s): (f64, f64), reduce: Reduce) -> Self {
        let idle_s = seconds - busy_s - reduce.start_up_s;
        let free = match reduce.per_byte_s > 0.0 {
            true => (idle_s / reduce.per_byte_s).max(0.0),
            false if idle_s >= 0.0 => f64::INFINITY,
            false => 0.0,
        };
        Self { parts, seconds, free }
    }
}

/// Slots in the order of the backward pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Line<'a> {
    /// By kind of slot its ways, at least one.
    pub kinds: &'a [Vec<Way>],
    /// By slot its kind, and the bytes of gradients that exist when it starts: never fewer than before.
    pub slots: &'a [(usize, u64)],
    /// Bytes of all gradients.
    pub all: u64,
    /// The all-reduce.
    pub reduce: Reduce,
}

/// A slot in a way, beside a slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Parts of the slot.
    pub parts: u32,
    /// Bytes beside it.
    pub bytes: u64,
}

/// Bytes hidden so far, and the least seconds of slots that hide them.
#[derive(Clone, Copy, Debug)]
struct State {
    hidden: f64,
    seconds: f64,
    way: u32,
    from: u32,
}

/// Which state stands for neighbours that are merged.
#[derive(Clone, Copy, PartialEq)]
enum Merge {
    /// One of them.
    One,
    /// One that is as good as the best of each: its seconds are a bound.
    Best,
}

impl Line<'_> {
    /// The best slices and ways; exact where no states are merged, to a byte of each slot, and to the
    /// start-up of an all-reduce where the first layer makes no gradients.
    #[must_use]
    pub fn sliced(&self) -> Vec<Slice> {
        let (states, _) = self.states(Merge::One);
        let mut at = states.last().map_or(0, |last| self.least(last).0);
        let mut ways = Vec::with_capacity(self.slots.len());
        for ((kind, existing), of_slot) in self.slots.iter().zip(states).rev() {
            let state = of_slot[at];
            ways.push((self.kinds[*kind][state.way as usize], *existing));
            at = state.from as usize;
        }
        ways.reverse();
        let (mut hidden, mut last_full) = (0.0_f64, 0);
        for (slot, (way, existing)) in ways.iter().enumerate() {
            hidden += way.free;
            if hidden >= *existing as f64 {
                (hidden, last_full) = (*existing as f64, slot);
            }
        }
        let mut sent = 0_u64;
        let slice = |(slot, (way, existing)): (usize, &(Way, u64))| {
            // A byte that is hidden in part takes what it would take last; where all that exists is sent
            // later on, it takes another one's place. A float of too many bytes is the greatest integer.
            let most = if slot < last_full { way.free.floor() } else { way.free.ceil() } as u64;
            let bytes = most.min(existing.saturating_sub(sent));
            sent += bytes;
            Slice { parts: way.parts, bytes }
        };
        ways.iter().enumerate().map(slice).collect()
    }

    /// Seconds that no slices, of any size, and no ways are below.
    #[must_use]
    pub fn bound_s(&self) -> f64 {
        let (_, last) = self.states(Merge::Best);
        let is_all_there = self.slots.last().is_some_and(|(_, existing)| *existing >= self.all);
        // What exists after the last slot has an all-reduce of its own.
        let tail_s = if is_all_there || self.all == 0 { 0.0 } else { self.reduce.start_up_s };
        self.least(&last).1 + tail_s
    }

    /// The state of the least seconds with the bytes that it does not hide, and those.
    fn least(&self, states: &[State]) -> (usize, f64) {
        let seconds = |state: &State| self.value(state) + self.reduce.per_byte_s * self.all as f64;
        let each = states.iter().map(seconds).enumerate();
        each.reduce(|a, b| if b.1 < a.1 { b } else { a }).unwrap_or_default()
    }

    /// Seconds of a state less those of the bytes that it hides.
    fn value(&self, state: &State) -> f64 {
        state.seconds - self.reduce.per_byte_s * state.hidden
    }

    /// By slot the states after it, empty where only the last ones are asked for; and those.
    fn states(&self, merge: Merge) -> (Vec<Vec<State>>, Vec<State>) {
        let most = (STATES / self.slots.len().max(1)).clamp(FEWEST, MOST);
        let of_use = |ways: &Vec<Way>| {
            let each = (0..).zip(ways).map(|(way, entry)| {
                let hidden = entry.free.min(self.all as f64);
                State { hidden, seconds: entry.seconds, way, from: 0 }
            });
            self.kept(each.collect())
        };
        let ways: Vec<Vec<State>> = self.kinds.iter().map(of_use).collect();
        let mut last = vec![State { hidden: 0.0, seconds: 0.0, way: 0, from: 0 }];
        let mut all = Vec::new();
        for (kind, existing) in self.slots {
            let existing = (*existing).min(self.all) as f64;
            let after = |state: &State, (from, before): (u32, &State)| State {
                hidden: (before.hidden + state.hidden).min(existing),
                seconds: before.seconds + state.seconds,
                way: state.way,
                from,
            };
            let each = ways[*kind].iter().flat_map(|state| {
                let states = (0..).zip(&last);
                states.map(move |before| after(state, before))
            });
            let next = self.kept(each.collect());
            last = merged(next, most, merge);
            if merge == Merge::One {
                all.push(last.clone());
            }
        }
        (all, last)
    }

    /// States that none makes useless, by bytes hidden.
    fn kept(&self, mut states: Vec<State>) -> Vec<State> {
        let order = |a: &State, b: &State| {
            b.hidden.total_cmp(&a.hidden).then(a.seconds.total_cmp(&b.seconds))
        };
        states.sort_by(order);
        let mut frontier: Vec<State> = Vec::new();
        for state in states {
            let is_dearer = |more: &State| state.seconds >= more.seconds;
            if !frontier.last().is_some_and(is_dearer) {
                frontier.push(state);
            }
        }
        frontier.reverse();
        // Where all bytes can be hidden, the start-up of what follows can be saved, too.
        let is_all_there = self.slots.last().is_some_and(|(_, existing)| *existing >= self.all);
        let saved_s = if is_all_there { self.reduce.start_up_s } else { 0.0 };
        let mut least = f64::INFINITY;
        frontier.retain(|state| {
            let value = self.value(state);
            let is_of_use = value < least + saved_s;
            least = least.min(value);
            is_of_use
        });
        frontier
    }
}

/// As many states as there may be, by bytes hidden.
fn merged(states: Vec<State>, most: usize, merge: Merge) -> Vec<State> {
    if states.len() <= most {
        return states;
    }
    let each = states.len().div_ceil(most);
    let one = |chunk: &[State]| {
        // Fewest bytes and seconds stand first, most last.
        let (first, last) = (chunk[0], chunk[chunk.len() - 1]);
        match merge {
            Merge::One => last,
            Merge::Best => State { seconds: first.seconds, ..last },
        }
    };
    states.chunks(each).map(one).collect()
}
