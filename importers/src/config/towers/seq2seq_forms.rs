//! Families of encoder-decoders: what each has that BART has not.

use super::layer::{Biases, Names, Order};

pub(crate) const TYPES: &[&str] = &[
    "bart",
    "blenderbot",
    "blenderbot-small",
    "fsmt",
    "led",
    "m2m_100",
    "marian",
    "mbart",
    "pegasus",
    "plbart",
    "prophetnet",
    "speech_to_text",
    "whisper",
];

pub(super) const BART: Names = Names {
    qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    out: "self_attn.out_proj",
    norms: ["self_attn_layer_norm", "final_layer_norm"],
    ways: &["fc1"],
    down: "fc2",
    cross: [
        "encoder_attn.q_proj",
        "encoder_attn.k_proj",
        "encoder_attn.v_proj",
        "encoder_attn.out_proj",
        "encoder_attn_layer_norm",
    ],
    scales: ["", ""],
};

const LED_ENCODER: Names = Names {
    qkv: &[
        "self_attn.longformer_self_attn.query",
        "self_attn.longformer_self_attn.key",
        "self_attn.longformer_self_attn.value",
    ],
    out: "self_attn.output",
    ..BART
};

const PROPHETNET: Names = Names {
    qkv: &["self_attn.query_proj", "self_attn.key_proj", "self_attn.value_proj"],
    norms: ["self_attn_layer_norm", "feed_forward_layer_norm"],
    ways: &["feed_forward.intermediate"],
    down: "feed_forward.output",
    cross: [
        "cross_attn.query_proj",
        "cross_attn.key_proj",
        "cross_attn.value_proj",
        "cross_attn.out_proj",
        "cross_attn_layer_norm",
    ],
    ..BART
};

/// What an encoder reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Front {
    Tokens,
    /// Frames of a spectrogram through two convolutions.
    Mel,
    /// Frames through gated convolutions of stride 2.
    Subsampled,
}

/// How positions are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Positions {
    /// By a table with so many rows more than there are positions.
    Table(u64),
    /// By waves that are no parameters.
    Waves,
}

/// What tells a family from the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// Module of the model within the class of a task, with a point behind it.
    pub prefix: &'static str,
    pub front: Front,
    pub order: Order,
    pub positions: Positions,
    /// Norm behind the embeddings; empty without one.
    pub embedding_norm: &'static str,
    pub has_last_norm: bool,
    pub biases: Biases,
    pub act: &'static str,
    pub head: &'static str,
    /// Tables of words of a side and of both, and of positions.
    pub tables: [&'static str; 3],
    /// Names within the blocks of both sides.
    pub names: [&'static Names; 2],
    /// Vocabulary, columns, layers of both sides, heads, columns of the feed-forward part.
    pub sizes: [u64; 6],
    /// Positions of both sides.
    pub reach: [u64; 2],
}

const FORM: Form = Form {
    prefix: "model.",
    front: Front::Tokens,
    order: Order::Post,
    positions: Positions::Table(2),
    embedding_norm: "layernorm_embedding",
    has_last_norm: false,
    biases: Biases::ALL,
    act: "gelu",
    head: "lm_head",
    tables: ["embed_tokens", "shared", "embed_positions"],
    names: [&BART, &BART],
    sizes: [50_265, 1024, 12, 12, 16, 4096],
    reach: [1024, 1024],
};

/// Of BART with norms before each part.
const BEFORE: Form = Form { order: Order::Pre, has_last_norm: true, ..FORM };

/// The form of a model type.
pub(super) fn form(kind: &str) -> Form {
    match kind {
        "mbart" => BEFORE,
        "pegasus" => Form { positions: Positions::Table(0), embedding_norm: "", ..BEFORE },
        "m2m_100" => Form {
            positions: Positions::Waves,
            embedding_norm: "",
            act: "relu",
            sizes: [128_112, 1024, 12, 12, 16, 4096],
            ..BEFORE
        },
        "blenderbot" => Form {
            positions: Positions::Table(0),
            embedding_norm: "",
            sizes: [8_008, 2560, 2, 24, 32, 10_240],
            reach: [128, 128],
            ..BEFORE
        },
        "blenderbot-small" => Form {
            positions: Positions::Table(0),
            sizes: [50_265, 512, 8, 8, 16, 2048],
            reach: [512, 512],
            ..FORM
        },
        "plbart" => Form { sizes: [50_005, 768, 6, 6, 12, 3072], ..FORM },
        "marian" => Form {
            positions: Positions::Table(0),
            embedding_norm: "",
            sizes: [58_101, 1024, 12, 12, 16, 4096],
            ..FORM
        },
        _ => other(kind),
    }
}

/// Forms of windows, of streams, and of speech.
fn other(kind: &str) -> Form {
    match kind {
        "led" => Form {
            prefix: "led.",
            names: [&LED_ENCODER, &BART],
            positions: Positions::Table(0),
            reach: [16_384, 1024],
            ..FORM
        },
        "prophetnet" => Form {
            prefix: "prophetnet.",
            positions: Positions::Table(0),
            embedding_norm: "embeddings_layer_norm",
            tables: ["word_embeddings", "word_embeddings", "position_embeddings"],
            names: [&PROPHETNET, &PROPHETNET],
            sizes: [30_522, 1024, 12, 12, 16, 4096],
            reach: [512, 512],
            ..FORM
        },
        "fsmt" => Form {
            tables: ["embed_tokens", "encoder.embed_tokens", "embed_positions"],
            head: "model.decoder.output_projection",
            embedding_norm: "",
            act: "relu",
            sizes: [42_024, 1024, 12, 12, 16, 4096],
            ..FORM
        },
        "whisper" => Form {
            front: Front::Mel,
            positions: Positions::Table(0),
            embedding_norm: "",
            // Keys have no bias.
            biases: Biases { qkv: [true, false, true], ..Biases::ALL },
            head: "proj_out",
            sizes: [51_865, 384, 4, 4, 6, 1536],
            reach: [1500, 448],
            ..BEFORE
        },
        "speech_to_text" => Form {
            front: Front::Subsampled,
            positions: Positions::Waves,
            embedding_norm: "",
            act: "relu",
            sizes: [10_000, 256, 12, 6, 4, 2048],
            reach: [6000, 1024],
            ..BEFORE
        },
        _ => FORM,
    }
}
