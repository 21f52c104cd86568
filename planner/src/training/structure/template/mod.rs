//! The figures of a transformer, read off the structure of a run of equal blocks.
//!
//! In a block, two products of activations, the second reading from the first, are attention:
//! their extents give heads, positions and the size of a head. The products by weights upstream of
//! them make queries, keys and values, that downstream of them is the output; the rest is the
//! feed-forward part ([`block`]). Around the run, the table that whole numbers pick rows from and
//! the product with as many columns are embedding and head ([`ends`]).
//!
//! A card is given only where its closed forms count about the parameters that the graph holds; the
//! difference (the last normalisation, a projection before the head, biases that an exporter
//! dropped) is counted apart, so that none is lost.

mod block;
mod ends;

use std::ops::Range;

use cost_model::runs::counts::{
    block_parameters, embedding_parameters, head_parameters, position_parameters,
};
use ir::card::{BlockGroup, Head, ModelCard, TransformerCard};

use super::Structure;
use super::figures::Sums;
use super::line::Line;
use super::products::Factors;
use ends::EndFigures;

/// By how much the parameters of a block may differ from the closed form, as a share: biases of
/// single projections and norms of heads.
const BLOCK_SHARE: f64 = 0.002;
/// Share of all parameters that may be outside of what the closed forms count: what stands beside
/// embedding and head, whose work a card leaves out (in a BERT of two layers 2.5 %).
const OTHER_SHARE: f64 = 0.05;

/// Why no template matches, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch(pub String);

impl Mismatch {
    fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// The model card of a graph that is one run of transformer blocks between embedding and head, and
/// the segments that are its blocks.
///
/// # Errors
/// Where the structure is another one, what differs.
pub fn model(
    line: &Line<'_>,
    structure: &Structure,
    sums: &Sums,
) -> Result<(ModelCard, Range<usize>), Mismatch> {
    let (first, last) = longest(structure, sums)?;
    let factors = Factors::on(line);
    let ops = &structure.segments[first].ops;
    let read = block::read(line, &factors, ops)?;
    let ends = ends::read(line, &factors, structure, (first, last), read.hidden)?;
    let n_blocks = u32::try_from(last + 1 - first).unwrap_or(u32::MAX);
    let card = TransformerCard {
        name: line.graph.name.clone(),
        n_layers: n_blocks,
        hidden: read.hidden,
        n_heads: read.n_heads,
        n_kv_heads: read.n_kv_heads,
        feed_forward: read.feed_forward,
        form: read.form,
        sequence: read.sequence,
        vocabulary: ends.vocabulary,
        experts: read.experts,
        attention: read.attention,
        head: ends.head,
    };
    let (of_block, other_parameters) = uncounted(&card, &ends, sums, first..last + 1)?;
    let group = BlockGroup { other_parameters: of_block, ..BlockGroup::of_card(card, n_blocks) };
    let model = ModelCard {
        name: line.graph.name.clone(),
        groups: vec![group],
        n_predictions: 1,
        other_parameters,
        dtype: None,
        stored: None,
        tuning: Default::default(),
    };
    Ok((model, first..last + 1))
}

/// Parameters of a block, and of the first and the last stage, that the closed forms of a card do not
/// count; a graph where they are too many is no transformer of these widths. Tables do no work: how many rows of
/// learned positions there are, or whether there are any, says nothing against a transformer.
fn uncounted(
    card: &TransformerCard,
    ends: &EndFigures,
    sums: &Sums,
    segments: Range<usize>,
) -> Result<(i64, [i64; 2]), Mismatch> {
    let blocks = &sums.segments[segments];
    let n_parameters = blocks[0].n_parameters;
    let closed = block_parameters(card).total();
    if n_parameters.abs_diff(closed) as f64 > BLOCK_SHARE * n_parameters as f64 {
        let why = format!(
            "a block has {n_parameters} parameters, a transformer's of its widths {closed}"
        );
        return Err(Mismatch(why));
    }
    // Where an exporter merged equal vectors, the first block has what the others lack.
    let is_alike = blocks.iter().all(|segment| segment.n_parameters == n_parameters);
    let of_block =
        if is_alike { n_parameters.cast_signed().saturating_sub(closed.cast_signed()) } else { 0 };
    let counted = closed
        .saturating_add_signed(of_block)
        .saturating_mul(blocks.len() as u64)
        .saturating_add(embedding_parameters(card).saturating_sub(position_parameters(card)))
        .saturating_add(ends.other_tables)
        .saturating_add(head_parameters(card));
    let all = sums.n_parameters();
    if all.abs_diff(counted) as f64 > OTHER_SHARE * all as f64 {
        let why = format!("the graph has {all} parameters, a transformer of its widths {counted}");
        return Err(Mismatch(why));
    }
    // Within a few hundredths of each other.
    let of = |n: u64, less: u64| n.cast_signed().saturating_sub(less.cast_signed());
    Ok((of_block, [of(ends.other_tables, position_parameters(card)), of(all, counted)]))
}

/// First and last segment of the run with most work, if there is no other run.
fn longest(structure: &Structure, sums: &Sums) -> Result<(usize, usize), Mismatch> {
    let of_work = |run: &&super::Run| {
        run.segments.iter().map(|segment| sums.segments[*segment].flops.get()).sum::<u64>()
    };
    let longest = structure.runs.iter().max_by_key(of_work);
    let run = longest.ok_or_else(|| Mismatch::new("no block is repeated"))?;
    let (first, last) = match (run.segments.first(), run.segments.last()) {
        (Some(first), Some(last)) if last - first + 1 == run.segments.len() => (*first, *last),
        _ => return Err(Mismatch::new("the blocks do not follow one another")),
    };
    let outside = structure.segments.iter().enumerate();
    let mut others =
        outside.filter(|(at, segment)| segment.run.is_some() && !(first..=last).contains(at));
    if let Some((at, _)) = others.next() {
        return Err(Mismatch::new(format!(
            "there is another kind of blocks, from segment {at} on"
        )));
    }
    Ok((first, last))
}

/// A card in words.
#[must_use]
pub fn sentence(model: &ModelCard) -> String {
    let Some(group) = model.groups.first() else { return String::new() };
    let card = &group.card;
    let experts = card.experts.map_or_else(String::new, |experts| {
        format!(", {} experts of which {} per token", experts.n_experts, experts.per_token)
    });
    let head = match card.head {
        Head::Tied => "tied",
        Head::Separate => "of its own",
    };
    let key_values = match card.n_kv_heads {
        n if n == card.n_heads => String::new(),
        n => format!(" ({n} of keys and values)"),
    };
    format!(
        "transformer: {} blocks of width {}, {} heads{key_values}, feed-forward {}{experts}, {} \
         tokens, {} words, head {head}",
        group.n_blocks,
        card.hidden,
        card.n_heads,
        card.feed_forward,
        card.sequence,
        card.vocabulary
    )
}
