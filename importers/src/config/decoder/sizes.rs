//! The numbers of a decoder.

use ir::diagnostic::Diagnostic;
use serde_json::Value;

use super::style::Style;
use crate::config::fields::{Fields, invalid};

/// Most experts of a model.
const MAX_ALL_EXPERTS: u64 = 1 << 17;

/// Attention through narrow products (DeepSeek-AI 2024, arXiv:2405.04434, section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Latent {
    pub query_rank: Option<u64>,
    pub rank: u64,
    pub plain: u64,
    pub rotary: u64,
}

/// The index that picks what a token attends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Index {
    pub heads: u64,
    pub dim: u64,
    /// Tokens that are picked.
    pub top: u64,
}

impl Index {
    /// Reads the fields.
    ///
    /// # Errors
    /// `missing-field`, `invalid-field`.
    pub(super) fn read(fields: Fields<'_>) -> Result<Self, Diagnostic> {
        Ok(Self {
            heads: fields.count(&["index_n_heads"], None)?,
            dim: fields.count(&["index_head_dim"], None)?,
            top: fields.count(&["index_topk"], None)?,
        })
    }

    /// The same of an index that picks blocks of tokens.
    ///
    /// # Errors
    /// `missing-field`, `invalid-field`.
    pub(super) fn of_blocks(fields: Fields<'_>) -> Result<Self, Diagnostic> {
        let n = |name: &'static str| fields.count(&[name], None);
        let top = n("index_topk_blocks")?.saturating_mul(n("index_block_size")?);
        Ok(Self { heads: n("index_n_heads")?, dim: n("index_head_dim")?, top })
    }
}

/// Experts of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Experts {
    pub n: u64,
    pub per_token: u64,
    /// Whether the config leaves open how many that are.
    pub is_open: bool,
    pub inner: u64,
    /// Width of what goes into them and comes out; `None` = that of the states.
    pub latent: Option<u64>,
    /// Width of what all tokens go through; 0 without.
    pub shared: u64,
}

/// A decoder in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub vocabulary: u64,
    pub hidden: u64,
    /// Columns of the embedding.
    pub embedded: u64,
    pub heads: u64,
    pub kv_heads: u64,
    pub head_dim: u64,
    pub value_dim: u64,
    pub latent: Option<Latent>,
    pub inner: u64,
    pub experts: Option<Experts>,
    /// Positions that the model was made for, where it says.
    pub positions: Option<u64>,
}

/// Names of one number in different classes.
const HIDDEN: [&str; 3] = ["hidden_size", "n_embd", "d_model"];
const HEADS: [&str; 5] =
    ["num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads"];
const KV_HEADS: [&str; 2] = ["num_key_value_heads", "num_kv_heads"];
const INNER: [&str; 5] = ["intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "dff"];
const POSITIONS: [&str; 6] = [
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "context_length",
    "seq_length",
    "model_max_length",
];
const N_EXPERTS: [&str; 4] =
    ["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"];
const PER_TOKEN: [&str; 5] =
    ["num_experts_per_tok", "moe_topk", "moe_k", "top_k_experts", "num_experts_per_token"];
const N_SHARED: [&str; 4] =
    ["n_shared_experts", "num_shared_experts", "moe_num_shared_experts", "n_shared"];

/// Experts of a layer; 0 without.
///
/// # Errors
/// `invalid-field`.
pub(super) fn n_experts(fields: Fields<'_>) -> Result<u64, Diagnostic> {
    let name = N_EXPERTS.iter().find(|name| fields.get(name).is_some());
    name.map_or(Ok(0), |name| fields.whole(name))
}

/// Whether a config speaks of experts that all tokens go to.
pub(super) fn has_shared(fields: Fields<'_>) -> bool {
    let is_some = |name: &&str| fields.get(name).and_then(Value::as_u64).is_some_and(|n| n > 0);
    N_SHARED.iter().chain(&["shared_expert_intermediate_size"]).any(is_some)
}

impl Sizes {
    /// With the heads of layers with windows, or without, where a config gives them others.
    ///
    /// # Errors
    /// `invalid-field`, `heads-do-not-divide`.
    pub(super) fn with_heads(
        self,
        (fields, style): (Fields<'_>, &Style),
        is_window: bool,
    ) -> Result<Self, Diagnostic> {
        let window_kv_heads = self.kv_heads.saturating_mul(style.attention.window_kv_heads);
        let of = |name: &'static str, own: u64| Ok(fields.optional(name)?.unwrap_or(own));
        let is_shared = fields.flag("attention_k_eq_v")? == Some(true);
        let other = match is_window {
            true => Self {
                heads: of("swa_num_attention_heads", self.heads)?,
                kv_heads: of("swa_num_key_value_heads", window_kv_heads)?,
                head_dim: of("swa_head_dim", self.head_dim)?,
                value_dim: of("swa_v_head_dim", self.value_dim)?,
                ..self
            },
            false => Self {
                kv_heads: match is_shared {
                    true => of("num_global_key_value_heads", self.kv_heads)?,
                    false => self.kv_heads,
                },
                head_dim: of("global_head_dim", self.head_dim)?,
                value_dim: of("global_head_dim", self.value_dim)?,
                ..self
            },
        };
        let [heads, kv_heads] = [other.heads, other.kv_heads];
        match heads.is_multiple_of(kv_heads.max(1)) {
            true => Ok(other),
            false => Err(Diagnostic::input(
                "heads-do-not-divide",
                format!("{heads} attention heads are not divisible by {kv_heads} key-value heads"),
            )
            .hint("correct the numbers of heads of layers with windows, and without")),
        }
    }

    /// Reads the fields.
    ///
    /// # Errors
    /// `missing-field`, `invalid-field`, `heads-do-not-divide`.
    pub(super) fn read(style: &Style, fields: Fields<'_>) -> Result<Self, Diagnostic> {
        let hidden = fields.count(&HIDDEN, None)?;
        let has_heads = HEADS.iter().any(|name| fields.get(name).is_some());
        let (heads, kv_heads, head_dim) = match has_heads {
            true => heads(style, fields, hidden)?,
            false => (1, 1, hidden),
        };
        let latent = match fields.optional("kv_lora_rank")? {
            None => None,
            Some(rank) => Some(Latent {
                query_rank: fields.optional("q_lora_rank")?,
                rank,
                plain: fields.count(&["qk_nope_head_dim"], None)?,
                rotary: fields.count(&["qk_rope_head_dim"], None)?,
            }),
        };
        let head_dim = latent.map_or(head_dim, |latent| latent.plain.saturating_add(latent.rotary));
        let value_default = latent.map_or(head_dim, |_| hidden / heads.max(1));
        let own_inner = fields.count(&INNER, Some(hidden.saturating_mul(4)))?;
        let experts = style.mixture.map(|_| experts(style, fields)).transpose()?;
        Ok(Self {
            vocabulary: fields.count(&["vocab_size"], None)?,
            hidden,
            embedded: fields.count(&["word_embed_proj_dim"], Some(hidden))?,
            heads,
            kv_heads,
            head_dim,
            value_dim: fields.count(&["v_head_dim"], Some(value_default))?,
            latent,
            inner: inner(fields, own_inner)?,
            experts: experts.filter(|experts| experts.n > 0),
            positions: POSITIONS
                .iter()
                .find_map(|name| fields.optional(name).transpose())
                .transpose()?,
        })
    }
}

/// Heads of queries, heads of keys and values, and the extent of a head.
fn heads(style: &Style, fields: Fields<'_>, hidden: u64) -> Result<(u64, u64, u64), Diagnostic> {
    let heads = fields.count(&HEADS, None)?;
    let indivisible = |message: String, hint: &'static str| {
        Diagnostic::input("heads-do-not-divide", message).hint(hint)
    };
    let names = ["head_dim", "attention_head_dim", "kv_channels"];
    let dim = fields.count(&names, Some((hidden / heads).max(1)))?;
    let is_latent = fields.get("kv_lora_rank").is_some();
    let is_stated = is_latent || names.iter().any(|name| fields.get(name).is_some());
    if !is_stated && style.divides && !hidden.is_multiple_of(heads) {
        return Err(indivisible(
            format!("hidden_size {hidden} is not divisible by {heads} heads"),
            "state `head_dim` if the heads do not share the hidden size evenly",
        ));
    }
    // A flag of two families, which one of them reads in its older form alone.
    let is_new = fields.flag("new_decoder_architecture")? == Some(true);
    let shared = fields.flag("multi_query")? == Some(true) && !is_new;
    let is_fused_whole = style.attention.parts == ["query_key_value"] && !is_new;
    let kv_heads = match () {
        () if shared => 1,
        () if is_fused_whole || is_latent => heads,
        () => fields.count(&KV_HEADS, Some(heads))?,
    };
    if !heads.is_multiple_of(kv_heads) {
        return Err(indivisible(
            format!("{heads} attention heads are not divisible by {kv_heads} key-value heads"),
            "correct `num_attention_heads` or `num_key_value_heads`",
        ));
    }
    Ok((heads, kv_heads, dim))
}

/// Width of the feed-forward part, by the rules of the families that state another number.
fn inner(fields: Fields<'_>, stated: u64) -> Result<u64, Diagnostic> {
    for name in ["intermediate_size_mlp", "dense_intermediate_size"] {
        if let Some(width) = fields.optional(name)? {
            return Ok(width);
        }
    }
    if fields.get("num_local_experts").and_then(Value::as_u64) == Some(0)
        && let Some(width) = fields.optional("shared_intermediate_size")?
    {
        return Ok(width);
    }
    if fields.get("block_types").is_some() {
        return Ok((stated / 2).max(1));
    }
    if fields.flag("block_auto_adjust_ff_dim")? != Some(true) {
        return Ok(stated);
    }
    let multiplier = match fields.get("block_ffn_dim_multiplier") {
        None => 1.0,
        Some(value) => value
            .as_f64()
            .filter(|multiplier| (0.0..=64.0).contains(multiplier))
            .ok_or_else(|| invalid("block_ffn_dim_multiplier", value, "0 to 64 is needed"))?,
    };
    let wide = (multiplier * (2 * stated / 3) as f64) as u64;
    let multiple = fields.count(&["block_multiple_of"], Some(256))?;
    Ok(wide.div_ceil(multiple).max(1) * multiple)
}

fn experts(style: &Style, fields: Fields<'_>) -> Result<Experts, Diagnostic> {
    let (n, n_layers) = (n_experts(fields)?, super::layers::count(fields)?);
    // A class may leave it open, of which no pass can be made.
    let is_open = PER_TOKEN.iter().all(|name| fields.get(name).is_none());
    let fixed = style.mixture.map_or(0, |mixture| mixture.per_token);
    let per_token = if fixed > 0 {
        fixed
    } else if is_open {
        1
    } else {
        fields.count(&PER_TOKEN, None)?
    };
    if per_token > n.max(1) || n.saturating_mul(n_layers) > MAX_ALL_EXPERTS {
        let message = format!("{per_token} of {n} experts in each of {n_layers} layers");
        return Err(Diagnostic::input("invalid-field", format!("{message} cannot be planned"))
            .hint(format!("at most {MAX_ALL_EXPERTS} experts in all can be planned")));
    }
    let stated = fields.count(&["moe_intermediate_size"], None);
    let inner = stated.or_else(|error| match error.code {
        "missing-field" => fields.count(&INNER, None),
        _ => Err(error),
    })?;
    let widths: &[&'static str] = &[
        "shared_expert_intermediate_size",
        "moe_shared_expert_intermediate_size",
        "shared_intermediate_size",
    ];
    let n_shared = match N_SHARED.iter().find(|name| fields.get(name).is_some()) {
        Some(name) => fields.whole(name)?,
        None => 1,
    };
    let n_shared = match style.mixture.is_some_and(|mixture| mixture.is_one_shared) {
        true => n_shared.min(1),
        false => n_shared,
    };
    let shared = match widths.iter().find(|name| fields.get(name).is_some()) {
        Some(name) => fields.whole(name)?,
        None => inner.saturating_mul(n_shared),
    };
    let mixture = style.mixture.filter(|mixture| !mixture.shared.is_empty());
    let is_absent = mixture.is_none() || n_shared == 0;
    let latent = match fields.optional("moe_latent_size")? {
        None => fields.optional("routed_expert_hidden_size")?,
        stated => stated,
    };
    let shared = if is_absent { 0 } else { shared };
    Ok(Experts { n, per_token, is_open, inner, latent, shared })
}
