//! A discrete-event replay of an engine that batches continuously: which requests each iteration takes,
//! and when each token leaves.
//!
//! An iteration takes running requests first, each decoding one by a token and a prompt by a chunk, then
//! waiting ones in order of arrival, as far as `max_num_batched_tokens`, `max_num_seqs` and KV blocks
//! go. Where blocks run out, the latest request loses its blocks, waits in front of all others, and
//! computes its prompt and the tokens it has got again (the scheduler of vLLM V1). An engine that is ahead
//! puts an iteration together while the one before runs: who comes, and the place of who ends, count two
//! iterations later. Iterations follow each other without a pause, and a pipeline is not told from a single stage: of `n` batches in flight
//! one is replayed, with an `n`th of the blocks and the requests. Stretches in which nothing but decoding
//! happens are closed sums: their iterations are priced at both ends, and lie on a line between
//! (`stride`).

mod decoding;
mod engine;
mod gaps;
mod summary;
#[cfg(test)]
mod tests;

pub use gaps::Gaps;
pub use summary::{Distribution, Summary};

use super::IterationTime;
use super::arrivals::{Length, Request, Spacing, at_rate, backlog};
use super::fault::Fault;

/// What iterations may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mixing {
    /// Prompt tokens and decoding requests (vLLM, TensorRT-LLM; SGLang with `--enable-mixed-chunk`).
    Mixed,
    /// One of both, prompts first (SGLang). Decoding requests wait, and take no token of the budget.
    PromptsFirst,
}

/// When a waiting request may start, as to KV blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Its first chunk fits.
    Chunk,
    /// Its whole prompt fits, though only the chunk takes blocks (vLLM: `scheduler_reserve_full_isl`).
    Prompt,
    /// Prompt and answer fit, and take their blocks at once, so that nothing is ever preempted
    /// (TensorRT-LLM: `GUARANTEED_NO_EVICT`).
    Answer,
}

/// Prompts wait for more beside decoding requests, so that one iteration computes them together (TensorRT-LLM
/// `batch_wait_timeout_iters`, `batch_wait_max_tokens_ratio`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gathering {
    /// Iterations at most that they wait.
    pub iterations: u64,
    /// Tokens of prompts and decoding requests from which they do not.
    pub tokens: u64,
}

/// Tokens of a block at most.
const LARGEST_BLOCK: u32 = 1 << 16;

/// Limits and rules of a scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduler {
    /// Running requests at most.
    pub max_num_seqs: u64,
    /// Tokens of an iteration at most.
    pub max_num_batched_tokens: u64,
    /// Prompts may be cut into chunks.
    pub is_chunked: bool,
    /// What iterations may hold.
    pub mixing: Mixing,
    /// When a waiting request may start.
    pub admission: Admission,
    /// Whether an iteration is put together when the one before it begins, not when that ends (vLLM
    /// `--async-scheduling`, by default since 0.14; SGLang and TensorRT-LLM but with
    /// `--disable-overlap-schedule`, `disable_overlap_scheduler`).
    pub is_ahead: bool,
    /// How long prompts wait for more; `None`: not at all.
    pub gathering: Option<Gathering>,
    /// Blocks of the KV cache.
    pub kv_blocks: u64,
    /// Tokens of a block, at most 65,536.
    pub block_tokens: u32,
    /// Tokens that all prompts begin with and that are cached already; only whole blocks count.
    pub shared_prefix: u32,
    /// Iterations at least that may be summed at once where only decoding happens; a 16th of the mean
    /// cached tokens where that is more. 1: each is priced, however long.
    pub stride: u64,
    /// Rounds of the scheduler after which a replay stops.
    pub max_rounds: u64,
}

impl Scheduler {
    /// vLLM since 0.14: blocks of 16 tokens, chunked prefill, iterations put together ahead, no shared
    /// prefix.
    #[must_use]
    pub const fn vllm(max_num_seqs: u64, max_num_batched_tokens: u64, kv_blocks: u64) -> Self {
        Self {
            max_num_seqs,
            max_num_batched_tokens,
            is_chunked: true,
            mixing: Mixing::Mixed,
            admission: Admission::Prompt,
            is_ahead: true,
            gathering: None,
            kv_blocks,
            block_tokens: 16,
            shared_prefix: 0,
            stride: 32,
            max_rounds: 50_000_000,
        }
    }

    /// The same, putting each iteration together when the one before has ended (vLLM
    /// `--no-async-scheduling`, SGLang `--disable-overlap-schedule`).
    #[must_use]
    pub const fn synchronous(self) -> Self {
        Self { is_ahead: false, ..self }
    }

    /// SGLang: pages of one token, prompts in iterations of their own.
    #[must_use]
    pub const fn sglang(max_running: u64, chunked_prefill_size: u64, kv_tokens: u64) -> Self {
        let mut scheduler = Self::vllm(max_running, chunked_prefill_size, kv_tokens);
        scheduler.mixing = Mixing::PromptsFirst;
        scheduler.block_tokens = 1;
        scheduler
    }

    /// TensorRT-LLM: blocks of 32 tokens, reserved for whole answers.
    #[must_use]
    pub const fn trtllm(max_batch_size: u64, max_num_tokens: u64, kv_blocks: u64) -> Self {
        let mut scheduler = Self::vllm(max_batch_size, max_num_tokens, kv_blocks);
        scheduler.admission = Admission::Answer;
        scheduler.block_tokens = 32;
        scheduler
    }

    /// Whole blocks of the shared prefix that a prompt of `n_input` tokens finds; its last token is
    /// always computed.
    pub(super) fn shared_blocks(&self, n_input: u32) -> u64 {
        u64::from(self.shared_prefix.min(n_input.saturating_sub(1)) / self.block_tokens)
    }

    /// Blocks of `n_tokens` cached tokens.
    pub(super) fn blocks(&self, n_tokens: u64) -> u64 {
        n_tokens.div_ceil(u64::from(self.block_tokens))
    }

    pub(super) fn check(&self, requests: &[Request]) -> Result<(), Fault> {
        let is_block = (1..=LARGEST_BLOCK).contains(&self.block_tokens);
        if self.max_num_seqs == 0 || self.max_num_batched_tokens == 0 || !is_block {
            return Err(Fault::Limits);
        }
        if self.mixing == Mixing::Mixed && self.max_num_batched_tokens < self.max_num_seqs {
            return Err(Fault::Budget);
        }
        let shared = u64::from(self.shared_prefix / self.block_tokens);
        let mut before = 0.0;
        for (index, request) in requests.iter().enumerate() {
            let arrival = request.arrival_s;
            let is_sound = arrival.is_finite() && arrival >= 0.0;
            if request.n_input == 0 || request.n_output == 0 || !is_sound {
                return Err(Fault::Request { index });
            }
            if arrival < before {
                return Err(Fault::Order { index });
            }
            before = arrival;
            // The last token of an answer is never cached.
            let n_tokens = u64::from(request.n_input) + u64::from(request.n_output) - 1;
            let common = self.shared_blocks(request.n_input);
            let n_blocks = shared + self.blocks(n_tokens) - common;
            if n_blocks > self.kv_blocks {
                return Err(Fault::Cache { index, n_blocks });
            }
            let n_tokens = n_tokens - common * u64::from(self.block_tokens);
            if !self.is_chunked && n_tokens > self.max_num_batched_tokens {
                return Err(Fault::Prompt { index, n_tokens });
            }
        }
        Ok(())
    }
}

/// When requests come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// At their own times.
    Open,
    /// So many at second 0, each later one when one completes.
    Closed {
        /// Requests under way.
        concurrency: usize,
    },
}

/// When things happened to a request, seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    /// It came.
    pub arrival_s: f64,
    /// The scheduler saw it: at the end of the iteration that ran.
    pub queued_s: f64,
    /// Its first iteration was put together: when that began, or ahead of it.
    pub scheduled_s: f64,
    /// Its first token was there.
    pub first_token_s: f64,
    /// Its last token was there.
    pub last_token_s: f64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// By request; all have completed.
    pub times: Vec<Times>,
    /// All gaps between tokens of requests (ITL).
    pub gaps: Gaps,
    /// Iterations.
    pub n_iterations: u64,
    /// Rounds of the scheduler that were replayed one by one.
    pub n_rounds: u64,
    /// Times that a request lost its blocks.
    pub n_preemptions: u64,
    /// Most blocks in use, a shared prefix included.
    pub peak_kv_blocks: u64,
    /// Second of the last token.
    pub total_s: f64,
    /// Running requests, mean over the time from second 0 on.
    pub mean_running: f64,
}

/// Replays requests until all have completed.
///
/// # Errors
/// [`Fault`], but [`Fault::Saturated`].
pub fn replay(
    requests: &[Request],
    traffic: Traffic,
    scheduler: &Scheduler,
    price: &dyn IterationTime,
) -> Result<Replay, Fault> {
    scheduler.check(requests)?;
    if traffic == (Traffic::Closed { concurrency: 0 }) {
        return Err(Fault::Traffic);
    }
    engine::Engine::new(requests, traffic, scheduler, price).run()
}

/// An iteration; of decoding requests alone several, where the stride of the scheduler lets them be summed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ran {
    /// Beginning of the first, seconds.
    pub start_s: f64,
    /// Seconds of all.
    pub seconds: f64,
    /// How many.
    pub n_iterations: u64,
    /// Prompts in each.
    pub n_prompts: u64,
    /// Their new tokens.
    pub n_prompt_tokens: u64,
    /// Decoding requests in each.
    pub n_decoding: u64,
}

/// The first iterations of a replay of requests at their own times, at most so many, one by one.
///
/// # Errors
/// [`Fault`], but [`Fault::Saturated`].
pub fn first_iterations(
    requests: &[Request],
    scheduler: &Scheduler,
    price: &dyn IterationTime,
    most: usize,
) -> Result<Vec<Ran>, Fault> {
    scheduler.check(requests)?;
    let each = Scheduler { stride: 1, ..*scheduler };
    engine::Engine::new(requests, Traffic::Open, &each, price).first(most)
}

/// Replays `n` requests that arrive at `rate` a second; with them, the requests.
///
/// # Errors
/// [`Fault`]; [`Fault::Saturated`] where the rate is not below [`capacity`], or the requests that wait
/// grow over the second half of the arrivals by more than four standard deviations of their number.
pub fn replay_at_rate(
    mix: &[Length],
    (rate, spacing): (f64, Spacing),
    (n, seed): (usize, u64),
    scheduler: &Scheduler,
    price: &dyn IterationTime,
) -> Result<(Vec<Request>, Replay), Fault> {
    let requests = at_rate(mix, rate, spacing, n, seed)?;
    let capacity = capacity(mix, scheduler, price)?;
    if rate >= capacity {
        return Err(Fault::Saturated { rate, capacity });
    }
    let replay = replay(&requests, Traffic::Open, scheduler, price)?;
    if let (Some(middle), Some(last)) = (replay.times.get(n / 2), replay.times.last()) {
        let (from_s, to_s) = (middle.arrival_s, last.arrival_s);
        let started = |by_s: f64| replay.times.partition_point(|times| times.scheduled_s <= by_s);
        let n_started = started(to_s) - started(from_s);
        let n_arrived = n - n / 2 - 1;
        if n_arrived as f64 > n_started as f64 + 4.0 * (n_arrived as f64).sqrt() {
            let capacity = n_started as f64 / (to_s - from_s);
            return Err(Fault::Saturated { rate, capacity });
        }
    }
    Ok((requests, replay))
}

/// Waves of running requests that a backlog consists of.
const WAVES: u64 = 32;
/// Requests of a backlog.
const BACKLOG: std::ops::RangeInclusive<u64> = 2_000..=100_000;

/// Requests/s that a worker completes while its queue never empties. Without preemptions a queue in front
/// of it stays finite if and only if fewer arrive (Baccelli and Foss 1995, the saturation rule); with
/// them, one that has formed goes away only then, for a worker that is behind computes prompts twice.
///
/// # Errors
/// [`Fault`], but [`Fault::Saturated`].
pub fn capacity(
    mix: &[Length],
    scheduler: &Scheduler,
    price: &dyn IterationTime,
) -> Result<f64, Fault> {
    let total = super::arrivals::total_share(mix)?;
    if scheduler.block_tokens == 0 {
        return Err(Fault::Limits);
    }
    let share = |length: &Length| {
        let n_tokens = u64::from(length.n_input) + u64::from(length.n_output) / 2;
        let n_blocks = scheduler.blocks(n_tokens) - scheduler.shared_blocks(length.n_input);
        n_blocks as f64 * length.share / total
    };
    let n_fitting = scheduler.kv_blocks as f64 / mix.iter().map(share).sum::<f64>();
    let n_running = (n_fitting as u64).clamp(1, scheduler.max_num_seqs.max(1));
    let n = n_running.saturating_mul(WAVES).clamp(*BACKLOG.start(), *BACKLOG.end());
    let requests = backlog(mix, n as usize)?;
    let replay = replay(&requests, Traffic::Open, scheduler, price)?;
    // From the start of one in four, when long answers have gathered, to the last start: each request counts
    // by the share of its stay that lies between, so that waves leave no trace.
    let from_s = replay.times[replay.times.len() / 4].scheduled_s;
    let to_s = replay.times.iter().map(|times| times.scheduled_s).fold(0.0, f64::max);
    if to_s <= from_s {
        return Ok(n as f64 / replay.total_s);
    }
    let inside = |times: &Times| {
        let stay_s = times.last_token_s - times.scheduled_s;
        let inside_s = times.last_token_s.min(to_s) - times.scheduled_s.max(from_s);
        if stay_s > 0.0 { inside_s.max(0.0) / stay_s } else { 0.0 }
    };
    Ok(replay.times.iter().map(inside).sum::<f64>() / (to_s - from_s))
}
