//! What a calibration on steps of one kind of run does to the others.

use std::collections::BTreeMap;

use cost_model::calibrate::steps::identified::identified;
use cost_model::numeric::score::{Score, score};
use cost_model::runs::forms::constants::Constants;
use cost_model::runs::forms::fit::Sample;
use ir::profile::ModelKind;

use super::set::{Row, Set};
use super::{Protocol, sequence};
use crate::judged::intervals::LONG;
use crate::judged::own_steps::OWN;
use crate::judged::shuffled;
use crate::line::{Bound, Goal, Line};

/// Random draws of each kind.
const DRAWS: u64 = 10;
/// Rows of a kind below which none is judged.
const FEWEST: usize = 3;
/// Points by which the mean error of a kind may grow in any draw, when another kind was measured.
const MOST_WORSE: f64 = 1.0;
/// Median error of the measured kind in percent, over all draws.
const MOST_OWN: f64 = 6.0;

/// Kind of model, bits of operands, whether samples are long.
type Kind = (ModelKind, u64, bool);

fn kind(row: &Row<'_>) -> Kind {
    let row = row.row;
    (ModelKind::of(&row.card), row.dtype.bits(), sequence(row) >= LONG)
}

/// Each kind of run of one cluster and stack, by constants that eight random rows of one of them calibrated:
/// `calibrate --steps` lets those of dense models price no mixture, and the other way round.
pub(super) fn line(set: &Set<'_>, protocol: &Protocol) -> Option<Line> {
    let (mut own, mut others, mut worse) = (Vec::new(), Vec::new(), f64::NEG_INFINITY);
    for rows in set.alike(protocol.cluster) {
        let mut kinds: BTreeMap<Kind, Vec<usize>> = BTreeMap::new();
        for (at, row) in rows.iter().enumerate() {
            kinds.entry(kind(row)).or_default().push(at);
        }
        if kinds.len() < 2 {
            continue;
        }
        let nominal = set.times(&rows, |stack| Constants::nominal(stack));
        for (measured, places) in kinds.iter().filter(|(_, places)| places.len() >= OWN + FEWEST) {
            for seed in 0..DRAWS {
                let order: Vec<usize> =
                    shuffled(places.len(), seed).into_iter().map(|at| places[at]).collect();
                let (drawn, left) = order.split_at(OWN);
                let samples: Vec<Sample<'_>> = drawn.iter().map(|at| rows[*at].sample()).collect();
                let after = set.times(&rows, |stack| {
                    identified(&samples, OWN, stack, &Constants::nominal(stack)).0
                });
                let scored = |places: &[usize],
                              times: &[f64]|
                 -> (Score, Vec<(f64, f64, String)>) {
                    let row =
                        |at: &usize| (times[*at], rows[*at].row.time_s, rows[*at].row.name.clone());
                    let pairs: Vec<_> = places.iter().map(row).collect();
                    (score(pairs.iter().cloned()), pairs)
                };
                own.extend(scored(left, &after).1);
                let unmeasured =
                    kinds.iter().filter(|(other, of)| *other != measured && of.len() >= FEWEST);
                for (other, places) in unmeasured {
                    let times = if other.0 == measured.0 { &after } else { &nominal };
                    let (now, pairs) = scored(places, times);
                    worse = worse.max(now.mape - scored(places, &nominal).0.mape);
                    others.extend(pairs);
                }
            }
        }
    }
    let own = score(own.into_iter());
    let goal = |what, figure, most| Goal { what, figure, bound: Some(Bound::AtMost(most)) };
    (!others.is_empty()).then(|| Line {
        table: "runs",
        part: format!("{}, other kinds", set.part),
        way: "eight steps of one kind, ten draws",
        score: Score { rows: Vec::new(), ..score(others.into_iter()) },
        goals: vec![
            goal("points worse than nominal, worst kind and draw", worse, MOST_WORSE),
            goal("median error of the measured kind", own.median, MOST_OWN),
        ],
        ..Line::default()
    })
}
