//! The families of decoders: a row for those that are made alike. What is not stated is as in
//! transformers 5.23.

use ir::diagnostic::Diagnostic;

use super::bases::*;
use super::changes::*;
use super::stated::{PICKED, POOLED};
use super::style::{
    Attention, Delta, FeedForward, GPT, Gate, Join, LLAMA, MIXTURE, Mixer, Mixture, Norm, Pattern,
    Positions, SHARED, Space, Style, When,
};
use crate::config::fields::Fields;

use When::{Always, If, Never};

/// Changes a style by what a config states.
type Adjust = fn(&mut Style, Fields<'_>) -> Result<(), Diagnostic>;

/// Model types that are made alike.
pub(super) struct Family {
    pub types: &'static [&'static str],
    pub style: Style,
    pub adjust: Option<Adjust>,
}

const fn of(types: &'static [&'static str], style: Style) -> Family {
    Family { types, style, adjust: None }
}

const fn adjusted(types: &'static [&'static str], style: Style, adjust: Adjust) -> Family {
    Family { types, style, adjust: Some(adjust) }
}

/// All families.
pub(super) const FAMILIES: &[Family] = &[
    of(&["llama", "granite", "iquestcoder", "internlm3"], LLAMA),
    of(&["helium"], LLAMA.biases(If("attention_bias"), Never)),
    of(&["emu3_text_model"], PLAIN_LLAMA),
    of(&["mistral", "ministral", "ministral3"], PLAIN_LLAMA.pattern(WINDOWS)),
    of(&["cwm"], PLAIN_LLAMA.pattern(PERIOD)),
    adjusted(&["hyperclovax"], LLAMA, hyperclovax),
    of(&["smollm3"], LLAMA.pattern(Pattern::Unturned(FULL, SLIDING))),
    of(&["seed_oss"], LLAMA.biases(If("attention_bias"), If("attention_out_bias"))),
    adjusted(&["ernie4_5"], LLAMA.biases(If("use_bias"), If("use_bias")), ernie),
    of(&["arcee"], LLAMA.plain(["up_proj", "down_proj"], If("mlp_bias"))),
    of(&["nemotron"], LAYER_LLAMA.plain(["up_proj", "down_proj"], If("mlp_bias"))),
    of(&["jais2"], LAYER_LLAMA.plain(["up_proj", "down_proj"], If("mlp_bias"))),
    of(&["olmo"], Style { norm: Norm::LayerBare, ..LLAMA }),
    of(&["olmo2"], OLMO2),
    of(&["olmo3"], OLMO2.pattern(Pattern::Every(4, FULL, SLIDING))),
    of(&["flex_olmo"], OLMO2.experts(MIXTURE)),
    of(&["olmoe"], LLAMA.wide_norms(Always).experts(MIXTURE)),
    of(&["qwen2", "qwen2_vl_text", "qwen2_5_vl_text", "qwen2_5_omni_text", "mimo"], QWEN2),
    of(&["qwen3"], QWEN3),
    of(&["qwen3_vl_text"], QWEN3.pattern(Pattern::All(FULL))),
    of(&["qwen3_moe"], QWEN3.pattern(Pattern::Allowed).experts(MIXTURE)),
    of(
        &["qwen3_vl_moe_text", "qwen3_omni_moe_text"],
        QWEN3.pattern(Pattern::All(FULL)).experts(MIXTURE),
    ),
    of(&["qwen2_moe"], QWEN2.biases(If("qkv_bias"), Never).experts(QWEN2_MOE)),
    of(&["qwen3_next"], QWEN3_NEXT.experts(QWEN2_MOE)),
    of(&["qwen3_5_text"], Style { linear: Mixer::Delta(Delta::Four), ..QWEN3_NEXT }),
    of(
        &["qwen3_5_moe_text"],
        Style { linear: Mixer::Delta(Delta::Four), ..QWEN3_NEXT }.experts(QWEN2_MOE),
    ),
    of(&["gemma"], LLAMA),
    of(&["gemma2"], GEMMA2),
    of(&["gemma3_text"], GEMMA2.head_norms(QK, Always).pattern(Pattern::Every(6, FULL, SLIDING))),
    adjusted(
        &["gemma4_text"],
        Style {
            attention: Attention {
                keys_are_values: If("attention_k_eq_v"),
                value_norm: true,
                ..LLAMA.attention
            },
            ..GEMMA2
        }
        .head_norms(QK, Always)
        .pattern(Pattern::Every(6, FULL, SLIDING))
        .experts(Mixture {
            module: "",
            router: "router.proj",
            router_scale: "router.scale",
            score_bias: "router.per_expert_scale",
            beside: [
                "post_feedforward_layernorm_1",
                "pre_feedforward_layernorm_2",
                "post_feedforward_layernorm_2",
            ],
            ..MIXTURE
        }),
        gemma4,
    ),
    of(&["vaultgemma"], GEMMA2.norms(["input_layernorm", "", "pre_feedforward_layernorm", ""])),
    of(&["exaone4"], EXAONE4.norms(BEHIND)),
    of(&["exaone_moe"], EXAONE4.experts(SHARED)),
    of(&["cohere"], COHERE.wide_norms(If("use_qk_norm"))),
    of(&["cohere2"], COHERE.pattern(Pattern::Every(4, FULL, SLIDING))),
    of(&["glm"], GLM4.norms(LLAMA.norms)),
    of(&["glm4"], GLM4),
    of(&["glm4v_text"], GLM4.biases(Always, Never)),
    of(
        &["glm4_moe", "glm4v_moe_text"],
        Style { divides: false, ..LLAMA }
            .biases(If("attention_bias"), Never)
            .head_norms(QK, If("use_qk_norm"))
            .experts(SHARED),
    ),
    of(
        &["phi3"],
        Style {
            attention: Attention { parts: &["qkv_proj"], ..PLAIN_LLAMA.attention },
            ..LLAMA.halves().pattern(WINDOWS)
        },
    ),
    adjusted(&["phi"], PHI, phi),
    of(
        &["starcoder2"],
        LAYER_LLAMA
            .biases(If("use_bias"), If("use_bias"))
            .plain(["c_fc", "c_proj"], If("use_bias"))
            .pattern(WINDOWS),
    ),
    adjusted(&["stablelm"], LAYER_LLAMA.biases(If("use_qkv_bias"), Never), stablelm),
    of(
        &["apertus"],
        Style { norms: ["attention_layernorm", "", "feedforward_layernorm", ""], ..LLAMA }
            .head_norms(QK, Always)
            .plain(["up_proj", "down_proj"], Never),
    ),
    of(
        &["bitnet"],
        Style {
            attention: Attention { inner_norm: "attn_sub_norm", ..LLAMA.attention },
            feed_forward: FeedForward { inner_norm: "ffn_sub_norm", ..LLAMA.feed_forward },
            ..LLAMA
        },
    ),
    of(
        &["nanochat"],
        Style { norm: Norm::RmsBare, ..LLAMA }.head_norms(QK, Always).plain(["fc1", "fc2"], Never),
    ),
    of(&["hunyuan_v1_dense"], HUNYUAN),
    adjusted(&["hunyuan_v1_moe"], HUNYUAN, hunyuan),
    of(&["granite_swa"], LLAMA.pattern(PERIOD).sinks()),
    of(&["granitemoe"], LLAMA.experts(GRANITE_MOE)),
    adjusted(&["granitemoeshared"], LLAMA.experts(GRANITE_MOE), granite),
    adjusted(
        &["granitemoehybrid"],
        Style {
            linear: Mixer::Space(Space::Heads),
            pattern: Pattern::All("mamba"),
            ..LLAMA.experts(GRANITE_MOE)
        },
        granite,
    ),
    of(&["mixtral"], PLAIN_LLAMA.pattern(WINDOWS).experts(MIXTURE)),
    of(&["minimax_m2"], PLAIN_LLAMA.wide_norms(Always).experts(MIXTURE)),
    of(
        &["minimax"],
        Style { linear: Mixer::Lightning, ..PLAIN_LLAMA }
            .pattern(Pattern::Every(2, "linear_attention", FULL))
            .experts(MIXTURE),
    ),
    of(
        &["phimoe"],
        Style { head_bias: If("lm_head_bias"), ..LAYER_LLAMA }.pattern(WINDOWS).experts(Mixture {
            router: "router",
            per_token: 2,
            ..MIXTURE
        }),
    ),
    of(
        &["gpt_oss"],
        LLAMA.pattern(Pattern::Every(2, FULL, SLIDING)).sinks().experts(Mixture {
            router: "router",
            router_bias: Always,
            biases: true,
            ..MIXTURE
        }),
    ),
    of(&["step3p7"], LLAMA.head_norms(QK, Always).experts(SHARED)),
    of(&["dots1"], LLAMA.head_norms(QK, Always).pattern(Pattern::Late).experts(SHARED)),
    adjusted(
        &["ernie4_5_moe"],
        LLAMA
            .biases(If("use_bias"), If("use_bias"))
            .experts(Mixture { score_bias: "gate.moe_statics.e_score_correction_bias", ..SHARED }),
        ernie,
    ),
    of(&["llama4_text"], LLAMA4),
    of(&["aria_text"], LLAMA.experts(Mixture { router: "router", ..SHARED })),
    of(&["hy_v3"], LLAMA.head_norms(QK, Always).experts(LATER)),
    of(&["solar_open"], LLAMA.biases(If("attention_bias"), Never).experts(SHARED)),
    of(&["mellum"], QWEN3.pattern(Pattern::All(FULL)).experts(MIXTURE)),
    of(
        &["kolibri1"],
        PLAIN_LLAMA
            .head_norms(QK, Always)
            .norms(GLM_FOUR)
            .pattern(Pattern::Every(5, FULL, SLIDING))
            .experts(SHARED),
    ),
    of(
        &["afmoe"],
        Style {
            attention: Attention { gate: Gate::Wide("gate_proj"), ..QWEN3.attention },
            norms: [
                "input_layernorm",
                "post_attention_layernorm",
                "pre_mlp_layernorm",
                "post_mlp_layernorm",
            ],
            ..LLAMA
        }
        .pattern(Pattern::Every(4, FULL, SLIDING))
        .experts(Mixture { router: "router.gate", score_bias: "expert_bias", ..SHARED }),
    ),
    of(&["deepseek_v2", "deepseek_v3", "mistral4"], LLAMA.experts(SHARED)),
    of(
        &["mimo_v2_flash"],
        Style {
            divides: false,
            attention: Attention {
                sinks: If("add_full_attention_sink_bias"),
                window_sinks: Always,
                window_kv_heads: 2,
                ..LLAMA.attention
            },
            ..LLAMA
        }
        .biases(If("attention_bias"), Never)
        .pattern(Pattern::FirstAndEvery(6))
        .experts(Mixture { n_dense: 1, ..MIXTURE }),
    ),
    of(
        &["deepseek_v32", "glm_moe_dsa"],
        Style { feed_forward: FeedForward { bias: Never, ..LLAMA.feed_forward }, ..LLAMA }
            .experts(SHARED)
            .pattern(Pattern::Picked),
    ),
    of(
        &["deepseek_v4"],
        Style {
            join: Join::Streams,
            attention: Attention { is_entries: true, ..LLAMA.attention },
            ..LLAMA
        }
        .experts(Mixture { is_one_shared: true, ..SHARED })
        .pattern(Pattern::Interleaved(POOLED, PICKED)),
    ),
    of(
        &["minimax_m3", "minimax_m3_vl_text"],
        PLAIN_LLAMA.halves().head_norms(QK, Always).pattern(Pattern::All(FULL)).experts(SHARED),
    ),
    adjusted(
        &["kimi_linear"],
        Style {
            ties: false,
            positions: Positions::Fixed,
            linear: Mixer::Delta(Delta::Channels),
            space_module: "self_attn",
            ..LLAMA
        }
        .pattern(Pattern::Every(4, FULL, "linear_attention"))
        .experts(LATER),
        kimi,
    ),
    of(&["nemotron-nas"], LLAMA),
    of(&["glm4_moe_lite"], LLAMA.experts(LATER)),
    of(&["axk1"], LLAMA.experts(Mixture { sum_norm: "post_mlp_layernorm", ..LATER })),
    adjusted(
        &["flint"],
        QWEN3
            .sinks()
            .pattern(Pattern::All(FULL))
            .experts(Mixture { shared: "shared_expert", ..MIXTURE }),
        flint,
    ),
    adjusted(
        &["beam"],
        Style {
            attention: Attention {
                gate: Gate::Biased("gate_proj", "gate_bias"),
                ..QWEN3.attention
            },
            ..LLAMA.norms(FOUR)
        }
        .pattern(Pattern::All(FULL))
        .experts(Mixture { n_dense: 3, ..MIXTURE }),
        beam,
    ),
    of(&["youtu", "minicpm3"], LLAMA),
    adjusted(
        &["laguna"],
        Style {
            attention: Attention { gate: Gate::Heads("g_proj"), ..QWEN3.attention },
            pattern: Pattern::All(FULL),
            ..LLAMA
        }
        .experts(Mixture { score_bias: "gate.e_score_correction_bias", ..LATER }),
        laguna,
    ),
    of(&["jetmoe"], LLAMA.pattern(Pattern::Only(Mixer::Routed)).experts(JETMOE)),
    adjusted(
        &["doge"],
        Style {
            scales: ["input_residual", "post_attention_residual"],
            attention: Attention { vectors: &["A"], ..QWEN3.attention },
            ..LLAMA
        }
        .pattern(WINDOWS),
        doge,
    ),
    adjusted(
        &["zamba2"],
        Style {
            norms: ["input_layernorm", "", "", ""],
            last_norm: "final_layernorm",
            linear: Mixer::Space(Space::Heads),
            pattern: Pattern::Runs,
            feeds: false,
            ..LLAMA
        },
        zamba,
    ),
    adjusted(&["granitemoe_swa"], LLAMA.sinks().pattern(PERIOD).experts(GRANITE_MOE), granite),
    of(&["mllama_text_model"], Style { more_tokens: 8, ..PLAIN_LLAMA }),
    of(&["gpt-sw3", "gpt_bigcode"], GPT),
    of(
        &["gpt_neo"],
        Style {
            attention: Attention {
                module: "attn.attention",
                parts: LLAMA.attention.parts,
                output: "out_proj",
                bias: Never,
                ..GPT.attention
            },
            pattern: Pattern::Runs,
            ..GPT
        },
    ),
    of(&["gptj"], GPTJ),
    of(
        &["codegen"],
        Style { attention: Attention { parts: &["qkv_proj"], ..GPTJ.attention }, ..GPTJ },
    ),
    adjusted(&["gpt_neox"], NEOX, neox),
    of(&["bloom"], BLOOM),
    adjusted(&["falcon"], BLOOM, falcon),
    adjusted(&["opt"], OPT, opt),
    of(&["xglm"], XGLM),
    of(
        &["biogpt"],
        Style {
            root: "biogpt",
            positions: Positions::Table { module: "embed_positions", more: 2 },
            ..XGLM
        },
    ),
    of(
        &["mpt"],
        Style {
            positions: Positions::Fixed,
            layers: "blocks",
            last_norm: "norm_f",
            norm: Norm::LayerWeight,
            norms: ["norm_1", "", "norm_2", ""],
            attention: Attention {
                parts: &["Wqkv"],
                output: "out_proj",
                bias: Never,
                output_bias: Never,
                ..GPT.attention
            },
            feed_forward: FeedForward { module: "ffn", ..GPT.feed_forward },
            ..GPT
        }
        .plain(["up_proj", "down_proj"], Never),
    ),
    of(
        &["ctrl"],
        Style {
            tokens: "w",
            positions: Positions::Fixed,
            last_norm: "layernorm",
            head_bias: Always,
            norms: ["layernorm1", "", "layernorm2", ""],
            attention: Attention {
                module: "multi_head_attention",
                parts: &["Wq", "Wk", "Wv"],
                output: "dense",
                ..GPT.attention
            },
            feed_forward: FeedForward { module: "ffn", ..GPT.feed_forward },
            ..GPT
        }
        .plain(["0", "2"], Always),
    ),
    of(
        &["openai-gpt"],
        Style {
            tokens: "tokens_embed",
            positions: Positions::Table { module: "positions_embed", more: 0 },
            last_norm: "",
            norms: ["", "ln_1", "", "ln_2"],
            join: Join::Sums,
            ..GPT
        },
    ),
    adjusted(&["persimmon"], PERSIMMON, persimmon),
    of(&["mamba", "falcon_mamba"], MAMBA),
    of(&["mamba2"], Style { pattern: Pattern::Only(Mixer::Space(Space::Heads)), ..MAMBA }),
    of(
        &["jamba"],
        Style {
            linear: Mixer::Space(Space::Channels),
            space_norms: true,
            pattern: Pattern::Period("mamba"),
            ..BAMBA
        }
        .biases(Never, Never)
        .experts(Mixture { module: "feed_forward", router: "router", ..MIXTURE }),
    ),
    of(&["bamba"], BAMBA.pattern(Pattern::Period("mamba"))),
    of(&["falcon_h1"], BAMBA.pattern(Pattern::Only(Mixer::Both(Space::Heads)))),
    adjusted(&["nemotron_h"], NEMOTRON_H, nemotron_h),
    of(&["lfm2"], LFM2.head_norms(["q_layernorm", "k_layernorm"], Always)),
    of(
        &["lfm2_moe"],
        LFM2.head_norms(["q_layernorm", "k_layernorm"], Always)
            .experts(Mixture { module: "feed_forward", ..MIXTURE }),
    ),
    adjusted(
        &["lfm3"],
        Style { attention: LLAMA.attention, pattern: Pattern::All(FULL), ..LFM2 }
            .head_norms(QK, Always),
        lfm3,
    ),
    of(
        &["recurrent_gemma"],
        Style {
            last_norm: "final_norm",
            norms: ["temporal_pre_norm", "", "channel_pre_norm", ""],
            attention: Attention {
                module: "temporal_block",
                output_bias: Always,
                ..LLAMA.attention
            },
            pattern: Pattern::Cycle,
            space_module: "temporal_block",
            feed_forward: FeedForward { module: "mlp_block", bias: Always, ..LLAMA.feed_forward },
            ..LLAMA
        },
    ),
];

/// What a decoder of an unknown family has to state.
pub(super) const SHARED_FIELDS: [&str; 5] =
    ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"];

/// A decoder of an unknown family: as Llama, with experts where it has some.
pub(super) fn guess(fields: Fields<'_>) -> Result<Family, Diagnostic> {
    let mut style = LLAMA.head_norms(QK, If("use_qk_norm")).pattern(Pattern::All(FULL));
    if super::sizes::n_experts(fields)? > 0 {
        style = style.experts(if super::sizes::has_shared(fields) { SHARED } else { MIXTURE });
    }
    Ok(of(&[], style))
}
