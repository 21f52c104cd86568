//! Rates as whole numbers, so that sums and comparisons are exact.

use super::question::{PRICE_PARTS, Question, WorkerType};

/// The greatest rate of a question has so many binary digits: sums of a million workers of thousands of
/// types fit into 128 bits, and rates down to 2^-27 of the greatest are exact.
const DIGITS: i32 = 80;
/// A sum that misses the rate asked for by less than 2^-40 (9.1e-13) of it counts as that rate: decimals
/// such as ten times 0.7 miss theirs by less.
const SLACK_DIGITS: u32 = 40;

/// How rates become whole numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    factor: f64,
}

impl Scale {
    /// For the rates of a question, which was checked.
    pub(super) fn of(question: &Question) -> Self {
        let rates = question.types.iter().map(WorkerType::rate);
        let greatest = rates.chain(question.requests_per_s).fold(f64::MIN_POSITIVE, f64::max);
        let exponent = greatest.log2().floor() as i32;
        Self { factor: 2.0_f64.powi(DIGITS - exponent.clamp(-64, 64)) }
    }

    /// A rate, rounded down.
    pub(super) fn units(self, rate: f64) -> i128 {
        (rate * self.factor) as i128
    }

    /// The rate of a sum.
    pub(super) fn rate(self, units: i128) -> f64 {
        units as f64 / self.factor
    }
}

/// What a sum must reach to count as some rate.
pub(super) fn enough(units: i128) -> i128 {
    units - (units >> SLACK_DIGITS)
}

/// A price in whole parts.
pub(super) fn parts(price: f64) -> u64 {
    (price * PRICE_PARTS).round() as u64
}

/// A limit of prices in whole parts, rounded down but for the error of a decimal.
pub(super) fn limit_parts(price: f64) -> u64 {
    (price * PRICE_PARTS + 1e-3).floor() as u64
}

/// Workers of some rate that serve a demand, at least 1.
pub(super) fn workers(demand: i128, rate: i128) -> u64 {
    let count = (demand + rate - 1) / rate;
    u64::try_from(count.max(1)).unwrap_or(u64::MAX)
}
