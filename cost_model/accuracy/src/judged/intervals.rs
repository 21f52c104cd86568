//! Whether as many runs lie in the interval of their predicted step or peak as it says: each set judged
//! by an interval that rests on the other sets.

use std::collections::{BTreeMap, BTreeSet};

use cost_model::numeric::score::score;
use cost_model::runs::forms::interval::{Figure, Judged, Likeness, spread};

use crate::line::{Bound, Goal, Line, Measure};

/// Tokens from which a sample is long.
pub const LONG: u64 = 16_384;

/// How far one run was from what nominal constants predict of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Residual {
    /// What was measured.
    pub figure: Figure,
    /// Its set in the accuracy table.
    pub set: String,
    /// Its model.
    pub model: String,
    /// How it ran.
    pub like: Likeness,
    /// Whether its samples are long ([`LONG`]).
    pub is_long: bool,
    /// `ln(measured / predicted)`.
    pub log: f64,
}

/// Models of each set that ran alike, with how far they were off.
#[must_use]
pub fn table(residuals: &[Residual]) -> Vec<Judged<'_>> {
    let mut models: BTreeMap<(Figure, &str, Likeness, &str), Vec<f64>> = BTreeMap::new();
    for residual in residuals.iter().filter(|residual| residual.log.is_finite()) {
        let key = (residual.figure, residual.set.as_str(), residual.like, residual.model.as_str());
        models.entry(key).or_default().push(residual.log * residual.log);
    }
    let mut judged: BTreeMap<(Figure, &str, Likeness), (u32, f64)> = BTreeMap::new();
    for ((figure, set, like, _), squares) in models {
        let (n_models, sum) = judged.entry((figure, set, like)).or_default();
        *n_models += 1;
        *sum += squares.iter().sum::<f64>() / squares.len() as f64;
    }
    let of = |((figure, set, like), (n_models, squares))| Judged {
        figure,
        set,
        like,
        n_models,
        squares,
    };
    judged.into_iter().map(of).collect()
}

/// A run, its upper bound over what was predicted, and whether it lies inside.
struct Placed<'a> {
    own: &'a Residual,
    upper: f64,
    is_inside: bool,
}

fn placed(residuals: &[Residual]) -> Vec<Placed<'_>> {
    let all = table(residuals);
    let mut placed = Vec::new();
    let sets: BTreeSet<&str> = residuals.iter().map(|residual| residual.set.as_str()).collect();
    for set in sets {
        let others: Vec<Judged<'_>> =
            all.iter().filter(|judged| judged.set != set).copied().collect();
        let runs =
            residuals.iter().filter(|residual| residual.set == set && residual.log.is_finite());
        placed.extend(runs.map(|residual| {
            let upper = spread(residual.figure, (&residual.like, &[]), &others).interval().high;
            Placed { own: residual, upper, is_inside: residual.log.abs() <= upper.ln() }
        }));
    }
    placed
}

/// A kind of runs: its name, whether a run is of it, and what upper over lower bound may be at most, in percent.
type Kind = (&'static str, fn(&Residual) -> bool, f64);

/// Kinds of runs; those of long samples are of another one too.
const KINDS: [Kind; 4] = [
    ("dense runs", |run| !run.like.has_experts && !run.like.is_sharded, 150.0),
    ("mixtures of experts", |run| run.like.has_experts, 200.0),
    ("sharded parameters", |run| !run.like.has_experts && run.like.is_sharded, 200.0),
    ("long samples", |run| run.is_long, 200.0),
];

/// Lines of steps and of peaks, each by kind of run.
#[must_use]
pub fn lines(residuals: &[Residual]) -> Vec<Line> {
    let placed = placed(residuals);
    let figures = [
        (Figure::Calibrated, "intervals after own steps"),
        (Figure::Step, "intervals of steps"),
        (Figure::Peak, "intervals of peak"),
    ];
    let of = |(figure, what): (Figure, &'static str)| {
        let placed = &placed;
        KINDS.into_iter().map(move |(kind, is_of, most)| {
            let runs: Vec<&Placed<'_>> =
                placed.iter().filter(|run| run.own.figure == figure && is_of(run.own)).collect();
            line(&format!("{what}, {kind}"), (figure, &runs), most)
        })
    };
    figures.into_iter().flat_map(of).filter(|line| line.score.n > 0).collect()
}

fn line(part: &str, (figure, runs): (Figure, &[&Placed<'_>]), most: f64) -> Line {
    let mut of_set: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for run in runs {
        let [inside, all] = of_set.entry(&run.own.set).or_default();
        *inside += usize::from(run.is_inside);
        *all += 1;
    }
    let share = |[inside, all]: &[usize; 2]| 100.0 * *inside as f64 / (*all).max(1) as f64;
    // Each set counts once, however many rows its table has.
    let inside = of_set.values().map(share).sum::<f64>() / of_set.len().max(1) as f64;
    let mut widths: Vec<f64> = runs.iter().map(|run| 100.0 * run.upper * run.upper).collect();
    widths.sort_by(f64::total_cmp);
    let width = widths.get(widths.len() / 2).copied().unwrap_or_default();
    let goal = |what, figure, bound| Goal { what, figure, bound: Some(bound) };
    let shares = of_set.iter().map(|(set, counts)| format!("{set} {:.0} %", share(counts)));
    Line {
        table: match figure {
            Figure::Step | Figure::Calibrated => "runs",
            Figure::Peak => "memory",
        },
        part: part.to_owned(),
        way: "set left out",
        measure: Measure::HalfWidth,
        score: score(runs.iter().map(|run| (run.upper, 1.0, run.own.set.as_str()))),
        goals: vec![
            goal("runs inside, mean of sets", inside, Bound::AtLeast(75.0)),
            goal("runs inside, mean of sets", inside, Bound::AtMost(90.0)),
            goal("median of upper over lower", width, Bound::AtMost(most)),
        ],
        note: format!("inside by set: {}", shares.collect::<Vec<_>>().join(", ")),
        ..Line::default()
    }
}

#[cfg(test)]
mod tests {
    use ir::chip::Chip;
    use ir::plan::Parallelism;
    use ir::tensor::DType;

    use super::*;

    fn residual(set: &str, model: &str, log: f64) -> Residual {
        let names = ("megatron-core", Chip::H100);
        let like = Likeness::of(names, DType::Bf16, &Parallelism::default(), false);
        let figure = Figure::Step;
        let (set, model) = (set.to_owned(), model.to_owned());
        Residual { figure, set, model, like, is_long: false, log }
    }

    #[test]
    fn models_count_once_and_sets_are_judged_by_the_others() {
        let rows = [
            residual("a", "small", 0.1),
            residual("a", "small", -0.1),
            residual("a", "large", 0.2),
            residual("b", "small", 3.0),
            residual("b", "large", 0.1),
        ];
        let all = table(&rows);
        assert_eq!((all[0].set, all[0].n_models), ("a", 2));
        assert!((all[0].squares - 0.05).abs() < 1e-12);
        let lines = lines(&rows);
        // All of a lie inside what b leaves open; of b one does.
        assert_eq!((lines.len(), lines[0].goals[0].figure), (1, 75.0));
        // (4 x 0.0144 + 0.05) / 6, to 1.2816 deviations both ways.
        let upper = spread(Figure::Step, (&rows[3].like, &[]), &all[..1]).interval().high;
        assert!((upper.ln() / 1.2816 - (0.1076_f64 / 6.0).sqrt()).abs() < 1e-9);
    }
}
