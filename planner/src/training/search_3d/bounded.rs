//! Shapes with their prices and bounds: first those that a team would try first.

use std::sync::Arc;

use cost_model::runs::forms::model::Pricing;
use cost_model::runs::forms::model::priced::Passes;
use ir::plan::Mesh;
use rustc_hash::{FxHashMap, FxHashSet};

use super::bound::{self, Totals};
use super::found::Options;
use super::space::{Shape, Space, shapes};
use super::worker::in_parallel;

/// Largest micro-batch of the shapes that come first.
const MOST_SAMPLES: u64 = 16;
/// Groups of equal blocks of models whose shapes are searched at once where these are few.
const FEW_KINDS: usize = 4;

/// A choice of degrees and micro-batch with its prices and bound.
pub struct Bounded {
    pub(crate) shape: Shape,
    pub(crate) passes: Arc<Passes>,
    pub(crate) totals: Totals,
    pub(crate) bound_s: f64,
}

/// All choices of degrees and micro-batch of a space, by increasing bound; none if the search has to
/// stop before all are bounded. They don't depend on limits, so that several searches of one space
/// may share them.
#[must_use]
pub fn bounded(pricing: &Pricing<'_>, space: &Space, options: &Options) -> Vec<Bounded> {
    Prices::new(pricing).bounded(shapes(pricing, space), options).unwrap_or_default()
}

/// The shapes to begin with; none where all are few, of a model whose stages are soon priced. They take all devices, tensor ranks inside a
/// host, no context ranks (or as few as there must be), small micro-batches and the usual mesh: where
/// published runs lie (Narayanan et al., SC 2021, section 5; `docs/published-runs.md`). What is pinned
/// is as it is pinned.
pub(super) fn tried_first(
    all: &[Shape],
    (space, options): (&Space, &Options),
    (n_kinds, per_host): (usize, u64),
) -> Vec<Shape> {
    // Stages of many kinds of blocks take as long as many stages.
    let weight = if n_kinds > FEW_KINDS { n_kinds } else { 1 };
    if all.len().saturating_mul(weight) <= options.n_at_once {
        return Vec::new();
    }
    let pins = &space.pins;
    let n_devices = all.iter().map(|shape| shape.n_devices).max();
    let context = all.iter().map(|shape| shape.degrees.context).min();
    let is_first = |shape: &&Shape| {
        let d = &shape.degrees;
        let is_small = d.micro_batch <= MOST_SAMPLES && d.micro_batch.is_power_of_two();
        Some(shape.n_devices) == n_devices
            && Some(d.context) == context
            && (u64::from(d.tensor) <= per_host || pins.tensor.is_some())
            && (is_small || pins.micro_batch.is_some())
            && (d.mesh == Mesh::TpCpDpPp || pins.mesh.is_some())
            && (!d.expert_overlap || pins.expert_overlap.is_some())
    };
    all.iter().filter(is_first).cloned().collect()
}

/// Prices of blocks, by what tells them apart.
pub(super) struct Prices<'p, 'a> {
    pricing: &'p Pricing<'a>,
    known: FxHashMap<[u64; 11], (Arc<Passes>, Totals)>,
}

impl<'p, 'a> Prices<'p, 'a> {
    pub(super) fn new(pricing: &'p Pricing<'a>) -> Self {
        Self { pricing, known: FxHashMap::default() }
    }

    /// Shapes by increasing bound; `None` if the search has to stop before all are bounded.
    pub(super) fn bounded(
        &mut self,
        shapes: Vec<Shape>,
        options: &Options,
    ) -> Option<Vec<Bounded>> {
        if options.stop().is_some() {
            return None;
        }
        let per_host = self.pricing.system.per_host;
        let keys: Vec<_> =
            shapes.iter().map(|shape| Passes::key(&shape.degrees, per_host)).collect();
        let mut seen = FxHashSet::default();
        let is_new =
            |(_, key): &(&Shape, &[u64; 11])| !self.known.contains_key(*key) && seen.insert(**key);
        let new: Vec<(&Shape, &[u64; 11])> = shapes.iter().zip(&keys).filter(is_new).collect();
        let n_blocks: Vec<u32> =
            self.pricing.model.groups.iter().map(|group| group.n_blocks).collect();
        let of = |index: usize| {
            let (shape, key) = new.get(index)?;
            if options.stop().is_some() {
                return None;
            }
            let passes = Passes::of(self.pricing, &shape.degrees);
            let totals = Totals::of(&passes, &n_blocks);
            Some((**key, (Arc::new(passes), totals)))
        };
        let priced = in_parallel(options.control.threads().min(new.len()), of);
        if priced.len() < new.len() {
            return None;
        }
        self.known.extend(priced);
        let of = |(shape, key): (Shape, &[u64; 11])| {
            let (passes, totals) = self.known.get(key)?.clone();
            let bound_s = bound::of_shape(&shape.degrees, &totals);
            Some(Bounded { shape, passes, totals, bound_s })
        };
        let mut all: Vec<Bounded> = shapes.into_iter().zip(&keys).filter_map(of).collect();
        all.sort_by(|a, b| a.bound_s.total_cmp(&b.bound_s));
        Some(all)
    }
}
