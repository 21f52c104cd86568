//! Experts of a layer in the slots of a device: which of them are there when a step needs them.
//!
//! A step needs a set of experts `U`; `c` slots hold a set `C`. Experts of `U` that are in `C` when the
//! layer begins are hits, the others misses, which are fetched from the host. Where `U` has at most `c`
//! experts, all of them lie in slots together, so that a miss drives out an expert outside `U`. Where it
//! has more, the layer runs in waves of `c`: nothing outside `U` outlives it, and of `U` what the policy
//! likes best is kept (the expert that arrives has a place beside the slots). What a policy knows is the
//! order in which it would rather lose experts, a key for each that changes when the expert is used:
//!
//! ```text
//! lru        how long ago it was used
//! lfu        how often it was used, then how long ago
//! next use   the step in which it is used next, as it is or as it is predicted
//! ```
//!
//! To drive out what is needed last makes most hits (Belady, IBM Systems Journal 5(2), 1966): with needs
//! from one use to the next as intervals, of which each step lets `c - |U|` pass, the first step that
//! too many pass has to lose one, and the one that ends last stands in the way of fewest others.
//!
//! With prefetching, an expert is fetched in the step for which its use is predicted, before the layer
//! begins, in the place of one that is predicted to be used later.

pub mod time;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The step of a use that never comes.
pub const NEVER: u32 = u32::MAX;

/// By step the experts of a layer that are needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    n_experts: u16,
    /// By step the length of its part of `experts`.
    sizes: Vec<u16>,
    experts: Vec<u16>,
}

impl Needs {
    /// Of a layer of so many experts, no step so far.
    #[must_use]
    pub fn new(n_experts: u16) -> Self {
        Self { n_experts, ..Self::default() }
    }

    /// Adds a step that needs these experts, each named once and below the number of experts.
    pub fn push(&mut self, experts: impl IntoIterator<Item = u16>) {
        let n = self.experts.len();
        self.experts.extend(experts);
        self.sizes.push((self.experts.len() - n) as u16);
    }

    /// Experts of the layer.
    #[must_use]
    pub fn n_experts(&self) -> usize {
        self.n_experts.into()
    }

    /// Steps.
    #[must_use]
    pub fn n_steps(&self) -> usize {
        self.sizes.len()
    }

    /// Experts that steps need, summed over steps.
    #[must_use]
    pub fn n_needed(&self) -> usize {
        self.experts.len()
    }

    /// By step the experts that it needs.
    pub fn steps(&self) -> impl Iterator<Item = &[u16]> {
        let mut rest = self.experts.as_slice();
        self.sizes.iter().map(move |size| {
            let (own, after) = rest.split_at_checked(usize::from(*size)).unwrap_or_default();
            rest = after;
            own
        })
    }

    /// The same of some of the experts alone.
    #[must_use]
    pub fn of(&self, is_own: impl Fn(u16) -> bool) -> Self {
        let mut own = Self::new(self.n_experts);
        for step in self.steps() {
            own.push(step.iter().copied().filter(|expert| is_own(*expert)));
        }
        own
    }

    /// By expert how many steps need it.
    #[must_use]
    pub fn counts(&self) -> Vec<u64> {
        let mut counts = vec![0; self.n_experts()];
        self.experts.iter().for_each(|own| counts[usize::from(*own)] += 1);
        counts
    }

    /// By expert the step that needs it first; [`NEVER`] where none does.
    #[must_use]
    pub fn firsts(&self) -> Vec<u32> {
        self.next_uses().1
    }

    /// By need the step of the next one of its expert, and by expert the first one.
    fn next_uses(&self) -> (Vec<u32>, Vec<u32>) {
        let mut next = vec![NEVER; self.n_experts()];
        let mut all = vec![NEVER; self.experts.len()];
        let mut end = self.experts.len();
        for (step, size) in self.sizes.iter().enumerate().rev() {
            let start = end - usize::from(*size);
            for (own, expert) in all[start..end].iter_mut().zip(&self.experts[start..end]) {
                *own = std::mem::replace(&mut next[usize::from(*expert)], step as u32);
            }
            end = start;
        }
        (all, next)
    }
}

/// Which experts a layer would rather lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Those that were used longest ago.
    LeastRecent,
    /// Those that were used least often so far.
    LeastFrequent,
    /// Those that are used last from now on.
    NextUse {
        /// Whether experts are fetched before the layer begins.
        prefetches: bool,
    },
}

/// What lies in the slots before the first step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Nothing.
    Empty,
    /// As many as there are slots: by the next use those that are used first, else those that most
    /// steps need, the first of several.
    Full,
}

/// What a step fetches for a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Before the layer begins.
    pub ahead: u16,
    /// Misses: when the layer needs them.
    pub missed: u16,
}

/// What a layer holds and fetches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// In the slots before the first step, in order.
    pub resident: Vec<u16>,
    /// By step.
    pub fetched: Vec<Fetched>,
}

impl Outcome {
    /// Experts that were fetched when they were needed, of all steps.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.fetched.iter().map(|own| u64::from(own.missed)).sum()
    }
}

/// What a layer in so many slots, at least one, holds and fetches, of the experts that may be held. `late` says of a need by how much
/// its next use is mistaken: 1 = as it is, 2 = twice as many steps from now.
#[must_use]
pub fn run(
    needs: &Needs,
    (slots, start): (usize, Start),
    policy: Policy,
    is_own: &dyn Fn(u16) -> bool,
    late: &mut dyn FnMut() -> f64,
) -> Outcome {
    let knows = matches!(policy, Policy::NextUse { .. });
    let prefetches = policy == Policy::NextUse { prefetches: true };
    let (next, first) = if knows { needs.next_uses() } else { Default::default() };
    let mut cache = Cache::new(needs.n_experts(), slots.max(1));
    if knows {
        (0..needs.n_experts())
            .for_each(|own| cache.key[own] = predicted(0, first[own], late).into());
    }
    let resident = match start {
        Start::Empty => Vec::new(),
        Start::Full if knows => least(&cache.key, cache.slots, is_own),
        Start::Full => {
            let unused: Vec<u64> = needs.counts().iter().map(|own| u64::MAX - own).collect();
            least(&unused, cache.slots, is_own)
        }
    };
    resident.iter().for_each(|expert| cache.hold(*expert));
    if prefetches {
        (0..needs.n_experts).for_each(|own| cache.expect(own));
    }
    let mut fetched = Vec::with_capacity(needs.n_steps());
    let mut at = 0;
    for (step, own) in (0_u32..).zip(needs.steps()) {
        let ahead = cache.prefetch(step);
        let missed = own.iter().filter(|expert| !cache.is_held(**expert)).count();
        for expert in own {
            let index = usize::from(*expert);
            cache.key[index] = match policy {
                Policy::LeastRecent => u64::from(NEVER - step),
                Policy::LeastFrequent => {
                    cache.uses[index] += 1;
                    (u64::from(NEVER - cache.uses[index]) << 32) | u64::from(NEVER - step)
                }
                Policy::NextUse { .. } => predicted(step + 1, next[at], late).into(),
            };
            at += 1;
        }
        cache.serve(own);
        if prefetches {
            own.iter().for_each(|expert| cache.expect(*expert));
        }
        fetched.push(Fetched { ahead, missed: missed as u16 });
    }
    Outcome { resident, fetched }
}

/// So many of the experts of the least keys, in order.
fn least(keys: &[u64], slots: usize, is_own: &dyn Fn(u16) -> bool) -> Vec<u16> {
    let mut experts: Vec<u16> = (0..keys.len() as u16).filter(|own| is_own(*own)).collect();
    experts.sort_by_key(|own| (keys[usize::from(*own)], *own));
    experts.truncate(slots);
    experts.sort_unstable();
    experts
}

/// The step in which a use is predicted that is in `next`, the coming step being `now`.
fn predicted(now: u32, next: u32, late: &mut dyn FnMut() -> f64) -> u32 {
    let factor = late();
    if next == NEVER {
        return NEVER;
    }
    let steps = (f64::from(next - now + 1) * factor).round().max(1.0);
    // A float cast saturates.
    now.saturating_add(steps as u32 - 1).min(NEVER - 1)
}

/// Slots and what is in them.
struct Cache {
    slots: usize,
    n_held: usize,
    is_held: Vec<bool>,
    /// The greatest one is lost first.
    key: Vec<u64>,
    uses: Vec<u32>,
    /// By expert a number that changes with its key and place, by which old entries are told.
    turn: Vec<u32>,
    /// Of what is held: the expert to lose first is on top.
    order: BinaryHeap<(u64, Reverse<u16>, u32)>,
    /// Of what may be fetched ahead: the next one is on top.
    expected: BinaryHeap<(Reverse<(u64, u16)>, u32)>,
}

impl Cache {
    fn new(n_experts: usize, slots: usize) -> Self {
        Self {
            slots,
            n_held: 0,
            is_held: vec![false; n_experts],
            // What was never used is lost first.
            key: vec![u64::MAX; n_experts],
            uses: vec![0; n_experts],
            turn: vec![0; n_experts],
            order: BinaryHeap::new(),
            expected: BinaryHeap::new(),
        }
    }

    fn is_held(&self, expert: u16) -> bool {
        self.is_held[usize::from(expert)]
    }

    /// Puts an expert into a slot, of which one is free, or its key anew where it is in one.
    fn hold(&mut self, expert: u16) {
        let own = usize::from(expert);
        self.n_held += usize::from(!std::mem::replace(&mut self.is_held[own], true));
        self.turn_of(expert);
        self.order.push((self.key[own], Reverse(expert), self.turn[own]));
    }

    /// Makes old entries of an expert void.
    fn turn_of(&mut self, expert: u16) {
        let turn = &mut self.turn[usize::from(expert)];
        *turn = turn.wrapping_add(1);
    }

    /// The expert that is lost first, and its key.
    fn last(&mut self) -> Option<(u64, u16)> {
        while let Some((key, Reverse(expert), turn)) = self.order.peek().copied() {
            let own = usize::from(expert);
            if self.is_held[own] && self.turn[own] == turn {
                return Some((key, expert));
            }
            self.order.pop();
        }
        None
    }

    fn lose(&mut self, expert: u16) {
        self.n_held -= usize::from(std::mem::take(&mut self.is_held[usize::from(expert)]));
    }

    /// Notes when an expert may be fetched ahead.
    fn expect(&mut self, expert: u16) {
        let own = usize::from(expert);
        if self.key[own] != u64::from(NEVER) {
            self.expected.push((Reverse((self.key[own], expert)), self.turn[own]));
        }
    }

    /// Fetches what is expected up to a step in the place of what is expected later.
    fn prefetch(&mut self, step: u32) -> u16 {
        let mut n = 0;
        while let Some((Reverse((key, expert)), turn)) = self.expected.peek().copied() {
            if key > u64::from(step) {
                break;
            }
            self.expected.pop();
            if self.is_held(expert) || self.turn[usize::from(expert)] != turn {
                continue;
            }
            if self.n_held >= self.slots {
                match self.last() {
                    Some((other, lost)) if other > u64::from(step) => self.lose(lost),
                    _ => continue,
                }
            }
            self.hold(expert);
            n += 1;
        }
        n
    }

    /// Brings all that a step needs into the slots, together or in waves.
    fn serve(&mut self, needed: &[u16]) {
        if needed.len() > self.slots {
            let mut kept: Vec<(u64, bool, u16)> = needed
                .iter()
                .map(|expert| (self.key[usize::from(*expert)], !self.is_held(*expert), *expert))
                .collect();
            kept.sort_unstable();
            self.is_held.fill(false);
            self.order.clear();
            self.n_held = 0;
            // What is not kept has another key, too.
            needed.iter().for_each(|expert| self.turn_of(*expert));
            kept.iter().take(self.slots).for_each(|(_, _, expert)| self.hold(*expert));
            return;
        }
        // What is needed is not among those to lose.
        needed.iter().for_each(|expert| self.turn_of(*expert));
        let arriving = needed.iter().filter(|expert| !self.is_held(**expert)).count();
        while self.n_held + arriving > self.slots {
            let Some((_, lost)) = self.last() else { break };
            self.lose(lost);
        }
        needed.iter().for_each(|expert| self.hold(*expert));
    }
}
