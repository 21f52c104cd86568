//! The costs of a model's pipelines on a cluster: blocks at the prices of a serving step
//! ([`crate::runs::forms::block::passes`]), the head of one token of each sample.

use std::collections::BTreeMap;

use ir::card::stored::Held as Stored;
use ir::card::{Head, ModelCard, TransformerCard};
use ir::cluster::Cluster;
use ir::id::DeviceId;
use ir::plan::Parallelism;
use ir::profile::Profile;
use ir::stack::{Launch, Stack};
use ir::units::Bytes;
use ir::workload::StepPhase;

use super::{Costs, Held, Speed, Way, Ways};
use crate::runs::counts::forward_flops;
use crate::runs::forms::block::{cached, passes};
use crate::runs::forms::constants::Constant;
use crate::runs::forms::ends;
use crate::runs::forms::model::Pricing;
use crate::runs::forms::precision::element;
use crate::runs::forms::run::Sharded;
use crate::runs::forms::system::System;
use crate::runs::oracle::nanos;
use crate::runs::serving;

/// Bytes of a sampled token.
const TOKEN_BYTES: f64 = 4.0;
/// Bytes of a logit that is sampled from, beside its own: a copy in 32 bits.
const LOGIT_BYTES: f64 = 4.0;
/// No way.
pub(super) const NO_WAY: u16 = u16::MAX;

/// What a batch does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Prefill or decode.
    pub phase: StepPhase,
    /// Samples.
    pub samples: u64,
    /// Tokens of each sample that go through the model: 1 in decode.
    pub tokens: u64,
    /// Tokens of each sample that did so before.
    pub cached: u64,
}

/// Prices pipelines of a model; its system and limit are not looked at. Of each device a plan may use what
/// `limit` makes of its memory. `None` where a device states no rate of the type that is computed in.
#[must_use]
pub fn costs(
    base: &Pricing<'_>,
    (cluster, profile): (&Cluster, &Profile),
    batch: Batch,
    limit: impl Fn(Bytes) -> Bytes,
) -> Option<Costs> {
    let mut kinds: BTreeMap<usize, usize> = BTreeMap::new();
    let (mut speeds, mut speed_of) = (Vec::new(), Vec::new());
    for (id, device) in cluster.device_ids().zip(&cluster.devices) {
        let known = kinds.get(&device.kind.index()).copied();
        speed_of.push(known.unwrap_or(speeds.len()));
        if known.is_none() {
            kinds.insert(device.kind.index(), speeds.len());
            let system = System::of_group((cluster, profile), (&[id], None), [None; 2])?;
            speeds.push(speed(base, &system, batch)?);
        }
    }
    let limits =
        cluster.devices.iter().map(|device| device.memory_limit().map(|bytes| limit(bytes).0));
    Some(Costs {
        speeds,
        speed_of,
        limits: limits.collect(),
        held: held(base, batch),
        ways: ways(base, cluster, batch),
    })
}

/// Servers record the kernels of a decoding step (CUDA graphs).
fn stack(base: &Pricing<'_>, phase: StepPhase) -> Stack {
    match phase {
        StepPhase::Decode => Stack { launch: Launch::CudaGraphs, ..base.stack.clone() },
        _ => base.stack.clone(),
    }
}

/// What a kind of device takes; `None` where a figure of it is missing.
fn speed(base: &Pricing<'_>, system: &System, batch: Batch) -> Option<Speed> {
    let (stack, constants) = (stack(base, batch.phase), base.constants);
    let parallelism = Parallelism { micro_batch: batch.samples, ..Parallelism::default() };
    let (gradients, dtype) = (base.gradients, base.dtype);
    let card = |card: &TransformerCard| TransformerCard { sequence: batch.tokens, ..card.clone() };
    let ns = |seconds: f64| seconds.is_finite().then(|| nanos(seconds).get());
    let mut before = vec![0_u64];
    for group in &base.model.groups {
        let card = card(&group.card);
        let mut last: Option<(Stored, u64)> = None;
        for _ in 0..group.n_blocks {
            let stored = base.model.held(before.len() - 1);
            let block_ns = match last {
                Some((like, block_ns)) if like == stored => block_ns,
                _ => {
                    let parallelism = &parallelism;
                    let run = Sharded { card: &card, parallelism, gradients, dtype, held: stored };
                    let pieces = passes::pieces(run, batch.cached, system, (&stack, constants));
                    ns(pieces.attention_s + pieces.feed_forward_s)?
                }
            };
            last = Some((stored, block_ns));
            before.push(before.last()?.saturating_add(block_ns));
        }
    }
    let card = card(&base.model.groups.first()?.card);
    // A head that is the embedding is in the type of the run.
    let stored = base.model.weights().filter(|_| card.head == Head::Separate);
    let weight = stored.and_then(|stored| stored.ends[1].each());
    let of_head = Stored { weight, ..Stored::default() };
    let run = Sharded { card: &card, parallelism: &parallelism, gradients, dtype, held: of_head };
    let rates = system.rates(&stack, constants, dtype);
    // A row is read and written for each token.
    let looked_up = 2.0 * activations(base.model, batch, element(dtype));
    Some(Speed {
        before,
        embedding: ns(rates.pointwise(looked_up))?,
        head: ns(ends::sampled(run, batch.samples, system, (&stack, constants)))?,
    })
}

/// Floating-point operations of a batch in some blocks, with the head of one token of each sample where it is
/// there: of products by weights, and of scores and values.
#[must_use]
pub fn flops(
    model: &ModelCard,
    (blocks, has_head): (&std::ops::Range<u32>, bool),
    batch: Batch,
) -> [f64; 2] {
    let tokens = batch.samples as f64 * batch.tokens as f64;
    let sequence = batch.cached.saturating_add(batch.tokens);
    let mut all = [0.0; 2];
    for (kind, _) in model.kinds().zip(0_u32..).filter(|pair| blocks.contains(&pair.1)) {
        let Some(group) = model.groups.get(kind) else { continue };
        let flops = forward_flops(&TransformerCard { sequence, ..group.card.clone() });
        for (sum, each) in all.iter_mut().zip(flops) {
            *sum += tokens * each;
        }
    }
    let card = model.groups.first().map(|group| &group.card).filter(|_| has_head);
    let head = card.map_or(0.0, |card| 2.0 * card.vocabulary as f64 * card.hidden as f64);
    all[0] += batch.samples as f64 * head;
    all
}

/// Bytes of the activations of a batch between two blocks.
fn activations(model: &ModelCard, batch: Batch, element: f64) -> f64 {
    let hidden = model.groups.first().map_or(0, |group| group.card.hidden);
    element * batch.samples as f64 * batch.tokens as f64 * hidden as f64
}

/// What stages hold: beside weights and cache what a batch makes between two products (of a block that which
/// makes most), its input and output, what arrives and what leaves, and logits where there is a head.
fn held(base: &Pricing<'_>, batch: Batch) -> Held {
    let (model, dtype) = (base.model, base.dtype);
    let mut sizes = Held { weights: vec![0], cache: vec![0], ..Held::default() };
    let seen = batch.cached.saturating_add(batch.tokens);
    let mut widest = 0.0_f64;
    for group in &model.groups {
        let card = &group.card;
        for _ in 0..group.n_blocks {
            let block = sizes.weights.len() - 1;
            let weights = serving::block_bytes(model, (group, block), dtype);
            let each = cached::element(model.held(block), dtype);
            let cache =
                (batch.samples as f64 * cached::bytes(card, seen, (1, each))).round() as u64;
            for (sums, bytes) in [(&mut sizes.weights, weights), (&mut sizes.cache, cache)] {
                let before = sums.last().copied().unwrap_or(0);
                sums.push(before.saturating_add(bytes).min(u64::MAX >> 8));
            }
        }
        let (key, value) = card.head_dims();
        let heads = card.n_heads as f64 * key as f64;
        let kv = card.n_kv_heads as f64 * (key as f64 + value as f64);
        let inner = card.form.n_first() as f64 * card.feed_forward as f64;
        widest = widest.max(heads + kv).max(inner);
    }
    let beside = crate::kernels::precision::beside(dtype);
    let card = model.groups.first().map(|group| &group.card);
    let rows = card.map_or(0.0, |card| card.vocabulary as f64);
    let hidden = card.map_or(0.0, |card| card.hidden as f64);
    let is_tied = card.is_some_and(|card| card.head == Head::Tied);
    [sizes.embedding, sizes.head] = serving::end_bytes(model, dtype);
    sizes.copy = if is_tied { serving::bytes(rows * hidden, beside) } else { 0 };
    let tokens = batch.samples as f64 * batch.tokens as f64;
    let pass = base.resident
        + 4.0 * activations(model, batch, element(dtype))
        + element(dtype) * tokens * widest;
    let logits = batch.samples as f64 * rows * (element(dtype) + LOGIT_BYTES);
    sizes.scratch = [pass as u64, (pass + logits) as u64];
    sizes
}

/// Ways for the activations of a batch, and in decode for its sampled tokens.
fn ways(base: &Pricing<'_>, cluster: &Cluster, batch: Batch) -> Ways {
    let factors =
        [Constant::Neighbour, Constant::Network].map(|constant| base.constants.get(constant));
    let bytes = activations(base.model, batch, element(base.dtype));
    let n = cluster.devices.len();
    let mut ways = Ways {
        kinds: Vec::new(),
        of: Vec::with_capacity(n * n),
        n_tiers: cluster.links.n_tiers,
        send: cluster.links.send.iter().map(|channel| channel.index()).collect(),
        receive: cluster.links.receive.iter().map(|channel| channel.index()).collect(),
    };
    let mut known: BTreeMap<Way, u16> = BTreeMap::new();
    let node = |at: usize| cluster.devices.get(at).and_then(|device| device.node);
    for (from, to) in (0..n).flat_map(|from| (0..n).map(move |to| (from, to))) {
        let route = cluster.route(DeviceId::new(from), DeviceId::new(to));
        let Some(route) = route else {
            ways.of.push(NO_WAY);
            continue;
        };
        let crosses = node(from) != node(to);
        let rate = route.kind.bandwidth.get() * factors[usize::from(crosses)];
        let ns = |bytes: f64| nanos(route.kind.latency_ns * 1e-9 + bytes / rate).get();
        let back = match batch.phase {
            StepPhase::Decode => ns(TOKEN_BYTES * batch.samples as f64),
            _ => 0,
        };
        let way = Way { pass: ns(bytes), back, tier: route.kind.tier };
        let next = u16::try_from(ways.kinds.len()).unwrap_or(NO_WAY);
        let kind = *known.entry(way).or_insert(next);
        if kind == next {
            ways.kinds.push(way);
        }
        ways.of.push(kind);
    }
    ways
}
