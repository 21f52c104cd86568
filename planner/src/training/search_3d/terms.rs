//! What a step is made of, by axis of parallelism.

use cost_model::runs::judge::costs::PipelineCosts;
use cost_model::runs::judge::report::Report;
use cost_model::runs::oracle::StageFigures;
use ir::units::Nanos;

use super::judge::{longest, parts};

/// Terms of a step.
pub const TERMS: [&str; 9] = [
    "compute",
    "recompute",
    "TP communication",
    "CP communication",
    "EP communication",
    "DP communication",
    "PP communication",
    "optimizer",
    "bubble",
];

/// Nanoseconds of each of [`TERMS`] on the rank that computes longest, communication as far as it is
/// exposed; they add up to the step. The stages with their ranks run so many micro-batches.
#[must_use]
pub fn terms(
    (stages, ranks): (&[StageFigures], &[u32]),
    n_micro_batches: u64,
    report: &Report,
    costs: &PipelineCosts,
) -> [i64; TERMS.len()] {
    let rank = longest(report);
    let Some(rank_report) = report.ranks.get(rank) else { return [0; TERMS.len()] };
    let parts = parts((stages, ranks), n_micro_batches, report, costs);
    let of_rank = || stages.iter().zip(ranks).filter(|(_, of)| **of as usize == rank);
    let sum = |figure: &dyn Fn(&StageFigures) -> f64| {
        n_micro_batches as f64 * of_rank().map(|(stage, _)| figure(stage)).sum::<f64>()
    };
    let [context_s, expert_s] = [0, 1].map(|axis| sum(&|stage| stage.axes_s[axis]));
    let ns = |seconds: f64| (seconds * 1e9).round() as i64;
    let whole = |ns: u64| i64::try_from(ns).unwrap_or(i64::MAX);
    let rest = [
        ns(parts.recompute_s),
        ns(parts.collectives_s - context_s - expert_s),
        ns(context_s),
        ns(expert_s),
        whole(rank_report.gradients_ns) + ns(sum(&|stage| stage.waited_s)),
        whole(rank_report.communication_ns) - whole(rank_report.gradients_ns),
        ns(parts.optimizer_s),
        whole(rank_report.idle_ns),
    ];
    let Nanos(step) = report.step_time;
    let [recompute, tensor, context, expert, data, pipeline, optimizer, bubble] = rest;
    let compute = whole(step) - rest.iter().sum::<i64>();
    [compute, recompute, tensor, context, expert, data, pipeline, optimizer, bubble]
}
