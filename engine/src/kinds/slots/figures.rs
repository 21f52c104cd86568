//! Offloaded experts in figures, and as people read them.

use documents::plan::PlanDocument;
use documents::plan::experts::{CacheDocument, ExpertLayersDocument, ExpertsDocument};

use crate::answer::page::{Column, Page};
use crate::answer::rows::Rows;
use crate::answer::words::ranges;
use crate::answer::words::share as percent;

/// Sums over layers.
#[must_use]
pub fn sums(experts: &ExpertsDocument) -> CacheDocument {
    let mut sum = CacheDocument::default();
    for cache in experts.layers.iter().filter_map(|entry| entry.cache.as_ref()) {
        sum.needed = sum.needed.saturating_add(cache.needed);
        sum.missed = sum.missed.saturating_add(cache.missed);
        sum.ahead = sum.ahead.saturating_add(cache.ahead);
        sum.waves = sum.waves.saturating_add(cache.waves);
    }
    sum
}

/// Share of what is needed that lies in slots when a layer begins.
#[must_use]
pub fn hit_ratio(cache: &CacheDocument) -> f64 {
    match cache.needed {
        0 => 1.0,
        needed => 1.0 - cache.missed as f64 / needed as f64,
    }
}

/// A row for each layer, as many as are shown.
pub fn table(plan: &PlanDocument, rows: Rows, page: &Page) {
    let columns = Column::row(
        "layer | #slots | #resident | #needed | #hits | #missed | #fetched ahead \
             | #waves",
    );
    let row = |entry: &ExpertLayersDocument| {
        let cache = entry.cache.unwrap_or_default();
        vec![
            ranges(&entry.layers),
            entry.slots.to_string(),
            entry.resident.len().to_string(),
            cache.needed.to_string(),
            percent(hit_ratio(&cache)),
            cache.missed.to_string(),
            cache.ahead.to_string(),
            cache.waves.to_string(),
        ]
    };
    rows.table(&columns, plan.experts.layers.iter().map(row), page);
}

/// What steps take, and what a device holds.
#[must_use]
pub fn sentences(plan: &PlanDocument) -> Vec<String> {
    let Some(host) = &plan.experts.host else { return Vec::new() };
    let sum = sums(&plan.experts);
    let whence = if host.is_traced { "of the trace" } else { "drawn from routed tokens" };
    let steps = host.steps.max(1) as f64;
    let regrouped = host.regrouped.map(|regrouped| {
        let words = if regrouped.is_done { "change places" } else { "stay in their places" };
        format!(
            "tokens of {} steps {words}: in order {} experts are needed and {} missed, and no places need \
             less than {}",
            regrouped.steps,
            regrouped.needed_in_order,
            regrouped.missed_in_order,
            regrouped.needed_at_least
        )
    });
    let lines = [
        format!(
            "{} steps {whence} need {} experts, {} of them in slots; {} misses, {} fetched ahead",
            host.steps,
            sum.needed,
            percent(hit_ratio(&sum)),
            sum.missed,
            sum.ahead
        ),
        format!(
            "a step computes {:.3} ms in these layers and waits {:.3} ms for experts over {}",
            1e3 * host.compute_s / steps,
            1e3 * host.exposed_s / steps,
            host.link
        ),
        format!(
            "a device holds {:.2} GB of weights in {} slots of {:.2} MB",
            host.memory_bytes as f64 / 1e9,
            plan.experts.layers.iter().map(|entry| u64::from(entry.slots)).sum::<u64>(),
            host.expert_bytes as f64 / 1e6
        ),
    ];
    lines.into_iter().chain(regrouped).collect()
}
