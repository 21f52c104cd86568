//! Errors of predicted times, and the lines of the accuracy table.

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
}

/// What the percentages of a line are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Measure {
    /// |predicted - measured| / measured of times.
    #[default]
    TimeError,
    /// The same of bytes.
    MemoryError,
    /// Chosen / best - 1 of the measured times of a group of configurations.
    Regret,
    /// Upper bound over prediction, less one, of the intervals of runs.
    HalfWidth,
}

/// The side of a bound on which a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// Not above.
    AtMost(f64),
    /// Not below.
    AtLeast(f64),
}

/// A figure of a line beside its mean error, such as the share of rows within 10 %.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal {
    /// What the figure is, such as `rows within 10 %`.
    pub what: &'static str,
    /// The figure, in percent.
    pub figure: f64,
    /// Where it has to be, if that is asked for.
    pub bound: Option<Bound>,
}

impl Goal {
    /// Whether the figure is on the asked side; a figure that is no number is not.
    #[must_use]
    pub fn reached(&self) -> bool {
        match self.bound {
            None => true,
            Some(Bound::AtMost(limit)) => self.figure <= limit,
            Some(Bound::AtLeast(limit)) => self.figure >= limit,
        }
    }
}

/// Mean errors that another model's authors published, over several systems or settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Published {
    /// The model.
    pub model: &'static str,
    /// Least and greatest mean error in percent; equal where there is one figure.
    pub percent: (f64, f64),
    /// What was judged and where it is written, as rows or splits differ from ours.
    pub source: &'static str,
}

/// One line of the accuracy table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// Table that holds the rows, such as `gemm`.
    pub table: &'static str,
    /// What is judged, such as `GEMM h100_sxm`.
    pub part: String,
    /// `in sample`, `half and half`, `leave one GPU out`, `nothing fitted`.
    pub way: &'static str,
    /// What the percentages are.
    pub measure: Measure,
    /// The errors, or regrets of groups instead of errors of rows.
    pub score: Score,
    /// Constants fitted per system, tables not counted.
    pub n_constants: u32,
    /// Mean error to reach at least, in percent.
    pub target: Option<f64>,
    /// Further figures, such as `best in the first three` of regrets.
    pub goals: Vec<Goal>,
    /// Mean errors of other models on the same rows, in percent.
    pub peers: Vec<(&'static str, f64)>,
    /// What others published about the same table.
    pub published: Vec<Published>,
    /// What is worth knowing.
    pub note: String,
}

impl Line {
    /// The least mean error of another model on the same rows, in percent.
    #[must_use]
    pub fn best_peer(&self) -> Option<f64> {
        self.peers.iter().map(|(_, error)| *error).min_by(f64::total_cmp)
    }

    /// Whether anything is asked of the line.
    #[must_use]
    pub fn is_judged(&self) -> bool {
        self.target.is_some() || self.goals.iter().any(|goal| goal.bound.is_some())
    }

    /// Whether the mean error and every further figure are where they have to be.
    #[must_use]
    pub fn reached(&self) -> bool {
        self.target.is_none_or(|target| self.score.mape <= target)
            && self.goals.iter().all(Goal::reached)
    }
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
    for (predicted, measured, row) in pairs {
        if !(measured.is_finite() && measured > 0.0) {
            continue;
        }
        signed += 100.0 * (predicted - measured) / measured;
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
        signed: signed / n as f64,
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
        signed: average(|score| score.signed),
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
        assert!((score.signed - (10.0 - 25.0) / 3.0).abs() < 1e-9);
        assert!((score.median - 10.0).abs() < 1e-9);
        assert!((score.p90 - 25.0).abs() < 1e-9 && (score.worst - 25.0).abs() < 1e-9);
        assert_eq!(score.worst_row, "b");
    }

    #[test]
    fn a_line_reaches_its_figures_only_together() {
        let score = Score { mape: 3.0, ..Score::default() };
        let goal = |figure, bound| Goal { what: "rows within 10 %", figure, bound };
        let line = |target, goals| Line { score: score.clone(), target, goals, ..Line::default() };
        let free = line(None, vec![goal(1.0, None)]);
        assert!(!free.is_judged() && free.reached());
        assert!(line(Some(3.0), vec![]).reached() && !line(Some(2.9), vec![]).reached());
        let share = |figure| line(Some(3.0), vec![goal(figure, Some(Bound::AtLeast(96.0)))]);
        assert!(share(96.0).reached() && !share(95.9).reached() && !share(f64::NAN).reached());
        let under = line(None, vec![goal(10.5, Some(Bound::AtMost(10.0)))]);
        assert!(under.is_judged() && !under.reached());
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
