//! Errors of predicted times, and the lines of the accuracy table.

/// Errors of a set of predictions, in percent of the measured time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// Rows judged.
    pub n: usize,
    /// Mean of |p - m| / m in percent.
    pub mape: f64,
    /// Median of the same.
    pub median: f64,
    /// Ninth decile of the same (nearest rank).
    pub p90: f64,
    /// Largest of the same.
    pub worst: f64,
    /// Name of the row of the largest.
    pub worst_row: String,
}

/// One line of the accuracy table.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Table that holds the rows, such as `gemm`.
    pub table: &'static str,
    /// What is judged, such as `GEMM h100_sxm`.
    pub part: String,
    /// `in sample`, `half and half`, `leave one GPU out`, `nothing fitted`.
    pub way: &'static str,
    /// The errors.
    pub score: Score,
    /// Constants fitted per system, tables not counted.
    pub n_constants: u32,
    /// Mean error to reach at least, in percent.
    pub target: Option<f64>,
    /// Mean errors of other models on the same rows, in percent.
    pub peers: Vec<(&'static str, f64)>,
    /// What is worth knowing.
    pub note: String,
}

/// Scores predictions: pairs are predicted seconds, measured seconds, name of the row.
///
/// A prediction that is not finite counts as an infinite error. Rows whose measured time is not
/// positive and finite are left out. No rows give zeros.
pub fn score<S: Into<String>>(pairs: impl Iterator<Item = (f64, f64, S)>) -> Score {
    let mut errors = Vec::new();
    let mut worst = f64::NEG_INFINITY;
    let mut worst_row = String::new();
    for (predicted, measured, row) in pairs {
        if !(measured.is_finite() && measured > 0.0) {
            continue;
        }
        let error = 100.0 * (predicted - measured).abs() / measured;
        let error = if error.is_finite() { error } else { f64::INFINITY };
        if error > worst {
            worst = error;
            worst_row = row.into();
        }
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
        median: f64::midpoint(at((n - 1) / 2), at(n / 2)),
        p90: at((n * 9).div_ceil(10).saturating_sub(1)),
        worst: at(n - 1),
        worst_row,
    }
}

/// The mean of several scores, as of random halves: every figure is a mean, but the worst error,
/// which is the worst of all; rows are added up.
#[must_use]
pub fn mean(scores: &[Score]) -> Score {
    let count = scores.len().max(1) as f64;
    let average = |figure: fn(&Score) -> f64| scores.iter().map(figure).sum::<f64>() / count;
    let worst = scores.iter().max_by(|a, b| a.worst.total_cmp(&b.worst));
    Score {
        n: scores.iter().map(|score| score.n).sum(),
        mape: average(|score| score.mape),
        median: average(|score| score.median),
        p90: average(|score| score.p90),
        worst: worst.map_or(0.0, |score| score.worst),
        worst_row: worst.map_or_else(String::new, |score| score.worst_row.clone()),
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
        assert!((score.median - 10.0).abs() < 1e-9);
        assert!((score.p90 - 25.0).abs() < 1e-9 && (score.worst - 25.0).abs() < 1e-9);
        assert_eq!(score.worst_row, "b");
    }

    #[test]
    fn what_is_not_a_number_is_infinitely_wrong() {
        let score = score([(f64::NAN, 1.0, "a")].into_iter());
        assert_eq!(score.worst, f64::INFINITY);
    }

    #[test]
    fn the_mean_of_scores_keeps_the_worst() {
        let a = score([(2.0, 1.0, "a")].into_iter());
        let b = score([(1.5, 1.0, "b")].into_iter());
        let both = mean(&[b, a]);
        assert_eq!((both.n, both.mape, both.worst), (2, 75.0, 100.0));
        assert_eq!(both.worst_row, "a");
        assert_eq!(mean(&[]), Score::default());
    }
}
