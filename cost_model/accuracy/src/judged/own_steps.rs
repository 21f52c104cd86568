//! How much better steps are predicted after a calibration on a few steps of one's own.
//!
//! Of each published set the rows of one cluster and one stack: constants are calibrated on at most
//! [`OWN`] of them, as `calibrate --steps` does, and judged on others. Of up to [`OWN`] + 1 rows each is
//! left out in turn; more fall into two halves, each judged by an even sample of the other.

use cost_model::calibrate::steps::identified::identified;
use cost_model::calibrate::thinned;
use cost_model::numeric::score::score;
use cost_model::runs::forms::constants::Constants;
use cost_model::runs::forms::fit::Sample;
use ir::stack::Stack;

use crate::line::{Goal, Line};

/// Steps that a user measures.
pub const OWN: usize = 8;
/// Rows of one cluster and stack below which nothing is judged: one is left out.
const FEWEST: usize = 3;

/// A row judged.
pub(super) struct Own {
    /// Its place among the rows of its cluster and stack.
    pub(super) at: usize,
    /// Seconds of its step by nominal constants.
    pub(super) before_s: f64,
    /// The same by constants that other rows calibrated.
    pub(super) after_s: f64,
}

/// Rows of one cluster and stack, each by constants calibrated on others. `predict` gives the seconds of
/// rows by constants.
pub(super) fn judged(
    samples: &[Sample<'_>],
    stack: &Stack,
    predict: impl Fn(&[usize], &Constants) -> Vec<f64>,
) -> Vec<Own> {
    let n = samples.len();
    if n < FEWEST {
        return Vec::new();
    }
    let nominal = Constants::nominal(stack);
    let n_folds = if n <= OWN + 1 { n } else { 2 };
    let of_fold = |fold: usize| {
        let others: Vec<Sample<'_>> =
            (0..n).filter(|at| at % n_folds != fold).map(|at| samples[at]).collect();
        let chosen: Vec<Sample<'_>> = thinned(&others, OWN).copied().collect();
        let (constants, _) = identified(&chosen, chosen.len(), stack, &nominal);
        let rows: Vec<usize> = (0..n).filter(|at| at % n_folds == fold).collect();
        let times = predict(&rows, &nominal).into_iter().zip(predict(&rows, &constants));
        let of = |(at, (before_s, after_s))| Own { at, before_s, after_s };
        rows.into_iter().zip(times).map(of).collect::<Vec<_>>()
    };
    (0..n_folds).flat_map(of_fold).collect()
}

/// A row of the line of a set: seconds before, after, and as measured, and its name.
pub(super) type Row = (f64, f64, f64, String);

/// The line of a set; `None` where no cluster and stack has rows enough.
pub(super) fn line(table: &'static str, part: &str, rows: &[Row]) -> Option<Line> {
    let finite =
        || rows.iter().filter(|(before, after, ..)| before.is_finite() && after.is_finite());
    let before = score(finite().map(|(before, _, measured, name)| (*before, *measured, name)));
    let off = |time: f64, measured: f64| (time / measured).ln().abs();
    let nearer = finite().filter(|(b, a, m, _)| off(*a, *m) < off(*b, *m)).count();
    let goal = |what, figure| Goal { what, figure, bound: None };
    (before.n > 0).then(|| Line {
        table,
        part: format!("{part}, own steps"),
        way: "up to eight of the same cluster and stack",
        score: score(finite().map(|(_, after, measured, name)| (*after, *measured, name))),
        goals: vec![
            goal("mean error without them", before.mape),
            goal("worst error without them", before.worst),
            goal("rows nearer with them", 100.0 * nearer as f64 / before.n as f64),
        ],
        ..Line::default()
    })
}
