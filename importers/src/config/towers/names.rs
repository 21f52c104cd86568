//! Module names within blocks, as the library's classes have them.

use super::layer::{Attention, Feed, Names};

type Parts = &'static [&'static str];

impl Names {
    /// With such attention of a state to itself: its module, the products in it, the product behind
    /// them, and the norm.
    const fn own(self, module: &'static str, parts: Parts, last: [&'static str; 2]) -> Self {
        Self { own: Attention { module, parts, out: last[0], norm: last[1] }, ..self }
    }

    /// With such attention to an encoder.
    const fn cross(self, module: &'static str, parts: Parts, last: [&'static str; 2]) -> Self {
        Self { cross: Attention { module, parts, out: last[0], norm: last[1] }, ..self }
    }

    /// With such a feed-forward part: its first products, the last, and the norm.
    const fn feed(self, ways: Parts, [down, norm]: [&'static str; 2]) -> Self {
        Self { feed: Feed { ways, down, norm }, ..self }
    }

    /// With such norms of attention and of the feed-forward part.
    const fn norms(self, norms: [&'static str; 2]) -> Self {
        let (attention, feed) = (self.own, self.feed);
        self.own(attention.module, attention.parts, [attention.out, norms[0]])
            .feed(feed.ways, [feed.down, norms[1]])
    }

    /// With such products of queries, keys and values, and behind attention.
    const fn parts(self, parts: Parts, out: &'static str) -> Self {
        self.own(self.own.module, parts, [out, self.own.norm])
    }

    /// With parameters that scale what is added.
    const fn scaled(self, scales: [&'static str; 2]) -> Self {
        Self { scales, ..self }
    }
}

const QKV: Parts = &["query", "key", "value"];
const PROJ: Parts = &["q_proj", "k_proj", "v_proj"];
const QKV_PROJ: Parts = &["query_proj", "key_proj", "value_proj"];
const LETTERS: Parts = &["q", "k", "v"];

pub(super) const BERT: Names = VIT
    .own("attention.self", QKV, ["attention.output.dense", "attention.output.LayerNorm"])
    .cross(
        "crossattention.self",
        QKV,
        ["crossattention.output.dense", "crossattention.output.LayerNorm"],
    )
    .feed(&["intermediate.dense"], ["output.dense", "output.LayerNorm"]);
/// With norms before each part.
pub(super) const BEFORE: Names = BERT.norms(["attention.LayerNorm", "intermediate.LayerNorm"]);
pub(super) const LARGE: Names = BERT.norms(["attention.self_attn_layer_norm", "LayerNorm"]);
pub(super) const ALBERT: Names = BERT
    .own("attention", QKV, ["attention.dense", "attention.LayerNorm"])
    .feed(&["ffn"], ["ffn_output", "full_layer_layer_norm"]);
pub(super) const DISTILBERT: Names = BERT
    .own("attention", &["q_lin", "k_lin", "v_lin"], ["attention.out_lin", "sa_layer_norm"])
    .feed(&["ffn.lin1"], ["ffn.lin2", "output_layer_norm"]);
pub(super) const MPNET: Names =
    BERT.own("attention.attn", LETTERS, ["attention.attn.o", "attention.LayerNorm"]);
pub(super) const DEBERTA_V2: Names = BERT.parts(QKV_PROJ, BERT.own.out);
pub(super) const DEBERTA: Names = BERT.parts(&["in_proj"], BERT.own.out);
pub(super) const MODERN: Names =
    BERT.own("attn", &["Wqkv"], ["attn.Wo", "attn_norm"]).feed(&["mlp.Wi"], ["mlp.Wo", "mlp_norm"]);
/// Learnt questions that attend to a tower (BLIP-2).
pub(super) const QUESTIONS: Names = BERT
    .own("attention.attention", QKV, [BERT.own.out, BERT.own.norm])
    .cross("crossattention.attention", QKV, [BERT.cross.out, BERT.cross.norm])
    .feed(&["intermediate_query.dense"], ["output_query.dense", "output_query.LayerNorm"]);

pub(super) const BART: Names = VIT
    .own("self_attn", PROJ, ["self_attn.out_proj", "self_attn_layer_norm"])
    .cross("encoder_attn", PROJ, ["encoder_attn.out_proj", "encoder_attn_layer_norm"])
    .feed(&["fc1"], ["fc2", "final_layer_norm"]);
pub(super) const LED_ENCODER: Names =
    BART.own("self_attn.longformer_self_attn", QKV, ["self_attn.output", BART.own.norm]);
pub(super) const PROPHETNET: Names = BART
    .parts(QKV_PROJ, BART.own.out)
    .cross("cross_attn", QKV_PROJ, ["cross_attn.out_proj", "cross_attn_layer_norm"])
    .feed(&["feed_forward.intermediate"], ["feed_forward.output", "feed_forward_layer_norm"]);
pub(super) const DETR: Names = BART
    .parts(PROJ, "self_attn.o_proj")
    .cross("encoder_attn", PROJ, ["encoder_attn.o_proj", BART.cross.norm])
    .feed(VIT.feed.ways, [VIT.feed.down, BART.feed.norm]);

pub(super) const T5_ENCODER: Names = VIT
    .own("layer.0.SelfAttention", LETTERS, ["layer.0.SelfAttention.o", "layer.0.layer_norm"])
    .cross("layer.1.EncDecAttention", LETTERS, ["layer.1.EncDecAttention.o", "layer.1.layer_norm"])
    .feed(&["layer.1.DenseReluDense.wi"], ["layer.1.DenseReluDense.wo", "layer.1.layer_norm"]);
pub(super) const T5_GATED_ENCODER: Names = T5_ENCODER.feed(
    &["layer.1.DenseReluDense.wi_0", "layer.1.DenseReluDense.wi_1"],
    ["layer.1.DenseReluDense.wo", "layer.1.layer_norm"],
);
pub(super) const T5_DECODER: Names = T5_ENCODER
    .feed(&["layer.2.DenseReluDense.wi"], ["layer.2.DenseReluDense.wo", "layer.2.layer_norm"]);
pub(super) const T5_GATED_DECODER: Names = T5_DECODER.feed(
    &["layer.2.DenseReluDense.wi_0", "layer.2.DenseReluDense.wi_1"],
    ["layer.2.DenseReluDense.wo", "layer.2.layer_norm"],
);

pub(super) const WAV2VEC2: Names = VIT
    .own("attention", PROJ, ["attention.out_proj", "layer_norm"])
    .feed(&["feed_forward.intermediate_dense"], ["feed_forward.output_dense", "final_layer_norm"]);
pub(super) const XLNET: Names = VIT
    .own("rel_attn", LETTERS, ["rel_attn.o", "rel_attn.layer_norm"])
    .feed(&["ff.layer_1"], ["ff.layer_2", "ff.layer_norm"]);

pub(super) const VIT: Names = Names {
    own: Attention {
        module: "attention",
        parts: PROJ,
        out: "attention.o_proj",
        norm: "layernorm_before",
    },
    cross: Attention { module: "", parts: &[], out: "", norm: "" },
    feed: Feed { ways: &["mlp.fc1"], down: "mlp.fc2", norm: "layernorm_after" },
    scales: ["", ""],
};
pub(super) const CLIP: Names =
    VIT.own("self_attn", PROJ, ["self_attn.out_proj", ""]).norms(["layer_norm1", "layer_norm2"]);
pub(super) const BLIP: Names = CLIP.parts(&["qkv"], "self_attn.projection");
/// Tiles of a picture that attend to each other (Llama 3.2).
pub(super) const TILES: Names =
    CLIP.parts(PROJ, "self_attn.o_proj").norms(["input_layernorm", "post_attention_layernorm"]);
pub(super) const PIXTRAL: Names = VIT
    .feed(&["feed_forward.gate_proj", "feed_forward.up_proj"], ["feed_forward.down_proj", ""])
    .norms(["attention_norm", "ffn_norm"]);
pub(super) const BEIT: Names = VIT.scaled(["lambda_1", "lambda_2"]);
pub(super) const INTERN: Names = BEIT.parts(PROJ, "attention.projection_layer");
/// Of towers as the library wrote them first.
pub(super) const OLD: Names = VIT
    .own("attention.attention", QKV, ["attention.output.dense", VIT.own.norm])
    .feed(&["intermediate.dense"], ["output.dense", VIT.feed.norm]);
pub(super) const OLD_BEIT: Names = OLD.scaled(BEIT.scales);
pub(super) const DINO: Names =
    VIT.norms(["norm1", "norm2"]).scaled(["layer_scale1.lambda1", "layer_scale2.lambda1"]);
pub(super) const DINO_GATED: Names =
    DINO.feed(&["mlp.gate_proj", "mlp.up_proj"], ["mlp.down_proj", "norm2"]);
pub(super) const DINO_PLAIN: Names = DINO.feed(&["mlp.up_proj"], ["mlp.down_proj", "norm2"]);
pub(super) const QWEN2: Names =
    VIT.own("attn", &["qkv"], ["attn.proj", ""]).norms(["norm1", "norm2"]);
pub(super) const QWEN2_5: Names = Names { feed: DINO_GATED.feed, ..QWEN2 };
pub(super) const QWEN3: Names = QWEN2.feed(&["mlp.linear_fc1"], ["mlp.linear_fc2", "norm2"]);
