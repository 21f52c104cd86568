//! A transformer by its figures alone, and how a training run treats its blocks.
//!
//! Models that no transformer's figures describe are chains of parts, each by what its ops do
//! ([`part`]).

pub mod part;
pub mod stored;

use part::PartCard;
use stored::{Held, Stored};

use crate::tensor::DType;
use crate::tuning::Tuning;

/// The feed-forward part of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FeedForward {
    /// Two products with a pointwise function between them that is one kernel (BERT).
    #[default]
    Plain,
    /// Three products, one of them a gate (Llama, Qwen, Mixtral).
    Gated,
    /// As [`Self::Plain`], with a function that the model's own code writes as a formula, op by op
    /// (GPT-2's approximation of GELU).
    Written,
}

impl FeedForward {
    /// Whether one of its products is a gate.
    #[must_use]
    pub const fn is_gated(self) -> bool {
        matches!(self, Self::Gated)
    }

    /// Products that lead to the inner width.
    #[must_use]
    pub const fn n_first(self) -> u64 {
        if self.is_gated() { 2 } else { 1 }
    }
}

/// How queries, keys and values are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attention {
    /// Heads of `hidden / n_heads` elements.
    #[default]
    Even,
    /// Heads of a stated number of elements.
    Heads {
        /// Elements of a head.
        dim: u64,
    },
    /// The same with a sliding window.
    Window {
        /// Elements of a head.
        dim: u64,
        /// Tokens that a token attends to, itself included.
        tokens: u64,
    },
    /// Through narrow products, of which the key-value one alone is cached (DeepSeek-AI 2024,
    /// arXiv:2405.04434, section 2.1).
    Latent {
        /// Width of the narrow query; `None` where queries are made at once.
        query_rank: Option<u64>,
        /// Width of the narrow keys and values.
        key_value_rank: u64,
        /// Elements of a query or key head without position.
        plain: u64,
        /// Elements with rotary position; shared by the heads of a key.
        rotary: u64,
        /// Elements of a value head.
        value: u64,
    },
}

/// Whether the head's weight is the embedding's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Head {
    /// One tensor, on both ends of a pipeline.
    #[default]
    Tied,
    /// Two tensors.
    Separate,
}

/// How unevenly tokens visit the experts of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Skew {
    /// All alike.
    #[default]
    Balanced,
    /// The `i`-th most visited one in proportion to `1 / i^s`.
    Zipf {
        /// Thousandths of `s`.
        thousandths: u32,
    },
}

/// Mixture of experts in place of the feed-forward part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ExpertCard {
    /// Experts of a block.
    pub n_experts: u64,
    /// Experts that each token visits.
    pub per_token: u64,
    /// Inner width of one expert.
    pub feed_forward: u64,
    /// Experts of the same width that every token visits.
    pub n_shared: u64,
    /// Whether the products of experts have biases.
    pub has_biases: bool,
    /// How unevenly tokens visit them.
    pub skew: Skew,
}

impl ExpertCard {
    /// Expert load imbalance over `ranks` ranks: routed tokens of the busiest rank over the mean, where the busiest
    /// expert shares a rank with average ones. A token is routed to an expert once at most.
    #[must_use]
    pub fn heaviest(&self, ranks: u64) -> f64 {
        let Skew::Zipf { thousandths } = self.skew else { return 1.0 };
        let n = self.n_experts.max(1);
        let local = n.div_ceil(ranks.max(1)).max(1) as f64;
        let power = f64::from(thousandths) / 1e3;
        let visits: f64 = (1..=n.min(SUMMED)).map(|i| (i as f64).powf(-power)).sum();
        let first = (1.0 / visits).min(1.0 / self.per_token.max(1) as f64).max(1.0 / n as f64);
        let others = (1.0 - first) / (n as f64 - 1.0).max(1.0) * (local - 1.0);
        (first + others) * n as f64 / local
    }
}

/// Experts whose visits are summed up one by one; beyond them none is counted.
const SUMMED: u64 = 1 << 16;

/// A decoder or encoder of equal blocks between an embedding and a vocabulary head.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TransformerCard {
    /// Name.
    pub name: String,
    /// Blocks.
    pub n_layers: u32,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Query heads.
    pub n_heads: u64,
    /// Key and value heads; fewer than `n_heads` with grouped queries.
    pub n_kv_heads: u64,
    /// Inner width of the feed-forward part.
    pub feed_forward: u64,
    /// Form of the feed-forward part.
    pub form: FeedForward,
    /// Tokens of a sample.
    pub sequence: u64,
    /// Rows of the embedding.
    pub vocabulary: u64,
    /// Mixture of experts, where the blocks have one.
    pub experts: Option<ExpertCard>,
    /// How queries, keys and values are made.
    pub attention: Attention,
    /// Whether the head's weight is the embedding's.
    pub head: Head,
}

impl TransformerCard {
    /// Tokens of a sample that a token may attend to, whatever the mask of causality says.
    #[must_use]
    pub fn span(&self) -> u64 {
        match self.attention {
            Attention::Window { tokens, .. } => tokens.clamp(1, self.sequence.max(1)),
            _ => self.sequence,
        }
    }

    /// Scores that a causal kernel skips nothing of, over those of the whole causal triangle: of
    /// `s` tokens and a window of `w`, `(w s - w^2 / 2) / (s^2 / 2)`.
    #[must_use]
    pub fn window_share(&self) -> f64 {
        let share = self.span() as f64 / self.sequence.max(1) as f64;
        share * (2.0 - share)
    }

    /// Elements of a query or key head, and of a value head; at least 1.
    #[must_use]
    pub fn head_dims(&self) -> (u64, u64) {
        match self.attention {
            Attention::Even => {
                let dim = (self.hidden / self.n_heads.max(1)).max(1);
                (dim, dim)
            }
            Attention::Heads { dim } | Attention::Window { dim, .. } => (dim.max(1), dim.max(1)),
            Attention::Latent { plain, rotary, value, .. } => {
                (plain.saturating_add(rotary).max(1), value.max(1))
            }
        }
    }
}

/// So many blocks of one kind, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BlockGroup {
    /// The kind; its `n_layers` is not looked at.
    pub card: TransformerCard,
    /// Blocks.
    pub n_blocks: u32,
    /// Weights of products that each block has besides those of its card, such as the projection
    /// of a block that predicts a later token; `hidden` rows, not shared out by tensor ranks.
    pub extra_weights: u64,
    /// Trained parameters of each block less those that are counted so far, biases of queries and
    /// norms of heads, say; below zero where a graph lacks biases that the closed forms have. They
    /// are not shared out by tensor ranks, and their work is not counted.
    pub other_parameters: i64,
    /// What one block does, where that is known op by op and the card's figures say nothing.
    pub part: Option<Box<PartCard>>,
}

impl BlockGroup {
    /// Blocks that the card describes.
    #[must_use]
    pub fn of_card(card: TransformerCard, n_blocks: u32) -> Self {
        Self { card, n_blocks, extra_weights: 0, other_parameters: 0, part: None }
    }
}

/// A transformer with layers of several kinds, between an embedding and a vocabulary head.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModelCard {
    /// Name.
    pub name: String,
    /// Blocks in model order; hidden size, sequence, vocabulary and head are the same in all.
    pub groups: Vec<BlockGroup>,
    /// Tokens that are predicted per position: how often the head runs.
    pub n_predictions: u32,
    /// Trained parameters of the first and of the last stage less those that the closed forms of the
    /// cards count: positions beyond those of a sample, the last normalisation, say; below zero
    /// where a graph lacks biases that the closed forms have.
    pub other_parameters: [i64; 2],
    /// Type of the weights that the model's config states; `None` where it states none.
    pub dtype: Option<DType>,
    /// What its checkpoint holds, for a model that serves; `None` = all in the type of the run.
    pub stored: Option<Box<Stored>>,
    /// What of it is trained.
    pub tuning: Tuning,
}

impl ModelCard {
    /// Bytes of the numbers of a block of a model that serves.
    #[must_use]
    pub fn held(&self, block: usize) -> Held {
        self.stored.as_ref().map(|stored| stored.held(block)).unwrap_or_default()
    }

    /// What its checkpoint holds, where that is known by block.
    #[must_use]
    pub fn weights(&self) -> Option<&Stored> {
        self.stored.as_deref().filter(|stored| !stored.blocks.is_empty())
    }

    /// The same of the first block of a group.
    #[must_use]
    pub fn held_by(&self, group: usize) -> Held {
        let before = self.groups.iter().take(group).map(|group| group.n_blocks as usize);
        self.held(before.fold(0, usize::saturating_add))
    }

    /// Whether its blocks are parts of a graph, so that there are no tokens, heads or widths to
    /// share out.
    #[must_use]
    pub fn is_of_parts(&self) -> bool {
        self.groups.iter().any(|group| group.part.is_some())
    }

    /// Whether any of its blocks is a mixture of experts.
    #[must_use]
    pub fn has_experts(&self) -> bool {
        self.groups.iter().any(|group| group.card.experts.is_some())
    }

    /// A model of equal blocks.
    #[must_use]
    pub fn uniform(card: TransformerCard) -> Self {
        let n_blocks = card.n_layers;
        let name = card.name.clone();
        Self {
            name,
            groups: vec![BlockGroup::of_card(card, n_blocks)],
            n_predictions: 1,
            other_parameters: [0; 2],
            dtype: None,
            stored: None,
            tuning: Tuning::default(),
        }
    }

    /// Blocks of all kinds.
    #[must_use]
    pub fn n_blocks(&self) -> u32 {
        self.groups.iter().fold(0, |sum, group| sum.saturating_add(group.n_blocks))
    }

    /// By block in model order, the position of its kind.
    pub fn kinds(&self) -> impl Iterator<Item = usize> + '_ {
        let of = |(kind, group): (usize, &BlockGroup)| (0..group.n_blocks).map(move |_| kind);
        self.groups.iter().enumerate().flat_map(of)
    }
}

/// Recomputation (activation checkpointing) of a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Recompute {
    /// Nothing: all activations are saved.
    #[default]
    None,
    /// The attention core: scores, softmax, dropout (Korthikanti et al. 2022).
    Selective,
    /// Every second product by weights and pointwise ops; saved are the input of a layer, the
    /// outputs of the other products, of the attention core and of exchanges (torchtitan's
    /// selective activation checkpointing by op).
    PerOp,
    /// Every layer; only its input is saved.
    Full,
    /// Groups of N layers; only the input of each group is saved.
    Uniform {
        /// Layers of a group.
        blocks: u32,
    },
    /// The first N layers of the stage in full, the others not at all.
    Block {
        /// Recomputed layers.
        blocks: u32,
    },
}

/// What is sharded over data-parallel replicas (Rajbhandari et al. 2020).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ZeroStage {
    /// Nothing (0).
    #[default]
    None,
    /// Optimizer states (1).
    Optimizer,
    /// And gradients (2).
    Gradients,
    /// And parameters (3, fully sharded data parallel).
    Parameters,
}

/// Whether what lies between the tensor-parallel regions is split along the sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SequenceParallel {
    /// Every tensor rank holds all of it.
    #[default]
    Off,
    /// Each holds its share (Korthikanti et al. 2022).
    On,
    /// The ranks of the tensor axis split the sequence alone and hold whole weights; heads are
    /// exchanged around attention (Jacobs et al. 2023, DeepSpeed-Ulysses).
    Ulysses,
}

/// What a training stack does that costs memory beyond states and activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemoryFeature {
    /// The loss works in one fused function with copies of its own.
    LossFusion,
    /// The loss runs as separate functions in single precision, none in place.
    SeparateLoss,
    /// The weight gradient of the embedding is computed after the last micro-batch.
    DeferredEmbeddingGradient,
    /// The interleaved pipeline runs one chunk ahead so that exchanges overlap.
    TunableOverlap,
    /// The data-parallel group is split into N parts, each with a whole set of shards.
    OptimizerInstances(u32),
    /// The EP all-to-all of one micro-batch overlaps passes of another.
    ExchangeOverlap,
    /// Experts of a rank run one after the other, not as one grouped product.
    SeparateExperts,
}

/// In which formats a stack keeps the states of one parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StateFormat {
    /// Half-precision weights, single-precision gradients: 18 bytes (Megatron-LM, distributed
    /// optimizer documentation).
    #[default]
    Megatron,
    /// Half-precision weights and gradients: 16 bytes (Rajbhandari et al. 2020, section 3.1).
    HalfGradients,
    /// As `HalfGradients`, and gradients are summed in single precision: 20 bytes (DeepSpeed,
    /// BF16 optimizer).
    HalfGradientsSummed,
    /// Everything in single precision, no master copy: 16 bytes (fully sharded data parallel of
    /// PyTorch with mixed precision: the half-precision copy is a buffer).
    Single,
    /// Everything in half precision, no master copy, beside the moments of the optimizer: 4 bytes (16-bit
    /// parameters of PyTorch, as torchtune trains them).
    Half,
}
