//! Bounds from the amount of work alone.
//!
//! **Weighted work.** Give each device type a weight `w >= 0`. In a plan that takes `T`, no device
//! is busy for longer than `T`, so the weighted busy time of all devices is at most
//! `T x sum of weights over devices`. It is at least the sum over units (colocation groups, and
//! ops in none) of the least weighted time of the unit. So
//! `T >= sum over units of min over types (w x time) / sum over devices of w`.
//! This holds for every choice of weights; the best choice gives the optimum of the linear program
//! that divides units among devices freely (Lenstra, Shmoys, Tardos 1990, its relaxation's dual).
//! Weights that are 1 on a set of devices and 0 elsewhere count what can run only in that set.
//!
//! **Pigeonhole.** Of the `k m + 1` longest units, some device of `m` runs at least `k + 1`, no
//! less than the `k + 1` shortest of them.

use ir::id::OpId;

use super::device_types::{DeviceTypes, distinct_sets};
use crate::ops::problem::{Problem, UNSUPPORTED};

/// Weights are integers up to this, so that the bound is exact.
const SCALE: f64 = 1_048_576.0;
/// At most so many sets of devices are tried.
const MAX_SETS: usize = 12;
/// Steps towards the best weights, and a cap on steps x units x types.
const N_STEPS: usize = 60;
const MAX_EFFORT: usize = 20_000_000;

/// Units and their least times.
pub(super) struct Work {
    /// `unit * n_types + type`.
    time: Vec<u64>,
    n_types: usize,
    /// Devices of each type on which anything can be placed.
    n_usable: Vec<u64>,
    /// Choices of weights by type, for this bound and for the windows.
    pub(super) weightings: Vec<Vec<u64>>,
}

impl Work {
    pub(super) fn new(problem: &Problem, types: &DeviceTypes) -> Self {
        let n_types = types.n();
        let mut time = Vec::new();
        for unit in problem.unit_slices() {
            for c in 0..n_types {
                time.push(unit_time(types, unit, c));
            }
        }
        let sets = distinct_sets(problem);
        let n_usable = types
            .members
            .iter()
            .map(|devices| {
                let usable =
                    |d: &&ir::id::DeviceId| sets.iter().any(|op| problem.can_place(*op, **d));
                devices.iter().filter(usable).count() as u64
            })
            .collect();
        let mut work = Self { time, n_types, n_usable, weightings: vec![vec![1; n_types]] };
        for &op in sets.iter().take(MAX_SETS) {
            let inside: Vec<u64> =
                types.times(op).iter().map(|time| u64::from(*time != UNSUPPORTED)).collect();
            if !work.weightings.contains(&inside) {
                work.weightings.push(inside);
            }
        }
        if n_types > 1 {
            let best = work.ascend();
            if !work.weightings.contains(&best) {
                work.weightings.push(best);
            }
        }
        work
    }

    fn units(&self) -> impl Iterator<Item = &[u64]> {
        self.time.chunks_exact(self.n_types.max(1))
    }

    /// Sum of the weights over usable devices.
    pub(super) fn capacity(&self, weights: &[u64]) -> u128 {
        weights.iter().zip(&self.n_usable).map(|(w, n)| u128::from(*w) * u128::from(*n)).sum()
    }

    /// The weighted work bound under the best of the weightings.
    pub(super) fn fractional(&self) -> u64 {
        self.weightings.iter().map(|weights| self.weighted(weights)).max().unwrap_or(0)
    }

    fn weighted(&self, weights: &[u64]) -> u64 {
        let total: u128 = self.units().map(|times| least_weighted(weights, times)).sum();
        let capacity = self.capacity(weights);
        if capacity == 0 {
            return 0;
        }
        u64::try_from(total.div_ceil(capacity)).unwrap_or(u64::MAX)
    }

    /// Raises the weights of types that carry more than their share of the work, lowers the
    /// others, and returns the best weights seen. Any outcome is a valid choice.
    fn ascend(&self) -> Vec<u64> {
        let mut weights: Vec<f64> = vec![1.0; self.n_types];
        let mut best = (0.0, weights.clone());
        let n_steps = N_STEPS.min(MAX_EFFORT / self.time.len().max(1));
        for step in 0..n_steps {
            let mut load = vec![0.0; self.n_types];
            let mut total = 0.0;
            for times in self.units() {
                let least = times
                    .iter()
                    .zip(&weights)
                    .enumerate()
                    .filter(|(_, (time, _))| **time != UNSUPPORTED)
                    .map(|(c, (time, weight))| (c, *time as f64, *time as f64 * weight))
                    .min_by(|a, b| a.2.total_cmp(&b.2));
                if let Some((c, time, weighted)) = least {
                    load[c] += time;
                    total += weighted;
                }
            }
            let n = |c: usize| self.n_usable[c] as f64;
            let capacity: f64 = (0..self.n_types).map(|c| weights[c] * n(c)).sum();
            if capacity <= 0.0 || total <= 0.0 {
                break;
            }
            let value = total / capacity;
            if value > best.0 {
                best = (value, weights.clone());
            }
            let eta = 0.5 / (1.0 + step as f64 / 4.0);
            for c in (0..self.n_types).filter(|c| self.n_usable[*c] > 0) {
                let excess = (load[c] / n(c) / value - 1.0).clamp(-1.0, 1.0);
                weights[c] = (weights[c] * (eta * excess).exp()).clamp(1e-9, 1e9);
            }
        }
        let top = best.1.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        best.1.iter().map(|weight| (weight / top * SCALE).round() as u64).collect()
    }

    /// Greatest of the least times of the units.
    pub(super) fn dearest(&self) -> u64 {
        self.units().filter_map(|times| times.iter().copied().min()).max().unwrap_or(0)
    }

    /// Sum of the least times of the units.
    pub(super) fn least_sum(&self) -> u128 {
        self.units().filter_map(|times| times.iter().copied().min()).map(u128::from).sum()
    }

    /// The pigeonhole bound.
    pub(super) fn pigeonhole(&self) -> u64 {
        let n_devices: u64 = self.n_usable.iter().sum();
        let Ok(m) = usize::try_from(n_devices) else { return 0 };
        let mut least: Vec<u64> =
            self.units().filter_map(|times| times.iter().copied().min()).collect();
        least.sort_unstable_by(|a, b| b.cmp(a));
        let mut before: Vec<u128> = vec![0];
        let mut sum = 0u128;
        for time in &least {
            sum += u128::from(*time);
            before.push(sum);
        }
        let mut best = 0;
        let mut k = 0;
        while m > 0 && k * m < least.len() {
            let last = k * m;
            best = best.max(before[last + 1] - before[last - k]);
            k += 1;
        }
        u64::try_from(best).unwrap_or(u64::MAX)
    }
}

fn unit_time(types: &DeviceTypes, unit: &[OpId], c: usize) -> u64 {
    unit.iter().fold(0u64, |sum, op| match types.times(*op)[c] {
        UNSUPPORTED => UNSUPPORTED,
        time => sum.saturating_add(time),
    })
}

/// The least weighted time over the types where there is one; 0 if there is none.
pub(super) fn least_weighted(weights: &[u64], times: &[u64]) -> u128 {
    times
        .iter()
        .zip(weights)
        .filter(|(time, _)| **time != UNSUPPORTED)
        .map(|(time, weight)| u128::from(*time) * u128::from(*weight))
        .min()
        .unwrap_or(0)
}
