//! Which of a fixed set of things comes next: a winner tree, one leaf per thing.

/// Nothing is due.
pub(super) const NEVER: u128 = u128::MAX;

/// A winner tree: a leaf is changed, or the least one found, along one path to the root.
pub(super) struct Agenda {
    /// Leaves from `n` on, the root at 1.
    keys: Vec<u128>,
    n: usize,
}

impl Agenda {
    /// Nothing is due.
    pub(super) fn new(n_things: usize) -> Self {
        let n = n_things.next_power_of_two().max(2);
        Self { keys: vec![NEVER; 2 * n], n }
    }

    /// The least key, [`NEVER`] if nothing is due.
    #[inline]
    pub(super) fn least(&self) -> u128 {
        self.keys[1]
    }

    /// When a thing is due. Keys tell things apart, so that the least one is always a single one.
    #[inline]
    pub(super) fn set(&mut self, thing: usize, key: u128) {
        let mut at = self.n + thing;
        self.keys[at] = key;
        while at > 1 {
            let winner = self.keys[at].min(self.keys[at ^ 1]);
            at >>= 1;
            if self.keys[at] == winner {
                return;
            }
            self.keys[at] = winner;
        }
    }
}

/// A key that is ordered by instant, then rank of urgency, then thing.
#[inline]
pub(super) fn key(instant: u64, urgency: u32, thing: u32) -> u128 {
    u128::from(instant) << 64 | u128::from(urgency) << 32 | u128::from(thing)
}

/// The instant of a key.
#[inline]
pub(super) fn instant(key: u128) -> u64 {
    (key >> 64) as u64
}

/// The thing of a key.
#[inline]
pub(super) fn thing(key: u128) -> usize {
    key as u32 as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_key_leads() {
        for n in [1usize, 2, 3, 7, 64] {
            let mut agenda = Agenda::new(n);
            let mut all = vec![NEVER; n];
            let mut state = 1u64;
            for _ in 0..400 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let thing = (state >> 33) as usize % n;
                let due =
                    if state.is_multiple_of(5) { NEVER } else { key(state >> 50, 3, thing as u32) };
                agenda.set(thing, due);
                all[thing] = due;
                assert_eq!(Some(agenda.least()), all.iter().copied().min());
            }
        }
    }

    #[test]
    fn keys_give_back_what_they_hold() {
        let made = key(u64::MAX - 1, 9, 4_000_000_000);
        assert_eq!((instant(made), thing(made)), (u64::MAX - 1, 4_000_000_000));
        assert!(key(1, 0, 9) < key(1, 1, 0) && key(1, 1, 0) < key(2, 0, 0));
    }
}
