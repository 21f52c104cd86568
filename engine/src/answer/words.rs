//! Figures in words.

use std::time::Duration;

use importers::Summary;
use ir::units::{Bytes, Nanos};

/// `3-5, 8` of sorted positions.
#[must_use]
pub fn ranges(layers: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for layer in layers {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*layer) => *last = *layer,
            _ => runs.push((*layer, *layer)),
        }
    }
    let text = |(first, last): &(u32, u32)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    runs.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// `1.3 %`; a bound of 0 is none.
#[must_use]
pub fn share(share: f64) -> String {
    if share.is_finite() { format!("{:.2} %", 100.0 * share) } else { "-".to_owned() }
}

/// The gap, rounded up: what is said is never less than what is. From 10 times on as a factor.
pub fn percent(value: Nanos, bound: Nanos) -> String {
    let above = u128::from(value.get().saturating_sub(bound.get()));
    let bound = u128::from(bound.get());
    if above == 0 {
        return "0 %".to_owned();
    }
    if bound == 0 {
        return "unknown".to_owned();
    }
    match (above * 1000).div_ceil(bound) {
        tenths if tenths < 100 => format!("{}.{} %", tenths / 10, tenths % 10),
        tenths if tenths < 10_000 => format!("{} %", (above * 100).div_ceil(bound)),
        _ => format!("{} x", above.div_ceil(bound) + 1),
    }
}

/// `12.3 ms` of the time that something took.
pub fn elapsed(duration: Duration) -> String {
    Nanos(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)).to_string()
}

/// `21.9 to 27.6 ms`, with one unit where both have the same.
pub fn range<T: std::fmt::Display>(low: T, high: T) -> String {
    let (low, high) = (low.to_string(), high.to_string());
    match (low.split_once(' '), high.split_once(' ')) {
        (Some((number, unit)), Some((_, other))) if unit == other => format!("{number} to {high}"),
        _ => format!("{low} to {high}"),
    }
}

/// `gpt2: 457 ops, 124.4 M parameters in 474 MiB, 0 % guessed`.
pub fn imported(name: &str, summary: &Summary) -> String {
    let guessed = summary.guessed_share * 100.0;
    let guessed = if guessed > 0.0 && guessed < 1.0 {
        format!("{guessed:.2} % guessed")
    } else {
        format!("{guessed:.0} % guessed")
    };
    let shares = [(summary.scaled_share, "scaled"), (summary.bounded_share, "at most")];
    let others = shares.into_iter().filter(|(share, _)| *share > 0.0);
    let others: String =
        others.map(|(share, what)| format!(", {:.0} % {what}", share * 100.0)).collect();
    // Instance files state sizes, not shapes.
    let elements = match summary.initializer_elements {
        elements if elements > summary.n_parameters => {
            format!("{} parameters in ", count(elements).replace(" G", " B"))
        }
        _ => "parameters of ".to_owned(),
    };
    let bytes = Bytes(summary.parameter_bytes);
    format!("{name}: {} ops, {elements}{bytes}, {guessed}{others}", summary.n_ops)
}

/// `124 M`: three digits of a rate.
pub(crate) fn rate(rate: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")];
    let (scale, unit) = UNITS.into_iter().find(|(scale, _)| rate >= *scale).unwrap_or((1.0, ""));
    let value = rate / scale;
    let digits = if value >= 99.95 { 0 } else { 1 + usize::from(value < 9.995) };
    format!("{value:.digits$}{unit}")
}

/// `124.4 M`.
pub(crate) fn count(n: u64) -> String {
    const UNITS: [(f64, &str); 4] = [(1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")];
    let value = n as f64;
    UNITS
        .iter()
        .find(|(scale, _)| value >= *scale)
        .map_or_else(|| n.to_string(), |(scale, unit)| format!("{:.1}{unit}", value / scale))
}
