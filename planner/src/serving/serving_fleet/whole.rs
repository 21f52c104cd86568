//! A whole fleet replayed on the requests of a file.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use cost_model::serving::IterationTime;
use cost_model::serving::arrivals::Request;
use cost_model::serving::fault::Fault;
use cost_model::serving::replay::{Distribution, Replay, Traffic, replay};

use super::question::{Price, Question, Reason};
use super::stated::{Stated, built};
use super::stream::Stream;
use crate::serving::fleet::Role;

/// What a fleet does with requests until the last one has completed.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetReplay {
    /// Arrival to first token, hand-over included.
    pub ttft: Distribution,
    /// Mean time per further token of each request; none where all answers have one token.
    pub tpot: Option<Distribution>,
    /// Arrival to last token.
    pub latency: Distribution,
    /// Second of the last token.
    pub total_s: f64,
    /// Times that a request lost its KV blocks.
    pub n_preemptions: u64,
}

/// When a request's tokens were there, seconds; the first one at the end of its hand-over.
#[derive(Clone, Copy)]
struct Done {
    first_s: f64,
    last_s: f64,
}

/// Equal workers, their price, and the requests that each batch got, by number.
struct Workers<'a> {
    stated: &'a Stated,
    stream: Stream,
    price: Box<dyn IterationTime + 'a>,
    batches: Vec<Vec<usize>>,
}

/// Shares of requests in proportion to rates: the batch with the fewest requests for its rate is next.
struct Router(BinaryHeap<Reverse<(Turn, usize, usize)>>);

/// Requests for the rate, ordered.
#[derive(PartialEq)]
struct Turn {
    after: f64,
    rate: f64,
}

impl Eq for Turn {}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.after.total_cmp(&other.after)
    }
}

impl Router {
    /// Over batches of workers by number.
    fn over(workers: &[Workers<'_>], is_in: impl Fn(&Stated) -> bool) -> Self {
        let of = |(at, workers): (usize, &Workers<'_>)| {
            let rate = workers.stated.requests_per_s / workers.stream.n_streams as f64;
            let turn = move |batch| Reverse((Turn { after: 1.0 / rate, rate }, at, batch));
            (0..workers.batches.len()).map(turn).collect::<Vec<_>>()
        };
        let all = workers.iter().enumerate().filter(|(_, workers)| is_in(workers.stated));
        Self(all.flat_map(of).collect())
    }

    /// The workers and the batch of the next request.
    fn next(&mut self) -> Option<(usize, usize)> {
        let Reverse((turn, at, batch)) = self.0.pop()?;
        let after = turn.after + 1.0 / turn.rate;
        self.0.push(Reverse((Turn { after, ..turn }, at, batch)));
        Some((at, batch))
    }
}

/// Replays requests, in order of arrival, on workers of so many replicas each, to their end. A router gives
/// each batch its share by rates; a prompt's keys and values wait for those before them on the worker's link.
///
/// # Errors
/// Why a worker is none; [`Reason::Unsteady`] for requests that no batch can hold.
pub fn replay_requests<'a>(
    (question, price): (&'a Question<'_>, &'a Price<'a>),
    all: &'a [(Stated, usize)],
    requests: &[Request],
) -> Result<FleetReplay, Reason> {
    let with = |(stated, n): &'a (Stated, usize)| -> Result<Workers<'a>, Reason> {
        let (stream, ..) = built(question, stated)?;
        let batches = vec![Vec::new(); n.saturating_mul(stream.n_streams as usize)];
        let price = price(stated.pool, &stated.shape)?;
        Ok(Workers { stated, stream, price, batches })
    };
    let mut workers = all.iter().map(with).collect::<Result<Vec<_>, _>>()?;
    let mut first = Router::over(&workers, |stated| stated.role != Role::Decode);
    for number in 0..requests.len() {
        let (at, batch) = first.next().ok_or(Reason::Stopped)?;
        workers[at].batches[batch].push(number);
    }
    let mut fleet = Fleet { question, requests, done: Vec::new(), n_preemptions: 0 };
    fleet.done.resize(requests.len(), Done { first_s: 0.0, last_s: 0.0 });
    let mut handed: Vec<(usize, usize)> = Vec::new();
    for of in workers.iter().filter(|of| of.stated.role != Role::Decode) {
        fleet.first(of, &mut handed).map_err(Reason::Unsteady)?;
    }
    fleet.decoded(&mut workers, handed)?;
    fleet.told().ok_or(Reason::Stopped)
}

/// Requests and when they were done.
struct Fleet<'a> {
    question: &'a Question<'a>,
    requests: &'a [Request],
    done: Vec<Done>,
    n_preemptions: u64,
}

impl Fleet<'_> {
    /// Replays one batch.
    fn batch(&mut self, of: &Workers<'_>, requests: &[Request]) -> Result<Replay, Fault> {
        let replay = of.stream.priced(&*of.price, |price| {
            replay(requests, Traffic::Open, &of.stream.scheduler, price)
        })?;
        self.n_preemptions += replay.n_preemptions;
        Ok(replay)
    }

    /// Workers that requests come to; those whose prompts are handed over are added with the pool that they
    /// go to.
    fn first(&mut self, of: &Workers<'_>, handed: &mut Vec<(usize, usize)>) -> Result<(), Fault> {
        let is_prefill = of.stated.role == Role::Prefill;
        let per_worker = (of.stream.n_streams as usize).max(1);
        for batches in of.batches.chunks(per_worker) {
            let mut ready = Vec::new();
            for numbers in batches {
                let of_role = |number: &usize| {
                    let request = self.requests[*number];
                    Request { n_output: if is_prefill { 1 } else { request.n_output }, ..request }
                };
                let requests: Vec<Request> = numbers.iter().map(of_role).collect();
                let replay = self.batch(of, &requests)?;
                for (number, times) in numbers.iter().zip(&replay.times) {
                    let (first_s, last_s) = (times.first_token_s, times.last_token_s);
                    self.done[*number] = Done { first_s, last_s };
                    ready.push((first_s, *number));
                }
            }
            if let Some((bytes, link)) = of.stream.handed.filter(|_| is_prefill) {
                ready.sort_by(|one, other| one.0.total_cmp(&other.0));
                let mean = self.mean_input();
                let mut free_s = 0.0_f64;
                for (ready_s, number) in ready {
                    let part = f64::from(self.requests[number].n_input) / mean;
                    free_s = free_s.max(ready_s) + bytes * part / link.bytes_per_s;
                    let there_s = free_s + link.start_up_s;
                    self.done[number] = Done { first_s: there_s, last_s: there_s };
                    handed.push((number, link.to));
                }
            }
        }
        Ok(())
    }

    /// Mean prompt tokens that the bytes of a hand-over are of.
    fn mean_input(&self) -> f64 {
        let mix = &self.question.mix;
        let total: f64 = mix.iter().map(|length| length.share).sum();
        mix.iter().map(|length| f64::from(length.n_input) * length.share).sum::<f64>() / total
    }

    /// Further tokens of requests that were handed over to pools.
    fn decoded(
        &mut self,
        workers: &mut [Workers<'_>],
        mut handed: Vec<(usize, usize)>,
    ) -> Result<(), Reason> {
        handed.retain(|(number, _)| self.requests[*number].n_output > 1);
        handed.sort_by(|one, other| self.done[one.0].last_s.total_cmp(&self.done[other.0].last_s));
        let pools: std::collections::BTreeSet<usize> =
            handed.iter().map(|(_, pool)| *pool).collect();
        for pool in pools {
            let is_here = |stated: &Stated| (stated.role, stated.pool) == (Role::Decode, pool);
            let mut router = Router::over(workers, is_here);
            for (number, _) in handed.iter().filter(|(_, to)| *to == pool) {
                let (at, batch) = router.next().ok_or(Reason::Stopped)?;
                workers[at].batches[batch].push(*number);
            }
        }
        for of in workers.iter().filter(|of| of.stated.role == Role::Decode) {
            for numbers in &of.batches {
                let further = |number: &usize| {
                    let Request { n_input, n_output, .. } = self.requests[*number];
                    Request {
                        arrival_s: self.done[*number].last_s,
                        n_input: n_input.saturating_add(1),
                        n_output: n_output - 1,
                    }
                };
                let requests: Vec<Request> = numbers.iter().map(further).collect();
                let replay = self.batch(of, &requests).map_err(Reason::Unsteady)?;
                for (number, times) in numbers.iter().zip(&replay.times) {
                    self.done[*number].last_s = times.last_token_s;
                }
            }
        }
        Ok(())
    }

    fn told(&self) -> Option<FleetReplay> {
        let all = || self.done.iter().zip(self.requests);
        let from_arrival = |of: fn(&Done) -> f64| {
            Distribution::of(all().map(|(done, request)| of(done) - request.arrival_s).collect())
        };
        let tpot = all()
            .filter(|(_, request)| request.n_output > 1)
            .map(|(done, request)| (done.last_s - done.first_s) / f64::from(request.n_output - 1));
        Some(FleetReplay {
            ttft: from_arrival(|done| done.first_s)?,
            tpot: Distribution::of(tpot.collect()),
            latency: from_arrival(|done| done.last_s)?,
            total_s: self.done.iter().map(|done| done.last_s).fold(0.0, f64::max),
            n_preemptions: self.n_preemptions,
        })
    }
}
