//! Degrees and micro-batches of a search on measured layers.

use cost_model::layers::LayerPricing;
use ir::card::{SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::plan::{Mesh, Parallelism};

use crate::parallelism::order::Order;
use crate::parallelism::search_3d::space::{Again, Pins, Space, degrees_of, divisors};

/// Refuses pins that name what is not searched here.
///
/// # Errors
/// `bad-pin`, and `cannot-express` for a launcher that has no words for choices by block.
pub fn check(pins: &Pins) -> Result<(), Diagnostic> {
    let more = |pin: Option<u32>| pin.is_some_and(|n| n > 1);
    let wrong = [
        ("context", more(pins.context)),
        ("expert", more(pins.expert)),
        ("virtual-stages", more(pins.virtual_stages)),
        ("schedule", pins.orders.iter().any(|order| *order != Order::OneFOneB)),
        ("recompute", matches!(pins.again, Again::Selective | Again::Alike)),
        ("mesh", pins.mesh.is_some_and(|mesh| mesh != Mesh::DataInside)),
    ];
    if let Some(words) = pins.words.filter(|words| words.target != "galvatron") {
        let message = format!("{} has no words for choices by block", words.target);
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
        return vec![SequenceParallel::Off];
    }
    let measured = pricing.profile.split;
    match pins.sequence {
        Some(SequenceParallel::Ulysses) => vec![SequenceParallel::Ulysses],
        // Whether tensor ranks split the sequence is as it was measured.
        Some(own) if own == measured => vec![own],
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
        for zero in zeros(pins, degrees) {
            let n_micro_batches = of_replica / micro_batch;
            shapes.push(Parallelism { micro_batch, n_micro_batches, zero, ..degrees.clone() });
        }
    }
}

/// Ranks that hold the same weights.
#[must_use]
pub fn n_sharing(degrees: &Parallelism) -> u32 {
    match degrees.sequence {
        SequenceParallel::Ulysses => degrees.data.saturating_mul(degrees.tensor),
        _ => degrees.data,
    }
}

/// What may be shared out of the ends: sharing out less than ZeRO-2 does saves no time.
fn zeros(pins: &Pins, degrees: &Parallelism) -> Vec<ZeroStage> {
    match pins.zero {
        Some(pinned) => vec![pinned],
        None if n_sharing(degrees) == 1 => vec![ZeroStage::None],
        None => vec![ZeroStage::Gradients, ZeroStage::Parameters],
    }
}
