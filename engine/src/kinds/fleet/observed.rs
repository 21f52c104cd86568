//! What replays of workers show beside their latencies: iterations, and what of them a page has.

use cost_model::serving::replay::{Distribution, Ran};
use cost_model::serving::worker::Shape;
use documents::plan::fleet::{DistributionFigures, WorkerLatenciesFigures};
use ir::diagnostic::Diagnostic;
use planner::serving::serving_fleet;
use serde_json::{Value, json};

use super::decided::{self, Judged, why};
use super::setting::Setting;
use super::{refused, words};

/// Iterations of a worker that are looked at.
const MOST_ITERATIONS: usize = 2_000;
/// Steps of a curve, percent.
const STEP: usize = 5;

/// The first iterations of one batch of a worker type.
pub struct Observed {
    /// Its name as in tables and exported files.
    pub name: String,
    /// Iterations in their order, one by one.
    pub iterations: Vec<Ran>,
}

/// The first iterations of each worker type of a plan.
///
/// # Errors
/// `not-for-fleets` for a worker that can not be replayed, which no judged one is.
pub fn of(setting: &Setting, judged: &Judged) -> Result<Vec<Observed>, Diagnostic> {
    let workers: Vec<_> = judged.workers.iter().map(|(of, _)| of.clone()).collect();
    let question = decided::question_on(setting, &workers);
    let price = |pool: usize, shape: &Shape| setting.price(pool, shape);
    let names = words::names(&decided::stated_workers(setting, &workers));
    let observed = |(name, of): (String, &decided::Workers)| {
        let ran = serving_fleet::iterations((&question, &price), &of.stated, MOST_ITERATIONS);
        let iterations = ran.map_err(|reason| {
            let message = format!("{name} can not be replayed: {}", why(&reason));
            refused(message, "verify the plan with `meshwright verify`")
        })?;
        Ok(Observed { name, iterations })
    };
    names.into_iter().zip(&workers).map(observed).collect()
}

/// A distribution in figures.
pub(super) fn distribution(values: &Distribution) -> DistributionFigures {
    DistributionFigures {
        mean: values.mean(),
        p50: values.percentile(50.0),
        p90: values.percentile(90.0),
        p99: values.percentile(99.0),
        percentiles: (0..=100)
            .step_by(STEP)
            .map(|percent| values.percentile(percent as f64))
            .collect(),
    }
}

/// Latencies of the requests of each worker type, in the order of the workers.
pub(super) fn latencies(judged: &Judged) -> Vec<WorkerLatenciesFigures> {
    let of = |(_, judged): &(decided::Workers, decided::JudgedWorker)| {
        let [ttft_s, tpot_s, latency_s] =
            [0, 1, 2].map(|at| judged.distributions[at].as_ref().map(distribution));
        WorkerLatenciesFigures { ttft_s, tpot_s, latency_s }
    };
    judged.workers.iter().map(of).collect()
}

/// What of the figures of a fleet follows from its workers, however they were found.
#[must_use]
pub fn figures(setting: &Setting, judged: &Judged) -> Value {
    let [_, n_output] = setting.asked.traffic.mean_tokens();
    json!({
        "latency_seconds": decided::latency_s(&judged.workers),
        "n_under_way": decided::n_under_way(&judged.workers),
        "output_tokens_per_s": judged.requests_per_s * n_output,
        "worker_latencies": latencies(judged),
    })
}
