//! A plan on measured layers as costs for the judge of pipelines.

use ir::diagnostic::{Blame, Diagnostic};
use ir::plan::Plan;
use ir::units::Bytes;

use super::LayerPricing;
use super::priced::Priced;
use super::stage::{Counts, Figures};
use crate::runs::forms::model::Offload;
use crate::runs::forms::model::judged::{bytes, lost, nanos, ranks_of};
use crate::runs::forms::model::priced::Place;
use crate::runs::forms::rank_groups;
use crate::runs::judge::costs::{Boundary, Link, PipelineCosts, RankCosts, StageCosts};

/// Figures of all stages of a plan, in model order.
///
/// # Errors
/// `profile-lacks`; `stages-lose-blocks` where the stages don't hold every block once, in order;
/// `policies-wrong` where they don't say of each block what is done with it.
pub fn figures(pricing: &LayerPricing<'_>, plan: &Plan) -> Result<Vec<Figures>, Diagnostic> {
    let priced = Priced::new(pricing, &plan.parallelism)?;
    let stages = &plan.partition.stages;
    let mut next = 0;
    let mut figures = Vec::with_capacity(stages.len());
    for (index, stage) in stages.iter().enumerate() {
        if stage.blocks.start != next || stage.blocks.end < next {
            return Err(lost(index, next, stage.blocks.start));
        }
        next = stage.blocks.end;
        if next > pricing.n_blocks() {
            break;
        }
        let counts = Counts::of(stage.policies(plan.parallelism.zero));
        if counts.n() as usize != stage.blocks.len() {
            let message = format!(
                "stage {index} has {} blocks, but choices for {}",
                stage.blocks.len(),
                counts.n()
            );
            return Err(Diagnostic::error(Blame::IllegalPlan, "policies-wrong", message)
                .hint("say of each block what is done with it, or of none"));
        }
        let place = Place { first: index == 0, last: index + 1 == stages.len() };
        figures.push(priced.stage(pricing, &counts, place));
    }
    if next != pricing.n_blocks() {
        return Err(lost(stages.len(), pricing.n_blocks(), next));
    }
    Ok(figures)
}

/// Costs of a plan.
///
/// # Errors
/// Those of [`figures`]; `grid-missing` where the grid lacks a stage.
pub fn costs(pricing: &LayerPricing<'_>, plan: &Plan) -> Result<PipelineCosts, Diagnostic> {
    let priced = Priced::new(pricing, &plan.parallelism)?;
    let figures = figures(pricing, plan)?;
    let ranks = plan.schedule.grid.as_ref().and_then(|grid| ranks_of(grid, figures.len()));
    let missing = || {
        let message = "the plan has no grid with cells of every stage";
        Diagnostic::error(Blame::IllegalPlan, "grid-missing", message)
    };
    Ok(lowered(pricing, &priced, &figures, &ranks.ok_or_else(missing)?))
}

/// Figures of stages as whole nanoseconds and bytes.
#[must_use]
pub fn lowered(
    pricing: &LayerPricing<'_>,
    priced: &Priced,
    figures: &[Figures],
    ranks: &[u32],
) -> PipelineCosts {
    let stage = |(index, own): (usize, &Figures)| {
        stage_costs(priced, own, ranks.get(index).copied().unwrap_or_default())
    };
    let rank = |rank: u32| {
        let own = figures.iter().zip(ranks).filter(|(_, of)| **of == rank).map(|(own, _)| own);
        let (idle_room, optimizer_s) = own.fold((f64::INFINITY, 0.0), |sum, own| {
            (own.idle_room().min(sum.0), own.optimizer_s + sum.1)
        });
        RankCosts {
            optimizer: nanos(optimizer_s),
            limit: pricing.limit,
            persistent: if idle_room.is_finite() { bytes(idle_room) } else { Bytes::ZERO },
            nic: None,
        }
    };
    PipelineCosts {
        n_micro_batches: u32::try_from(priced.degrees.n_micro_batches).unwrap_or(u32::MAX),
        stages: figures.iter().enumerate().map(stage).collect(),
        ranks: (0..priced.degrees.pipeline.max(1)).map(rank).collect(),
        hosts: match pricing.offload {
            Offload::Nothing => Vec::new(),
            Offload::Optimizer => {
                let per_host = u64::from(pricing.per_host);
                rank_groups::hosts(&priced.degrees, per_host, pricing.host_memory)
            }
        },
        ..PipelineCosts::default()
    }
}

/// Costs of one stage on a rank.
#[must_use]
pub fn stage_costs(priced: &Priced, own: &Figures, rank: u32) -> StageCosts {
    let stash = bytes(own.activation + own.end_activation);
    let message = bytes(priced.message);
    StageCosts {
        rank,
        forward: nanos(own.forward_s),
        backward: nanos(own.backward_s),
        recompute: nanos(own.recompute_s),
        stash,
        kept_for_weight: stash,
        forward_temporary: bytes(own.gathered),
        backward_temporary: bytes(own.temporary),
        persistent: bytes(own.states + own.end_states),
        on_host: bytes(own.on_host),
        next: Boundary {
            activation: message,
            gradient: message,
            link: Link { bandwidth: priced.next, ..Link::default() },
        },
        exchange: nanos(own.exchange_s),
        overlapped: nanos(own.overlapped_s),
        ..StageCosts::default()
    }
}
