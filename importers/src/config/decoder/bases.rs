//! What several families of decoders share.

use super::style::{
    Attention, Delta, FeedForward, Form, GPT, Gate, HeadNorm, Join, LLAMA, MIXTURE, Mixer, Mixture,
    Norm, Pattern, Positions, SHARED, Space, Style, When,
};
use When::{Always, If, Never};

pub(super) const FULL: &str = "full_attention";
pub(super) const SLIDING: &str = "sliding_attention";
/// Windows wherever the config states how wide they are.
pub(super) const WINDOWS: Pattern = Pattern::All(SLIDING);
/// Every fourth layer from the first on attends to all tokens.
pub(super) const PERIOD: Pattern = Pattern::Leading(4);
pub(super) const QK: [&str; 2] = ["q_norm", "k_norm"];
pub(super) const BEHIND: [&str; 4] =
    ["", "post_attention_layernorm", "", "post_feedforward_layernorm"];
pub(super) const FOUR: [&str; 4] = [
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
];
pub(super) const GLM_FOUR: [&str; 4] = [
    "input_layernorm",
    "post_self_attn_layernorm",
    "post_attention_layernorm",
    "post_mlp_layernorm",
];

/// Without biases, whatever a config says.
pub(super) const PLAIN_LLAMA: Style = LLAMA.biases(Never, Never);
pub(super) const QWEN2: Style = LLAMA.biases(Always, Never).pattern(Pattern::Late);
pub(super) const QWEN3: Style = LLAMA.head_norms(QK, Always).pattern(Pattern::Late);
pub(super) const GEMMA2: Style = LLAMA.norms(FOUR).pattern(Pattern::Every(2, FULL, SLIDING));
pub(super) const OLMO2: Style = LLAMA.norms(BEHIND).wide_norms(Always);
pub(super) const COHERE: Style = Style {
    norm: Norm::LayerWeight,
    join: Join::Beside,
    norms: ["input_layernorm", "", "", ""],
    ..LLAMA
};
pub(super) const GLM4: Style = LLAMA.biases(If("attention_bias"), Never).halves().norms(GLM_FOUR);
pub(super) const LAYER_LLAMA: Style = Style { norm: Norm::Layer, ..LLAMA };
pub(super) const QWEN2_MOE: Mixture =
    Mixture { shared: "shared_expert", shared_gate: "shared_expert_gate", ..MIXTURE };
/// Beside shared ones, in all layers but the first.
pub(super) const LATER: Mixture = Mixture { n_dense: 1, ..SHARED };
pub(super) const JETMOE: Mixture = Mixture { router: "router.layer", sum_bias: "bias", ..MIXTURE };
pub(super) const GRANITE_MOE: Mixture =
    Mixture { module: "block_sparse_moe", router: "router", ..MIXTURE };
pub(super) const NEOX: Style = Style {
    root: "gpt_neox",
    tokens: "embed_in",
    last_norm: "final_layer_norm",
    norm: Norm::Layer,
    attention: Attention {
        module: "attention",
        parts: &["query_key_value"],
        output: "dense",
        ..LLAMA.attention
    },
    ..LLAMA.plain(["dense_h_to_4h", "dense_4h_to_h"], Always)
};
pub(super) const BLOOM: Style = Style {
    root: "transformer",
    tokens: "word_embeddings",
    tokens_norm: "word_embeddings_layernorm",
    positions: Positions::Fixed,
    layers: "h",
    last_norm: "ln_f",
    attention: Attention {
        module: "self_attention",
        bias: Always,
        output_bias: Always,
        ..NEOX.attention
    },
    ..NEOX
};
pub(super) const OPT: Style = Style {
    root: "model.decoder",
    positions: Positions::Table { module: "embed_positions", more: 2 },
    last_norm: "final_layer_norm",
    norm: Norm::Layer,
    norms: ["self_attn_layer_norm", "", "final_layer_norm", ""],
    attention: Attention {
        output: "out_proj",
        bias: If("enable_bias"),
        output_bias: If("enable_bias"),
        ..LLAMA.attention
    },
    feed_forward: FeedForward {
        module: "",
        form: Form::Plain,
        names: ["", "fc1", "fc2"],
        bias: If("enable_bias"),
        inner_norm: "",
    },
    ..LLAMA
};
pub(super) const XGLM: Style = Style {
    root: "model",
    positions: Positions::Fixed,
    last_norm: "layer_norm",
    attention: Attention { bias: Always, output_bias: Always, ..OPT.attention },
    feed_forward: FeedForward { bias: Always, ..OPT.feed_forward },
    ..OPT
};
pub(super) const GPTJ: Style = Style {
    positions: Positions::Rotary,
    head_bias: Always,
    join: Join::Beside,
    norms: ["ln_1", "", "", ""],
    attention: Attention {
        parts: LLAMA.attention.parts,
        output: "out_proj",
        bias: Never,
        output_bias: Never,
        ..GPT.attention
    },
    ..GPT.plain(["fc_in", "fc_out"], Always)
};
pub(super) const MAMBA: Style = Style {
    feeds: false,
    root: "backbone",
    tokens: "embeddings",
    last_norm: "norm_f",
    norms: ["norm", "", "", ""],
    pattern: Pattern::Only(Mixer::Space(Space::Channels)),
    space_module: "mixer",
    ..LLAMA
};
pub(super) const PERSIMMON: Style = Style {
    root: "model",
    tokens: "embed_tokens",
    last_norm: "final_layernorm",
    attention: Attention {
        module: "self_attn",
        bias: Always,
        output_bias: Always,
        ..NEOX.attention
    },
    ..NEOX
};
pub(super) const BAMBA: Style = Style {
    norms: ["input_layernorm", "", "pre_ff_layernorm", ""],
    last_norm: "final_layernorm",
    linear: Mixer::Space(Space::Heads),
    feed_forward: FeedForward { module: "feed_forward", ..LLAMA.feed_forward },
    ..LLAMA
};
pub(super) const QWEN3_NEXT: Style = Style {
    attention: Attention { gate: Gate::Doubled, ..QWEN3.attention },
    pattern: Pattern::Every(4, FULL, "linear_attention"),
    linear: Mixer::Delta(Delta::Pair),
    space_module: "linear_attn",
    ..QWEN3
};
pub(super) const LFM2: Style = Style {
    last_norm: "embedding_norm",
    norms: ["operator_norm", "", "ffn_norm", ""],
    attention: Attention { output: "out_proj", bias: Never, output_bias: Never, ..LLAMA.attention },
    pattern: Pattern::Indices("conv"),
    space_module: "conv",
    feed_forward: FeedForward {
        module: "feed_forward",
        names: ["w1", "w3", "w2"],
        ..LLAMA.feed_forward
    },
    ..LLAMA
};

pub(super) const EXAONE4: Style =
    PLAIN_LLAMA.head_norms(QK, Always).pattern(Pattern::Every(4, FULL, SLIDING));
pub(super) const HUNYUAN: Style = LLAMA.head_norms(["query_layernorm", "key_layernorm"], Always);
pub(super) const PHI: Style = Style {
    last_norm: "final_layernorm",
    head_bias: Always,
    norm: Norm::Layer,
    join: Join::Beside,
    norms: ["input_layernorm", "", "", ""],
    attention: Attention { output: "dense", bias: Always, output_bias: Always, ..LLAMA.attention },
    ..LLAMA.plain(["fc1", "fc2"], Always)
};
pub(super) const LLAMA4: Style = Style {
    attention: Attention {
        norm: Some(HeadNorm {
            names: ["qk_norm", "qk_norm"],
            kind: Norm::RmsBare,
            is_wide: false,
            when: If("use_qk_norm"),
        }),
        ..LLAMA.attention
    },
    pattern: Pattern::Unturned("chunked_attention", FULL),
    feed_forward: FeedForward { module: "feed_forward", bias: Never, ..LLAMA.feed_forward },
    ..LLAMA
}
.experts(Mixture { module: "feed_forward", router: "router", shared: "shared_expert", ..MIXTURE });
pub(super) const NEMOTRON_H: Style = Style {
    feeds: false,
    ties: false,
    tokens: "embeddings",
    last_norm: "norm_f",
    norms: ["norm", "", "norm", ""],
    attention: Attention { module: "mixer", bias: Never, output_bias: Never, ..LLAMA.attention },
    linear: Mixer::Space(Space::Heads),
    pattern: Pattern::All("mamba"),
    space_module: "mixer",
    feed_forward: FeedForward { module: "mixer", ..LLAMA.feed_forward },
    ..LLAMA
}
.plain(["up_proj", "down_proj"], If("mlp_bias"))
.experts(Mixture { module: "mixer", form: Form::Plain, ..SHARED });

impl Style {
    /// With a number for each head that stands in its softmax.
    pub(super) const fn sinks(self) -> Self {
        let attention = Attention { sinks: Always, window_sinks: Always, ..self.attention };
        Self { attention, ..self }
    }
}
