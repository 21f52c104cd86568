//! A model under given degrees: one block of each kind, the ends, and what replicas exchange.

use std::sync::Arc;

use ir::card::stored::Held;
use ir::card::{
    MemoryFeature, ModelCard, SequenceParallel, StateFormat, TransformerCard, ZeroStage,
};
use ir::measured::CollectiveOperation;
use ir::plan::Parallelism;
use ir::tuning::Module;

use super::figures::Sums;
use super::kind::Kind;
pub use super::states::HeldBytes;
pub(super) use super::states::ends_trained;
use super::states::{Ends, held};
use super::tuned::largest_widened;
use super::{Offload, Pricing};
use crate::kernels::generation::generation;
use crate::kernels::rates::WIDE_LOGIT;
use crate::links::collective::Link;
use crate::runs::counts::position_parameters;
use crate::runs::forms::constants::Constant;
use crate::runs::forms::ends;
use crate::runs::forms::precision::{copies, element, host_optimizer_bytes, optimizer_bytes};
use crate::runs::forms::rank_groups::{self, Cards, Group, Spread};
use crate::runs::forms::run::Sharded;
use crate::runs::memory::activations::tokens;
use crate::runs::memory::reserve::beside_experts;
use crate::runs::oracle::StageFigures;

/// Bytes per logit that a fused loss adds: two single-precision copies (found on the allocator peaks
/// of Megatron-LM d98e8a64, 4 where the function is compiled).
const FUSED_LOSS: f64 = 8.0;
/// Bytes per logit of a log-softmax that is kept and of its gradient, both in single precision, and
/// of the 16-bit gradient of the logits (`torch.nn.functional.cross_entropy` saves the first and
/// returns the second).
const SEPARATE_LOSS: f64 = 10.0;
/// Bytes per logit more where tensor ranks share out such a loss: one more single-precision copy and
/// a 16-bit one (found on torchtitan's runs of Llama 3.1 70B on 256 GPUs).
const PARALLEL_LOSS: f64 = 6.0;
/// Bytes per logit that a deferred embedding gradient keeps (found on the same peaks, 4 to 5).
const DEFERRED_GRADIENT: f64 = 4.5;
/// Bytes per second between a device and its host: PCIe 4 x16 as achieved (`links.csv`, pcie4_x16);
/// *nominal*, the cluster's model does not hold host links.
pub(super) const HOST_LINK: f64 = 25e9;
/// Bytes per second of a host's memory, which its devices share; *nominal*: eight channels of DDR4.
const HOST_MEMORY: f64 = 200e9;
/// Seconds in which a host updates so many parameters for each of its devices, of which so many bytes
/// each go over the link to the host and back, and so many through its memory.
pub(crate) fn host_update_s(n_parameters: f64, (sent, moved): (f64, f64), per_host: u64) -> f64 {
    n_parameters * (sent / HOST_LINK + moved * per_host.max(1) as f64 / HOST_MEMORY)
}

/// Blocks whose gathered parameters are there at once.
const GATHERED_BLOCKS: f64 = 2.0;
/// Bytes per parameter of the embedding of a tensor rank that Megatron-FSDP holds beside its blocks: weight and
/// single-precision gradient, both twice (found on four allocator peaks of d98e8a64).
const GATHERED_EMBEDDING: f64 = 12.0;
/// Bytes per token and width of gradients that are in flight at the end of a backward pass of a block
/// with experts: two in single precision (found on the peaks of its mixtures of experts).
const IN_FLIGHT: f64 = 8.0;

/// What does not depend on pipeline, replicas or ZeRO: blocks and head for tensor, context and
/// expert degrees and a micro-batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Passes {
    /// By group of the model card.
    pub kinds: Vec<Kind>,
    /// Head, loss and their backward pass in seconds, a third of it forward.
    pub head_s: f64,
    /// Parameters of the embedding, or of the head, on one device, where either is trained.
    pub end_parameters: f64,
    /// The same where either is frozen.
    pub frozen_end: f64,
    /// Sums over blocks.
    pub(super) sums: Sums,
}

impl Passes {
    /// What tells the degrees apart that [`Self::of`] prices differently.
    #[must_use]
    pub fn key(degrees: &Parallelism, per_host: u64) -> [u64; 11] {
        let [a, b, c] = rank_groups::layout_of_blocks(degrees, per_host);
        let counts = [degrees.tensor, degrees.context, degrees.expert, degrees.sequence as u32];
        let [tensor, context, expert, sequence] = counts.map(u64::from);
        // What fills a pipeline is beside nothing.
        let filling = match degrees.expert_overlap {
            true => [u64::from(degrees.pipeline.max(1)), degrees.n_micro_batches],
            false => [0; 2],
        };
        let [pipeline, n_micro_batches] = filling;
        let micro_batch = degrees.micro_batch;
        let of_expert = u64::from(degrees.of_expert());
        let of_blocks = [tensor, context, expert, of_expert, sequence, micro_batch];
        let mut key = [0; 11];
        let rest = [a, b, c, pipeline, n_micro_batches];
        key.iter_mut().zip(of_blocks.into_iter().chain(rest)).for_each(|(to, from)| *to = from);
        key
    }

    /// Prices blocks and head.
    #[must_use]
    pub fn of(pricing: &Pricing<'_>, degrees: &Parallelism) -> Self {
        let kinds: Vec<Kind> = pricing
            .model
            .groups
            .iter()
            .scan(0_u32, |next, group| {
                let first = *next;
                *next = next.saturating_add(group.n_blocks);
                Some(Kind::of(pricing, group, degrees, first))
            })
            .collect();
        let first = pricing.model.groups.first().map(|group| Sharded {
            card: &group.card,
            parallelism: degrees,
            gradients: pricing.gradients,
            dtype: pricing.dtype,
            held: Held::default(),
        });
        // Parts hold the ends themselves.
        let ends = first.filter(|_| !pricing.model.is_of_parts());
        // Of the three products of a head, a frozen one has no gradient of its weight.
        let trained = ends_trained(pricing.model);
        let share = if trained[1] { 1.0 } else { 2.0 / 3.0 };
        let head = |run| share * ends::head(run, pricing.system, pricing.stack, pricing.constants);
        Self {
            sums: Sums::of(pricing.model, &kinds),
            kinds,
            head_s: ends.map_or(0.0, head) * f64::from(pricing.model.n_predictions),
            end_parameters: match trained {
                [false, false] => 0.0,
                _ => ends.map_or(0.0, ends::parameters),
            },
            frozen_end: match trained {
                [true, true] => 0.0,
                _ => ends.map_or(0.0, ends::parameters),
            },
        }
    }

    /// The same for a model of another depth.
    #[must_use]
    pub fn of_depth(&self, model: &ModelCard) -> Self {
        Self { sums: Sums::of(model, &self.kinds), kinds: self.kinds.clone(), ..*self }
    }
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
    /// Bytes of states on one device.
    pub on_device: HeldBytes,
    /// Bytes of states that one device leaves with its host.
    pub on_host: HeldBytes,
    /// Bytes that each micro-batch in flight keeps of the embedding: masks of its dropout.
    pub mask_bytes: f64,
    /// Bytes of logits, loss and their inputs.
    pub logit_bytes: f64,
    /// Of those, what the loss keeps for its backward pass: a probability for each logit, in single
    /// precision.
    pub kept_logits: f64,
    /// Bytes of the gradients in flight in a backward pass of a stage that has experts.
    pub in_flight: f64,
    /// By boundary behind a block, bytes of the message that crosses it for one micro-batch; of
    /// length one where all are alike.
    pub messages: Vec<f64>,
    /// Bytes of the gradients of logits and of the last norm, of one micro-batch.
    pub(super) end_gradients: f64,
    /// Bytes of each device beside its stages: messages, gathered parameters, allocator.
    pub rank_bytes: f64,
    /// Bytes of the placeholder of the head's gradient.
    pub head_placeholder: f64,
    /// Whether one rank holds both ends of the pipeline, as in schedules in the shape of a V.
    pub ends_meet: bool,
    /// How the ranks lie that hold the same weights, and those that hold the same experts.
    pub(super) replicas: [Spread; 2],
    /// See [`Self::slowed`].
    slowed: f64,
}

impl Pricing<'_> {
    /// Groups of replicas with a whole set of shards each.
    fn optimizer_instances(&self) -> f64 {
        let instances = self.features.iter().find_map(|feature| match feature {
            MemoryFeature::OptimizerInstances(n) => Some(f64::from(*n)),
            _ => None,
        });
        instances.unwrap_or(1.0).max(1.0)
    }

    /// Elements of the ends on one device of so many tensor ranks.
    fn ends(&self, tensor: f64) -> Ends {
        let [first, last] = self.model.other_parameters;
        let mut ends = Ends { others: last.max(0) as f64, trained: [true; 2], ..Ends::default() };
        let card = self.model.groups.first().map(|group| &group.card);
        if let Some(card) = card.filter(|_| !self.model.is_of_parts()) {
            let (rows, hidden) = (card.vocabulary as f64 / tensor, card.hidden as f64);
            ends.words = [rows * hidden, rows + hidden];
            ends.trained = ends_trained(self.model);
            ends.adapter = self.model.tuning.rank(Module::Head) as f64 * (rows + hidden);
            // Each tensor rank has all positions.
            ends.positions = position_parameters(card).saturating_add_signed(first) as f64;
        }
        ends
    }

    /// Replicas that share out states of dense weights, and of experts.
    pub(super) fn sharers(&self, degrees: &Parallelism) -> [f64; 2] {
        let count = |degree: u32| f64::from(degree.max(1));
        let replicas = count(degrees.data) * count(degrees.context);
        let replicas = (replicas / self.optimizer_instances()).max(1.0);
        [replicas, (replicas / experts_of_replicas(degrees)).max(1.0)]
    }

    /// Bytes per logit that features of the loss add where so many ranks share it out.
    fn loss_bytes(&self, tensor: f64) -> f64 {
        let parallel = if tensor > 1.0 { PARALLEL_LOSS } else { 0.0 };
        let bytes = self.features.iter().map(|feature| match feature {
            MemoryFeature::LossFusion => FUSED_LOSS,
            MemoryFeature::SeparateLoss => SEPARATE_LOSS + parallel,
            MemoryFeature::DeferredEmbeddingGradient => DEFERRED_GRADIENT,
            MemoryFeature::TunableOverlap
            | MemoryFeature::OptimizerInstances(_)
            | MemoryFeature::ExchangeOverlap
            | MemoryFeature::SeparateExperts => 0.0,
        });
        bytes.sum()
    }
}

/// Replicas, with their context ranks, that together hold each expert once.
fn experts_of_replicas(degrees: &Parallelism) -> f64 {
    let [tensor, expert] = [degrees.tensor, degrees.expert].map(|degree| f64::from(degree.max(1)));
    expert * f64::from(degrees.of_expert()) / tensor
}

/// Parts into which tensor ranks split what goes between blocks.
pub(super) fn parts_of_sequence(degrees: &Parallelism) -> f64 {
    match degrees.sequence {
        SequenceParallel::Off => 1.0,
        SequenceParallel::On | SequenceParallel::Ulysses => f64::from(degrees.tensor.max(1)),
    }
}

impl<'a> Priced<'a> {
    /// Prices a model; `passes` must be those of the same degrees.
    #[must_use]
    pub fn new(pricing: Pricing<'a>, degrees: Parallelism, passes: Arc<Passes>) -> Self {
        let tensor = f64::from(degrees.tensor.max(1));
        let card = pricing.model.groups.first().map(|group| &group.card);
        let card = card.filter(|_| !pricing.model.is_of_parts());
        let ends = pricing.ends(tensor);
        let (on_device, on_host) = held(&pricing, &degrees, pricing.sharers(&degrees), ends);
        let system = pricing.system;
        let replicas = [Group::replicas(&degrees), Group::expert_replicas(&degrees)]
            .map(|group| group.spread(system.per_host));
        let slowed = generation(system.device.chip).slowed[usize::from(replicas[0].leaves_host())];
        let exchanges = replicas[0].ranks > 1 || degrees.zero > ZeroStage::None;
        let buckets = if exchanges { pricing.stack.update.buckets } else { 0.0 };
        let mut priced = Self {
            pricing,
            degrees,
            passes,
            on_device,
            on_host,
            mask_bytes: 0.0,
            logit_bytes: 0.0,
            kept_logits: 0.0,
            in_flight: 0.0,
            messages: Vec::new(),
            end_gradients: 0.0,
            rank_bytes: pricing.resident + buckets,
            head_placeholder: 0.0,
            ends_meet: false,
            replicas,
            slowed: (slowed + pricing.stack.ring_exposed).min(1.0),
        };
        let Some(card) = card else { return priced.with_parts() };
        let tokens = tokens(card, &priced.degrees);
        let width = card.hidden as f64 / parts_of_sequence(&priced.degrees);
        if !card.form.is_gated() {
            priced.mask_bytes = tokens * width;
        }
        let element = element(pricing.dtype);
        let predicted = f64::from(pricing.model.n_predictions) * tokens;
        let n_logits = predicted * card.vocabulary as f64 / tensor;
        priced.end_gradients = element * (n_logits + tokens * width);
        priced.add_logits(card, n_logits, 2.0 * element * predicted * width);
        let tokens_sent = priced.degrees.micro_batch as f64
            * card.sequence.div_ceil(u64::from(priced.degrees.context.max(1))) as f64;
        priced.messages = vec![element * tokens_sent * card.hidden as f64];
        priced.rank_bytes += priced.buffers(tokens * width)
            + priced.gathered_ends(card)
            + largest_widened(&pricing, &priced.degrees);
        let [blocks, head] = pricing.placeholders(&priced.degrees);
        priced.rank_bytes += blocks;
        priced.head_placeholder = head;
        if pricing.model.has_experts() {
            priced.in_flight = IN_FLIGHT * tokens * card.hidden as f64;
            let is_grouped = !pricing.features.contains(&MemoryFeature::SeparateExperts);
            priced.rank_bytes += beside_experts(pricing.system.device.chip, is_grouped);
        }
        priced
    }

    /// Counts so many logits and their inputs: the loss, what it keeps, and with it a trained head's gradient.
    fn add_logits(&mut self, card: &TransformerCard, n_logits: f64, inputs: f64) {
        let pricing = self.pricing;
        let (keeps, zero) = (pricing.stack.keeps, self.degrees.zero);
        let (element, tensor) = (element(pricing.dtype), f64::from(self.degrees.tensor.max(1)));
        let usual = || WIDE_LOGIT + element + pricing.loss_bytes(tensor);
        let each = keeps.loss.map_or_else(usual, |bytes| bytes.max(element));
        let gradients = match (ends_trained(pricing.model)[1], zero >= ZeroStage::Gradients) {
            (false, _) => 0.0,
            (true, true) => keeps.head_gradients.min(1.0),
            (true, false) => keeps.head_gradients,
        };
        // With the loss its own head is gathered.
        let is_gathered = zero >= ZeroStage::Parameters && keeps.shards_ends;
        let copies = gradients + f64::from(u8::from(is_gathered));
        let head = element * card.vocabulary as f64 * card.hidden as f64 / tensor;
        self.kept_logits = each.min(WIDE_LOGIT) * n_logits;
        self.logit_bytes = each * n_logits + inputs + copies * head;
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
        self.rank_bytes += self.buffers(largest / element(self.pricing.dtype));
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
        let element = element(self.pricing.dtype);
        if self.degrees.zero == ZeroStage::Parameters {
            let block = self.passes.kinds.iter().map(|kind| kind.held_dense + kind.held_experts);
            bytes += GATHERED_BLOCKS
                * (element + copies(self.pricing.dtype))
                * block.fold(0.0, f64::max)
                + GATHERED_BLOCKS * self.largest_frozen();
        }
        if self.degrees.pipeline > 1 {
            bytes += 2.0 * element * message;
        }
        // Ranks of a pipeline keep all of the other micro-batch's pass (its grid).
        let overlaps = self.pricing.features.contains(&MemoryFeature::ExchangeOverlap)
            || self.pricing.model.has_experts()
                && self.pricing.stack.experts.overlaps_in(&self.degrees)
                && self.degrees.pipeline <= 1;
        if overlaps {
            // The block of the other micro-batch.
            bytes += self.passes.kinds.iter().map(|kind| kind.all).fold(0.0, f64::max);
        }
        bytes
    }

    /// Bytes of gathered ends where parameters are shared out.
    fn gathered_ends(&self, card: &TransformerCard) -> f64 {
        if self.degrees.zero < ZeroStage::Parameters || self.pricing.stack.keeps.shards_ends {
            return 0.0;
        }
        let tensor = f64::from(self.degrees.tensor.max(1));
        let words = card.vocabulary as f64 * card.hidden as f64 / tensor;
        let element = element(self.pricing.dtype);
        if !self.pricing.model.tuning.is_whole() {
            let gradients = ends_trained(self.pricing.model).map(|is| f64::from(u8::from(is)));
            return element * words * (2.0 + gradients[0] + gradients[1]);
        }
        if !matches!(self.pricing.format, StateFormat::Single | StateFormat::Half) {
            return GATHERED_EMBEDDING * words;
        }
        // Embedding and head, and the gradients of one block.
        let block = self.passes.kinds.iter().map(|kind| kind.held_dense + kind.held_experts);
        element * (2.0 * words + block.fold(0.0, f64::max))
    }

    /// Seconds of an all-reduce over replicas of so many bytes per parameter.
    #[must_use]
    pub fn exchange_s(&self, dense: f64, experts: f64, bytes: f64) -> f64 {
        let system = self.pricing.system;
        let ring = [self.pricing.constants.get(Constant::Network), self.pricing.stack.ring_rate];
        let all = |spread: Spread, parameters: f64| match parameters > 0.0 {
            true => system.exchange_s(spread, bytes * parameters, ring),
            false => 0.0,
        };
        all(self.replicas[0], dense) + all(self.replicas[1], experts)
    }

    /// Seconds in which replicas gather or scatter so many bytes per parameter, block by block: as
    /// measured of their groups, else through as many network cards as the stack's rings use.
    fn pieces_s(
        &self,
        operation: CollectiveOperation,
        [dense, experts, n_blocks]: [f64; 3],
        bytes: f64,
    ) -> f64 {
        let Pricing { system, stack, constants, .. } = self.pricing;
        let ring @ [network, _] = [constants.get(Constant::Network), stack.ring_rate];
        let n = n_blocks.max(1.0);
        let half_s = |spread: Spread, parameters: f64| {
            let piece = bytes * parameters / n;
            let measured = system.measured_s(operation, spread, piece, network);
            let least = spread.least.min(stack.ring_cards.unwrap_or(u64::MAX));
            let ring_s = || system.exchange_s(Spread { least, ..spread }, piece, ring) / 2.0;
            n * measured.unwrap_or_else(ring_s)
        };
        self.replicas
            .into_iter()
            .zip([dense, experts])
            .filter(|(_, parameters)| *parameters > 0.0)
            .map(|(spread, parameters)| half_s(spread, parameters))
            .sum()
    }

    /// Seconds in which fully sharded parameters of so many blocks are gathered before a pass.
    #[must_use]
    pub fn gather_s(&self, dense: f64, experts: f64, n_blocks: f64) -> f64 {
        match self.degrees.zero {
            ZeroStage::Parameters => {
                let sizes = [dense, experts, n_blocks];
                self.pieces_s(CollectiveOperation::AllGather, sizes, element(self.pricing.dtype))
            }
            _ => 0.0,
        }
    }

    /// Seconds in which the gradients of one micro-batch are scattered, where no device keeps all
    /// of them.
    #[must_use]
    pub fn scatter_s(&self, dense: f64, experts: f64, n_blocks: f64) -> f64 {
        match self.degrees.zero {
            ZeroStage::Gradients | ZeroStage::Parameters => {
                let (sizes, each) =
                    ([dense, experts, n_blocks], self.pricing.gradients.exchanged());
                self.pieces_s(CollectiveOperation::ReduceScatter, sizes, each)
            }
            ZeroStage::None | ZeroStage::Optimizer => 0.0,
        }
    }

    /// Seconds of the exchange at the end of the step: an all-reduce of the gradients, or what is
    /// left of it where they were scattered before.
    #[must_use]
    pub fn last_exchange_s(&self, dense: f64, experts: f64) -> f64 {
        match self.degrees.zero {
            ZeroStage::None => self.exchange_s(dense, experts, self.pricing.gradients.exchanged()),
            // Gradients are scattered (or summed), and weights gathered in their own type.
            ZeroStage::Optimizer => {
                let summed = self.pricing.gradients.exchanged();
                let scattered =
                    if self.pricing.stack.sums_before_sharing { summed } else { summed / 2.0 };
                let gathered = element(self.pricing.dtype) / 2.0;
                self.exchange_s(dense, experts, scattered + gathered)
            }
            ZeroStage::Gradients => {
                self.exchange_s(dense, experts, element(self.pricing.dtype)) / 2.0
            }
            ZeroStage::Parameters => 0.0,
        }
    }

    /// Parameters whose states a device has, of dense layers and of experts.
    fn updated(&self, dense: f64, experts: f64) -> f64 {
        let count = |degree: u32| f64::from(degree.max(1));
        let degrees = &self.degrees;
        let (of_dense, of_experts) = match degrees.zero {
            ZeroStage::None => (1.0, 1.0),
            _ => {
                let replicas = count(degrees.data) * count(degrees.context);
                (replicas, (replicas / experts_of_replicas(degrees)).max(1.0))
            }
        };
        dense / of_dense + experts / of_experts
    }

    /// Seconds in which paged moments go to the device and back: as many as it has no room for at its peak
    /// (CUDA's managed memory stays where it is used until others need the room).
    pub(super) fn paged_s(&self, figures: &StageFigures) -> f64 {
        let optimizer = self.pricing.optimizer;
        let Some(limit) = self.pricing.limit.filter(|_| optimizer.is_paged()) else { return 0.0 };
        let moments = optimizer.moments()[0] * self.updated(figures.dense, figures.experts);
        let peak = self.rank_bytes + figures.persistent() + figures.stash();
        let moved = (peak + figures.temporary + figures.recompute + moments - limit.as_f64())
            .clamp(0.0, moments.max(0.0));
        2.0 * moved / HOST_LINK
    }

    /// Seconds of the optimizer, but for what is paged.
    #[must_use]
    pub fn optimizer_s(&self, dense: f64, experts: f64) -> f64 {
        let degrees = &self.degrees;
        let parameters = self.updated(dense, experts);
        let Pricing { dtype, optimizer, format, .. } = self.pricing;
        if self.pricing.offload != Offload::Nothing {
            let (gradients, weights) = (self.pricing.gradients.exchanged(), element(dtype));
            // Shards on hosts are sent for either pass of every micro-batch, and gradients behind each.
            let sent = match self.pricing.offload {
                Offload::Parameters => degrees.n_micro_batches as f64 * (gradients + 2.0 * weights),
                _ => gradients + weights,
            };
            let moved = host_optimizer_bytes(dtype, optimizer);
            return host_update_s(parameters, (sent, moved), self.pricing.system.per_memory);
        }
        let rates = self.pricing.system.rates(self.pricing.stack, self.pricing.constants, dtype);
        let bytes = optimizer_bytes(dtype, optimizer, format) + self.pricing.stack.update_bytes;
        rates.pointwise(bytes * parameters)
    }

    /// What gathering parameters or scattering gradients adds to a pass, of which its own collectives
    /// use network cards for some time: together they take the longer of both, and [`Self::slowed`] of
    /// the shorter one. Replicas that leave hosts wait for cards that are in use.
    #[must_use]
    pub fn waits(&self, (pass_s, cards_s): (f64, f64), collective_s: f64) -> f64 {
        let taken = if self.exchanges_leave_host() { cards_s } else { 0.0 };
        let free_s = (pass_s - taken).max(0.0);
        (collective_s - free_s).max(0.0) + self.slowed() * free_s.min(collective_s)
    }

    /// Seconds that kernels and transfers of replicas lose to each other, and by what the stack does not
    /// run beside the other, for each second of both.
    #[must_use]
    pub const fn slowed(&self) -> f64 {
        self.slowed
    }

    /// Whether what replicas exchange leaves a host.
    #[must_use]
    pub const fn exchanges_leave_host(&self) -> bool {
        self.replicas[0].leaves_host()
    }

    /// Bytes of a message on one device and its way from a rank to another one, were it alone on
    /// its network card.
    #[must_use]
    pub fn way(&self, from: u32, to: u32, bytes: f64) -> (f64, Link) {
        let tensor = f64::from(self.degrees.tensor.max(1));
        let (system, constants) = (self.pricing.system, self.pricing.constants);
        if self.crosses(from, to) {
            // Each tensor rank sends its part, which is gathered on the other side.
            return (bytes / tensor, system.card(constants.get(Constant::Network)));
        }
        let inside = system.inside_of(constants.get(Constant::Neighbour));
        match self.degrees.sequence {
            SequenceParallel::On | SequenceParallel::Ulysses => (bytes / tensor, inside),
            SequenceParallel::Off => (bytes, inside),
        }
    }

    /// Whether a way between two ranks leaves a host.
    #[must_use]
    pub fn crosses(&self, from: u32, to: u32) -> bool {
        rank_groups::crosses(&self.degrees, self.pricing.system.per_host, from, to)
    }

    /// Which ranks share a network card; `None` where every device has one of its own.
    #[must_use]
    pub fn shared_cards(&self) -> Option<Cards> {
        let system = self.pricing.system;
        (system.per_card > 1)
            .then(|| rank_groups::cards(&self.degrees, system.per_host, system.per_card))
    }
}
