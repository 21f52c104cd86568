//! Checks of single values, and names for diagnostics.

use ir::diagnostic::Diagnostic;
use ir::units::{Bytes, BytesPerSecond};

/// Largest size that a float holds to the byte.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
/// Slowest and fastest rate that is believed, in bytes per second.
pub(super) const RATES: std::ops::RangeInclusive<f64> = 1.0..=1e18;
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

/// A size in whole bytes.
pub(super) fn bytes(value: f64, key: &'static str, owner: &str) -> Result<Bytes, Diagnostic> {
    if value.is_finite() && (0.0..=MAX_EXACT).contains(&value) && value.fract() == 0.0 {
        return Ok(Bytes(value as u64));
    }
    Err(refused("size-invalid", key, owner, value, "a whole number of bytes, at most 2^53"))
}

/// A rate within [`RATES`].
pub(super) fn rate(
    value: f64,
    key: &'static str,
    owner: &str,
) -> Result<BytesPerSecond, Diagnostic> {
    BytesPerSecond::new(value)
        .filter(|_| RATES.contains(&value))
        .ok_or_else(|| refused("link-rate", key, owner, value, "from 1 to 1e18 bytes per second"))
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
        )
        .hint(format!("correct `{key}`"))),
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
    Diagnostic::input(
        code,
        format!("`{key}` of `{owner}` is {}, out of range; it must be {want}", number(value)),
    )
    .fact("value", value)
    .hint(format!("correct `{key}`"))
}

/// A number as people write it: with an exponent where it has many digits.
fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && size.is_finite() && !(1e-4..1e15).contains(&size) {
        format!("{value:e}")
    } else {
        value.to_string()
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
