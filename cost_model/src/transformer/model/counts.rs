//! Counts of a model card: parameters and operations of a step.

use ir::card::{BlockGroup, ModelCard, Recompute, TransformerCard};

use crate::transformer_counts::{
    block_parameters, embedding_parameters, head_parameters, step_flops,
};

/// Parameters of one block.
#[must_use]
pub fn of_block(group: &BlockGroup) -> u64 {
    if let Some(part) = &group.part {
        return part.n_parameters;
    }
    block_parameters(&group.card).total().saturating_add(group.extra_weights)
}

/// Parameters of the whole model; without the last normalisation, unless the model is from a
/// graph.
#[must_use]
pub fn n_parameters(model: &ModelCard) -> u64 {
    let blocks = model.groups.iter().fold(0_u64, |sum, group| {
        sum.saturating_add(of_block(group).saturating_mul(u64::from(group.n_blocks)))
    });
    let ends = model.groups.first().map_or(0, |group| {
        embedding_parameters(&group.card).saturating_add(head_parameters(&group.card))
    });
    blocks.saturating_add(ends).saturating_add_signed(model.other_parameters)
}

/// Floating-point operations of the matrix products of one step on so many samples, nothing
/// computed again: what model FLOPs utilisation counts (Narayanan et al. 2021, equation 3 less the
/// recompute).
#[must_use]
pub fn model_flops(model: &ModelCard, samples: u64) -> f64 {
    let Some(first) = model.groups.first() else { return 0.0 };
    if model.is_of_parts() {
        let parts = model.groups.iter().filter_map(|group| Some((group.part.as_ref()?, group)));
        let flops = parts.map(|(part, group)| {
            let passes = [&part.forward, &part.backward_input, &part.backward_weight];
            let all: f64 = passes.iter().map(|pass| pass.flops().as_f64()).sum();
            all * f64::from(group.n_blocks)
        });
        return samples as f64 * flops.sum::<f64>();
    }
    let tokens = samples as f64 * first.card.sequence as f64;
    let of_group = |group: &BlockGroup| {
        // Without rows the head has no operations.
        let card =
            TransformerCard { n_layers: group.n_blocks, vocabulary: 0, ..group.card.clone() };
        let extra = 6.0 * tokens * group.extra_weights as f64 * f64::from(group.n_blocks);
        step_flops(&card, samples, Recompute::None) + extra
    };
    let head = 6.0 * tokens * first.card.vocabulary as f64 * first.card.hidden as f64;
    model.groups.iter().map(of_group).sum::<f64>() + head * f64::from(model.n_predictions)
}
