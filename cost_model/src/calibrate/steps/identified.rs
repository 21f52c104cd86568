//! Which constants measured steps tell, and their values.
//!
//! Around the best point the logarithm of a step is linear in the logarithms of the constants. With
//! the spread of the errors as noise and [`Constant::log_sd`] as belief, each constant has a
//! standard error afterwards. The one that gained least on its belief takes its nominal value and
//! the others are fitted again, until the rows tell all that are left.

use ir::stack::Stack;
use nalgebra::DMatrix;

use super::{DANGEROUS, NORMAL, UNTOLD};
use crate::numeric::least_squares::NOISE;
use crate::runs::forms::constants::{Constant, Constants};
use crate::runs::forms::corrections::Corrections;
use crate::runs::forms::fit::{Free, Sample, fit_within};
use crate::runs::forms::step::closed_forms;

/// Standard deviations of its belief that a constant may move: on [`DANGEROUS`] rows or more, and
/// on fewer.
pub const BELIEVED: f64 = 3.0;
/// See [`BELIEVED`].
pub const BELIEVED_OF_FEW: f64 = 1.0;
/// Rows that each constant needs.
pub const ROWS_PER_CONSTANT: usize = 2;
/// Change of the logarithm of any step per change of the logarithm of a constant below which no
/// step depends on it.
const FELT: f64 = 1e-3;
/// Step of the difference quotients, in the logarithm of a constant.
const STEP: f64 = 1e-3;

/// What rows say about a constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Identified {
    /// They tell it.
    Fitted {
        /// Standard error of the logarithm of its value.
        log_error: f64,
    },
    /// They depend on it and yet do not tell it; it is nominal.
    TooLittle,
    /// No row depends on it; it is nominal.
    NoEffect,
}

/// Values, and what the rows say about each constant in the order of [`Constant::ALL`]; `n_told` of the
/// rows are of different configurations.
#[must_use]
pub fn identified(
    samples: &[Sample<'_>],
    n_told: usize,
    stack: &Stack,
    nominal: &Constants,
) -> (Constants, Vec<Identified>) {
    let mut identified = vec![Identified::NoEffect; Constant::ALL.len()];
    let slopes = slopes(samples, stack, nominal, &Constant::ALL);
    let felt = |column: usize| slopes.column(column).amax();
    let mut free: Vec<(usize, Constant)> = Constant::ALL.into_iter().enumerate().collect();
    free.retain(|(at, _)| felt(*at) > FELT);
    for (at, _) in &free {
        set(&mut identified, *at, Identified::TooLittle);
    }
    // With few rows the constants that move steps most are looked at.
    free.sort_by(|a, b| {
        let weight = |(at, constant): &(usize, Constant)| {
            slopes.column(*at).norm_squared().sqrt() * constant.log_sd()
        };
        weight(b).total_cmp(&weight(a)).then(a.0.cmp(&b.0))
    });
    free.truncate(n_told / ROWS_PER_CONSTANT);
    free.sort_by_key(|(at, _)| *at);
    let believed = if n_told < DANGEROUS { BELIEVED_OF_FEW } else { BELIEVED };
    loop {
        let chosen: Vec<Free> = free.iter().map(|(_, constant)| Free::usual(*constant)).collect();
        let constants = fit_within(samples, stack, nominal, &chosen, believed);
        let errors = errors(samples, stack, &constants, &free);
        let share = |(error, (_, constant)): (&f64, &(usize, Constant))| error / constant.log_sd();
        let shares = errors.iter().zip(&free).map(share).enumerate();
        let least = shares.max_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        match least {
            Some((position, share)) if share > UNTOLD => drop(free.remove(position)),
            _ => {
                for ((at, _), log_error) in free.iter().zip(errors) {
                    set(&mut identified, *at, Identified::Fitted { log_error });
                }
                return (constants, identified);
            }
        }
    }
}

fn set(identified: &mut [Identified], at: usize, value: Identified) {
    if let Some(entry) = identified.get_mut(at) {
        *entry = value;
    }
}

/// Changes of the logarithms of steps (rows) per change of those of constants (columns).
pub(super) fn slopes(
    samples: &[Sample<'_>],
    stack: &Stack,
    constants: &Constants,
    chosen: &[Constant],
) -> DMatrix<f64> {
    let none = Corrections::default();
    let here = closed_forms(samples, stack, constants, &none);
    let mut slopes = DMatrix::zeros(here.len(), chosen.len());
    for (column, constant) in chosen.iter().enumerate() {
        // Downwards: a derating may be at its greatest value.
        let there = constants.clone().with(*constant, constants.get(*constant) * (-STEP).exp());
        let moved = closed_forms(samples, stack, &there, &none);
        for (row, (moved, here)) in moved.iter().zip(&here).enumerate() {
            let slope = (here / moved).ln() / STEP;
            slopes[(row, column)] = if slope.is_finite() { slope } else { 0.0 };
        }
    }
    slopes
}

/// Standard errors of the logarithms of free constants, belief included.
fn errors(
    samples: &[Sample<'_>],
    stack: &Stack,
    constants: &Constants,
    free: &[(usize, Constant)],
) -> Vec<f64> {
    let chosen: Vec<Constant> = free.iter().map(|(_, constant)| *constant).collect();
    let noise = noise(samples, stack, constants);
    let information = information(&(slopes(samples, stack, constants, &chosen) / noise), &chosen);
    let believed = || chosen.iter().map(|constant| constant.log_sd()).collect();
    let Some(factors) = information.cholesky() else { return believed() };
    factors.inverse().diagonal().iter().map(|variance| variance.max(0.0).sqrt()).collect()
}

/// Standard deviation of the logarithms of steps around what constants predict.
pub(super) fn noise(samples: &[Sample<'_>], stack: &Stack, constants: &Constants) -> f64 {
    let predicted = closed_forms(samples, stack, constants, &Corrections::default());
    let off = |(sample, time): (&Sample<'_>, &f64)| (time / sample.time_s).ln().abs();
    let mut sizes: Vec<f64> = samples.iter().zip(&predicted).map(off).collect();
    sizes.sort_by(f64::total_cmp);
    // Fitted rows look better than they are, so the noise is no less than what a fit reckons with.
    sizes.get(sizes.len() / 2).map_or(NOISE, |size| (size * NORMAL).max(NOISE))
}

/// What slopes over their noise say of constants, with what is believed of these.
pub(super) fn information(slopes: &DMatrix<f64>, constants: &[Constant]) -> DMatrix<f64> {
    let mut information = slopes.transpose() * slopes;
    for (at, constant) in constants.iter().enumerate() {
        information[(at, at)] += constant.log_sd().powi(-2);
    }
    information
}
