//! The plan that needs least memory, for the answer where none fits.

use cost_model::runs::measured::LayerPricing;
use cost_model::runs::measured::priced::Priced;
use ir::card::ZeroStage;
use ir::plan::Parallelism;
use ir::units::Bytes;

use super::shapes::{n_sharing, shapes};
use super::table::{Candidate, Chosen};
use crate::training::search_3d::space::{Pins, RecomputeRule, Space};

/// The plan whose fullest device needs least.
#[derive(Clone, Debug, PartialEq)]
pub struct Least {
    /// Degrees.
    pub degrees: Parallelism,
    /// Stages.
    pub stages: Vec<Chosen>,
    /// Bytes of a device of each stage.
    pub bytes: Vec<u64>,
    /// Micro-batches that each stage keeps.
    pub in_flight: Vec<u32>,
}

impl Least {
    /// Bytes of the fullest device.
    #[must_use]
    pub fn most(&self) -> Bytes {
        Bytes(self.bytes.iter().copied().max().unwrap_or(0))
    }
}

/// Finds it; `None` where the space has no measured shape. Of equal ones the first.
#[must_use]
pub fn least(pricing: &LayerPricing<'_>, space: &Space) -> Option<Least> {
    let mut best: Option<Least> = None;
    for degrees in shapes(pricing, space) {
        let Ok(priced) = Priced::new(pricing, &degrees) else { continue };
        let Some(needed) = of_shape(&priced, &space.pins) else { continue };
        if best.as_ref().is_none_or(|best| needed.most() < best.most()) {
            best = Some(needed);
        }
    }
    best
}

/// Per stage the smallest choice for each count of blocks, then the cut with the least maximum.
fn of_shape(priced: &Priced<'_>, pins: &Pins) -> Option<Least> {
    let p = priced.degrees.pipeline.max(1);
    let n = priced.pricing.n_blocks() as usize;
    let smallest: Vec<Vec<Option<(u64, Chosen)>>> = (0..p)
        .map(|stage| {
            let of = |blocks| smallest(priced, pins, stage, blocks as u32);
            (0..=n).map(|blocks| if blocks == 0 { None } else { of(blocks) }).collect()
        })
        .collect();
    let mut rest = vec![vec![(u64::MAX, 0); n + 1]; p as usize + 1];
    rest[p as usize][0] = (0, 0);
    for stage in (0..p as usize).rev() {
        for open in 1..=n {
            for blocks in 1..=open {
                let Some((bytes, _)) = smallest[stage][blocks] else { continue };
                let most = bytes.max(rest[stage + 1][open - blocks].0);
                if most < rest[stage][open].0 {
                    rest[stage][open] = (most, blocks);
                }
            }
        }
    }
    let mut open = n;
    let mut least =
        Least { degrees: priced.degrees.clone(), stages: vec![], bytes: vec![], in_flight: vec![] };
    for stage in 0..p as usize {
        let blocks = rest[stage][open].1;
        let (bytes, chosen) = smallest[stage].get(blocks).copied().flatten()?;
        least.stages.push(chosen);
        least.bytes.push(bytes);
        let n_in_flight = priced.degrees.n_micro_batches.min(u64::from(p) - stage as u64);
        least.in_flight.push(u32::try_from(n_in_flight).unwrap_or(u32::MAX));
        open -= blocks;
    }
    (open == 0).then_some(least)
}

/// The choice of a stage that needs fewest bytes: memory is linear between the counts that are
/// tried.
fn smallest(priced: &Priced<'_>, pins: &Pins, stage: u32, blocks: u32) -> Option<(u64, Chosen)> {
    let candidate = Candidate::new(priced, pins, priced.degrees.pipeline.max(1), stage);
    let fully_sharded = match pins.zero {
        Some(ZeroStage::Parameters) => blocks..=blocks,
        Some(_) => 0..=0,
        None if n_sharing(&priced.degrees) == 1 => 0..=0,
        None => 0..=blocks,
    };
    let recomputed = |fully_sharded: u32| match pins.recompute {
        RecomputeRule::None | RecomputeRule::Selective | RecomputeRule::PerOp => vec![0],
        RecomputeRule::Full => vec![blocks],
        RecomputeRule::Fitted | RecomputeRule::Alike => vec![0, 1, blocks - fully_sharded, blocks],
    };
    let choices = fully_sharded.flat_map(|fully_sharded| {
        recomputed(fully_sharded)
            .into_iter()
            .map(move |recomputed| (recomputed.min(blocks), fully_sharded))
    });
    let sized = choices.map(|(recomputed, fully_sharded)| {
        let chosen = candidate.chosen(blocks, recomputed, fully_sharded);
        (candidate.bytes(&chosen), chosen)
    });
    sized.min_by_key(|(bytes, chosen)| (*bytes, chosen.recomputed, chosen.fully_sharded))
}
