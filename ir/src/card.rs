//! A transformer by its figures alone, and how a training run treats its blocks.

/// The feed-forward part of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FeedForward {
    /// Two products with a pointwise function between them (GPT-2, BERT).
    #[default]
    Plain,
    /// Three products, one of them a gate (Llama, Qwen, Mixtral).
    Gated,
}

/// Mixture of experts in place of the feed-forward part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExpertCard {
    /// Experts of a block.
    pub n_experts: u64,
    /// Experts that each token visits.
    pub per_token: u64,
    /// Inner width of one expert.
    pub feed_forward: u64,
}

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
}

/// What a stage computes again instead of keeping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Recompute {
    /// Nothing: all activations are kept.
    #[default]
    None,
    /// The attention core: scores, softmax, dropout (Korthikanti et al. 2022).
    Selective,
    /// Every block; its input alone is kept.
    Full,
    /// Groups of so many blocks; the input of each group alone is kept.
    Uniform {
        /// Blocks of a group.
        blocks: u32,
    },
    /// The first so many blocks of the stage in full, the others not at all.
    Block {
        /// Blocks that are computed again.
        blocks: u32,
    },
}

/// What the data-parallel replicas share out among them (Rajbhandari et al. 2020).
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
    /// The data-parallel group falls into so many parts, each with a whole set of shards.
    OptimizerInstances(u32),
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
}
