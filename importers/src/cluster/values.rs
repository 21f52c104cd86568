//! Checks of single values, and names for diagnostics.

use ir::diagnostic::Diagnostic;
use ir::units::{Bytes, BytesPerSecond};

/// Largest size that a float holds to the byte.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
/// Longest start-up cost that is believed, in seconds.
const MAX_LATENCY: f64 = 3_600.0;

/// Names in back-quotes, at most eight.
pub(super) fn quoted(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text =
        names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

/// With a hint that names the nearest known names, if any is near.
pub(super) fn near<'a>(
    diagnostic: Diagnostic,
    name: &str,
    known: impl Iterator<Item = &'a str>,
) -> Diagnostic {
    let mut scored: Vec<(f64, &str)> = known
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(score, _)| *score > 0.75)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.dedup();
    let names: Vec<String> = scored.iter().take(3).map(|(_, n)| (*n).to_owned()).collect();
    if names.is_empty() {
        return diagnostic;
    }
    let hint = format!("did you mean {}?", quoted(&names).replace(", `", " or `"));
    diagnostic.hint(hint)
}

/// A size in whole bytes.
pub(super) fn bytes(value: f64, key: &'static str, owner: &str) -> Result<Bytes, Diagnostic> {
    if value.is_finite() && (0.0..=MAX_EXACT).contains(&value) && value.fract() == 0.0 {
        return Ok(Bytes(value as u64));
    }
    Err(refused("size-invalid", key, owner, value, "a whole number of bytes, at most 2^53"))
}

/// A rate, positive and finite.
pub(super) fn rate(
    value: f64,
    key: &'static str,
    owner: &str,
) -> Result<BytesPerSecond, Diagnostic> {
    BytesPerSecond::new(value)
        .ok_or_else(|| refused("link-rate", key, owner, value, "positive and finite"))
}

/// A start-up cost in nanoseconds.
pub(super) fn latency_ns(seconds: f64, owner: &str) -> Result<f64, Diagnostic> {
    if seconds.is_finite() && (0.0..=MAX_LATENCY).contains(&seconds) {
        return Ok(seconds * 1e9);
    }
    Err(refused("link-latency", "latency_s", owner, seconds, "between 0 and 3600 seconds"))
}

/// A count from 1 to `most`.
pub(super) fn count(
    value: u64,
    key: &'static str,
    owner: &str,
    most: u64,
) -> Result<usize, Diagnostic> {
    match usize::try_from(value) {
        Ok(count) if (1..=most).contains(&value) => Ok(count),
        _ => Err(Diagnostic::input(
            "count-invalid",
            format!("`{key}` of `{owner}` is {value}; it must be between 1 and {most}"),
        )),
    }
}

/// A refused number.
pub(super) fn refused(
    code: &'static str,
    key: &'static str,
    owner: &str,
    value: f64,
    want: &str,
) -> Diagnostic {
    Diagnostic::input(code, format!("`{key}` of `{owner}` is {value}; it must be {want}"))
}
