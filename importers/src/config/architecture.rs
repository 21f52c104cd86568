//! What the fields of a config say about a transformer, by model type.

use ir::diagnostic::Diagnostic;
use serde_json::Value;

use super::fields::{Fields, number, within_budget};
use super::quantization::Quantization;
use super::task::Task;
use crate::json::Object;

/// Model types that are understood.
pub(super) const SUPPORTED: [&str; 8] =
    ["bert", "gpt2", "llama", "mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe"];

/// The model type of GPT-OSS.
pub(super) const GPT_OSS: &str = "gpt_oss";
/// The model type of DeepSeek-MoE, whose heads are plain.
pub(super) const DEEPSEEK: &str = "deepseek";
/// Mixtures of which some layers have experts.
pub(super) const QWEN2_MOE: &str = "qwen2_moe";
/// The same of T5.
pub(super) const SWITCH: &str = "switch_transformers";
/// Model types that are read as cards by readers of their own: blocks are of several kinds, with shared
/// experts, latent attention, windows.
pub(super) const CARDS: [&str; 6] =
    [DEEPSEEK, "deepseek_v2", "deepseek_v3", GPT_OSS, QWEN2_MOE, SWITCH];

/// Longest sequence that is planned where nobody states one: scores of attention grow with its
/// square, and models state far more positions than one pass has tokens.
pub(super) const MAX_DEFAULT_SEQUENCE: u64 = 4_096;

/// Most experts of a model.
const MAX_ALL_EXPERTS: u64 = 1 << 17;

/// The family that decides names, norms and biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Learned positions, norm before each part, one fused projection.
    Gpt2,
    /// Learned positions and token types, norm after each part, masked-token head.
    Bert,
    /// Rotary positions, RMS norms, gated feed-forward part.
    Llama,
}

/// Experts of a mixture layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Experts {
    /// Experts of a layer.
    pub n: u64,
    /// Experts that a token goes to.
    pub per_token: u64,
}

/// Whether a projection adds a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bias {
    /// It does.
    Added,
    /// It does not.
    Absent,
}

/// Whether queries and keys are normalised per head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadNorm {
    /// They are (qwen3).
    Rms,
    /// They are not.
    Absent,
}

/// Whether the head's weight is the embedding's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// One tensor.
    Tied,
    /// Two tensors.
    Separate,
}

/// Whether a decoder attends to the states of an encoder as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cross {
    /// It does, in every layer.
    Attended,
    /// It does not.
    Absent,
}

/// Attention of some layers to the latest tokens alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// Tokens that a token attends to.
    pub tokens: u64,
    /// The layers, in order.
    pub layers: Vec<bool>,
}

/// A transformer in numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Architecture {
    pub family: Family,
    pub vocabulary: u64,
    pub hidden: u64,
    pub n_layers: u64,
    pub heads: u64,
    pub kv_heads: u64,
    pub head_dim: u64,
    pub feed_forward: u64,
    /// Positions that the model was made for.
    pub positions: u64,
    pub token_types: u64,
    pub experts: Option<Experts>,
    pub qkv_bias: Bias,
    pub output_bias: Bias,
    pub mlp_bias: Bias,
    pub head_norm: HeadNorm,
    pub head: Head,
    pub task: Task,
    pub cross: Cross,
    pub window: Option<Window>,
    pub quantization: Option<Quantization>,
    /// What of the config is not understood or has no effect.
    pub warnings: Vec<Diagnostic>,
}

impl Architecture {
    /// Reads the fields.
    ///
    /// # Errors
    /// See [`super::read`].
    pub(super) fn read(fields: &Object) -> Result<Self, Diagnostic> {
        let fields = Fields(fields);
        let model_type = model_type(fields)?;
        fields.check()?;
        let family = match model_type {
            "gpt2" => Family::Gpt2,
            "bert" => Family::Bert,
            _ => Family::Llama,
        };
        let n_layers = fields.count(&["num_hidden_layers", "n_layer"], None)?;
        let hidden = fields.count(&["hidden_size", "n_embd"], None)?;
        let heads = fields.count(&["num_attention_heads", "n_head"], None)?;
        let (kv_heads, head_dim) = fields.heads(model_type, hidden, heads)?;
        let attention_bias = fields.read_by(&BIASED_ATTENTION, (model_type, "attention_bias"))?;
        let is_classic = family != Family::Llama;
        let always = if is_classic { Bias::Added } else { attention_bias };
        let (task, untold) = Task::read(fields, family)?;
        let (quantization, unknown) = Quantization::read(fields)?;
        let (cross, useless) = fields.cross(family)?;
        let (window, unused) = fields.window(model_type, n_layers)?;
        let architecture = Self {
            family,
            vocabulary: fields.count(&["vocab_size"], None)?,
            hidden,
            n_layers,
            heads,
            kv_heads,
            head_dim,
            feed_forward: fields.feed_forward(model_type, hidden)?,
            positions: fields
                .count(&["max_position_embeddings", "n_positions"], positions(model_type))?,
            token_types: fields.count(&["type_vocab_size"], Some(2))?,
            experts: fields.experts(model_type, n_layers)?,
            qkv_bias: if model_type == "qwen2" { Bias::Added } else { always },
            output_bias: always,
            mlp_bias: match is_classic {
                true => Bias::Added,
                false => fields.read_by(&["llama"], (model_type, "mlp_bias"))?,
            },
            head_norm: if model_type.starts_with("qwen3") {
                HeadNorm::Rms
            } else {
                HeadNorm::Absent
            },
            head: match fields.flag("tie_word_embeddings")? {
                Some(true) => Head::Tied,
                Some(false) => Head::Separate,
                None if is_classic => Head::Tied,
                None => Head::Separate,
            },
            task,
            cross,
            window,
            quantization,
            warnings: [untold, unknown, useless, unused].into_iter().flatten().collect(),
        };
        within_budget(architecture.n_weights())?;
        Ok(architecture)
    }

    /// Tokens of a sample where the caller states none.
    pub(super) fn default_sequence(&self) -> u64 {
        self.positions.min(MAX_DEFAULT_SEQUENCE)
    }

    /// Tokens that a token of a layer attends to in a sample of so many.
    pub(super) fn span(&self, layer: u64, sequence: u64) -> u64 {
        let window =
            self.window.as_ref().filter(|window| window.layers.get(layer as usize) == Some(&true));
        window.map_or(sequence, |window| window.tokens.min(sequence))
    }

    /// Weights of its products and tables, about.
    fn n_weights(&self) -> u128 {
        let [h, f, v, p] =
            [self.hidden, self.feed_forward, self.vocabulary, self.positions].map(u128::from);
        let heads = u128::from(self.heads + self.kv_heads) * u128::from(self.head_dim);
        let n_experts = self.experts.map_or(1, |experts| u128::from(experts.n));
        u128::from(self.n_layers) * h * (2 * heads + 3 * f * n_experts) + h * (2 * v + p)
    }
}

/// The model type, if it is understood.
fn model_type(fields: Fields<'_>) -> Result<&str, Diagnostic> {
    let model_type = fields.text("model_type")?.unwrap_or_default();
    if SUPPORTED.contains(&model_type) {
        return Ok(model_type);
    }
    Err(unknown_type(model_type))
}

/// Code of the refusal of a model type that no reader knows.
pub(super) const UNKNOWN_TYPE: &str = "unknown-model-type";

/// The refusal of a model type that no reader knows.
pub(super) fn unknown_type(model_type: &str) -> Diagnostic {
    let shown: String = model_type.chars().take(60).collect();
    Diagnostic::input(UNKNOWN_TYPE, format!("unknown model_type `{shown}`"))
}

/// Positions where the config says nothing: the defaults of the model's configuration class in
/// transformers 5.23.
fn positions(model_type: &str) -> Option<u64> {
    Some(match model_type {
        "bert" => 512,
        "gpt2" => 1024,
        "llama" => 2048,
        "mistral" | "mixtral" => 131_072,
        _ => 32_768,
    })
}

/// Model types whose class reads `attention_bias`; that of Qwen2 has biases of its own.
const BIASED_ATTENTION: [&str; 3] = ["llama", "qwen3", "qwen3_moe"];

impl Fields<'_> {
    /// A bias that only the classes of some model types have.
    fn read_by(self, types: &[&str], (model_type, name): (&str, &str)) -> Result<Bias, Diagnostic> {
        let is_added = self.flag(name)? == Some(true) && types.contains(&model_type);
        Ok(if is_added { Bias::Added } else { Bias::Absent })
    }

    /// Heads of keys and values, and the extent of a head.
    fn heads(self, model_type: &str, hidden: u64, heads: u64) -> Result<(u64, u64), Diagnostic> {
        let default = match model_type {
            "qwen3" => Some(128),
            _ if hidden.is_multiple_of(heads) => Some(hidden / heads),
            _ => None,
        };
        let head_dim = self.count(&["head_dim"], default).map_err(|error| {
            if error.code != "missing-field" {
                return error;
            }
            Diagnostic::input(
                "heads-do-not-divide",
                format!("hidden_size {hidden} is not divisible by {heads} heads"),
            )
            .hint("state `head_dim` if the heads do not share the hidden size evenly")
        })?;
        let kv_heads = self.count(&["num_key_value_heads"], Some(heads))?;
        if !heads.is_multiple_of(kv_heads) {
            return Err(Diagnostic::input(
                "heads-do-not-divide",
                format!("{heads} attention heads are not divisible by {kv_heads} key-value heads"),
            )
            .hint("correct `num_attention_heads` or `num_key_value_heads`"));
        }
        Ok((kv_heads, head_dim))
    }

    fn feed_forward(self, model_type: &str, hidden: u64) -> Result<u64, Diagnostic> {
        match model_type {
            "gpt2" => self.count(&["n_inner"], Some(hidden.saturating_mul(4))),
            "qwen3_moe" => self.count(&["moe_intermediate_size"], None),
            _ => self.count(&["intermediate_size"], None),
        }
    }

    fn experts(self, model_type: &str, n_layers: u64) -> Result<Option<Experts>, Diagnostic> {
        // Of qwen3_moe, transformers 5 writes the second name.
        let names: &[&'static str] = match model_type {
            "mixtral" => &["num_local_experts"],
            "qwen3_moe" => &["num_experts", "num_local_experts"],
            _ => return Ok(None),
        };
        let n = self.count(names, None)?;
        let per_token = self.count(&["num_experts_per_tok"], None)?;
        let is_uniform = self.count(&["decoder_sparse_step"], Some(1))? == 1
            && self.list("mlp_only_layers")?.is_empty();
        if n.saturating_mul(n_layers) > MAX_ALL_EXPERTS || per_token > n || !is_uniform {
            return Err(Diagnostic::input(
                "invalid-field",
                format!("{per_token} of {n} experts in a part of the layers cannot be planned"),
            )
            .hint(format!("every layer needs experts, and at most {MAX_ALL_EXPERTS} in all")));
        }
        Ok(Some(Experts { n, per_token }))
    }

    fn cross(self, family: Family) -> Result<(Cross, Option<Diagnostic>), Diagnostic> {
        if self.flag("add_cross_attention")? != Some(true) {
            return Ok((Cross::Absent, None));
        }
        if family == Family::Llama {
            return Ok((Cross::Absent, Some(without_effect("add_cross_attention"))));
        }
        Ok((Cross::Attended, None))
    }

    /// The window of attention, of the layers that have one.
    fn window(
        self,
        model_type: &str,
        n_layers: u64,
    ) -> Result<(Option<Window>, Option<Diagnostic>), Diagnostic> {
        // What the class has where its config says nothing.
        let usual =
            (model_type == "mistral" && !self.0.contains_key("sliding_window")).then_some(4_096);
        let Some(tokens) = self.optional("sliding_window")?.or(usual) else {
            return Ok((None, None));
        };
        let is_used = self.flag("use_sliding_window")?;
        let first = self.get("max_window_layers");
        let first =
            first.map(|value| number("max_window_layers", value, 0)).transpose()?.unwrap_or(28);
        let types = self.list("layer_types")?;
        let slides = |layer: u64| match types.get(layer as usize).and_then(Value::as_str) {
            Some(kind) => kind == "sliding_attention",
            // Of Qwen, the layers behind so many.
            None if model_type.starts_with("qwen") => layer >= first,
            None => true,
        };
        match model_type {
            "mistral" | "mixtral" => {}
            "qwen2" | "qwen3" | "qwen3_moe" if is_used == Some(true) => {}
            "qwen2" | "qwen3" | "qwen3_moe" => return Ok((None, None)),
            _ => return Ok((None, Some(without_effect("sliding_window")))),
        }
        Ok((Some(Window { tokens, layers: (0..n_layers).map(slides).collect() }), None))
    }
}

/// A field that the model's class in transformers does not read.
pub(super) fn without_effect(field: &str) -> Diagnostic {
    let message =
        format!("`{field}` has no effect: the model's class in transformers does not read it");
    Diagnostic::warning("field-without-effect", message).fact("field", field)
}
