//! Whether what is predicted best of several ways to run a model is the best.

use std::collections::BTreeMap;

use cost_model::numeric::score::score;
use cost_model::runs::forms::model::shape::n_devices;

use super::NOMINAL;
use super::set::{Row, Set};
use crate::line::{Bound, Goal, Line, Measure};

/// Which of two ways to run a model on as many devices is the faster one.
pub(super) fn pairs(sharded: &Set<'_>, pipelined: &Set<'_>) -> Option<Line> {
    let times = |set: &Set<'_>| {
        let times = set.predict(&Vec::new());
        let rows = set.rows.iter().zip(times);
        let of = |(row, time): (&Row<'_>, f64)| {
            (n_devices(row.run.degrees()), (row.row.time_s, time, row.row.name.clone()))
        };
        rows.map(of).collect::<BTreeMap<_, _>>()
    };
    let others = times(pipelined);
    let mut n_decided = 0;
    let mut chosen = Vec::new();
    for (devices, this) in times(sharded) {
        let Some(other) = others.get(&devices) else { continue };
        let pick = if this.1 < other.1 { &this } else { other };
        let best = this.0.min(other.0);
        n_decided += usize::from(pick.0 <= best);
        chosen.push((pick.0, best, pick.2.clone()));
    }
    let share = 100.0 * n_decided as f64 / chosen.len().max(1) as f64;
    let bound = Some(Bound::AtLeast(100.0));
    (!chosen.is_empty()).then(|| Line {
        table: "runs",
        part: "runs SC21 Table 2, choice".to_owned(),
        way: NOMINAL,
        measure: Measure::Regret,
        score: score(chosen.into_iter()),
        goals: vec![Goal { what: "pairs decided as measured", figure: share, bound }],
        ..Line::default()
    })
}

/// Hosts of a group of nanotron's rows, how that is called, and the most regret in percent.
const CHOICES: [(&str, std::ops::RangeInclusive<u32>, f64); 2] = [
    ("runs nanotron, choice, 2 to 8 hosts", 2..=8, 1.0),
    ("runs nanotron, choice, 16 to 64 hosts", 16..=64, 10.0),
];

/// How much longer than the best what is predicted best takes, of one model on as many hosts.
pub(super) fn choices(set: &Set<'_>) -> Vec<Line> {
    let times = set.predict(&Vec::new());
    let mut groups: BTreeMap<(u64, &str), Vec<(f64, f64, &str)>> = BTreeMap::new();
    for (row, time) in set.rows.iter().zip(times) {
        let key = (n_devices(row.run.degrees()), row.row.model.as_str());
        groups.entry(key).or_default().push((time, row.row.time_s, row.row.name.as_str()));
    }
    let of = |(part, hosts, most): (&'static str, std::ops::RangeInclusive<u32>, f64)| {
        let devices = u64::from(*hosts.start()) * 8..=u64::from(*hosts.end()) * 8;
        let chosen =
            groups.iter().filter(|((n, _), _)| devices.contains(n)).filter_map(|(_, rows)| {
                let chosen = rows.iter().min_by(|a, b| a.0.total_cmp(&b.0))?;
                let best =
                    rows.iter().map(|(_, measured, _)| *measured).fold(f64::INFINITY, f64::min);
                Some((chosen.1, best, chosen.2))
            });
        Line {
            table: "runs",
            part: part.to_owned(),
            way: NOMINAL,
            measure: Measure::Regret,
            score: score(chosen),
            target: Some(most),
            note: "groups of one model and number of hosts".to_owned(),
            ..Line::default()
        }
    };
    CHOICES.into_iter().map(of).collect()
}
