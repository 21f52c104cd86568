//! Closed forms fitted to measured collectives: one curve per system, operation and group size.

use ir::units::Bytes;

use super::least_relative::least_relative;
use super::table::Table;

/// Points that a line of its own must rest on.
const LEAST_POINTS: usize = 2;

/// A form with few constants, `t = a + n/B + c sqrt(n)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stretch {
    /// Start-up in seconds.
    pub start_up_s: f64,
    /// Seconds per byte.
    pub per_byte_s: f64,
    /// Seconds per square root of bytes: the slow approach to the full rate.
    pub per_root_s: f64,
}

impl Stretch {
    fn time(&self, bytes: f64) -> f64 {
        self.start_up_s + self.per_byte_s * bytes + self.per_root_s * bytes.sqrt()
    }
}

/// A fitted curve; never falls with size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Curve {
    /// Up to the break, or everywhere.
    below: Stretch,
    /// The greatest size that `below` was fitted on, the least that the other was, and the other.
    above: Option<(f64, f64, Stretch)>,
}

/// Which form to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `a + n/B`: two constants.
    Line,
    /// `a + n/B + c sqrt(n)`: three constants.
    Root,
    /// A line up to a size, another from there: five constants. Libraries change their protocol at
    /// some size, which kinks the curve.
    TwoLines,
}

impl Form {
    /// Constants of the form.
    #[must_use]
    pub const fn n_constants(self) -> u32 {
        match self {
            Self::Line => 2,
            Self::Root => 3,
            Self::TwoLines => 5,
        }
    }
}

impl Curve {
    /// The curve of a form with the least mean relative error on a table; no constant is negative.
    /// `None` for an empty table. Tables too short for two lines get one.
    #[must_use]
    pub fn fit(table: &Table, form: Form) -> Option<Self> {
        let points = table.points();
        if points.is_empty() {
            return None;
        }
        let below = match form {
            Form::Root => root(points),
            Form::Line => line(points).0,
            Form::TwoLines => return Some(two_lines(points)),
        };
        Some(Self { below, above: None })
    }

    /// Seconds for so many bytes.
    #[must_use]
    pub fn time(&self, bytes: Bytes) -> f64 {
        let bytes = bytes.as_f64();
        let Some((last, first, above)) = self.above else {
            return self.below.time(bytes);
        };
        let floor = self.below.time(last);
        if bytes < first {
            self.below.time(bytes).min(above.time(first).max(floor))
        } else {
            above.time(bytes).max(floor)
        }
    }
}

fn line(points: &[(f64, f64)]) -> (Stretch, f64) {
    let rows: Vec<[f64; 2]> = points.iter().map(|(n, t)| [1.0 / t, n / t]).collect();
    let ([start_up_s, per_byte_s], loss) = least_relative(&rows);
    (Stretch { start_up_s, per_byte_s, per_root_s: 0.0 }, loss)
}

fn root(points: &[(f64, f64)]) -> Stretch {
    let rows: Vec<[f64; 3]> = points.iter().map(|(n, t)| [1.0 / t, n / t, n.sqrt() / t]).collect();
    let ([start_up_s, per_byte_s, per_root_s], _) = least_relative(&rows);
    Stretch { start_up_s, per_byte_s, per_root_s }
}

/// The best of all breaks, judged with the law that more bytes never take less time.
fn two_lines(points: &[(f64, f64)]) -> Curve {
    let (whole, loss) = line(points);
    let mut best = (Curve { below: whole, above: None }, loss);
    for split in LEAST_POINTS..=points.len().saturating_sub(LEAST_POINTS) {
        let (low, high) = points.split_at(split);
        let (Some(last), Some(first)) = (low.last(), high.first()) else {
            continue;
        };
        let ((below, _), (above, _)) = (line(low), line(high));
        let curve = Curve { below, above: Some((last.0, first.0, above)) };
        let error = |(n, t): &(f64, f64)| (curve.time(Bytes(*n as u64)) / t - 1.0).abs();
        let loss = points.iter().map(error).sum();
        if loss < best.1 {
            best = (curve, loss);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(time: impl Fn(f64) -> f64) -> Table {
        Table::new((9..30).map(|power| (1 << power, time(f64::from(1 << power)))))
    }

    fn worst(table: &Table, form: Form) -> f64 {
        let curve = Curve::fit(table, form).unwrap();
        let error = |(n, t): &(f64, f64)| (curve.time(Bytes(*n as u64)) / t - 1.0).abs();
        table.points().iter().map(error).fold(0.0, f64::max)
    }

    #[test]
    fn each_form_finds_its_own_law() {
        let plain = table(|n| 2e-5 + n / 2e11);
        let rooted = table(|n| 2e-5 + n / 2e11 + 8e-9 * n.sqrt());
        let kinked = table(|n| if n < 1e6 { 1e-5 + n / 1e11 } else { 4e-5 + n / 3e11 });
        assert!(worst(&plain, Form::Line) < 1e-9);
        assert!(worst(&rooted, Form::Root) < 1e-9 && worst(&rooted, Form::Line) > 0.05);
        assert!(worst(&kinked, Form::TwoLines) < 1e-9 && worst(&kinked, Form::Root) > 0.05);
    }

    #[test]
    fn more_bytes_never_take_less_time() {
        let falling = table(|n| if n < 1e5 { 5e-5 } else { 1e-5 + n / 1e11 });
        for form in [Form::Line, Form::Root, Form::TwoLines] {
            let curve = Curve::fit(&falling, form).unwrap();
            let times: Vec<f64> = (0..4000).map(|i| curve.time(Bytes(i * 100))).collect();
            assert!(times.is_sorted(), "{form:?}");
        }
        assert_eq!(Curve::fit(&Table::default(), Form::Line), None);
    }
}
