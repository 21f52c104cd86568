//! How far mistaken predictions are believed: LRU is run beside, on what was needed so far.
//!
//! An expert that LRU would hold is given up for one that it would lose where predictions are so far
//! apart that mistakes of their deviation hardly turn them around, or where misses that were saved so
//! far, beyond LRU's, are more than the experts that LRU would hold and the slots do not: if each of
//! these were missed, there were still no more misses than LRU's. Exact predictions are always believed.

use super::NEVER;
use super::slots::Slots;

/// Deviations that either of two predictions may be off, and their order is still believed.
const DEVIATIONS: f64 = 2.5;

/// What LRU would hold, and what it may cost to hold something else.
pub(super) struct Guard {
    lru: Slots,
    /// Misses of LRU beyond own ones.
    saved: i64,
    /// Experts that LRU would hold and the slots do not.
    lent: i64,
    /// By expert the step in which its prediction was made.
    pub(super) made: Vec<u32>,
    /// The part of a predicted time that passes at least.
    least: f64,
}

impl Guard {
    /// Of predictions with a deviation, beside an LRU that begins with these.
    pub(super) fn new(n_experts: usize, slots: usize, deviation: f64, resident: &[u16]) -> Self {
        let mut lru = Slots::new(n_experts, slots);
        resident.iter().for_each(|expert| lru.hold(*expert));
        let least = (-DEVIATIONS * deviation).exp();
        Self { lru, saved: 0, lent: 0, made: vec![0; n_experts], least }
    }

    /// Takes note of a step of which so many experts are missed.
    pub(super) fn step(&mut self, (step, needed): (u32, &[u16]), missed: usize) {
        self.saved += self.lru.n_missing(needed) as i64 - missed as i64;
        for expert in needed {
            self.lru.key[usize::from(*expert)] = u64::from(NEVER - step);
        }
        self.lru.serve(needed, None);
    }

    /// Counts what LRU holds and the slots will not, when so many have arrived.
    pub(super) fn count(&mut self, slots: &Slots, arriving: usize) {
        let each = self.lru.held().iter().zip(slots.held());
        self.lent = each.filter(|(lru, here)| **lru && !**here).count() as i64 - arriving as i64;
    }

    /// Takes note of an expert that comes into a slot.
    pub(super) fn regain(&mut self, expert: u16) {
        self.lent -= i64::from(self.lru.is_held(expert));
    }

    /// Whether to lose an expert that LRU holds for one that it does not.
    fn believes(&self, key: &[u64], [lost, spared]: [u16; 2]) -> bool {
        self.saved > self.lent || self.soonest(key, lost) >= self.latest(key, spared)
    }

    /// The step before which an expert is hardly used.
    fn soonest(&self, key: &[u64], expert: u16) -> f64 {
        let (next, made) = (key[usize::from(expert)], self.made[usize::from(expert)]);
        match next >= u64::from(NEVER) {
            true => f64::INFINITY,
            // Predictions are rounded.
            false => f64::from(made) + (next as f64 - f64::from(made) + 0.5) * self.least,
        }
    }

    /// The step after which an expert hardly stays unused.
    fn latest(&self, key: &[u64], expert: u16) -> f64 {
        let (next, made) = (key[usize::from(expert)], self.made[usize::from(expert)]);
        match next >= u64::from(NEVER) {
            true => f64::INFINITY,
            false => f64::from(made) + (next as f64 - f64::from(made) + 1.5) / self.least,
        }
    }

    /// Of what the slots hold and LRU does not: what is predicted to be used last.
    fn other(&self, slots: &Slots) -> Option<u16> {
        let each = (0..=u16::MAX).zip(slots.held().iter().zip(self.lru.held()));
        let others = each.filter(|(_, (here, lru))| **here && !**lru).map(|(expert, _)| expert);
        others.max_by_key(|expert| slots.key[usize::from(*expert)])
    }

    /// What to lose instead of what is predicted to be used last.
    pub(super) fn instead(&mut self, slots: &Slots, last: u16) -> u16 {
        if !self.lru.is_held(last) {
            return last;
        }
        match self.other(slots) {
            Some(other) if !self.believes(&slots.key, [last, other]) => other,
            _ => {
                self.lent += 1;
                last
            }
        }
    }

    /// What to lose for one that is fetched ahead; `None` where that is none.
    pub(super) fn for_one(
        &mut self,
        slots: &Slots,
        (last, ahead): (u16, u16),
        step: u32,
    ) -> Option<u16> {
        if !self.lru.is_held(last) {
            return Some(last);
        }
        if self.lru.is_held(ahead) || self.believes(&slots.key, [last, ahead]) {
            self.lent += 1;
            return Some(last);
        }
        self.other(slots).filter(|other| slots.key[usize::from(*other)] > u64::from(step))
    }

    /// What to keep of some: what LRU keeps, but for those that are believed to be used later than
    /// others.
    pub(super) fn among(&mut self, key: &[u64], some: &[u16]) -> Vec<u16> {
        let of = |expert: &u16| key[usize::from(*expert)];
        let (mut chosen, mut others): (Vec<u16>, Vec<u16>) =
            some.iter().partition(|expert| self.lru.is_held(**expert));
        chosen.sort_by_key(|expert| (u64::MAX - of(expert), *expert));
        others.sort_by_key(|expert| (of(expert), *expert));
        self.lent = 0;
        for (slot, other) in chosen.iter_mut().zip(others) {
            if of(slot) <= of(&other) || !self.believes(key, [*slot, other]) {
                break;
            }
            *slot = other;
            self.lent += 1;
        }
        chosen
    }
}
