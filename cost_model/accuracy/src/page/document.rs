//! A line of the accuracy table as JSON.

use serde_json::{Value, json};

use crate::line::{Bound, Goal, Line, Measure};

pub(crate) fn of(line: &Line) -> Value {
    let peer = |(name, error): &(&str, f64)| json!({ "name": name, "mean_percent": error });
    json!({
        "table": line.table,
        "part": line.part,
        "way": line.way,
        "measure": match line.measure {
            Measure::TimeError => "time-error",
            Measure::MemoryError => "memory-error",
            Measure::Regret => "regret",
            Measure::HalfWidth => "half-width",
        },
        "rows": line.score.n,
        "mean_percent": line.score.mape,
        "signed_percent": line.score.signed,
        "median_percent": line.score.median,
        "p90_percent": line.score.p90,
        "worst_percent": line.score.worst,
        "worst_row": line.score.worst_row,
        "constants_per_system": line.n_constants,
        "to_reach_percent": line.target,
        "reached": line.is_judged().then(|| line.reached()),
        "goals": line.goals.iter().map(goal).collect::<Vec<_>>(),
        "peers": line.peers.iter().map(peer).collect::<Vec<_>>(),
        "published": line.published.iter().map(|published| json!({
            "name": published.model,
            "least_percent": published.percent.0,
            "most_percent": published.percent.1,
            "source": published.source,
        })).collect::<Vec<_>>(),
        "note": line.note,
    })
}

fn goal(goal: &Goal) -> Value {
    let (at_most, at_least) = match goal.bound {
        None => (None, None),
        Some(Bound::AtMost(limit)) => (Some(limit), None),
        Some(Bound::AtLeast(limit)) => (None, Some(limit)),
    };
    json!({
        "what": goal.what,
        "percent": goal.figure,
        "at_most_percent": at_most,
        "at_least_percent": at_least,
        "reached": goal.reached(),
    })
}
