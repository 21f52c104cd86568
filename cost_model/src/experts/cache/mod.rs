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
//! begins, in the place of one that is predicted to be used later. Mistaken predictions are believed as
//! far as [`guard`] says: LRU, which needs none, is to miss no less.

mod guard;
mod needs;
mod slots;
pub mod time;

#[cfg(test)]
mod tests;

pub use needs::{Fetches, Needs, Steps};

use guard::Guard;
use needs::NextUses;
use slots::Slots;

/// The step of a use that never comes.
pub const NEVER: u32 = u32::MAX;

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
    pub fetched: Fetches,
}

/// How far predictions are off.
pub struct Mistakes<'a> {
    /// Deviation of the logarithm of predicted times; 0 = exact.
    pub deviation: f64,
    /// For each prediction by how much it is mistaken: 1 = not at all, 2 = twice as many steps from now.
    pub draw: &'a mut dyn FnMut() -> f64,
}

/// What a layer in so many slots, at least one, holds and fetches, of the experts that may be held.
#[must_use]
pub fn run(
    needs: &Needs,
    (slots, start): (usize, Start),
    policy: Policy,
    is_own: &dyn Fn(u16) -> bool,
    mistakes: Mistakes<'_>,
) -> Outcome {
    let Policy::NextUse { prefetches } = policy else {
        return without(needs, (slots, start), policy, is_own);
    };
    let late = mistakes.draw;
    let mut next = NextUses::of(needs);
    let mut cache = Slots::new(needs.n_experts(), slots.max(1));
    for (key, first) in cache.key.iter_mut().zip(&next.first) {
        *key = predicted(0, *first, late).into();
    }
    let most = || most_needed(needs, cache.n, is_own);
    let mut guard = (mistakes.deviation > 0.0).then(|| {
        let of_lru = if start == Start::Full { most() } else { Vec::new() };
        Guard::new(needs.n_experts(), cache.n, mistakes.deviation, &of_lru)
    });
    let mut resident = match (start, &mut guard) {
        (Start::Empty, _) => Vec::new(),
        (Start::Full, None) => least(&cache.key, cache.n, is_own),
        (Start::Full, Some(guard)) => guard.among(&cache.key, &all(needs, is_own)),
    };
    resident.sort_unstable();
    resident.iter().for_each(|expert| cache.hold(*expert));
    if prefetches {
        (0..needs.n_experts() as u16).for_each(|expert| cache.expect(expert));
    }
    let mut fetched = Fetches::default();
    let mut steps = needs.steps();
    let mut step = 0;
    while let Some(needed) = steps.step() {
        let ahead = cache.prefetch(step, guard.as_mut());
        let missed = cache.n_missing(needed);
        for expert in needed {
            cache.key[usize::from(*expert)] = predicted(step + 1, next.next(), late).into();
        }
        if let Some(guard) = &mut guard {
            needed.iter().for_each(|expert| guard.made[usize::from(*expert)] = step + 1);
            guard.step((step, needed), missed);
        }
        cache.serve(needed, guard.as_mut());
        if prefetches {
            needed.iter().for_each(|expert| cache.expect(*expert));
        }
        fetched.push(Fetched { ahead, missed: missed as u16 });
        step += 1;
    }
    Outcome { resident, fetched }
}

/// As [`run`], by a policy that predicts nothing.
fn without(
    needs: &Needs,
    (slots, start): (usize, Start),
    policy: Policy,
    is_own: &dyn Fn(u16) -> bool,
) -> Outcome {
    let mut cache = Slots::new(needs.n_experts(), slots.max(1));
    let resident = match start {
        Start::Empty => Vec::new(),
        Start::Full => most_needed(needs, cache.n, is_own),
    };
    resident.iter().for_each(|expert| cache.hold(*expert));
    let mut fetched = Fetches::default();
    let mut steps = needs.steps();
    let mut step = 0;
    while let Some(needed) = steps.step() {
        let missed = cache.n_missing(needed);
        for expert in needed {
            let index = usize::from(*expert);
            let mut key = u64::from(NEVER - step);
            if policy == Policy::LeastFrequent {
                cache.uses[index] += 1;
                key |= u64::from(NEVER - cache.uses[index]) << 32;
            }
            cache.key[index] = key;
        }
        cache.serve(needed, None);
        fetched.push(Fetched { ahead: 0, missed: missed as u16 });
        step += 1;
    }
    Outcome { resident, fetched }
}

/// The experts that may be held.
fn all(needs: &Needs, is_own: &dyn Fn(u16) -> bool) -> Vec<u16> {
    (0..needs.n_experts() as u16).filter(|expert| is_own(*expert)).collect()
}

/// So many of the experts that most steps need, in order.
fn most_needed(needs: &Needs, slots: usize, is_own: &dyn Fn(u16) -> bool) -> Vec<u16> {
    let unused: Vec<u64> = needs.counts().iter().map(|count| u64::MAX - count).collect();
    least(&unused, slots, is_own)
}

/// So many of the experts of the least keys, in order.
fn least(keys: &[u64], slots: usize, is_own: &dyn Fn(u16) -> bool) -> Vec<u16> {
    let mut experts: Vec<u16> = (0..keys.len() as u16).filter(|expert| is_own(*expert)).collect();
    experts.sort_by_key(|expert| (keys[usize::from(*expert)], *expert));
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
