//! Why a replay or a closed form has no answer.

use std::fmt;

/// What is wrong with traffic, limits or prices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// A request has no input, no output, or an arrival that is no time.
    Request {
        /// Its position.
        index: usize,
    },
    /// A request arrives before the one in front of it.
    Order {
        /// Position of the later one.
        index: usize,
    },
    /// Lengths with no positive, finite share; a rate that is not positive; no concurrency.
    Traffic,
    /// `max_num_seqs` or `max_num_batched_tokens` is 0, or the block size not in 1..=65,536.
    Limits,
    /// `max_num_batched_tokens` is smaller than `max_num_seqs`.
    Budget,
    /// Without chunked prefill a prompt exceeds the token budget.
    Prompt {
        /// Position of the request.
        index: usize,
        /// Tokens of its longest prefill, those of a recomputation included.
        n_tokens: u64,
    },
    /// A prompt takes more iterations than the closed form tells apart.
    Chunks {
        /// Position of its length.
        index: usize,
        /// Iterations at most.
        limit: u32,
    },
    /// A request does not fit in the KV cache by itself.
    Cache {
        /// Position of the request.
        index: usize,
        /// Blocks at its last token.
        n_blocks: u64,
    },
    /// An iteration takes no finite time.
    Price {
        /// Seconds that were given.
        seconds: f64,
    },
    /// The replay was stopped: too many rounds of the scheduler.
    Rounds {
        /// The limit.
        limit: u64,
        /// Requests that had completed.
        n_completed: usize,
    },
    /// Requests arrive faster than they are served: the queue grows as long as they arrive.
    Saturated {
        /// Arrivals, requests/s.
        rate: f64,
        /// Requests/s with a queue that never empties.
        capacity: f64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request { index } => {
                write!(out, "request {index} needs an arrival time, input and output tokens")
            }
            Self::Order { index } => {
                write!(out, "request {index} arrives before request {}", index - 1)
            }
            Self::Traffic => write!(out, "traffic needs a positive rate or concurrency and shares"),
            Self::Limits => write!(
                out,
                "max_num_seqs and max_num_batched_tokens must be positive, and a block 1 to 65,536 tokens"
            ),
            Self::Budget => write!(out, "max_num_batched_tokens is smaller than max_num_seqs"),
            Self::Prompt { index, n_tokens } => write!(
                out,
                "without chunked prefill the {n_tokens} tokens of request {index} exceed max_num_batched_tokens"
            ),
            Self::Chunks { index, limit } => {
                write!(
                    out,
                    "the prompt of length {index} takes more than {limit} iterations; replay it"
                )
            }
            Self::Cache { index, n_blocks } => {
                write!(out, "request {index} needs {n_blocks} KV blocks, more than there are")
            }
            Self::Price { seconds } => write!(out, "an iteration takes {seconds} s"),
            Self::Rounds { limit, n_completed } => {
                write!(
                    out,
                    "stopped after {limit} scheduling rounds, {n_completed} requests completed"
                )
            }
            Self::Saturated { rate, capacity } if rate < capacity => write!(
                out,
                "saturated: {rate:.4} requests/s arrive, too near the {capacity:.4} that can be served"
            ),
            Self::Saturated { rate, capacity } => write!(
                out,
                "saturated: {rate:.4} requests/s arrive, {capacity:.4} can be served; the queue grows"
            ),
        }
    }
}

impl std::error::Error for Fault {}
