//! Aggregated workers (prefill and decode in the same steps), mean-field estimate.

use super::Composition;
use super::worker::{Lengths, Scheduler};
use crate::kernels::tables::Answer;

/// AIConfigurator's estimate of an aggregated worker at constant concurrency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Aggregated {
    /// Time of a mixed step.
    pub mixed: Answer,
    /// Time of a decode step.
    pub decode: Answer,
    /// Mixed steps until all prompts are prefilled.
    pub n_mixed: f64,
    /// Decode steps until all tokens are generated.
    pub n_decode: f64,
    /// Time to first token (TTFT), seconds.
    pub first_token_s: f64,
    /// Time per output token (TPOT), seconds.
    pub per_token_s: f64,
    /// Output tokens per second of the worker.
    pub tokens_per_s: f64,
}

impl Composition<'_> {
    /// Estimates a worker with `requests` concurrent requests per attention data-parallel rank and
    /// `context` prompt tokens per mixed step.
    #[must_use]
    pub fn aggregated(&self, requests: u64, context: u64, lengths: Lengths) -> Aggregated {
        let (context, prompt) = (context.max(1), lengths.prompt.max(1));
        let requests = requests.max(1);
        let n_steps = lengths.generated.max(1) as f64;
        let is_alone = requests == 1;
        let n_context = prompt.saturating_mul(requests).div_ceil(context) as f64;
        let n_mixed = if is_alone { 1.0 } else { n_context };
        let n_decode = (n_steps - n_mixed).max(0.0);
        let beside = self.decoding_beside(requests, context, (prompt, n_context), n_steps);
        let mixed = self.mixed(context, if is_alone { 0 } else { beside }, lengths);
        let decode =
            if n_decode > 0.0 { self.decode_halfway(requests, lengths) } else { Answer::default() };
        let counted = self.counted(is_alone, n_mixed, n_decode);
        let per_token_s = if counted + n_decode > 0.0 {
            (mixed.seconds * counted + decode.seconds * n_decode) / (counted + n_decode)
        } else {
            0.0
        };
        let n_chunks = prompt.div_ceil(context) as f64;
        let waiting = self.queueing(requests as f64, n_context);
        let first_token_s = (mixed.seconds * n_chunks + self.dispatch_s()) * waiting;
        let tokens = requests as f64 * (n_steps - 1.0);
        let busy = n_mixed * mixed.seconds + n_decode * decode.seconds;
        let by_steps = if busy > 0.0 { tokens / busy } else { 0.0 };
        let latency = first_token_s + per_token_s * (n_steps - 1.0);
        let rate = match self.scheduler {
            Scheduler::Vllm if latency > 0.0 => by_steps.min(tokens / latency),
            _ => by_steps,
        };
        let ranks = f64::from(self.worker.pipeline) * f64::from(self.worker.data);
        let tokens_per_s = rate * ranks;
        Aggregated { mixed, decode, n_mixed, n_decode, first_token_s, per_token_s, tokens_per_s }
    }

    /// Decoding requests in a mixed step.
    fn decoding_beside(
        &self,
        requests: u64,
        context: u64,
        (prompt, n_context): (u64, f64),
        n_steps: f64,
    ) -> u64 {
        if self.scheduler != Scheduler::Vllm && n_context >= n_steps {
            let share = (requests as f64 / (n_context / n_steps)).floor();
            return (share as u64).max(1);
        }
        requests.saturating_sub(context.div_ceil(prompt)).max(1)
    }

    /// Mixed steps that count towards TPOT.
    fn counted(&self, is_alone: bool, n_mixed: f64, n_decode: f64) -> f64 {
        match self.scheduler {
            _ if is_alone => 0.0,
            Scheduler::Vllm => n_mixed,
            _ if n_decode <= 0.0 => n_mixed,
            _ => (n_mixed - 3.0).max(1.0),
        }
    }

    /// Launch overhead of prefill on the host, seconds.
    fn dispatch_s(&self) -> f64 {
        match self.scheduler {
            Scheduler::Vllm => 0.8e-3 * f64::from(self.n_layers),
            _ => 0.0,
        }
    }

    /// Queueing factor of TTFT.
    fn queueing(&self, requests: f64, n_context: f64) -> f64 {
        match self.scheduler {
            Scheduler::Vllm => (1.0 + requests.log2() / 8.0).min(2.0),
            _ => (2.0 + (n_context - 3.0) / 20.0).min(4.0),
        }
    }
}
