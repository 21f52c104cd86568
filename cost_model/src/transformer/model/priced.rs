//! A model under given degrees: one block of each kind, the ends, and what replicas exchange.

use std::sync::Arc;

use ir::card::{FeedForward, Head, SequenceParallel, ZeroStage};
use ir::plan::{Mesh, Parallelism};

use super::kind::Kind;
use super::{Offload, Pricing};
use crate::collective::Link;
use crate::training_memory::activations::tokens;
use crate::training_memory::states::state_bytes;
use crate::transformer::constants::Constant;
use crate::transformer::ends;
use crate::transformer::rates::Rates;
use crate::transformer::run::Run;
use crate::transformer::step::beside;
use crate::transformer_counts::position_parameters;

/// Bytes of an element of an activation or of a gathered parameter.
const ELEMENT: f64 = 2.0;
/// Bytes per logit at the peak; see [`crate::training_memory`].
const LOGIT: f64 = 6.0;
/// Bytes per parameter that the optimizer reads and writes; see [`crate::transformer::step`].
const OPTIMIZER_BYTES: f64 = 36.0;
/// Bytes per second between a device and its host: PCIe 4 x16 as achieved (`links.csv`, pcie4_x16);
/// *nominal*, the cluster's model does not hold host links.
pub(crate) const HOST_LINK: f64 = 25e9;
/// Bytes per second of a host's memory, which its devices share; *nominal*: eight channels of DDR4.
pub(crate) const HOST_MEMORY: f64 = 200e9;
/// Bytes per parameter that the optimizer reads and writes in host memory: gradient read, master
/// weight and two moments read and written, weight written.
pub(crate) const HOST_OPTIMIZER_BYTES: f64 = 4.0 + 24.0 + 2.0;
/// Blocks whose gathered parameters are there at once.
const GATHERED_BLOCKS: f64 = 2.0;

/// What does not depend on pipeline, replicas or ZeRO: blocks and head for tensor, context and
/// expert degrees and a micro-batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Passes {
    /// By group of the model card.
    pub kinds: Vec<Kind>,
    /// Head, loss and their backward pass in seconds, a third of it forward.
    pub head_s: f64,
    /// Parameters of the embedding, or of the head, on one device.
    pub end_parameters: f64,
}

impl Passes {
    /// Prices blocks and head.
    #[must_use]
    pub fn of(pricing: &Pricing<'_>, degrees: &Parallelism) -> Self {
        let kinds =
            pricing.model.groups.iter().map(|group| Kind::of(pricing, group, degrees)).collect();
        let run = pricing.model.groups.first().map(|group| Run {
            card: group.card.clone(),
            parallelism: degrees.clone(),
            recompute: ir::card::Recompute::None,
            gradients: pricing.gradients,
            blocks: Vec::new(),
        });
        let head = |run: &Run| ends::head(run, pricing.system, pricing.stack, pricing.constants);
        // Parts hold the ends themselves.
        let run = run.filter(|_| !pricing.model.is_of_parts());
        Self {
            kinds,
            head_s: run.as_ref().map_or(0.0, head) * f64::from(pricing.model.n_predictions),
            end_parameters: run.as_ref().map_or(0.0, ends::parameters),
        }
    }
}

/// Which end of the model a stage holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The embedding.
    pub first: bool,
    /// Head and loss.
    pub last: bool,
}

/// A model under given degrees.
#[derive(Clone, Debug)]
pub struct Priced<'a> {
    /// What prices it.
    pub pricing: Pricing<'a>,
    /// Degrees and batch sizes.
    pub degrees: Parallelism,
    /// Blocks and head.
    pub passes: Arc<Passes>,
    /// Bytes of states per parameter that all replicas hold alike, and per parameter of an expert.
    pub state_bytes: [f64; 2],
    /// Bytes of the embedding's states, and of the head's, on one device.
    pub end_bytes: [f64; 2],
    /// Bytes that each micro-batch in flight keeps of the embedding: masks of its dropout.
    pub mask_bytes: f64,
    /// Bytes of logits, loss and their inputs.
    pub logit_bytes: f64,
    /// Bytes of states of what no closed form counts; with the last stage.
    pub other_bytes: f64,
    /// By boundary behind a block, bytes of the message that crosses it for one micro-batch; of
    /// length one where all are alike.
    pub messages: Vec<f64>,
    /// Bytes of each device beside its stages: messages, gathered parameters, allocator.
    pub rank_bytes: f64,
}

impl<'a> Priced<'a> {
    /// Prices a model; `passes` must be those of the same degrees.
    #[must_use]
    pub fn new(pricing: Pricing<'a>, degrees: Parallelism, passes: Arc<Passes>) -> Self {
        let count = |degree: u32| f64::from(degree.max(1));
        let replicas = count(degrees.data) * count(degrees.context);
        let of_experts = (replicas / count(degrees.expert)).max(1.0);
        let bytes = |replicas| {
            let own = state_bytes(pricing.format, degrees.zero, replicas);
            match pricing.offload {
                Offload::Nothing => own.total(),
                Offload::Optimizer => own.parameters + own.gradients,
            }
        };
        let state_bytes = [bytes(replicas), bytes(of_experts)];
        let tensor = count(degrees.tensor);
        let outer = match degrees.sequence {
            SequenceParallel::Off => 1.0,
            SequenceParallel::On | SequenceParallel::Ulysses => tensor,
        };
        let mut priced = Self {
            pricing,
            degrees,
            passes,
            state_bytes,
            end_bytes: [0.0; 2],
            mask_bytes: 0.0,
            logit_bytes: 0.0,
            other_bytes: pricing.model.other_parameters.max(0) as f64 * state_bytes[0],
            messages: Vec::new(),
            rank_bytes: pricing.resident,
        };
        if pricing.model.is_of_parts() {
            return priced.with_parts();
        }
        let Some(group) = pricing.model.groups.first() else { return priced };
        let card = &group.card;
        let words = card.vocabulary as f64 * card.hidden as f64 / tensor;
        // Each tensor rank has all positions.
        let positions = position_parameters(card) as f64;
        priced.end_bytes = [(words + positions) * state_bytes[0], words * state_bytes[0]];
        let tokens = tokens(card, &priced.degrees);
        let width = card.hidden as f64 / outer;
        if card.form == FeedForward::Plain {
            priced.mask_bytes = tokens * width;
        }
        let predictions = f64::from(pricing.model.n_predictions);
        let logits = LOGIT * tokens * card.vocabulary as f64 / tensor;
        priced.logit_bytes = predictions * (logits + 2.0 * ELEMENT * tokens * width);
        let tokens_sent = priced.degrees.micro_batch as f64
            * card.sequence.div_ceil(u64::from(priced.degrees.context.max(1))) as f64;
        priced.messages = vec![ELEMENT * tokens_sent * card.hidden as f64];
        priced.rank_bytes += priced.buffers(tokens * width);
        priced
    }

    /// Parts send what crosses each boundary, whoever reads it in the end.
    fn with_parts(mut self) -> Self {
        let samples = self.degrees.micro_batch as f64;
        let behind = |group: &ir::card::BlockGroup| {
            let bytes = group.part.as_ref().map_or(0.0, |part| part.behind as f64);
            std::iter::repeat_n(bytes * samples, group.n_blocks as usize)
        };
        self.messages = self.pricing.model.groups.iter().flat_map(behind).collect();
        let largest = self.messages.iter().copied().fold(0.0, f64::max);
        self.rank_bytes += self.buffers(largest / ELEMENT);
        self
    }

    /// Bytes that cross the boundary before a block, for one micro-batch.
    #[must_use]
    pub fn message(&self, block: u32) -> f64 {
        let at = (block as usize).saturating_sub(1).min(self.messages.len().saturating_sub(1));
        self.messages.get(at).copied().unwrap_or(0.0)
    }

    /// Gathered parameters where they are shared out, and one message each way between stages.
    fn buffers(&self, message: f64) -> f64 {
        let mut bytes = 0.0;
        if self.degrees.zero == ZeroStage::Parameters {
            let block = self.passes.kinds.iter().map(|kind| kind.held_dense + kind.held_experts);
            bytes += GATHERED_BLOCKS * ELEMENT * block.fold(0.0, f64::max);
        }
        if self.degrees.pipeline > 1 {
            bytes += 2.0 * ELEMENT * message;
        }
        bytes
    }

    /// Whether the head has states of its own on its stage.
    #[must_use]
    pub fn has_own_head(&self) -> bool {
        if self.pricing.model.is_of_parts() {
            return false;
        }
        let separate = |card: &ir::card::TransformerCard| card.head == Head::Separate;
        self.degrees.pipeline > 1
            || self.pricing.model.groups.first().is_some_and(|group| separate(&group.card))
    }

    /// Whether embedding and head are one tensor on two ranks.
    #[must_use]
    pub fn is_tied_across(&self) -> bool {
        if self.pricing.model.is_of_parts() {
            return false;
        }
        let tied = |card: &ir::card::TransformerCard| card.head == Head::Tied;
        self.degrees.pipeline > 1
            && self.pricing.model.groups.first().is_some_and(|group| tied(&group.card))
    }

    /// Parameters of the ends on a stage.
    #[must_use]
    pub fn end_parameters(&self, place: Place) -> f64 {
        let head = place.last && (self.has_own_head() || !place.first);
        self.passes.end_parameters * (f64::from(u8::from(place.first)) + f64::from(u8::from(head)))
    }

    /// Seconds of an all-reduce over replicas of so many bytes per parameter.
    #[must_use]
    pub fn exchange_s(&self, dense: f64, experts: f64, bytes: f64) -> f64 {
        let of = |degree: u32| u64::from(degree.max(1));
        let degrees = &self.degrees;
        let replicas = of(degrees.data) * of(degrees.context);
        let stride = match degrees.mesh {
            Mesh::DataInside => of(degrees.tensor),
            Mesh::PipelineInside => of(degrees.tensor) * of(degrees.pipeline),
        };
        let network = self.pricing.constants.get(Constant::Network);
        let all = |ranks, stride, parameters: f64| {
            if parameters > 0.0 {
                self.pricing.system.exchange_s(ranks, stride, bytes * parameters, network)
            } else {
                0.0
            }
        };
        let expert = of(degrees.expert);
        all(replicas, stride, dense)
            + all((replicas / expert).max(1), stride.saturating_mul(expert), experts)
    }

    /// Seconds in which fully sharded parameters are gathered before a pass.
    #[must_use]
    pub fn gather_s(&self, dense: f64, experts: f64) -> f64 {
        match self.degrees.zero {
            ZeroStage::Parameters => self.exchange_s(dense, experts, ELEMENT) / 2.0,
            _ => 0.0,
        }
    }

    /// Seconds in which the gradients of one micro-batch are scattered, where no device keeps all
    /// of them.
    #[must_use]
    pub fn scatter_s(&self, dense: f64, experts: f64) -> f64 {
        if self.degrees.zero < ZeroStage::Gradients {
            return 0.0;
        }
        self.exchange_s(dense, experts, self.pricing.gradients.exchanged()) / 2.0
    }

    /// Seconds of the exchange at the end of the step: an all-reduce of the gradients, or what is
    /// left of it where they were scattered before.
    #[must_use]
    pub fn last_exchange_s(&self, dense: f64, experts: f64) -> f64 {
        match self.degrees.zero {
            ZeroStage::None | ZeroStage::Optimizer => {
                self.exchange_s(dense, experts, self.pricing.gradients.exchanged())
            }
            ZeroStage::Gradients => self.exchange_s(dense, experts, ELEMENT) / 2.0,
            ZeroStage::Parameters => 0.0,
        }
    }

    /// Seconds of the optimizer.
    #[must_use]
    pub fn optimizer_s(&self, dense: f64, experts: f64) -> f64 {
        let count = |degree: u32| f64::from(degree.max(1));
        let degrees = &self.degrees;
        let (of_dense, of_experts) = match degrees.zero {
            ZeroStage::None => (1.0, 1.0),
            _ => (
                count(degrees.data),
                (count(degrees.data) * count(degrees.context) / count(degrees.expert)).max(1.0),
            ),
        };
        let own = dense / of_dense + experts / of_experts;
        if self.pricing.offload == Offload::Optimizer {
            let hosts = self.pricing.system.per_host.max(1) as f64;
            let sent = self.pricing.gradients.exchanged() + ELEMENT;
            return own * (sent / HOST_LINK + HOST_OPTIMIZER_BYTES * hosts / HOST_MEMORY);
        }
        let rates = Rates::new(self.pricing.system, self.pricing.constants);
        rates.pointwise(OPTIMIZER_BYTES * own)
    }

    /// A pass with a collective beside it as far as the stack overlaps.
    #[must_use]
    pub fn beside(&self, pass_s: f64, collective_s: f64) -> f64 {
        beside(pass_s, collective_s, self.pricing.stack.overlap_data)
    }

    /// Bytes of a message on one device and its way from a rank to another one.
    #[must_use]
    pub fn boundary(&self, from: u32, to: u32, bytes: f64) -> (f64, Link) {
        let of = |degree: u32| u64::from(degree.max(1));
        let degrees = &self.degrees;
        let system = self.pricing.system;
        let constants = self.pricing.constants;
        let tensor = of(degrees.tensor);
        let inner = tensor * of(degrees.context);
        let width = match degrees.mesh {
            Mesh::DataInside => inner * of(degrees.data),
            Mesh::PipelineInside => inner,
        };
        let host = |rank: u32| u64::from(rank) * width / system.per_host.max(1);
        let n_devices = inner * of(degrees.data) * of(degrees.pipeline);
        let crosses = width >= system.per_host || host(from) != host(to);
        if crosses && n_devices > system.per_host {
            let network = system.network_of(1, constants.get(Constant::Network));
            (bytes / tensor as f64, network)
        } else {
            let inside = system.inside_of(constants.get(Constant::Neighbour));
            match degrees.sequence {
                SequenceParallel::On | SequenceParallel::Ulysses => (bytes / tensor as f64, inside),
                SequenceParallel::Off => (bytes, inside),
            }
        }
    }
}
