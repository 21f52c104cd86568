//! A correction on top of a form, interpolated between the nearest fitted points: by distance, or
//! by simple kriging (Krige 1951; as a Gaussian process, Rasmussen and Williams 2006, section
//! 2.2), which also knows which of them stand close together.

use nalgebra::{DMatrix, DVector};

/// Log errors of a form at the points that it was fitted on, looked up by distance.
#[derive(Clone, Debug, PartialEq)]
pub struct Residual<const N: usize> {
    points: Vec<([f64; N], f64)>,
    nearest: usize,
    weights: Weights,
}

/// How the nearest points are weighted.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Weights {
    /// One over the square of the distance.
    InverseSquare,
    /// By covariances `exp(-distance / range)`, with a share of noise that each point has alone.
    Kriging { range: f64, noise: f64 },
}

/// Distance that is added to every one, so that a point at distance 0 has a finite weight.
const SOFTENING: f64 = 1e-3;

impl<const N: usize> Residual<N> {
    /// A table of points (coordinates, `ln(measured / predicted)`) of which the `nearest` ones
    /// count, weighted by one over the square of their distance.
    ///
    /// Points that are not finite are left out.
    #[must_use]
    pub fn new(points: impl IntoIterator<Item = ([f64; N], f64)>, nearest: usize) -> Self {
        let finite = |(at, error): &([f64; N], f64)| {
            error.is_finite() && at.iter().all(|coordinate| coordinate.is_finite())
        };
        Self {
            points: points.into_iter().filter(finite).collect(),
            nearest: nearest.max(1),
            weights: Weights::InverseSquare,
        }
    }

    /// The same with weights by covariances: `range` is the distance over which errors forget each
    /// other, above zero, `noise` the variance of a point alone over that of the errors, above zero.
    /// A point that is asked for itself is taken as it is.
    #[must_use]
    pub fn kriging(self, range: f64, noise: f64) -> Self {
        Self { weights: Weights::Kriging { range, noise }, ..self }
    }

    /// The factor that a predicted time is multiplied by at a place; 1 without points.
    #[must_use]
    pub fn factor(&self, place: &[f64; N]) -> f64 {
        let near = self.near(place);
        match self.weights {
            Weights::Kriging { range, noise } if near.first().is_some_and(|(d, _)| *d > 0.0) => {
                self.kriged(&near, range, noise).unwrap_or_else(|| self.by_distance(&near))
            }
            _ => self.by_distance(&near),
        }
    }

    /// The nearest points, nearest first: squares of their distances and their positions.
    fn near(&self, place: &[f64; N]) -> Vec<(f64, usize)> {
        let mut best: Vec<(f64, usize)> = Vec::with_capacity(self.nearest + 1);
        for (index, (at, _)) in self.points.iter().enumerate() {
            let square = square_distance(at, place);
            if best.len() == self.nearest && best.last().is_some_and(|last| square >= last.0) {
                continue;
            }
            let rank = best.partition_point(|(other, _)| *other <= square);
            best.insert(rank, (square, index));
            best.truncate(self.nearest);
        }
        best
    }

    fn by_distance(&self, near: &[(f64, usize)]) -> f64 {
        let (mut sum, mut weights) = (0.0, 0.0);
        for (square, index) in near {
            let weight = 1.0 / (square.sqrt() + SOFTENING).powi(2);
            sum += weight * self.points.get(*index).map_or(0.0, |(_, error)| *error);
            weights += weight;
        }
        if weights > 0.0 { (sum / weights).exp() } else { 1.0 }
    }

    /// Simple kriging around an error of zero; `None` where the covariances are no such.
    fn kriged(&self, near: &[(f64, usize)], range: f64, noise: f64) -> Option<f64> {
        let points: Vec<_> = near.iter().filter_map(|(_, index)| self.points.get(*index)).collect();
        let covariance = |square: f64| (-square.sqrt() / range).exp();
        let among = DMatrix::from_fn(points.len(), points.len(), |row, column| {
            let nugget = if row == column { noise } else { 0.0 };
            nugget + covariance(square_distance(&points[row].0, &points[column].0))
        });
        let here = DVector::from_iterator(near.len(), near.iter().map(|(d, _)| covariance(*d)));
        let errors = DVector::from_iterator(points.len(), points.iter().map(|(_, error)| *error));
        let factor = here.dot(&among.cholesky()?.solve(&errors)).exp();
        factor.is_finite().then_some(factor)
    }

    /// Whether a point lies exactly at a place.
    #[must_use]
    pub fn holds(&self, place: &[f64; N]) -> bool {
        self.points.iter().any(|(at, _)| at == place)
    }
}

fn square_distance<const N: usize>(a: &[f64; N], b: &[f64; N]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_points_count() {
        let table = Residual::new([([0.0], 0.2), ([1.0], 0.4), ([50.0], 9.0)], 2);
        assert!((table.factor(&[0.5]).ln() - 0.3).abs() < 1e-9, "halfway between two");
        assert!((table.factor(&[0.0]).ln() - 0.2).abs() < 1e-4, "at a point");
        assert!(table.holds(&[1.0]) && !table.holds(&[0.5]));
    }

    #[test]
    fn no_points_correct_nothing() {
        assert_eq!(Residual::new([([f64::NAN], 0.2)], 8).factor(&[0.5]), 1.0);
    }

    #[test]
    fn kriging_counts_twins_once() {
        let points = [([-1.0], 0.2), ([1.0], 0.4), ([1.0], 0.4), ([1.0], 0.4)];
        let by_distance = Residual::new(points, 8).factor(&[0.0]).ln();
        assert!((by_distance - 0.35).abs() < 1e-9, "three of four: {by_distance}");
        let kriged = Residual::new(points, 8).kriging(2.0, 1e-6).factor(&[0.0]).ln();
        // Two points at distance 1 that are 2 apart, by hand: weights e^-0.5 / (1 + e^-1).
        let wanted = 0.6 * (-0.5_f64).exp() / (1.0 + (-1.0_f64).exp());
        assert!((kriged - wanted).abs() < 1e-4, "{kriged} {wanted}");
    }

    #[test]
    fn kriging_forgets_far_points_and_keeps_its_own() {
        let table = Residual::new([([0.0], 0.5), ([1.0], -0.5)], 8).kriging(1.0, 0.2);
        assert!(table.factor(&[50.0]).ln().abs() < 1e-9);
        assert!((table.factor(&[0.0]).ln() - 0.5).abs() < 1e-4);
        assert_eq!(Residual::new([], 8).kriging(1.0, 0.2).factor(&[0.0]), 1.0);
    }
}
