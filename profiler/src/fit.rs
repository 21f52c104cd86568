//! Fits constants to measured times: robust, bounded, deterministic; says which are determined.
//!
//! By [`cost_model::numeric::least_squares`], in the logarithms of the constants.

use cost_model::numeric::least_squares::{Parameter, fit_from, log_ratio};
use nalgebra::DMatrix;

use crate::statistic::median;

/// Step of the difference quotients.
const STEP: f64 = 1e-5;
/// Standard error of the logarithm of a constant from which on it counts as undetermined: the
/// samples would bear half of it as well as one and a half.
const UNDETERMINED: f64 = 0.5;
/// Share of the logarithmic range at either end where a constant counts as stuck at its bound.
const EDGE: f64 = 0.005;

/// A constant to fit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Constant {
    /// Name in reports.
    pub(crate) name: &'static str,
    /// Least value, positive.
    pub(crate) lower: f64,
    /// Greatest value.
    pub(crate) upper: f64,
    /// Bounds at which it may stay: there, the value itself is meaningful.
    pub(crate) edge: Edge,
}

/// What it means that a constant ends up at a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    /// The samples pull past it: the value is not determined.
    Open,
    /// The bound is where the form ends; the value is good.
    Closed,
}

/// A fit.
#[derive(Clone, Debug)]
pub(crate) struct Fit {
    /// Values in the order of the constants.
    pub(crate) values: Vec<f64>,
    /// Names of constants that the samples do not determine.
    pub(crate) unidentified: Vec<String>,
    /// Share of the variance of the logarithm of time that is explained.
    pub(crate) r_squared: f64,
    /// Errors of time as shares, in the order of the samples.
    pub(crate) errors: Vec<f64>,
}

/// Fits from several starts, each a share of every constant's logarithmic range, keeps the best.
pub(crate) fn fit(
    constants: &[Constant],
    starts: &[Vec<f64>],
    measured: &[f64],
    predict: &dyn Fn(&[f64], usize) -> f64,
) -> Option<Fit> {
    if measured.len() < constants.len() {
        return None;
    }
    let logarithm = |(constant, share): (&Constant, &f64)| {
        let (low, high) = (constant.lower.ln(), constant.upper.ln());
        Parameter::new(low + (high - low) * share, low, high)
    };
    let starts: Vec<Vec<Parameter>> =
        starts.iter().map(|start| constants.iter().zip(start).map(logarithm).collect()).collect();
    let of_logarithms = |logs: &[f64]| -> Vec<f64> {
        let value =
            |(constant, log): (&Constant, &f64)| log.exp().clamp(constant.lower, constant.upper);
        constants.iter().zip(logs).map(value).collect()
    };
    let found = fit_from(&starts, measured, |logs, predicted| {
        let values = of_logarithms(logs);
        predicted.iter_mut().enumerate().for_each(|(row, time)| *time = predict(&values, row));
    });
    let values = of_logarithms(&found.values);
    let logs = log_errors(&values, measured, predict);
    let targets: Vec<f64> = measured.iter().map(|time| time.ln()).collect();
    let mean = targets.iter().sum::<f64>() / targets.len().max(1) as f64;
    let total: f64 = targets.iter().map(|target| (target - mean).powi(2)).sum();
    let rest: f64 = logs.iter().map(|log| log * log).sum();
    Some(Fit {
        unidentified: unidentified(constants, (&values, &logs), measured, predict),
        r_squared: if total > 0.0 { 1.0 - rest / total } else { 0.0 },
        errors: logs.iter().map(|log| (log.exp() - 1.0).abs()).collect(),
        values,
    })
}

fn log_errors(
    values: &[f64],
    measured: &[f64],
    predict: &dyn Fn(&[f64], usize) -> f64,
) -> Vec<f64> {
    let log = |(row, measured): (usize, &f64)| log_ratio(predict(values, row), *measured);
    measured.iter().enumerate().map(log).collect()
}

/// Standard errors from the curvature at the best point, in logarithms, with the spread of the
/// errors taken from their median.
fn unidentified(
    constants: &[Constant],
    (values, logs): (&[f64], &[f64]),
    measured: &[f64],
    predict: &dyn Fn(&[f64], usize) -> f64,
) -> Vec<String> {
    let mut jacobian = DMatrix::zeros(logs.len(), values.len());
    for column in 0..values.len() {
        let mut there = values.to_vec();
        if let Some(value) = there.get_mut(column) {
            *value *= 1.0 + STEP;
        }
        for (row, log) in log_errors(&there, measured, predict).into_iter().enumerate() {
            let here = logs.get(row).copied().unwrap_or(log);
            jacobian[(row, column)] = (log - here) / STEP;
        }
    }
    // 1.4826 turns the median of absolute values into a standard deviation of a normal law.
    let spread = median(logs.iter().map(|log| log.abs()).collect()).unwrap_or(1.0) * 1.4826;
    let curvature = jacobian.transpose() * &jacobian;
    let covariance = curvature.pseudo_inverse(1e-9).ok();
    let is_free = |column: usize| {
        let flat = jacobian.column(column).norm() < 1e-3;
        let variance = covariance.as_ref().map_or(f64::INFINITY, |c| c[(column, column)]);
        flat || spread.max(0.01) * variance.max(0.0).sqrt() > UNDETERMINED
    };
    let is_stuck = |constant: &Constant, value: f64| {
        let share = (value / constant.lower).ln() / (constant.upper / constant.lower).ln();
        constant.edge == Edge::Open && !(EDGE..=1.0 - EDGE).contains(&share)
    };
    let named = constants.iter().zip(values).enumerate();
    named
        .filter(|(column, (constant, value))| is_free(*column) || is_stuck(constant, **value))
        .map(|(_, (constant, _))| constant.name.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: [Constant; 2] = [
        Constant { name: "a", lower: 1e-3, upper: 1e3, edge: Edge::Open },
        Constant { name: "b", lower: 1e-3, upper: 1e3, edge: Edge::Open },
    ];

    #[test]
    fn a_line_is_found_through_outliers() {
        let mut measured: Vec<f64> = (1..=40).map(|x| 2.0 + 0.5 * f64::from(x)).collect();
        measured[7] *= 5.0;
        measured[23] *= 3.0;
        let predict = |v: &[f64], row: usize| v[0] + v[1] * (row as f64 + 1.0);
        let fit = fit(&LINE, &[vec![0.5, 0.5]], &measured, &predict).unwrap();
        assert!((fit.values[0] - 2.0).abs() < 0.05, "{:?}", fit.values);
        assert!((fit.values[1] - 0.5).abs() < 0.01, "{:?}", fit.values);
        assert!(fit.unidentified.is_empty());
        assert!((fit.errors[7] - 0.8).abs() < 0.01, "{}", fit.errors[7]);
    }

    #[test]
    fn constants_that_the_samples_do_not_determine_are_named() {
        // Only long rows: the start-up cost drowns.
        let measured: Vec<f64> =
            (1..=20).map(|x| f64::from(x) * 1e3 * (1.0 + 0.05 * f64::from(x % 3))).collect();
        let predict = |v: &[f64], row: usize| v[0] + v[1] * 1e3 * (row as f64 + 1.0);
        let fit = fit(&LINE, &[vec![0.5, 0.5]], &measured, &predict).unwrap();
        assert_eq!(fit.unidentified, ["a"], "{:?}", fit.values);
        assert!((fit.values[1] - 1.05).abs() < 0.06);
    }

    #[test]
    fn fewer_samples_than_constants_give_no_fit() {
        assert!(fit(&LINE, &[vec![0.5, 0.5]], &[1.0], &|_, _| 1.0).is_none());
    }
}
