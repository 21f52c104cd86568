//! More memory for each device.

use std::sync::Arc;

use cost_model::ops::problem::Problem;
use ir::units::Bytes;

use super::{Found, RECIPES, Search, on_cluster};

/// Steps that close in on the least limit.
const STEPS: usize = 8;
/// Limits closer than one part in so many are not told apart.
const FINE: u64 = 64;
/// Below, sizes are not rounded.
const ROUND_FROM: u64 = 1 << 20;

/// A limit with a verified plan.
struct Enough {
    limit: u64,
    found: Found,
}

/// The least limit that was found, at least `least` bytes, as a hint.
pub(super) fn hint(search: &mut Search<'_>, problem: &Arc<Problem>, least: u64) -> Option<String> {
    let enough = search_for(search, problem, least)?;
    let size = match enough.limit {
        bytes if bytes < ROUND_FROM => format!("{bytes} B"),
        bytes => format!("{bytes} B ({})", Bytes(bytes)),
    };
    let mut hint = format!("raise each memory limit below {size} to it {}", enough.found.proof());
    if let Some(capacity) = capacity(problem, enough.limit)
        && let Some(limit) = least_limit_at(problem, capacity)
        && limited(problem, limit)
            .and_then(|problem| search.plan(&problem, &[enough.found.algorithm]))
            .is_some()
    {
        hint += &format!(
            "; on devices with less, `memory_bytes: {capacity}` gives it, with context and reserve"
        );
    }
    if let Some(factor) = problem.cluster.memory_factor(Bytes(enough.limit))
        && on_cluster(problem, (*problem.cluster).clone().with_memory(factor))
            .is_some_and(|problem| search.plan(&problem, &[enough.found.algorithm]).is_some())
    {
        hint += &format!("; --scale memory={factor} is enough");
    }
    Some(hint)
}

fn search_for(search: &mut Search<'_>, problem: &Arc<Problem>, least: u64) -> Option<Enough> {
    if least == u64::MAX {
        return None;
    }
    let first = rounded_up(least)?;
    if let Some(enough) = verified(search, problem, first, RECIPES) {
        return Some(enough);
    }
    let mut best = peaks_without_limits(search, problem, first)?;
    let mut low = first;
    for _ in 0..STEPS {
        if best.limit - low <= low / FINE || search.is_over() {
            break;
        }
        let middle = rounded_up(low + (best.limit - low) / 2)?;
        if middle >= best.limit {
            break;
        }
        match verified(search, problem, middle, RECIPES) {
            Some(enough) => best = enough,
            None => low = middle,
        }
    }
    Some(best)
}

/// Without limits, each recipe shows the peak that it needs: the least that it also keeps to.
fn peaks_without_limits(
    search: &mut Search<'_>,
    problem: &Arc<Problem>,
    least: u64,
) -> Option<Enough> {
    let unlimited = limited(problem, 1 << 60)?;
    let mut best: Option<Enough> = None;
    for recipe in RECIPES {
        let Some(found) = search.plan(&unlimited, &[recipe]) else { continue };
        let Some(limit) = rounded_up(found.peak.max(least)) else { continue };
        if best.as_ref().is_some_and(|best| best.limit <= limit) {
            continue;
        }
        let enough = verified(search, problem, limit, &[recipe]);
        best = enough.or(best);
    }
    best
}

fn verified(
    search: &mut Search<'_>,
    problem: &Arc<Problem>,
    limit: u64,
    recipes: &[&'static str],
) -> Option<Enough> {
    let found = search.plan(&limited(problem, limit)?, recipes)?;
    Some(Enough { limit, found })
}

/// The problem with at least so many bytes for each device.
fn limited(problem: &Problem, limit: u64) -> Option<Arc<Problem>> {
    let mut cluster = (*problem.cluster).clone();
    for device in &mut cluster.devices {
        if device.memory_limit().is_some_and(|stated| stated < Bytes(limit)) {
            let margins = device.context.get().checked_add(device.reserve.get())?;
            device.capacity = Some(Bytes(limit.checked_add(margins)?));
        }
    }
    on_cluster(problem, cluster)
}

/// Up to what [`Bytes`] shows: a tenth of a unit below 100 units, a unit above. Whoever types the
/// shown size back gets no less.
fn rounded_up(bytes: u64) -> Option<u64> {
    if bytes < ROUND_FROM {
        return Some(bytes);
    }
    let unit = (0..=6).map(|k| 1u128 << (10 * k)).rev().find(|unit| u128::from(bytes) >= *unit)?;
    let bytes = u128::from(bytes);
    let tenths = (bytes * 10).div_ceil(unit);
    let shown = if tenths < 1000 { tenths } else { tenths.div_ceil(10) * 10 };
    u64::try_from(shown * unit / 10).ok()
}

/// The `memory_bytes` that leave at least this limit on each device that has less today, whether
/// its reserve is a size or a share of its capacity; `None` without context and reserve.
fn capacity(problem: &Problem, limit: u64) -> Option<u64> {
    let devices = problem.cluster.devices.iter();
    let needed =
        devices.filter(|d| d.memory_limit().is_some_and(|stated| stated < Bytes(limit))).map(|d| {
            let margins = d.context.get().saturating_add(d.reserve.get());
            let bytes = d.capacity.map_or(0, Bytes::get);
            let share = d.reserve.as_f64() / bytes.max(1) as f64;
            let by_share = (limit as f64 + d.context.as_f64()) / (1.0 - share).max(0.01);
            // A float cast saturates; the addition covers rounding.
            let by_share = (by_share.ceil() as u64).saturating_add(limit >> 40).saturating_add(2);
            (margins > 0, by_share.max(limit.saturating_add(margins)))
        });
    let (any, most) = needed
        .fold((false, 0), |(any, most), (margins, capacity)| (any || margins, capacity.max(most)));
    if any { three_digits_up(most) } else { None }
}

fn three_digits_up(number: u64) -> Option<u64> {
    let step = 10u64.checked_pow(number.max(1).ilog10().saturating_sub(2))?;
    number.div_ceil(step).checked_mul(step)
}

/// The least limit over the devices where `memory_bytes` is `capacity` and the reserve a share.
fn least_limit_at(problem: &Problem, capacity: u64) -> Option<u64> {
    let limits = problem.cluster.devices.iter().map(|d| {
        let bytes = d.capacity.map_or(0, Bytes::get);
        let share = d.reserve.as_f64() / bytes.max(1) as f64;
        let reserve = (share * capacity as f64).round() as u64;
        capacity.checked_sub(d.context.get())?.checked_sub(reserve.max(d.reserve.get()))
    });
    limits.min().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_no_less_than_what_is_needed() {
        assert_eq!(rounded_up(2500), Some(2500));
        let gib = 1u64 << 30;
        // 24.2 GiB is 25,984,552,140.8 B.
        assert_eq!(rounded_up(24 * gib + gib / 8), Some(25_984_552_140));
        assert_eq!(rounded_up(150 * gib + 1), Some(151 * gib));
        assert_eq!(rounded_up(2 * gib), Some(2 * gib));
        for bytes in [1 << 20, 3_333_333_333, 777_777_777_777, (1 << 50) + 17] {
            let up = rounded_up(bytes).unwrap_or(0);
            assert!(up >= bytes && up - bytes <= bytes / 10, "{bytes} to {up}");
            assert_eq!(rounded_up(up), Some(up), "{bytes}");
        }
        assert_eq!(three_digits_up(85_899_345_920), Some(85_900_000_000));
        assert_eq!(three_digits_up(7), Some(7));
    }
}
