//! Seconds of an iteration of continuous batching on a worker, at the prices of blocks
//! ([`crate::runs::forms::block::served`]).
//!
//! ```text
//! stage      its layers, the embedding on the first, the head of sampled tokens on the last
//! layer      what depends on all tokens of the iteration together, once; attention of each chunk of a
//!            prompt; attention of decoding requests to all of their cached tokens
//! exchange   an all-reduce of tensor ranks behind attention and behind the feed-forward part; with
//!            attention data parallelism dispatch and combine of the tokens of all ranks in place of the
//!            second one of layers with experts, alone or beside the work of the other half of the batch
//! iteration  stages and hops one after the other, each stage at least as long as its host takes to launch
//!            it, where that is not recorded; scheduler and sampling
//! ```
//!
//! An [`Iteration`] is what one attention data-parallel rank computes; experts see the tokens of all ranks,
//! which are taken to have as many each. A period is the time between the ends of two iterations where as
//! many are under way as the worker has stages.

use ir::card::stored::Held;
use ir::card::{Attention, Head, ModelCard, TransformerCard};
use ir::chip::{Architecture, Chip};
use ir::measured::CollectiveOperation;
use ir::plan::Parallelism;
use ir::stack::{Dispatcher, Launch, Stack};

use super::engine::{HopperDecode, Overhead, SmallReduce};
use super::kept::Kept;
use super::worker::{Invalid, Shape};
use super::{Iteration, IterationTime};
use crate::kernels::rates::Rates;
use crate::links::collective::ring;
use crate::runs::forms::block::served::{Attending, ExpertLine, LayerPrices, beside};
use crate::runs::forms::constants::Constant;
use crate::runs::forms::ends;
use crate::runs::forms::exchange::Tokens;
use crate::runs::forms::model::Pricing;
use crate::runs::forms::precision::element;
use crate::runs::forms::rank_groups::{Group, Spread};
use crate::runs::forms::run::{Gradients, Sharded};

/// Tokens of an iteration, and sampled ones, up to which prices are kept.
const KEPT_TOKENS: usize = 1 << 14;
const KEPT_SAMPLED: usize = 1 << 11;

/// Bytes of a logit that a sampler makes wide and reads (vLLM `v1/sample/sampler`: logits in 32 bits).
const WIDE_LOGIT: f64 = 8.0;

/// Most GPUs and most bytes of all-reduces by kernels of engines, and bytes up to which four GPUs read all of
/// each other (vLLM, `custom_all_reduce`).
const MOST_SMALL: u64 = 8;
const SMALL: f64 = (8_u64 << 20) as f64;
const AT_ONCE: f64 = (512_u64 << 10) as f64;

/// What iterations take on a worker.
#[derive(Debug)]
pub struct WorkerPrices {
    shared: Shared,
    stages: Vec<Stage>,
    attention: Vec<Attending>,
    head: Kept,
}

/// What prices tokens of an iteration.
#[derive(Debug)]
struct Shared {
    prices: LayerPrices,
    shape: Shape,
    overhead: Overhead,
    /// Rows that a decoding request takes for each query head beside prompts.
    mixed_rows: f64,
    kinds: Vec<Kind>,
    /// The card of the ends, and what its head is held in.
    ends: (TransformerCard, Held),
    /// Tensor ranks, and all devices of a stage.
    groups: [Spread; 2],
    /// By stage but the last: whether the way to the next one leaves hosts.
    hops: Vec<bool>,
}

/// Layers that are alike.
#[derive(Debug)]
struct Kind {
    card: TransformerCard,
    held: Held,
    experts: Option<ExpertLine>,
}

/// A pipeline stage.
#[derive(Debug)]
struct Stage {
    /// Layers.
    n_layers: u32,
    /// Layers by kind of layer, and by kind of attention.
    kinds: Vec<(usize, f64)>,
    attention: Vec<(usize, f64)>,
    /// Whether it is the first one.
    is_first: bool,
    tokens: Kept,
    exchanges: Kept,
}

impl WorkerPrices {
    /// Of a model in a shape on the system of `base`, whose launches are those of `overhead`. The price of
    /// kernels is that of `base` ([`super::engine::stack`] is that of engines); its formats of training are
    /// not looked at.
    ///
    /// # Errors
    /// Why the shape is invalid; [`Invalid::NoRate`] where the device states no rate.
    pub fn new(base: &Pricing<'_>, shape: &Shape, overhead: Overhead) -> Result<Self, Invalid> {
        shape.check(base.model)?;
        let mut stack = Stack { launch: Launch::CudaGraphs, ..base.stack.clone() };
        stack.experts.dispatcher = overhead.dispatcher;
        let prices = LayerPrices {
            system: base.system.clone(),
            stack,
            constants: base.constants.clone(),
            dtype: base.dtype,
        };
        if !has_rates(&prices) {
            return Err(Invalid::NoRate);
        }
        let (kinds, attention, of_blocks) =
            kinds(base.model, shape, (&prices, overhead.hopper_decode));
        let (mut blocks, model) = (of_blocks.into_iter(), base.model);
        let stages = shape.stages.iter().enumerate().map(|(at, n_layers)| {
            let mut stage = Stage {
                n_layers: *n_layers,
                kinds: Vec::new(),
                attention: Vec::new(),
                is_first: at == 0,
                tokens: Kept::new(KEPT_TOKENS),
                exchanges: Kept::new(if model.has_experts() { KEPT_TOKENS } else { 0 }),
            };
            for (kind, attention) in blocks.by_ref().take(*n_layers as usize) {
                count(&mut stage.kinds, kind);
                count(&mut stage.attention, attention);
            }
            stage
        });
        let stages = stages.collect();
        let shared = Shared {
            ends: head(base.model).ok_or(Invalid::Parts)?,
            groups: [u64::from(shape.tensor), shape.stage_devices()]
                .map(|ranks| neighbours(ranks, prices.system.per_host)),
            hops: hops(shape, prices.system.per_host),
            shape: shape.clone(),
            mixed_rows: match has_flash_attention_2(prices.system.device.chip) {
                true => f64::from(overhead.mixed_rows),
                false => 1.0,
            },
            prices,
            overhead,
            kinds,
        };
        Ok(Self { shared, stages, attention, head: Kept::new(KEPT_SAMPLED) })
    }

    /// Seconds of each stage and of the hop behind it.
    fn stages_s<'a>(&'a self, iteration: &'a Iteration) -> impl Iterator<Item = f64> + 'a {
        let tokens = iteration.n_tokens();
        let is_recorded = iteration.prompts.is_empty()
            && iteration.n_decoding <= self.shared.overhead.graph_requests;
        let rows = if iteration.prompts.is_empty() { 1.0 } else { self.shared.mixed_rows };
        let layer_s = if is_recorded { 0.0 } else { self.shared.overhead.layer_s };
        let last = self.stages.len().saturating_sub(1);
        // Halves whose exchanges run beside the work of the other one have all weights each.
        let is_halved = self.shared.overlaps() && tokens > 1;
        let n_parts = if is_halved { 2 } else { 1 };
        let part = tokens.div_ceil(n_parts);
        let n_parts = n_parts as f64;
        self.stages.iter().enumerate().map(move |(at, stage)| {
            let part_s = stage.tokens.get(part, || self.shared.stage_s(stage, part));
            let mut device_s = n_parts * part_s;
            for (kind, n) in &stage.attention {
                device_s +=
                    n * self.attention.get(*kind).map_or(0.0, |of| attend(of, iteration, rows));
            }
            if at == last {
                let sampled = iteration.n_requests();
                device_s += self.head.get(sampled, || self.shared.head_s(sampled));
            }
            let exchange_s = || self.shared.exchanges_s(stage, part);
            let exchange_s = n_parts * stage.exchanges.get(part, exchange_s);
            device_s += if is_halved { beside(device_s, exchange_s) } else { exchange_s };
            device_s.max(layer_s * f64::from(stage.n_layers)) + self.shared.hop_s(at, tokens)
        })
    }

    /// Seconds between the ends of two iterations like this one, where one is under way for each stage: of
    /// the slowest stage with the hop behind it. 0 for an empty one.
    #[must_use]
    pub fn period_s(&self, iteration: &Iteration) -> f64 {
        if iteration.n_tokens() == 0 {
            return 0.0;
        }
        self.stages_s(iteration).fold(0.0, f64::max) + self.shared.overhead.iteration_s
    }

    /// Floating-point operations of attention of an iteration, on one device of each stage together.
    #[must_use]
    pub fn attention_flops(&self, iteration: &Iteration) -> f64 {
        let of = |attending: &Attending| {
            let prompts = iteration.prompts.iter();
            prompts.map(|chunk| attending.flops(chunk.new, chunk.cached)).sum::<f64>()
        };
        let layers = self.stages.iter().flat_map(|stage| &stage.attention);
        layers.map(|(kind, n)| n * self.attention.get(*kind).map_or(0.0, of)).sum()
    }

    /// Devices of the worker.
    #[must_use]
    pub fn devices(&self) -> u64 {
        self.shared.shape.devices()
    }
}

impl IterationTime for WorkerPrices {
    fn seconds(&self, iteration: &Iteration) -> f64 {
        if iteration.n_tokens() == 0 {
            return 0.0;
        }
        self.stages_s(iteration).sum::<f64>() + self.shared.overhead.iteration_s
    }
}

impl Shared {
    /// Seconds of all of a stage that depends on the number of tokens alone, exchanges of experts apart.
    fn stage_s(&self, stage: &Stage, tokens: u64) -> f64 {
        let layers_s: f64 = self.kinds(stage).map(|(kind, n)| n * self.layer_s(kind, tokens)).sum();
        layers_s + if stage.is_first { self.embedding_s(tokens) } else { 0.0 }
    }

    fn kinds<'a>(&'a self, stage: &'a Stage) -> impl Iterator<Item = (&'a Kind, f64)> {
        stage.kinds.iter().filter_map(|(kind, n)| Some((self.kinds.get(*kind)?, *n)))
    }

    fn layer_s(&self, kind: &Kind, tokens: u64) -> f64 {
        let [tensor, all] = self.groups;
        let own_s = self.prices.tokens_s(&kind.card, kind.held, tokens, self.shape.tensor);
        let reduce_s = |group| self.reduce_s(group, self.bytes(tokens));
        let Some(experts) = kind.experts else { return own_s + 2.0 * reduce_s(tensor) };
        let everyone = tokens.saturating_mul(u64::from(self.shape.data));
        let second_s = if self.shape.data == 1 { reduce_s(all) } else { 0.0 };
        own_s + reduce_s(tensor) + second_s + experts.seconds(everyone)
    }

    /// Seconds of all exchanges of experts of a stage.
    fn exchanges_s(&self, stage: &Stage, tokens: u64) -> f64 {
        if self.shape.data == 1 {
            return 0.0;
        }
        let of =
            |(kind, n): (&Kind, f64)| Some(n * self.exchange_s(kind.experts?, &kind.card, tokens));
        self.kinds(stage).filter_map(of).sum()
    }

    /// Whether exchanges of experts run beside work.
    fn overlaps(&self) -> bool {
        let has_experts = self.kinds.iter().any(|kind| kind.experts.is_some());
        self.overhead.overlaps && self.shape.data > 1 && has_experts
    }

    /// Seconds of tokens on their way to experts and back.
    fn exchange_s(&self, experts: ExpertLine, card: &TransformerCard, tokens: u64) -> f64 {
        let all = self.groups[1];
        let each = tokens as f64 / f64::from(self.shape.tensor);
        let dispatcher = self.overhead.dispatcher;
        let (heaviest, visits) = match dispatcher {
            Dispatcher::AllGather => (1.0, experts.visits()),
            // Every part of an expert gets its tokens.
            _ => (
                experts.heaviest(self.shape.expert),
                experts.visits() * f64::from(self.shape.expert_tensor),
            ),
        };
        let bytes = element(self.prices.dtype) * card.hidden as f64;
        let sent = Tokens { count: heaviest * each, bytes, visits };
        self.prices.system.visits_s(all, sent, dispatcher, self.factor(Constant::Network))
    }

    /// A row is read and written for each token; ranks that share out the vocabulary add up what they have.
    fn embedding_s(&self, tokens: u64) -> f64 {
        let bytes = self.bytes(tokens);
        self.prices.beside().pointwise(2.0 * bytes) + self.reduce_s(self.groups[0], bytes)
    }

    /// Seconds of the head of so many tokens, whose logits are gathered by one rank, which samples.
    fn head_s(&self, sampled: u64) -> f64 {
        let (card, held) = &self.ends;
        let parallelism = Parallelism { tensor: self.shape.tensor, ..Parallelism::default() };
        let LayerPrices { system, stack, constants, dtype } = &self.prices;
        let run = Sharded {
            card,
            parallelism: &parallelism,
            gradients: Gradients::default(),
            dtype: *dtype,
            held: *held,
        };
        let group = self.groups[0];
        let n_logits = sampled as f64 * card.vocabulary as f64;
        let logits = element(*dtype) * n_logits;
        let sampled_s = self.prices.beside().pointwise(WIDE_LOGIT * n_logits);
        let gathered_s = match group.ranks {
            0 | 1 => 0.0,
            _ => {
                let network = self.factor(Constant::Network);
                system.half_s(CollectiveOperation::AllGather, group, logits, network)
            }
        };
        ends::sampled(run, sampled, system, (stack, constants)) + gathered_s + sampled_s
    }

    /// Seconds of an all-reduce; of few bytes inside a scale-up domain by the engine's own kernel.
    fn reduce_s(&self, group: Spread, bytes: f64) -> f64 {
        if group.ranks <= 1 {
            return 0.0;
        }
        let system = &self.prices.system;
        let part = match group.ranks < system.per_host {
            true => self.factor(Constant::PartCollectives),
            false => 1.0,
        };
        let operation = CollectiveOperation::AllReduce;
        let network = self.factor(Constant::Network);
        let is_measured = system.measured_s(operation, group, bytes, network).is_some();
        let is_near = system.scale_up[0] && !group.leaves_host() && group.ranks <= MOST_SMALL;
        let seconds = match self.overhead.small_reduce {
            Some(of) if is_near && !is_measured && bytes <= SMALL => {
                small_reduce_s(of, group.ranks, bytes, system.inside_of(1.0).rate.get())
            }
            _ => system.all_reduce_s(group, bytes, network),
        };
        self.factor(Constant::TensorCollectives) * part * seconds
    }

    /// Seconds from a stage to the next one: each rank sends its share of the activations, which tensor
    /// ranks gather; 0 behind the last stage.
    fn hop_s(&self, stage: usize, tokens: u64) -> f64 {
        let Some(leaves_host) = self.hops.get(stage).copied() else { return 0.0 };
        let system = &self.prices.system;
        let network = self.factor(Constant::Network);
        let link = match leaves_host {
            true => system.network_of(1, network),
            false => system.inside_of(self.factor(Constant::Neighbour)),
        };
        let (bytes, group) = (self.bytes(tokens), self.groups[0]);
        let each = ir::units::Bytes((bytes / group.ranks.max(1) as f64) as u64);
        let gathered_s = match group.ranks {
            0 | 1 => 0.0,
            _ => system.half_s(CollectiveOperation::AllGather, group, bytes, network),
        };
        ring(CollectiveOperation::PointToPoint, 2, each, link) + gathered_s
    }

    /// Bytes of the activations of so many tokens.
    fn bytes(&self, tokens: u64) -> f64 {
        element(self.prices.dtype) * tokens as f64 * self.ends.0.hidden as f64
    }

    fn factor(&self, constant: Constant) -> f64 {
        self.prices.constants.get(constant)
    }
}

/// Seconds of an all-reduce by an engine's own kernel: two GPUs at any size, four and eight of few bytes
/// read all of each other; else each adds up its part, which all read (vLLM, `custom_all_reduce.cuh`).
fn small_reduce_s(of: SmallReduce, ranks: u64, bytes: f64, rate: f64) -> f64 {
    let others = (ranks - 1) as f64;
    let at_once = match ranks {
        0..=2 => f64::INFINITY,
        3..=4 => AT_ONCE,
        _ => AT_ONCE / 2.0,
    };
    let once_s = of.start_s[0] + others * bytes / (of.share[0] * rate);
    let twice_s = of.start_s[1] + 2.0 * others / ranks as f64 * bytes / (of.share[1] * rate);
    match bytes < at_once {
        _ if !of.is_by_size => once_s.min(twice_s),
        true => once_s,
        false => twice_s,
    }
}

/// Whether vLLM's attention on a chip is FlashAttention 2: that of 3 is for Hopper alone, and data-centre
/// Blackwell has others (vLLM, `get_flash_attn_version`).
fn has_flash_attention_2(chip: Chip) -> bool {
    match chip.architecture() {
        Architecture::Ampere | Architecture::Ada => true,
        Architecture::Blackwell => matches!(chip, Chip::Rtx50 | Chip::RtxPro6000),
        _ => false,
    }
}

/// Seconds of attention of an iteration in one layer, with so many rows for each head that decodes.
fn attend(attending: &Attending, iteration: &Iteration, rows: f64) -> f64 {
    let prompts = iteration.prompts.iter();
    let prompts_s: f64 = prompts.map(|chunk| attending.prompt_s(chunk.new, chunk.cached)).sum();
    prompts_s + attending.decode_s(iteration.n_decoding, iteration.decoding_cached, rows)
}

/// Attention of a layer on one of so many ranks, by kernels of an engine.
fn attending(
    prices: &LayerPrices,
    (card, held): (&TransformerCard, Held),
    (tensor, decode): (u32, Option<HopperDecode>),
) -> Attending {
    let attending = Attending::of(prices, card, held, tensor);
    let is_hopper = prices.system.device.chip.architecture() == Architecture::Hopper;
    // Latent keys have kernels of their own.
    let is_plain = !matches!(card.attention, Attention::Latent { .. });
    match decode.filter(|_| is_hopper && is_plain) {
        Some(of) => attending.with_decode(of.start_s, of.narrow_per_s),
        None => attending,
    }
}

/// Kinds of layers, kinds of attention, and by block of the model which it has.
fn kinds(
    model: &ModelCard,
    shape: &Shape,
    (prices, decode): (&LayerPrices, Option<HopperDecode>),
) -> (Vec<Kind>, Vec<Attending>, Vec<(usize, usize)>) {
    let (mut kinds, mut attention) = (Vec::<Kind>::new(), Vec::new());
    let mut attends: Vec<TransformerCard> = Vec::new();
    let mut blocks = Vec::with_capacity(model.n_blocks() as usize);
    let degrees = [shape.expert_tensor, shape.expert];
    for group in &model.groups {
        let card = TransformerCard { name: String::new(), n_layers: 0, ..group.card.clone() };
        let card = shape.with_copies(&card);
        // What it keeps is the same in all blocks of a server.
        let alike = TransformerCard { experts: None, feed_forward: 0, ..card.clone() };
        let attends_as = attends.iter().position(|other| *other == alike).unwrap_or_else(|| {
            let held = model.held(blocks.len());
            attention.push(attending(prices, (&card, held), (shape.tensor, decode)));
            attends.push(alike);
            attends.len() - 1
        });
        for _ in 0..group.n_blocks {
            let held = model.held(blocks.len());
            let is_like = |kind: &Kind| kind.held == held && kind.card == card;
            let kind = kinds.iter().position(is_like).unwrap_or_else(|| {
                let experts = prices.experts(&card, held, degrees);
                kinds.push(Kind { card: card.clone(), held, experts });
                kinds.len() - 1
            });
            blocks.push((kind, attends_as));
        }
    }
    (kinds, attention, blocks)
}

/// Whether a device states what kernels are priced by.
fn has_rates(prices: &LayerPrices) -> bool {
    let own = prices.system.rates(&prices.stack, &prices.constants, prices.dtype);
    let one = |rates: &Rates| [rates.pointwise(1.0), rates.share_of_peak(1.0, 1.0)];
    [own, prices.beside()].iter().flat_map(one).all(f64::is_finite)
}

/// One more layer of a kind.
fn count(counts: &mut Vec<(usize, f64)>, kind: usize) {
    match counts.iter_mut().find(|entry| entry.0 == kind) {
        Some(entry) => entry.1 += 1.0,
        None => counts.push((kind, 1.0)),
    }
}

/// The card of the ends of a model, and what the weights of its head are held in; a head that is the
/// embedding is in the type of the run.
fn head(model: &ModelCard) -> Option<(TransformerCard, Held)> {
    let card = model.groups.first()?.card.clone();
    let stored = model.weights().filter(|_| card.head == Head::Separate);
    let weight = stored.and_then(|stored| stored.ends[1].each());
    Some((card, Held { weight, ..Held::default() }))
}

/// How so many neighbours lie on hosts.
fn neighbours(ranks: u64, per_host: u64) -> Spread {
    let tensor = u32::try_from(ranks).unwrap_or(u32::MAX);
    Group::tensor(&Parallelism { tensor, ..Parallelism::default() }).spread(per_host)
}

/// By stage but the last, whether devices of it and of the next one are in different hosts.
fn hops(shape: &Shape, per_host: u64) -> Vec<bool> {
    let (each, per_host) = (shape.stage_devices(), per_host.max(1));
    let last = (shape.stages.len() as u64).saturating_sub(1);
    let host = |device: u64| device / per_host;
    (0..last)
        .map(|stage| {
            let first = stage.saturating_mul(each);
            let end = first.saturating_add(each.saturating_mul(2)).saturating_sub(1);
            host(first) != host(end)
        })
        .collect()
}

#[cfg(test)]
mod tests;
