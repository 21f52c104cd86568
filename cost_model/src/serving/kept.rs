//! Prices that are worked out once.

use std::sync::atomic::{AtomicU64, Ordering};

/// Seconds by a small number, each worked out once.
#[derive(Debug)]
pub(super) struct Kept(Box<[AtomicU64]>);

impl Kept {
    /// Of numbers below `n`; those of others are worked out each time.
    pub(super) fn new(n: usize) -> Self {
        Self((0..n).map(|_| AtomicU64::new(0)).collect())
    }

    /// Bits of zero stand for what is not known: seconds of something are more.
    pub(super) fn get(&self, at: u64, seconds: impl FnOnce() -> f64) -> f64 {
        let Some(slot) = usize::try_from(at).ok().and_then(|at| self.0.get(at)) else {
            return seconds();
        };
        match slot.load(Ordering::Relaxed) {
            0 => {
                let seconds = seconds();
                slot.store(seconds.to_bits(), Ordering::Relaxed);
                seconds
            }
            bits => f64::from_bits(bits),
        }
    }
}
