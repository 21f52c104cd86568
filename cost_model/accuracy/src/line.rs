//! The lines of the accuracy table.

use cost_model::numeric::score::Score;

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

/// What the rows of a line ran on, and what they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Scope {
    /// Stack presets.
    pub software: String,
    /// Kinds of devices.
    pub devices: String,
    /// Least and greatest number of devices.
    pub n_devices: (u64, u64),
    /// Types that they compute in.
    pub types: String,
    /// Whether models are dense or mixtures of experts.
    pub models: &'static str,
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
    /// What its rows are, of the line of a set whose figures stand first.
    pub scope: Option<Scope>,
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
        rows: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use cost_model::numeric::score::score;

    use super::*;

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
    fn the_mean_of_scores_keeps_the_worst() {
        let a = score([(2.0, 1.0, "a")].into_iter());
        let b = score([(1.5, 1.0, "b")].into_iter());
        let both = mean(&[b, a]);
        assert_eq!((both.n, both.mape, both.worst), (2, 75.0, 100.0));
        assert_eq!(both.worst_row, "a");
        assert_eq!(mean(&[]), Score::default());
    }
}
