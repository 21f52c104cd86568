//! Errors of predicted times.

/// Errors of a set of predictions, in percent of the measured time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// Rows judged.
    pub n: usize,
    /// Mean of |p - m| / m in percent.
    pub mape: f64,
    /// Mean of (p - m) / m in percent: above zero where times are predicted too long.
    pub signed: f64,
    /// Median of |p - m| / m in percent.
    pub median: f64,
    /// Ninth decile of the same (nearest rank).
    pub p90: f64,
    /// Largest of the same.
    pub worst: f64,
    /// Name of the row of the largest.
    pub worst_row: String,
    /// Each row: name, predicted, measured.
    pub rows: Vec<(String, f64, f64)>,
}

/// Scores predictions: pairs are predicted seconds, measured seconds, name of the row.
///
/// A prediction that is not finite counts as an infinite error. Rows whose measured time is not
/// positive and finite are left out. No rows give zeros.
pub fn score<S: Into<String>>(pairs: impl Iterator<Item = (f64, f64, S)>) -> Score {
    let mut errors = Vec::new();
    let mut signed = 0.0;
    let mut worst = f64::NEG_INFINITY;
    let mut worst_row = String::new();
    let mut rows = Vec::new();
    for (predicted, measured, row) in pairs {
        if !(measured.is_finite() && measured > 0.0) {
            continue;
        }
        signed += 100.0 * (predicted - measured) / measured;
        let error = 100.0 * (predicted - measured).abs() / measured;
        let error = if error.is_finite() { error } else { f64::INFINITY };
        let row = row.into();
        if error > worst {
            worst = error;
            worst_row.clone_from(&row);
        }
        rows.push((row, predicted, measured));
        errors.push(error);
    }
    errors.sort_by(f64::total_cmp);
    let n = errors.len();
    if n == 0 {
        return Score::default();
    }
    let at = |index: usize| errors.get(index.min(n - 1)).copied().unwrap_or_default();
    Score {
        n,
        mape: errors.iter().sum::<f64>() / n as f64,
        signed: signed / n as f64,
        median: f64::midpoint(at((n - 1) / 2), at(n / 2)),
        p90: at((n * 9).div_ceil(10).saturating_sub(1)),
        worst: at(n - 1),
        worst_row,
        rows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_by_hand() {
        let rows = [(1.1, 1.0, "a"), (3.0, 4.0, "b"), (2.0, 2.0, "c"), (0.5, 0.0, "unmeasured")];
        let score = score(rows.into_iter());
        assert_eq!(score.n, 3);
        assert!((score.mape - 35.0 / 3.0).abs() < 1e-9);
        assert!((score.signed - (10.0 - 25.0) / 3.0).abs() < 1e-9);
        assert!((score.median - 10.0).abs() < 1e-9);
        assert!((score.p90 - 25.0).abs() < 1e-9 && (score.worst - 25.0).abs() < 1e-9);
        assert_eq!(score.worst_row, "b");
    }

    #[test]
    fn what_is_not_a_number_is_infinitely_wrong() {
        let score = score([(f64::NAN, 1.0, "a")].into_iter());
        assert_eq!(score.worst, f64::INFINITY);
    }
}
