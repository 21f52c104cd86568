//! Prices of iterations for searches: what depends on tokens alone is worked out once.

use std::sync::{Arc, OnceLock};

use super::layers::Layers;
use super::worker::Lengths;
use super::{Answer, Composition, Prompts, See, Step, halfway};
use crate::serving::kept::Kept;
use crate::serving::{Chunk, Iteration, IterationTime};

/// Tokens of an iteration up to which sums of kernels are kept.
const KEPT: usize = 1 << 14;

/// Seconds of kernels of a [`Composition`] by tokens; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Memo(Arc<[OnceLock<Kept>; 5]>);

impl Memo {
    fn get(&self, of: Of, tokens: u64, seconds: impl FnOnce() -> f64) -> f64 {
        if tokens == 0 {
            return 0.0;
        }
        self.0[of as usize].get_or_init(|| Kept::new(KEPT)).get(tokens, seconds)
    }
}

/// What depends on one number of tokens.
#[derive(Clone, Copy)]
enum Of {
    /// Kernels for all tokens of a step in a CUDA graph.
    Recorded,
    /// The same outside.
    Launched,
    /// Kernels for prompt tokens.
    Prompts,
    /// Kernels for decoding requests.
    Decoding,
    /// LM head.
    Head,
}

/// The price of iterations.
#[derive(Clone, Debug)]
pub struct Prices<'t> {
    composition: Composition<'t>,
    memo: Memo,
    /// Requests whose steps stand for all; `None` = chunks and cached tokens as they are.
    mean: Option<Lengths>,
}

impl<'t> Prices<'t> {
    /// Own composition: the chunks of an iteration, and the mean of the cached tokens.
    #[must_use]
    pub fn own(composition: Composition<'t>, memo: Memo) -> Self {
        Self { composition, memo, mean: None }
    }

    /// AIConfigurator's composition: [`Composition::prefill`] of prompts alone,
    /// [`Composition::mixed`] and [`Composition::decode_halfway`] of requests of this length.
    #[must_use]
    pub fn aic(composition: Composition<'t>, memo: Memo, lengths: Lengths) -> Self {
        Self { composition, memo, mean: Some(lengths) }
    }

    fn step(&self, step: &Step) -> f64 {
        let Self { composition: of, memo, .. } = self;
        let Layers { prefill, decode, head, .. } = &of.layers;
        let [all, new, sampled, decoding] =
            [step.tokens, step.new(), step.sampled, step.decoding.0].map(|tokens| tokens as u64);
        let kind = if step.is_recorded { Of::Recorded } else { Of::Launched };
        let all_s = || sum(|see| of.visit_all(step.tokens, step.is_recorded, see));
        let terms_s = |kind, terms, tokens: u64| {
            memo.get(kind, tokens, || sum(|see| of.terms(terms, tokens as f64, see)))
        };
        memo.get(kind, all, all_s)
            + terms_s(Of::Prompts, prefill, new)
            + terms_s(Of::Decoding, decode, decoding)
            + terms_s(Of::Head, std::slice::from_ref(head), sampled)
            + sum(|see| of.attend(step, see))
    }
}

impl IterationTime for Prices<'_> {
    fn seconds(&self, iteration: &Iteration) -> f64 {
        let of = &self.composition;
        let decoding = iteration.n_decoding as f64;
        let chunk = |chunk: &Chunk| Composition::prompts(1, chunk.new, chunk.cached);
        let prompts = || -> Vec<Prompts> { iteration.prompts.iter().map(chunk).collect() };
        let (is_recorded, tokens) = (iteration.prompts.is_empty(), iteration.n_tokens());
        let Some(lengths) = self.mean else {
            let prompts = prompts();
            let cached = iteration.decoding_cached as f64 / decoding.max(1.0);
            return self.step(&Step {
                tokens: tokens as f64,
                sampled: iteration.n_requests() as f64,
                prompts: &prompts,
                decoding: (decoding, cached + 1.0),
                is_recorded,
            });
        };
        if is_recorded {
            return self.step(&Composition::decoding(decoding, halfway(lengths) as f64));
        }
        if decoding > 0.0 {
            let (prompts, step) =
                of.mix(tokens - iteration.n_decoding, iteration.n_decoding, lengths);
            return self.step(&Step { prompts: &prompts, ..step });
        }
        let prompts = prompts();
        let sampled = of.sampled(prompts.len() as f64);
        self.step(&Step { tokens: tokens as f64, sampled, prompts: &prompts, ..Step::default() })
    }
}

/// Seconds of what is visited.
fn sum(visit: impl FnOnce(&mut See<'_>)) -> f64 {
    let mut seconds = 0.0;
    visit(&mut |_, answer: Answer| seconds += answer.seconds);
    seconds
}
