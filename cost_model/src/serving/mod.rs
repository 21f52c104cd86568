//! Engines that serve a model by continuous batching: an iteration is one forward pass over the prompt
//! tokens and the decoding requests that the scheduler has chosen.

pub mod aic;
pub mod arrivals;
#[cfg(test)]
mod cases_tests;
pub mod closed_form;
pub mod engine;
pub mod fault;
pub mod iteration;
mod kept;
pub mod memory;
pub mod replay;
pub mod worker;

/// Prompt tokens of one request in an iteration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Chunk {
    /// Tokens that this iteration computes.
    pub new: u64,
    /// Tokens of the request whose keys and values are cached already.
    pub cached: u64,
}

/// What one iteration computes on an attention data-parallel rank of a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Iteration {
    /// Prompts, or chunks of prompts.
    pub prompts: Vec<Chunk>,
    /// Requests that get one more token each.
    pub n_decoding: u64,
    /// Cached tokens of all decoding requests together.
    pub decoding_cached: u64,
}

impl Iteration {
    /// Tokens that go through the model.
    #[must_use]
    pub fn n_tokens(&self) -> u64 {
        let prompts = self.prompts.iter().map(|chunk| chunk.new);
        prompts.fold(self.n_decoding, u64::saturating_add)
    }

    /// Requests that get a token sampled, if all chunks end their prompts.
    #[must_use]
    pub fn n_requests(&self) -> u64 {
        self.n_decoding.saturating_add(self.prompts.len() as u64)
    }
}

/// What prices an iteration.
pub trait IterationTime {
    /// Seconds of an iteration on a worker; 0 for an empty one.
    fn seconds(&self, iteration: &Iteration) -> f64;
}
