//! Workers and their figures as people read them.

use cost_model::serving::worker::Shape;
use documents::plan::fleet::{PromisesDocument, RoleDocument, WorkerDocument};
use planner::serving::fleet::Role;
use planner::serving::serving_fleet::Answer;

use super::setting::Setting;

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

/// Equal workers.
pub(super) struct Group {
    role: RoleDocument,
    kind: String,
    shape: Shape,
    n: u64,
}

impl Group {
    /// `3 prefill workers of 2 devices (TP 1, DP 2, EP 2)`.
    fn told(&self, has_kinds: bool) -> String {
        let role = match self.role {
            RoleDocument::Aggregated => "",
            RoleDocument::Prefill => "prefill ",
            RoleDocument::Decode => "decode ",
        };
        let plural = |n: u64| if n == 1 { "" } else { "s" };
        let devices = self.shape.devices();
        let on = if has_kinds { format!(" {}", self.kind) } else { String::new() };
        format!(
            "{} {role}worker{} of {devices}{on} device{} ({})",
            self.n,
            plural(self.n),
            plural(devices),
            degrees(&self.shape)
        )
    }

    /// `3 x prefill TP 1, DP 2, EP 2`.
    fn short(&self, has_kinds: bool) -> String {
        let role = match self.role {
            RoleDocument::Aggregated => String::new(),
            role => format!("{} ", role.name()),
        };
        let on = if has_kinds { format!(" on {}", self.kind) } else { String::new() };
        format!("{} x {role}{}{on}", self.n, degrees(&self.shape))
    }
}

/// Workers of a document.
#[must_use]
pub(super) fn groups(all: &[WorkerDocument]) -> Vec<Group> {
    let of = |worker: &WorkerDocument| Group {
        role: worker.role,
        kind: worker.kind.clone(),
        shape: shape(worker),
        n: worker.replicas.len() as u64,
    };
    all.iter().map(of).collect()
}

/// Workers of an answer, whether its devices are there or not.
#[must_use]
pub(super) fn found(setting: &Setting, answer: &Answer) -> Vec<Group> {
    let counts = answer.found.best.iter().flat_map(|best| &best.counts);
    let of = |(at, n): &(usize, u32)| {
        let worker = &answer.types.workers[*at];
        Group {
            role: role(worker.figures.role),
            kind: setting.pools[worker.figures.pool].kind.clone(),
            shape: worker.shape.clone(),
            n: u64::from(*n),
        }
    };
    let mut all: Vec<Group> = counts.map(of).collect();
    all.sort_by_key(|group| group.role);
    all
}

fn joined(all: &[Group], text: impl Fn(&Group, bool) -> String) -> Vec<String> {
    let has_kinds = all.windows(2).any(|two| two[0].kind != two[1].kind);
    all.iter().map(|group| text(group, has_kinds)).collect()
}

/// Workers in a sentence.
#[must_use]
pub(super) fn workers(all: &[Group]) -> String {
    joined(all, Group::told).join(", ")
}

/// Workers in a sentence of at most `columns` characters, else in short: `5 x prefill TP 1; 2 x decode TP 4`.
#[must_use]
pub(super) fn planned(all: &[Group], columns: usize) -> String {
    let whole = workers(all);
    if whole.len() <= columns { whole } else { joined(all, Group::short).join("; ") }
}

/// Workers in at most `columns` characters; the rest is counted: `5 x prefill TP 1; 2 more`.
#[must_use]
pub(super) fn listed(all: &[Group], columns: usize) -> String {
    let words = joined(all, Group::short);
    let first = |n: usize| match words.len() - n {
        0 => words.join("; "),
        rest => format!("{}; {rest} more", words[..n].join("; ")),
    };
    let fits = (1..=words.len()).rev().map(first).find(|text| text.len() <= columns);
    fits.unwrap_or_else(|| first(words.len().min(1)))
}

/// Seconds in the unit that latencies are read in, to three digits at least.
#[must_use]
pub(super) fn latency(seconds: f64) -> String {
    match 1e3 * seconds {
        ms if ms < 9.995 => format!("{ms:.2} ms"),
        ms if ms < 99.95 => format!("{ms:.1} ms"),
        ms if ms < 999.5 => format!("{ms:.0} ms"),
        _ => format!("{seconds:.2} s"),
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

/// A rate in four significant digits at most, without zeros behind them.
#[must_use]
pub(super) fn per_second(rate: f64) -> String {
    let exponent = if rate == 0.0 { 0.0 } else { rate.abs().log10().floor() };
    // Thousandths of less than one, but of less than a tenth three digits.
    let decimals = if exponent < -1.0 { 2.0 - exponent } else { 3.0 - exponent.max(0.0) };
    let text = format!("{rate:.*}", decimals.clamp(0.0, 15.0) as usize);
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// A role as documents name it.
pub(super) const fn role(role: Role) -> RoleDocument {
    match role {
        Role::Prefill => RoleDocument::Prefill,
        Role::Decode => RoleDocument::Decode,
        Role::Aggregated => RoleDocument::Aggregated,
    }
}

/// A bound in four significant digits, rounded to the side on which it still holds.
#[must_use]
pub(super) fn four_digits(bound: f64, round: impl Fn(f64) -> f64) -> String {
    let scale = 10_f64.powf(3.0 - bound.abs().max(1e-9).log10().floor());
    // Of a whole number no digit is lost to the logarithm's scale.
    per_second(round((bound * scale * 1e3).round() / 1e3) / scale)
}
