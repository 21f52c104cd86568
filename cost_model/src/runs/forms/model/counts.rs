//! Counts of a model card: parameters and operations of a step.

use std::ops::Range;

use ir::card::{Attention, BlockGroup, Head, ModelCard, Recompute, TransformerCard};

use crate::runs::counts::{
    block_parameters, embedding_parameters, forward_flops, head_parameters, module_products,
    step_flops,
};
use crate::runs::oracle::Place;
use ir::tuning::Module;

/// Parameters of one block.
#[must_use]
pub fn of_block(group: &BlockGroup) -> u64 {
    if let Some(part) = &group.part {
        return part.n_parameters;
    }
    let counted = block_parameters(&group.card).total().saturating_add(group.extra_weights);
    counted.saturating_add_signed(group.other_parameters)
}

/// Parameters of the whole model.
#[must_use]
pub fn n_parameters(model: &ModelCard) -> u64 {
    let blocks = model.groups.iter().fold(0_u64, |sum, group| {
        sum.saturating_add(of_block(group).saturating_mul(u64::from(group.n_blocks)))
    });
    let ends = model.groups.first().map_or(0, |group| {
        embedding_parameters(&group.card).saturating_add(head_parameters(&group.card))
    });
    model
        .other_parameters
        .iter()
        .fold(blocks.saturating_add(ends), |sum, count| sum.saturating_add_signed(*count))
}

/// What of a model a stage holds, before anything is sharded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Parameters of its blocks and ends; a copy of a tied weight is not among them.
    pub n_parameters: u64,
    /// Experts of its blocks that tokens are routed to.
    pub n_experts: u64,
    /// Parameters of a copy of the embedding that the head is tied to.
    pub n_tied_copies: u64,
}

impl Held {
    /// What two stages hold.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            n_parameters: self.n_parameters.saturating_add(other.n_parameters),
            n_experts: self.n_experts.saturating_add(other.n_experts),
            n_tied_copies: self.n_tied_copies.saturating_add(other.n_tied_copies),
        }
    }
}

/// What a stage holds. Over all stages, parameters and experts are those of the model whatever the
/// cuts. Where one rank has both ends of the pipeline, it holds a tied embedding once.
#[must_use]
pub fn held(model: &ModelCard, blocks: &Range<u32>, place: Place, ends_meet: bool) -> Held {
    let mut counts = Held { n_tied_copies: copies(model, blocks), ..Held::default() };
    let mut first = 0_u32;
    for group in &model.groups {
        let last = first.saturating_add(group.n_blocks);
        let n = u64::from(last.min(blocks.end).saturating_sub(first.max(blocks.start)));
        let experts = group.card.experts.map_or(0, |experts| experts.n_experts);
        counts = counts.plus(Held {
            n_parameters: of_block(group).saturating_mul(n),
            n_experts: experts.saturating_mul(n),
            n_tied_copies: 0,
        });
        first = last;
    }
    let Some(card) = model.groups.first().map(|group| &group.card) else { return counts };
    let words = card.vocabulary.saturating_mul(card.hidden);
    let of = |is_there, n| if is_there { n } else { 0 };
    let ends = of(place.first, embedding_parameters(card))
        .saturating_add(of(place.last, head_parameters(card)));
    let mut counts = counts.plus(Held {
        n_parameters: ends,
        n_experts: 0,
        n_tied_copies: of(
            place.last && !place.first && !ends_meet && card.head == Head::Tied,
            words,
        ),
    });
    for (is_there, count) in [place.first, place.last].into_iter().zip(model.other_parameters) {
        if is_there {
            counts.n_parameters = counts.n_parameters.saturating_add_signed(count);
        }
    }
    counts
}

/// Elements of weights of which some parts of a graph hold a copy, the original being elsewhere.
fn copies(model: &ModelCard, blocks: &Range<u32>) -> u64 {
    let parts = model.kinds().zip(0_u32..).filter_map(|(kind, block)| {
        let part = model.groups.get(kind)?.part.as_ref()?;
        blocks.contains(&block).then_some(&part.tied)
    });
    let apart = parts.flatten().filter(|(earlier, _)| !blocks.contains(earlier));
    apart.fold(0, |sum, (_, elements)| sum.saturating_add(*elements))
}

/// Floating-point operations of the matrix products of one step on so many samples, nothing
/// computed again: what model FLOPs utilisation counts (Narayanan et al. 2021, equation 3 less the
/// recompute).
#[must_use]
pub fn model_flops(model: &ModelCard, samples: u64) -> f64 {
    stage_flops(model, (&(0..model.n_blocks()), Recompute::None, true), samples)
}

/// The same of a stage: its blocks, what it computes again of them, and whether it has the head.
#[must_use]
pub fn stage_flops(
    model: &ModelCard,
    (blocks, again, has_head): (&Range<u32>, Recompute, bool),
    samples: u64,
) -> f64 {
    let Some(first) = model.groups.first() else { return 0.0 };
    let mut start = 0_u32;
    let groups = model.groups.iter().map(|group| {
        let end = start.saturating_add(group.n_blocks);
        let n = blocks.end.min(end).saturating_sub(blocks.start.max(start));
        start = end;
        (group, n)
    });
    if model.is_of_parts() {
        let flops = groups.filter_map(|(group, n)| {
            let part = group.part.as_ref()?;
            let twice = u32::from(again == Recompute::Full);
            let passes =
                [(&part.forward, 1 + twice), (&part.backward_input, 1), (&part.backward_weight, 1)];
            let all: f64 =
                passes.iter().map(|(pass, times)| f64::from(*times) * pass.flops().as_f64()).sum();
            Some(all * f64::from(n))
        });
        return samples as f64 * flops.sum::<f64>();
    }
    let tokens = samples as f64 * first.card.sequence as f64;
    let of_group = |(group, n): (&BlockGroup, u32)| {
        // Without rows the head has no operations.
        let card = TransformerCard { n_layers: n, vocabulary: 0, ..group.card.clone() };
        let extra = 6.0 * tokens * group.extra_weights as f64 * f64::from(n);
        step_flops(&card, samples, again) + extra
    };
    let tied = first.card.head == Head::Tied;
    let trains = |module| model.tuning.trains(module);
    let is_trained = trains(Module::Head) || tied && trains(Module::Embedding);
    let products = if is_trained { 6.0 } else { 4.0 };
    let head = products * tokens * first.card.vocabulary as f64 * first.card.hidden as f64;
    let head = if has_head { head * f64::from(model.n_predictions) } else { 0.0 };
    groups.map(of_group).sum::<f64>() + head - spared_flops(model, blocks, tokens)
}

/// Those of gradients of frozen weights of some blocks, and of backward passes that none needs; what adapters
/// take is not counted.
fn spared_flops(model: &ModelCard, blocks: &Range<u32>, tokens: f64) -> f64 {
    let tuning = &model.tuning;
    if tuning.is_whole() {
        return 0.0;
    }
    let mut start = 0_u32;
    let of_group = |group: &BlockGroup| {
        let end = start.saturating_add(group.n_blocks);
        let n = blocks.end.min(end).saturating_sub(blocks.start.max(start));
        let first = start;
        start = end;
        let frozen = |module| {
            first < tuning.frozen_blocks && tuning.adapter.is_none() || !tuning.trains(module)
        };
        let dense = module_products(&group.card)
            .into_iter()
            .filter(|(module, _)| frozen(*module))
            .map(|(_, product)| product.rows as f64 * product.columns as f64);
        let experts = group.card.experts.map_or(0.0, |experts| {
            let each = group.card.hidden as f64 * experts.feed_forward as f64;
            let gate =
                if group.card.form.n_first() > 1 && frozen(Module::Gate) { 1.0 } else { 0.0 };
            let others =
                [Module::Up, Module::Down].map(|module| f64::from(u8::from(frozen(module))));
            experts.per_token as f64 * each * (gate + others[0] + others[1])
        });
        let skipped = match tuning.skips(first) {
            true => forward_flops(&group.card).iter().sum::<f64>() * 2.0,
            false => 2.0 * (dense.sum::<f64>() + experts),
        };
        f64::from(n) * tokens * skipped
    };
    model.groups.iter().map(of_group).sum()
}

/// Those of one step that no kernel skips: attention between tokens is not among them.
#[must_use]
pub fn least_flops(model: &ModelCard, samples: u64) -> f64 {
    let all = model_flops(model, samples);
    if model.is_of_parts() {
        return all;
    }
    let of_group = |group: &BlockGroup| {
        let tokens = samples as f64 * group.card.sequence as f64;
        3.0 * tokens * forward_flops(&group.card)[1] * f64::from(group.n_blocks)
    };
    all - model.groups.iter().map(of_group).sum::<f64>()
}

/// Floating-point operations of products that follow each other in one step, each of which is one op
/// of the model's graph: query and output projections, and the feed-forward part where every token
/// visits it, forward and then backward to the inputs. Where whole ops are placed on devices, no step
/// is shorter than these at the peak rate of one device. `None` where a block is no such chain.
#[must_use]
pub fn serial_flops(model: &ModelCard, samples: u64) -> Option<f64> {
    if !model.tuning.is_whole() {
        return None;
    }
    let of_group = |group: &BlockGroup| {
        let card = &group.card;
        if group.part.is_some() || matches!(card.attention, Attention::Latent { .. }) {
            return None;
        }
        let heads = card.n_heads as f64 * card.head_dims().0 as f64;
        let feed_forward = if card.experts.is_some() { 0.0 } else { card.feed_forward as f64 };
        let weights = 2.0 * card.hidden as f64 * (heads + feed_forward);
        let tokens = samples as f64 * card.sequence as f64;
        Some(2.0 * 2.0 * tokens * weights * f64::from(group.n_blocks))
    };
    model.groups.iter().map(of_group).sum()
}
