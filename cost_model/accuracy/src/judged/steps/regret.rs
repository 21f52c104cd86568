//! What is lost by running the configuration that is predicted to be fastest.

use std::collections::BTreeMap;

use cost_model::calibrate::steps::set::{Row, Set};
use cost_model::numeric::score::score;

use crate::line::{Bound, Goal, Line, Measure};

/// Configurations that a group must have at least.
const LEAST: usize = 3;
/// Configurations among which the best one is looked for.
const FIRST: usize = 3;

/// Configurations of one model, device count and batch, by position in the set.
fn groups(set: &Set, least: usize) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<(&str, u64, u64), Vec<usize>> = BTreeMap::new();
    for (index, row) in set.rows.iter().enumerate() {
        let row = &row.measured;
        groups.entry((&row.model, row.gpus, row.global_batch)).or_default().push(index);
    }
    groups.into_values().filter(|group| group.len() >= least).collect()
}

/// Positions of a group by increasing value; the first of equals leads.
fn ranked(group: &[usize], values: &[f64]) -> Vec<usize> {
    let value = |index: &usize| values.get(*index).copied().unwrap_or(f64::NAN);
    let mut order = group.to_vec();
    order.sort_by(|a, b| value(a).total_cmp(&value(b)));
    order
}

fn time(set: &Set, index: usize) -> f64 {
    set.rows.get(index).map_or(f64::NAN, |row| row.measured.time_s)
}

/// Mean regret in percent of running what a rule puts first.
fn of_rule(set: &Set, groups: &[Vec<usize>], rule: impl Fn(&Row) -> f64) -> f64 {
    let values: Vec<f64> = set.rows.iter().map(rule).collect();
    let pairs = groups.iter().filter_map(|group| {
        let chosen = *ranked(group, &values).first()?;
        let best = group.iter().map(|index| time(set, *index)).fold(f64::INFINITY, f64::min);
        Some((time(set, chosen), best, ""))
    });
    score(pairs).mape
}

/// The usual rule: least tensor size, then least pipeline size, then largest micro-batch.
fn usual(row: &Row) -> f64 {
    let row = &row.measured;
    f64::from(row.tensor) * 1e12 + f64::from(row.pipeline) * 1e6 - row.micro_batch as f64
}

/// The line of a set's regrets under predictions in the order of its rows.
#[must_use]
pub fn line(
    set: &Set,
    way: &'static str,
    predicted: &[f64],
    (n_constants, target): (u32, Option<f64>),
    (least_found, most_worst): (Option<f64>, Option<f64>),
) -> Line {
    let groups = groups(set, LEAST);
    let mut n_found = 0;
    let pairs: Vec<(f64, f64, String)> = groups
        .iter()
        .filter_map(|group| {
            let order = ranked(group, predicted);
            let best = group.iter().map(|index| time(set, *index)).fold(f64::INFINITY, f64::min);
            n_found += usize::from(order.iter().take(FIRST).any(|i| time(set, *i) <= best));
            let chosen = *order.first()?;
            Some((time(set, chosen), best, set.rows.get(chosen).map(Set::name)?))
        })
        .collect();
    let score = score(pairs.into_iter());
    let share = 100.0 * n_found as f64 / groups.len().max(1) as f64;
    let goals = vec![
        Goal {
            what: "best in the first three",
            figure: share,
            bound: least_found.map(Bound::AtLeast),
        },
        Goal { what: "worst regret", figure: score.worst, bound: most_worst.map(Bound::AtMost) },
    ];
    Line {
        table: "steps",
        part: format!("{}, choice", set.part),
        way,
        measure: Measure::Regret,
        score,
        n_constants,
        target,
        goals,
        peers: vec![("least t, least p, largest micro-batch", of_rule(set, &groups, usual))],
        note:
            "few groups hold most of it (see below); groups of one model, device count and batch \
               with three configurations or more"
                .to_owned(),
        ..Line::default()
    }
}
