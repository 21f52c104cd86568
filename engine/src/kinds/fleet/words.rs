//! Workers and their figures as people read them.

use cost_model::serving::worker::Shape;
use documents::plan::fleet::{PromisesDocument, RoleDocument, WorkerDocument};

/// `TP 4`, `TP 2, DP 4, EP 8`, `TP 2, PP 2 (33+31)`.
#[must_use]
pub(super) fn degrees(shape: &Shape) -> String {
    let mut text = format!("TP {}", shape.tensor);
    let further = [("DP", shape.data), ("EP", shape.expert), ("PP", shape.stages.len() as u32)];
    for (name, n) in further.into_iter().filter(|(_, n)| *n > 1) {
        text.push_str(&format!(", {name} {n}"));
    }
    let is_even = shape.stages.windows(2).all(|two| two[0] == two[1]);
    if !is_even {
        let layers: Vec<String> = shape.stages.iter().map(u32::to_string).collect();
        text.push_str(&format!(" ({})", layers.join("+")));
    }
    text
}

/// The degrees of a worker that a document states.
#[must_use]
pub(super) fn shape(worker: &WorkerDocument) -> Shape {
    Shape {
        tensor: worker.tensor,
        data: worker.data,
        context: 1,
        expert_tensor: worker.expert_tensor,
        expert: worker.expert,
        stages: worker.stages.clone(),
    }
}

/// Names of workers as exporters and tables have them: `prefill-0`, numbered within a role.
#[must_use]
pub(super) fn names(workers: &[WorkerDocument]) -> Vec<String> {
    let mut seen: Vec<RoleDocument> = Vec::new();
    let mut name = |worker: &WorkerDocument| {
        let n = seen.iter().filter(|role| **role == worker.role).count();
        seen.push(worker.role);
        format!("{}-{n}", worker.role.name())
    };
    workers.iter().map(&mut name).collect()
}

/// Workers in a line: `25 x prefill TP 1, 7 x decode TP 4`; kinds of devices where there are several.
#[must_use]
pub(super) fn workers(all: &[WorkerDocument]) -> String {
    let first = all.first().map(|worker| &worker.kind);
    let has_kinds = all.iter().any(|worker| Some(&worker.kind) != first);
    let of = |worker: &WorkerDocument| {
        let role = match worker.role {
            RoleDocument::Aggregated => String::new(),
            role => format!("{} ", role.name()),
        };
        let on = if has_kinds { format!(" on {}", worker.kind) } else { String::new() };
        format!("{} x {role}{}{on}", worker.replicas.len(), degrees(&shape(worker)))
    };
    all.iter().map(of).collect::<Vec<_>>().join("; ")
}

/// Seconds in the unit that latencies are read in.
#[must_use]
pub(super) fn latency(seconds: f64) -> String {
    match seconds < 0.1 {
        true => format!("{:.1} ms", 1e3 * seconds),
        false => format!("{seconds:.2} s"),
    }
}

/// `mean` or `p90`.
#[must_use]
pub(super) fn statistic(promises: &PromisesDocument) -> String {
    promises.percentile.map_or_else(|| "mean".to_owned(), |percent| format!("p{percent}"))
}

/// A number with thousands apart.
#[must_use]
pub(super) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate in four decimals at most, without zeros behind them.
#[must_use]
pub(super) fn per_second(rate: f64) -> String {
    let text = format!("{rate:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
