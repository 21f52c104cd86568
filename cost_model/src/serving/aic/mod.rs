//! Steps of an engine as AIConfigurator 0.12 composes them from measured kernels, its constants
//! included.
//!
//! Known to be wrong there, and kept here so that both agree: norms, rotary positions and the writing
//! of keys and values of prefill cost what one token costs; a step with latent attention that has
//! prompts and decoding requests is one long prompt; mixtures of experts without it have no head in
//! steps with prompts; all-reduces of prefill are recorded in graphs; queueing is a factor. Iterations
//! ([`IterationTime`]) have their heads, and latent attention to prompts and to cached tokens.

mod aggregated;
mod layers;
mod split;

use ir::card::TransformerCard;
use ir::diagnostic::Diagnostic;
use ir::engine_tables::{EngineTables, NumberFormat, SystemRates};

use self::layers::{Layers, Mixer, Term};
use super::{Iteration, IterationTime};
use crate::kernels::tables::Answer;

pub use aggregated::Aggregated;
pub use split::{Pool, Split, split};

/// Engines that differ in how they send tokens to experts, and in the constants of their schedulers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheduler {
    /// vLLM.
    Vllm,
    /// SGLang.
    Sglang,
    /// TensorRT-LLM.
    TensorRtLlm,
}

impl Scheduler {
    /// The engine that tables call so.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "vllm" => Some(Self::Vllm),
            "sglang" => Some(Self::Sglang),
            "trtllm" => Some(Self::TensorRtLlm),
            _ => None,
        }
    }
}

/// How a worker is laid out, and in which numbers it computes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Worker {
    /// Ranks that split attention and dense products.
    pub tensor: u32,
    /// Pipeline stages.
    pub pipeline: u32,
    /// Attention data-parallel ranks.
    pub data: u32,
    /// Tensor-parallel ranks of an expert.
    pub expert_tensor: u32,
    /// Expert-parallel ranks.
    pub expert: u32,
    /// Numbers of products by weights of blocks; the head multiplies in 16 bits.
    pub weights: NumberFormat,
    /// Numbers of experts.
    pub expert_weights: NumberFormat,
    /// Numbers that attention to prompts computes in.
    pub attention: NumberFormat,
    /// Numbers that keys and values are cached in.
    pub cache: NumberFormat,
    /// Whether each head of queries and keys has a norm (Qwen 3).
    pub norms_heads: bool,
    /// How tokens spread over experts, as the tables name it, such as `power_law_1.2`.
    pub load: String,
}

impl Worker {
    /// A dense model in one number on so many tensor-parallel ranks.
    #[must_use]
    pub fn dense(number: NumberFormat, tensor: u32) -> Self {
        Self {
            tensor,
            pipeline: 1,
            data: 1,
            expert_tensor: tensor,
            expert: 1,
            weights: number,
            expert_weights: number,
            attention: NumberFormat::Bf16,
            cache: NumberFormat::Bf16,
            norms_heads: false,
            load: String::from("power_law_1.2"),
        }
    }

    /// Devices of the worker.
    #[must_use]
    pub fn devices(&self) -> u32 {
        self.tensor.saturating_mul(self.data).saturating_mul(self.pipeline)
    }
}

/// Lengths of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lengths {
    /// Tokens of the prompt.
    pub prompt: u64,
    /// Tokens that are generated.
    pub generated: u64,
}

/// A model on a worker, priced from tables.
#[derive(Clone, Debug)]
pub struct Composition<'t> {
    rates: &'t SystemRates,
    scheduler: Scheduler,
    worker: Worker,
    n_layers: u32,
    layers: Layers<'t>,
}

/// Prompts of one length in a step.
#[derive(Clone, Copy, Debug, Default)]
struct Prompts {
    count: f64,
    new: f64,
    cached: f64,
    /// Fraction of their attention that the step computes.
    part: f64,
}

/// What a step computes.
#[derive(Clone, Copy, Debug, Default)]
struct Step<'a> {
    tokens: f64,
    /// Requests that the head is computed for.
    sampled: f64,
    prompts: &'a [Prompts],
    /// Requests that decode, and cached tokens of each.
    decoding: (f64, f64),
    /// Whether shared experts run beside routed ones.
    is_recorded: bool,
}

impl<'t> Composition<'t> {
    /// Looks up the kernels of a model of equal blocks.
    ///
    /// # Errors
    /// `not-measured` where the tables hold no attention of this kind; `not-composed` for an engine or
    /// a layout that AIConfigurator composes in other ways, and for degrees that divide no heads.
    pub fn new(
        tables: &'t EngineTables,
        card: &TransformerCard,
        worker: &Worker,
    ) -> Result<Self, Diagnostic> {
        let scheduler = Scheduler::named(&tables.engine)
            .ok_or_else(|| layers::not_composed(format!("the engine `{}`", tables.engine)))?;
        let layers = Layers::new(tables, card, worker, scheduler)?;
        Ok(Self {
            rates: &tables.rates,
            scheduler,
            worker: worker.clone(),
            n_layers: card.n_layers,
            layers,
        })
    }

    /// The time of a step with `prompts` prompts of `new` tokens each behind `cached` ones.
    #[must_use]
    pub fn prefill(&self, prompts: u64, new: u64, cached: u64) -> Answer {
        let of = Self::prompts(prompts, new, cached);
        self.sum(&Step {
            tokens: of.count * of.new,
            sampled: self.sampled(of.count),
            prompts: &[of],
            ..Step::default()
        })
    }

    /// The time of a step in which `requests` requests get one token each, with `tokens` tokens each,
    /// the new one included.
    #[must_use]
    pub fn decode(&self, requests: u64, tokens: u64) -> Answer {
        self.sum(&Self::decoding(requests as f64, tokens as f64))
    }

    /// The time of all steps in which `requests` requests generate what follows their first token;
    /// every 32nd step stands for those up to the next one.
    #[must_use]
    pub fn generation(&self, requests: u64, lengths: Lengths) -> Answer {
        const STRIDE: u64 = 32;
        let n_steps = lengths.generated.saturating_sub(1);
        let starts = (0..n_steps.div_ceil(STRIDE)).map(|step| step * STRIDE);
        let mut total = Answer::default();
        for start in starts {
            let weight = STRIDE.min(n_steps - start) as f64;
            let step = self.decode(requests, lengths.prompt + start + 1);
            total = total.then(Answer { seconds: step.seconds * weight, ..step });
        }
        total
    }

    /// The time of a step with `context` tokens of prompts and `decoding` requests half way through
    /// what they generate.
    #[must_use]
    pub fn mixed(&self, context: u64, decoding: u64, lengths: Lengths) -> Answer {
        let (prompts, step) = self.mix(context, decoding, lengths);
        self.sum(&Step { prompts: &prompts, ..step })
    }

    /// The time of a step with `decoding` requests half way through what they generate.
    #[must_use]
    pub fn decoding_half_way(&self, decoding: u64, lengths: Lengths) -> Answer {
        if decoding == 0 { Answer::default() } else { self.decode(decoding, half_way(lengths)) }
    }

    /// The kernels of [`Self::mixed`] by name, each with its time in all blocks.
    #[must_use]
    pub fn kernels_of_mixed(
        &self,
        context: u64,
        decoding: u64,
        lengths: Lengths,
    ) -> Vec<(&'static str, Answer)> {
        let (prompts, step) = self.mix(context, decoding, lengths);
        self.kernels(&Step { prompts: &prompts, ..step })
    }

    /// The kernels of [`Self::prefill`] by name, each with its time in all blocks.
    #[must_use]
    pub fn kernels_of_prefill(
        &self,
        prompts: u64,
        new: u64,
        cached: u64,
    ) -> Vec<(&'static str, Answer)> {
        let of = Self::prompts(prompts, new, cached);
        let (tokens, sampled) = (of.count * of.new, self.sampled(of.count));
        self.kernels(&Step { tokens, sampled, prompts: &[of], ..Step::default() })
    }

    /// The kernels of [`Self::decode`] by name, each with its time in all blocks.
    #[must_use]
    pub fn kernels_of_decode(&self, requests: u64, tokens: u64) -> Vec<(&'static str, Answer)> {
        self.kernels(&Self::decoding(requests as f64, tokens as f64))
    }

    /// Requests that the head of a step with prompts is computed for.
    fn sampled(&self, prompts: f64) -> f64 {
        if self.layers.is_headless { 0.0 } else { prompts }
    }

    fn prompts(count: u64, new: u64, cached: u64) -> Prompts {
        Prompts { count: count as f64, new: new as f64, cached: cached as f64, part: 1.0 }
    }

    fn decoding(requests: f64, tokens: f64) -> Step<'static> {
        Step {
            tokens: requests,
            sampled: requests,
            decoding: (requests, tokens),
            is_recorded: true,
            ..Step::default()
        }
    }

    fn mix(&self, context: u64, decoding: u64, lengths: Lengths) -> ([Prompts; 1], Step<'static>) {
        let tokens = (context + decoding) as f64;
        let step = Step { tokens, sampled: self.sampled(1.0), ..Step::default() };
        if let Mixer::Mla(_) = self.layers.mixer {
            return ([Self::prompts(1, context + decoding, 0)], step);
        }
        let prompt = lengths.prompt.max(1);
        let of = Prompts {
            part: 1.0 / prompt.div_ceil(context.max(1)) as f64,
            ..Self::prompts(context.div_ceil(prompt), prompt, 0)
        };
        let decoding = (decoding as f64, half_way(lengths) as f64);
        ([of], Step { decoding, ..step })
    }

    fn kernels(&self, step: &Step) -> Vec<(&'static str, Answer)> {
        let mut kernels = Vec::new();
        self.visit(step, &mut |name, answer| kernels.push((name, answer)));
        kernels
    }

    fn sum(&self, step: &Step) -> Answer {
        let mut total = Answer::default();
        self.visit(step, &mut |_, answer| total = total.then(answer));
        total
    }

    /// Shows every kernel of a step, each with its time in all blocks.
    fn visit(&self, step: &Step, see: &mut impl FnMut(&'static str, Answer)) {
        let Layers { always, prefill, decode, routed, shared, head, .. } = &self.layers;
        let mut all = |terms: &[Term], tokens: f64| {
            for term in terms {
                see(term.name, term.of(self.rates, tokens));
            }
        };
        if step.tokens <= 0.0 {
            return;
        }
        all(always, step.tokens);
        let new = step.prompts.iter().fold(0.0, |sum, of| sum + of.count * of.new);
        if new > 0.0 {
            all(prefill, new);
        }
        if step.decoding.0 > 0.0 {
            all(decode, step.decoding.0);
        }
        if step.is_recorded {
            // Shared experts run on a stream of their own.
            let time = |terms: &[Term]| {
                let times = terms.iter().map(|term| term.of(self.rates, step.tokens));
                times.fold(Answer::default(), Answer::then)
            };
            let (routed_time, shared_time) = (time(routed), time(shared));
            let is_longer = shared_time.seconds > routed_time.seconds;
            all(if is_longer { shared } else { routed }, step.tokens);
        } else {
            all(shared, step.tokens);
            all(routed, step.tokens);
        }
        if step.sampled > 0.0 {
            all(std::slice::from_ref(head), step.sampled);
        }
        self.attend(step, see);
    }

    fn attend(&self, step: &Step, see: &mut impl FnMut(&'static str, Answer)) {
        let n = f64::from(self.n_layers);
        let Layers { mixer, beside_prefill_s, .. } = &self.layers;
        for Prompts { count, new, cached, part } in step.prompts.iter().copied() {
            let mut answer = match mixer {
                Mixer::Heads(attention) => attention.prefill(count, new, cached),
                Mixer::Mla(latent) => latent.prefill(count, new, cached),
            };
            answer.seconds = (answer.seconds + beside_prefill_s) * part * n;
            see("prefill attention", answer);
        }
        let (requests, tokens) = step.decoding;
        if requests > 0.0 {
            let mut answer = match mixer {
                Mixer::Heads(attention) => attention.decode(requests, tokens),
                Mixer::Mla(latent) => latent.decode(requests, tokens),
            };
            answer.seconds *= n;
            see("decode attention", answer);
        }
    }
}

/// Tokens of a request half way through what it generates, the new one included.
fn half_way(lengths: Lengths) -> u64 {
    lengths.prompt + lengths.generated / 2 + 1
}

impl IterationTime for Composition<'_> {
    fn seconds(&self, iteration: &Iteration) -> f64 {
        let chunk = |chunk: &super::Chunk| Self::prompts(1, chunk.new, chunk.cached);
        let prompts: Vec<Prompts> = iteration.prompts.iter().map(chunk).collect();
        let decoding = iteration.n_decoding as f64;
        let cached = iteration.decoding_cached as f64 / decoding.max(1.0);
        self.sum(&Step {
            tokens: iteration.n_tokens() as f64,
            sampled: iteration.n_requests() as f64,
            prompts: &prompts,
            decoding: (decoding, cached + 1.0),
            is_recorded: prompts.is_empty(),
        })
        .seconds
    }
}

#[cfg(test)]
mod tests;
