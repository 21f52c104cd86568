//! Requests of one batch of a worker: rates and latencies.

use cost_model::serving::arrivals::{self, Length, Spacing};
use cost_model::serving::closed_form::{at_concurrency, at_rate};
use cost_model::serving::engine::Engine;
use cost_model::serving::fault::Fault;
use cost_model::serving::replay::{
    Distribution, Replay, Scheduler, Traffic, replay, replay_at_rate,
};
use cost_model::serving::{Iteration, IterationTime};

use super::question::{Link, Statistic};
use crate::serving::fleet::Role;

/// Mean prompts that a decode worker takes in at once.
const TAKEN_IN: f64 = 8.0;
/// Requests of a replay, or so many times those that run at most where that is more; one in five finds an
/// emptier worker and does not count.
const REPLAYED: u64 = 2_000;
const WAVES: u64 = 5;

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
            decoding_cached: iteration.decoding_cached + cached.sum::<u64>(),
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

/// The scheduler of an engine for a batch with so many tokens of keys and values.
pub(super) fn scheduler(
    (engine, role): (Engine, Role),
    mix: &[Length],
    (most_running, budget): (u64, u64),
    kv_tokens: u64,
) -> Scheduler {
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
    of(most_running, budget, kv_tokens / engine.block_tokens().max(1))
}

impl Stream {
    /// The same with fewer running requests.
    pub(super) fn with_running(&self, most: u64) -> Self {
        let mut stream = self.clone();
        stream.scheduler.max_num_seqs = most;
        stream
    }

    fn priced<T>(&self, price: &dyn IterationTime, of: impl FnOnce(&dyn IterationTime) -> T) -> T {
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
        let most = self.scheduler.max_num_seqs;
        let steady =
            self.priced(price, |price| at_concurrency(mix, most, &self.scheduler, price))?;
        Ok(steady.requests_per_s)
    }

    /// TTFT and TPOT of a request that is alone.
    pub(super) fn alone_s(
        &self,
        mix: &[Length],
        price: &dyn IterationTime,
    ) -> Result<[f64; 2], Fault> {
        let steady = self.priced(price, |price| at_concurrency(mix, 1, &self.scheduler, price))?;
        Ok(self.seconds(mix, 0.0, [steady.ttft_s, steady.tpot_s]))
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

    /// TTFT and TPOT of requests that arrive at so many a second (Poisson), replayed; on demand, with a look at
    /// whether the queue grows.
    pub(super) fn replayed(
        &self,
        mix: &[Length],
        (rate, seed, is_checked): (f64, u64, bool),
        statistic: Statistic,
        price: &dyn IterationTime,
    ) -> Result<[f64; 2], Fault> {
        let n = REPLAYED.max(WAVES.saturating_mul(self.scheduler.max_num_seqs)) as usize;
        let (requests, replay) = self.priced(price, |price| {
            if is_checked {
                let arrivals = (rate, Spacing::Poisson);
                return replay_at_rate(mix, arrivals, (n, seed), &self.scheduler, price);
            }
            let requests = arrivals::at_rate(mix, rate, Spacing::Poisson, n, seed)?;
            let replay = replay(&requests, Traffic::Open, &self.scheduler, price)?;
            Ok((requests, replay))
        })?;
        let of = |values: Vec<f64>| {
            Distribution::of(values).map_or(0.0, |values| match statistic {
                Statistic::Mean => values.mean(),
                Statistic::Percentile(percent) => values.percentile(percent),
            })
        };
        let Replay { times, .. } = replay;
        let counted = times.iter().zip(&requests).skip(n / 5);
        let first = counted.clone().map(|(times, _)| times.first_token_s - times.arrival_s);
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
        Ok(match self.role {
            Role::Aggregated => [of(first.collect()), of(tokens.collect())],
            Role::Prefill => [of(first.collect()) + self.hand_over_s(rate), 0.0],
            Role::Decode => [0.0, of(tokens.collect())],
        })
    }
}
