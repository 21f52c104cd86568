//! Fits constants to measured times: robust, bounded, deterministic; says which are determined.
//!
//! Minimises the soft absolute value of `ln(predicted / measured)` by Levenberg-Marquardt. The
//! logarithm of each constant is mapped to the whole line by a logistic curve between its bounds.

use levenberg_marquardt::{LeastSquaresProblem, LevenbergMarquardt};
use nalgebra::storage::Owned;
use nalgebra::{DMatrix, DVector, Dyn};

use crate::statistic::median;

/// Log error below which the loss is quadratic and above which it is linear.
const SOFT: f64 = 0.05;
/// Log error of a prediction that is no positive number.
const HOPELESS: f64 = 20.0;
/// Step of the difference quotients.
const STEP: f64 = 1e-5;
/// Furthest point of the whole line.
const FURTHEST: f64 = 12.0;
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
    let mut best: Option<(f64, DVector<f64>)> = None;
    for start in starts {
        let on_line = start.iter().map(|share| (share / (1.0 - share)).ln());
        let at = DVector::from_iterator(constants.len(), on_line.take(constants.len()));
        let search = LevenbergMarquardt::new().with_ftol(1e-10).with_xtol(1e-8).with_patience(60);
        let (problem, _) = search.minimize(Problem { constants, measured, predict, at });
        let loss = problem.residuals_at(&problem.at).norm_squared();
        if loss.is_finite() && best.as_ref().is_none_or(|(least, _)| loss < *least) {
            best = Some((loss, problem.at));
        }
    }
    let (_, at) = best?;
    let problem = Problem { constants, measured, predict, at };
    Some(problem.report())
}

struct Problem<'a> {
    constants: &'a [Constant],
    measured: &'a [f64],
    predict: &'a dyn Fn(&[f64], usize) -> f64,
    at: DVector<f64>,
}

impl Problem<'_> {
    fn values(&self, at: &DVector<f64>) -> Vec<f64> {
        let value = |(constant, u): (&Constant, &f64)| {
            let share = 1.0 / (1.0 + (-u.clamp(-FURTHEST, FURTHEST)).exp());
            let (low, high) = (constant.lower.ln(), constant.upper.ln());
            (low + (high - low) * share).exp().clamp(constant.lower, constant.upper)
        };
        self.constants.iter().zip(at.iter()).map(value).collect()
    }

    fn log_errors(&self, values: &[f64]) -> Vec<f64> {
        let log = |(row, measured): (usize, &f64)| {
            let log = ((self.predict)(values, row) / measured).ln();
            if log.is_finite() { log.clamp(-HOPELESS, HOPELESS) } else { HOPELESS }
        };
        self.measured.iter().enumerate().map(log).collect()
    }

    fn residuals_at(&self, at: &DVector<f64>) -> DVector<f64> {
        let errors = self.log_errors(&self.values(at));
        DVector::from_iterator(errors.len(), errors.into_iter().map(soft))
    }

    fn report(&self) -> Fit {
        let values = self.values(&self.at);
        let logs = self.log_errors(&values);
        let targets: Vec<f64> = self.measured.iter().map(|time| time.ln()).collect();
        let mean = targets.iter().sum::<f64>() / targets.len().max(1) as f64;
        let total: f64 = targets.iter().map(|target| (target - mean).powi(2)).sum();
        let rest: f64 = logs.iter().map(|log| log * log).sum();
        Fit {
            unidentified: self.unidentified(&values, &logs),
            r_squared: if total > 0.0 { 1.0 - rest / total } else { 0.0 },
            errors: logs.iter().map(|log| (log.exp() - 1.0).abs()).collect(),
            values,
        }
    }

    /// Standard errors from the curvature at the best point, in logarithms, with the spread of the
    /// errors taken from their median.
    fn unidentified(&self, values: &[f64], logs: &[f64]) -> Vec<String> {
        let mut jacobian = DMatrix::zeros(logs.len(), values.len());
        for column in 0..values.len() {
            let mut there = values.to_vec();
            if let Some(value) = there.get_mut(column) {
                *value *= 1.0 + STEP;
            }
            for (row, log) in self.log_errors(&there).into_iter().enumerate() {
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
        let named = self.constants.iter().zip(values).enumerate();
        named
            .filter(|(column, (constant, value))| is_free(*column) || is_stuck(constant, **value))
            .map(|(_, (constant, _))| constant.name.to_owned())
            .collect()
    }
}

/// A residual whose square is `2 s^2 (sqrt(1 + (x / s)^2) - 1)`, the soft absolute value of `x`.
fn soft(x: f64) -> f64 {
    let rho = 2.0 * SOFT * SOFT * ((1.0 + (x / SOFT).powi(2)).sqrt() - 1.0);
    rho.max(0.0).sqrt().copysign(x)
}

impl LeastSquaresProblem<f64, Dyn, Dyn> for Problem<'_> {
    type ResidualStorage = Owned<f64, Dyn>;
    type JacobianStorage = Owned<f64, Dyn, Dyn>;
    type ParameterStorage = Owned<f64, Dyn>;

    fn set_params(&mut self, at: &DVector<f64>) {
        self.at.copy_from(at);
    }

    fn params(&self) -> DVector<f64> {
        self.at.clone()
    }

    fn residuals(&self) -> Option<DVector<f64>> {
        Some(self.residuals_at(&self.at))
    }

    fn jacobian(&self) -> Option<DMatrix<f64>> {
        let here = self.residuals_at(&self.at);
        let mut jacobian = DMatrix::zeros(here.len(), self.at.len());
        for column in 0..self.at.len() {
            let mut there = self.at.clone();
            let step = if self.at[column] > 0.0 { -STEP } else { STEP };
            there[column] += step;
            jacobian.set_column(column, &((self.residuals_at(&there) - &here) / step));
        }
        Some(jacobian)
    }
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
