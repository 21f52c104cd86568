//! What a device of a worker holds, and how many tokens of keys and values an engine has room for: the
//! number that vLLM logs as `GPU KV cache size`.
//!
//! ```text
//! weights      products shared out by tensor ranks, experts by all devices of a stage; norms, routers,
//!              narrow latent products and copied key and value heads whole
//! activations  vLLM: see `vllm`; others: 2 tokens heads d k bytes, k by engine, family and tensor ranks
//! cache        vLLM          utilization x capacity - all else
//!              SGLang        fraction x (capacity - context - NCCL) - weights; all else is in what is left
//!              TensorRT-LLM  fraction x (capacity - all else)
//! ```
//!
//! Forms and figures of activations, NCCL and what SGLang and TensorRT-LLM have beside are those of
//! aiconfigurator 0.12.0 (Apache-2.0), *nominal*; those of vLLM are held against published logs
//! (`tests/data/serving/kv_cache_lines.csv`). Whatever does not fit is a shortfall, never a smaller model.

use ir::card::{Attention, BlockGroup, Head, ModelCard, TransformerCard};
use ir::tensor::DType;

use super::engine::Engine;
use super::worker::Shape;
use crate::kernels::precision;
use crate::runs::counts::block_parameters;
use crate::runs::forms::block::cached;
use crate::runs::serving::{block_bytes, bytes, end_bytes};

mod vllm;

const MIB: f64 = (1_u64 << 20) as f64;
const GIB: f64 = (1_u64 << 30) as f64;
/// Bytes of context, libraries, workspaces and CUDA graphs together of TensorRT-LLM; SGLang has a fifth more.
const BESIDE: f64 = 3.5 * GIB;
const SGLANG_MORE: f64 = 1.2;
/// Bytes of a device that are taken before weights are loaded: `non_torch_memory` of a vLLM on one H100
/// (vllm#10511).
const CONTEXT: f64 = 1.79 * GIB;
/// Bytes of CUDA graphs for each request of the greatest one (SGLang's rule of its reserve).
const GRAPH: f64 = 2.0 * MIB;
/// PyTorch gives tensors of so many bytes and more whole blocks of so many, and takes back what is left over
/// where it is more than so many (`CUDACachingAllocator`).
const LARGE_TENSOR: [f64; 3] = [10.0 * MIB, 2.0 * MIB, MIB];
/// Buffers of NCCL between two devices, and between more.
const NCCL: [f64; 2] = [342.0 * MIB, 392.0 * MIB];
/// Bytes of activations at least; of SGLang.
const LEAST: f64 = 70.0 * MIB;
const SGLANG_LEAST: f64 = 90.0 * MIB;
/// Activations of SGLang over its factors.
const SGLANG_ACTIVATIONS: f64 = 1.15;
/// Activations over `2 tokens heads d` bytes on 1, 2, 4, and 8 or more tensor ranks: dense, and of experts
/// or latent attention; of SGLang.
const FACTORS: [[f64; 4]; 2] = [[11.0, 6.5, 5.0, 5.0], [22.0, 13.0, 10.0, 10.0]];
const SGLANG_FACTORS: [[f64; 4]; 2] = [[13.0, 8.0, 6.5, 6.5], [28.0, 17.0, 13.0, 13.0]];
/// SGLang's reserve: bytes, of each token of a chunk, of each device of a worker; at least so many on
/// devices of more than so many.
const RESERVE: [f64; 3] = [512.0 * MIB, 1.5 * MIB, 128.0 * MIB];
const LEAST_RESERVE: [f64; 2] = [10.0 * GIB, 60.0 * GIB];

/// What an engine is started with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The engine.
    pub engine: Engine,
    /// vLLM `--gpu-memory-utilization`, SGLang `--mem-fraction-static`, TensorRT-LLM
    /// `free_gpu_memory_fraction`; `None` = its default.
    pub fraction: Option<f64>,
    /// Tokens of an iteration at most, decoding ones included (vLLM `--max-num-batched-tokens`).
    pub max_tokens: u64,
    /// Requests of an iteration at most (vLLM `--max-num-seqs`).
    pub max_requests: u64,
    /// Requests of a decode-only iteration at most that CUDA graphs are recorded of; 0 without graphs.
    pub graph_requests: u64,
    /// Tokens of the longest request, prompt and output (vLLM `--max-model-len`).
    pub max_length: u64,
}

/// A term of the memory of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Term {
    /// Weights.
    Weights,
    /// Activations of one iteration.
    Activations,
    /// CUDA graphs.
    Graphs,
    /// Buffers of collectives.
    Collectives,
    /// Context, libraries, workspaces.
    Runtime,
    /// Keys and values.
    Cache,
    /// What the engine leaves free.
    Reserve,
}

impl Term {
    /// All, in the order of a table.
    pub const ALL: [Self; 7] = [
        Self::Weights,
        Self::Activations,
        Self::Graphs,
        Self::Collectives,
        Self::Runtime,
        Self::Cache,
        Self::Reserve,
    ];

    /// Its name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Activations => "activations",
            Self::Graphs => "CUDA graphs",
            Self::Collectives => "NCCL",
            Self::Runtime => "runtime",
            Self::Cache => "KV cache",
            Self::Reserve => "reserve",
        }
    }
}

/// Bytes of a device of one stage.
#[derive(Clone, Debug, PartialEq)]
pub struct StageMemory {
    /// By term in the order of [`Term::ALL`]; with a shortfall their sum is more than the capacity.
    pub terms: [u64; Term::ALL.len()],
    /// Bytes that are missing for all but keys and values; 0 where those fit.
    pub shortfall: u64,
    /// By layer that keeps keys and values: bytes of a token, and tokens that it keeps at most.
    layers: Vec<(f64, Option<u64>)>,
}

impl StageMemory {
    /// Bytes of a term.
    #[must_use]
    pub fn get(&self, term: Term) -> u64 {
        self.terms.get(term as usize).copied().unwrap_or_default()
    }

    /// Bytes of keys and values of a request of so many tokens, in whole blocks of so many.
    #[must_use]
    pub fn request_bytes(&self, tokens: u64, block: u64) -> f64 {
        let block = block.max(1);
        let whole = |tokens: u64| (tokens.div_ceil(block) as f64) * block as f64;
        let of = |(each, most): &(f64, Option<u64>)| {
            each * whole(most.map_or(tokens, |most| most.min(tokens)))
        };
        self.layers.iter().map(of).sum()
    }

    fn has_windows(&self) -> bool {
        self.layers.iter().any(|(_, most)| most.is_some())
    }

    /// Bytes that vLLM counts for a request of so many tokens when it starts: a layer with a window keeps the
    /// tokens before it and all that are under way, in one block more (`SlidingWindowSpec`).
    fn start_bytes(&self, tokens: u64, (block, in_flight): (u64, u64)) -> f64 {
        let of = |(each, most): &(f64, Option<u64>)| {
            let blocks = match most {
                Some(most) => {
                    let kept = most.saturating_sub(1).saturating_add(in_flight).min(tokens);
                    kept.div_ceil(block).saturating_add(1)
                }
                None => tokens.div_ceil(block),
            };
            each * block as f64 * blocks as f64
        };
        self.layers.iter().map(of).sum()
    }
}

/// Memory of a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    /// By pipeline stage what each of its devices holds.
    pub stages: Vec<StageMemory>,
    block: u64,
    max_length: u64,
    /// Tokens that are under way at most: of one iteration for each stage, and one that is prepared.
    in_flight: u64,
}

impl Memory {
    /// Of a model in a valid shape that computes in a type, on devices of so many bytes that a process can
    /// use.
    #[must_use]
    pub fn of(
        (model, dtype): (&ModelCard, DType),
        shape: &Shape,
        settings: &Settings,
        capacity: u64,
    ) -> Self {
        let n_stages = shape.stages.len();
        let mut first = 0_usize;
        let stages = shape.stages.iter().enumerate().map(|(at, n)| {
            let range = first..first.saturating_add(*n as usize);
            first = range.end;
            let held = Holding { model, dtype, shape };
            let weights = held.weights(range.clone(), [at == 0, at + 1 == n_stages], n_stages);
            let mut layers = held.caches(range.clone());
            let beside = match settings.engine {
                Engine::Vllm => {
                    vllm::pad(&mut layers);
                    vllm::Stage { model, dtype, shape, settings, range }.beside(capacity as f64)
                }
                Engine::Sglang | Engine::TrtLlm => beside((model, shape), settings),
            };
            stage(shape, settings, capacity as f64, (weights, beside, layers))
        });
        let stages = stages.collect();
        let block = settings.engine.block_tokens();
        let in_flight = settings.max_tokens.saturating_mul(n_stages as u64 + 1);
        Self { stages, block, max_length: settings.max_length, in_flight }
    }

    /// Bytes of keys and values of a request of so many tokens, on a device of each stage.
    pub fn request_bytes(&self, tokens: u64) -> impl Iterator<Item = f64> + '_ {
        self.stages.iter().map(move |stage| stage.request_bytes(tokens, self.block))
    }

    /// Requests of so many tokens that an attention data-parallel rank has room for.
    #[must_use]
    pub fn max_requests(&self, tokens: u64) -> u64 {
        let of = |(stage, bytes): (&StageMemory, f64)| match bytes > 0.0 {
            true => (stage.get(Term::Cache) as f64 / bytes) as u64,
            false => u64::MAX,
        };
        self.stages.iter().zip(self.request_bytes(tokens)).map(of).min().unwrap_or(0)
    }

    /// Tokens of keys and values that an attention data-parallel rank has room for, in whole blocks; where
    /// layers have windows, those of requests of the greatest length that fit (vllm#51041).
    #[must_use]
    pub fn cache_tokens(&self) -> u64 {
        let of = |stage: &StageMemory| {
            let cache = stage.get(Term::Cache) as f64;
            let (tokens, whole) = match stage.has_windows() {
                true => (self.max_length.max(1), false),
                false => (self.block, true),
            };
            let bytes = stage.request_bytes(tokens, self.block);
            let n = if bytes > 0.0 { cache / bytes } else { f64::INFINITY };
            let n = if whole { n.floor() } else { n };
            (n * tokens as f64) as u64
        };
        self.stages.iter().map(of).min().unwrap_or(0)
    }

    /// Tokens that vLLM logs as `GPU KV cache size`: where layers have windows, those of requests of the
    /// greatest length, each with as many tokens as while its prompt is computed.
    #[must_use]
    pub fn start_tokens(&self) -> u64 {
        let tokens = self.max_length.max(1);
        let of = |stage: &StageMemory| {
            let bytes = stage.start_bytes(tokens, (self.block.max(1), self.in_flight));
            let n = if bytes > 0.0 { stage.get(Term::Cache) as f64 / bytes } else { f64::INFINITY };
            (n * tokens as f64) as u64
        };
        match self.stages.iter().any(StageMemory::has_windows) {
            true => self.stages.iter().map(of).min().unwrap_or(0),
            false => self.cache_tokens(),
        }
    }

    /// Bytes that are missing on the device that misses most; 0 where weights and buffers fit.
    #[must_use]
    pub fn shortfall(&self) -> u64 {
        self.stages.iter().map(|stage| stage.shortfall).max().unwrap_or(0)
    }
}

/// Puts the terms of a stage together by the rule of the engine.
fn stage(
    shape: &Shape,
    settings: &Settings,
    capacity: f64,
    (weights, beside, layers): (f64, [f64; 4], Vec<(f64, Option<u64>)>),
) -> StageMemory {
    let engine = settings.engine;
    let [activations, graphs, collectives, runtime] = beside;
    let all = weights + beside.iter().sum::<f64>();
    let fraction = settings.fraction.unwrap_or_else(|| fraction(shape, settings, capacity));
    let room = match engine {
        Engine::Vllm => fraction * capacity - all,
        Engine::Sglang => {
            (fraction * (capacity - CONTEXT - collectives) - weights).min(capacity - all)
        }
        Engine::TrtLlm => fraction * (capacity - all),
    };
    let cache = room.max(0.0);
    let terms = [weights, activations, graphs, collectives, runtime, cache];
    let reserve = (capacity - terms.iter().sum::<f64>()).max(0.0);
    let [a, b, c, d, e, f] = terms.map(|term| term as u64);
    let shortfall = (-room).max(0.0).ceil() as u64;
    StageMemory { terms: [a, b, c, d, e, f, reserve as u64], shortfall, layers }
}

/// Activations, CUDA graphs, buffers of collectives and all else of SGLang and TensorRT-LLM.
fn beside((model, shape): (&ModelCard, &Shape), settings: &Settings) -> [f64; 4] {
    let graphs = GRAPH * settings.graph_requests as f64;
    let collectives = match shape.devices() {
        0 | 1 => 0.0,
        2 => NCCL[0],
        _ => NCCL[1],
    };
    let more = if settings.engine == Engine::Sglang { SGLANG_MORE } else { 1.0 };
    let runtime = (BESIDE * more - graphs).max(CONTEXT);
    [activations(model, shape, settings), graphs, collectives, runtime]
}

/// The share of memory that an engine takes by default: vLLM since 0.22, TensorRT-LLM, and SGLang's rule.
fn fraction(shape: &Shape, settings: &Settings, capacity: f64) -> f64 {
    match settings.engine {
        Engine::Vllm => 0.92,
        Engine::TrtLlm => 0.9,
        Engine::Sglang => {
            let [fixed, token, device] = RESERVE;
            let [least, above] = LEAST_RESERVE;
            let ranks = f64::from(shape.tensor) * shape.stages.len() as f64;
            let reserve = fixed
                + token * settings.max_tokens as f64
                + device * ranks
                + GRAPH * settings.graph_requests as f64;
            let reserve = if capacity > above { reserve.max(least) } else { reserve };
            (1.0 - reserve / capacity).max(0.0)
        }
    }
}

/// Bytes of what an iteration makes on its way.
fn activations(model: &ModelCard, shape: &Shape, settings: &Settings) -> f64 {
    let (factors, more, least) = match settings.engine {
        Engine::Sglang => (SGLANG_FACTORS, SGLANG_ACTIVATIONS, SGLANG_LEAST),
        Engine::Vllm | Engine::TrtLlm => (FACTORS, 1.0, LEAST),
    };
    let of = |card: &TransformerCard| {
        let is_latent = matches!(card.attention, Attention::Latent { .. });
        let factors = factors[usize::from(is_latent || model.has_experts())];
        let at = (shape.tensor.max(1).ilog2() as usize).min(factors.len() - 1);
        let width = card.n_heads as f64 * card.head_dims().1 as f64;
        more * (2.0 * settings.max_tokens as f64 * width * factors[at])
    };
    model.groups.iter().map(|group| of(&group.card)).fold(least, f64::max)
}

/// What the devices of stages hold of a model.
#[derive(Clone, Copy)]
struct Holding<'a> {
    model: &'a ModelCard,
    dtype: DType,
    shape: &'a Shape,
}

impl Holding<'_> {
    /// By block of a range, its group.
    fn blocks(&self, range: std::ops::Range<usize>) -> impl Iterator<Item = (usize, &BlockGroup)> {
        let kinds = self.model.kinds().enumerate();
        let kinds = kinds.skip(range.start).take(range.len());
        kinds.filter_map(|(block, kind)| Some((block, self.model.groups.get(kind)?)))
    }

    /// Bytes of weights of some blocks and of the ends on one device.
    fn weights(
        &self,
        range: std::ops::Range<usize>,
        [is_first, is_last]: [bool; 2],
        n_stages: usize,
    ) -> f64 {
        let Self { model, dtype, shape } = *self;
        let tensor = f64::from(shape.tensor.max(1));
        let experts = shape.expert_devices().max(1) as f64;
        let of_block = |(block, group): (usize, &BlockGroup)| {
            let others = block_bytes(model, (group, block), dtype) as f64;
            let all = match model.weights() {
                Some(stored) => stored.block(block).experts.bytes,
                None => bytes(block_parameters(&group.card).experts as f64, dtype),
            };
            let unfilled = match model.weights() {
                Some(_) => 0.0,
                None => unfilled(&group.card, shape, dtype),
            };
            others * share(group, shape.tensor) + all as f64 / experts + unfilled
        };
        let layers: f64 = self.blocks(range).map(of_block).sum();
        let [embedding, head] = end_bytes(model, dtype).map(|bytes| bytes as f64 / tensor);
        let tied = model.groups.first().map(|group| &group.card);
        let tied = tied.filter(|card| card.head == Head::Tied && n_stages > 1);
        let copy = tied.map_or(0.0, |card| {
            let elements = card.vocabulary as f64 * card.hidden as f64;
            bytes(elements, precision::beside(dtype)) as f64 / tensor
        });
        let first = if is_first { embedding } else { 0.0 };
        layers + first + if is_last { head + copy } else { 0.0 }
    }

    /// By block of a range bytes of keys and values of a token, and tokens that are kept at most.
    fn caches(&self, range: std::ops::Range<usize>) -> Vec<(f64, Option<u64>)> {
        let of = |(block, group): (usize, &BlockGroup)| {
            let each = cached::element(self.model.held(block), self.dtype);
            let most = match group.card.attention {
                Attention::Window { tokens, .. } => Some(tokens),
                _ => None,
            };
            let card = TransformerCard { sequence: 1, ..group.card.clone() };
            (cached::bytes(&card, 1, (self.shape.tensor, each)), most)
        };
        self.blocks(range).map(of).collect()
    }
}

/// Bytes of the last blocks of large weights of a layer that they do not fill.
fn unfilled(card: &TransformerCard, shape: &Shape, dtype: DType) -> f64 {
    let [large, block, split] = LARGE_TENSOR;
    let tensor = f64::from(shape.tensor.max(1));
    let (hidden, (key, value)) = (card.hidden as f64, card.head_dims());
    let (heads, kv_heads) = (card.n_heads as f64, card.n_kv_heads as f64);
    let attention = match card.attention {
        Attention::Latent { .. } => [0.0; 2],
        _ => [heads * key as f64 + kv_heads * (key + value) as f64, heads * value as f64],
    };
    let inner = if card.experts.is_some() { 0.0 } else { card.feed_forward as f64 };
    let first = if card.form.is_gated() { 2.0 * inner } else { inner };
    let of = |width: f64| {
        let bytes = bytes(width * hidden / tensor, dtype) as f64;
        let left = (bytes / block).ceil() * block - bytes;
        if bytes < large || left > split { 0.0 } else { left }
    };
    attention.into_iter().chain([first, inner]).map(of).sum()
}

/// Share of the weights of a block, its experts aside, that one of so many tensor ranks holds.
fn share(group: &BlockGroup, tensor: u32) -> f64 {
    let (card, ranks) = (&group.card, f64::from(tensor.max(1)));
    let hidden = card.hidden as f64;
    let norms = if card.form.is_gated() { 2.0 } else { 4.0 };
    let router = card.experts.map_or(0.0, |experts| experts.n_experts as f64);
    let narrow = match card.attention {
        Attention::Latent { query_rank, key_value_rank, rotary, .. } => {
            query_rank.unwrap_or(0) as f64 + key_value_rank as f64 + rotary as f64
        }
        _ => 0.0,
    };
    let beside = group.extra_weights as f64 + group.other_parameters as f64;
    let whole = hidden * (norms + router + narrow) + beside;
    let all = block_parameters(card).dense as f64 + beside;
    let copies = match card.attention {
        Attention::Latent { .. } => 0.0,
        _ => {
            let each = 2.0 * hidden * card.head_dims().0 as f64;
            each * (1.0 - card.n_kv_heads as f64 / ranks).max(0.0)
        }
    };
    if all <= 0.0 {
        return 1.0;
    }
    (whole + (all - whole).max(0.0) / ranks + copies) / all
}

#[cfg(test)]
mod tests;
