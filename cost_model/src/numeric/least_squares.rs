//! Fits the constants of a form to measured times: robust, bounded, deterministic.
//!
//! Minimises the soft absolute value of `ln(predicted / measured)` by Levenberg-Marquardt; each
//! constant is mapped to the whole line by a logistic curve between its bounds.

use levenberg_marquardt::{LeastSquaresProblem, LevenbergMarquardt};
use nalgebra::storage::Owned;
use nalgebra::{DMatrix, DVector, Dyn};

/// Log error below which the loss is quadratic and above which it is linear.
const SOFT: f64 = 0.03;
/// Log error of a prediction that is no positive number.
const HOPELESS: f64 = 20.0;
/// Log error of one row that a pull is weighed against.
pub(crate) const NOISE: f64 = 0.1;
/// Step of the difference quotient on the whole line.
const STEP: f64 = 1e-5;
/// Furthest point of the whole line, where a constant is at its bound for all purposes.
const FURTHEST: f64 = 12.0;
/// Evaluations at most, times the count of constants plus one.
const PATIENCE: usize = 40;

/// A constant to fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameter {
    /// First guess, strictly inside the bounds.
    pub start: f64,
    /// Least value.
    pub lower: f64,
    /// Greatest value.
    pub upper: f64,
    /// Standard deviation of `ln(value / start)` that is believed beforehand; `None` leaves the
    /// value free inside its bounds. Needs a positive start.
    pub pull: Option<f64>,
}

impl Parameter {
    /// A constant that is free inside its bounds.
    #[must_use]
    pub const fn new(start: f64, lower: f64, upper: f64) -> Self {
        Self { start, lower, upper, pull: None }
    }

    /// The same, pulled towards its start with a log standard deviation.
    #[must_use]
    pub const fn pulled(self, log_sd: f64) -> Self {
        Self { pull: Some(log_sd), ..self }
    }

    fn value(&self, on_line: f64) -> f64 {
        self.lower + (self.upper - self.lower) / (1.0 + (-on_line).exp())
    }

    fn on_line(&self) -> f64 {
        let share = (self.start - self.lower) / (self.upper - self.lower);
        let on_line = (share / (1.0 - share)).ln();
        if on_line.is_nan() { 0.0 } else { on_line.clamp(-FURTHEST / 2.0, FURTHEST / 2.0) }
    }
}

/// A fitted form.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// Values in the order of the parameters, each inside its bounds.
    pub values: Vec<f64>,
    /// Mean robust loss at these values.
    pub loss: f64,
}

/// Fits constants so that predictions come close to measured times.
///
/// `predict` writes the times of all rows, in the order of `measured`, for given values. The
/// result is the best point that the search met, the start at least.
pub fn fit(
    parameters: &[Parameter],
    measured: &[f64],
    predict: impl Fn(&[f64], &mut [f64]),
) -> Fitted {
    let start = DVector::from_iterator(parameters.len(), parameters.iter().map(Parameter::on_line));
    let mut problem = Problem { parameters, measured, predict: &predict, at: start.clone() };
    if !parameters.is_empty() && !measured.is_empty() {
        let search = LevenbergMarquardt::new()
            .with_ftol(1e-8)
            .with_xtol(1e-6)
            .with_stepbound(1.0)
            .with_patience(PATIENCE);
        let before = problem.loss(&start);
        // The search needs at least as many residuals as constants; `residuals_at` pads.
        (problem, _) = search.minimize(problem);
        if problem.loss(&problem.at) > before {
            problem.at = start;
        }
    }
    let loss = problem.loss(&problem.at) / measured.len().max(1) as f64;
    Fitted { values: problem.values(&problem.at), loss }
}

/// Fits from several starts, each given as the parameters to start from, and keeps the best; the
/// first of equals wins. No starts give no values.
pub fn fit_from(
    starts: &[Vec<Parameter>],
    measured: &[f64],
    predict: impl Fn(&[f64], &mut [f64]),
) -> Fitted {
    let mut best = Fitted { values: Vec::new(), loss: f64::INFINITY };
    for parameters in starts {
        let fitted = fit(parameters, measured, &predict);
        if fitted.loss < best.loss {
            best = fitted;
        }
    }
    best
}

struct Problem<'a, F> {
    parameters: &'a [Parameter],
    measured: &'a [f64],
    predict: &'a F,
    at: DVector<f64>,
}

impl<F: Fn(&[f64], &mut [f64])> Problem<'_, F> {
    fn values(&self, at: &DVector<f64>) -> Vec<f64> {
        let on_line = |u: &f64| u.clamp(-FURTHEST, FURTHEST);
        self.parameters.iter().zip(at.iter()).map(|(p, u)| p.value(on_line(u))).collect()
    }

    fn residuals_at(&self, at: &DVector<f64>) -> DVector<f64> {
        let values = self.values(at);
        let mut predicted = vec![0.0; self.measured.len()];
        (self.predict)(&values, &mut predicted);
        let rows = predicted.iter().zip(self.measured).map(|(p, m)| soft(log_ratio(*p, *m)));
        let pulls = self.parameters.iter().zip(&values).map(|(parameter, value)| {
            parameter.pull.map_or(0.0, |sd| NOISE * log_ratio(*value, parameter.start) / sd)
        });
        DVector::from_vec(rows.chain(pulls).collect())
    }

    fn loss(&self, at: &DVector<f64>) -> f64 {
        self.residuals_at(at).norm_squared()
    }
}

/// `ln(predicted / measured)`, within bounds where a prediction is no positive number.
#[must_use]
pub fn log_ratio(predicted: f64, measured: f64) -> f64 {
    let log = (predicted / measured).ln();
    if log.is_finite() { log.clamp(-HOPELESS, HOPELESS) } else { HOPELESS }
}

/// A residual whose square is `2 s^2 (sqrt(1 + (x / s)^2) - 1)`, the soft absolute value of `x`.
fn soft(x: f64) -> f64 {
    let rho = 2.0 * SOFT * SOFT * ((1.0 + (x / SOFT).powi(2)).sqrt() - 1.0);
    rho.max(0.0).sqrt().copysign(x)
}

impl<F: Fn(&[f64], &mut [f64])> LeastSquaresProblem<f64, Dyn, Dyn> for Problem<'_, F> {
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

    /// Rows of `a + b x`, x = 1..=20.
    fn line(a: f64, b: f64) -> Vec<f64> {
        (1..=20).map(|x| a + b * f64::from(x)).collect()
    }

    fn predict(values: &[f64], out: &mut [f64]) {
        out.copy_from_slice(&line(values[0], values[1]));
    }

    const FREE: [Parameter; 2] = [Parameter::new(1.0, 0.0, 100.0), Parameter::new(1.0, 0.0, 100.0)];

    #[test]
    fn finds_the_constants_despite_an_outlier() {
        let mut measured = line(7.0, 0.3);
        measured[4] *= 10.0;
        let fitted = fit(&FREE, &measured, predict);
        assert!((fitted.values[0] - 7.0).abs() < 0.1, "{fitted:?}");
        assert!((fitted.values[1] - 0.3).abs() < 0.01, "{fitted:?}");
        assert_eq!(fitted, fit(&FREE, &measured, predict));
    }

    #[test]
    fn stays_inside_the_bounds() {
        let bounded = [Parameter::new(1.0, 0.5, 5.0), FREE[1]];
        let fitted = fit(&bounded, &line(7.0, 0.3), predict);
        assert!(fitted.values[0] <= 5.0 && fitted.values[0] > 4.5, "{fitted:?}");
    }

    #[test]
    fn a_pull_holds_a_constant_near_its_start() {
        let measured = [2.0];
        let alone = |values: &[f64], out: &mut [f64]| out.fill(values[0]);
        let free = fit(&[Parameter::new(1.0, 0.1, 10.0)], &measured, alone).values[0];
        let pulled = Parameter::new(1.0, 0.1, 10.0).pulled(0.01);
        let restrained = fit(&[pulled], &measured, alone).values[0];
        assert!(
            (free - 2.0).abs() < 1e-3 && restrained > 1.0 && restrained < 1.2,
            "{free} {restrained}"
        );
    }

    #[test]
    fn hopeless_inputs_give_the_start() {
        let fitted = fit(&FREE, &[1.0], |_, out| out.fill(f64::NAN));
        assert!((fitted.values[0] - 1.0).abs() < 1e-6);
        assert!(fit(&[], &[1.0], |_, out| out.fill(1.0)).values.is_empty());
        assert!(fit_from(&[], &[1.0], predict).values.is_empty());
    }

    #[test]
    fn the_best_start_wins() {
        let far = vec![Parameter::new(99.0, 0.0, 100.0), Parameter::new(99.0, 0.0, 100.0)];
        let fitted = fit_from(&[far, FREE.to_vec()], &line(7.0, 0.3), predict);
        assert!((fitted.values[0] - 7.0).abs() < 0.1, "{fitted:?}");
    }
}
