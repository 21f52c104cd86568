//! Engine steps, composed from measured kernels as AIConfigurator 0.12 does, with its constants.
//!
//! Its known errors are reproduced: head norms, rotary embedding and KV writes of prefill cost one
//! token's worth; a mixed step with MLA is one long prompt; MoE models without MLA have no LM head in
//! prefill and mixed steps; prefill uses all-reduces measured in CUDA graphs; queueing is a factor.
//! Iterations ([`Prices`]) have the LM head, and both kinds of attention with MLA.

mod aggregated;
mod layers;
mod prices;
mod split;
mod worker;

use ir::card::TransformerCard;
use ir::diagnostic::Diagnostic;
use ir::engine_tables::{EngineTables, SystemRates};

use self::layers::{Layers, Mixer, Term};
use crate::kernels::tables::Answer;

pub use aggregated::Aggregated;
pub use prices::{Memo, Prices};
pub use split::{Pool, Split, split};
pub use worker::{Lengths, Scheduler, Worker};

/// A model on a worker, with the measured times of its kernels.
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
    /// Fraction of their attention that the step computes (chunked prefill).
    part: f64,
}

/// Sees a kernel by name with its time in all blocks.
type See<'s> = dyn FnMut(&'static str, Answer) + 's;

/// Work of a step.
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

impl Step<'_> {
    /// Prompt tokens that the step computes.
    fn new(&self) -> f64 {
        self.prompts.iter().fold(0.0, |sum, of| sum + of.count * of.new)
    }
}

impl<'t> Composition<'t> {
    /// Looks up the kernels of a model of `card.n_layers` equal blocks.
    ///
    /// # Errors
    /// `not-measured` where such attention was not measured; `not-composed` for engines and layouts
    /// outside AIConfigurator's composition, and for degrees that do not divide the heads.
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

    /// Time of a prefill step: `prompts` prompts with `new` uncached and `cached` cached tokens each.
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

    /// Time of a decode step of `requests` requests with `tokens` tokens each, the new one included.
    #[must_use]
    pub fn decode(&self, requests: u64, tokens: u64) -> Answer {
        self.sum(&Self::decoding(requests as f64, tokens as f64))
    }

    /// Time of all decode steps of `requests` requests; every 32nd step stands for the next 31, too.
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

    /// Time of a mixed step: `context` prompt tokens and `decoding` requests halfway through their
    /// output.
    #[must_use]
    pub fn mixed(&self, context: u64, decoding: u64, lengths: Lengths) -> Answer {
        let (prompts, step) = self.mix(context, decoding, lengths);
        self.sum(&Step { prompts: &prompts, ..step })
    }

    /// Time of a decode step of `decoding` requests halfway through their output.
    #[must_use]
    pub fn decode_halfway(&self, decoding: u64, lengths: Lengths) -> Answer {
        if decoding == 0 { Answer::default() } else { self.decode(decoding, halfway(lengths)) }
    }

    /// Kernels of [`Self::mixed`] by name, each with its time in all blocks.
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

    /// Kernels of [`Self::prefill`] by name, each with its time in all blocks.
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

    /// Kernels of [`Self::decode`] by name, each with its time in all blocks.
    #[must_use]
    pub fn kernels_of_decode(&self, requests: u64, tokens: u64) -> Vec<(&'static str, Answer)> {
        self.kernels(&Self::decoding(requests as f64, tokens as f64))
    }

    /// Sampled requests of a step with prompts.
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
        if !matches!(self.layers.mixer, Mixer::Heads(_)) {
            return ([Self::prompts(1, context + decoding, 0)], step);
        }
        let prompt = lengths.prompt.max(1);
        let of = Prompts {
            part: 1.0 / prompt.div_ceil(context.max(1)) as f64,
            ..Self::prompts(context.div_ceil(prompt), prompt, 0)
        };
        let decoding = (decoding as f64, halfway(lengths) as f64);
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

    /// Calls `see` with each kernel of a step and its time in all blocks.
    fn visit(&self, step: &Step, see: &mut See<'_>) {
        let Layers { prefill, decode, head, .. } = &self.layers;
        if step.tokens <= 0.0 {
            return;
        }
        self.visit_all(step.tokens, step.is_recorded, see);
        let new = step.new();
        if new > 0.0 {
            self.terms(prefill, new, see);
        }
        if step.decoding.0 > 0.0 {
            self.terms(decode, step.decoding.0, see);
        }
        if step.sampled > 0.0 {
            self.terms(std::slice::from_ref(head), step.sampled, see);
        }
        self.attend(step, see);
    }

    /// The same of kernels whose time depends on all tokens of a step.
    fn visit_all(&self, tokens: f64, is_recorded: bool, see: &mut See<'_>) {
        let Layers { always, routed, shared, .. } = &self.layers;
        self.terms(always, tokens, see);
        if !is_recorded {
            self.terms(shared, tokens, see);
            return self.terms(routed, tokens, see);
        }
        // Shared experts run on a stream of their own.
        let time = |terms: &[Term]| {
            let times = terms.iter().map(|term| term.of(self.rates, tokens));
            times.fold(Answer::default(), Answer::then)
        };
        let is_longer = time(shared).seconds > time(routed).seconds;
        self.terms(if is_longer { shared } else { routed }, tokens, see);
    }

    fn terms(&self, terms: &[Term], tokens: f64, see: &mut See<'_>) {
        terms.iter().for_each(|term| see(term.name, term.of(self.rates, tokens)));
    }

    fn attend(&self, step: &Step, see: &mut See<'_>) {
        let n = f64::from(self.n_layers);
        let Layers { mixer, beside_prefill_s, .. } = &self.layers;
        for Prompts { count, new, cached, part } in step.prompts.iter().copied() {
            let mut answer = match mixer {
                Mixer::Heads(attention) => attention.prefill(count, new, cached),
                Mixer::Mla(mla) | Mixer::MlaBlock(mla) => mla.prefill(count, new, cached),
            };
            answer.seconds = (answer.seconds + beside_prefill_s) * part * n;
            see("prefill attention", answer);
        }
        let (requests, tokens) = step.decoding;
        if requests > 0.0 {
            let mut answer = match mixer {
                Mixer::Heads(attention) => attention.decode(requests, tokens),
                Mixer::Mla(mla) | Mixer::MlaBlock(mla) => mla.decode(requests, tokens),
            };
            answer.seconds *= n;
            see("decode attention", answer);
        }
    }
}

/// Tokens of a request halfway through its output, the new one included.
fn halfway(lengths: Lengths) -> u64 {
    lengths.prompt + lengths.generated / 2 + 1
}

#[cfg(test)]
mod tests;
