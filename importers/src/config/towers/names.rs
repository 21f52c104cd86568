//! Module names within blocks, as the library's classes have them.

use super::layer::{Attention, Feed, Names};

const fn own(
    module: &'static str,
    parts: &'static [&'static str],
    out: &'static str,
    norm: &'static str,
) -> Attention {
    Attention { module, parts, out, norm }
}

const fn feed(ways: &'static [&'static str], down: &'static str, norm: &'static str) -> Feed {
    Feed { ways, down, norm }
}

const QKV: &[&str] = &["query", "key", "value"];
const PROJ: &[&str] = &["q_proj", "k_proj", "v_proj"];
const LETTERS: &[&str] = &["q", "k", "v"];

pub(super) const BERT: Names = Names {
    own: own("attention.self", QKV, "attention.output.dense", "attention.output.LayerNorm"),
    cross: own(
        "crossattention.self",
        QKV,
        "crossattention.output.dense",
        "crossattention.output.LayerNorm",
    ),
    feed: feed(&["intermediate.dense"], "output.dense", "output.LayerNorm"),
    scales: ["", ""],
};

/// With norms before each part.
pub(super) const BEFORE: Names = Names {
    own: Attention { norm: "attention.LayerNorm", ..BERT.own },
    feed: Feed { norm: "intermediate.LayerNorm", ..BERT.feed },
    ..BERT
};

pub(super) const LARGE: Names = Names {
    own: Attention { norm: "attention.self_attn_layer_norm", ..BERT.own },
    feed: Feed { norm: "LayerNorm", ..BERT.feed },
    ..BERT
};

pub(super) const ALBERT: Names = Names {
    own: own("attention", QKV, "attention.dense", "attention.LayerNorm"),
    feed: feed(&["ffn"], "ffn_output", "full_layer_layer_norm"),
    ..BERT
};

pub(super) const DISTILBERT: Names = Names {
    own: own("attention", &["q_lin", "k_lin", "v_lin"], "attention.out_lin", "sa_layer_norm"),
    feed: feed(&["ffn.lin1"], "ffn.lin2", "output_layer_norm"),
    ..BERT
};

pub(super) const MPNET: Names = Names {
    own: own("attention.attn", LETTERS, "attention.attn.o", "attention.LayerNorm"),
    ..BERT
};

pub(super) const DEBERTA_V2: Names = Names {
    own: Attention { parts: &["query_proj", "key_proj", "value_proj"], ..BERT.own },
    ..BERT
};

pub(super) const DEBERTA: Names =
    Names { own: Attention { parts: &["in_proj"], ..BERT.own }, ..BERT };

pub(super) const MODERN: Names = Names {
    own: own("attn", &["Wqkv"], "attn.Wo", "attn_norm"),
    feed: feed(&["mlp.Wi"], "mlp.Wo", "mlp_norm"),
    ..BERT
};

/// Learnt questions that attend to a tower (BLIP-2).
pub(super) const QUESTIONS: Names = Names {
    own: Attention { module: "attention.attention", ..BERT.own },
    cross: Attention { module: "crossattention.attention", ..BERT.cross },
    feed: feed(&["intermediate_query.dense"], "output_query.dense", "output_query.LayerNorm"),
    ..BERT
};

pub(super) const BART: Names = Names {
    own: own("self_attn", PROJ, "self_attn.out_proj", "self_attn_layer_norm"),
    cross: own("encoder_attn", PROJ, "encoder_attn.out_proj", "encoder_attn_layer_norm"),
    feed: feed(&["fc1"], "fc2", "final_layer_norm"),
    scales: ["", ""],
};

pub(super) const LED_ENCODER: Names = Names {
    own: own("self_attn.longformer_self_attn", QKV, "self_attn.output", "self_attn_layer_norm"),
    ..BART
};

pub(super) const PROPHETNET: Names = Names {
    own: Attention { parts: DEBERTA_V2.own.parts, ..BART.own },
    cross: own("cross_attn", DEBERTA_V2.own.parts, "cross_attn.out_proj", "cross_attn_layer_norm"),
    feed: feed(&["feed_forward.intermediate"], "feed_forward.output", "feed_forward_layer_norm"),
    ..BART
};

pub(super) const DETR: Names = Names {
    own: Attention { out: "self_attn.o_proj", ..BART.own },
    cross: Attention { out: "encoder_attn.o_proj", ..BART.cross },
    feed: Feed { norm: BART.feed.norm, ..VIT.feed },
    ..BART
};

pub(super) const T5_ENCODER: Names = Names {
    own: own("layer.0.SelfAttention", LETTERS, "layer.0.SelfAttention.o", "layer.0.layer_norm"),
    cross: own(
        "layer.1.EncDecAttention",
        LETTERS,
        "layer.1.EncDecAttention.o",
        "layer.1.layer_norm",
    ),
    feed: feed(&["layer.1.DenseReluDense.wi"], "layer.1.DenseReluDense.wo", "layer.1.layer_norm"),
    scales: ["", ""],
};

pub(super) const T5_GATED_ENCODER: Names = Names {
    feed: Feed {
        ways: &["layer.1.DenseReluDense.wi_0", "layer.1.DenseReluDense.wi_1"],
        ..T5_ENCODER.feed
    },
    ..T5_ENCODER
};

pub(super) const T5_DECODER: Names = Names {
    feed: feed(&["layer.2.DenseReluDense.wi"], "layer.2.DenseReluDense.wo", "layer.2.layer_norm"),
    ..T5_ENCODER
};

pub(super) const T5_GATED_DECODER: Names = Names {
    feed: Feed {
        ways: &["layer.2.DenseReluDense.wi_0", "layer.2.DenseReluDense.wi_1"],
        ..T5_DECODER.feed
    },
    ..T5_ENCODER
};

pub(super) const WAV2VEC2: Names = Names {
    own: own("attention", PROJ, "attention.out_proj", "layer_norm"),
    feed: feed(
        &["feed_forward.intermediate_dense"],
        "feed_forward.output_dense",
        "final_layer_norm",
    ),
    ..VIT
};

pub(super) const XLNET: Names = Names {
    own: own("rel_attn", LETTERS, "rel_attn.o", "rel_attn.layer_norm"),
    feed: feed(&["ff.layer_1"], "ff.layer_2", "ff.layer_norm"),
    ..VIT
};

pub(super) const VIT: Names = Names {
    own: own("attention", PROJ, "attention.o_proj", "layernorm_before"),
    cross: own("", &[], "", ""),
    feed: feed(&["mlp.fc1"], "mlp.fc2", "layernorm_after"),
    scales: ["", ""],
};

pub(super) const CLIP: Names = Names {
    own: own("self_attn", PROJ, "self_attn.out_proj", "layer_norm1"),
    feed: Feed { norm: "layer_norm2", ..VIT.feed },
    ..VIT
};

pub(super) const BLIP: Names =
    Names { own: Attention { parts: &["qkv"], out: "self_attn.projection", ..CLIP.own }, ..CLIP };

/// Tiles of a picture that attend to each other (Llama 3.2).
pub(super) const TILES: Names = Names {
    own: Attention { out: "self_attn.o_proj", norm: "input_layernorm", ..CLIP.own },
    feed: Feed { norm: "post_attention_layernorm", ..VIT.feed },
    ..CLIP
};

pub(super) const PIXTRAL: Names = Names {
    own: Attention { norm: "attention_norm", ..VIT.own },
    feed: feed(
        &["feed_forward.gate_proj", "feed_forward.up_proj"],
        "feed_forward.down_proj",
        "ffn_norm",
    ),
    ..VIT
};

pub(super) const BEIT: Names = Names { scales: ["lambda_1", "lambda_2"], ..VIT };

pub(super) const INTERN: Names =
    Names { own: Attention { out: "attention.projection_layer", ..VIT.own }, ..BEIT };

/// Of towers as the library wrote them first.
pub(super) const OLD: Names = Names {
    own: own("attention.attention", QKV, "attention.output.dense", "layernorm_before"),
    feed: feed(&["intermediate.dense"], "output.dense", "layernorm_after"),
    ..VIT
};

pub(super) const OLD_BEIT: Names = Names { scales: BEIT.scales, ..OLD };

pub(super) const DINO: Names = Names {
    own: Attention { norm: "norm1", ..VIT.own },
    feed: Feed { norm: "norm2", ..VIT.feed },
    scales: ["layer_scale1.lambda1", "layer_scale2.lambda1"],
    ..VIT
};

pub(super) const DINO_GATED: Names =
    Names { feed: feed(&["mlp.gate_proj", "mlp.up_proj"], "mlp.down_proj", "norm2"), ..DINO };

pub(super) const DINO_PLAIN: Names =
    Names { feed: feed(&["mlp.up_proj"], "mlp.down_proj", "norm2"), ..DINO };

pub(super) const QWEN2: Names = Names {
    own: own("attn", &["qkv"], "attn.proj", "norm1"),
    feed: Feed { norm: "norm2", ..VIT.feed },
    ..VIT
};

pub(super) const QWEN2_5: Names = Names { feed: DINO_GATED.feed, ..QWEN2 };

pub(super) const QWEN3: Names =
    Names { feed: feed(&["mlp.linear_fc1"], "mlp.linear_fc2", "norm2"), ..QWEN2 };
