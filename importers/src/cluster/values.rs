//! Conversions of single values, and names for diagnostics. What is believed stands in `ranges.rs`.

use ir::diagnostic::Diagnostic;
use ir::units::{Bytes, BytesPerSecond, FlopsPerSecond, Watts};

use super::ranges::{checked, whole};

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

/// A size in whole bytes.
pub(super) fn bytes(value: f64, key: &'static str, owner: &str) -> Result<Bytes, Diagnostic> {
    whole(key, owner, value).map(Bytes)
}

/// A rate of a link or a memory.
pub(super) fn rate(
    value: f64,
    key: &'static str,
    owner: &str,
) -> Result<BytesPerSecond, Diagnostic> {
    BytesPerSecond::new(checked(key, owner, value)?).ok_or_else(|| lost(key))
}

/// A peak rate of operations.
pub(super) fn peak(
    value: f64,
    key: &'static str,
    owner: &str,
) -> Result<FlopsPerSecond, Diagnostic> {
    FlopsPerSecond::new(checked(key, owner, value)?).ok_or_else(|| lost(key))
}

/// What a device may draw.
pub(super) fn watts(value: f64, key: &'static str, owner: &str) -> Result<Watts, Diagnostic> {
    Watts::new(checked(key, owner, value)?).ok_or_else(|| lost(key))
}

/// A range that holds what the type does not.
fn lost(key: &'static str) -> Diagnostic {
    Diagnostic::input("kind-rate", format!("`{key}` must be positive and finite"))
}

/// A start-up cost in nanoseconds.
pub(super) fn latency_ns(seconds: f64, owner: &str) -> Result<f64, Diagnostic> {
    checked("latency_s", owner, seconds).map(|seconds| seconds * 1e9)
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
        )
        .hint(format!("correct `{key}`"))),
    }
}

/// A name that options can spell: `--pin OP=DEVICE` and lists of names end at `=` and `,`.
pub(super) fn check_name(name: &str, what: &'static str) -> Result<(), Diagnostic> {
    if name.trim().is_empty() {
        return Err(Diagnostic::input("name-invalid", format!("the name of a {what} is empty"))
            .hint("give it a name of letters and digits"));
    }
    if name.contains([',', '=']) {
        return Err(Diagnostic::input(
            "name-invalid",
            format!("the name `{name}` of a {what} holds a comma or an equals sign"),
        )
        .hint("use letters, digits, dots and dashes: options could not name it otherwise"));
    }
    Ok(())
}
