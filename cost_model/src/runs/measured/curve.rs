//! Measured times between and beyond the sizes that were measured.

use ir::layers::BatchPoint;
use ir::profile::SizePoint;

/// Seconds of a batch of `samples`, which may be a fraction: on the line between the measured
/// neighbours, above the largest on the line through the last two. Below the smallest, where a share
/// of a sample is computed, nothing was measured: on the line to the larger of two fixed costs, that
/// of the first two points and that of the least-squares line through all. One point alone is a line
/// through the origin.
#[must_use]
pub fn of_batch(points: &[BatchPoint], samples: f64) -> f64 {
    let at = |point: &BatchPoint| (point.samples as f64, point.time.get());
    match points {
        [] => 0.0,
        [only] => {
            let (x, y) = at(only);
            y * samples / x.max(1.0)
        }
        [first, second, ..] if samples < at(first).0 => {
            let (x, y) = at(first);
            let (x_2, y_2) = at(second);
            let near = y - (y_2 - y) / (x_2 - x) * x;
            let fixed = near.max(intercept(points)).clamp(0.0, y);
            fixed + (y - fixed) * samples / x
        }
        _ => {
            let above = points.partition_point(|point| (point.samples as f64) < samples);
            let high = above.clamp(1, points.len() - 1);
            line(at(&points[high - 1]), at(&points[high]), samples)
        }
    }
}

/// Where the least-squares line through two and more points meets 0 samples.
fn intercept(points: &[BatchPoint]) -> f64 {
    let n = points.len() as f64;
    let mean = |of: &dyn Fn(&BatchPoint) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(&|point| point.samples as f64), mean(&|point| point.time.get()));
    let by_x = |point: &BatchPoint| point.samples as f64 - x;
    let spread = mean(&|point| by_x(point) * by_x(point));
    let joint = mean(&|point| by_x(point) * (point.time.get() - y));
    y - joint / spread.max(f64::MIN_POSITIVE) * x
}

/// Seconds of a collective of so many bytes: the least time below the smallest size, a line between
/// sizes and beyond the largest.
#[must_use]
pub fn of_size(points: &[SizePoint], bytes: f64) -> f64 {
    let at = |point: &SizePoint| (point.bytes.as_f64(), point.time.get());
    match points {
        [] => 0.0,
        [only] => {
            let (x, y) = at(only);
            y * (bytes / x.max(1.0)).max(1.0)
        }
        [first, ..] if bytes <= at(first).0 => at(first).1,
        _ => {
            let above = points.partition_point(|point| point.bytes.as_f64() < bytes);
            let high = above.clamp(1, points.len() - 1);
            line(at(&points[high - 1]), at(&points[high]), bytes)
        }
    }
}

/// The line through two points; beyond the second it never falls.
fn line(a: (f64, f64), b: (f64, f64), x: f64) -> f64 {
    let slope = (b.1 - a.1) / (b.0 - a.0);
    if x > b.0 { b.1 + slope.max(0.0) * (x - b.0) } else { a.1 + slope * (x - a.0) }
}
