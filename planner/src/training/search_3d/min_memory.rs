//! The least memory with which a plan of a space fits, and what binds: the answer where none does.

use std::collections::BTreeMap;

use cost_model::runs::forms::model::Pricing;
use cost_model::runs::forms::model::priced::Priced;
use cost_model::runs::judge::judge;
use cost_model::runs::judge::memory::Holding;
use cost_model::runs::oracle::lowered;
use ir::plan::Mesh;

use super::fit::{Fitted, Fitter};
use super::judge::grid;
use super::space::{Configuration, Pins, Space, leaves};
use super::{Options, bound, bounded};
use crate::training::order::in_flight;

/// Halvings of the interval in which the least limit is looked for.
const HALVINGS: u32 = 24;

/// One rank of the plan that needs least.
#[derive(Clone, Debug, PartialEq)]
pub struct RankNeed {
    /// The most bytes that lie there.
    pub need: u64,
    /// What lies there then, largest first.
    pub alive: Vec<Holding>,
}

/// The plan of a space that needs least memory on its fullest device.
#[derive(Clone, Debug, PartialEq)]
pub struct Least {
    /// The configuration.
    pub configuration: Configuration,
    /// Its stages.
    pub fitted: Fitted,
    /// By rank.
    pub ranks: Vec<RankNeed>,
}

impl Least {
    /// Bytes of the fullest device.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.ranks.iter().map(|rank| rank.need).max().unwrap_or(0)
    }
}

/// Finds it, whatever the limit is, with hosts holding what the pricing says. `None` for a space without configurations, and where the search
/// has to stop before.
#[must_use]
pub fn least(pricing: &Pricing<'_>, space: &Space, options: &Options) -> Option<Least> {
    let unlimited = Pricing { limit: None, ..*pricing };
    let space = &Space { pins: Pins { may_offload: false, ..space.pins.clone() }, ..space.clone() };
    let mut best: Option<(f64, Configuration)> = None;
    // A smaller micro-batch never needs more, and the mesh needs nothing.
    let mut smallest: BTreeMap<super::Family, u64> = BTreeMap::new();
    let shapes = bounded(&unlimited, space, options);
    for bounded in &shapes {
        let least = smallest.entry(super::family(&bounded.shape)).or_insert(u64::MAX);
        *least = bounded.shape.degrees.micro_batch.min(*least);
    }
    for bounded in &shapes {
        let is_least = smallest.get(&super::family(&bounded.shape))
            == Some(&bounded.shape.degrees.micro_batch)
            && (bounded.shape.degrees.mesh == Mesh::TpCpDpPp || space.pins.mesh.is_some());
        if options.stop().is_some() {
            return None;
        }
        if !is_least {
            continue;
        }
        let (all, _) = leaves(&bounded.shape, space, pricing);
        let most_shared = all.iter().map(|configuration| configuration.degrees.zero).max();
        let plain = all.iter().map(|configuration| configuration.order).min();
        let wanted = |configuration: &&Configuration| {
            let is_most_shared = Some(configuration.degrees.zero) == most_shared;
            // What is gathered until the last micro-batch may need more the more is shared out.
            let is_least =
                is_most_shared || unlimited.accumulates_unsharded(&configuration.degrees);
            is_least && Some(configuration.order) == plain
        };
        for configuration in all.iter().filter(wanted) {
            let passes = std::sync::Arc::clone(&bounded.passes);
            let priced = configuration.priced(unlimited, passes);
            let below = best.as_ref().map_or(f64::MAX, |(bytes, _)| bytes * (1.0 - 1e-6));
            if bound::is_too_large(&priced, &bounded.totals, below) {
                continue;
            }
            if let Some(bytes) = least_limit(&priced, configuration, below) {
                best = Some((bytes, configuration.clone()));
            }
        }
    }
    let (bytes, configuration) = best?;
    told(&unlimited, configuration, bytes)
}

/// The least limit below `below` that a configuration fits into.
fn least_limit(priced: &Priced<'_>, configuration: &Configuration, below: f64) -> Option<f64> {
    let d = &configuration.degrees;
    let m = u32::try_from(d.n_micro_batches).ok()?;
    let in_flight = in_flight(configuration.order, d, m).ok()?;
    let fits = |limit: f64| Fitter::new(priced, configuration, &in_flight, limit).fits();
    let unlimited = 1e18;
    let mut high = below.min(unlimited);
    if !fits(high) {
        return None;
    }
    let mut low = priced.rank_bytes;
    for _ in 0..HALVINGS {
        // Geometric, as nothing is known of its size.
        let middle = (low.max(1.0) * high).sqrt();
        if fits(middle) { high = middle } else { low = middle }
    }
    Some(high)
}

fn told(pricing: &Pricing<'_>, configuration: Configuration, bytes: f64) -> Option<Least> {
    let passes =
        cost_model::runs::forms::model::priced::Passes::of(pricing, &configuration.degrees);
    let priced = configuration.priced(*pricing, std::sync::Arc::new(passes));
    let d = &configuration.degrees;
    let m = u32::try_from(d.n_micro_batches).ok()?;
    let in_flight = in_flight(configuration.order, d, m).ok()?;
    let fitted = Fitter::new(&priced, &configuration, &in_flight, bytes).fit()?;
    let ranks: Vec<u32> = (0..fitted.figures.len())
        .map(|stage| configuration.order.rank_of(d.pipeline.max(1), stage as u32))
        .collect();
    let grid = grid(&configuration, &fitted).ok()?;
    let costs = lowered(&priced, &fitted.figures, &ranks, &grid);
    let report = judge(&costs, &grid).ok()?.report;
    let ranks = report.ranks.into_iter();
    let ranks = ranks.map(|rank| RankNeed { need: rank.peak.bytes, alive: rank.alive }).collect();
    Some(Least { configuration, fitted, ranks })
}
