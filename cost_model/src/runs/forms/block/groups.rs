//! Layers whose experts lie on devices of their own ([`crate::streams::groups`]) at the prices of blocks.
//!
//! ```text
//! attention   the forward pass of a block without its feed-forward part; in decoding of one token for each
//!             sample, and max(keys and values over memory bandwidth, their operations at the rate of cores)
//! shared      what shared experts, or a dense feed-forward part, add to it
//! experts     max(their products and moves at the device that has most visits, reading their weights)
//! exchange    start-up + visits x bytes of a token, at the slowest device: what stays in its host at the
//!             links' rate, the rest at its share of the card's, as all-to-alls go
//! memory      attention: all weights but the experts', and keys and values of its samples
//!             and the input of a layer of all tokens of the step; experts: their slots of all layers
//! ```
//!
//! Launches are taken to be recorded; other activations, embedding and head are not counted.

use ir::card::stored::Held;
use ir::card::{ExpertCard, ModelCard, Skew, TransformerCard};
use ir::plan::Parallelism;
use ir::stack::Stack;
use ir::tensor::DType;

use super::super::constants::{Constant, Constants};
use super::super::precision;
use super::super::run::{Gradients, Sharded};
use super::super::system::System;
use super::cached::{bytes, cached_s, element};
use super::{experts, without_experts};
use crate::runs::serving::Weights;
use crate::streams::groups::{Groups, Line, Prices};

/// Tokens at which the line of an expert's products is looked at.
const MANY: u64 = 1 << 20;

/// Layers that are visited alike: of a group of the model's blocks, with the greatest load of a device by
/// the number of those that share out the experts, from 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Kind {
    /// Position of the group.
    pub group: usize,
    /// Greatest loads, as shares of the visits; none where the blocks have no experts.
    pub loads: Vec<f64>,
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// All tokens of samples of so many.
    Prefill(u64),
    /// One token of each sample, of which so many others are cached.
    Decode(u64),
}

/// A model on two groups of devices of a system.
#[derive(Clone)]
pub struct Priced {
    system: System,
    stack: Stack,
    constants: Constants,
    gradients: Gradients,
    dtype: DType,
    /// Bytes of weights and caches of the last layer, which most are like.
    held: Held,
    /// By kind its card, of as many tokens as a step has of a sample.
    cards: Vec<(TransformerCard, Vec<f64>)>,
    layers: Vec<(u32, usize)>,
    step: Step,
    limit: Option<u64>,
    others: u64,
    expert: u64,
    n_mixed: u64,
    /// Bytes of keys and values of a sample, and of what a layer reads of it.
    cached: u64,
}

impl Priced {
    /// Of a model in a type, of whose devices none holds more than a limit; `layers` are kinds in its order.
    #[must_use]
    pub fn new(
        (model, dtype, gradients): (&ModelCard, DType, Gradients),
        (system, stack, constants): (&System, &Stack, &Constants),
        (kinds, layers): (&[Kind], &[usize]),
        (step, limit): (Step, Option<u64>),
    ) -> Self {
        let (tokens, seen) = match step {
            Step::Prefill(tokens) => (tokens, tokens),
            Step::Decode(tokens) => (1, tokens.saturating_add(1)),
        };
        let card = |kind: &Kind| {
            let group = model.groups.get(kind.group).or(model.groups.first())?;
            let balanced = |experts| ExpertCard { skew: Skew::Balanced, ..experts };
            let experts = group.card.experts.map(balanced);
            let card = TransformerCard { sequence: tokens, experts, ..group.card.clone() };
            Some((card, kind.loads.clone()))
        };
        let cards: Vec<_> = kinds.iter().filter_map(card).collect();
        let mut runs: Vec<(u32, usize)> = Vec::new();
        for kind in layers {
            match runs.last_mut() {
                Some((n, last)) if last == kind => *n += 1,
                _ => runs.push((1, *kind)),
            }
        }
        let weights = Weights::of(model, dtype);
        let last = layers.last().and_then(|kind| kinds.get(*kind));
        let stored = model.held_by(last.map_or(0, |kind| kind.group));
        let each = element(stored, dtype);
        let of_layers = layers.iter().filter_map(|kind| cards.get(*kind));
        let cached =
            of_layers.clone().map(|(card, _)| bytes(card, seen, (1, each))).fold(0.0, |a, b| a + b);
        let input = of_layers.clone().map(|(card, _)| card.hidden as f64).fold(0.0, f64::max)
            * tokens as f64
            * precision::element(dtype);
        Self {
            n_mixed: of_layers.filter(|(card, _)| card.experts.is_some()).count() as u64,
            system: system.clone(),
            stack: stack.clone(),
            constants: constants.clone(),
            gradients,
            dtype,
            held: stored,
            cards,
            layers: runs,
            step,
            limit,
            others: weights.others,
            expert: weights.expert,
            cached: (cached + input) as u64,
        }
    }

    /// Bytes on a device of the attention group with so many samples, and on one of so many that share out
    /// the experts.
    #[must_use]
    pub fn bytes(&self, samples: u64, experts: u32) -> [u64; 2] {
        let cached = self.cached.saturating_mul(samples);
        let slots = self.slots(experts).saturating_mul(self.n_mixed);
        [self.others.saturating_add(cached), self.expert.saturating_mul(slots)]
    }

    /// Bytes that a device holds; `None` where that is not known.
    #[must_use]
    pub const fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Experts of a layer on each of so many devices.
    fn slots(&self, devices: u32) -> u64 {
        let all = self.cards.iter().filter_map(|(card, _)| card.experts);
        all.map(|experts| experts.n_experts.div_ceil(u64::from(devices.max(1))))
            .max()
            .unwrap_or_default()
    }

    fn of<R>(
        &self,
        card: &TransformerCard,
        degrees: &Parallelism,
        then: impl FnOnce(Sharded<'_>) -> R,
    ) -> R {
        let Self { gradients, dtype, held: stored, .. } = *self;
        then(Sharded { card, parallelism: degrees, gradients, dtype, held: stored })
    }

    /// Seconds of all of a block but its experts, whose feed-forward part has so many experts of its own.
    fn dense_s(&self, card: &TransformerCard, samples: u64, experts: ExpertCard) -> f64 {
        let card = TransformerCard { experts: Some(experts), ..card.clone() };
        let degrees = Parallelism { micro_batch: samples, ..Parallelism::default() };
        let time =
            |run: Sharded<'_>| without_experts(run, &self.system, &self.stack, &self.constants);
        self.of(&card, &degrees, time).forward.seconds
    }

    /// Seconds of attention to what is cached of so many samples.
    fn cached_s(&self, card: &TransformerCard, samples: u64) -> f64 {
        let Step::Decode(tokens) = self.step else { return 0.0 };
        let degrees = Parallelism { micro_batch: samples, ..Parallelism::default() };
        let software = (&self.stack, &self.constants);
        self.of(card, &degrees, |run| cached_s(run, tokens, &self.system, software))
    }
}

impl Prices for Priced {
    fn layers(&self) -> &[(u32, usize)] {
        &self.layers
    }

    fn tokens(&self) -> u64 {
        match self.step {
            Step::Prefill(tokens) => tokens,
            Step::Decode(_) => 1,
        }
    }

    fn attention_s(&self, kind: usize, samples: u64) -> [f64; 2] {
        let Some((card, _)) = self.cards.get(kind) else { return [0.0; 2] };
        let shared = card.experts.unwrap_or(ExpertCard {
            n_shared: 1,
            feed_forward: card.feed_forward,
            ..ExpertCard::default()
        });
        let none = ExpertCard { n_shared: 0, ..shared };
        let alone_s = self.dense_s(card, samples, none);
        let shared_s = match shared.n_shared {
            0 => 0.0,
            _ => (self.dense_s(card, samples, shared) - alone_s).max(0.0),
        };
        [alone_s + self.cached_s(card, samples), shared_s]
    }

    fn experts(&self, kind: usize, groups: Groups) -> Option<[Line; 2]> {
        let (card, loads) = self.cards.get(kind)?;
        let experts = card.experts?;
        let load = loads.get((groups[1] as usize).checked_sub(1)?)?;
        let bytes = precision::element(self.dtype) * card.hidden as f64 * experts.per_token as f64;
        let network = self.constants.get(Constant::Network);
        let [start_up_s, per_byte_s] = self.system.between_s(groups, *load, network);
        let exchange = Line { start_up_s, per_token_s: per_byte_s * bytes, least_s: 0.0 };
        let degrees = Parallelism { micro_batch: 1, expert: groups[1], ..Parallelism::default() };
        let of = |tokens: u64| {
            let card = TransformerCard { sequence: tokens, ..card.clone() };
            let around = (&self.system, &self.stack, &self.constants);
            self.of(&card, &degrees, |run| experts::recorded(run, around))
        };
        // Products and moves are a line.
        let [few, many] = [1, 1 + MANY].map(of);
        let per_token_s = load * (many[0] - few[0]) / MANY as f64;
        let experts = Line { start_up_s: 0.0, per_token_s, least_s: few[1] };
        Some([exchange, experts])
    }

    fn most_samples(&self, groups: Groups) -> u64 {
        let n_experts =
            self.cards.iter().filter_map(|(card, _)| card.experts).map(|experts| experts.n_experts);
        if n_experts.min().is_none_or(|n| u64::from(groups[1]) > n) {
            return 0;
        }
        let Some(limit) = self.limit else { return u64::MAX };
        match self.bytes(0, groups[1]) {
            [others, experts] if others > limit || experts > limit => 0,
            [others, _] => (limit - others) / self.cached.max(1),
        }
    }
}
