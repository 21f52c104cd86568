//! Numbers of a profile's JSON objects, each within what can be believed: the one table for these
//! folders. The limits lie far outside of what was measured, so that no sum of times overflows.

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;
use ir::units::{Bytes, BytesPerSecond, Seconds};
use serde_json::{Map, Value};

/// Bytes of the profiler's MB.
const MEBIBYTE: f64 = 1_048_576.0;
/// Shortest and longest time that is believed, in milliseconds: a clock tick, and a day.
const MILLISECONDS: [f64; 2] = [1e-9, 1e8];
/// Largest size that is believed, in MB.
const MOST_MEGABYTES: f64 = 1e9;
/// Lowest and highest rate that is believed, in GB/s: a modem line, and a hundred times the fastest
/// memory.
const GIGABYTES_PER_S: [f64; 2] = [1e-4, 1e6];
/// Largest count of ranks, samples or tokens that is believed.
pub(super) const MOST_COUNT: u64 = 1 << 24;

/// A number of a key, between two bounds.
///
/// # Errors
/// `missing-key`, `profile-value`.
pub(super) fn within(
    object: &Map<String, Value>,
    key: &str,
    least: f64,
    most: f64,
) -> Result<f64, Diagnostic> {
    let value = object.get(key).ok_or_else(|| missing(key))?;
    number(key, value, least, most)
}

fn number(key: &str, value: &Value, least: f64, most: f64) -> Result<f64, Diagnostic> {
    let found = value.as_f64().filter(|n| n.is_finite() && (least..=most).contains(n));
    found.ok_or_else(|| {
        let shown: String = value.to_string().chars().take(40).collect();
        let message = format!("`{key}` is {shown}; it must be a number from {least} to {most}");
        Diagnostic::input("profile-value", message).fact("key", key)
    })
}

/// A key that is not there.
pub(super) fn missing(key: &str) -> Diagnostic {
    Diagnostic::input("missing-key", format!("the key `{key}` is missing"))
        .fact("key", key)
        .hint("run the profiler's step that writes it")
}

/// Milliseconds, times a count.
///
/// # Errors
/// `profile-value`.
pub(super) fn milliseconds(key: &str, value: &Value, times: f64) -> Result<Seconds, Diagnostic> {
    let milliseconds = number(key, value, MILLISECONDS[0], MILLISECONDS[1])?;
    Seconds::new(milliseconds * times / 1e3).ok_or_else(|| missing(key))
}

/// A size in MB.
///
/// # Errors
/// `profile-value`.
pub(super) fn megabytes(key: &str, value: &Value) -> Result<Bytes, Diagnostic> {
    let megabytes = number(key, value, 0.0, MOST_MEGABYTES)?;
    Ok(Bytes((megabytes * MEBIBYTE).round() as u64))
}

/// A rate in GB/s.
///
/// # Errors
/// `profile-value`.
pub(super) fn rate(key: &str, value: &Value) -> Result<BytesPerSecond, Diagnostic> {
    let gigabytes_per_s = number(key, value, GIGABYTES_PER_S[0], GIGABYTES_PER_S[1])?;
    BytesPerSecond::new(gigabytes_per_s * 1e9).ok_or_else(|| missing(key))
}

/// Sizes by a degree: `{"1": 514.5, "2": 273.2}`; other keys are passed over.
///
/// # Errors
/// `profile-value`; `missing-key` where none is left.
pub(super) fn by_degree(key: &str, value: &Value) -> Result<BTreeMap<u32, Bytes>, Diagnostic> {
    let mut found = BTreeMap::new();
    for (degree, size) in value.as_object().into_iter().flatten() {
        if let Some(degree) = count(degree).and_then(|n| u32::try_from(n).ok()) {
            found.insert(degree, megabytes(key, size)?);
        }
    }
    if found.is_empty() { Err(missing(key)) } else { Ok(found) }
}

/// A count of at least 1 that can be believed.
pub(super) fn count(text: &str) -> Option<u64> {
    text.parse::<u64>().ok().filter(|n| (1..=MOST_COUNT).contains(n))
}
