//! Edges of a pipeline that send the largest elements alone (AdaTopK of FusionLLM, Tang et al. 2024): the
//! edge that takes longest sends one in so many, others as much fewer as they are faster, and none where
//! the step would be as short without.
//!
//! Plans whose edges send all are searched first, and then all plans, on the way to each as if every edge
//! sent one in so many that are chosen in no time: no plan is below that, whatever its edges leave out. A
//! whole plan is priced as it is, with edges that send all, and with parts by the rule above.

use std::sync::Arc;
use std::time::Instant;

use cost_model::runs::judge::costs::{PipelineCosts, StageCosts};
use cost_model::runs::unlike::Fleet;
use ir::plan::{Parallelism, Plan, StageMesh};
use ir::units::Nanos;

use super::search::{Priced, judged};
use super::{Found, Judged, Options, searched};
use crate::run::{Control, Limits};

/// Searches plans whose edges may send one in [`Options::edge_ratio`] elements.
pub(super) fn solve(
    fleet: &Fleet<'_>,
    global_batch: u64,
    options: &Options,
    observer: &mut dyn FnMut(&Judged, Nanos),
) -> Found {
    let any = Fleet { edge_ratio: options.edge_ratio, ..*fleet };
    // Who asks for a bound alone has a plan.
    if options.below < Nanos(u64::MAX) {
        return searched(&any, global_batch, options, observer);
    }
    // The same search as without, so that no limit makes the plan slower.
    let whole = searched(fleet, global_batch, options, &mut |best, _| observer(best, Nanos(0)));
    let in_part = whole.best.as_ref().and_then(|best| in_part(fleet, best, options.edge_ratio));
    let first = in_part.or(whole.best);
    let below = first.as_ref().map_or(options.below, |best| best.step);
    let rest = Options { below, ..rest(options, whole.n_nodes) };
    let found = searched(&any, global_batch, &rest, observer);
    let best = found.best.or(first).map(|best| fewest(fleet, best, &rest));
    let n_nodes = whole.n_nodes.saturating_add(found.n_nodes);
    let n_judged = whole.n_judged.saturating_add(found.n_judged);
    let bound = best.as_ref().map_or(found.bound, |best| found.bound.min(best.step));
    Found { best, bound, n_nodes, n_judged, ..found }
}

/// What is left of the limits once so many nodes were spent.
fn rest(options: &Options, spent: u64) -> Options {
    let limits = options.control.limits();
    let time = limits.time.map(|time| time.saturating_sub(options.control.elapsed()));
    let nodes = limits.nodes.map(|nodes| nodes.saturating_sub(spent));
    let control = Arc::new(Control::new(&Limits { time, nodes, ..limits.clone() }));
    Options { control, ..options.clone() }
}

/// A plan with parts by the rule, where it is faster so.
fn in_part(fleet: &Fleet<'_>, best: &Judged, edge_ratio: u32) -> Option<Judged> {
    let fleet = &fleet.keeping(best.offload);
    let whole = fleet.costs(&best.plan).ok()?;
    let mut plan = best.plan.clone();
    let stages = best.plan.partition.stages.iter();
    let stages: Option<Vec<_>> =
        stages.map(|stage| Some((stage.mesh.as_ref()?, stage.blocks.end))).collect();
    let ratios = by_rule(fleet, (&stages?, &whole), edge_ratio);
    for (stage, ratio) in plan.partition.stages.iter_mut().zip(ratios) {
        stage.mesh.as_mut()?.edge_ratio = ratio;
    }
    let step = judged(&fleet.costs(&plan).ok()?, plan.parallelism.pipeline, best.step)?;
    Some(Judged { plan, step, offload: best.offload })
}

/// The step of a plan where it is less than so much, and by edge, elements over those that are sent; none
/// where all are.
pub(super) fn priced(
    fleet: &Fleet<'_>,
    (stages, run): (&[Priced<'_>], &Parallelism),
    most: Nanos,
) -> Option<(Nanos, Vec<u32>)> {
    let exact = Fleet { edge_ratio: 1, ..*fleet };
    let with = |ratios: &[u32]| {
        let ratios = ratios.iter().copied().chain(std::iter::repeat(1));
        let mesh = |((mesh, ..), edge_ratio): (&Priced<'_>, u32)| StageMesh {
            edge_ratio,
            ..(*mesh).clone()
        };
        let meshes: Vec<StageMesh> = stages.iter().zip(ratios).map(mesh).collect();
        let stages = meshes.iter().zip(stages).map(|(mesh, (_, n, price))| (mesh, *n, *price));
        exact.together(&stages.collect::<Vec<_>>(), run)
    };
    let whole = with(&[])?;
    let step = judged(&whole, run.pipeline, most);
    let ends = stages.iter().scan(0, |end, (mesh, n, _)| {
        *end += n;
        Some((*mesh, *end))
    });
    let ratios = by_rule(&exact, (&ends.collect::<Vec<_>>(), &whole), fleet.edge_ratio);
    let most = step.unwrap_or(most);
    let is_part = ratios.iter().any(|ratio| *ratio > 1);
    let in_part = is_part.then(|| judged(&with(&ratios)?, run.pipeline, most)).flatten();
    in_part.map(|step| (step, ratios)).or_else(|| Some((step?, Vec::new())))
}

/// By edge, elements over those that are sent at most: as many as allowed on the one that takes longest,
/// on others in proportion; 1 where indices are more than what is left out. Of stages in order the devices
/// and the first block behind them, and their costs where all is sent.
fn by_rule(
    exact: &Fleet<'_>,
    (stages, whole): (&[(&StageMesh, u32)], &PipelineCosts),
    most: u32,
) -> Vec<u32> {
    let way_s = |stage: &StageCosts| stage.next.link.time(stage.next.activation, 1).seconds();
    let edges = || stages.windows(2).zip(&whole.stages);
    let slowest_s = edges().map(|(_, stage)| way_s(stage)).fold(0.0, f64::max);
    let ratio = |(pair, stage): (&[(&StageMesh, u32)], &StageCosts)| {
        let edge_ratio = ((f64::from(most) * way_s(stage) / slowest_s) as u32).max(1);
        let from = StageMesh { edge_ratio, ..pair[0].0.clone() };
        let bytes = exact.edge_bytes(&from, pair[1].0, pair[0].1);
        if bytes.is_some_and(|[all, sent]| sent < all) { edge_ratio } else { 1 }
    };
    edges().map(ratio).collect()
}

/// The plan whose edges leave out no more than its step needs. This is little work, which no number of
/// nodes limits; past a deadline, edges are only looked at whether they can send all.
fn fewest(fleet: &Fleet<'_>, mut best: Judged, options: &Options) -> Judged {
    let fleet = &fleet.keeping(best.offload);
    let stages = &best.plan.partition.stages;
    let ratios = stages.iter().map(|stage| stage.mesh.as_ref().map_or(1, |mesh| mesh.edge_ratio));
    let mut edges: Vec<(usize, u32)> = ratios.enumerate().filter(|edge| edge.1 > 1).collect();
    let mut try_ratio = |at: usize, ratio: u32| {
        let plan = with(&best.plan, at, ratio);
        let costs = plan.as_ref().and_then(|plan| fleet.costs(plan).ok());
        let most = Nanos(best.step.0.saturating_add(1));
        let step = costs.and_then(|costs| judged(&costs, best.plan.parallelism.pipeline, most));
        let Some((step, plan)) = step.zip(plan) else { return false };
        best = Judged { plan, step, offload: best.offload };
        true
    };
    // Those that bind least first.
    edges.sort_by_key(|(_, ratio)| *ratio);
    let control = &options.control;
    let is_over =
        || control.is_cancelled() || control.deadline().is_some_and(|end| Instant::now() >= end);
    let mut n = edges.len() + 1;
    while edges.len() < n {
        n = edges.len();
        edges.retain(|(at, _)| !try_ratio(*at, 1));
        if is_over() {
            break;
        }
    }
    for (at, most) in edges {
        let (mut few, mut enough) = (1, most);
        while enough - few > 1 && !is_over() {
            let middle = few + (enough - few) / 2;
            if try_ratio(at, middle) { enough = middle } else { few = middle }
        }
    }
    best
}

/// A plan with another ratio of an edge.
fn with(plan: &Plan, at: usize, edge_ratio: u32) -> Option<Plan> {
    let mut changed = plan.clone();
    changed.partition.stages.get_mut(at)?.mesh.as_mut()?.edge_ratio = edge_ratio;
    Some(changed)
}
