//! Fits constants and tells which of them the samples determine.
//!
//! Around the best point the logarithms of the predictions are linear in the constants, each
//! counted in shares of its range. With the spread of the errors as noise, and the range as the
//! belief beforehand, a constant has a standard error; above [`UNTOLD`] of its range the samples
//! do not tell it. The least told one then takes its nominal value and the others are fitted again,
//! until all that are left are told. Of two constants that cannot be told apart one is thus kept.

use nalgebra::DMatrix;

use crate::numeric::least_squares::{Parameter, fit};

/// Standard error, as a share of its range, from which on a constant is not told. A value that is
/// only known to lie in its range has 0.29.
const UNTOLD: f64 = 0.25;
/// Least spread of errors that is believed, in logarithms of time.
const LEAST_SPREAD: f64 = 0.01;
/// Standard deviation of a normal law over the median of absolute values.
const NORMAL: f64 = 1.4826;
/// Step of the difference quotients, as a share of the range.
const STEP: f64 = 1e-4;
/// Samples that each constant needs.
const SAMPLES_PER_CONSTANT: usize = 2;

/// Constants, of which those that the samples do not tell have their nominal values.
#[derive(Clone, Debug, PartialEq)]
pub struct Identified {
    /// Values in the order of the parameters.
    pub values: Vec<f64>,
    /// Positions of the constants that kept their nominal value, in order.
    pub untold: Vec<usize>,
}

/// Fits parameters, in order of importance: with fewer than two samples for each, the last ones
/// stay nominal at once.
///
/// `predict` writes the times of all rows, in the order of `measured`, for given values.
pub fn identify(
    parameters: &[Parameter],
    nominal: &[f64],
    measured: &[f64],
    predict: impl Fn(&[f64], &mut [f64]),
) -> Identified {
    let n_free = (measured.len() / SAMPLES_PER_CONSTANT).min(parameters.len());
    let mut free: Vec<usize> = (0..n_free).collect();
    let values = loop {
        let chosen: Vec<Parameter> =
            free.iter().filter_map(|at| parameters.get(*at).copied()).collect();
        let fitted = fit(&chosen, measured, |found, out| {
            predict(&placed(nominal, &free, found), out);
        });
        let values = placed(nominal, &free, &fitted.values);
        match least_told(parameters, &free, &values, measured, &predict) {
            Some(position) => drop(free.remove(position)),
            None => break values,
        }
    };
    let untold = (0..parameters.len()).filter(|at| !free.contains(at)).collect();
    Identified { values, untold }
}

fn placed(nominal: &[f64], free: &[usize], found: &[f64]) -> Vec<f64> {
    let mut values = nominal.to_vec();
    for (at, value) in free.iter().zip(found) {
        if let Some(entry) = values.get_mut(*at) {
            *entry = *value;
        }
    }
    values
}

/// The position in `free` of the constant with the greatest standard error, if it is too great.
fn least_told(
    parameters: &[Parameter],
    free: &[usize],
    values: &[f64],
    measured: &[f64],
    predict: &impl Fn(&[f64], &mut [f64]),
) -> Option<usize> {
    let logs = |values: &[f64]| {
        let mut predicted = vec![0.0; measured.len()];
        predict(values, &mut predicted);
        predicted.iter().zip(measured).map(|(p, m)| (p / m).ln()).collect::<Vec<f64>>()
    };
    let here = logs(values);
    let mut sizes: Vec<f64> = here.iter().map(|log| log.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    let spread = (sizes.get(sizes.len() / 2)? * NORMAL).max(LEAST_SPREAD);
    let mut jacobian = DMatrix::<f64>::zeros(here.len(), free.len());
    for (column, at) in free.iter().enumerate() {
        let parameter = parameters.get(*at)?;
        let range = parameter.upper - parameter.lower;
        let value = *values.get(*at)?;
        let step = if value + STEP * range > parameter.upper { -STEP } else { STEP };
        let mut there = values.to_vec();
        *there.get_mut(*at)? = value + step * range;
        for (row, (log, before)) in logs(&there).into_iter().zip(&here).enumerate() {
            let slope = (log - before) / step;
            jacobian[(row, column)] = if slope.is_finite() { slope / spread } else { 0.0 };
        }
    }
    let n = free.len();
    let information = jacobian.transpose() * &jacobian + DMatrix::<f64>::identity(n, n);
    let covariance = information.cholesky()?.inverse();
    let errors = (0..n).map(|at| (covariance[(at, at)].max(0.0).sqrt(), at));
    let (error, at) = errors.max_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))?;
    (error > UNTOLD).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: [Parameter; 2] = [Parameter::new(5.0, 0.0, 20.0), Parameter::new(1.0, 0.0, 10.0)];

    fn line(n: u32, scale: f64) -> (Vec<f64>, Vec<f64>) {
        let x: Vec<f64> = (1..=n).map(|x| scale * f64::from(x)).collect();
        let t = x.iter().enumerate().map(|(i, x)| (7.0 + 2.0 * x) * (1.0 + 0.01 * (i % 3) as f64));
        (x.clone(), t.collect())
    }

    fn fitted(n: u32, scale: f64) -> Identified {
        let (x, t) = line(n, scale);
        identify(&LINE, &[5.0, 1.0], &t, |values, out| {
            for (out, x) in out.iter_mut().zip(&x) {
                *out = values[0] + values[1] * x;
            }
        })
    }

    #[test]
    fn both_constants_of_a_line_are_told() {
        let found = fitted(20, 1.0);
        assert!(found.untold.is_empty(), "{found:?}");
        assert!((found.values[0] - 7.0).abs() < 0.4 && (found.values[1] - 2.0).abs() < 0.1);
    }

    #[test]
    fn a_start_that_drowns_keeps_its_nominal_value() {
        let found = fitted(20, 1e4);
        assert_eq!((found.untold, found.values[0]), (vec![0], 5.0));
        assert!((found.values[1] - 2.0).abs() < 0.1);
    }

    #[test]
    fn too_few_samples_leave_the_last_constants_nominal() {
        let found = fitted(3, 1.0);
        assert_eq!((found.untold, found.values[1]), (vec![1], 1.0));
        assert_eq!(fitted(1, 1.0).untold, [0, 1]);
        assert_eq!(identify(&LINE, &[5.0, 1.0], &[], |_, _| {}).values, [5.0, 1.0]);
    }

    #[test]
    fn of_two_constants_that_do_the_same_one_is_kept() {
        let twins = [Parameter::new(1.0, 0.0, 10.0), Parameter::new(1.0, 0.0, 10.0)];
        let found = identify(&twins, &[1.0, 1.0], &[6.0; 12], |values, out| {
            out.fill(values[0] + values[1])
        });
        assert_eq!(found.untold.len(), 1);
        assert!((found.values[0] + found.values[1] - 6.0).abs() < 0.01, "{found:?}");
    }
}
