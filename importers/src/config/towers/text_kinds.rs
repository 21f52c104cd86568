//! Families of encoders of text: what each has that BERT has not.

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;
use serde_json::json;

use super::layer::{Biases, Layer, Names, Order};
use super::model::{Model, written};
use super::net::Norm;
use super::spec::Spec;
use super::text::{self, Extras, Heads, Text, Words};
use crate::config::request::MAX_EXTENT;
use crate::config::request::{Request, Written};

pub(crate) const TYPES: &[&str] = &[
    "albert",
    "big_bird",
    "camembert",
    "data2vec-text",
    "deberta",
    "deberta-v2",
    "distilbert",
    "electra",
    "modernbert",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
];

pub(super) const BERT: Names = Names {
    qkv: &["attention.self.query", "attention.self.key", "attention.self.value"],
    out: "attention.output.dense",
    norms: ["attention.output.LayerNorm", "output.LayerNorm"],
    ways: &["intermediate.dense"],
    down: "output.dense",
    cross: [
        "crossattention.self.query",
        "crossattention.self.key",
        "crossattention.self.value",
        "crossattention.output.dense",
        "crossattention.output.LayerNorm",
    ],
    scales: ["", ""],
};

const BEFORE: Names = Names { norms: ["attention.LayerNorm", "intermediate.LayerNorm"], ..BERT };

const LARGE: Names = Names { norms: ["attention.self_attn_layer_norm", "LayerNorm"], ..BERT };

const ALBERT: Names = Names {
    qkv: &["attention.query", "attention.key", "attention.value"],
    out: "attention.dense",
    norms: ["attention.LayerNorm", "full_layer_layer_norm"],
    ways: &["ffn"],
    down: "ffn_output",
    ..BERT
};

const DISTILBERT: Names = Names {
    qkv: &["attention.q_lin", "attention.k_lin", "attention.v_lin"],
    out: "attention.out_lin",
    norms: ["sa_layer_norm", "output_layer_norm"],
    ways: &["ffn.lin1"],
    down: "ffn.lin2",
    ..BERT
};

const MPNET: Names = Names {
    qkv: &["attention.attn.q", "attention.attn.k", "attention.attn.v"],
    out: "attention.attn.o",
    norms: ["attention.LayerNorm", "output.LayerNorm"],
    ..BERT
};

const DEBERTA: Names = Names {
    qkv: &["attention.self.query_proj", "attention.self.key_proj", "attention.self.value_proj"],
    ..BERT
};

const FUSED_DEBERTA: Names = Names { qkv: &["attention.self.in_proj"], ..BERT };

const MODERN: Names = Names {
    qkv: &["attn.Wqkv"],
    out: "attn.Wo",
    norms: ["attn_norm", "mlp_norm"],
    ways: &["mlp.Wi"],
    down: "mlp.Wo",
    ..BERT
};

const ROBERTA_HEADS: Heads = Heads {
    words: Words {
        dense: "lm_head.dense",
        has_dense_bias: true,
        norm: "lm_head.layer_norm",
        decoder: "lm_head.decoder",
        bias: "lm_head.bias",
        has_own_bias: true,
    },
    pooler: "pooler.dense",
    sequence: &["classifier.dense", "classifier.out_proj"],
    is_sequence_pooled: false,
    sequence_norm: "",
    is_pooled_always: false,
};

const BERT_HEADS: Heads = Heads {
    words: Words {
        dense: "cls.predictions.transform.dense",
        norm: "cls.predictions.transform.LayerNorm",
        decoder: "cls.predictions.decoder",
        bias: "cls.predictions.bias",
        ..ROBERTA_HEADS.words
    },
    sequence: &["classifier"],
    is_sequence_pooled: true,
    ..ROBERTA_HEADS
};

const DEBERTA_HEADS: Heads = Heads {
    pooler: "",
    sequence: &["pooler.dense", "classifier"],
    is_sequence_pooled: false,
    ..BERT_HEADS
};

const BIG_BIRD_HEADS: Heads = Heads {
    is_pooled_always: true,
    pooler: "pooler",
    sequence: &["classifier.dense", "classifier.out_proj"],
    is_sequence_pooled: false,
    ..BERT_HEADS
};

const ELECTRA_HEADS: Heads = Heads {
    words: Words {
        dense: "generator_predictions.dense",
        norm: "generator_predictions.LayerNorm",
        decoder: "generator_lm_head",
        bias: "generator_lm_head.bias",
        has_own_bias: false,
        ..ROBERTA_HEADS.words
    },
    pooler: "",
    ..ROBERTA_HEADS
};

const ALBERT_HEADS: Heads = Heads {
    words: Words {
        dense: "predictions.dense",
        norm: "predictions.LayerNorm",
        decoder: "predictions.decoder",
        bias: "predictions.bias",
        ..ROBERTA_HEADS.words
    },
    pooler: "pooler",
    sequence: &["classifier"],
    is_sequence_pooled: true,
    sequence_norm: "",
    is_pooled_always: false,
};

const DISTILBERT_HEADS: Heads = Heads {
    words: Words {
        dense: "vocab_transform",
        norm: "vocab_layer_norm",
        decoder: "vocab_projector",
        bias: "vocab_projector.bias",
        has_own_bias: false,
        ..ROBERTA_HEADS.words
    },
    pooler: "",
    sequence: &["pre_classifier", "classifier"],
    is_sequence_pooled: false,
    sequence_norm: "",
    is_pooled_always: false,
};

const MODERN_HEADS: Heads = Heads {
    words: Words {
        dense: "head.dense",
        has_dense_bias: false,
        norm: "head.norm",
        decoder: "decoder",
        bias: "decoder.bias",
        has_own_bias: false,
    },
    pooler: "",
    sequence: &["head.dense", "classifier"],
    is_sequence_pooled: false,
    sequence_norm: "head.norm",
    is_pooled_always: false,
};
const MODERN_UNBIASED: Heads =
    Heads { words: Words { bias: "", ..MODERN_HEADS.words }, ..MODERN_HEADS };

/// Reads a config of one of [`TYPES`].
pub(crate) fn read(request: &Request<'_>) -> Result<Written, Diagnostic> {
    written(request, write)
}

fn write(model: &mut Model<'_>, spec: &Spec) -> Result<Vec<TensorId>, Diagnostic> {
    let mut extras = Extras::default();
    let own = match spec.text("model_type", "")? {
        "albert" => albert(spec)?,
        "big_bird" => big_bird(spec)?,
        "deberta" | "deberta-v2" => deberta(spec)?,
        "distilbert" => distilbert(spec)?,
        "electra" => electra(spec)?,
        "modernbert" => modern(spec, &mut extras)?,
        "mpnet" => mpnet(spec)?,
        kind => roberta(spec, kind)?,
    };
    text::write(model, spec, &own, &extras)
}

/// BERT's form under `prefix`, with the vocabulary that the class has where the config says nothing.
fn bert(
    spec: &Spec,
    prefix: &'static str,
    (names, order): (&'static Names, Order),
    heads: &'static Heads,
    [vocabulary, hidden, n_layers, n_heads, inner]: [u64; 5],
) -> Result<Text, Diagnostic> {
    let hidden = spec.any(&["hidden_size", "dim"], hidden)?;
    let n_heads = spec.any(&["num_attention_heads", "n_heads"], n_heads)?;
    let inner = spec.any(&["intermediate_size", "hidden_dim"], inner)?;
    let layer = Layer::new(names, (hidden, n_heads, inner), order)?;
    let act = if spec.has("activation") { "activation" } else { "hidden_act" };
    spec.only("position_embedding_type", &json!("absolute"))?;
    Ok(Text {
        prefix,
        vocabulary: spec.n("vocab_size", vocabulary)?,
        hidden,
        embedded: hidden,
        positions: (spec.n("max_position_embeddings", 512)?, 0),
        types: spec.n("type_vocab_size", 2)?,
        words: "embeddings.word_embeddings",
        norm: "embeddings.LayerNorm",
        project: ("", false),
        n_layers: spec.any(&["num_hidden_layers", "n_layers"], n_layers)?,
        layers: "encoder.layer",
        layer: layer.acting(spec.text(act, "gelu")?),
        groups: None,
        relative: None,
        window: None,
        last_norm: "",
        heads,
    })
}

fn roberta(spec: &Spec, kind: &str) -> Result<Text, Diagnostic> {
    let base = [768, 12, 12, 3072];
    let (prefix, names, order, vocabulary, [h, l, a, f]) = match kind {
        "data2vec-text" => ("data2vec_text.", &BERT, Order::Post, 30_522, base),
        "roberta-prelayernorm" => ("roberta_prelayernorm.", &BEFORE, Order::Pre, 50_265, base),
        "xlm-roberta-xl" => ("roberta.", &LARGE, Order::Pre, 250_880, [2560, 36, 32, 10_240]),
        "camembert" | "xlm-roberta" => ("roberta.", &BERT, Order::Post, 30_522, base),
        _ => ("roberta.", &BERT, Order::Post, 50_265, base),
    };
    let own = bert(spec, prefix, (names, order), &ROBERTA_HEADS, [vocabulary, h, l, a, f])?;
    let own = match kind {
        "xlm-roberta-xl" => Text {
            types: spec.n("type_vocab_size", 1)?,
            positions: (spec.n("max_position_embeddings", 514)?, 0),
            ..own
        },
        _ => own,
    };
    // Positions count from behind the padding token's index.
    let unused = spec.whole("pad_token_id", 1)?.saturating_add(1);
    let (last_norm, norm) = match kind {
        "roberta-prelayernorm" => ("LayerNorm", own.norm),
        "xlm-roberta-xl" => ("encoder.LayerNorm", ""),
        _ => ("", own.norm),
    };
    Ok(Text { positions: (own.positions.0, unused), last_norm, norm, ..own })
}

fn electra(spec: &Spec) -> Result<Text, Diagnostic> {
    let base = [30_522, 256, 12, 4, 1024];
    let own = bert(spec, "electra.", (&BERT, Order::Post), &ELECTRA_HEADS, base)?;
    let embedded = spec.n("embedding_size", 128)?;
    let project = if embedded == own.hidden { "" } else { "embeddings_project" };
    Ok(Text { embedded, project: (project, true), ..own })
}

fn albert(spec: &Spec) -> Result<Text, Diagnostic> {
    let base = [30_000, 4096, 12, 64, 16_384];
    let own = bert(spec, "albert.", (&ALBERT, Order::Post), &ALBERT_HEADS, base)?;
    spec.only("inner_group_num", &json!(1))?;
    Ok(Text {
        embedded: spec.n("embedding_size", 128)?,
        project: ("encoder.embedding_hidden_mapping_in", true),
        layers: "encoder.albert_layer_groups",
        groups: Some(spec.n("num_hidden_groups", 1)?),
        ..own
    })
}

fn distilbert(spec: &Spec) -> Result<Text, Diagnostic> {
    let base = [30_522, 768, 6, 12, 4 * 768];
    let own = bert(spec, "distilbert.", (&DISTILBERT, Order::Post), &DISTILBERT_HEADS, base)?;
    // Waves are written into a table that is a parameter all the same.
    spec.flag("sinusoidal_pos_embds", false)?;
    Ok(Text { types: 0, layers: "transformer.layer", ..own })
}

fn mpnet(spec: &Spec) -> Result<Text, Diagnostic> {
    let base = [30_527, 768, 12, 12, 3072];
    let own = bert(spec, "mpnet.", (&MPNET, Order::Post), &ROBERTA_HEADS, base)?;
    let n = spec.n("relative_attention_num_buckets", 32)?;
    Ok(Text {
        types: 0,
        positions: (own.positions.0, 2),
        relative: Some(("encoder.relative_attention_bias", n)),
        ..own
    })
}

fn big_bird(spec: &Spec) -> Result<Text, Diagnostic> {
    let base = [50_358, 768, 12, 12, 3072];
    let own = bert(spec, "bert.", (&BERT, Order::Post), &BIG_BIRD_HEADS, base)?;
    // Shorter samples than so many blocks are attended to in full.
    let blocks = 5 + 2 * spec.n("num_random_blocks", 3)?;
    let window = blocks.saturating_mul(spec.n("block_size", 64)?);
    let is_sparse = spec.text("attention_type", "block_sparse")? == "block_sparse";
    let qkv = [spec.flag("use_bias", true)?; 3];
    spec.flag("rescale_embeddings", false)?;
    let layer = Layer { biases: Biases { qkv, ..own.layer.biases }, ..own.layer };
    let positions = (spec.n("max_position_embeddings", 4096)?, 0);
    Ok(Text { layer, positions, window: is_sparse.then_some(window), ..own })
}

fn deberta(spec: &Spec) -> Result<Text, Diagnostic> {
    let base = match spec.text("model_type", "")? {
        "deberta" => [50_265, 768, 12, 12, 3072],
        _ => [128_100, 1536, 24, 24, 6144],
    };
    spec.only("relative_attention", &json!(false))?;
    spec.only("legacy", &json!(true))?;
    let is_fused = spec.text("model_type", "")? == "deberta";
    let names = if is_fused { &FUSED_DEBERTA } else { &DEBERTA };
    let own = bert(spec, "deberta.", (names, Order::Post), &DEBERTA_HEADS, base)?;
    let biases = Biases { qkv: [!is_fused; 3], ..own.layer.biases };
    let own = Text { layer: Layer { biases, ..own.layer }, ..own };
    let is_positioned = spec.flag("position_biased_input", true)?;
    Ok(Text {
        types: spec.whole("type_vocab_size", 0)?,
        positions: if is_positioned { own.positions } else { (0, 0) },
        ..own
    })
}

fn modern(spec: &Spec, extras: &mut Extras) -> Result<Text, Diagnostic> {
    let base = [50_368, 768, 22, 12, 1152];
    let heads = if spec.flag("decoder_bias", true)? { &MODERN_HEADS } else { &MODERN_UNBIASED };
    let own = bert(spec, "model.", (&MODERN, Order::Pre), heads, base)?;
    let norm = if spec.flag("norm_bias", false)? { Norm::Layer } else { Norm::Unbiased };
    let attention = spec.flag("attention_bias", false)?;
    let biases =
        Biases { qkv: [attention; 3], out: attention, feed: spec.flag("mlp_bias", false)? };
    let act = spec.text("hidden_activation", "gelu")?;
    let layer = Layer { norm, biases, is_gate_fused: true, is_rotary: true, ..own.layer };
    let every = spec.n("global_attn_every_n_layers", 3)?;
    let types = spec.fields("layer_types").list("layer_types")?;
    extras.is_global = (0..own.n_layers)
        .map(|i| match types.get(i as usize) {
            Some(kind) => kind == "full_attention",
            None => i.is_multiple_of(every),
        })
        .collect();
    spec.text("classifier_pooling", "cls")?;
    spec.text("classifier_activation", "gelu")?;
    spec.n("max_position_embeddings", 8192)?;
    Ok(Text {
        positions: (0, MAX_EXTENT),
        types: 0,
        words: "embeddings.tok_embeddings",
        norm: "embeddings.norm",
        layers: "layers",
        layer: layer.acting(act),
        // Half of the window on either side, and the token itself.
        window: Some(spec.n("local_attention", 128)? + 1),
        last_norm: "final_norm",
        ..own
    })
}
