//! A config as a model card: blocks by their figures, without a graph.

use std::path::Path;

use ir::card::{Attention, BlockGroup, ExpertCard, FeedForward, Head, ModelCard, TransformerCard};
use ir::diagnostic::Diagnostic;

use super::architecture::{
    self, Architecture, Bias, CARDS, Cross, DEEPSEEK, Family, GPT_OSS, HeadNorm,
    MAX_DEFAULT_SEQUENCE, QWEN2_MOE, SWITCH,
};
use super::fields::{Fields, invalid, within_budget};
use super::quantization::Quantization;
use super::request::{quantized, stated_dtype, text};
use super::task::{End, class, unknown};
use super::{gpt_oss, mixtures};
use crate::json::Object;

/// Longest sequence that is planned.
const LONGEST: u64 = 1 << 24;
/// The code of a config that is understood, and whose model is no card.
pub const NO_CARD: &str = "config-without-card";

/// Reads a config as a card, of samples of so many tokens; without a length as many as the model
/// has positions, up to a limit. Beside it, what of the config is not understood or not priced.
///
/// # Errors
/// `unknown-model-type`, `missing-field`, `invalid-field`, `layer-budget`, `size-budget`,
/// `heads-do-not-divide`, [`NO_CARD`] for models without vocabulary head or with the states of an
/// encoder, and those of the JSON reader.
pub fn card(
    path: &Path,
    sequence: Option<u64>,
) -> Result<(ModelCard, Vec<Diagnostic>), Diagnostic> {
    text(path)
        .and_then(|(bytes, name)| of_bytes(&bytes, &crate::stem(&name), sequence))
        .map_err(|error| error.fact("file", path.display().to_string()))
}

/// As [`card`], from the bytes of a file of that name.
///
/// # Errors
/// As [`card`].
pub fn of_bytes(
    bytes: &[u8],
    name: &str,
    sequence: Option<u64>,
) -> Result<(ModelCard, Vec<Diagnostic>), Diagnostic> {
    let (object, other_type) = super::model_type::fields(bytes.to_vec())?;
    let fields = Fields(&object);
    let (dtype, untyped) = stated_dtype(fields)?;
    let model_type = fields.text("model_type")?.unwrap_or_default();
    let (model, mut warnings) = if CARDS.contains(&model_type) {
        let (_, not_understood) = Quantization::read(fields)?;
        let (model, untold) = match model_type {
            GPT_OSS => of_one(gpt_oss::model(fields, name, sequence)?),
            QWEN2_MOE => mixtures::qwen2_moe(fields, name, sequence)?,
            SWITCH => mixtures::switch(fields, name, sequence)?,
            _ => deepseek(fields, name, sequence)?,
        };
        (model, untold.into_iter().chain(not_understood).collect())
    } else if architecture::SUPPORTED.contains(&model_type) || super::reader(model_type).is_none() {
        uniform(&object, name, sequence)?
    } else {
        let message = format!("a model of type `{model_type}` has no card: it is planned op by op");
        return Err(Diagnostic::input(NO_CARD, message));
    };
    warnings.splice(0..0, other_type);
    warnings.extend(untyped);
    if let Some(quantized) = quantized(fields, "the type of the run", None)? {
        warnings.push(quantized);
    }
    Ok((ModelCard { dtype, ..model }, warnings))
}

/// Whether a model type has a card of its own.
pub(super) fn has(model_type: &str) -> bool {
    CARDS.contains(&model_type) || architecture::SUPPORTED.contains(&model_type)
}

fn of_one(read: (ModelCard, Option<Diagnostic>)) -> (ModelCard, Vec<Diagnostic>) {
    (read.0, read.1.into_iter().collect())
}

/// Equal blocks.
fn uniform(
    fields: &Object,
    name: &str,
    sequence: Option<u64>,
) -> Result<(ModelCard, Vec<Diagnostic>), Diagnostic> {
    let architecture = Architecture::read(fields)?;
    if architecture.task.end != End::Words
        || architecture.task.is_pooled
        || architecture.cross == Cross::Attended
    {
        let message = "a model without a vocabulary head, or with an encoder's states, has no card";
        return Err(Diagnostic::input(NO_CARD, message));
    }
    let sequence = length(sequence, architecture.default_sequence())?;
    if architecture.family != Family::Llama && sequence > architecture.positions {
        let message = format!(
            "a sequence of {sequence} tokens: this model takes 1 to {}",
            architecture.positions
        );
        return Err(Diagnostic::input("invalid-field", message));
    }
    let card = TransformerCard {
        name: name.to_owned(),
        n_layers: u32::try_from(architecture.n_layers).unwrap_or(u32::MAX),
        hidden: architecture.hidden,
        n_heads: architecture.heads,
        n_kv_heads: architecture.kv_heads,
        feed_forward: architecture.feed_forward,
        form: form(architecture.family, Fields(fields))?,
        sequence,
        vocabulary: architecture.vocabulary,
        experts: architecture.experts.map(|experts| ExpertCard {
            n_experts: experts.n,
            per_token: experts.per_token,
            feed_forward: architecture.feed_forward,
            n_shared: 0,
            ..Default::default()
        }),
        attention: match architecture.heads.checked_mul(architecture.head_dim) {
            Some(width) if width == architecture.hidden => Attention::Even,
            _ => Attention::Heads { dim: architecture.head_dim },
        },
        head: match architecture.head {
            architecture::Head::Tied => Head::Tied,
            architecture::Head::Separate => Head::Separate,
        },
    };
    let mut model = ModelCard::uniform(card);
    model
        .groups
        .iter_mut()
        .for_each(|group| group.other_parameters = signed(of_block(&architecture)));
    model.other_parameters = ends(&architecture, sequence).map(signed);
    let unpriced = unpriced_window(&architecture, sequence);
    Ok((model, architecture.warnings.into_iter().chain(unpriced).collect()))
}

/// The feed-forward part; functions that Transformers writes as formulas are `gelu_new`, which is
/// GPT-2's unless stated, and `gelu_fast`.
fn form(family: Family, fields: Fields<'_>) -> Result<FeedForward, Diagnostic> {
    const WRITTEN: [&str; 2] = ["gelu_new", "gelu_fast"];
    let (name, usual) = match family {
        Family::Llama => return Ok(FeedForward::Gated),
        Family::Gpt2 => ("activation_function", WRITTEN[0]),
        Family::Bert => ("hidden_act", "gelu"),
    };
    let function = fields.text(name)?.unwrap_or(usual);
    Ok(if WRITTEN.contains(&function) { FeedForward::Written } else { FeedForward::Plain })
}

/// That attention over some last tokens alone is priced as attention over all.
fn unpriced_window(architecture: &Architecture, sequence: u64) -> Option<Diagnostic> {
    let is_narrow =
        (0..architecture.n_layers).any(|layer| architecture.span(layer, sequence) < sequence);
    is_narrow.then(|| {
        let tokens = architecture.window.as_ref().map_or(0, |window| window.tokens);
        let message = format!(
            "`sliding_window` is not priced: attention over all {sequence} tokens is, not over the \
             last {tokens} alone"
        );
        let warning = Diagnostic::warning("sliding-window", message);
        warning.fact("sequence", sequence).fact("window", tokens)
    })
}

pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Parameters of a block that no closed form of its card counts: those of plain cards count all
/// biases, those of gated ones none, and neither norms of heads.
fn of_block(architecture: &Architecture) -> u64 {
    let (q, kv) =
        (architecture.heads * architecture.head_dim, architecture.kv_heads * architecture.head_dim);
    let of = |bias, n| if bias == Bias::Added { n } else { 0 };
    let norms = if architecture.head_norm == HeadNorm::Rms { 2 * architecture.head_dim } else { 0 };
    if architecture.family != Family::Llama {
        return norms;
    }
    // Experts have no biases.
    let inner = if architecture.experts.is_none() {
        2 * architecture.feed_forward + architecture.hidden
    } else {
        0
    };
    norms
        + of(architecture.qkv_bias, q + 2 * kv)
        + of(architecture.output_bias, architecture.hidden)
        + of(architecture.mlp_bias, inner)
}

/// The same of the first and of the last stage: positions beyond those of a sample, token types,
/// norms, and what BERT has before its head.
fn ends(architecture: &Architecture, sequence: u64) -> [u64; 2] {
    let h = architecture.hidden;
    let positions = architecture.positions.saturating_sub(sequence) * h;
    match architecture.family {
        Family::Llama => [0, h],
        Family::Gpt2 => [positions, 2 * h],
        Family::Bert => {
            let biases = if architecture.head == architecture::Head::Tied { 1 } else { 2 };
            [
                positions + architecture.token_types * h + 2 * h,
                h * h + 3 * h + biases * architecture.vocabulary,
            ]
        }
    }
}

pub(super) fn length(stated: Option<u64>, default: u64) -> Result<u64, Diagnostic> {
    let length = stated.unwrap_or(default);
    if length == 0 || length > LONGEST {
        let message = format!("a sequence of {length} tokens: out of range, 1 to {LONGEST}");
        return Err(Diagnostic::input("invalid-field", message));
    }
    Ok(length)
}

/// Latent attention, experts beside shared ones, first layers without experts, and modules that
/// predict later tokens (DeepSeek-AI 2024, arXiv:2412.19437, sections 2.1 and 2.2; without narrow
/// queries arXiv:2405.04434, appendix B; with plain heads Dai et al. 2024, arXiv:2401.06066).
fn deepseek(
    fields: Fields<'_>,
    name: &str,
    sequence: Option<u64>,
) -> Result<(ModelCard, Vec<Diagnostic>), Diagnostic> {
    fields.check()?;
    let (dense, experts) = (dense(fields, name, sequence)?, experts(fields)?);
    let (hidden, n_layers) = (dense.hidden, u64::from(dense.n_layers));
    let n_dense = fields.whole("first_k_dense_replace")?.min(n_layers);
    let n_later = fields.whole("num_nextn_predict_layers")?;
    if let Some(value) = fields.get("moe_layer_freq").filter(|value| value.as_u64() != Some(1)) {
        return Err(invalid("moe_layer_freq", value, "every layer behind the first needs experts"));
    }
    within_budget(n_weights(&dense, &experts, n_layers + n_later))?;
    let mixture = TransformerCard { experts: Some(experts), ..dense.clone() };
    let biases = attention_biases(fields, &dense)?;
    let group = |card: &TransformerCard, n_blocks: u64| BlockGroup {
        other_parameters: signed(biases),
        ..BlockGroup::of_card(card.clone(), n_blocks as u32)
    };
    let later = BlockGroup {
        // A later token is predicted from the hidden state and an embedding side by side, each with
        // a norm, and another one stands before the shared head.
        extra_weights: 2 * hidden * hidden,
        other_parameters: signed(3 * hidden + biases),
        ..group(&mixture, n_later)
    };
    let mut groups = vec![group(&dense, n_dense), group(&mixture, n_layers - n_dense), later];
    groups.retain(|group| group.n_blocks > 0);
    let model = ModelCard {
        name: name.to_owned(),
        groups,
        n_predictions: 1 + n_later as u32,
        other_parameters: [0, signed(hidden)],
        dtype: None,
        stored: None,
        tuning: Default::default(),
    };
    let untold = class(fields)?.filter(|class| !class.ends_with("ForCausalLM")).map(unknown);
    let one = fields.get(PER_TOKEN).is_none().then(|| super::decoder::open(experts.n_experts));
    Ok((model, untold.into_iter().chain(one).collect()))
}

/// Biases of a block's attention: of latent attention those of the products onto ranks, and of the output
/// (`DeepseekV3Attention` of transformers).
fn attention_biases(fields: Fields<'_>, card: &TransformerCard) -> Result<u64, Diagnostic> {
    if fields.flag("attention_bias")? != Some(true) {
        return Ok(0);
    }
    let inputs = match card.attention {
        Attention::Latent { query_rank, key_value_rank, rotary, .. } => {
            query_rank.unwrap_or(0) + key_value_rank + rotary
        }
        _ => (card.n_heads + 2 * card.n_kv_heads) * card.head_dims().0,
    };
    Ok(inputs + card.hidden)
}

/// How many experts a token goes to.
const PER_TOKEN: &str = "num_experts_per_tok";

/// Groups of blocks that are alike side by side.
pub(super) fn grouped(blocks: impl Iterator<Item = BlockGroup>) -> Vec<BlockGroup> {
    let mut groups: Vec<BlockGroup> = Vec::new();
    for group in blocks {
        match groups.last_mut() {
            Some(last) if BlockGroup { n_blocks: 1, ..last.clone() } == group => last.n_blocks += 1,
            _ => groups.push(group),
        }
    }
    groups
}

/// A block without experts; with latent attention but in the first model of the family.
fn dense(
    fields: Fields<'_>,
    name: &str,
    sequence: Option<u64>,
) -> Result<TransformerCard, Diagnostic> {
    let n = |key: &'static str| fields.count(&[key], None);
    let positions = fields.count(&["max_position_embeddings"], Some(MAX_DEFAULT_SEQUENCE))?;
    let (hidden, heads) = (n("hidden_size")?, n("num_attention_heads")?);
    let is_latent = fields.text("model_type")? != Some(DEEPSEEK);
    if !is_latent && !hidden.is_multiple_of(heads) {
        let message = format!("{heads} heads do not divide a width of {hidden}");
        return Err(Diagnostic::input("heads-do-not-divide", message));
    }
    Ok(TransformerCard {
        name: name.to_owned(),
        n_layers: n("num_hidden_layers")? as u32,
        hidden,
        n_heads: heads,
        n_kv_heads: match is_latent {
            true => heads,
            false => fields.count(&["num_key_value_heads"], Some(heads))?,
        },
        feed_forward: n("intermediate_size")?,
        form: FeedForward::Gated,
        sequence: length(sequence, positions.min(MAX_DEFAULT_SEQUENCE))?,
        vocabulary: n("vocab_size")?,
        experts: None,
        attention: if !is_latent {
            Attention::Even
        } else {
            Attention::Latent {
                query_rank: fields.optional("q_lora_rank")?,
                key_value_rank: n("kv_lora_rank")?,
                plain: n("qk_nope_head_dim")?,
                rotary: n("qk_rope_head_dim")?,
                value: n("v_head_dim")?,
            }
        },
        head: match fields.flag("tie_word_embeddings")? {
            Some(true) => Head::Tied,
            _ => Head::Separate,
        },
    })
}

/// Experts beside shared ones.
fn experts(fields: Fields<'_>) -> Result<ExpertCard, Diagnostic> {
    let n = |key: &'static str| fields.count(&[key], None);
    routed(ExpertCard {
        n_experts: n("n_routed_experts")?,
        per_token: fields.count(&[PER_TOKEN], Some(1))?,
        feed_forward: n("moe_intermediate_size")?,
        n_shared: fields.whole("n_shared_experts")?,
        ..Default::default()
    })
}

/// Experts of which a token visits no more than there are.
///
/// # Errors
/// `invalid-field`.
pub(super) fn routed(experts: ExpertCard) -> Result<ExpertCard, Diagnostic> {
    if experts.per_token > experts.n_experts {
        let ExpertCard { per_token, n_experts, .. } = experts;
        let message = format!("{per_token} of {n_experts} experts cannot be planned");
        return Err(Diagnostic::input("invalid-field", message));
    }
    Ok(experts)
}

/// Weights of products and tables, about.
fn n_weights(card: &TransformerCard, experts: &ExpertCard, n_blocks: u64) -> u128 {
    let (key, value) = card.head_dims();
    let [h, heads, f, v] =
        [card.hidden, card.n_heads, card.feed_forward, card.vocabulary].map(u128::from);
    let (key, value) = (u128::from(key), u128::from(value));
    let inner = u128::from(experts.n_experts + experts.n_shared) * u128::from(experts.feed_forward);
    let ranks = match card.attention {
        Attention::Latent { query_rank, key_value_rank, .. } => {
            u128::from(query_rank.unwrap_or(card.hidden)) + u128::from(key_value_rank)
        }
        _ => 0,
    };
    let attention = (h + ranks) * heads * (2 * key + 2 * value) + h * ranks;
    u128::from(n_blocks) * (attention + 3 * h * (f + inner)) + 2 * h * v
}

#[cfg(test)]
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
        let model = of_bytes(DEEPSEEK.as_bytes(), "deepseek", None).unwrap().0;
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
        let model = of_bytes(text.as_bytes(), "llama", Some(2048)).unwrap().0;
        let card = &model.groups[0].card;
        assert_eq!(
            (card.attention, card.head, card.sequence),
            (Attention::Even, Head::Separate, 2048)
        );
        let text = text.replace("llama", "qwen3");
        let model = of_bytes(text.as_bytes(), "qwen", None).unwrap().0;
        assert_eq!(model.groups[0].card.attention, Attention::Even);
        let text = text.replace("8192", "4096");
        let model = of_bytes(text.as_bytes(), "qwen", None).unwrap().0;
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
            assert_eq!(of_bytes(text.as_bytes(), "m", None).unwrap().0.dtype, wanted);
        }
    }

    #[test]
    fn faults_have_codes() {
        let code = |from: &str, to: &str| {
            of_bytes(DEEPSEEK.replace(from, to).as_bytes(), "m", None).unwrap_err().code
        };
        assert_eq!(code("deepseek_v3", "t5"), NO_CARD);
        let text = DEEPSEEK.replace("deepseek_v3", "rwkv");
        let error = of_bytes(text.as_bytes(), "m", None).unwrap_err();
        assert_eq!(error.code, architecture::UNKNOWN_TYPE);
        assert_eq!(code("\"hidden_size\":7168,", ""), "missing-field");
        assert_eq!(code("\"q_lora_rank\":1536", "\"q_lora_rank\":-1"), "invalid-field");
        assert_eq!(code("_layers\":61", "_layers\":99999"), "layer-budget");
        assert_eq!(of_bytes(DEEPSEEK.as_bytes(), "m", Some(0)).unwrap_err().code, "invalid-field");
    }
}
