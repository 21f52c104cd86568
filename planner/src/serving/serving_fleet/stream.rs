//! Requests of one batch of a worker: rates and latencies.

use cost_model::serving::arrivals::{self, Length, Spacing};
use cost_model::serving::closed_form::{self, at_concurrency, at_rate};
use cost_model::serving::engine::Engine;
use cost_model::serving::fault::Fault;
use cost_model::serving::replay::{Distribution, Replay, Scheduler, Traffic, replay};
use cost_model::serving::{Iteration, IterationTime};

use super::question::{Link, Question, Statistic};
use crate::serving::fleet::Role;

/// Mean prompts that a decode worker takes in at once.
const TAKEN_IN: f64 = 8.0;
/// Requests of a replay at least, so many times those that run at most, relaxation times, and requests beyond
/// a percentile; one in five finds an emptier worker and does not count.
const REPLAYED: u64 = 2_000;
const WAVES: u64 = 5;
const RELAXATIONS: f64 = 10.0;
const BEYOND: f64 = 50.0;
/// Arrivals of a queue that never empties, of what the closed form says that a worker completes.
const OVERLOAD: f64 = 1.2;
/// Load at most, of what a worker does whose queue never empties: nearer to it a queue that a replay does not
/// see may last for ever.
pub(super) const MOST_LOAD: f64 = 0.92;
/// Share of requests beyond a percentile that are told apart.
const LEAST_BEYOND: f64 = 1e-3;

/// What a worker's batch serves, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// What of requests it serves.
    pub role: Role,
    /// Its limits.
    pub scheduler: Scheduler,
    /// Batches of the worker: attention data-parallel ranks x stages.
    pub n_streams: u64,
    /// Bytes that a request hands over, and the way.
    pub handed: Option<(f64, Link)>,
}

/// Decode requests alone: a prompt whose keys and values come from elsewhere decodes at once.
struct Decoding<'a>(&'a dyn IterationTime);

impl IterationTime for Decoding<'_> {
    fn seconds(&self, iteration: &Iteration) -> f64 {
        let cached = iteration.prompts.iter().map(|chunk| (chunk.new + chunk.cached).max(1) - 1);
        self.0.seconds(&Iteration {
            prompts: Vec::new(),
            n_decoding: iteration.n_requests(),
            decoding_cached: cached.fold(iteration.decoding_cached, u64::saturating_add),
        })
    }
}

/// Requests as a role sees them: prompts alone; or prompts with the first token, and the further ones.
pub(super) fn lengths(mix: &[Length], role: Role) -> Vec<Length> {
    let of = |length: &Length| match role {
        Role::Aggregated => Some(*length),
        Role::Prefill => Some(Length { n_output: 1, ..*length }),
        Role::Decode => {
            let further = length.n_output.checked_sub(1).filter(|n| *n > 0)?;
            Some(Length { n_input: length.n_input.saturating_add(1), n_output: further, ..*length })
        }
    };
    mix.iter().filter_map(of).collect()
}

/// Share of all requests that a role's part of them has.
pub(super) fn share(mix: &[Length], part: &[Length]) -> f64 {
    let total = |mix: &[Length]| mix.iter().map(|length| length.share).sum::<f64>();
    total(part) / total(mix)
}

/// The scheduler of the question's engine for a batch with so many tokens of keys and values.
pub(super) fn scheduler(
    (question, role): (&Question, Role),
    mix: &[Length],
    budget: u64,
    kv_tokens: u64,
) -> Scheduler {
    let (engine, most_running) = (question.engine, question.most_running);
    let of = match engine {
        Engine::Vllm => Scheduler::vllm,
        Engine::Sglang => Scheduler::sglang,
        Engine::TrtLlm => Scheduler::trtllm,
    };
    let (mut longest, mut total, mut mean) = (1, 0.0, 0.0);
    for length in mix {
        longest = longest.max(u64::from(length.n_input));
        total += length.share;
        mean += length.share * f64::from(length.n_input);
    }
    let budget = match role {
        // What comes from elsewhere is not computed.
        Role::Decode => most_running.saturating_add(longest.max((TAKEN_IN * mean / total) as u64)),
        _ => budget.max(most_running),
    };
    let scheduler = of(most_running, budget, kv_tokens / engine.block_tokens().max(1));
    // What comes from elsewhere comes whole.
    let shared_prefix = if role == Role::Decode { 0 } else { question.shared_prefix };
    Scheduler { shared_prefix, ..scheduler }
}

impl Stream {
    /// The same with fewer running requests.
    pub(super) fn with_running(&self, most: u64) -> Self {
        let mut stream = self.clone();
        stream.scheduler.max_num_seqs = most;
        stream
    }

    pub(super) fn priced<T>(
        &self,
        price: &dyn IterationTime,
        of: impl FnOnce(&dyn IterationTime) -> T,
    ) -> T {
        match self.role {
            Role::Decode => of(&Decoding(price)),
            _ => of(price),
        }
    }

    /// Requests/s with as many running as there is room for.
    pub(super) fn most_per_s(
        &self,
        mix: &[Length],
        price: &dyn IterationTime,
    ) -> Result<f64, Fault> {
        self.priced(price, |price| closed_form::most_per_s(mix, &self.scheduler, price))
    }

    /// TTFT and TPOT of a request that is alone, and the seconds that it stays.
    pub(super) fn alone_s(
        &self,
        mix: &[Length],
        price: &dyn IterationTime,
    ) -> Result<([f64; 2], f64), Fault> {
        let steady = self.priced(price, |price| at_concurrency(mix, 1, &self.scheduler, price))?;
        Ok((self.seconds(mix, 0.0, [steady.ttft_s, steady.tpot_s]), steady.latency_s))
    }

    /// Mean TTFT and TPOT at so many requests/s, and how many are under way.
    pub(super) fn steady(
        &self,
        mix: &[Length],
        rate: f64,
        price: &dyn IterationTime,
    ) -> Result<([f64; 2], f64), Fault> {
        let steady = self.priced(price, |price| at_rate(mix, rate, &self.scheduler, price))?;
        let seconds = self.seconds(mix, rate, [steady.ttft_s, steady.tpot_s]);
        Ok((seconds, steady.concurrency))
    }

    /// TTFT and TPOT that this role has a part in, from those of the scheduler.
    fn seconds(&self, mix: &[Length], rate: f64, [ttft_s, tpot_s]: [f64; 2]) -> [f64; 2] {
        match self.role {
            Role::Aggregated => [ttft_s, tpot_s],
            Role::Prefill => [ttft_s + self.hand_over_s(rate), 0.0],
            Role::Decode => {
                // All tokens that it makes are further ones, and its queue is between the first two.
                let total: f64 = mix.iter().map(|length| length.share).sum();
                let each = |length: &Length| {
                    let n = f64::from(length.n_output);
                    length.share / total * (ttft_s + (n - 1.0) * tpot_s) / n
                };
                [0.0, mix.iter().map(each).sum()]
            }
        }
    }

    /// Seconds of a hand-over: the worker sends one after the other (mean wait of M/D/1).
    pub(super) fn hand_over_s(&self, rate: f64) -> f64 {
        let Some((bytes, link)) = self.handed else { return 0.0 };
        let sending_s = bytes / link.bytes_per_s;
        let load = rate * self.n_streams as f64 * sending_s;
        if load >= 1.0 {
            return f64::INFINITY;
        }
        link.start_up_s + sending_s * (1.0 + load / (2.0 * (1.0 - load)))
    }

    /// Requests/s that it completes of more than it can, replayed. They come one by one, so that those of one
    /// length are out of step, and leave places empty that a backlog, which goes in waves, does not.
    pub(super) fn capacity(&self, mix: &[Length], price: &dyn IterationTime) -> Result<f64, Fault> {
        let rate = OVERLOAD * self.most_per_s(mix, price)?;
        let n = REPLAYED.max(WAVES.saturating_mul(self.scheduler.max_num_seqs)) as usize;
        let requests = arrivals::at_rate(mix, rate, Spacing::Poisson, n, 0)?;
        let replay =
            self.priced(price, |price| replay(&requests, Traffic::Open, &self.scheduler, price))?;
        let scheduled_s = |at: usize| replay.times[at].scheduled_s;
        Ok(rate.min((n - 1 - n / 4) as f64 / (scheduled_s(n - 1) - scheduled_s(n / 4))))
    }

    /// Requests of a replay at a load below 1: a queue forgets in 4 / (1 - load)^2 requests what it was (the
    /// relaxation time of M/M/1), and beyond a percentile there must be some.
    pub(super) fn n_replayed(&self, load: f64, statistic: Statistic) -> usize {
        let beyond = match statistic {
            Statistic::Mean => 1.0,
            Statistic::Percentile(percent) => (1.0 - percent / 100.0).max(LEAST_BEYOND),
        };
        let n = (RELAXATIONS * 4.0 / (1.0 - load).powi(2)).max(BEYOND / beyond);
        (n as u64).max(REPLAYED).max(WAVES.saturating_mul(self.scheduler.max_num_seqs)) as usize
    }

    /// TTFT and TPOT of so many requests that arrive at so many a second (Poisson), replayed; and the seconds from
    /// arrival to the last token, mean and by the statistic of a role's part. `keep` takes the seconds of each request.
    pub(super) fn replayed(
        &self,
        mix: &[Length],
        (rate, n, seed): (f64, usize, u64),
        statistic: Statistic,
        price: &dyn IterationTime,
        keep: &mut dyn FnMut([Vec<f64>; 3]),
    ) -> Result<([f64; 2], [f64; 2]), Fault> {
        let requests = arrivals::at_rate(mix, rate, Spacing::Poisson, n, seed)?;
        let replay =
            self.priced(price, |price| replay(&requests, Traffic::Open, &self.scheduler, price))?;
        let by = |statistic: Statistic, values: &[f64]| {
            Distribution::of(values.to_vec()).map_or(0.0, |values| statistic.of(&values))
        };
        let of = |values: &[f64]| by(statistic, values);
        let Replay { times, .. } = replay;
        let counted = times.iter().zip(&requests).skip(n / 5);
        let first = counted.clone().map(|(times, _)| times.first_token_s - times.arrival_s);
        let first: Vec<f64> = first.filter(|_| self.role != Role::Decode).collect();
        let stay = counted.clone().map(|(times, _)| times.last_token_s - times.arrival_s);
        let stay: Vec<f64> = stay.collect();
        let stay_s = stay.iter().sum::<f64>() / (n - n / 5) as f64;
        let part_s = match statistic.of_part(self.role) {
            Statistic::Mean => stay_s,
            percentile => by(percentile, &stay),
        };
        let tokens = counted.filter_map(|(times, request)| match self.role {
            Role::Decode => {
                Some((times.last_token_s - times.arrival_s) / f64::from(request.n_output))
            }
            _ if request.n_output > 1 => {
                let n = f64::from(request.n_output - 1);
                Some((times.last_token_s - times.first_token_s) / n)
            }
            _ => None,
        });
        let tokens: Vec<f64> = tokens.collect();
        let handed_s = self.hand_over_s(rate);
        // First tokens are the prefill worker's.
        let ttft_s = if self.role == Role::Decode { 0.0 } else { of(&first) + handed_s };
        let seconds = [ttft_s, of(&tokens)];
        let later = |values: Vec<f64>| values.into_iter().map(|own| own + handed_s).collect();
        keep([later(first), tokens, later(stay)]);
        Ok((seconds, [stay_s, part_s].map(|own| own + handed_s)))
    }
}
