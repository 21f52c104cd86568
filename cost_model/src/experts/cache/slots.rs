//! Slots and what is in them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::NEVER;
use super::guard::Guard;

/// Slots and what is in them.
pub(super) struct Slots {
    pub(super) n: usize,
    n_held: usize,
    is_held: Vec<bool>,
    /// By expert: the greatest one is lost first.
    pub(super) key: Vec<u64>,
    /// By expert how often it was used.
    pub(super) uses: Vec<u32>,
    /// By expert a number that changes with its key and place, by which old entries are told.
    turn: Vec<u32>,
    /// Of what is held: the expert to lose first is on top.
    order: BinaryHeap<(u64, Reverse<u16>, u32)>,
    /// Of what may be fetched ahead: the next one is on top.
    expected: BinaryHeap<(Reverse<(u64, u16)>, u32)>,
}

impl Slots {
    pub(super) fn new(n_experts: usize, n: usize) -> Self {
        Self {
            n,
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

    pub(super) fn is_held(&self, expert: u16) -> bool {
        self.is_held[usize::from(expert)]
    }

    /// By expert whether it is in a slot.
    pub(super) fn held(&self) -> &[bool] {
        &self.is_held
    }

    /// How many experts of a step are in no slot.
    pub(super) fn n_missing(&self, needed: &[u16]) -> usize {
        needed.iter().filter(|expert| !self.is_held(**expert)).count()
    }

    /// Puts an expert into a slot, of which one is free, or its key anew where it is in one.
    pub(super) fn hold(&mut self, expert: u16) {
        let index = usize::from(expert);
        self.n_held += usize::from(!std::mem::replace(&mut self.is_held[index], true));
        self.turn_of(expert);
        self.order.push((self.key[index], Reverse(expert), self.turn[index]));
        // Old entries go before they are many.
        if self.order.len() > 4 * self.turn.len() + 64 {
            let (is_held, turn) = (&self.is_held, &self.turn);
            self.order.retain(|(_, Reverse(expert), at)| {
                is_held[usize::from(*expert)] && turn[usize::from(*expert)] == *at
            });
        }
    }

    /// Makes old entries of an expert void.
    fn turn_of(&mut self, expert: u16) {
        let turn = &mut self.turn[usize::from(expert)];
        *turn = turn.wrapping_add(1);
    }

    /// The expert that is lost first, and its key.
    fn last(&mut self) -> Option<(u64, u16)> {
        while let Some((key, Reverse(expert), turn)) = self.order.peek().copied() {
            let index = usize::from(expert);
            if self.is_held[index] && self.turn[index] == turn {
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
    pub(super) fn expect(&mut self, expert: u16) {
        let index = usize::from(expert);
        if self.key[index] != u64::from(NEVER) {
            self.expected.push((Reverse((self.key[index], expert)), self.turn[index]));
        }
        if self.expected.len() > 4 * self.turn.len() + 64 {
            let turn = &self.turn;
            self.expected.retain(|(Reverse((_, expert)), at)| turn[usize::from(*expert)] == *at);
        }
    }

    /// Fetches what is expected up to a step in the place of what is expected later.
    pub(super) fn prefetch(&mut self, step: u32, mut guard: Option<&mut Guard>) -> u16 {
        let mut n = 0;
        while let Some((Reverse((key, expert)), turn)) = self.expected.peek().copied() {
            if key > u64::from(step) {
                break;
            }
            self.expected.pop();
            if self.is_held(expert) || self.turn[usize::from(expert)] != turn {
                continue;
            }
            if self.n_held >= self.n {
                let lost = match (self.last(), guard.as_mut()) {
                    (Some((other, _)), _) if other <= u64::from(step) => None,
                    (Some((_, lost)), Some(guard)) => guard.for_one(self, (lost, expert), step),
                    (last, _) => last.map(|(_, lost)| lost),
                };
                let Some(lost) = lost else { continue };
                self.lose(lost);
            }
            if let Some(guard) = guard.as_mut() {
                guard.regain(expert);
            }
            self.hold(expert);
            n += 1;
        }
        n
    }

    /// Brings all that a step needs into the slots, together or in waves.
    pub(super) fn serve(&mut self, needed: &[u16], mut guard: Option<&mut Guard>) {
        if needed.len() > self.n {
            let resident = match guard {
                Some(guard) => guard.among(&self.key, needed),
                None => self.best(needed),
            };
            // What is not kept has another key, too.
            needed.iter().for_each(|expert| self.turn_of(*expert));
            return self.hold_alone(&resident);
        }
        // What is needed is not among those to lose.
        needed.iter().for_each(|expert| self.turn_of(*expert));
        let arriving = self.n_missing(needed);
        if let Some(guard) = guard.as_mut() {
            guard.count(self, arriving);
        }
        while self.n_held + arriving > self.n {
            let Some((_, last)) = self.last() else { break };
            let lost = guard.as_mut().map_or(last, |guard| guard.instead(self, last));
            self.lose(lost);
        }
        needed.iter().for_each(|expert| self.hold(*expert));
    }

    /// What is kept of a step that needs more than there are slots.
    fn best(&self, needed: &[u16]) -> Vec<u16> {
        let mut ranked: Vec<(u64, bool, u16)> = needed
            .iter()
            .map(|expert| (self.key[usize::from(*expert)], !self.is_held(*expert), *expert))
            .collect();
        ranked.sort_unstable();
        ranked.iter().take(self.n).map(|(.., expert)| *expert).collect()
    }

    /// Holds these, of which there are no more than slots, and nothing else.
    pub(super) fn hold_alone(&mut self, resident: &[u16]) {
        self.is_held.fill(false);
        self.order.clear();
        self.n_held = 0;
        resident.iter().for_each(|expert| self.hold(*expert));
    }
}
