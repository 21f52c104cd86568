//! Figures in words.

use ir::units::Nanos;

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
    let told = |(first, last): &(u32, u32)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    runs.iter().map(told).collect::<Vec<_>>().join(", ")
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

/// `21.9 to 27.6 ms`, with one unit where both have the same.
pub fn range<T: std::fmt::Display>(low: T, high: T) -> String {
    let (low, high) = (low.to_string(), high.to_string());
    match (low.split_once(' '), high.split_once(' ')) {
        (Some((number, unit)), Some((_, other))) if unit == other => format!("{number} to {high}"),
        _ => format!("{low} to {high}"),
    }
}
