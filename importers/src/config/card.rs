//! A config as a model card: blocks by their figures, without a graph.

use std::path::Path;

use ir::card::{Attention, BlockGroup, ExpertCard, FeedForward, Head, ModelCard, TransformerCard};
use ir::diagnostic::Diagnostic;
use serde_json::Value;

use super::MAX_BYTES;
use super::architecture::{self, Architecture, Family, SUPPORTED};
use crate::json;
use crate::json::Object;
use crate::source::{self, FileSource};

/// Model types with latent attention and shared experts.
const LATENT: [&str; 2] = ["deepseek_v2", "deepseek_v3"];
/// Longest sequence that is planned where nobody states one.
const MAX_DEFAULT_SEQUENCE: u64 = 4_096;
/// Longest sequence and largest counts that are planned.
const MOST: u64 = 1 << 31;

/// Reads a config as a card, of samples of so many tokens; without a length as many as the model
/// has positions, up to a limit.
///
/// Biases of single projections and norms of heads are not counted (under 0.1 % of the parameters).
///
/// # Errors
/// `unknown-model-type`, `missing-field`, `invalid-field`, `layer-budget`, `heads-do-not-divide`, and
/// those of the JSON reader.
pub fn card(path: &Path, sequence: Option<u64>) -> Result<ModelCard, Diagnostic> {
    let name =
        path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    FileSource::open(path)
        .and_then(|source| of_bytes(&source::read_all(&source, MAX_BYTES)?, &name, sequence))
        .map_err(|error| error.fact("file", path.display().to_string()))
}

/// As [`card`], from the bytes of a file of that name.
///
/// # Errors
/// As [`card`].
pub fn of_bytes(bytes: &[u8], name: &str, sequence: Option<u64>) -> Result<ModelCard, Diagnostic> {
    let fields: Object = json::parse(bytes)?;
    let model_type = fields.get("model_type").and_then(Value::as_str).unwrap_or_default();
    if LATENT.contains(&model_type) {
        return latent(&fields, name, sequence);
    }
    let own = Architecture::read(&fields).map_err(|error| {
        let known = SUPPORTED.iter().chain(&LATENT).map(|name| (*name).to_owned());
        match error.code {
            "unknown-model-type" => error.fact("as_cards", known.collect::<Vec<_>>()),
            _ => error,
        }
    })?;
    let sequence = length(sequence, own.default_sequence())?;
    let attention = match own.heads.checked_mul(own.head_dim) {
        Some(width) if width == own.hidden => Attention::Even,
        _ => Attention::Heads { dim: own.head_dim },
    };
    let card = TransformerCard {
        name: name.to_owned(),
        n_layers: u32::try_from(own.n_layers).unwrap_or(u32::MAX),
        hidden: own.hidden,
        n_heads: own.heads,
        n_kv_heads: own.kv_heads,
        feed_forward: own.feed_forward,
        form: match own.family {
            Family::Llama => FeedForward::Gated,
            Family::Gpt2 | Family::Bert => FeedForward::Plain,
        },
        sequence,
        vocabulary: own.vocabulary,
        experts: own.experts.map(|experts| ExpertCard {
            n_experts: experts.n,
            per_token: experts.per_token,
            feed_forward: own.feed_forward,
            n_shared: 0,
        }),
        attention,
        head: match own.head {
            architecture::Head::Tied => Head::Tied,
            architecture::Head::Separate => Head::Separate,
        },
    };
    Ok(ModelCard { dtype: super::stated_dtype(&fields), ..ModelCard::uniform(card) })
}

fn length(stated: Option<u64>, default: u64) -> Result<u64, Diagnostic> {
    let length = stated.unwrap_or(default);
    if length == 0 || length > 1 << 24 {
        let message = format!("a sequence of {length} tokens: out of range, 1 to {}", 1 << 24);
        return Err(Diagnostic::input("invalid-field", message));
    }
    Ok(length)
}

/// Latent attention, experts beside shared ones, first layers without experts, and modules that
/// predict later tokens (DeepSeek-AI 2024, arXiv:2412.19437, sections 2.1 and 2.2).
fn latent(fields: &Object, name: &str, sequence: Option<u64>) -> Result<ModelCard, Diagnostic> {
    let n = |key: &'static str| number(fields, key, None);
    let hidden = n("hidden_size")?;
    let n_layers = n("num_hidden_layers")?;
    if n_layers > 2_000 {
        let message = format!("layer budget exceeded: {n_layers} layers, at most 2000 are planned");
        return Err(Diagnostic::input("layer-budget", message).fact("layers", n_layers));
    }
    let positions = number(fields, "max_position_embeddings", Some(MAX_DEFAULT_SEQUENCE))?;
    let n_dense = whole(fields, "first_k_dense_replace", 0)?.min(n_layers);
    let n_later = whole(fields, "num_nextn_predict_layers", 0)?.min(8);
    let heads = n("num_attention_heads")?;
    let dense = TransformerCard {
        name: name.to_owned(),
        n_layers: n_layers as u32,
        hidden,
        n_heads: heads,
        n_kv_heads: heads,
        feed_forward: n("intermediate_size")?,
        form: FeedForward::Gated,
        sequence: length(sequence, positions.min(MAX_DEFAULT_SEQUENCE))?,
        vocabulary: n("vocab_size")?,
        experts: None,
        attention: Attention::Latent {
            query_rank: n("q_lora_rank")?,
            key_value_rank: n("kv_lora_rank")?,
            plain: n("qk_nope_head_dim")?,
            rotary: n("qk_rope_head_dim")?,
            value: n("v_head_dim")?,
        },
        head: match fields.get("tie_word_embeddings").and_then(Value::as_bool) {
            Some(true) => Head::Tied,
            _ => Head::Separate,
        },
    };
    let experts = ExpertCard {
        n_experts: n("n_routed_experts")?,
        per_token: n("num_experts_per_tok")?,
        feed_forward: n("moe_intermediate_size")?,
        n_shared: whole(fields, "n_shared_experts", 0)?,
    };
    let mixture = TransformerCard { experts: Some(experts), ..dense.clone() };
    let group = |card: &TransformerCard, n_blocks: u64, extra_weights| BlockGroup {
        extra_weights,
        ..BlockGroup::of_card(card.clone(), n_blocks as u32)
    };
    // A later token is predicted from the hidden state and an embedding side by side.
    let projection = hidden.saturating_mul(2).saturating_mul(hidden);
    let mut groups = vec![
        group(&dense, n_dense, 0),
        group(&mixture, n_layers - n_dense, 0),
        group(&mixture, n_later, projection),
    ];
    groups.retain(|group| group.n_blocks > 0);
    Ok(ModelCard {
        name: name.to_owned(),
        groups,
        n_predictions: 1 + n_later as u32,
        other_parameters: 0,
        dtype: super::stated_dtype(fields),
    })
}

/// A whole number from 1 on.
fn number(fields: &Object, key: &'static str, default: Option<u64>) -> Result<u64, Diagnostic> {
    match (fields.get(key).filter(|value| !value.is_null()), default) {
        (None, Some(default)) => Ok(default),
        (None, None) => {
            Err(Diagnostic::input("missing-field", format!("the config has no `{key}`")))
        }
        (Some(value), _) => {
            value.as_u64().filter(|n| (1..=MOST).contains(n)).ok_or_else(|| wrong(key, value))
        }
    }
}

/// A whole number from 0 on.
fn whole(fields: &Object, key: &'static str, default: u64) -> Result<u64, Diagnostic> {
    match fields.get(key).filter(|value| !value.is_null()) {
        None => Ok(default),
        Some(value) => value.as_u64().filter(|n| *n <= MOST).ok_or_else(|| wrong(key, value)),
    }
}

fn wrong(key: &str, value: &Value) -> Diagnostic {
    let shown: String = value.to_string().chars().take(40).collect();
    let message =
        format!("`{key}` is {shown}: out of range, a whole number up to {MOST} is needed");
    Diagnostic::input("invalid-field", message)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use ir::tensor::DType;

    use super::*;

    const DEEPSEEK: &str = r#"{"model_type":"deepseek_v3","vocab_size":129280,"hidden_size":7168,
        "intermediate_size":18432,"moe_intermediate_size":2048,"num_hidden_layers":61,
        "num_attention_heads":128,"q_lora_rank":1536,"kv_lora_rank":512,"qk_nope_head_dim":128,
        "qk_rope_head_dim":64,"v_head_dim":128,"n_routed_experts":256,"n_shared_experts":1,
        "num_experts_per_tok":8,"first_k_dense_replace":3,"num_nextn_predict_layers":1,
        "max_position_embeddings":163840,"tie_word_embeddings":false}"#;

    #[test]
    fn kinds_of_blocks_are_told_apart() {
        let model = of_bytes(DEEPSEEK.as_bytes(), "deepseek", None).unwrap();
        let blocks: Vec<u32> = model.groups.iter().map(|group| group.n_blocks).collect();
        assert_eq!((blocks, model.n_blocks(), model.n_predictions), (vec![3, 58, 1], 62, 2));
        assert_eq!(model.groups[2].extra_weights, 2 * 7168 * 7168);
        assert_eq!(model.groups[0].card.sequence, 4096);
        assert_eq!(model.kinds().filter(|kind| *kind == 1).count(), 58);
    }

    #[test]
    fn llama_is_one_kind_and_qwen3_states_its_heads() {
        let text = r#"{"model_type":"llama","hidden_size":8192,"num_hidden_layers":80,
            "num_attention_heads":64,"num_key_value_heads":8,"intermediate_size":28672,
            "vocab_size":32000,"max_position_embeddings":4096}"#;
        let model = of_bytes(text.as_bytes(), "llama", Some(2048)).unwrap();
        let card = &model.groups[0].card;
        assert_eq!(
            (card.attention, card.head, card.sequence),
            (Attention::Even, Head::Separate, 2048)
        );
        let text = text.replace("llama", "qwen3");
        let model = of_bytes(text.as_bytes(), "qwen", None).unwrap();
        assert_eq!(model.groups[0].card.attention, Attention::Even);
        let text = text.replace("8192", "4096");
        let model = of_bytes(text.as_bytes(), "qwen", None).unwrap();
        assert_eq!(model.groups[0].card.attention, Attention::Heads { dim: 128 });
    }

    #[test]
    fn the_stated_type_of_the_weights_is_carried() {
        for (stated, wanted) in [
            ("\"torch_dtype\":\"bfloat16\",", Some(DType::Bf16)),
            ("\"dtype\":\"float16\",", Some(DType::F16)),
            ("\"torch_dtype\":\"float32\",", Some(DType::F32)),
            ("", None),
        ] {
            let text = DEEPSEEK.replacen('{', &format!("{{{stated}"), 1);
            assert_eq!(of_bytes(text.as_bytes(), "m", None).unwrap().dtype, wanted);
        }
    }

    #[test]
    fn faults_have_codes() {
        let code = |from: &str, to: &str| {
            of_bytes(DEEPSEEK.replace(from, to).as_bytes(), "m", None).unwrap_err().code
        };
        assert_eq!(code("deepseek_v3", "t5"), "unknown-model-type");
        assert_eq!(code("\"hidden_size\":7168,", ""), "missing-field");
        assert_eq!(code("\"q_lora_rank\":1536", "\"q_lora_rank\":-1"), "invalid-field");
        assert_eq!(code("_layers\":61", "_layers\":99999"), "layer-budget");
        assert_eq!(of_bytes(DEEPSEEK.as_bytes(), "m", Some(0)).unwrap_err().code, "invalid-field");
    }
}
