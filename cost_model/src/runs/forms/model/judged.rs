//! A plan of a training run as costs for the judge of pipelines.

use std::sync::Arc;

use ir::card::SequenceParallel;
use ir::diagnostic::{Blame, Diagnostic};
use ir::grid::{Grid, Pass};
use ir::plan::Plan;
use ir::units::{Bytes, Nanos, Work};

use super::priced::{Passes, Place, Priced};
use super::stages::{StageFigures, Stages};
use super::{Offload, Pricing};
use crate::runs::forms::constants::Constant;
use crate::runs::forms::rank_groups::{self, Cards, Group};
use crate::runs::judge::costs::{
    Boundary, Link, Nic, PipelineCosts, RankCosts, Sharing, StageCosts,
};

/// By stage, the rank whose row has its cells; `None` where a stage has no cell.
#[must_use]
pub fn ranks_of(grid: &Grid, n_stages: usize) -> Option<Vec<u32>> {
    let mut ranks = vec![None; n_stages];
    for (rank, row) in (0u32..).zip(&grid.rows) {
        for cell in row {
            *ranks.get_mut(cell.stage.index())? = Some(rank);
        }
    }
    ranks.into_iter().collect()
}

/// Whether one rank holds the first and the last stage, which are not the same.
#[must_use]
pub fn ends_meet(ranks: &[u32]) -> bool {
    ranks.len() > 1 && ranks.first() == ranks.last()
}

/// That only measured layers price something.
#[must_use]
pub fn needs_layers(what: &str) -> Diagnostic {
    let message = format!("{what} are priced on measured layers alone");
    Diagnostic::input("needs-layer-profile", message)
        .hint("add --profile with the folder of measured layers that the plan was made for")
}

/// Figures of all stages of a plan, in model order.
///
/// # Errors
/// `stages-lose-blocks` where the stages don't hold every block once, in order; `grid-missing`.
pub fn figures(priced: &Priced<'_>, plan: &Plan) -> Result<Vec<StageFigures>, Diagnostic> {
    if let Some(what) = measured_only(plan) {
        return Err(needs_layers(what));
    }
    let stages = Stages::new(priced);
    let mut next = 0;
    for (index, stage) in plan.partition.stages.iter().enumerate() {
        if stage.blocks.start != next || stage.blocks.end < next {
            return Err(lost(index, next, stage.blocks.start));
        }
        next = stage.blocks.end;
    }
    if next != stages.n_blocks() {
        return Err(lost(plan.partition.stages.len(), stages.n_blocks(), next));
    }
    let last = plan.partition.stages.len().saturating_sub(1);
    let of = |(index, stage): (usize, &ir::plan::Stage)| {
        let place = Place { first: index == 0, last: index == last };
        stages.figures(&stage.blocks, stage.recompute, place)
    };
    Ok(plan.partition.stages.iter().enumerate().map(of).collect())
}

/// What of a plan this model has no figures of.
fn measured_only(plan: &Plan) -> Option<&'static str> {
    let is_ulysses = plan.parallelism.sequence == SequenceParallel::Ulysses;
    let each = plan.partition.stages.iter().any(|stage| !stage.each.is_empty());
    let choices = each.then_some("choices by block");
    let ends = plan.parallelism.vocabulary.is_some().then_some("ends of their own degree");
    is_ulysses.then_some("Ulysses ranks").or(choices).or(ends)
}

pub(crate) fn lost(stage: usize, wanted: u32, found: u32) -> Diagnostic {
    let message = format!("stage {stage} begins at block {found}, but block {wanted} comes next");
    Diagnostic::error(Blame::IllegalPlan, "stages-lose-blocks", message)
        .fact("stage", stage)
        .fact("block", u64::from(wanted))
        .hint("give every block of the model to one stage, in order")
}

/// Costs of a plan.
///
/// # Errors
/// Those of [`figures`], and `grid-missing`.
pub fn costs(pricing: Pricing<'_>, plan: &Plan) -> Result<PipelineCosts, Diagnostic> {
    let passes = Arc::new(Passes::of(&pricing, &plan.parallelism));
    let missing = || {
        let message = "the plan has no grid with cells of every stage";
        Diagnostic::error(Blame::IllegalPlan, "grid-missing", message)
    };
    let grid = plan.schedule.grid.as_ref().ok_or_else(missing);
    let ranks = grid
        .clone()
        .and_then(|grid| ranks_of(grid, plan.partition.stages.len()).ok_or_else(missing));
    let ends = ranks.as_deref().is_ok_and(ends_meet);
    let priced = Priced::new(pricing, plan.parallelism.clone(), passes).with_ends(ends);
    let figures = figures(&priced, plan)?;
    let (grid, ranks) = (grid?, ranks?);
    Ok(lowered(&priced, &figures, &ranks, grid))
}

/// Figures of stages as whole nanoseconds and bytes.
#[must_use]
pub fn lowered(
    priced: &Priced<'_>,
    figures: &[StageFigures],
    ranks: &[u32],
    grid: &Grid,
) -> PipelineCosts {
    let degrees = &priced.degrees;
    // What is computed again in a cell of its own is all there at once; gradients of weights that
    // are put off need it until then.
    let holds = |pass: Pass| matches!(pass, Pass::Recompute | Pass::BackwardInput);
    let is_held = grid.rows.iter().flatten().any(|cell| holds(cell.pass));
    let n_stages = figures.len();
    let stages = (0..n_stages).map(|index| {
        let own = &figures[index];
        let rank = ranks.get(index).copied().unwrap_or_default();
        let next = ranks.get(index + 1).copied().unwrap_or(rank);
        let last = priced.last_exchange_s(own.dense, own.experts);
        // The gradient of an embedding is there with the very last kernel, on both ends.
        let exchange = last + tie_s(priced, index, n_stages) + copies_s(priced, rank, own.copies);
        let (recomputed, at_a_time) = if is_held { (own.again_all, 0.0) } else { (0.0, own.again) };
        let stash = bytes(own.stash);
        StageCosts {
            rank,
            forward: nanos(own.forward_s),
            backward: nanos(own.backward_s),
            backward_input: nanos((own.backward_s - own.weight_s).max(0.0)),
            backward_weight: nanos(own.weight_s),
            recompute: nanos(own.recompute_s),
            stash,
            recomputed: bytes(recomputed),
            kept_for_weight: stash + bytes(recomputed),
            forward_temporary: bytes(own.logits),
            backward_temporary: bytes(own.logits + at_a_time),
            persistent: bytes(own.persistent),
            on_host: bytes(own.on_host),
            next: boundary(priced, rank, next, own.sends),
            exchange: nanos(exchange),
            overlapped: nanos(overlapped_s(priced, own, last)),
        }
    });
    let stages: Vec<StageCosts> = stages.collect();
    let optimizer = |rank: u32| {
        let own = figures.iter().zip(ranks).filter(|(_, of)| **of == rank).map(|(own, _)| own);
        let (dense, experts) =
            own.fold((0.0, 0.0), |sum, own| (sum.0 + own.dense, sum.1 + own.experts));
        priced.optimizer_s(dense, experts)
    };
    let cards = priced.cards();
    let rank = |rank: u32| RankCosts {
        optimizer: nanos(optimizer(rank)),
        limit: priced.pricing.limit,
        persistent: bytes(priced.rank_bytes),
        nic: cards.as_ref().and_then(|cards| cards.of_rank.get(rank as usize).copied()),
    };
    let nics = cards.as_ref().map_or_else(Vec::new, |cards| {
        let n_cards = cards.of_rank.iter().max().map_or(0, |last| *last as usize + 1);
        vec![Nic { n_copies: cards.n_copies }; n_cards]
    });
    PipelineCosts {
        n_micro_batches: u32::try_from(degrees.n_micro_batches).unwrap_or(u32::MAX),
        stages,
        ranks: (0..degrees.pipeline.max(1)).map(rank).collect(),
        nics,
        hosts: match priced.pricing.offload {
            Offload::Nothing => Vec::new(),
            Offload::Optimizer => {
                let system = priced.pricing.system;
                rank_groups::hosts(degrees, system.per_host, &system.host_memory)
            }
        },
        ..PipelineCosts::default()
    }
}

/// Seconds of the last exchange that may run beside the last backward pass: what the stack overlaps,
/// as far as the links are not taken by collectives of the pass itself.
fn overlapped_s(priced: &Priced<'_>, own: &StageFigures, exchange_s: f64) -> f64 {
    let tier = usize::from(
        Group::replicas(&priced.degrees).spread(priced.pricing.system.per_host).leaves_host(),
    );
    let taken_s = own.backward_links_s[tier] + priced.scatter_s(own.dense, own.experts);
    let free_s = (own.backward_s - taken_s).max(0.0);
    (exchange_s * priced.pricing.stack.overlap_data).min(match taken_s > 0.0 {
        true => free_s,
        false => f64::INFINITY,
    })
}

/// Seconds in which the two ends of a pipeline add up the gradients of an embedding that both hold.
#[must_use]
pub fn tie_s(priced: &Priced<'_>, stage: usize, n_stages: usize) -> f64 {
    if !priced.is_tied_across() || (stage != 0 && stage + 1 != n_stages) {
        return 0.0;
    }
    let bytes = priced.pricing.gradients.exchanged() * priced.passes.end_parameters;
    let link = shared(priced, 0, priced.degrees.pipeline.saturating_sub(1));
    2.0 * link.start_up_s + bytes / link.rate.get()
}

/// Seconds in which gradients of copies go to the stage that has the original, and weights come
/// back; taken as the way to the first rank.
fn copies_s(priced: &Priced<'_>, rank: u32, copies: f64) -> f64 {
    if copies <= 0.0 || rank == 0 {
        return 0.0;
    }
    let link = shared(priced, 0, rank);
    2.0 * link.start_up_s + 2.0 * priced.pricing.gradients.exchanged() * copies / link.rate.get()
}

/// The way between two ranks where all devices of both use it at once.
fn shared(priced: &Priced<'_>, from: u32, to: u32) -> crate::links::collective::Link {
    let (_, alone) = priced.boundary(from, to, 0.0);
    let cards = priced.cards().filter(|_| priced.crosses(from, to));
    let network = priced.pricing.constants.get(Constant::Network);
    let of = |cards: Cards| priced.pricing.system.card_among(u64::from(cards.n_copies), network);
    cards.map_or(alone, of)
}

fn boundary(priced: &Priced<'_>, from: u32, to: u32, message: f64) -> Boundary {
    let (message, link) = priced.boundary(from, to, message);
    let crosses = priced.crosses(from, to);
    let sharing = if crosses { Sharing::Nic } else { Sharing::Own };
    Boundary {
        activation: bytes(message),
        gradient: bytes(message),
        link: Link {
            latency_ns: link.start_up_s * 1e9,
            bandwidth: Some(link.rate),
            tier: u8::from(crosses),
            sharing,
        },
    }
}

/// Whole nanoseconds, at least one of any work.
pub(crate) fn nanos(seconds: f64) -> Nanos {
    Nanos::rounded(seconds * 1e9, if seconds > 0.0 { Work::Some } else { Work::None })
}

/// Whole bytes; a float cast saturates.
pub(crate) fn bytes(bytes: f64) -> Bytes {
    Bytes(bytes.max(0.0).round().min(u64::MAX as f64 / 16.0) as u64)
}
