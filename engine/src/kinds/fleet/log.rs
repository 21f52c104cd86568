//! A fleet on the requests of a file.

use std::path::Path;

use cost_model::serving::arrivals::Request;
use cost_model::serving::replay::Distribution;
use cost_model::serving::worker::Shape;
use documents::plan::fleet::{DistributionFigures, RequestsFigures};
use ir::diagnostic::Diagnostic;
use planner::serving::serving_fleet::{self, FleetReplay, Promises, Reason, Stated};

use super::decided::{Workers, question_on, why};
use super::observed::distribution;
use super::refused;
use super::setting::Setting;
use super::words::{latency, thousands};
use crate::answer::page::{Column, Page};

/// Replays requests on workers to their end.
///
/// # Errors
/// Those of [`serving_fleet::replay_requests`].
pub(super) fn replay(
    setting: &Setting,
    workers: &[Workers],
    requests: &[Request],
) -> Result<FleetReplay, Reason> {
    let question = question_on(setting, workers);
    let price = |pool: usize, shape: &Shape| setting.price(pool, shape);
    let of = |of: &Workers| (of.stated.clone(), of.replicas.len());
    let all: Vec<(Stated, usize)> = workers.iter().map(of).collect();
    serving_fleet::replay_requests((&question, &price), &all, requests)
}

/// Whether requests of a replay keep TTFT, TPOT and the latency of a request.
pub(super) fn is_kept(setting: &Setting, promises: &Promises, replay: &FleetReplay) -> bool {
    let of = |values: &Distribution| promises.statistic.of(values);
    let tpot_s = replay.tpot.as_ref().map_or(0.0, of);
    let is_short = setting.asked.latency_s.is_none_or(|most| of(&replay.latency) <= most);
    is_short && promises.admit([of(&replay.ttft), tpot_s])
}

/// Its figures, of so many requests in the file.
pub(super) fn figures(replay: &FleetReplay, (n, replayed): (u64, usize)) -> RequestsFigures {
    RequestsFigures {
        n_requests: n,
        n_replayed: replayed as u64,
        ttft_s: distribution(&replay.ttft),
        tpot_s: replay.tpot.as_ref().map(distribution),
        latency_s: distribution(&replay.latency),
        total_s: replay.total_s,
        n_preemptions: replay.n_preemptions,
    }
}

/// `mean 0.31 s, p90 0.52 s`.
pub(super) fn told(of: &DistributionFigures) -> String {
    format!("mean {}, p90 {}", latency(of.mean), latency(of.p90))
}

/// That a file has more requests than were replayed.
pub(super) fn cut(figures: &RequestsFigures) -> Option<Diagnostic> {
    let RequestsFigures { n_requests, n_replayed, .. } = *figures;
    (n_replayed < n_requests).then(|| {
        let message = format!("replayed: the first {n_replayed} of {n_requests} requests");
        Diagnostic::warning("first-requests", message)
    })
}

/// Requests that the workers can not be replayed on.
pub(super) fn unserved(file: &Path, reason: &Reason) -> Diagnostic {
    let message = format!("the requests can not be replayed: {}", why(reason));
    refused(message, "plan for them with `meshwright infer --requests`")
        .fact("file", file.display().to_string())
}

/// All of them as a table.
pub(super) fn table(figures: &RequestsFigures, page: &Page) {
    let row = |name: &str, of: &DistributionFigures| {
        let times = [of.mean, of.p50, of.p90, of.p99].map(latency);
        std::iter::once(name.to_owned()).chain(times).collect::<Vec<_>>()
    };
    let mut rows = vec![row("TTFT", &figures.ttft_s)];
    rows.extend(figures.tpot_s.iter().map(|of| row("TPOT", of)));
    rows.push(row("request latency", &figures.latency_s));
    page.table(&Column::row("@time | #mean | #p50 | #p90 | #p99"), rows);
    page.line(&format!(
        "{} requests, first arrival to last token {}, {} preemptions",
        thousands(figures.n_replayed),
        latency(figures.total_s),
        figures.n_preemptions
    ));
}
