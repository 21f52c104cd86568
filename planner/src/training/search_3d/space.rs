//! The space of a search: which configurations there are, and what the user has fixed.

use std::ops::RangeInclusive;
use std::sync::Arc;

use cost_model::runs::forms::model::expert_overlap::{obstacle, runs_together};
use cost_model::runs::forms::model::priced::{Passes, Priced};
use cost_model::runs::forms::model::{Offload, Pricing};
use ir::card::{ModelCard, SequenceParallel, ZeroStage};
use ir::plan::{Mesh, Parallelism};
use ir::stack::Pieces;

use crate::training::order::{Chunks, Order};

/// Most chunks of a rank that are tried whatever the blocks; more are tried where chunks come out
/// equal, or where they are pinned.
pub const MOST_CHUNKS: u32 = 8;
/// Most cells of a grid that is planned; larger configurations are left out and counted.
pub const MOST_CELLS: u64 = 1 << 21;
/// The same for schedules that don't repeat themselves, so that all of it must be replayed.
const MOST_UNLIKE_CELLS: u64 = 1 << 18;

/// How blocks are shared out to stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Split {
    /// So that the slowest rank is as fast as it can be within its memory, the ends counted where
    /// they live.
    Balanced,
    /// As evenly as possible.
    Equal,
}

/// What may be computed again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecomputeRule {
    /// Per stage as little as its memory allows.
    #[default]
    Fitted,
    /// Nothing.
    None,
    /// Every attention core.
    Selective,
    /// Every second product and what is pointwise, in every block.
    PerOp,
    /// Every block.
    Full,
    /// On every stage the first so many blocks: the least number with which all stages fit.
    Alike,
}

impl RecomputeRule {
    /// Those of a launcher whose stages may each compute again what they like.
    pub const FREE: [Self; 3] = [Self::Fitted, Self::Selective, Self::PerOp];
}

/// What the launcher of a plan has words for.
#[derive(Clone, Copy, Debug)]
pub struct Capabilities {
    /// The launcher's name, which tells it from others.
    pub target: &'static str,
    /// Whether it can run a schedule under such degrees.
    pub accepts: fn(&Parallelism, &str) -> bool,
    /// The same with optimizer states on hosts; `None` = it can't leave them there.
    pub offloaded: Option<fn(&Parallelism, &str) -> bool>,
    /// Whether it can split a model so; `None` = every one.
    pub splits: Option<fn(&ModelCard, &Parallelism) -> bool>,
    /// What its stages may compute again.
    pub recomputes: &'static [RecomputeRule],
    /// Whether it has words for choices by block.
    pub by_block: bool,
    /// Whether it has words for exchanges of experts beside the work of another micro-batch.
    pub expert_overlap: bool,
    /// Whether it has words for experts that fewer ranks split than all else.
    pub expert_tensor: bool,
}

impl Capabilities {
    /// Whether its stages can compute this again.
    #[must_use]
    pub fn recomputes(&self, rule: RecomputeRule) -> bool {
        let is_whole = !matches!(rule, RecomputeRule::Selective | RecomputeRule::PerOp);
        self.recomputes.contains(&rule)
            || (is_whole && self.recomputes.contains(&RecomputeRule::Fitted))
    }

    /// Whether it runs a model under such degrees by a schedule.
    #[must_use]
    pub fn runs(&self, model: &ModelCard, degrees: &Parallelism, schedule: &str) -> bool {
        (self.expert_overlap || !degrees.expert_overlap)
            && (self.expert_tensor || degrees.of_expert() == degrees.tensor.max(1))
            && (self.accepts)(degrees, schedule)
            && self.splits.is_none_or(|check| check(model, degrees))
    }

    /// What it has words for where hosts keep something; `None` = nothing.
    #[must_use]
    pub fn keeping(self, offload: Offload) -> Option<Self> {
        match offload {
            Offload::Nothing => Some(self),
            Offload::Optimizer => Some(Self { accepts: self.offloaded?, ..self }),
            // No plan is written with these: they are judged where they run.
            Offload::Parameters => None,
        }
    }
}

impl PartialEq for Capabilities {
    fn eq(&self, other: &Self) -> bool {
        self.target == other.target
    }
}

impl Eq for Capabilities {}

/// What the user has fixed; `None` = free.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    /// Data-parallel replicas.
    pub data: Option<u32>,
    /// Tensor-parallel shards.
    pub tensor: Option<u32>,
    /// Pipeline ranks.
    pub pipeline: Option<u32>,
    /// Context-parallel shards.
    pub context: Option<u32>,
    /// Expert-parallel shards.
    pub expert: Option<u32>,
    /// Tensor-parallel shards of an expert.
    pub expert_tensor: Option<u32>,
    /// Samples of a micro-batch.
    pub micro_batch: Option<u64>,
    /// Chunks of a rank.
    pub virtual_stages: Option<u32>,
    /// Schedules; empty = all.
    pub orders: Vec<Order>,
    /// What may be computed again.
    pub recompute: RecomputeRule,
    /// Whether exchanges of experts run beside the work of another micro-batch.
    pub expert_overlap: Option<bool>,
    /// What replicas share out.
    pub zero: Option<ZeroStage>,
    /// Whether tensor ranks split the sequence.
    pub sequence: Option<SequenceParallel>,
    /// How blocks are shared out.
    pub split: Option<Split>,
    /// Which axis lies on which tier.
    pub mesh: Option<Mesh>,
    /// What the launcher has words for.
    pub capabilities: Option<Capabilities>,
    /// Whether hosts may hold optimizer states; `false` = as the pricing says.
    pub may_offload: bool,
}

impl Pins {
    /// Whether the launcher runs a model under such degrees, with what hosts hold.
    fn run(
        &self,
        model: &ModelCard,
        (degrees, order, offload): (&Parallelism, Order, Offload),
    ) -> bool {
        self.capabilities.is_none_or(|capabilities| {
            capabilities
                .keeping(offload)
                .is_some_and(|narrowed| narrowed.runs(model, degrees, order.name()))
        })
    }

    /// What hosts may hold, each a configuration of its own.
    fn offloads(&self, pricing: &Pricing<'_>) -> &'static [Offload] {
        match (self.may_offload, pricing.offload) {
            (true, _) => &[Offload::Nothing, Offload::Optimizer],
            (false, Offload::Nothing) => &[Offload::Nothing],
            (false, Offload::Optimizer) => &[Offload::Optimizer],
            (false, Offload::Parameters) => &[Offload::Parameters],
        }
    }

    /// Whether tensor ranks split sequences: each choice that the launcher runs. Splitting is never slower
    /// and never larger (see the laws), but where pieces are copied, or gathers and scatters were measured.
    fn sequences(&self, pricing: &Pricing<'_>, degrees: &Parallelism) -> Vec<SequenceParallel> {
        // One rank splits none.
        if degrees.tensor <= 1 {
            let is_whole = self.sequence.is_none_or(|sequence| sequence == SequenceParallel::Off);
            return is_whole.then_some(SequenceParallel::Off).into_iter().collect();
        }
        if let Some(pinned) = self.sequence {
            return vec![pinned];
        }
        let runs = |sequence| {
            let degrees = Parallelism { sequence, ..degrees.clone() };
            let order = Order::OneFOneB.name();
            self.capabilities
                .is_none_or(|capabilities| capabilities.runs(pricing.model, &degrees, order))
        };
        let is_never_slower =
            pricing.stack.pieces == Pieces::InOrder && !pricing.system.has_measured_halves();
        match (runs(SequenceParallel::On), runs(SequenceParallel::Off)) {
            (false, true) => vec![SequenceParallel::Off],
            (true, true) if !is_never_slower => vec![SequenceParallel::On, SequenceParallel::Off],
            _ => vec![SequenceParallel::On],
        }
    }

    /// Whether the launcher computes no blocks again because the stack always exchanges experts beside the
    /// work of another micro-batch.
    fn keeps_blocks(&self, pricing: &Pricing<'_>, degrees: &Parallelism) -> bool {
        let is_said = self.capabilities.is_some_and(|capabilities| capabilities.expert_overlap);
        let exchanges = degrees.expert > 1 && pricing.model.has_experts();
        is_said && pricing.stack.experts.overlaps && exchanges && runs_together(degrees)
    }

    /// What stages may compute again, each a configuration of its own; beside exchanges of experts
    /// nothing but the attention core, as Megatron-Core has it.
    fn policies(&self, expert_overlap: bool) -> Vec<RecomputeRule> {
        let beside = [RecomputeRule::None, RecomputeRule::Selective];
        if expert_overlap {
            let is_said =
                |rule: &RecomputeRule| self.capabilities.is_none_or(|all| all.recomputes(*rule));
            let is_free = matches!(self.recompute, RecomputeRule::Fitted | RecomputeRule::Alike);
            let is_asked = |rule: &RecomputeRule| is_free || *rule == self.recompute;
            return beside.into_iter().filter(|rule| is_said(rule) && is_asked(rule)).collect();
        }
        match self.recompute {
            RecomputeRule::Fitted => self
                .capabilities
                .map_or(&RecomputeRule::FREE[..], |capabilities| capabilities.recomputes)
                .to_vec(),
            // None and all blocks of every stage are choices of their own: stages may be unlike.
            RecomputeRule::Alike => {
                vec![RecomputeRule::None, RecomputeRule::Alike, RecomputeRule::Full]
            }
            recompute => vec![recompute],
        }
    }
}

/// What is searched.
#[derive(Clone, Debug)]
pub struct Space {
    /// Counts of devices, one of which a plan uses.
    pub devices: Vec<u32>,
    /// Samples of one step over all replicas.
    pub global_batch: u64,
    /// What is fixed.
    pub pins: Pins,
}

/// Most devices or hosts of which each count is searched.
const MOST_COUNTS: u32 = 64;

/// Counts of devices in a range that are searched: each one, where there are few. Else within a host
/// each one or its divisors, then whole hosts: each number of them, or where these are many the
/// divisors of the largest number and the powers of two. The largest count is always one of them.
#[must_use]
pub fn device_counts(range: &RangeInclusive<u32>, per_host: u32) -> Vec<u32> {
    let (least, most) = ((*range.start()).max(1), (*range.end()).max(1));
    if most - least.min(most) < MOST_COUNTS {
        return (least.min(most)..=most).collect();
    }
    let (per_host, n_hosts) = (per_host.max(1), most / per_host.max(1));
    let in_host =
        (1..=per_host.min(most)).filter(|n| per_host <= MOST_COUNTS || per_host.is_multiple_of(*n));
    let hosts = (1..=n_hosts)
        .filter(|n| n_hosts <= MOST_COUNTS || n_hosts.is_multiple_of(*n) || n.is_power_of_two());
    let whole = hosts.map(|n| n.saturating_mul(per_host));
    let mut counts: Vec<u32> = in_host.chain(whole).chain([most]).collect();
    counts.retain(|n| (least..=most).contains(n));
    counts.sort_unstable();
    counts.dedup();
    counts
}

/// Degrees and micro-batch: what leaves of a search have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Degrees; ZeRO and virtual stages are open.
    pub degrees: Parallelism,
    /// Devices.
    pub n_devices: u32,
}

/// One configuration. Blocks and recompute of each stage follow from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// Degrees and batch sizes.
    pub degrees: Parallelism,
    /// The schedule.
    pub order: Order,
    /// How blocks are shared out.
    pub split: Split,
    /// What may be computed again.
    pub recompute: RecomputeRule,
    /// What hosts hold.
    pub offload: Offload,
}

/// Orders configurations of equal cost: fewer devices and plainer settings first.
pub type Key = ([u64; 11], Mesh, ZeroStage, Order, Split, RecomputeRule);

impl Configuration {
    /// The model under its degrees; `passes` must be those of the same degrees.
    #[must_use]
    pub fn priced<'a>(&self, pricing: Pricing<'a>, passes: Arc<Passes>) -> Priced<'a> {
        let pricing = Pricing { offload: self.offload, ..pricing };
        Priced::new(pricing, self.degrees.clone(), passes).with_ends(self.order.ends_meet())
    }

    /// Whether so many blocks are shared out to its stages in one way alone.
    #[must_use]
    pub fn has_one_cut(&self, n_blocks: u32) -> bool {
        let d = &self.degrees;
        d.pipeline <= 1 || d.pipeline.saturating_mul(d.virtual_stages.max(1)) == n_blocks
    }

    /// Whether besides what its stages compute again follows from their blocks.
    #[must_use]
    pub fn has_one_plan(&self, n_blocks: u32) -> bool {
        let is_free = self.recompute == RecomputeRule::Fitted && self.degrees.pipeline > 1;
        self.has_one_cut(n_blocks) && !is_free
    }

    /// What tells it from others, in the order in which equal ones are preferred.
    #[must_use]
    pub fn key(&self) -> Key {
        let d = &self.degrees;
        let n_devices = [d.data, d.tensor, d.pipeline, d.context].map(u64::from);
        let counts = [
            n_devices.iter().product(),
            u64::from(self.offload != Offload::Nothing),
            u64::from(d.pipeline),
            u64::from(d.tensor),
            u64::from(d.context),
            u64::from(d.expert),
            u64::from(d.expert_tensor.is_some()) * u64::from(d.of_expert()),
            u64::from(d.data),
            u64::from(d.virtual_stages),
            d.micro_batch,
            d.sequence as u64 * 2 + u64::from(d.expert_overlap),
        ];
        (counts, d.mesh, d.zero, self.order, self.split, self.recompute)
    }
}

pub(crate) fn divisors(n: u64) -> Vec<u64> {
    let mut low: Vec<u64> =
        (1..).take_while(|k| k * k <= n).filter(|k| n.is_multiple_of(*k)).collect();
    let high: Vec<u64> = low.iter().rev().filter(|k| *k * *k != n).map(|k| n / k).collect();
    low.extend(high);
    low
}

/// Divisors of `n` that fit 32 bits and are what was pinned, if something was.
pub(crate) fn degrees_of(n: u32, pinned: Option<u32>) -> Vec<u32> {
    let all = divisors(u64::from(n)).into_iter().filter_map(|k| u32::try_from(k).ok());
    all.filter(|k| pinned.is_none_or(|pin| pin == *k)).collect()
}

/// All shapes of a space, in a fixed order.
#[must_use]
pub fn shapes(pricing: &Pricing<'_>, space: &Space) -> Vec<Shape> {
    let mut shapes = Vec::new();
    let Some(group) = pricing.model.groups.first() else { return shapes };
    let n_blocks = pricing.model.n_blocks();
    let pins = &space.pins;
    for n in &space.devices {
        for tensor in degrees_of(*n, pins.tensor) {
            let splits_heads = pricing.model.groups.iter().all(|group| {
                let kv = group.card.n_kv_heads.max(1);
                let t = u64::from(tensor);
                group.card.n_heads.is_multiple_of(t)
                    && (kv.is_multiple_of(t) || t.is_multiple_of(kv))
            });
            if !splits_heads {
                continue;
            }
            for context in degrees_of(n / tensor, pins.context) {
                // Causal rings give each rank two parts of the sequence, for balance.
                let parts = if context == 1 { 1 } else { 2 * u64::from(context) };
                if !group.card.sequence.is_multiple_of(parts) {
                    continue;
                }
                for pipeline in degrees_of(n / tensor / context, pins.pipeline) {
                    let data = n / tensor / context / pipeline;
                    if pipeline > n_blocks || pins.data.is_some_and(|pin| pin != data) {
                        continue;
                    }
                    let degrees =
                        Parallelism { data, tensor, pipeline, context, ..Parallelism::default() };
                    of_degrees(pricing, space, *n, &degrees, &mut shapes);
                }
            }
        }
    }
    shapes
}

/// Expert degrees, micro-batches and meshes of given degrees.
fn of_degrees(
    pricing: &Pricing<'_>,
    space: &Space,
    n_devices: u32,
    degrees: &Parallelism,
    shapes: &mut Vec<Shape>,
) {
    let pins = &space.pins;
    if !space.global_batch.is_multiple_of(u64::from(degrees.data)) {
        return;
    }
    let of_replica = space.global_batch / u64::from(degrees.data);
    let sequences = pins.sequences(pricing, degrees);
    let [of_whole, of_split] =
        [false, true].map(|splits| experts(pricing, pins, (degrees, splits)));
    let of = |sequence: SequenceParallel| match sequence {
        SequenceParallel::On => &of_split,
        SequenceParallel::Off | SequenceParallel::Ulysses => &of_whole,
    };
    let has_both = degrees.pipeline > 1 && degrees.data > 1;
    let meshes: &[Mesh] =
        if has_both { &[Mesh::TpCpDpPp, Mesh::TpCpPpDp] } else { &[Mesh::TpCpDpPp] };
    let meshes = meshes.iter().filter(|mesh| pins.mesh.is_none_or(|pinned| pinned == **mesh));
    let micro_batches = divisors(of_replica);
    let micro_batches =
        micro_batches.into_iter().filter(|b| pins.micro_batch.is_none_or(|pin| pin == *b));
    for micro_batch in micro_batches {
        let layouts = meshes
            .clone()
            .flat_map(|mesh| sequences.iter().map(move |sequence| (*mesh, *sequence)));
        for (mesh, sequence) in layouts {
            for (expert, expert_tensor) in of(sequence) {
                let degrees = Parallelism {
                    expert: *expert,
                    expert_tensor: *expert_tensor,
                    micro_batch,
                    n_micro_batches: of_replica / micro_batch,
                    sequence,
                    mesh,
                    zero: ZeroStage::None,
                    ..degrees.clone()
                };
                let overlaps = expert_overlaps(pricing, pins, &degrees);
                let shape = |degrees| Shape { degrees, n_devices };
                shapes.extend(overlaps.map(shape));
            }
        }
    }
}

/// Expert ranks with the tensor ranks that split an expert (`None` = all), where tensor ranks split sequences
/// or not.
///
/// Expert ranks that take all tensor ranks hold what `expert / tensor` of them hold whose experts these split
/// (the busiest up to 2 % more), and are never slower: those gather and scatter besides. They stand for them
/// where the experts divide by so many. Other splits are searched where they are pinned.
fn experts(
    pricing: &Pricing<'_>,
    pins: &Pins,
    (degrees, splits): (&Parallelism, bool),
) -> Vec<(u32, Option<u32>)> {
    let cards = || pricing.model.groups.iter().filter_map(|group| group.card.experts);
    if cards().next().is_none() {
        let is_one = [pins.expert, pins.expert_tensor].iter().all(|pin| pin.is_none_or(|n| n == 1));
        return is_one.then_some((1, None)).into_iter().collect();
    }
    let tensor = degrees.tensor.max(1);
    let divides = |n: u64| cards().all(|card| card.n_experts.is_multiple_of(n));
    let of = |split: Option<u32>| -> Vec<(u32, Option<u32>)> {
        let seats = degrees.data * degrees.context * (tensor / split.unwrap_or(tensor));
        let ranks = degrees_of(seats, pins.expert).into_iter();
        ranks.filter(|n| divides(u64::from(*n))).map(|n| (n, split)).collect()
    };
    let may = splits && pins.capabilities.is_none_or(|capabilities| capabilities.expert_tensor);
    match pins.expert_tensor {
        Some(pin) if pin == tensor => of(None),
        Some(pin) if may && tensor.is_multiple_of(pin) => of(Some(pin)),
        Some(_) => Vec::new(),
        None if tensor == 1 || !may => of(None),
        None if pins.expert.is_some() => [of(None), of(Some(1))].concat(),
        None => {
            let apart = of(None).into_iter();
            let stays = apart.filter(|(n, _)| !divides(u64::from(*n) * u64::from(tensor)));
            stays.chain(of(Some(1))).collect()
        }
    }
}

/// Degrees without and with exchanges of experts beside the work of another micro-batch.
fn expert_overlaps(
    pricing: &Pricing<'_>,
    pins: &Pins,
    degrees: &Parallelism,
) -> impl Iterator<Item = Parallelism> {
    let may =
        obstacle(pricing.stack, (pricing.dtype, pricing.model.n_predictions), degrees).is_none();
    let pinned = pins.expert_overlap;
    let is_choice =
        move |choice: &bool| pinned.is_none_or(|pin| pin == *choice) && (!choice || may);
    let choices = [false, true].into_iter().filter(is_choice);
    choices.map(|expert_overlap| Parallelism { expert_overlap, ..degrees.clone() })
}

/// What replicas may share out. Sharing out optimizer states alone costs nothing, so not doing it
/// is never better.
#[must_use]
pub fn zeros(shape: &Shape, pins: &Pins) -> Vec<ZeroStage> {
    let degrees = &shape.degrees;
    let alone =
        degrees.data * degrees.context == 1 && degrees.sequence != SequenceParallel::Ulysses;
    match pins.zero {
        // One replica shares nothing out.
        Some(pinned) if alone && pinned != ZeroStage::None => Vec::new(),
        Some(pinned) => vec![pinned],
        None if alone => vec![ZeroStage::None],
        // Unless the launcher can't do it.
        None if pins.capabilities.is_some() => {
            vec![ZeroStage::None, ZeroStage::Optimizer, ZeroStage::Gradients, ZeroStage::Parameters]
        }
        None => vec![ZeroStage::Optimizer, ZeroStage::Gradients, ZeroStage::Parameters],
    }
}

/// All configurations of a shape, in a fixed order; also how many were too large to judge.
#[must_use]
pub fn leaves(shape: &Shape, space: &Space, pricing: &Pricing<'_>) -> (Vec<Configuration>, u64) {
    let (pins, n_blocks) = (&space.pins, pricing.model.n_blocks());
    let p = shape.degrees.pipeline;
    let m = shape.degrees.n_micro_batches;
    let mut leaves = Vec::new();
    let mut n_too_large = 0;
    // One rank has nothing to schedule: what is pinned needs a pipeline.
    let free: &[Order] = if p == 1 { &[Order::OneFOneB] } else { &Order::ALL };
    let is_pinned = |order: &&Order| pins.orders.is_empty() || pins.orders.contains(order);
    for order in free.iter().filter(is_pinned) {
        let is_tried = |chunk: &u32| {
            *chunk <= MOST_CHUNKS
                || pins.virtual_stages.is_some()
                || n_blocks.is_multiple_of(p.saturating_mul(*chunk))
        };
        let chunks = match order.chunks() {
            Chunks::Exactly(n) => n..=n,
            Chunks::Several => 2..=n_blocks / p.max(1),
        };
        for chunk in chunks.filter(is_tried) {
            let runs_together = p == 1 || *order == Order::Interleaved;
            let fits = order.takes(p, m)
                && (runs_together || !shape.degrees.expert_overlap)
                && p.saturating_mul(chunk) <= n_blocks
                && pins.virtual_stages.is_none_or(|pin| pin == chunk);
            if !fits {
                continue;
            }
            let passes = if order.is_whole() { 2 } else { 3 };
            let most = order.steady(p, chunk).map_or(MOST_UNLIKE_CELLS, |_| MOST_CELLS);
            let n_cells = m.saturating_mul(u64::from(p) * u64::from(chunk) * passes);
            if n_cells > most {
                n_too_large += 1;
                continue;
            }
            let is_gathered = pricing.model.tuning.base().is_gathered();
            let may_share = |zero: &ZeroStage| is_gathered || *zero != ZeroStage::Parameters;
            for zero in zeros(shape, pins).into_iter().filter(may_share) {
                let splits = match pins.split {
                    Some(pinned) => vec![pinned],
                    None if p == 1 || p.saturating_mul(chunk) == n_blocks => vec![Split::Balanced],
                    None => vec![Split::Balanced, Split::Equal],
                };
                let degrees = Parallelism { virtual_stages: chunk, zero, ..shape.degrees.clone() };
                for split in splits {
                    leaves.extend(of_stages(pricing, pins, (&degrees, *order, split)));
                }
            }
        }
    }
    (leaves, n_too_large)
}

/// Configurations of given degrees, schedule and way of sharing out blocks that the launcher runs.
fn of_stages(
    pricing: &Pricing<'_>,
    pins: &Pins,
    (degrees, order, split): (&Parallelism, Order, Split),
) -> Vec<Configuration> {
    let policies = pins.policies(degrees.expert_overlap || pins.keeps_blocks(pricing, degrees));
    let runs = |offload: &&Offload| pins.run(pricing.model, (degrees, order, **offload));
    let of_offload = |offload: &Offload| {
        let offload = *offload;
        let of = move |recompute: &RecomputeRule| Configuration {
            degrees: degrees.clone(),
            order,
            split,
            recompute: *recompute,
            offload,
        };
        policies.iter().map(of)
    };
    pins.offloads(pricing).iter().filter(runs).flat_map(of_offload).collect()
}
