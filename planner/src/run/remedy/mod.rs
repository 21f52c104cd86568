//! Ways out of a dead end, each of which was verified by planning with it: another recipe, more
//! memory for each device, more devices.

mod count;
mod limit;

use std::sync::Arc;
use std::time::{Duration, Instant};

use cost_model::ops::bound::Certificate;
use cost_model::ops::problem::Problem;
use ir::diagnostic::{Blame, Diagnostic};
use ir::units::Bytes;

use super::context::Run;
use super::control::Control;
use super::entry::Rows;
use super::limits::Limits;
use super::line::Line;
use super::no_plan::{NoPlan, Reason};
use super::recipe::Recipe;

/// What a search may take where it is proved that there is no plan.
const AFTER_PROOF: Duration = Duration::from_secs(4);
/// What it may take where none was found.
const AFTER_FAILURE: Duration = Duration::from_secs(2);
/// (Actions x devices) that all trials of a search that must not look at the clock may amount to.
const MOST_EFFORT: u64 = 20_000_000;

/// What a trial runs; all of these are part of `auto`, so that it finds such a plan again.
const RECIPES: &[&str] =
    &["m-topo", "single", "m-etf", "blocks,m-topo", "m-topo(cap=limit)", "blocks,m-etf"];

/// The proof, with the ways out that were verified.
pub(super) fn of_certificate(
    problem: &Arc<Problem>,
    limits: (&Control, Rows),
    certificate: Certificate,
) -> NoPlan {
    let mut search = Search::new(limits, AFTER_PROOF);
    let least = certificate.enough_each.unwrap_or(1);
    let mut diagnostic = certificate.diagnostic;
    search.reserve_for_last(AFTER_PROOF / 3);
    let way = limit::hint(&mut search, problem, least);
    diagnostic.loosened("memory", way, !search.is_over());
    search.reserve_for_last(Duration::ZERO);
    if let Some(count) = certificate.enough_devices {
        let way = count::hint(&mut search, problem, count);
        diagnostic.loosened("devices", way, !search.is_over());
    }
    NoPlan::proved(Reason::MemoryExceeded, diagnostic)
}

/// A failure, with the ways out that were verified. What is not about memory or ways comes back as
/// it is.
pub(super) fn of_failure(
    problem: &Arc<Problem>,
    limits: (&Control, Rows),
    mut no_plan: NoPlan,
) -> NoPlan {
    let ours = no_plan.diagnostic.blame == Blame::Internal;
    if ours || matches!(no_plan.reason, Reason::Budget | Reason::Unsupported) {
        return no_plan;
    }
    let mut search = Search::new(limits, AFTER_FAILURE);
    let diagnostic = &mut no_plan.diagnostic;
    let found = if no_plan.proved { None } else { search.plan(problem, RECIPES) };
    if let Some(found) = found {
        let peak = Bytes(found.peak);
        let way = format!("use `{}`, which finds a plan (peak {peak})", found.algorithm);
        diagnostic.loosened("algorithm", Some(way), true);
    } else if no_plan.reason == Reason::MemoryExceeded {
        search.reserve_for_last(AFTER_FAILURE / 3);
        let least = problem.cluster.device_ids().map(|device| problem.memory_limit(device)).min();
        let way = limit::hint(&mut search, problem, least.unwrap_or(u64::MAX));
        diagnostic.loosened("memory", way, !search.is_over());
        search.reserve_for_last(Duration::ZERO);
        let way = count::hint(&mut search, problem, problem.cluster.n_devices() as u64 + 1);
        diagnostic.loosened("devices", way, !search.is_over());
    }
    no_plan
}

/// A verified plan.
struct Found {
    algorithm: &'static str,
    /// Greatest peak over the devices, in bytes.
    peak: u64,
}

impl Found {
    /// `(verified: m-etf, peak 20.1 GiB)`.
    fn proof(&self) -> String {
        format!("(verified: `{}`, peak {})", self.algorithm, Bytes(self.peak))
    }
}

/// Plans trial problems within limits of its own.
struct Search<'a> {
    rows: Rows,
    limits: &'a Limits,
    /// When it ends; `None` where choices must not depend on the clock.
    end: Option<Instant>,
    /// Kept free at the end for another question.
    reserved: Duration,
    /// Effort left, where choices must not depend on the clock.
    effort: u64,
}

impl<'a> Search<'a> {
    fn new((control, rows): (&'a Control, Rows), time: Duration) -> Self {
        let limits = control.limits();
        let until = if limits.deterministic { None } else { Instant::now().checked_add(time) };
        let end = [control.deadline(), until].into_iter().flatten().min();
        Self { rows, limits, end, reserved: Duration::ZERO, effort: MOST_EFFORT }
    }

    fn reserve_for_last(&mut self, time: Duration) {
        self.reserved = if self.limits.deterministic { Duration::ZERO } else { time };
    }

    fn is_over(&self) -> bool {
        let cancelled = self.limits.cancel.load(std::sync::atomic::Ordering::Relaxed);
        let late = self.time_left().is_some_and(|left| left.is_zero());
        cancelled || late || (self.limits.deterministic && self.effort == 0)
    }

    fn time_left(&self) -> Option<Duration> {
        let left = self.end?.saturating_duration_since(Instant::now());
        Some(left.saturating_sub(self.reserved))
    }

    /// The first of these recipes that finds a plan, with its plan's peak.
    fn plan(&mut self, problem: &Arc<Problem>, recipes: &[&'static str]) -> Option<Found> {
        recipes.iter().find_map(|algorithm| self.try_one(problem, algorithm))
    }

    fn try_one(&mut self, problem: &Arc<Problem>, algorithm: &'static str) -> Option<Found> {
        if self.is_over() {
            return None;
        }
        let cost =
            (problem.actions.len() as u64).saturating_mul(problem.cluster.n_devices() as u64);
        self.effort = self.effort.saturating_sub(cost.max(1));
        let recipe = Recipe::parse(algorithm, self.rows).ok()?;
        let limits = Limits { time: self.time_left(), nodes: None, ..self.limits.clone() };
        let line = Arc::new(Line::silent(&limits));
        let run = Run::new(line, Arc::clone(problem), &recipe);
        let scored = run.execute().ok()?;
        Some(Found { algorithm, peak: scored.figures.peak_bytes })
    }
}

/// The same problem on a changed cluster; `None` if it can't be built.
fn on_cluster(problem: &Problem, cluster: ir::cluster::Cluster) -> Option<Arc<Problem>> {
    problem.on_cluster(Arc::new(cluster)).map_err(|_: Diagnostic| ()).ok().map(Arc::new)
}

#[cfg(test)]
mod tests;
