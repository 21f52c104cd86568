//! A correction on top of a form, interpolated between the nearest fitted points.

/// Log errors of a form at the points that it was fitted on, looked up by distance.
#[derive(Clone, Debug, PartialEq)]
pub struct Residual<const N: usize> {
    points: Vec<([f64; N], f64)>,
    nearest: usize,
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
        Self { points: points.into_iter().filter(finite).collect(), nearest: nearest.max(1) }
    }

    /// The factor that a predicted time is multiplied by at a place; 1 without points.
    #[must_use]
    pub fn factor(&self, place: &[f64; N]) -> f64 {
        let mut best: Vec<(f64, f64)> = Vec::with_capacity(self.nearest + 1);
        for (at, error) in &self.points {
            let square: f64 = at.iter().zip(place).map(|(a, b)| (a - b) * (a - b)).sum();
            if best.len() == self.nearest && best.last().is_some_and(|last| square >= last.0) {
                continue;
            }
            let rank = best.partition_point(|(other, _)| *other <= square);
            best.insert(rank, (square, *error));
            best.truncate(self.nearest);
        }
        let (mut sum, mut weights) = (0.0, 0.0);
        for (square, error) in best {
            let weight = 1.0 / (square.sqrt() + SOFTENING).powi(2);
            sum += weight * error;
            weights += weight;
        }
        if weights > 0.0 { (sum / weights).exp() } else { 1.0 }
    }

    /// Whether a point lies exactly at a place.
    #[must_use]
    pub fn holds(&self, place: &[f64; N]) -> bool {
        self.points.iter().any(|(at, _)| at == place)
    }
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
}
