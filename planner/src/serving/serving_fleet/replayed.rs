//! Workers of a fleet replayed at their share of the rate, and their rates lowered where promises are missed.

use cost_model::serving::arrivals::Length;
use cost_model::serving::fault::Fault;
use cost_model::serving::worker::Shape;

use super::program::load;
use super::question::{Price, Promises, Question, Reason};
use super::stream::{Stream, lengths};
use super::types::Worker;
use crate::run::Control;
use crate::serving::fleet::{self, Found, Plan, Role};

/// Fleets that are replayed at most.
const MOST_ROUNDS: usize = 8;
/// Efficiencies that are tried, and halvings between the first that will do and the one before.
const EFFICIENCIES: [f64; 8] = [1.0, 0.95, 0.9, 0.85, 0.75, 0.6, 0.4, 0.2];
const HALVINGS: usize = 2;
/// Share of a promise that replays must keep.
const KEPT: f64 = 0.99;
/// Replays of a type, each with other arrivals, and standard errors of their mean by which it must keep a
/// promise.
const RUNS: u64 = 6;
const ERRORS: f64 = 3.0;

/// Means of several replays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latencies {
    /// TTFT and TPOT of the promised statistic.
    pub seconds: [f64; 2],
    /// Three standard errors above them.
    pub upper_s: [f64; 2],
}

impl Latencies {
    fn of(runs: &[[f64; 2]]) -> Self {
        let n = runs.len() as f64;
        let mean = |at: usize| runs.iter().map(|run| run[at]).sum::<f64>() / n;
        let seconds = [mean(0), mean(1)];
        let error = |at: usize| {
            let squares: f64 = runs.iter().map(|run| (run[at] - seconds[at]).powi(2)).sum();
            (squares / (n - 1.0).max(1.0) / n).sqrt()
        };
        let upper_s = [0, 1].map(|at| seconds[at] + ERRORS * error(at));
        Self { seconds, upper_s }
    }
}

/// A worker type at its share of the rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Replayed {
    /// Number of the type.
    pub of: usize,
    /// Requests/s of each worker.
    pub requests_per_s: f64,
    /// TTFT and TPOT by the closed form at the type's own rate: means.
    pub predicted_s: [f64; 2],
    /// What its replays say.
    pub replayed: Result<Latencies, Fault>,
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
            // Once figures of closed forms have failed, all types are compared by replays.
            let all = if outcome.n_rounds == 1 { (0..workers.len()).collect() } else { missed };
            for at in all {
                if self.control.stop().is_some() {
                    break;
                }
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
            let replayed = self.latencies(worker, requests_per_s, true);
            let promises = self.promises(worker);
            let is_kept = matches!(replayed, Ok(of) if promises.admit(of.upper_s));
            let predicted_s = [worker.figures.ttft_s, worker.figures.tpot_s];
            Replayed { of: at, requests_per_s, predicted_s, replayed, is_kept }
        };
        load((program, workers), plan, rate).into_iter().map(of).collect()
    }

    /// What a worker's replay must keep.
    fn promises(&self, worker: &Worker) -> Promises {
        self.promises_of(worker.figures.role)
    }

    /// What a replay of a worker in a role must keep.
    pub(super) fn promises_of(&self, role: Role) -> Promises {
        let promises = self.question.promises.times(KEPT);
        match role {
            Role::Aggregated => promises,
            Role::Prefill => Promises { tpot_s: None, ..promises },
            Role::Decode => Promises { ttft_s: None, ..promises },
        }
    }

    fn latencies(
        &self,
        worker: &Worker,
        requests_per_s: f64,
        is_checked: bool,
    ) -> Result<Latencies, Fault> {
        let of = (worker.figures.pool, &worker.shape, &worker.stream);
        self.latencies_of(of, requests_per_s, is_checked)
    }

    /// What replays of a batch of a worker on a pool say, at so many requests/s of the worker.
    pub(super) fn latencies_of(
        &self,
        (pool, shape, stream): (usize, &Shape, &Stream),
        requests_per_s: f64,
        is_checked: bool,
    ) -> Result<Latencies, Fault> {
        let mix = lengths(&self.question.mix, stream.role);
        let price = match (self.price)(pool, shape) {
            Ok(price) => price,
            Err(Reason::Unsteady(fault)) => return Err(fault),
            Err(_) => return Err(Fault::Price { seconds: f64::NAN }),
        };
        let total = |mix: &[Length]| mix.iter().map(|length| length.share).sum::<f64>();
        let share = total(&mix) / total(&self.question.mix);
        let rate = requests_per_s * share / stream.n_streams as f64;
        let statistic = self.question.promises.statistic;
        let run = |at: u64| {
            let seed = self.seed.wrapping_mul(RUNS).wrapping_add(at);
            let arrivals = (rate, seed, is_checked && at == 0);
            stream.replayed(&mix, arrivals, statistic, &*price)
        };
        let runs: Result<Vec<[f64; 2]>, Fault> = (0..RUNS).map(run).collect();
        Ok(Latencies::of(&runs?))
    }

    /// Lowers the efficiency of a type to one with which its replays keep the promises; a type that keeps them
    /// with none gets a latency that the program leaves out.
    fn lower(&self, figures: &mut fleet::WorkerType, worker: &Worker) {
        let promises = self.promises(worker);
        let most = figures.efficiency;
        let keeps = |efficiency: f64| {
            let rate = figures.requests_per_s * efficiency;
            let of = self.latencies(worker, rate, false);
            matches!(of, Ok(of) if promises.admit(of.upper_s))
        };
        let mut high = most;
        let tried = EFFICIENCIES.into_iter().filter(|efficiency| *efficiency <= most);
        let found = tried.into_iter().find(|efficiency| {
            let is_kept = keeps(*efficiency);
            if !is_kept {
                high = *efficiency;
            }
            is_kept
        });
        let Some(mut low) = found else {
            (figures.ttft_s, figures.tpot_s) = (f64::MAX, f64::MAX);
            return;
        };
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            if high > low && keeps(middle) { low = middle } else { high = middle }
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
