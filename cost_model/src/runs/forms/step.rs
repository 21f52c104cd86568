//! A run as costs of its chunks: what the judge of pipelines replays, and a closed form of it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use ir::card::{Attention, Recompute, SequenceParallel, ZeroStage};
use ir::stack::Stack;
use ir::workload::Optimizer;

use super::block::{self, BlockTime, block};
use super::constants::{Constant, Constants};
use super::corrections::Corrections;
use super::ends;
use super::precision::{element, optimizer_bytes};
use super::rank_groups::{self, Group};
use super::rates::Rates;
use super::run::Run;
use super::system::System;
use crate::links::collective::Link;
use crate::runs::memory::activations::{Kept, block_bytes};

/// One chunk of the model on one device, per micro-batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chunk {
    /// Forward pass in seconds.
    pub forward_s: f64,
    /// Backward pass in seconds, without computing again.
    pub backward_s: f64,
    /// Computing again in seconds.
    pub recompute_s: f64,
    /// Of all three, what tensor- and context-parallel collectives take.
    pub collectives_s: f64,
    /// Parameters on one device.
    pub parameters: f64,
    /// Bytes that its blocks keep until the backward pass.
    pub stash_bytes: f64,
    /// Bytes of the activation for the next chunk, of one device.
    pub boundary_bytes: f64,
    /// The way to the next chunk; not looked at for the last.
    pub link: Link,
}

impl Chunk {
    /// All passes of one micro-batch in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.forward_s + self.backward_s + self.recompute_s
    }
}

/// Everything about a step that its schedule does not say.
#[derive(Clone, Debug, PartialEq)]
pub struct StepCosts {
    /// Chunks in model order, chunk `s` on rank `s mod n_ranks`.
    pub chunks: Vec<Chunk>,
    /// Pipeline ranks.
    pub n_ranks: usize,
    /// Micro-batches of each replica.
    pub n_micro_batches: u64,
    /// Gradient exchange of each chunk in seconds, were it alone.
    pub exchange_s: Vec<f64>,
    /// Share of it that may run beside the backward pass.
    pub overlap: f64,
    /// Optimizer of each rank in seconds.
    pub optimizer_s: Vec<f64>,
}

/// Times runs on one system under one stack and one set of constants; remembers blocks.
pub struct Timer<'a> {
    system: &'a System,
    stack: &'a Stack,
    constants: &'a Constants,
    corrections: &'a Corrections,
    blocks: RefCell<BTreeMap<[u64; 28], (BlockTime, f64)>>,
}

impl<'a> Timer<'a> {
    /// A timer that has seen nothing.
    #[must_use]
    pub fn new(
        system: &'a System,
        stack: &'a Stack,
        constants: &'a Constants,
        corrections: &'a Corrections,
    ) -> Self {
        Self { system, stack, constants, corrections, blocks: RefCell::default() }
    }

    /// Times of a block of a run, and of its head.
    fn times(&self, run: &Run) -> (BlockTime, f64) {
        let key = key(run, self.system.per_host);
        if let Some(known) = self.blocks.borrow().get(&key) {
            return *known;
        }
        let mut time = block(run, self.system, self.stack, self.constants);
        let factor = self.corrections.factor(run);
        for pass in [&mut time.forward, &mut time.backward, &mut time.recompute] {
            pass.seconds *= factor;
            pass.collectives *= factor;
        }
        let head = ends::head(run, self.system, self.stack, self.constants);
        self.blocks.borrow_mut().insert(key, (time, head));
        (time, head)
    }

    /// Costs of a run.
    #[must_use]
    pub fn costs(&self, run: &Run) -> StepCosts {
        let degrees = &run.parallelism;
        let (time, head) = self.times(run);
        let n_ranks = degrees.pipeline.max(1) as usize;
        let last = run.blocks.len().saturating_sub(1);
        let (of_block, of_end) = (block::parameters(run), ends::parameters(run));
        let chunks: Vec<Chunk> = (0..)
            .zip(&run.blocks)
            .map(|(index, n_blocks): (usize, &u32)| {
                let n = f64::from(*n_blocks);
                let head = if index == last { head } else { 0.0 };
                let again = f64::from(recomputed(run.recompute, *n_blocks));
                let all = [time.forward, time.backward].map(|pass| n * pass.collectives);
                let is_end = index == 0 || index == last;
                let mut chunk = Chunk {
                    forward_s: n * time.forward.seconds + head / 3.0,
                    backward_s: n * time.backward.seconds + head * 2.0 / 3.0,
                    recompute_s: again * time.recompute.seconds,
                    collectives_s: all.iter().sum::<f64>() + again * time.recompute.collectives,
                    parameters: n * of_block + if is_end { of_end } else { 0.0 },
                    stash_bytes: stash(run, self.stack, *n_blocks),
                    boundary_bytes: 0.0,
                    link: self.system.inside,
                };
                self.gather(run, &mut chunk);
                let rank = (index % n_ranks) as u32;
                (chunk.boundary_bytes, chunk.link) = self.boundary(run, rank, n_ranks as u32);
                chunk
            })
            .collect();
        self.ends_of_step(run, chunks, n_ranks)
    }

    /// Fully sharded parameters are gathered beside each pass as far as the stack overlaps.
    fn gather(&self, run: &Run, chunk: &mut Chunk) {
        if run.parallelism.zero < ZeroStage::Parameters {
            return;
        }
        let gather = self.exchange(run, element(run.dtype) * chunk.parameters) / 2.0;
        let overlap = self.stack.overlap_data;
        chunk.forward_s = beside(chunk.forward_s, gather, overlap);
        chunk.backward_s = beside(chunk.backward_s, gather, overlap);
    }

    fn exchange(&self, run: &Run, bytes: f64) -> f64 {
        let group = Group::replicas(&run.parallelism).spread(self.system.per_host);
        self.system.exchange_s(group, bytes, self.constants.get(Constant::Network))
    }

    /// Bytes and way from a rank to the next one.
    fn boundary(&self, run: &Run, rank: u32, n_ranks: u32) -> (f64, Link) {
        let degrees = &run.parallelism;
        let tensor = f64::from(degrees.tensor.max(1));
        let queries = run.card.sequence.div_ceil(u64::from(degrees.context.max(1)));
        let tokens = degrees.micro_batch as f64 * queries as f64;
        let bytes = element(run.dtype) * tokens * run.card.hidden as f64;
        let next = (rank + 1) % n_ranks.max(1);
        if rank_groups::crosses(degrees, self.system.per_host, rank, next) {
            // Each tensor rank sends its part, which is gathered on the other side.
            (bytes / tensor, self.system.network_of(1, self.constants.get(Constant::Network)))
        } else {
            let inside = self.system.inside_of(self.constants.get(Constant::Neighbour));
            match degrees.sequence {
                SequenceParallel::On | SequenceParallel::Ulysses => (bytes / tensor, inside),
                SequenceParallel::Off => (bytes, inside),
            }
        }
    }

    fn ends_of_step(&self, run: &Run, chunks: Vec<Chunk>, n_ranks: usize) -> StepCosts {
        let degrees = &run.parallelism;
        let exchange = |chunk: &Chunk| {
            let all = self.exchange(run, run.gradients.exchanged() * chunk.parameters);
            // Scattered gradients of sharded parameters are not gathered again.
            if degrees.zero < ZeroStage::Parameters { all } else { all / 2.0 }
        };
        let replicas = match degrees.zero {
            ZeroStage::None => 1.0,
            _ => f64::from(degrees.data.max(1)) * f64::from(degrees.context.max(1)),
        };
        let rates = Rates::new(self.system, self.constants, run.dtype);
        let bytes = optimizer_bytes(run.dtype, Optimizer::AdamW);
        let optimizer = |rank: usize| {
            let own = chunks.iter().skip(rank).step_by(n_ranks).map(|chunk| chunk.parameters);
            rates.pointwise(bytes * own.sum::<f64>() / replicas)
        };
        StepCosts {
            n_ranks,
            n_micro_batches: degrees.n_micro_batches,
            exchange_s: chunks.iter().map(exchange).collect(),
            overlap: self.stack.overlap_data,
            optimizer_s: (0..n_ranks).map(optimizer).collect(),
            chunks,
        }
    }
}

/// A pass with a collective of which the share `overlap` may run beside it.
#[must_use]
pub fn beside(pass_s: f64, collective_s: f64, overlap: f64) -> f64 {
    pass_s.max(overlap * collective_s) + (1.0 - overlap) * collective_s
}

/// What tells blocks of runs apart.
fn key(run: &Run, per_host: u64) -> [u64; 28] {
    let (card, degrees) = (&run.card, &run.parallelism);
    let [a, b, c] = rank_groups::layout_of_blocks(degrees, per_host);
    let experts =
        card.experts.map_or([0; 4], |e| [e.n_experts, e.per_token, e.feed_forward, e.n_shared]);
    let attention = match card.attention {
        Attention::Even => [0; 6],
        Attention::Heads { dim } => [1, dim, 0, 0, 0, 0],
        Attention::Latent { query_rank, key_value_rank, plain, rotary, value } => {
            [2, query_rank.unwrap_or(0), key_value_rank, plain, rotary, value]
        }
    };
    let recompute = match run.recompute {
        Recompute::None => 0,
        Recompute::Selective => 1,
        Recompute::Full | Recompute::Uniform { .. } | Recompute::Block { .. } => 2,
    };
    [
        card.hidden,
        card.n_heads,
        card.n_kv_heads,
        card.feed_forward,
        card.form as u64,
        card.sequence,
        card.vocabulary,
        experts[0],
        experts[1],
        experts[2],
        experts[3],
        attention[0],
        attention[1],
        attention[2],
        attention[3],
        attention[4],
        attention[5],
        u64::from(degrees.tensor),
        u64::from(degrees.context),
        u64::from(degrees.expert),
        degrees.micro_batch,
        degrees.sequence as u64,
        recompute,
        run.gradients as u64,
        run.dtype as u64,
        a,
        b,
        c,
    ]
}

/// Blocks of a chunk that are computed again.
fn recomputed(policy: Recompute, n_blocks: u32) -> u32 {
    match policy {
        Recompute::None => 0,
        Recompute::Selective | Recompute::Full | Recompute::Uniform { .. } => n_blocks,
        Recompute::Block { blocks } => blocks.min(n_blocks),
    }
}

/// Bytes that one block keeps of one micro-batch; see [`block_bytes`]. Blocks of a group under
/// uniform recompute share one input, and of those that are not computed again all is kept.
fn stash(run: &Run, stack: &Stack, n_blocks: u32) -> f64 {
    let bytes = |kept| block_bytes(&run.card, &run.parallelism, (stack.attention, run.dtype), kept);
    let n = f64::from(n_blocks);
    match run.recompute {
        Recompute::None => n * bytes(Kept::All),
        Recompute::Selective => n * bytes(Kept::WithoutCore),
        Recompute::Full => n * bytes(Kept::Input),
        Recompute::Uniform { blocks } => (n / f64::from(blocks.max(1))).ceil() * bytes(Kept::Input),
        Recompute::Block { .. } => {
            let again = f64::from(recomputed(run.recompute, n_blocks));
            again * bytes(Kept::Input) + (n - again) * bytes(Kept::All)
        }
    }
}
