//! Degrees and micro-batches of a search on measured layers.

use cost_model::runs::measured::LayerPricing;
use ir::card::{SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::plan::{Mesh, Parallelism};

use crate::training::order::Order;
use crate::training::search_3d::space::{Pins, RecomputeRule, Space, degrees_of, divisors};

/// Refuses pins that name what is not searched here.
///
/// # Errors
/// `bad-pin`, and `cannot-express` for a launcher that has no words for choices by block.
pub fn check(pins: &Pins) -> Result<(), Diagnostic> {
    let more = |pin: Option<u32>| pin.is_some_and(|n| n > 1);
    let wrong = [
        ("context", more(pins.context)),
        ("expert", more(pins.expert)),
        ("expert-tensor", pins.expert_tensor.is_some()),
        ("virtual-stages", more(pins.virtual_stages)),
        ("schedule", pins.orders.iter().any(|order| *order != Order::OneFOneB)),
        (
            "recompute",
            matches!(
                pins.recompute,
                RecomputeRule::Selective | RecomputeRule::PerOp | RecomputeRule::Alike
            ),
        ),
        ("mesh", pins.mesh.is_some_and(|mesh| mesh != Mesh::TpCpDpPp)),
    ];
    if let Some(capabilities) = pins.capabilities.filter(|capabilities| !capabilities.by_block) {
        let message = format!("{} has no words for choices by block", capabilities.target);
        return Err(Diagnostic::usage("cannot-express", message)
            .hint("use --for galvatron, or plan without a folder of measured layers"));
    }
    match wrong.iter().find(|(_, is_wrong)| *is_wrong) {
        None => Ok(()),
        Some((name, _)) => {
            let message = format!("measured layers say nothing of this value of `--pin {name}`");
            Err(Diagnostic::usage("bad-pin", message)
                .hint("leave it out, or plan without a folder of measured layers"))
        }
    }
}

/// All choices of degrees, micro-batch and ZeRO stage of the ends, in a fixed order.
#[must_use]
pub fn shapes(pricing: &LayerPricing<'_>, space: &Space) -> Vec<Parallelism> {
    let mut shapes = Vec::new();
    let pins = &space.pins;
    let Some(group) = pricing.model.groups.first() else { return shapes };
    for n in &space.devices {
        for pipeline in degrees_of(*n, pins.pipeline) {
            for tensor in degrees_of(n / pipeline, pins.tensor) {
                let data = n / pipeline / tensor;
                let kv = group.card.n_kv_heads.max(1);
                let t = u64::from(tensor);
                let splits = group.card.n_heads.is_multiple_of(t)
                    && (kv.is_multiple_of(t) || t.is_multiple_of(kv));
                let is_out = pipeline > pricing.n_blocks()
                    || !splits
                    || pins.data.is_some_and(|pin| pin != data)
                    || !space.global_batch.is_multiple_of(u64::from(data));
                if is_out {
                    continue;
                }
                for sequence in sequences(pins, pricing, tensor) {
                    let degrees =
                        Parallelism { data, tensor, pipeline, sequence, ..Parallelism::default() };
                    batches(space, &degrees, &mut shapes);
                }
            }
        }
    }
    shapes
}

/// Ways to split a block over so many ranks.
fn sequences(pins: &Pins, pricing: &LayerPricing<'_>, tensor: u32) -> Vec<SequenceParallel> {
    if tensor == 1 {
        // One rank splits nothing.
        let is_free = pins.sequence.is_none_or(|sequence| sequence == SequenceParallel::Off);
        return is_free.then_some(SequenceParallel::Off).into_iter().collect();
    }
    let measured = pricing.profile.split;
    match pins.sequence {
        Some(SequenceParallel::Ulysses) => vec![SequenceParallel::Ulysses],
        // Whether tensor ranks split the sequence is as it was measured.
        Some(sequence) if sequence == measured => vec![sequence],
        Some(_) => Vec::new(),
        None => vec![measured, SequenceParallel::Ulysses],
    }
}

fn batches(space: &Space, degrees: &Parallelism, shapes: &mut Vec<Parallelism>) {
    let pins = &space.pins;
    let of_replica = space.global_batch / u64::from(degrees.data);
    for micro_batch in divisors(of_replica) {
        if pins.micro_batch.is_some_and(|pin| pin != micro_batch) {
            continue;
        }
        let n_micro_batches = of_replica / micro_batch;
        for vocabulary in vocabularies(degrees) {
            let degrees =
                Parallelism { micro_batch, n_micro_batches, vocabulary, ..degrees.clone() };
            for zero in zeros(pins, &degrees) {
                shapes.push(Parallelism { zero, ..degrees.clone() });
            }
        }
    }
}

/// Ways to split the vocabulary over the ranks of a stage: as the blocks, then all other degrees.
fn vocabularies(degrees: &Parallelism) -> Vec<Option<u32>> {
    let width = degrees.data.saturating_mul(degrees.tensor);
    let as_blocks = match degrees.sequence {
        SequenceParallel::Ulysses => 0,
        _ => degrees.tensor,
    };
    let others = degrees_of(width, None).into_iter().filter(|degree| *degree != as_blocks);
    std::iter::once(None).chain(others.map(Some)).collect()
}

/// Whether no weights, of blocks or of ends, are held by several ranks.
#[must_use]
pub fn shares_nothing(degrees: &Parallelism) -> bool {
    n_sharing(degrees).max(n_sharing_ends(degrees)) == 1
}

/// Ranks that hold the same weights.
#[must_use]
pub fn n_sharing(degrees: &Parallelism) -> u32 {
    match degrees.sequence {
        SequenceParallel::Ulysses => degrees.data.saturating_mul(degrees.tensor),
        _ => degrees.data,
    }
}

/// Ranks that hold the same weights of the ends.
fn n_sharing_ends(degrees: &Parallelism) -> u32 {
    match degrees.vocabulary {
        Some(vocabulary) => degrees.data.saturating_mul(degrees.tensor) / vocabulary.max(1),
        None => n_sharing(degrees),
    }
}

/// What is shared out where parameters are not: less than ZeRO-2 saves no time.
#[must_use]
pub fn plain_zero(pins: &Pins, degrees: &Parallelism) -> ZeroStage {
    match pins.zero {
        Some(pinned) => pinned,
        None if shares_nothing(degrees) => ZeroStage::None,
        None => ZeroStage::Gradients,
    }
}

/// What may be shared out of the ends.
fn zeros(pins: &Pins, degrees: &Parallelism) -> Vec<ZeroStage> {
    let plain = plain_zero(pins, degrees);
    if shares_nothing(degrees) && plain != ZeroStage::None {
        return Vec::new();
    }
    if pins.zero.is_some() || n_sharing_ends(degrees) == 1 {
        return vec![plain];
    }
    vec![plain, ZeroStage::Parameters]
}
