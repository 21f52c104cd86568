//! Workers of a fleet replayed at their share of the rate, and their rates lowered where promises are missed.

use std::cell::RefCell;
use std::collections::BTreeMap;

use cost_model::serving::IterationTime;
use cost_model::serving::arrivals::Length;
use cost_model::serving::fault::Fault;
use cost_model::serving::worker::Shape;

use super::program::load;
use super::question::{Price, Promises, Question, Reason, Statistic};
use super::stream::{MOST_LOAD, Stream, lengths, share};
use super::types::{Worker, rival};
use crate::run::Control;
use crate::serving::fleet::{self, Found, Plan, Role};

/// Fleets that are replayed at most.
const MOST_ROUNDS: usize = 32;
/// Parts of a rate that misses a promise that are tried, and how much greater than one that will do the least is that
/// will not.
const PARTS: [f64; 12] = [0.97, 0.94, 0.9, 0.85, 0.75, 0.6, 0.4, 0.2, 0.1, 0.05, 0.025, 0.0125];
const GRAIN: f64 = 1.01;
/// Share of a promise that replays must keep.
const KEPT: f64 = 0.99;
/// Part of a replay that shows by which factor a percentile is clearly missed.
pub(super) const SHORT: usize = 4;
pub(super) const CLEARLY: f64 = 1.3;
/// Replays of a type, each with other arrivals, and standard errors of their mean by which it must keep a
/// promise.
const RUNS: u64 = 6;
const ERRORS: f64 = 3.0;

/// TTFT and TPOT of a type that no fleet is to have.
const LEFT_OUT: (f64, f64) = (f64::MAX, f64::MAX);

/// Means of several replays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latencies {
    /// TTFT and TPOT of the promised statistic.
    pub seconds: [f64; 2],
    /// Three standard errors above them.
    pub upper_s: [f64; 2],
    /// Requests under way in the worker, mean (Little's law).
    pub n_under_way: f64,
    /// Seconds from arrival to the last token: the mean, of all requests of the fleet; or the promised percentile, of
    /// prefill and decode workers that of a part ([`Statistic::of_part`]).
    pub stay_s: f64,
}

impl Latencies {
    /// Of runs, each with the seconds of a request (mean and of the statistic), at so many requests/s of the worker,
    /// and of the fleet's requests that it has a part in.
    fn of(
        runs: &[([f64; 2], [f64; 2])],
        [rate, requests_per_s]: [f64; 2],
        statistic: Statistic,
    ) -> Self {
        let n = runs.len() as f64;
        let mean = |at: usize| runs.iter().map(|(run, _)| run[at]).sum::<f64>() / n;
        let seconds = [mean(0), mean(1)];
        let error = |at: usize| {
            let squares: f64 = runs.iter().map(|(run, _)| (run[at] - seconds[at]).powi(2)).sum();
            (squares / (n - 1.0).max(1.0) / n).sqrt()
        };
        let upper_s = [0, 1].map(|at| seconds[at] + ERRORS * error(at));
        let stays_s = [0, 1].map(|at| runs.iter().map(|(_, stay_s)| stay_s[at]).sum::<f64>() / n);
        let n_under_way = rate * stays_s[0];
        let stay_s = match statistic {
            Statistic::Mean => n_under_way / requests_per_s,
            Statistic::Percentile(_) => stays_s[1],
        };
        Self { seconds, upper_s, n_under_way, stay_s }
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
    control: &'q Control,
    /// By number of a type what a batch of it does whose queue never empties, requests/s.
    capacities: RefCell<BTreeMap<usize, Result<f64, Fault>>>,
    /// By number the types of which replays lowered the rate, as they were before.
    lowered: RefCell<BTreeMap<usize, fleet::WorkerType>>,
}

/// The last fleet, its replays, and how many fleets there were.
pub(super) struct Outcome {
    pub(super) found: Found,
    pub(super) replays: Vec<Replayed>,
    pub(super) n_rounds: usize,
}

impl Outcome {
    pub(super) fn is_kept(&self) -> bool {
        are_kept(&self.replays)
    }
}

/// Whether there are replays, and all keep their promises.
pub(super) fn are_kept(replays: &[Replayed]) -> bool {
    !replays.is_empty() && replays.iter().all(|replayed| replayed.is_kept)
}

/// No time is left.
pub(super) struct Stopped;

impl<'q, 'p> Rounds<'q, 'p> {
    pub(super) fn new(
        (question, price): (&'q Question<'q>, &'q Price<'p>),
        control: &'q Control,
    ) -> Self {
        let (capacities, lowered) = Default::default();
        Self { question, price, control, capacities, lowered }
    }

    /// Lowers efficiencies in the program until the fleet keeps the promises. Types that are in no fleet keep
    /// rates that their replays are at most as good as, so that the last fleet is the best of all.
    pub(super) fn run(
        &self,
        program: &mut fleet::Question,
        workers: &mut [Worker],
        first: Found,
    ) -> Result<Outcome, fleet::Refused> {
        let mut outcome = Outcome { found: first, replays: Vec::new(), n_rounds: 0 };
        while let Some(plan) = outcome.found.best.clone() {
            let Ok(replays) = self.replay((program, workers), &plan) else { break };
            outcome.n_rounds += 1;
            outcome.replays = replays;
            let missed: Vec<&Replayed> = outcome.replays.iter().filter(|of| !of.is_kept).collect();
            if missed.is_empty() || outcome.n_rounds >= MOST_ROUNDS {
                break;
            }
            for of in missed {
                let first = program.types[of.of];
                let is_first = !self.lowered.borrow().contains_key(&of.of);
                self.lowered.borrow_mut().entry(of.of).or_insert(first);
                let floor_per_s = self.floor(workers, &program.types, of.of);
                let worker = (of.of, &mut workers[of.of]);
                let figures = &mut program.types[of.of];
                let first = is_first.then_some(floor_per_s);
                if self.lower(figures, worker, (of.requests_per_s, first)).is_err() {
                    return Ok(outcome);
                }
            }
            let found = fleet::solve(program, self.control)?;
            if found.best.is_none() && self.control.stop().is_some() {
                break;
            }
            outcome.found = found;
            outcome.replays = Vec::new();
        }
        Ok(outcome)
    }

    /// The program with the rates that types had before replays lowered them: what no fleet is better than, whatever the
    /// arrivals of a replay were. None where no rate was lowered.
    pub(super) fn relaxed(&self, program: &fleet::Question) -> Option<fleet::Question> {
        let lowered = self.lowered.borrow();
        let mut relaxed = program.clone();
        lowered.iter().for_each(|(at, first)| relaxed.types[*at] = *first);
        (!lowered.is_empty()).then_some(relaxed)
    }

    /// Each type of a plan at its share.
    fn replay(
        &self,
        (program, workers): (&fleet::Question, &[Worker]),
        plan: &Plan,
    ) -> Result<Vec<Replayed>, Stopped> {
        let requests_per_s = self.question.requests_per_s;
        let rate = requests_per_s.unwrap_or(plan.figures.requests_per_s);
        let of = |(at, requests_per_s): (usize, f64)| {
            let worker = &workers[at];
            let promises = self.promises(worker);
            let early = Some(&promises).filter(|of| of.statistic != Statistic::Mean);
            let replayed = self.latencies((at, worker), requests_per_s, early)?;
            let is_kept = matches!(replayed, Ok(of) if promises.admit(of.upper_s));
            let predicted_s = [worker.figures.ttft_s, worker.figures.tpot_s];
            Ok(Replayed { of: at, requests_per_s, predicted_s, replayed, is_kept })
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

    /// Replays of a worker; no more of them than it takes to see that it misses `promises`, where there are
    /// any.
    fn latencies(
        &self,
        (at, worker): (usize, &Worker),
        requests_per_s: f64,
        promises: Option<&Promises>,
    ) -> Result<Result<Latencies, Fault>, Stopped> {
        let capacity = |mix: &[Length], price: &dyn IterationTime| {
            let known = self.capacities.borrow().get(&at).copied();
            let capacity = known.unwrap_or_else(|| worker.stream.capacity(mix, price));
            self.capacities.borrow_mut().insert(at, capacity);
            capacity
        };
        let of = (worker.figures.pool, &worker.shape, &worker.stream);
        self.latencies_of(of, &capacity, requests_per_s, (promises, &mut |_| ()))
    }

    /// The same of a batch of a worker on a pool, which serves so many requests/s at most; `keep` takes the
    /// seconds of the requests of each replay.
    pub(super) fn latencies_of(
        &self,
        (pool, shape, stream): (usize, &Shape, &Stream),
        capacity: &dyn Fn(&[Length], &dyn IterationTime) -> Result<f64, Fault>,
        requests_per_s: f64,
        (promises, keep): (Option<&Promises>, &mut dyn FnMut([Vec<f64>; 3])),
    ) -> Result<Result<Latencies, Fault>, Stopped> {
        if self.control.stop().is_some() {
            return Err(Stopped);
        }
        let mix = lengths(&self.question.mix, stream.role);
        let price = match (self.price)(pool, shape) {
            Ok(price) => price,
            Err(Reason::Unsteady(fault)) => return Ok(Err(fault)),
            Err(_) => return Ok(Err(Fault::Price { seconds: f64::NAN })),
        };
        let share = share(&self.question.mix, &mix);
        let rate = requests_per_s * share / stream.n_streams as f64;
        let capacity = match capacity(&mix, &*price) {
            Ok(capacity) if rate <= MOST_LOAD * capacity => capacity,
            Ok(capacity) => return Ok(Err(Fault::Saturated { rate, capacity })),
            Err(fault) => return self.faulty(fault),
        };
        let statistic = self.question.promises.statistic;
        let n = stream.n_replayed(rate / capacity, statistic);
        let rates = [rate * stream.n_streams as f64, requests_per_s];
        let mut runs = Vec::new();
        if let Some(promises) = promises.filter(|of| of.statistic != Statistic::Mean) {
            let seed = self.seed().wrapping_mul(RUNS);
            match stream.replayed(&mix, (rate, n / SHORT, seed), statistic, &*price, &mut |_| ()) {
                Ok(seconds) => runs.push(seconds),
                Err(fault) => return self.faulty(fault),
            }
            let of = Latencies::of(&runs, rates, statistic);
            if !promises.times(CLEARLY).admit(of.seconds) {
                return Ok(Ok(of));
            }
            runs.clear();
        }
        for run in 0..RUNS {
            if self.control.stop().is_some() {
                return Err(Stopped);
            }
            let seed = self.seed().wrapping_mul(RUNS).wrapping_add(run);
            match stream.replayed(&mix, (rate, n, seed), statistic, &*price, keep) {
                Ok(seconds) => runs.push(seconds),
                Err(fault) => return self.faulty(fault),
            }
            let of = Latencies::of(&runs, rates, statistic);
            if run > 0 && promises.is_some_and(|promises| !promises.admit(of.seconds)) {
                return Ok(Ok(of));
            }
        }
        Ok(Ok(Latencies::of(&runs, rates, statistic)))
    }

    /// Of arrivals.
    pub(super) const fn seed(&self) -> u64 {
        self.question.seed.wrapping_add(1)
    }

    /// Whether there is time left.
    pub(super) fn stopped(&self) -> Result<(), Stopped> {
        match self.control.stop() {
            None => Ok(()),
            Some(_) => Err(Stopped),
        }
    }

    /// A fault, unless there was no time for a price.
    fn faulty(&self, fault: Fault) -> Result<Result<Latencies, Fault>, Stopped> {
        self.stopped().map(|()| Err(fault))
    }

    /// Requests/s that other types, lowered already, serve in the place of a type.
    fn floor(&self, workers: &[Worker], types: &[fleet::WorkerType], at: usize) -> f64 {
        let Worker { figures, link, level, .. } = &workers[at];
        let lowered = self.lowered.borrow();
        let rate = |other: usize| match lowered.contains_key(&other) && other != at {
            true => replayed_per_s(&types[other]),
            false => 0.0,
        };
        let of = (figures.pool, figures.role, figures.n_devices);
        rival((self.question, workers), of, (*link, *level), &rate).1
    }

    /// Lowers the efficiency of a type below a rate that missed the promises, to one with which its replays keep
    /// them; a type that keeps them with none gets a latency that the program leaves out. A type that misses for the
    /// first time gets the settings that are best by its replays: of percentiles before its rate is lowered, as those
    /// that are best by the mean are far from these, or it is left out where none of these serves more than lowered
    /// types in its place; of means where they serve more than it does then.
    fn lower(
        &self,
        figures: &mut fleet::WorkerType,
        (at, worker): (usize, &mut Worker),
        (missed_per_s, floor_per_s): (f64, Option<f64>),
    ) -> Result<(), Stopped> {
        let is_mean = self.question.promises.statistic == Statistic::Mean;
        let forget = || self.capacities.borrow_mut().remove(&at);
        let mut from = (missed_per_s, None);
        if let Some(floor_per_s) = floor_per_s.filter(|_| !is_mean) {
            match self.resized(worker, floor_per_s)? {
                Some(resized) => {
                    forget();
                    from = (resized.figures.requests_per_s, Some(1.0));
                    *worker = resized;
                }
                None if floor_per_s > 0.0 => {
                    (figures.ttft_s, figures.tpot_s) = LEFT_OUT;
                    return Ok(());
                }
                None => {}
            }
        }
        let mut kept_per_s = self.kept((at, worker), from)?;
        if is_mean
            && floor_per_s.is_some()
            && let Some(resized) = self.resized(worker, kept_per_s.unwrap_or(0.0))?
        {
            forget();
            let most_per_s = resized.figures.requests_per_s;
            let other_per_s = self.kept((at, &resized), (most_per_s, Some(1.0)))?;
            if other_per_s > kept_per_s {
                (*worker, kept_per_s) = (resized, other_per_s);
            }
            forget();
        }
        match kept_per_s {
            Some(kept_per_s) => figures.efficiency = kept_per_s / figures.requests_per_s,
            None => (figures.ttft_s, figures.tpot_s) = LEFT_OUT,
        }
        Ok(())
    }

    /// Requests/s at which replays of a type keep the promises, no more than a rate that they miss them at, of which
    /// some part (1 for the rate itself) may be tried first; none where they miss them at any.
    fn kept(
        &self,
        (at, worker): (usize, &Worker),
        (missed_per_s, whole): (f64, Option<f64>),
    ) -> Result<Option<f64>, Stopped> {
        let promises = self.promises(worker);
        let keeps = |part: f64| {
            let of = self.latencies((at, worker), part * missed_per_s, Some(&promises))?;
            Ok(matches!(of, Ok(of) if promises.admit(of.upper_s)))
        };
        let (mut low, mut high) = (None, 1.0);
        for part in whole.into_iter().chain(PARTS) {
            if keeps(part)? {
                low = Some(part);
                break;
            }
            high = part;
        }
        let Some(mut low) = low else { return Ok(None) };
        while high > GRAIN * low {
            let middle = f64::midpoint(low, high);
            if keeps(middle)? { low = middle } else { high = middle }
        }
        Ok(Some(low * missed_per_s))
    }
}

/// Requests/s of a worker type after replays of fleets; none where they miss the promises at any rate.
pub(super) fn replayed_per_s(of: &fleet::WorkerType) -> f64 {
    if of.ttft_s < f64::MAX { of.rate() } else { 0.0 }
}
