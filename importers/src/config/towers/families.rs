//! The families of encoders, encoder-decoders, and models that see or hear: a row for each. What is not
//! stated is as in transformers 5.23.

use serde_json::json;

use super::audio::{Family as Sound, UNSTACKED};
use super::layer::Order;
use super::model::{Model, Outputs};
use super::multimodal::Family as Pictures;
use super::names::*;
use super::net::Norm;
use super::pairs::{CLIP_PAIR, Family as Pair, SIGLIP_PAIR};
use super::pyramids::Family as ConvNext;
use super::qwen_vl::{Family as Qwen, QWEN2_VL, QWEN3_VL};
use super::seq2seq::{BART_FORM, Family as Sides, Front, MBART};
use super::spec::Spec;
use super::t5::Family as T5;
use super::text::{BERT_FORM, BERT_HEADS, Family as Text, Heads, ROBERTA, ROBERTA_HEADS};
use super::vision::{Places, Tower, VIT_TOWER};
use super::vision_kinds::{BEIT_FORM, DINOV2, Family as Seen, Mean, VIT_FORM};
use super::{crossed, detr, layout, multimodal, pyramids, resnet, swin, text, vision_kinds, xlnet};

/// What a family is made as.
pub(super) enum Form {
    /// An encoder of sound.
    Sound(Sound),
    /// An encoder of text.
    Text(Text),
    /// An encoder and a decoder, of text or of speech.
    Sides(Sides),
    /// The same with biases by distance.
    T5(T5),
    /// A tower of vision.
    Seen(Seen),
    /// A network of convolutions in stages.
    ConvNext(ConvNext),
    /// Towers of vision and text.
    Pair(Pair),
    /// A tower of vision before a decoder.
    Pictures(Pictures),
    /// Qwen's.
    Qwen(Qwen),
    /// What no other family is made as.
    Own(fn(&mut Model<'_>, &Spec) -> Outputs),
}

use Form::*;

/// A model type.
#[derive(Clone, Copy)]
struct Named(&'static str);

const fn of(name: &'static str) -> Named {
    Named(name)
}

impl Named {
    /// With how it is made.
    const fn is(self, form: Form) -> (&'static str, Form) {
        (self.0, form)
    }
}

/// Model types and how they are made.
pub(super) const FAMILIES: &[(&str, Form)] = &[
    of("data2vec-audio").is(Sound(Sound {
        prefix: "data2vec_audio",
        is_stacked: true,
        ..UNSTACKED
    })),
    of("hubert").is(Sound(Sound { prefix: "hubert", may_skip_norm: true, ..UNSTACKED })),
    of("unispeech").is(Sound(Sound { prefix: "unispeech", ..UNSTACKED })),
    of("unispeech-sat").is(Sound(Sound { prefix: "unispeech_sat", ..UNSTACKED })),
    of("wav2vec2").is(Sound(Sound { prefix: "wav2vec2", ..UNSTACKED })),
    of("wavlm").is(Sound(Sound { prefix: "wavlm", is_gated: true, ..UNSTACKED })),
    of("blip-2").is(Own(crossed::blip2)),
    of("mllama").is(Own(crossed::mllama)),
    of("detr").is(Own(detr::write)),
    of("layoutlmv3").is(Own(layout::write)),
    of("gemma3").is(Pictures(Pictures {
        tokens: multimodal::gemma3,
        text: "gemma3_text",
        ..LLAVA
    })),
    of("idefics3").is(Pictures(IDEFICS3)),
    of("internvl").is(Pictures(Pictures { tokens: multimodal::internvl, text: "qwen2", ..LLAVA })),
    of("llava").is(Pictures(Pictures { is_tied: false, ..LLAVA })),
    of("mistral3").is(Pictures(Pictures {
        tokens: multimodal::mistral3,
        text: "mistral",
        ..LLAVA
    })),
    of("paligemma").is(Pictures(Pictures {
        tokens: multimodal::paligemma,
        text: "gemma",
        ..LLAVA
    })),
    of("smolvlm").is(Pictures(IDEFICS3)),
    of("clip").is(Pair(CLIP_PAIR)),
    of("clip_text_model").is(Pair(Pair { alone: TEXT, ..CLIP_PAIR })),
    of("clip_vision_model").is(Pair(Pair { alone: VISION, ..CLIP_PAIR })),
    of("siglip").is(Pair(SIGLIP_PAIR)),
    of("siglip2").is(Pair(Pair { is_flat: true, ..SIGLIP_PAIR })),
    of("siglip2_text_model").is(Pair(Pair { alone: TEXT, is_flat: true, ..SIGLIP_PAIR })),
    of("siglip2_vision_model").is(Pair(Pair { alone: VISION, is_flat: true, ..SIGLIP_PAIR })),
    of("siglip_text_model").is(Pair(Pair { alone: TEXT, ..SIGLIP_PAIR })),
    of("siglip_vision_model").is(Pair(Pair { alone: VISION, ..SIGLIP_PAIR })),
    of("convnext").is(ConvNext(ConvNext { prefix: "convnext", is_responsive: false })),
    of("convnextv2").is(ConvNext(ConvNext { prefix: "convnextv2", is_responsive: true })),
    of("resnet").is(Own(resnet::write)),
    of("segformer").is(Own(pyramids::segformer)),
    of("qwen2_5_vl").is(Qwen(Qwen {
        text: "qwen2_5_vl_text",
        names: &QWEN2_5,
        norm: Norm::Rms,
        act: "silu",
        width: ("hidden_size", 3584),
        inner: Some(3420),
        out: "out_hidden_size",
        has_windows: true,
        ..QWEN2_VL
    })),
    of("qwen2_vl").is(Qwen(QWEN2_VL)),
    of("qwen3_vl").is(Qwen(QWEN3_VL)),
    of("qwen3_5").is(Qwen(Qwen { text: "qwen3_5_text", deep: Some(&[]), ..QWEN3_VL })),
    of("bart").is(Sides(BART_FORM)),
    of("blenderbot").is(Sides(Sides {
        positions: Some(0),
        embedding_norm: "",
        sizes: [8_008, 2560, 2, 24, 32, 10_240],
        reach: [128; 2],
        ..MBART
    })),
    of("blenderbot-small").is(Sides(Sides {
        positions: Some(0),
        sizes: [50_265, 512, 8, 8, 16, 2048],
        reach: [512; 2],
        ..BART_FORM
    })),
    of("fsmt").is(Sides(Sides {
        tables: ["embed_tokens", "encoder.embed_tokens", "embed_positions"],
        vocabularies: ["src_vocab_size", "tgt_vocab_size"],
        is_tied: false,
        head: "model.decoder.output_projection",
        embedding_norm: "",
        act: "relu",
        sizes: [42_024, 1024, 12, 12, 16, 4096],
        ..BART_FORM
    })),
    of("led").is(Sides(Sides {
        prefix: "led",
        names: [&LED_ENCODER, &BART],
        has_windows: true,
        positions: Some(0),
        reach: [16_384, 1024],
        ..BART_FORM
    })),
    of("m2m_100").is(Sides(Sides {
        positions: None,
        embedding_norm: "",
        act: "relu",
        sizes: [128_112, 1024, 12, 12, 16, 4096],
        ..MBART
    })),
    of("marian").is(Sides(Sides {
        vocabularies: ["vocab_size", "decoder_vocab_size"],
        positions: Some(0),
        embedding_norm: "",
        sizes: [58_101, 1024, 12, 12, 16, 4096],
        ..BART_FORM
    })),
    of("mbart").is(Sides(MBART)),
    of("pegasus").is(Sides(Sides { positions: Some(0), embedding_norm: "", ..MBART })),
    of("plbart").is(Sides(Sides { sizes: [50_005, 768, 6, 6, 12, 3072], ..BART_FORM })),
    of("prophetnet").is(Sides(Sides {
        prefix: "prophetnet",
        has_streams: true,
        positions: Some(0),
        embedding_norm: "embeddings_layer_norm",
        tables: ["word_embeddings", "word_embeddings", "position_embeddings"],
        names: [&PROPHETNET; 2],
        sizes: [30_522, 1024, 12, 12, 16, 4096],
        reach: [512; 2],
        ..BART_FORM
    })),
    of("speech_to_text").is(Sides(Sides {
        front: Front::Subsampled,
        positions: None,
        embedding_norm: "",
        act: "relu",
        sizes: [10_000, 256, 12, 6, 4, 2048],
        reach: [6000, 1024],
        ..MBART
    })),
    of("whisper").is(Sides(Sides {
        front: Front::Mel,
        positions: Some(0),
        embedding_norm: "",
        has_key_bias: false,
        head: "proj_out",
        sizes: [51_865, 384, 4, 4, 6, 1536],
        reach: [1500, 448],
        ..MBART
    })),
    of("swin").is(Own(swin::write)),
    of("mt5").is(T5(MT5)),
    of("t5").is(T5(T5 {
        sizes: [32_128, 512, 64, 2048, 6, 8],
        feed: "relu",
        has_own_biases: false,
    })),
    of("umt5").is(T5(T5 { has_own_biases: true, ..MT5 })),
    of("albert").is(Text(Text {
        prefix: "albert",
        names: &ALBERT,
        heads: Heads {
            words: [
                "predictions.dense",
                "predictions.LayerNorm",
                "predictions.decoder",
                "predictions.bias",
            ],
            pooler: "pooler",
            ..BERT_HEADS
        },
        sizes: [30_000, 4096, 12, 64, 16_384],
        layers: "encoder.albert_layer_groups",
        adjust: |text, spec| {
            spec.only("inner_group_num", &json!(1))?;
            text.embedded = spec.n("embedding_size", 128)?;
            text.project = "encoder.embedding_hidden_mapping_in";
            text.groups = Some(spec.n("num_hidden_groups", 1)?);
            Ok(())
        },
        ..BERT_FORM
    })),
    of("big_bird").is(Text(Text {
        heads: Heads {
            is_pooled_always: true,
            pooler: "pooler",
            sequence: ROBERTA_HEADS.sequence,
            is_sequence_pooled: false,
            ..BERT_HEADS
        },
        sizes: [50_358, 768, 12, 12, 3072],
        tables: [4096, 2],
        adjust: text::big_bird,
        ..BERT_FORM
    })),
    of("camembert").is(Text(XLM_ROBERTA)),
    of("data2vec-text").is(Text(Text { prefix: "data2vec_text", ..XLM_ROBERTA })),
    of("deberta").is(Text(Text {
        names: &DEBERTA,
        sizes: [50_265, 768, 12, 12, 3072],
        ..DEBERTA_FORM
    })),
    of("deberta-v2").is(Text(DEBERTA_FORM)),
    of("distilbert").is(Text(Text {
        prefix: "distilbert",
        names: &DISTILBERT,
        heads: Heads {
            words: [
                "vocab_transform",
                "vocab_layer_norm",
                "vocab_projector",
                "vocab_projector.bias",
            ],
            word_biases: [true, false],
            pooler: "",
            sequence: &["pre_classifier", "classifier"],
            ..ROBERTA_HEADS
        },
        sizes: [30_522, 768, 6, 12, 4 * 768],
        layers: "transformer.layer",
        adjust: |text, spec| {
            // Waves are written into a table that is a parameter all the same.
            spec.flag("sinusoidal_pos_embds", false)?;
            text.types = 0;
            Ok(())
        },
        ..BERT_FORM
    })),
    of("electra").is(Text(Text {
        prefix: "electra",
        heads: Heads {
            words: [
                "generator_predictions.dense",
                "generator_predictions.LayerNorm",
                "generator_lm_head",
                "generator_lm_head.bias",
            ],
            word_biases: [true, false],
            pooler: "",
            tells_replaced: true,
            ..ROBERTA_HEADS
        },
        sizes: [30_522, 256, 12, 4, 1024],
        adjust: |text, spec| {
            text.embedded = spec.n("embedding_size", 128)?;
            text.project = if text.embedded == text.hidden { "" } else { "embeddings_project" };
            Ok(())
        },
        ..BERT_FORM
    })),
    of("modernbert").is(Text(Text {
        prefix: "model",
        names: &MODERN,
        order: Order::Pre,
        heads: Heads {
            words: ["head.dense", "head.norm", "decoder", "decoder.bias"],
            word_biases: [false; 2],
            pooler: "",
            sequence: &["head.dense", "classifier"],
            is_transformed: true,
            ..ROBERTA_HEADS
        },
        sizes: [50_368, 768, 22, 12, 1152],
        words: "embeddings.tok_embeddings",
        norm: "embeddings.norm",
        layers: "layers",
        last_norm: "final_norm",
        adjust: text::modern,
        ..BERT_FORM
    })),
    of("mpnet").is(Text(Text {
        prefix: "mpnet",
        names: &MPNET,
        heads: ROBERTA_HEADS,
        sizes: [30_527, 768, 12, 12, 3072],
        adjust: |text, spec| {
            text.relative = Some(spec.n("relative_attention_num_buckets", 32)?);
            (text.types, text.positions.1) = (0, 2);
            Ok(())
        },
        ..BERT_FORM
    })),
    of("roberta").is(Text(ROBERTA)),
    of("roberta-prelayernorm").is(Text(Text {
        prefix: "roberta_prelayernorm",
        names: &BEFORE,
        order: Order::Pre,
        last_norm: "LayerNorm",
        ..ROBERTA
    })),
    of("xlm-roberta").is(Text(XLM_ROBERTA)),
    of("xlm-roberta-xl").is(Text(Text {
        names: &LARGE,
        order: Order::Pre,
        sizes: [250_880, 2560, 36, 32, 10_240],
        tables: [514, 1],
        norm: "",
        last_norm: "encoder.LayerNorm",
        ..ROBERTA
    })),
    of("beit").is(Seen(BEIT_FORM)),
    of("data2vec-vision").is(Seen(Seen {
        tower: Tower { layers: "encoder.layer", ..VIT_TOWER }.of(&OLD_BEIT, vision_kinds::beit),
        prefix: "data2vec_vision",
        ..BEIT_FORM
    })),
    of("deit").is(Seen(Seen {
        tower: Tower {
            tokens: &["embeddings.cls_token", "embeddings.distillation_token"],
            ..VIT_TOWER
        },
        prefix: "deit",
        ..VIT_FORM
    })),
    of("dinov2").is(Seen(DINOV2)),
    of("dinov2_with_registers").is(Seen(Seen {
        tower: Tower { patch: [16; 2], ..DINOV2.tower }.of(&DINO, vision_kinds::registered),
        prefix: "dinov2_with_registers",
        ..DINOV2
    })),
    of("dinov3_vit").is(Seen(Seen {
        tower: Tower {
            sizes: [384, 12, 6, 1536],
            conv: ("embeddings.patch_embeddings", true),
            places: Places::Absent,
            mask: Some(3),
            layers: "model.layer",
            last_norm: "norm",
            ..VIT_TOWER
        }
        .of(&DINO_PLAIN, vision_kinds::dinov3),
        prefix: "",
        pooler: "",
        usual: "Model",
        ..VIT_FORM
    })),
    of("ijepa").is(Seen(Seen {
        tower: Tower { tokens: &[], ..VIT_TOWER },
        prefix: "ijepa",
        mean: Mean::All,
        ..VIT_FORM
    })),
    of("vit").is(Seen(VIT_FORM)),
    of("yolos").is(Seen(Seen {
        tower: Tower { image: [512, 864], layers: "encoder.layer", ..VIT_TOWER }
            .of(&OLD, vision_kinds::yolos),
        usual: "ForObjectDetection",
        ..VIT_FORM
    })),
    of("xlnet").is(Own(xlnet::write)),
];

const TEXT: Option<&str> = Some("TextModel");
const VISION: Option<&str> = Some("VisionModel");

/// With its head tied, as in most that came from it.
const LLAVA: Pictures = Pictures {
    tokens: multimodal::llava,
    root: "model.language_model",
    text: "llama",
    is_tied: true,
};

const IDEFICS3: Pictures =
    Pictures { tokens: multimodal::idefics3, root: "model.text_model", is_tied: false, ..LLAVA };

const MT5: T5 =
    T5 { sizes: [250_112, 512, 64, 1024, 8, 6], feed: "gated-gelu", has_own_biases: false };

const XLM_ROBERTA: Text = Text { sizes: [30_522, 768, 12, 12, 3072], ..ROBERTA };

const DEBERTA_FORM: Text = Text {
    prefix: "deberta",
    names: &DEBERTA_V2,
    heads: Heads {
        pooler: "",
        sequence: &["pooler.dense", "classifier"],
        is_sequence_pooled: false,
        ..BERT_HEADS
    },
    sizes: [128_100, 1536, 24, 24, 6144],
    tables: [512, 0],
    adjust: text::deberta,
    ..BERT_FORM
};
