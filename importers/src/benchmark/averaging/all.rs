//! Replicas that average all with all, every so many steps.

use std::ops::RangeInclusive;

use ir::diagnostic::Diagnostic;
use ir::instance::{AllReplicas, SyncBy, SyncWay};

use super::super::quantity::out_of_range;
use super::{Document, Each, MAX_RATE, MAX_SECONDS, Rates, Way};

/// Most periods or ratios of a way.
const MAX_CHOICES: usize = 64;
/// Steps from one average to the next.
const EVERY: RangeInclusive<u64> = 1..=1_000_000;
/// How many times less than all is sent.
const RATIOS: RangeInclusive<f64> = 1.0..=1e9;

/// How many replicas there are.
///
/// # Errors
/// `invalid-field` where that is not stated, or stated twice otherwise.
pub(super) fn n_replicas(document: &Document) -> Result<usize, Diagnostic> {
    let named = document.nodes.as_ref().map(Vec::len);
    match (document.replicas, named) {
        (Some(n), None) => Ok(n),
        (Some(n), Some(named)) if n == named => Ok(n),
        (None, Some(named)) => Ok(named),
        (Some(n), Some(named)) => {
            let message = format!("`replicas` is {n}, and `nodes` names {named}");
            Err(Diagnostic::input("invalid-field", message).hint("leave one of them out"))
        }
        (None, None) => {
            let message =
                "`replicas` is missing: one rate of all links does not say how many they are";
            Err(Diagnostic::input("invalid-field", message).hint("write \"replicas\": 8"))
        }
    }
}

/// Refuses what is stated of other peers than these.
///
/// # Errors
/// `invalid-field`.
pub(super) fn check(document: &Document) -> Result<(), Diagnostic> {
    let is_all = matches!(document.bytes_per_s, Rates::All(_));
    let of_others = [
        ("replicas", document.replicas.is_some()),
        ("latency_s", document.latency_s.is_some()),
        ("compute_s", document.compute_s.is_some()),
        ("sync", document.sync.is_some()),
        ("least_sent", document.least_sent.is_some()),
    ];
    let of_these = [
        ("kept", document.kept.is_some()),
        (
            "bytes",
            matches!(
                &document.bytes,
                Each::Each(sizes) if sizes.windows(2).any(|pair| pair[0] != pair[1])
            ),
        ),
    ];
    let given = if is_all { &of_these[..] } else { &of_others[..] };
    let Some((name, _)) = given.iter().find(|entry| entry.1) else { return Ok(()) };
    let (message, hint) = match (is_all, *name) {
        (true, "bytes") => ("`bytes` differ, and replicas have one model".to_owned(), "give one"),
        (true, _) => (
            format!("`{name}` says nothing of replicas that average all with all"),
            "leave it out: `r1` and `r2` of `sync` say what is sent",
        ),
        (false, _) => (
            format!("`{name}` says nothing of nodes that average in pairs or through a server"),
            "leave it out, or give one `bytes_per_s` for all",
        ),
    };
    Err(Diagnostic::input("invalid-field", message).hint(hint))
}

/// Numbers of what replicas compute, send and may leave out.
type Stated = (Option<f64>, Option<f64>, Option<f64>);

/// Replicas with what they may leave out.
///
/// # Errors
/// `invalid-field`, `number-out-of-range`.
pub(super) fn replicas(
    (latency_s, compute_s, least_sent): Stated,
    (bytes_per_s, bytes, n): (f64, &[u64], usize),
    ways: Vec<Way>,
) -> Result<AllReplicas, Diagnostic> {
    let missing = |name: &str, hint: &str| {
        let message = format!("`{name}` is missing");
        Diagnostic::input("invalid-field", message).hint(hint.to_owned())
    };
    let compute_s =
        compute_s.ok_or_else(|| missing("compute_s", "write \"compute_s\": 0.25, of a step"))?;
    if least_sent.is_none() && !ways.is_empty() {
        let hint = "write \"least_sent\": 0.01: so many models are sent in a step at least";
        return Err(missing("least_sent", hint));
    }
    let (latency_s, least_sent) = (latency_s.unwrap_or(0.0), least_sent.unwrap_or(0.0));
    let seconds =
        |name: &'static str, value: f64, least: f64| match value.is_finite() && value >= least {
            true if value <= MAX_SECONDS => Ok(()),
            _ => {
                let message = format!("`{name}` is {value:?}, not in {least} to {MAX_SECONDS:e}");
                Err(out_of_range(name, message))
            }
        };
    seconds("compute_s", compute_s, 0.0)?;
    seconds("latency_s", latency_s, 0.0)?;
    if !(0.0..=1.0).contains(&least_sent) {
        return Err(out_of_range(
            "least_sent",
            format!("`least_sent` is {least_sent:?}, not in 0 to 1"),
        ));
    }
    let most = bytes.iter().copied().max().unwrap_or_default() as f64;
    let takes_s = 4.0 * most / bytes_per_s + 4.0 * n as f64 * latency_s;
    if !(bytes_per_s > 0.0 && bytes_per_s <= MAX_RATE && takes_s <= MAX_SECONDS) {
        let message = format!(
            "`bytes_per_s` is {bytes_per_s:?}: not above 0 and at most {MAX_RATE:e}, or a model takes longer than {MAX_SECONDS:e} s"
        );
        return Err(out_of_range("bytes_per_s", message));
    }
    let mut found: Vec<SyncWay> = Vec::with_capacity(ways.len());
    for stated in ways {
        let way = way(stated)?;
        if found.iter().any(|other| other.by == way.by) {
            let message = format!("`{}` is in `sync` twice", way.by.name());
            return Err(Diagnostic::input("invalid-field", message).hint("list all periods in one"));
        }
        found.push(way);
    }
    Ok(AllReplicas { bytes_per_s, latency_s, compute_s, ways: found, least_sent })
}

fn way(stated: Way) -> Result<SyncWay, Diagnostic> {
    let by = SyncBy::ALL.into_iter().find(|by| by.name() == stated.by).ok_or_else(|| {
        let names = SyncBy::ALL.map(SyncBy::name).join(", ");
        Diagnostic::input(
            "invalid-field",
            format!("`by` of `sync` is `{}`, which is no way to average", stated.by),
        )
        .hint(format!("use one of {names}"))
    })?;
    let name = by.name();
    let takes = match by {
        SyncBy::Cser => [true, true],
        SyncBy::LocalAdaAlter => [false, false],
        SyncBy::OuterSteps => [false, true],
    };
    let ratios = |what: &'static str, stated: Option<Vec<f64>>, is_taken: bool| match stated {
        Some(_) if !is_taken => {
            let message = format!("`{what}` says nothing of `{name}`, which sends no part there");
            Err(Diagnostic::input("invalid-field", message).hint("leave it out"))
        }
        numbers => some(&numbers.unwrap_or_else(|| vec![1.0]), what, &RATIOS),
    };
    Ok(SyncWay {
        by,
        every: some(&stated.every, "every", &EVERY)?,
        gradients: ratios("r1", stated.r1, takes[0])?,
        models: ratios("r2", stated.r2, takes[1])?,
    })
}

/// Some numbers of a range.
fn some<T: PartialOrd + Copy + std::fmt::Debug + std::fmt::Display>(
    numbers: &[T],
    what: &'static str,
    range: &RangeInclusive<T>,
) -> Result<Vec<T>, Diagnostic> {
    if numbers.is_empty() || numbers.len() > MAX_CHOICES {
        let message = format!("`{what}` has {} numbers, not 1 to {MAX_CHOICES}", numbers.len());
        return Err(out_of_range(what, message));
    }
    if let Some(number) = numbers.iter().find(|number| !range.contains(number)) {
        let (least, most) = (range.start(), range.end());
        return Err(out_of_range(
            what,
            format!("`{what}` is {number:?}, not in {least} to {most}"),
        ));
    }
    match numbers.iter().enumerate().find(|(at, number)| numbers[..*at].contains(number)) {
        None => Ok(numbers.to_vec()),
        Some((_, twice)) => {
            let message = format!("`{what}` lists {twice:?} twice");
            Err(Diagnostic::input("invalid-field", message).hint("list each number once"))
        }
    }
}
