//! From a model, devices and promises to a fleet: worker types, how many of each, and a replay of them.
//!
//! # Decides
//! Shapes of workers on each kind of device (tensor, pipeline, expert and attention data parallelism, stages of
//! equal and unequal length), running requests and token budgets, and how many workers of which role.
//!
//! # Idea
//! Every shape on the devices of a host, and on whole hosts, is a candidate in each role. Of what memory admits
//! the greatest rate that keeps the promises is found by halving, as latencies rise with the rate
//! ([`closed_form`](cost_model::serving::closed_form)), for running requests 9 % apart up to those that memory
//! has room for: more memory adds to these, and takes none away. The program over these types
//! ([`fleet`]) gives the fleet; each of its workers is replayed at its share of the rate. The rate of one that
//! misses a promise is lowered to what its replays keep, and the program is solved again: rates of types that
//! no fleet has had are at least what their replays would keep, so that the last fleet is the best. Budgets and
//! limits that are best by the mean are not by a percentile: where a type misses one, these are searched again by
//! replays, limits by halving, as a TPOT grows with the running requests and a wait shrinks; a type that then serves
//! no more than lowered ones in its place is left out. Percentiles below 90 may be shorter than the mean: there types
//! start at what they complete at most, and replays alone lower them.
//!
//! # Paper
//! None; rate matching of prefill and decode workers: Zhong et al., DistServe, OSDI 2024.
//!
//! # Guarantee
//! The fleet is optimal, where that is proved, of these worker types, replicas serving in proportion; not of
//! all rates, budgets and shapes. Accepted and rejected candidates add up to those enumerated. A candidate is
//! called dominated only if its rate, promises aside, is no more than that of smaller workers in its place, and
//! sized again where replays lower theirs by more than a tenth (percentiles do). A promise is kept where the mean
//! of six replays and three standard errors of it are 1 % below, each of ten relaxation times of the queue, and
//! at a load of 92 % of what the worker completes at most.
//!
//! # Complexity
//! Candidates x budgets x links x limits that may be better x 2 closed forms, and 12 more for one that is;
//! types of fleets x some 20 replays of 2,000 to 6,300 requests (more beyond a percentile above 97.5).
//!
//! # Limits
//! Attention data parallelism without experts is left to replicas. Context parallelism has no price. A pipeline
//! is as many batches in flight as it has stages, each with its part of cache and requests. Arrivals reach
//! workers at random (Poisson), in proportion to their rates. A hand-over waits for those before it on its
//! worker's link (M/D/1), and takes the whole prompt.
//!
//! # Example
//! Qwen3-32B on H200, 50 requests/s of 4,000 tokens in and 1,000 out, TTFT 2 s, TPOT 30 ms: `tests.rs`.

use std::cell::Cell;

mod percentile;
mod program;
mod question;
mod replayed;
mod shapes;
mod size;
mod stated;
mod stream;
mod types;
mod whole;

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;

use cost_model::runs::forms::model::Pricing;
use cost_model::serving::engine::Overhead;
use cost_model::serving::iteration::WorkerPrices;
use cost_model::serving::worker::Shape;
use cost_model::serving::{Iteration, IterationTime};

pub use question::{
    Devices, KnownTypes, Link, Price, Promises, Question, Reason, Refused, Statistic,
};
pub use replayed::{Latencies, Replayed};
pub use stated::{JudgedWorker, Stated, iterations, judge};
pub use stream::Stream;
pub use types::{MOST_SEARCHED, Rejected, Shortfall, Types, Worker, smallest};
pub use whole::{FleetReplay, replay_requests};

use crate::run::Control;
use crate::serving::fleet::{self, Found, Role, Verdict};

/// What a certificate is about.
pub const CERTIFICATE: &str = "of these worker types, replicas serve in proportion";

/// A fleet with what it was chosen from.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Worker types and rejected candidates.
    pub types: Types,
    /// The program of the last fleet: efficiencies are those that replays left.
    pub program: fleet::Question,
    /// The fleet by the closed form.
    pub predicted: Found,
    /// The fleet by replays; the same where these agree.
    pub found: Found,
    /// Replays of the last fleet.
    pub replays: Vec<Replayed>,
    /// Fleets that were replayed.
    pub n_rounds: usize,
    /// What the model misses on pools that it does not fit on.
    pub shortfalls: Vec<Shortfall>,
    /// Bytes of keys and values that a request hands over.
    pub bytes_per_request: f64,
}

impl Answer {
    /// Whether there is a fleet whose replay keeps the promises.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        replayed::are_kept(&self.replays)
    }

    /// Whether there are workers of a role.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.types.workers.iter().any(|worker| worker.figures.role == role)
    }

    /// Whether its workers serve whole requests.
    #[must_use]
    pub fn can_serve(&self) -> bool {
        self.has(Role::Aggregated) || (self.has(Role::Prefill) && self.has(Role::Decode))
    }

    /// Requests under way in the fleet, mean of its replays.
    #[must_use]
    pub fn n_under_way(&self) -> f64 {
        let counts = self.found.best.iter().flat_map(|best| &best.counts);
        let of = |(at, count): &(usize, u32)| {
            let replayed = self.replays.iter().find(|replayed| replayed.of == *at)?;
            Some(f64::from(*count) * replayed.replayed.as_ref().ok()?.n_under_way)
        };
        counts.filter_map(of).sum()
    }
}

/// Finds the best fleet of all worker types, and replays it.
///
/// # Errors
/// If the question is refused.
pub fn plan(
    question: &Question<'_>,
    price: &Price<'_>,
    control: &Control,
) -> Result<Answer, Refused> {
    question.check()?;
    let price = &|pool: usize, shape: &Shape| {
        let prices = price(pool, shape)?;
        Ok::<Box<dyn IterationTime + '_>, Reason>(Box::new(Watched {
            prices,
            control,
            n_priced: Cell::new(0),
        }))
    };
    let mut search = types::Search::new(question, control).run(price);
    let mut program = program::of(question, &search.types.workers, search.bytes);
    let predicted = fleet::solve(&program, control).map_err(Refused::Fleet)?;
    let rounds = replayed::Rounds::new((question, price), control);
    let mut outcome = rounds
        .run(&mut program, &mut search.types.workers, predicted.clone())
        .map_err(Refused::Fleet)?;
    while control.stop().is_none()
        && search.again(program.types.iter().map(replayed::replayed_per_s).collect(), price)
    {
        let wider = program::of(question, &search.types.workers, search.bytes);
        let types = std::mem::replace(&mut program, wider).types;
        program.types[..types.len()].copy_from_slice(&types);
        let found = fleet::solve(&program, control).map_err(Refused::Fleet)?;
        let next =
            rounds.run(&mut program, &mut search.types.workers, found).map_err(Refused::Fleet)?;
        if control.stop().is_some() && !next.is_kept() {
            break;
        }
        outcome = replayed::Outcome { n_rounds: outcome.n_rounds + next.n_rounds, ..next };
    }
    if let Some(relaxed) = rounds.relaxed(&program) {
        let relaxed = fleet::solve(&relaxed, control).map_err(Refused::Fleet)?;
        bound(&mut outcome.found, &program, relaxed);
    }
    // Types that time left out are in no bound, nor those that the mean of lengths leaves out of a percentile.
    let is_mean = question.promises.statistic == Statistic::Mean;
    if control.stop().is_some() || !is_mean && question.mix.len() > 1 {
        (outcome.found.bound, outcome.found.verdict) = (None, Verdict::Open);
    }
    let types::Search { types, bytes, .. } = search;
    Ok(Answer {
        shortfalls: types::shortfalls(question, &types),
        types,
        program,
        predicted,
        found: outcome.found,
        replays: outcome.replays,
        n_rounds: outcome.n_rounds,
        bytes_per_request: bytes,
    })
}

/// Gives a fleet the bound of a program that admits more.
fn bound(found: &mut Found, program: &fleet::Question, relaxed: Found) {
    let value = found.best.as_ref().map(|best| best.value(program.objective));
    let is_met = value.is_some() && value == relaxed.bound;
    found.bound = relaxed.bound;
    found.verdict = match relaxed.verdict {
        Verdict::Infeasible => Verdict::Infeasible,
        _ if is_met => Verdict::Optimal,
        _ => Verdict::Open,
    };
}

/// Prices until there is no time left: long replays end then.
struct Watched<'a> {
    prices: Box<dyn IterationTime + 'a>,
    control: &'a Control,
    n_priced: Cell<u32>,
}

/// Prices between two looks at the clock, which takes as long as a price.
const UNWATCHED: u32 = 64;

impl IterationTime for Watched<'_> {
    fn seconds(&self, iteration: &Iteration) -> f64 {
        let n_priced = self.n_priced.get();
        self.n_priced.set(n_priced.wrapping_add(1));
        match n_priced % UNWATCHED == 0 && self.control.stop().is_some() {
            false => self.prices.seconds(iteration),
            true => {
                self.n_priced.set(0);
                f64::NAN
            }
        }
    }
}

/// Bytes of keys and values that a request hands over, on average.
#[must_use]
pub fn bytes_per_request(question: &Question<'_>) -> f64 {
    types::Search::new(question, &Control::default()).bytes
}

/// Batches of a worker of which one is under way for each stage.
struct Pipelined {
    prices: WorkerPrices,
    n_stages: f64,
}

impl IterationTime for Pipelined {
    fn seconds(&self, iteration: &Iteration) -> f64 {
        let alone_s = self.prices.seconds(iteration);
        match self.n_stages > 1.0 {
            true => alone_s.max(self.n_stages * self.prices.period_s(iteration)),
            false => alone_s,
        }
    }
}

/// The price of iterations by blocks, on the system of `base`.
///
/// # Errors
/// [`Reason::Invalid`].
pub fn priced(
    base: &Pricing<'_>,
    shape: &Shape,
    overhead: Overhead,
) -> Result<Box<dyn IterationTime>, Reason> {
    let prices = WorkerPrices::new(base, shape, overhead).map_err(Reason::Invalid)?;
    Ok(Box::new(Pipelined { prices, n_stages: shape.stages.len() as f64 }))
}
