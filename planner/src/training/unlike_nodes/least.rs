//! What stages that are not chosen yet take at least.
//!
//! With `m` micro-batches, a stage of `x` blocks is busy for `m` times `x u` seconds, where `u` is what
//! a block takes on one of its replicas of `t` devices with `s` of the `b` samples, and each micro-batch
//! goes through all stages. So a step `T` has `T >= W + sum x u` (`W`: what the chosen stages take) and,
//! for all devices of a class, `sum x u t b / s <= N T / m`. By linear duality, for any price `l` of a
//! block and the tolls `d` of the classes' devices under which no replica does a block for less,
//! `T >= (W + l L) m / (m + d N)` for the `L` blocks that are left.

/// Steps between prices of a block.
const STEP: f64 = 1.02;
/// Most prices.
const MOST_PRICES: usize = 2_000;
/// One part in a million for the rounding of the judge.
const ROUNDING: f64 = 1.0 - 1e-6;

/// Seconds of a block, and of the head, on one replica.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit {
    /// Samples for each of its devices.
    pub(super) share: f64,
    /// Fewer by the time in which it updates its blocks, which it has none for passes in.
    pub(super) block_share: f64,
    /// Of a block.
    pub(super) block_s: f64,
    /// Of the head.
    pub(super) head_s: f64,
}

impl Unit {
    /// Adds itself to those of which none is better in all respects.
    pub(super) fn add_to(self, others: &mut Vec<Self>) {
        let is_better = |one: &Self, other: &Self| {
            one.share >= other.share
                && one.block_share >= other.block_share
                && one.block_s <= other.block_s
                && one.head_s <= other.head_s
        };
        if !others.iter().any(|other| is_better(other, &self)) {
            others.retain(|other| !is_better(&self, other));
            others.push(self);
        }
    }
}

/// A price of a block with what it makes of the rest.
struct Price {
    block_s: f64,
    head_s: f64,
    /// By class, of a device.
    tolls: Vec<f64>,
}

/// The prices for micro-batches of some size.
pub(super) struct Least {
    n_micro_batches: f64,
    prices: Vec<Price>,
}

impl Least {
    /// By class what one replica may be; samples of a micro-batch and how many there are.
    pub(super) fn of(classes: &[Vec<Unit>], (samples, n_micro_batches): (u64, u64)) -> Self {
        let (b, m) = (samples as f64, n_micro_batches as f64);
        let all = || classes.iter().flatten();
        let least = all().map(|unit| unit.block_s).fold(f64::INFINITY, f64::min);
        let most = all().map(|unit| unit.block_s * (1.0 + 50.0 * m * b / unit.block_share));
        let most = most.fold(0.0, f64::max);
        let mut prices = Vec::new();
        let mut block_s = least;
        while block_s.is_finite() && block_s > 0.0 && block_s <= most && prices.len() < MOST_PRICES
        {
            prices.push(Price::of(block_s, classes, b));
            block_s *= STEP;
        }
        Self { n_micro_batches: m, prices }
    }

    /// Seconds of a step whose chosen stages take so long, where so much work of blocks, and perhaps the
    /// head, is left for so many devices of each class.
    pub(super) fn seconds(
        &self,
        worst_s: f64,
        (work, is_head_left): (f64, bool),
        devices: &[usize],
    ) -> f64 {
        let at = |price: &Price| {
            let tolls: f64 = price.tolls.iter().zip(devices).map(|(d, n)| d * *n as f64).sum();
            let head_s = if is_head_left { price.head_s } else { 0.0 };
            let work_s = worst_s + price.block_s * work + head_s;
            work_s * self.n_micro_batches / (self.n_micro_batches + tolls)
        };
        // It rises and then falls; each price holds, so that another one than the best is only lower.
        let (mut low, mut high) = (0, self.prices.len());
        while high - low > 3 {
            let third = (high - low) / 3;
            let (a, b) = (low + third, high - 1 - third);
            match at(&self.prices[a]) < at(&self.prices[b]) {
                true => low = a,
                false => high = b + 1,
            }
        }
        ROUNDING * self.prices[low..high].iter().map(at).fold(worst_s, f64::max)
    }
}

impl Price {
    fn of(block_s: f64, classes: &[Vec<Unit>], samples: f64) -> Self {
        let toll = |units: &Vec<Unit>| {
            let of = |unit: &Unit| (block_s / unit.block_s - 1.0) * unit.block_share / samples;
            units.iter().map(of).fold(0.0, f64::max)
        };
        let tolls: Vec<f64> = classes.iter().map(toll).collect();
        let heads = classes.iter().zip(&tolls).flat_map(|(units, toll)| {
            units.iter().map(move |unit| unit.head_s * (1.0 + toll * samples / unit.share))
        });
        let head_s = heads.fold(f64::INFINITY, f64::min);
        Self { block_s, head_s: if head_s.is_finite() { head_s } else { 0.0 }, tolls }
    }
}
