//! Workers of a fleet replayed at their share of the rate, and their rates lowered where promises are missed.

use std::collections::BTreeMap;

use cost_model::serving::arrivals::Length;
use cost_model::serving::fault::Fault;

use super::program::load;
use super::question::{Price, Promises, Question, Reason};
use super::stream::lengths;
use super::types::Worker;
use crate::run::Control;
use crate::serving::fleet::{self, Found, Plan, Role};

/// Fleets that are replayed at most.
const MOST_ROUNDS: usize = 12;
/// Halvings of the interval in which the efficiency of a type lies, and its lowest value.
const HALVINGS: usize = 5;
const LOWEST: f64 = 0.25;
/// Share of a promise that replays must keep, so that other arrivals keep it too.
const KEPT: f64 = 0.98;

/// A worker type at its share of the rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Replayed {
    /// Number of the type.
    pub of: usize,
    /// Requests/s of each worker.
    pub requests_per_s: f64,
    /// TTFT and TPOT by the closed form at the type's own rate: means.
    pub predicted_s: [f64; 2],
    /// TTFT and TPOT of the promised statistic in the replay.
    pub replayed: Result<[f64; 2], Fault>,
    /// Whether the replay keeps the promises.
    pub is_kept: bool,
}

/// Replays of fleets until one keeps the promises.
pub(super) struct Rounds<'q, 'p> {
    pub(super) question: &'q Question<'q>,
    pub(super) price: &'q Price<'p>,
    pub(super) control: &'q Control,
    pub(super) seed: u64,
}

/// The last fleet, its replays, and how many fleets there were.
pub(super) struct Outcome {
    pub(super) found: Found,
    pub(super) replays: Vec<Replayed>,
    pub(super) n_rounds: usize,
}

impl Rounds<'_, '_> {
    /// Lowers efficiencies in the program until the fleet keeps the promises.
    pub(super) fn run(
        &self,
        program: &mut fleet::Question,
        workers: &[Worker],
        first: Found,
    ) -> Result<Outcome, fleet::Refused> {
        let mut outcome = Outcome { found: first, replays: Vec::new(), n_rounds: 0 };
        while let Some(plan) = outcome.found.best.clone() {
            outcome.n_rounds += 1;
            outcome.replays = self.replay((program, workers), &plan);
            let missed: Vec<usize> =
                outcome.replays.iter().filter(|of| !of.is_kept).map(|of| of.of).collect();
            let is_over = outcome.n_rounds >= MOST_ROUNDS || self.control.stop().is_some();
            if missed.is_empty() || is_over {
                break;
            }
            for at in missed {
                self.lower(&mut program.types[at], &workers[at]);
            }
            outcome.found = fleet::solve(program, self.control)?;
            outcome.replays = Vec::new();
        }
        Ok(outcome)
    }

    /// Each type of a plan at its share.
    pub(super) fn replay(
        &self,
        (program, workers): (&fleet::Question, &[Worker]),
        plan: &Plan,
    ) -> Vec<Replayed> {
        let requests_per_s = self.question.requests_per_s;
        let rate = requests_per_s.unwrap_or(plan.figures.requests_per_s);
        let of = |(at, requests_per_s): (usize, f64)| {
            let worker = &workers[at];
            let replayed = self.seconds(worker, requests_per_s);
            let promises = self.promises(worker);
            let is_kept = matches!(replayed, Ok(seconds) if promises.admit(seconds));
            let predicted_s = [worker.figures.ttft_s, worker.figures.tpot_s];
            Replayed { of: at, requests_per_s, predicted_s, replayed, is_kept }
        };
        load((program, workers), plan, rate).into_iter().map(of).collect()
    }

    /// What a worker's replay must keep.
    fn promises(&self, worker: &Worker) -> Promises {
        let promises = self.question.promises.times(KEPT);
        match worker.figures.role {
            Role::Aggregated => promises,
            Role::Prefill => Promises { tpot_s: None, ..promises },
            Role::Decode => Promises { ttft_s: None, ..promises },
        }
    }

    fn seconds(&self, worker: &Worker, requests_per_s: f64) -> Result<[f64; 2], Fault> {
        let mix = lengths(&self.question.mix, worker.figures.role);
        let price = match (self.price)(worker.figures.pool, &worker.shape) {
            Ok(price) => price,
            Err(Reason::Unsteady(fault)) => return Err(fault),
            Err(_) => return Err(Fault::Price { seconds: f64::NAN }),
        };
        let total = |mix: &[Length]| mix.iter().map(|length| length.share).sum::<f64>();
        let share = total(&mix) / total(&self.question.mix);
        let rate = requests_per_s * share / worker.stream.n_streams as f64;
        let statistic = self.question.promises.statistic;
        worker.stream.replayed(&mix, (rate, self.seed), statistic, &*price)
    }

    /// Lowers the efficiency of a type to the greatest with which its replay keeps the promises; a type that
    /// keeps them with none gets what it takes with the lowest, which the program leaves out.
    fn lower(&self, figures: &mut fleet::WorkerType, worker: &Worker) {
        let promises = self.promises(worker);
        let mut known = BTreeMap::new();
        let mut keeps = |efficiency: f64| {
            let seconds = self.seconds(worker, figures.requests_per_s * efficiency);
            let is_kept = matches!(seconds, Ok(seconds) if promises.admit(seconds));
            known.insert(efficiency.to_bits(), seconds);
            is_kept
        };
        let (mut low, mut high) = (LOWEST, figures.efficiency);
        if low >= high || !keeps(low) {
            let seconds = known.get(&LOWEST.to_bits()).and_then(|seconds| seconds.ok());
            let [ttft_s, tpot_s] = seconds.unwrap_or([f64::MAX, f64::MAX]);
            // Replays must keep a little more than what is promised.
            (figures.ttft_s, figures.tpot_s) = (ttft_s / KEPT.powi(2), tpot_s / KEPT.powi(2));
            return;
        }
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            if keeps(middle) { low = middle } else { high = middle }
        }
        figures.efficiency = low;
    }
}

/// Replays a fleet with other arrivals.
#[must_use]
pub fn replay_fleet(
    (question, price): (&Question<'_>, &Price<'_>),
    (program, workers): (&fleet::Question, &[Worker]),
    plan: &Plan,
    seed: u64,
) -> Vec<Replayed> {
    let control = Control::default();
    let rounds = Rounds { question, price, control: &control, seed };
    rounds.replay((program, workers), plan)
}
