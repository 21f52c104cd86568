//! A training run on a transformer card, and a card under given degrees.

use ir::card::stored::Held;
use ir::card::{BlockGroup, ModelCard, Recompute, TransformerCard};
use ir::plan::{Parallelism, Partition, Plan, Stage};
use ir::tensor::DType;

pub use crate::kernels::precision::Gradients;

/// A card under given degrees, in given numbers: what blocks and ends are priced of.
#[derive(Clone, Copy, Debug)]
pub struct Sharded<'a> {
    /// The model, or one kind of its blocks.
    pub card: &'a TransformerCard,
    /// Degrees and batch sizes.
    pub parallelism: &'a Parallelism,
    /// Numbers of the gradients.
    pub gradients: Gradients,
    /// Type that it computes in, one of [`precision::TYPES`].
    pub dtype: DType,
    /// Bytes of weights and caches of a model that serves; training holds none of its own.
    pub held: Held,
}

/// What a time is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timed {
    /// A whole step.
    #[default]
    Step,
    /// Forward and backward passes and what replicas exchange, without the optimizer.
    Passes,
    /// The forward pass.
    Forward,
    /// The forward pass of the blocks, without a head.
    Blocks,
}

/// A training run that may have been measured: a model and its plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The model.
    pub model: ModelCard,
    /// Degrees, batch sizes, blocks and recompute of each chunk; its grid is made elsewhere.
    pub plan: Plan,
    /// Numbers of the gradients.
    pub gradients: Gradients,
    /// Type that it computes in, one of [`precision::TYPES`].
    pub dtype: DType,
    /// What its time is of.
    pub timed: Timed,
    /// The groups of its model without names and depths: runs with equal ones have equal blocks.
    pub(super) kinds: Vec<BlockGroup>,
}

impl Run {
    /// A run of a model of equal blocks, see [`Self::of`].
    #[must_use]
    pub fn equal(card: TransformerCard, parallelism: Parallelism, recompute: Recompute) -> Self {
        Self::of(ModelCard::uniform(card), parallelism, recompute)
    }

    /// Whole steps in bf16 whose blocks are spread as evenly as possible; see [`equal_blocks`].
    #[must_use]
    pub fn of(model: ModelCard, parallelism: Parallelism, recompute: Recompute) -> Self {
        let n_chunks = parallelism.pipeline.saturating_mul(parallelism.virtual_stages);
        let mut next = 0;
        let stages = equal_blocks(model.n_blocks(), n_chunks).into_iter().map(|n| {
            let blocks = next..next + n;
            next = blocks.end;
            Stage { ops: Vec::new(), blocks, recompute, each: Vec::new(), mesh: None }
        });
        let plan = Plan {
            partition: Partition { stages: stages.collect() },
            parallelism,
            ..Plan::default()
        };
        Self {
            kinds: model.groups.iter().map(kind).collect(),
            model,
            plan,
            gradients: Gradients::default(),
            dtype: DType::Bf16,
            timed: Timed::Step,
        }
    }

    /// The same with other gradients.
    #[must_use]
    pub fn with_gradients(self, gradients: Gradients) -> Self {
        Self { gradients, ..self }
    }

    /// The card of its first blocks and its ends; `None` of a model without blocks.
    #[must_use]
    pub fn card(&self) -> Option<&TransformerCard> {
        self.model.groups.first().map(|group| &group.card)
    }

    /// Degrees and batch sizes.
    #[must_use]
    pub fn degrees(&self) -> &Parallelism {
        &self.plan.parallelism
    }

    /// By chunk in model order, its rank.
    #[must_use]
    pub fn ranks(&self) -> Vec<u32> {
        let n_ranks = self.plan.parallelism.pipeline.max(1);
        (0..n_ranks).cycle().take(self.plan.partition.stages.len()).collect()
    }
}

/// A group without its name and depth.
fn kind(group: &BlockGroup) -> BlockGroup {
    let card = TransformerCard { name: String::new(), n_layers: 0, ..group.card.clone() };
    BlockGroup { card, n_blocks: 0, ..group.clone() }
}

/// Most chunks that blocks are spread over.
const MOST_CHUNKS: u32 = 1 << 16;

/// Blocks of each chunk: equal, and where they don't divide, one more on the chunks between the
/// first and the last before these get one, because embedding and head are work too.
#[must_use]
pub fn equal_blocks(n_blocks: u32, n_chunks: u32) -> Vec<u32> {
    let n_chunks = n_chunks.clamp(1, MOST_CHUNKS);
    let (each, rest) = (n_blocks / n_chunks, n_blocks % n_chunks);
    let inner = n_chunks.saturating_sub(2);
    (0..n_chunks)
        .map(|chunk| {
            let rank = match chunk {
                0 => inner,
                _ if chunk + 1 == n_chunks => inner + 1,
                _ => chunk - 1,
            };
            each + u32::from(rank < rest)
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use ir::card::{Attention, FeedForward, Head};

    use super::*;

    /// A card and degrees that a test may change.
    #[derive(Clone, Debug)]
    pub(in crate::runs::forms) struct Case {
        pub(in crate::runs::forms) card: TransformerCard,
        pub(in crate::runs::forms) parallelism: Parallelism,
    }

    impl Case {
        pub(in crate::runs::forms) fn sharded(&self) -> Sharded<'_> {
            let (gradients, dtype, stored) = (Gradients::default(), DType::Bf16, Held::default());
            Sharded {
                card: &self.card,
                parallelism: &self.parallelism,
                gradients,
                dtype,
                held: stored,
            }
        }
    }

    /// A GPT of 4 blocks of 1,024, one sample of 512 tokens at a time, on one device.
    pub(in crate::runs::forms) fn gpt() -> Case {
        let card = TransformerCard {
            name: "gpt".to_owned(),
            n_layers: 4,
            hidden: 1024,
            n_heads: 16,
            n_kv_heads: 16,
            feed_forward: 4096,
            form: FeedForward::Plain,
            sequence: 512,
            vocabulary: 51_200,
            experts: None,
            attention: Attention::Even,
            head: Head::Tied,
        };
        Case { card, parallelism: Parallelism::default() }
    }

    #[test]
    fn inner_chunks_get_the_rest_first() {
        assert_eq!(equal_blocks(8, 4), [2, 2, 2, 2]);
        assert_eq!(equal_blocks(82, 12), [6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 6]);
        assert_eq!(equal_blocks(7, 4), [2, 2, 2, 1]);
        assert_eq!(equal_blocks(3, 1), [3]);
        assert_eq!(equal_blocks(3, 2), [2, 1]);
        for (n_blocks, n_chunks) in [(0, 1), (5, 7), (100, 9), (1, 0)] {
            assert_eq!(equal_blocks(n_blocks, n_chunks).iter().sum::<u32>(), n_blocks);
        }
    }
}
