//! How a family of decoders is made, beyond the numbers of its config.

/// Whether a part is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Never,
    Always,
    /// Where the config's flag says so.
    If(&'static str),
}

/// What a norm has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Norm {
    /// Root mean square, a weight.
    Rms,
    /// Root mean square, no parameters.
    RmsBare,
    /// Mean and variance, a weight and a bias.
    Layer,
    /// Mean and variance, a weight.
    LayerWeight,
    /// Mean and variance, no parameters.
    LayerBare,
}

/// What position a token has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Positions {
    /// Queries and keys are turned.
    Rotary,
    /// A learnt table, of so many rows beyond the stated ones.
    Table { module: &'static str, more: u64 },
    /// Fixed, added to the embeddings or to the scores.
    Fixed,
}

/// How attention and the feed-forward part of a layer stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Join {
    /// One after the other, norms before and behind each as the style names them.
    After,
    /// Side by side on the same state; the third norm is the feed-forward part's own, if named.
    Beside,
    /// One after the other, with the second and fourth norm behind the sums.
    Sums,
    /// One after the other, between mixes of several streams of states (Xie et al. 2026, manifold-constrained
    /// hyper-connections).
    Streams,
    /// One after the other; each part reads a mix of the states that earlier blocks of layers left (Kimi K3,
    /// attention residuals).
    Recalled,
}

/// Norms of queries and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeadNorm {
    pub names: [&'static str; 2],
    pub kind: Norm,
    /// Elements of the weight: of one head, or of all.
    pub is_wide: bool,
    pub when: When,
}

/// What scales the output of attention before its last product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    None,
    /// The second half of a query product twice as wide.
    Doubled,
    /// A product of its own, of a column for each element.
    Wide(&'static str),
    /// The same with a number for each head that is added.
    Biased(&'static str, &'static str),
    /// A product of its own, of a column for each head.
    Heads(&'static str),
}

/// Attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attention {
    pub module: &'static str,
    /// Products of queries, keys and values, or one of all three.
    pub parts: &'static [&'static str],
    pub output: &'static str,
    pub bias: When,
    pub output_bias: When,
    pub norm: Option<HeadNorm>,
    /// A parameter of one number for each head.
    pub sinks: When,
    /// The same in layers with windows.
    pub window_sinks: When,
    /// How many times as many heads of keys layers with windows have, where no field says how many.
    pub window_kv_heads: u64,
    /// Whether keys are values too, in layers without windows.
    pub keys_are_values: When,
    /// Whether values have a norm without parameters.
    pub value_norm: bool,
    pub gate: Gate,
    /// A norm before the last product.
    pub inner_norm: &'static str,
    /// Further parameters of one number for each head of keys.
    pub vectors: &'static [&'static str],
    /// Whether one head of keys, which are values too, serves all heads of queries, behind narrow products.
    pub is_entries: bool,
}

/// The first products of a feed-forward part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A gate beside the product that it scales.
    Gated,
    /// Both in one product.
    Halves,
    /// One product.
    Plain,
}

/// A feed-forward part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FeedForward {
    pub module: &'static str,
    pub form: Form,
    /// First products, and the last.
    pub names: [&'static str; 3],
    pub bias: When,
    /// A norm before the last product.
    pub inner_norm: &'static str,
}

/// Experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mixture {
    pub module: &'static str,
    pub router: &'static str,
    pub router_bias: When,
    /// A parameter of one number for each expert.
    pub score_bias: &'static str,
    /// A parameter that scales what the router reads.
    pub router_scale: &'static str,
    /// Whether products of experts have biases.
    pub biases: bool,
    /// A bias of the sum of all, or a norm of it.
    pub sum_bias: &'static str,
    pub sum_norm: &'static str,
    pub form: Form,
    /// Experts that all tokens go to, as one feed-forward part.
    pub shared: &'static str,
    /// A product of one column that scales them.
    pub shared_gate: &'static str,
    /// Norms of the feed-forward part beside which experts stand, before these and behind them; else empty.
    pub beside: [&'static str; 3],
    /// First layers without experts, where no field says how many.
    pub n_dense: u64,
    /// Experts that a token goes to whatever the config says; 0 where it says.
    pub per_token: u64,
    /// Whether one expert alone is none.
    pub is_many: bool,
    /// Whether one expert is shared, however many the config states.
    pub is_one_shared: bool,
    /// Products into a narrower width for experts and out of it, and a norm before the latter, where there is one.
    pub latent: [&'static str; 3],
}

/// What a layer of a config's list, or of the family's pattern, is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mixer {
    /// Attention to all tokens.
    Full,
    /// Attention to so many of them.
    Window(u64),
    /// Attention to those that an index picks (DeepSeek-AI 2025, DeepSeek-V3.2, section 2.1); whether the layer
    /// has the index, and does not take what a layer before picked.
    Picked(bool),
    /// Attention to blocks of tokens that the layer's own index picks.
    Blocks,
    /// Attention to the latest tokens and to what a compressor makes of all; whether an index picks of the latter.
    Compressed(bool),
    /// A product in place of attention.
    Linear,
    /// A selective state space.
    Space(Space),
    /// A recurrence of products of keys and values, behind a convolution.
    Delta(Delta),
    /// Products of keys and values by blocks.
    Lightning,
    /// A gated convolution.
    Convolution,
    /// A gated linear recurrence.
    Recurrence,
    /// A state space and attention on the same state.
    Both(Space),
    /// Attention whose queries and outputs are experts'.
    Routed,
    /// A block that several layers share, beside a state space (Glorioso et al. 2024,
    /// arXiv:2411.15242).
    Shared,
    /// Attention to the states of another model, behind gates that start closed.
    Cross,
    /// The feed-forward part stands alone.
    None,
}

/// The two state spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    /// With a state for each channel (Gu and Dao, arXiv:2312.00752).
    Channels,
    /// With a state for each head (Dao and Gu, arXiv:2405.21060).
    Heads,
}

/// How the products before a delta rule are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delta {
    /// Two.
    Pair,
    /// Four.
    Four,
    /// One for queries, keys and values each, with a decay for each channel (Kimi Team 2025, arXiv:2510.26692).
    Channels,
}

/// Which layers differ where the config has no list of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// All layers alike: of this type.
    All(&'static str),
    /// Every so manieth is of the first type, others of the second; a field may say how many.
    Every(u64, &'static str, &'static str),
    /// Of every so many the first attends to all tokens, others to a window.
    Leading(u64),
    /// The first layer and every so manieth attend to all tokens, others to a window.
    FirstAndEvery(u64),
    /// The layers from `max_window_layers` on have a window, if `use_sliding_window` says so.
    Late,
    /// Windows, if `use_sliding_window` says so.
    Allowed,
    /// Layers without positions are of the second type.
    Unturned(&'static str, &'static str),
    /// By `attn_layer_period` and `attn_layer_offset`, or `attn_layer_indices`.
    Period(&'static str),
    /// Those of `full_attn_idxs` attend.
    Indices(&'static str),
    /// By `block_types`, over and over.
    Cycle,
    /// By `attention_types`, pairs of names and counts.
    Runs,
    /// An index picks in all of them, one of the layer's own by `indexer_types` or `index_topk_freq`.
    Picked,
    /// Layers of the second type between those of the first, two of which come first.
    Interleaved(&'static str, &'static str),
    /// All of them, of a mixer that no list names.
    Only(Mixer),
}

/// A family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    /// The module of all but the head.
    pub root: &'static str,
    pub tokens: &'static str,
    pub tokens_norm: &'static str,
    /// Rows of the embedding beyond the vocabulary.
    pub more_tokens: u64,
    pub positions: Positions,
    pub layers: &'static str,
    pub last_norm: &'static str,
    pub head: &'static str,
    pub head_bias: When,
    /// Whether the head can be the embedding.
    pub ties: bool,
    pub norm: Norm,
    /// Before and behind attention, before and behind the feed-forward part; empty where absent.
    pub norms: [&'static str; 4],
    pub join: Join,
    /// Parameters that scale the states that both parts are added to.
    pub scales: [&'static str; 2],
    pub attention: Attention,
    /// Whether heads that do not divide the width are refused, and not rounded down.
    pub divides: bool,
    pub pattern: Pattern,
    /// Layers of the types `linear_attention` and `mamba`.
    pub linear: Mixer,
    /// Where such mixers are, and whether their narrow products have norms.
    pub space_module: &'static str,
    pub space_norms: bool,
    /// Whether layers have a feed-forward part whose type does not say so.
    pub feeds: bool,
    pub feed_forward: FeedForward,
    pub mixture: Option<Mixture>,
}

const SELF_ATTENTION: Attention = Attention {
    module: "self_attn",
    parts: &["q_proj", "k_proj", "v_proj"],
    output: "o_proj",
    bias: When::If("attention_bias"),
    output_bias: When::If("attention_bias"),
    norm: None,
    sinks: When::Never,
    window_sinks: When::Never,
    window_kv_heads: 1,
    keys_are_values: When::Never,
    value_norm: false,
    gate: Gate::None,
    inner_norm: "",
    vectors: &[],
    is_entries: false,
};

const GATED: FeedForward = FeedForward {
    module: "mlp",
    form: Form::Gated,
    names: ["gate_proj", "up_proj", "down_proj"],
    bias: When::If("mlp_bias"),
    inner_norm: "",
};

/// Experts beside nothing else.
pub(super) const MIXTURE: Mixture = Mixture {
    module: "mlp",
    router: "gate",
    router_bias: When::Never,
    score_bias: "",
    router_scale: "",
    biases: false,
    sum_bias: "",
    sum_norm: "",
    form: Form::Gated,
    shared: "",
    shared_gate: "",
    beside: [""; 3],
    n_dense: 0,
    per_token: 0,
    is_many: false,
    is_one_shared: false,
    latent: ["fc1_latent_proj", "fc2_latent_proj", ""],
};

/// Experts beside shared ones.
pub(super) const SHARED: Mixture = Mixture { shared: "shared_experts", ..MIXTURE };

/// Rotary positions, RMS norms before both parts, gates.
pub(super) const LLAMA: Style = Style {
    root: "model",
    tokens: "embed_tokens",
    tokens_norm: "",
    more_tokens: 0,
    positions: Positions::Rotary,
    layers: "layers",
    last_norm: "norm",
    head: "lm_head",
    head_bias: When::Never,
    ties: true,
    norm: Norm::Rms,
    norms: ["input_layernorm", "", "post_attention_layernorm", ""],
    join: Join::After,
    scales: [""; 2],
    attention: SELF_ATTENTION,
    divides: true,
    pattern: Pattern::All("full_attention"),
    linear: Mixer::Space(Space::Channels),
    space_module: "mamba",
    space_norms: false,
    feeds: true,
    feed_forward: GATED,
    mixture: None,
};

/// Learnt positions, norms with biases, one plain product on either side of the function.
pub(super) const GPT: Style = Style {
    root: "transformer",
    tokens: "wte",
    positions: Positions::Table { module: "wpe", more: 0 },
    layers: "h",
    last_norm: "ln_f",
    norm: Norm::Layer,
    norms: ["ln_1", "", "ln_2", ""],
    attention: Attention {
        module: "attn",
        parts: &["c_attn"],
        output: "c_proj",
        bias: When::Always,
        output_bias: When::Always,
        ..SELF_ATTENTION
    },
    feed_forward: FeedForward {
        form: Form::Plain,
        names: ["", "c_fc", "c_proj"],
        bias: When::Always,
        ..GATED
    },
    ..LLAMA
};

impl Style {
    /// With norms of each head's queries and keys.
    pub(super) const fn head_norms(self, names: [&'static str; 2], when: When) -> Self {
        let norm = HeadNorm { names, kind: self.norm, is_wide: false, when };
        Self { attention: Attention { norm: Some(norm), ..self.attention }, ..self }
    }

    /// With norms of all queries and all keys.
    pub(super) const fn wide_norms(self, when: When) -> Self {
        let names = ["q_norm", "k_norm"];
        let norm = HeadNorm { names, kind: self.norm, is_wide: true, when };
        Self { attention: Attention { norm: Some(norm), ..self.attention }, ..self }
    }

    /// With biases of queries, keys and values, and of the output.
    pub(super) const fn biases(self, qkv: When, output: When) -> Self {
        let attention = Attention { bias: qkv, output_bias: output, ..self.attention };
        Self { attention, ..self }
    }

    /// With experts.
    pub(super) const fn experts(self, mixture: Mixture) -> Self {
        Self { mixture: Some(mixture), ..self }
    }

    /// With one plain product on either side of the function.
    pub(super) const fn plain(self, [up, down]: [&'static str; 2], bias: When) -> Self {
        let (form, names) = (Form::Plain, ["", up, down]);
        let feed_forward = FeedForward { form, names, bias, ..self.feed_forward };
        Self { feed_forward, ..self }
    }

    /// With gate and product in one.
    pub(super) const fn halves(self) -> Self {
        let names = ["", "gate_up_proj", "down_proj"];
        let feed_forward = FeedForward { form: Form::Halves, names, ..self.feed_forward };
        Self { feed_forward, ..self }
    }

    /// With such layers where no list says otherwise.
    pub(super) const fn pattern(self, pattern: Pattern) -> Self {
        Self { pattern, ..self }
    }

    /// With such norms.
    pub(super) const fn norms(self, norms: [&'static str; 4]) -> Self {
        Self { norms, ..self }
    }
}
