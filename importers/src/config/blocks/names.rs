//! Module names of the library's own classes.

/// Names of the modules of a family.
#[derive(Clone, Copy)]
pub(super) struct Names {
    pub tokens: &'static str,
    pub positions: &'static str,
    pub layers: &'static str,
    pub norm_1: &'static str,
    pub attention: &'static str,
    pub output: &'static str,
    pub norm_2: &'static str,
    pub up: &'static str,
    pub down: &'static str,
    pub last_norm: &'static str,
    pub head: &'static str,
    /// Of all modules but those of the task.
    pub prefix: &'static str,
}

pub(super) const GPT2: Names = Names {
    tokens: "transformer.wte",
    positions: "transformer.wpe",
    layers: "transformer.h",
    norm_1: "ln_1",
    attention: "attn",
    output: "attn.c_proj",
    norm_2: "ln_2",
    up: "mlp.c_fc",
    down: "mlp.c_proj",
    last_norm: "transformer.ln_f",
    head: "lm_head",
    prefix: "transformer.",
};

pub(super) const BERT: Names = Names {
    tokens: "bert.embeddings.word_embeddings",
    positions: "bert.embeddings.position_embeddings",
    layers: "bert.encoder.layer",
    norm_1: "attention.output.LayerNorm",
    attention: "attention.self",
    output: "attention.output.dense",
    norm_2: "output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    last_norm: "bert.embeddings.LayerNorm",
    head: "cls.predictions.decoder",
    prefix: "bert.",
};

pub(super) const LLAMA: Names = Names {
    tokens: "model.embed_tokens",
    positions: "",
    layers: "model.layers",
    norm_1: "input_layernorm",
    attention: "self_attn",
    output: "self_attn.o_proj",
    norm_2: "post_attention_layernorm",
    up: "mlp.up_proj",
    down: "mlp.down_proj",
    last_norm: "model.norm",
    head: "lm_head",
    prefix: "model.",
};

impl Names {
    /// The names in the model without a task.
    pub(super) fn bare(self) -> Self {
        let own = |name: &'static str| name.strip_prefix(self.prefix).unwrap_or(name);
        Self {
            tokens: own(self.tokens),
            positions: own(self.positions),
            layers: own(self.layers),
            last_norm: own(self.last_norm),
            prefix: "",
            ..self
        }
    }
}
