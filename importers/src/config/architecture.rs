//! What the fields of a config say about a transformer, by model type.

use ir::diagnostic::Diagnostic;
use serde_json::Value;

use crate::json::Object;

/// Model types that are understood.
pub(super) const SUPPORTED: [&str; 8] =
    ["bert", "gpt2", "llama", "mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe"];

/// Most layers of a model.
const MAX_LAYERS: u64 = 2_000;

/// Longest sequence that is planned where nobody states one: scores of attention grow with its
/// square, and models state far more positions than one pass has tokens.
const MAX_DEFAULT_SEQUENCE: u64 = 4_096;

/// Most experts of a layer.
const MAX_EXPERTS: u64 = 1_024;

/// Most experts of a model.
const MAX_ALL_EXPERTS: u64 = 65_536;

/// Largest number that a field may have: far above any model, and safe to multiply twice.
const MAX_NUMBER: u64 = 1 << 31;

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

/// A transformer in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

impl Architecture {
    /// Reads the fields.
    ///
    /// # Errors
    /// See [`super::read`].
    pub(super) fn read(fields: &Object) -> Result<Self, Diagnostic> {
        let model_type = model_type(fields)?;
        let family = match model_type {
            "gpt2" => Family::Gpt2,
            "bert" => Family::Bert,
            _ => Family::Llama,
        };
        let fields = Fields(fields);
        let n_layers = fields.layers()?;
        let hidden = fields.count(&["hidden_size", "n_embd"], None)?;
        let heads = fields.count(&["num_attention_heads", "n_head"], None)?;
        let (kv_heads, head_dim) = fields.heads(model_type, hidden, heads)?;
        let attention_bias = fields.flag("attention_bias", Bias::Absent);
        let is_classic = family != Family::Llama;
        let always = if is_classic { Bias::Added } else { attention_bias };
        Ok(Self {
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
            mlp_bias: if is_classic { Bias::Added } else { fields.flag("mlp_bias", Bias::Absent) },
            head_norm: if model_type.starts_with("qwen3") {
                HeadNorm::Rms
            } else {
                HeadNorm::Absent
            },
            head: match fields.0.get("tie_word_embeddings").and_then(Value::as_bool) {
                Some(true) => Head::Tied,
                Some(false) => Head::Separate,
                None if is_classic => Head::Tied,
                None => Head::Separate,
            },
        })
    }
}

impl Architecture {
    /// Tokens of a sample where the caller states none.
    pub(super) fn default_sequence(&self) -> u64 {
        self.positions.min(MAX_DEFAULT_SEQUENCE)
    }
}

/// The model type, if it is understood.
fn model_type(fields: &Object) -> Result<&str, Diagnostic> {
    let model_type = fields.get("model_type").and_then(Value::as_str).unwrap_or_default();
    if SUPPORTED.contains(&model_type) {
        return Ok(model_type);
    }
    let shown: String = model_type.chars().take(60).collect();
    Err(Diagnostic::input("unknown-model-type", format!("unknown model_type `{shown}`"))
        .fact("supported", SUPPORTED.map(str::to_owned).to_vec())
        .hint(format!(
            "supported are {}, {}; export anything else to ONNX",
            SUPPORTED.join(", "),
            super::T5
        )))
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

struct Fields<'a>(&'a Object);

impl Fields<'_> {
    /// A positive number under the first of `names` that is there.
    fn count(&self, names: &[&'static str], default: Option<u64>) -> Result<u64, Diagnostic> {
        let found = names
            .iter()
            .find_map(|name| Some((*name, self.0.get(*name).filter(|value| !value.is_null())?)));
        let Some((name, value)) = found else {
            return default.ok_or_else(|| {
                let name = names.first().copied().unwrap_or_default();
                Diagnostic::input("missing-field", format!("the config has no `{name}`"))
            });
        };
        value.as_u64().filter(|n| (1..=MAX_NUMBER).contains(n)).ok_or_else(|| {
            let shown: String = value.to_string().chars().take(40).collect();
            Diagnostic::input(
                "invalid-field",
                format!("`{name}` is {shown}: out of range, a whole number from 1 to {MAX_NUMBER} is needed"),
            )
        })
    }

    /// The number of layers, within the budget.
    fn layers(&self) -> Result<u64, Diagnostic> {
        let n = self.count(&["num_hidden_layers", "n_layer"], None)?;
        if n > MAX_LAYERS {
            return Err(Diagnostic::input(
                "layer-budget",
                format!("layer budget exceeded: {n} layers, at most {MAX_LAYERS} are planned"),
            )
            .fact("layers", n)
            .fact("limit", MAX_LAYERS));
        }
        Ok(n)
    }

    fn flag(&self, name: &str, default: Bias) -> Bias {
        match self.0.get(name).and_then(Value::as_bool) {
            Some(true) => Bias::Added,
            Some(false) => Bias::Absent,
            None => default,
        }
    }

    /// Heads of keys and values, and the extent of a head.
    fn heads(&self, model_type: &str, hidden: u64, heads: u64) -> Result<(u64, u64), Diagnostic> {
        let default = match model_type {
            "qwen3" | "qwen3_moe" => Some(128),
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

    fn feed_forward(&self, model_type: &str, hidden: u64) -> Result<u64, Diagnostic> {
        match model_type {
            "gpt2" => self.count(&["n_inner"], Some(hidden.saturating_mul(4))),
            "qwen3_moe" => self.count(&["moe_intermediate_size"], None),
            _ => self.count(&["intermediate_size"], None),
        }
    }

    fn experts(&self, model_type: &str, n_layers: u64) -> Result<Option<Experts>, Diagnostic> {
        let names: &[&'static str] = match model_type {
            "mixtral" => &["num_local_experts"],
            "qwen3_moe" => &["num_experts"],
            _ => return Ok(None),
        };
        let n = self.count(names, None)?;
        let per_token = self.count(&["num_experts_per_tok"], None)?;
        let is_uniform = self.count(&["decoder_sparse_step"], Some(1))? == 1
            && self.0.get("mlp_only_layers").and_then(Value::as_array).is_none_or(Vec::is_empty);
        let is_small = n <= MAX_EXPERTS && n.saturating_mul(n_layers) <= MAX_ALL_EXPERTS;
        if !is_small || per_token > n || !is_uniform {
            return Err(Diagnostic::input(
                "invalid-field",
                format!("{per_token} of {n} experts in a part of the layers cannot be planned"),
            )
            .hint(format!(
                "every layer needs experts, at most {MAX_EXPERTS}, and at most {MAX_ALL_EXPERTS} in all"
            )));
        }
        Ok(Some(Experts { n, per_token }))
    }
}
