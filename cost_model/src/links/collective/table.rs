//! Measured times by size, and what lies between them.

use std::collections::BTreeMap;

use ir::measured::{CollectiveOperation, CollectiveRow};
use ir::profile::between;
use ir::units::Bytes;

/// How to go from one measured point to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interpolation {
    /// Time is linear in bytes: a start-up cost and a rate that hold from point to point.
    #[default]
    Linear,
    /// Logarithm of time is linear in the logarithm of bytes.
    LogLog,
    /// The same with a cubic that keeps monotone stretches monotone (Fritsch and Carlson 1980, with
    /// the weighted harmonic mean of slopes of Fritsch and Butland 1984).
    MonotoneCubic,
}

/// Times by size: of one operation, group size and library on one system.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Bytes and seconds, by increasing bytes.
    points: Vec<(f64, f64)>,
}

/// What a table was measured for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableKey {
    /// Name of the system.
    pub system: String,
    /// Library and version.
    pub library: String,
    /// Operation.
    pub operation: CollectiveOperation,
    /// Devices of the group.
    pub ranks: u64,
    /// Devices of the group in one host.
    pub ranks_per_node: u64,
}

/// Sorts rows into tables. A group size that was not measured has no table: what a group of two or
/// four reaches does not follow from one of eight where links form a mesh.
#[must_use]
pub fn tables(rows: &[CollectiveRow]) -> BTreeMap<TableKey, Table> {
    let mut points: BTreeMap<TableKey, Vec<(u64, f64)>> = BTreeMap::new();
    for row in rows {
        let key = TableKey {
            system: row.system.clone(),
            library: row.library.clone(),
            operation: row.operation,
            ranks: row.ranks,
            ranks_per_node: row.ranks_per_node,
        };
        points.entry(key).or_default().push((row.bytes, row.time_s));
    }
    points.into_iter().map(|(key, points)| (key, Table::new(points))).collect()
}

impl Table {
    /// A table from bytes and seconds in any order. Points that are not positive and finite are
    /// left out; several of one size count as their mean.
    #[must_use]
    pub fn new(points: impl IntoIterator<Item = (u64, f64)>) -> Self {
        let mut sizes: BTreeMap<u64, (f64, f64)> = BTreeMap::new();
        for (bytes, seconds) in points {
            if bytes > 0 && seconds.is_finite() && seconds > 0.0 {
                let entry = sizes.entry(bytes).or_default();
                *entry = (entry.0 + seconds, entry.1 + 1.0);
            }
        }
        let points = sizes.into_iter().map(|(bytes, (sum, n))| (bytes as f64, sum / n)).collect();
        Self { points }
    }

    /// Bytes and seconds, by increasing bytes.
    #[must_use]
    pub fn points(&self) -> &[(f64, f64)] {
        &self.points
    }

    /// The same without one point.
    #[must_use]
    pub fn without(&self, index: usize) -> Self {
        let others = self.points.iter().enumerate().filter(|(i, _)| *i != index);
        Self { points: others.map(|(_, point)| *point).collect() }
    }

    /// Seconds for so many bytes. Below the least size its time holds; above the greatest one the
    /// line through the last two points goes on, level if it falls. `None` for an
    /// empty table.
    #[must_use]
    pub fn time(&self, bytes: Bytes, interpolation: Interpolation) -> Option<f64> {
        let x = bytes.as_f64();
        let above = self.points.partition_point(|point| point.0 < x);
        let last = above.checked_sub(1).and_then(|below| self.points.get(below));
        let (Some(last), Some(next)) = (last, self.points.get(above).filter(|point| point.0 > x))
        else {
            return between(&self.points, x);
        };
        match interpolation {
            Interpolation::Linear => between(&self.points, x),
            Interpolation::LogLog => {
                let share = (x / last.0).ln() / (next.0 / last.0).ln();
                Some(last.1 * (next.1 / last.1).powf(share))
            }
            Interpolation::MonotoneCubic => Some(self.cubic(above - 1, x)),
        }
    }

    /// Logarithms of a point.
    fn logarithms(&self, index: usize) -> Option<(f64, f64)> {
        self.points.get(index).map(|(bytes, seconds)| (bytes.ln(), seconds.ln()))
    }

    /// Width and slope of the stretch that begins at a point, in logarithms.
    fn stretch(&self, index: usize) -> Option<(f64, f64)> {
        let (a, b) = (self.logarithms(index)?, self.logarithms(index + 1)?);
        Some((b.0 - a.0, (b.1 - a.1) / (b.0 - a.0)))
    }

    fn cubic(&self, index: usize, x: f64) -> f64 {
        let (Some(a), Some(b)) = (self.logarithms(index), self.logarithms(index + 1)) else {
            return f64::NAN;
        };
        let width = b.0 - a.0;
        let t = (x.ln() - a.0) / width;
        let (from, to) = (self.slope_at(index), self.slope_at(index + 1));
        let (t2, t3) = (t * t, t * t * t);
        let value = a.1 * (2.0 * t3 - 3.0 * t2 + 1.0)
            + width * from * (t3 - 2.0 * t2 + t)
            + b.1 * (3.0 * t2 - 2.0 * t3)
            + width * to * (t3 - t2);
        value.exp()
    }

    /// The slope of the cubic at a point, in logarithms.
    fn slope_at(&self, index: usize) -> f64 {
        let before = index.checked_sub(1).and_then(|before| self.stretch(before));
        match (before, self.stretch(index)) {
            (Some((h0, d0)), Some((h1, d1))) => {
                if d0 * d1 <= 0.0 {
                    return 0.0;
                }
                let (w0, w1) = (2.0 * h1 + h0, h1 + 2.0 * h0);
                (w0 + w1) / (w0 / d0 + w1 / d1)
            }
            (None, Some(first)) => end_slope(first, self.stretch(index + 1)),
            (Some(last), None) => {
                end_slope(last, index.checked_sub(2).and_then(|before| self.stretch(before)))
            }
            (None, None) => 0.0,
        }
    }
}

/// The one-sided three-point slope at an end, held back where it would overshoot.
fn end_slope((h0, d0): (f64, f64), inner: Option<(f64, f64)>) -> f64 {
    let Some((h1, d1)) = inner else {
        return d0;
    };
    let slope = ((2.0 * h0 + h1) * d0 - h0 * d1) / (h0 + h1);
    if slope * d0 <= 0.0 {
        0.0
    } else if d0 * d1 < 0.0 && slope.abs() > 3.0 * d0.abs() {
        3.0 * d0
    } else {
        slope
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Interpolation; 3] =
        [Interpolation::Linear, Interpolation::LogLog, Interpolation::MonotoneCubic];

    #[test]
    fn points_are_met_and_order_is_kept() {
        let table = Table::new([(400, 9.0), (100, 2.0), (200, 3.0), (800, 9.5), (100, 4.0)]);
        for way in ALL {
            let at = |bytes| table.time(Bytes(bytes), way).unwrap();
            assert_eq!((at(100), at(200), at(400), at(1)), (3.0, 3.0, 9.0, 3.0));
            let mut last = 0.0;
            for bytes in (50..1000).step_by(10) {
                assert!(at(bytes) >= last - 1e-12, "{way:?} {bytes}");
                last = at(bytes);
            }
            assert!((at(1600) - 10.5).abs() < 1e-12);
        }
        assert_eq!(Table::default().time(Bytes(1), Interpolation::Linear), None);
    }

    #[test]
    fn each_form_is_exact_on_its_own_law() {
        let linear = Table::new([(100, 2.0), (300, 4.0)]);
        assert!((linear.time(Bytes(200), Interpolation::Linear).unwrap() - 3.0).abs() < 1e-12);
        let power = Table::new([100, 400, 1600, 6400].map(|n: u64| (n, (n as f64).sqrt())));
        for way in [Interpolation::LogLog, Interpolation::MonotoneCubic] {
            for n in [200_u64, 900, 3000] {
                let error = power.time(Bytes(n), way).unwrap() / (n as f64).sqrt() - 1.0;
                assert!(error.abs() < 1e-9, "{way:?} {n}");
            }
        }
    }

    #[test]
    fn a_point_left_out_is_interpolated() {
        let table = Table::new([(100, 1.0), (200, 9.0), (300, 3.0)]).without(1);
        assert_eq!(table.points().len(), 2);
        assert!((table.time(Bytes(200), Interpolation::Linear).unwrap() - 2.0).abs() < 1e-12);
    }
}
