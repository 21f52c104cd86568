//! Corrects constants from measured steps, pulled towards what is believed.

use ir::stack::Stack;

use super::constants::{Constant, Constants};
use super::corrections::Corrections;
use super::run::Run;
use super::step::closed_forms;
use super::system::System;
use crate::numeric::least_squares::{Parameter, fit as fit_values};

/// A measured step. Samples of one fit may come from several systems, if these stand together.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// What ran.
    pub run: &'a Run,
    /// On what.
    pub system: &'a System,
    /// How long a step took, in seconds.
    pub time_s: f64,
}

/// A constant that a fit may change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Free {
    /// Which one.
    pub constant: Constant,
    /// Standard deviation of `ln(value / start)` that is believed beforehand.
    pub log_sd: f64,
}

impl Free {
    /// A constant with its usual pull, [`Constant::log_sd`].
    #[must_use]
    pub const fn usual(constant: Constant) -> Self {
        Self { constant, log_sd: constant.log_sd() }
    }
}

/// How far a value may go from its start: this many times as much, and as little.
const FURTHEST: f64 = 12.0;
/// How much more than its start the bound of a constant is that starts at its greatest value.
const INSIDE: f64 = 1.000_001;

/// The constants that explain measured steps best: `fixed`, with those in `free` changed, each
/// pulled towards its value in `fixed`.
///
/// Robust and bounded, see [`crate::numeric::least_squares`]; steps are taken in closed form
/// ([`super::step::Steps::closed_form_s`]). Without samples, `fixed`.
#[must_use]
pub fn fit(samples: &[Sample<'_>], stack: &Stack, fixed: &Constants, free: &[Free]) -> Constants {
    let parameter = |free: &Free| {
        let start = fixed.get(free.constant);
        let most = free.constant.most().filter(|most| *most > start);
        let most = most.unwrap_or(start * FURTHEST);
        Parameter::new(start, start / FURTHEST, most).pulled(free.log_sd)
    };
    let parameters: Vec<Parameter> = free.iter().map(parameter).collect();
    fit_parameters(samples, stack, fixed, free, &parameters)
}

/// As [`fit`], where no constant goes further than `believed` standard deviations of its belief.
#[must_use]
pub fn fit_within(
    samples: &[Sample<'_>],
    stack: &Stack,
    fixed: &Constants,
    free: &[Free],
    believed: f64,
) -> Constants {
    let parameter = |free: &Free| {
        let start = fixed.get(free.constant);
        let furthest = (believed * free.log_sd).exp();
        // A start has to lie inside its bounds.
        let most = free.constant.most().map_or(f64::INFINITY, |most| most.max(start * INSIDE));
        Parameter::new(start, start / furthest, most.min(start * furthest)).pulled(free.log_sd)
    };
    let parameters: Vec<Parameter> = free.iter().map(parameter).collect();
    fit_parameters(samples, stack, fixed, free, &parameters)
}

fn fit_parameters(
    samples: &[Sample<'_>],
    stack: &Stack,
    fixed: &Constants,
    free: &[Free],
    parameters: &[Parameter],
) -> Constants {
    let measured: Vec<f64> = samples.iter().map(|sample| sample.time_s).collect();
    let none = Corrections::default();
    let fitted = fit_values(parameters, &measured, |values, predicted| {
        let constants = changed(fixed, free, values);
        predicted.copy_from_slice(&closed_forms(samples, stack, &constants, &none));
    });
    changed(fixed, free, &fitted.values)
}

fn changed(fixed: &Constants, free: &[Free], values: &[f64]) -> Constants {
    let mut constants = fixed.clone();
    for (free, value) in free.iter().zip(values) {
        constants.set(free.constant, *value);
    }
    constants
}
