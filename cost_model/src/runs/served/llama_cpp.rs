//! The costs of pipelines under llama.cpp: devices and, before them, the memory and the processor of their
//! host, which may also keep the experts of the first blocks (`--n-cpu-moe`).
//!
//! ```text
//! step     per block: weights, visited experts, keys and values read, and a launch for each node of its graph;
//!          experts in the host's memory at its rate, and their tokens there and back
//! prompt   blocks as in other servers; what lies in the host's memory is sent to a device first
//! bytes    tensors as they are stored, keys and values, and a compute buffer: of 512 tokens the widest
//!          activations, and where the head is their logits (flash attention writes no scores)
//! ends     the embedding stays in the host's memory; a head that is tied to it is a copy of it
//! ```
//!
//! The host comes first (`-ngl` counts layers from the last one), so nothing goes back to it but tokens.

use ir::card::stored::Extent;
use ir::card::{BlockGroup, ExpertCard, Head, TransformerCard};
use ir::chip::Architecture;
use ir::cluster::{Cluster, DeviceKind};
use ir::profile::Profile;
use ir::units::Bytes;
use ir::workload::StepPhase;

use super::priced::{self, Batch};
use super::{Costs, Held, Speed, Way, Ways};
use crate::kernels::llama_cpp::Rates;
use crate::runs::counts::block_parameters;
use crate::runs::forms::block::cached;
use crate::runs::forms::model::Pricing;
use crate::runs::forms::precision::element;
use crate::runs::oracle::nanos;
use crate::runs::serving;

/// Tokens that are computed at once (`-ub`).
pub const UBATCH: u64 = 512;
/// Nodes of a block's graph: attention, a feed-forward part, and one of experts without those that sum what
/// they give (`build_llama` and `build_moe_ffn`).
const ATTENTION_NODES: f64 = 15.0;
const FEED_FORWARD_NODES: f64 = 8.0;
const EXPERT_NODES: f64 = 15.0;
/// Of the head with its normalisation, and of what is before the first block.
const HEAD_NODES: f64 = 3.0;
const EMBEDDING_NODES: f64 = 2.0;
/// Share of a unified memory that a GPU may hold (`recommendedMaxWorkingSetSize` of Metal: two thirds of small
/// ones, three quarters of others).
const WORKING_SET: f64 = 0.75;
/// Operations a second of a processor in prompts where no device is there (ggml-org/llama.cpp#34: 55 tokens/s of 7B).
const HOST_FLOPS: f64 = 0.73e12;

/// The host of the devices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Host {
    /// Bytes that a plan may use; `None` = any.
    pub memory: Option<u64>,
    /// Nominal bytes a second of its memory.
    pub bytes_per_s: f64,
    /// Bytes a second between its memory and a device.
    pub link_bytes_per_s: f64,
    /// Seconds until a transfer begins.
    pub link_s: f64,
}

/// What a block reads.
struct Block<'a> {
    group: &'a BlockGroup,
    others: Extent,
    experts: Extent,
    cache: f64,
}

/// What is priced.
struct Priced<'a> {
    base: &'a Pricing<'a>,
    batch: Batch,
    is_k: bool,
    blocks: Vec<Block<'a>>,
}

/// Prices pipelines of a model whose first blocks leave their experts in the host's memory, the host behind
/// the devices of the cluster where there is one; `None` where a device states no rate, or the host has no
/// room for the experts.
#[must_use]
pub fn costs(
    base: &Pricing<'_>,
    (cluster, profile): (&Cluster, &Profile),
    batch: Batch,
    (host, n_host_experts): (Option<&Host>, u32),
    limit: impl Fn(Bytes) -> Bytes,
) -> Option<Costs> {
    let priced = Priced::of(base, batch);
    let mut costs = priced::costs(base, (cluster, profile), batch, limit)?;
    costs.held = priced.held(n_host_experts);
    let rates: Vec<Rates> = cluster.kinds.iter().filter_map(Rates::of).collect();
    if rates.len() != cluster.kinds.len() {
        return None;
    }
    let plain = costs.speeds.clone();
    for (device, entry) in cluster.devices.iter().enumerate() {
        let at = *costs.speed_of.get(device)?;
        let rates = rates.get(entry.kind.index())?;
        let before = plain.get(at)?;
        *costs.speeds.get_mut(at)? = priced.speed((rates, before), (host, n_host_experts));
        let kind = cluster.kinds.get(entry.kind.index())?;
        if let (Architecture::Apple, Some(memory)) = (kind.chip.architecture(), entry.capacity) {
            let most = (memory.as_f64() * WORKING_SET) as u64;
            let limit = costs.limits.get_mut(device)?;
            *limit = Some(limit.map_or(most, |limit| limit.min(most)));
        }
    }
    ways(&mut costs.ways, costs.limits.len(), host, priced.pass_bytes());
    if let Some(host) = host {
        let kept: u64 = priced
            .blocks
            .iter()
            .take(n_host_experts as usize)
            .fold(0, |sum, block| sum.saturating_add(block.experts.bytes));
        let embedding = serving::end_bytes(base.model, base.dtype)[0];
        let room = |memory: u64| memory.checked_sub(kept.saturating_add(embedding));
        costs.limits.push(match host.memory.map(room) {
            Some(None) if n_host_experts > 0 => return None,
            Some(room) => Some(room.unwrap_or(0)),
            None => None,
        });
        costs.speed_of.push(costs.speeds.len());
        costs.speeds.push(priced.on_host(host, plain.first()));
    }
    Some(costs)
}

impl<'a> Priced<'a> {
    fn of(base: &'a Pricing<'a>, batch: Batch) -> Self {
        let model = base.model;
        let stored = model.weights();
        let seen = batch.cached.saturating_add(batch.tokens);
        let mut blocks = Vec::new();
        for group in &model.groups {
            for _ in 0..group.n_blocks {
                let at = blocks.len();
                let each = cached::element(model.held(at), base.dtype);
                let counted = block_parameters(&group.card);
                let of =
                    |n: u64| Extent { elements: n, bytes: serving::bytes(n as f64, base.dtype) };
                let (others, experts) = match stored {
                    Some(stored) => (stored.block(at).others, stored.block(at).experts),
                    None => {
                        let bytes = serving::block_bytes(model, (group, at), base.dtype);
                        (Extent { bytes, ..of(counted.dense) }, of(counted.experts))
                    }
                };
                let cache = batch.samples as f64 * cached::bytes(&group.card, seen, (1, each));
                blocks.push(Block { group, others, experts, cache });
            }
        }
        let is_k = stored.is_some_and(|stored| stored.has_super_blocks);
        Self { base, batch, is_k, blocks }
    }

    fn tokens(&self) -> f64 {
        self.batch.samples as f64 * self.batch.tokens as f64
    }

    fn card(&self) -> Option<&TransformerCard> {
        self.base.model.groups.first().map(|group| &group.card)
    }

    /// Bytes of activations between two blocks, in 32 bits.
    fn pass_bytes(&self) -> f64 {
        4.0 * self.tokens() * self.card().map_or(0.0, |card| card.hidden as f64)
    }

    /// Of the experts of a block those that any token visits.
    fn visited(&self, block: &Block<'_>) -> Extent {
        let Some(experts) = block.group.card.experts else { return Extent::default() };
        let ExpertCard { n_experts, per_token, .. } = experts;
        let missed = (1.0 - per_token as f64 / n_experts.max(1) as f64).max(0.0);
        let share = 1.0 - missed.powf(self.tokens());
        let of = |n: u64| (n as f64 * share) as u64;
        Extent { elements: of(block.experts.elements), bytes: of(block.experts.bytes) }
    }

    /// The head with what stands before it: elements and bytes.
    fn head(&self) -> Extent {
        let ends = serving::end_bytes(self.base.model, self.base.dtype);
        let card = self.card();
        let elements = card.map_or(0, |card| card.vocabulary.saturating_mul(card.hidden));
        let is_tied = card.is_some_and(|card| card.head == Head::Tied);
        let copied = if is_tied { ends[0] } else { 0 };
        Extent { elements, bytes: ends[1].saturating_add(copied) }
    }

    /// Seconds of a decoding step in a block where all lies in one place.
    fn step_s(&self, block: &Block<'_>, rates: &Rates, experts: &Rates) -> f64 {
        let how = (self.is_k, self.tokens());
        let nodes = match block.group.card.experts {
            Some(card) => EXPERT_NODES + card.per_token as f64,
            None => FEED_FORWARD_NODES,
        };
        rates.read_s(block.others, how)
            + experts.read_s(self.visited(block), (self.is_k, 1.0))
            + block.cache / rates.bytes_per_s
            + (ATTENTION_NODES + nodes) * rates.node_s
    }

    /// What a kind of device takes; prompts as they are priced without llama.cpp.
    fn speed(&self, (rates, plain): (&Rates, &Speed), (host, n): (Option<&Host>, u32)) -> Speed {
        let mut before = vec![0_u64];
        for (at, block) in self.blocks.iter().enumerate() {
            let away = host.filter(|_| at < n as usize && block.experts.bytes > 0);
            let seconds = match (self.batch.phase, away) {
                (StepPhase::Decode, None) => self.step_s(block, rates, rates),
                (StepPhase::Decode, Some(host)) => {
                    let there = host.link_s + self.pass_bytes() / host.link_bytes_per_s;
                    self.step_s(block, rates, &Rates::of_host(host.bytes_per_s)) + 2.0 * there
                }
                (_, away) => {
                    let sent =
                        |host: &Host| self.visited(block).bytes as f64 / host.link_bytes_per_s;
                    difference(plain, at) + away.map_or(0.0, sent)
                }
            };
            before.push(before[at].saturating_add(nanos(seconds).get()));
        }
        let (embedding_s, head_s) = match self.batch.phase {
            StepPhase::Decode => {
                let how = (self.is_k, self.batch.samples as f64);
                let head_s = rates.read_s(self.head(), how) + HEAD_NODES * rates.node_s;
                (EMBEDDING_NODES * rates.node_s, head_s)
            }
            _ => (plain.embedding as f64 * 1e-9, plain.head as f64 * 1e-9),
        };
        Speed { before, embedding: nanos(embedding_s).get(), head: nanos(head_s).get() }
    }

    /// The same of the host; of a prompt its weights are sent to a device, which computes.
    fn on_host(&self, host: &Host, device: Option<&Speed>) -> Speed {
        let rates = Rates::of_host(host.bytes_per_s);
        let sent = |weights: [Extent; 2], device_s: Option<f64>| {
            let sum =
                |of: fn(&Extent) -> u64| weights.iter().map(|part| of(part) as f64).sum::<f64>();
            let computed = 2.0 * sum(|part| part.elements) * self.tokens() / HOST_FLOPS;
            device_s.map_or(computed, |device_s| {
                device_s + sum(|part| part.bytes) / host.link_bytes_per_s
            })
        };
        let mut before = vec![0_u64];
        for (at, block) in self.blocks.iter().enumerate() {
            let seconds = match self.batch.phase {
                StepPhase::Decode => self.step_s(block, &rates, &rates),
                _ => {
                    let device_s = device.map(|device| difference(device, at));
                    sent([block.others, self.visited(block)], device_s)
                }
            };
            before.push(before[at].saturating_add(nanos(seconds).get()));
        }
        let head_s = rates.read_s(self.head(), (self.is_k, 1.0)) + HEAD_NODES * rates.node_s;
        let embedding_s = EMBEDDING_NODES * rates.node_s;
        Speed { before, embedding: nanos(embedding_s).get(), head: nanos(head_s).get() }
    }

    /// What stages hold; experts of the first blocks are the host's, whatever stage the block is in.
    fn held(&self, n_host_experts: u32) -> Held {
        let mut sizes = Held { weights: vec![0], cache: vec![0], ..Held::default() };
        let mut widest = 0_u64;
        for (at, block) in self.blocks.iter().enumerate() {
            let own = if at < n_host_experts as usize { 0 } else { block.experts.bytes };
            let weights = block.others.bytes.saturating_add(own);
            for (sums, bytes) in
                [(&mut sizes.weights, weights), (&mut sizes.cache, block.cache.round() as u64)]
            {
                sums.push(sums[at].saturating_add(bytes).min(u64::MAX >> 8));
            }
            let card = &block.group.card;
            let inner = card.experts.map_or(card.feed_forward, |experts| {
                experts.feed_forward.saturating_mul(experts.per_token + experts.n_shared)
            });
            widest = widest.max(inner.saturating_mul(2));
        }
        let hidden = self.card().map_or(0, |card| card.hidden);
        let of = |width: u64| width.saturating_mul(4).saturating_mul(UBATCH);
        let vocabulary = self.card().map_or(0, |card| card.vocabulary);
        let pass = of(widest.saturating_add(hidden.saturating_mul(2)));
        sizes.head = self.head().bytes;
        sizes.scratch = [pass, pass.max(of(vocabulary.saturating_add(hidden)))];
        sizes
    }
}

/// Seconds of a block.
fn difference(speed: &Speed, at: usize) -> f64 {
    let of = |at: usize| speed.before.get(at).copied().unwrap_or(0);
    of(at + 1).saturating_sub(of(at)) as f64 * 1e-9
}

/// Ways with the host behind so many devices: from it to all, none to it; sampled tokens wait for nothing.
fn ways(ways: &mut Ways, n: usize, host: Option<&Host>, bytes: f64) {
    for way in &mut ways.kinds {
        way.back = 0;
    }
    let Some(host) = host else { return };
    let pass = nanos(host.link_s + bytes / host.link_bytes_per_s).get();
    let own = u16::try_from(ways.kinds.len()).unwrap_or(priced::NO_WAY);
    ways.kinds.push(Way { pass, back: 0, tier: 0 });
    let old = std::mem::take(&mut ways.of);
    for row in old.chunks(n.max(1)) {
        ways.of.extend_from_slice(row);
        ways.of.push(priced::NO_WAY);
    }
    ways.of.extend(vec![own; n]);
    ways.of.push(priced::NO_WAY);
    let next = ways.send.iter().chain(&ways.receive).max().map_or(0, |last| last + 1);
    ways.send.extend(next..next + ways.n_tiers);
    ways.receive.extend(next..next + ways.n_tiers);
}

/// Bytes of keys and values of so many tokens of a sequence in a block.
#[must_use]
pub fn cache_of(base: &Pricing<'_>, at: usize, tokens: u64) -> f64 {
    let each = base.model.held(at).cache.map_or(element(base.dtype), |cache| cache.bytes());
    let kinds = base.model.kinds().nth(at).and_then(|kind| base.model.groups.get(kind));
    kinds.map_or(0.0, |group| cached::bytes(&group.card, tokens, (1, each)))
}

/// Whether a cluster's devices are all of one host whose memory is not theirs.
#[must_use]
pub fn has_host(cluster: &Cluster) -> bool {
    let first = cluster.devices.first().map(|device| device.node);
    let is_apart = |kind: &DeviceKind| kind.chip.architecture() != Architecture::Apple;
    cluster.devices.iter().all(|device| Some(device.node) == first)
        && cluster.kinds.iter().all(is_apart)
}
