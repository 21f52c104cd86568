//! Memory of a training run in 16 bits on a transformer card: separate lines per pipeline rank, never
//! averaged over ranks.
//!
//! States follow [`states`], activations [`activations`], micro-batches in flight [`in_flight`];
//! what no formula gives is a [`Reserve`]. All figures are bytes of one device.

use ir::card::{MemoryFeature, Recompute, StateFormat, TransformerCard};
use ir::plan::Parallelism;
use ir::stack::AttentionKernel;

pub mod activations;
pub mod in_flight;
mod lines;
pub mod reserve;
pub mod states;

pub use reserve::Reserve;

/// A training run as far as its memory goes.
#[derive(Clone, Copy, Debug)]
pub struct TrainingRun<'a> {
    /// The model.
    pub card: &'a TransformerCard,
    /// Degrees and batch sizes.
    pub parallelism: &'a Parallelism,
    /// What each rank computes again.
    pub recompute: Recompute,
    /// Kernel of the attention core.
    pub attention: AttentionKernel,
    /// In which formats states are kept.
    pub format: StateFormat,
    /// Declared features that cost memory.
    pub features: &'a [MemoryFeature],
    /// What is set aside.
    pub reserve: Reserve,
}

/// A pipeline rank and its share of the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RankShare {
    /// Position in the pipeline, from 0.
    pub rank: u32,
    /// Blocks on it, over all its chunks.
    pub blocks: u32,
}

/// What a line stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LineKind {
    /// Weights of the blocks.
    Parameters,
    /// Their gradients.
    Gradients,
    /// Their single-precision copy.
    MasterWeights,
    /// Their optimizer states.
    OptimizerStates,
    /// All states of the embedding, of learned positions and of the head, and the masks of the
    /// embedding's dropout.
    Embedding,
    /// Activations of the micro-batches in flight.
    Activations,
    /// The block that is computed again during its backward pass.
    Recomputed,
    /// Logits and loss.
    Logits,
    /// Copies of a fused loss.
    LossFusion,
    /// Inputs and gradients that a deferred embedding gradient keeps.
    DeferredEmbeddingGradient,
    /// Activations of the chunk that runs ahead.
    TunableOverlap,
    /// Gathered parameters and messages between stages.
    Buffers,
    /// Rounding of the allocator and small tensors.
    Allocator,
    /// Scratch memory of product libraries.
    Workspace,
    /// Context of the driver.
    Context,
    /// Buffers of communicators.
    Communicators,
    /// Free memory that can't be used.
    Fragmentation,
}

/// One line of a rank's memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemoryLine {
    /// What it stands for.
    pub kind: LineKind,
    /// Bytes, never negative.
    pub bytes: f64,
}

/// Blocks of each rank where they are shared out equally; the first ranks hold one more where they
/// can't be. A pipeline has at least one rank.
#[must_use]
pub fn equal_shares(card: &TransformerCard, parallelism: &Parallelism) -> Vec<RankShare> {
    let n = parallelism.pipeline.max(1).min(card.n_layers.max(1));
    let (least, more) = (card.n_layers / n, card.n_layers % n);
    (0..n).map(|rank| RankShare { rank, blocks: least + u32::from(rank < more) }).collect()
}

impl TrainingRun<'_> {
    /// The lines of one rank at its peak, in the order of [`LineKind`]; lines of no bytes are left
    /// out.
    #[must_use]
    pub fn lines(&self, share: RankShare) -> Vec<MemoryLine> {
        lines::of_rank(self, share)
    }

    /// Bytes of one rank at its peak.
    #[must_use]
    pub fn peak(&self, share: RankShare) -> f64 {
        self.lines(share).iter().map(|line| line.bytes).sum()
    }

    fn has(&self, feature: MemoryFeature) -> bool {
        self.features.contains(&feature)
    }
}

#[cfg(test)]
mod tests;
