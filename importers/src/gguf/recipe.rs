//! The mixtures of types that `llama-quantize` makes of a model, from its card alone: which type each tensor
//! gets (`llama_tensor_get_type` of llama.cpp's `src/llama-quant.cpp`, without an importance matrix).

use ir::card::stored::Stored;
use ir::card::{Attention, BlockGroup, Head, ModelCard, TransformerCard};
use ir::diagnostic::Diagnostic;

use super::of_tensors;
use super::types::TensorType;
use super::wire::Tensor;

/// Mixtures by name, with the type of most of their tensors.
pub const MIXTURES: [(&str, &str); 18] = [
    ("F32", "F32"),
    ("F16", "F16"),
    ("BF16", "BF16"),
    ("Q8_0", "Q8_0"),
    ("Q6_K", "Q6_K"),
    ("Q5_K_M", "Q5_K"),
    ("Q5_K_S", "Q5_K"),
    ("Q5_1", "Q5_1"),
    ("Q5_0", "Q5_0"),
    ("Q4_K_M", "Q4_K"),
    ("Q4_K_S", "Q4_K"),
    ("Q4_1", "Q4_1"),
    ("Q4_0", "Q4_0"),
    ("Q3_K_L", "Q3_K"),
    ("Q3_K_M", "Q3_K"),
    ("Q3_K_S", "Q3_K"),
    ("Q2_K", "Q2_K"),
    ("MXFP4_MOE", "MXFP4"),
];

/// The mixture of a name, in any case.
#[must_use]
pub fn named(name: &str) -> Option<&'static str> {
    MIXTURES.iter().map(|row| row.0).find(|known| known.eq_ignore_ascii_case(name.trim()))
}

/// What a weight does in a block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Query,
    Key,
    Value,
    /// Queries, keys and values in one product.
    Fused,
    AttentionOutput,
    Up,
    Down,
    /// Of latent attention.
    Other,
}

/// A mixture on a model.
struct Recipe<'a> {
    name: &'a str,
    usual: TensorType,
    n_blocks: u64,
    n_experts: u64,
    /// Query heads of a key head.
    n_shared: u64,
}

/// The type of a name of the tables above.
fn of(name: &str) -> TensorType {
    TensorType::named(name).unwrap_or(super::types::TYPES[0])
}

/// Layers of which a model has a larger type: the first and last eighth, and each third between.
fn has_more_bits(at: u64, n: u64) -> bool {
    at < n / 8 || at >= 7 * n / 8 || (at.saturating_sub(n / 8)) % 3 == 2
}

impl Recipe<'_> {
    /// The type of a weight of a block; `None` = the usual one.
    fn larger(&self, part: Part, at: u64) -> Option<&'static str> {
        let n = self.n_blocks;
        let more = has_more_bits(at, n);
        let is_grouped = self.n_shared >= 4;
        // Small against the experts beside it.
        let is_of_eight = self.n_experts == 8;
        match (part, self.name) {
            (Part::Value | Part::Key, "Q8_0" | "F32" | "F16" | "BF16") => None,
            (Part::Value | Part::Key, _) if is_of_eight => Some("Q8_0"),
            (Part::Value, "Q2_K") => Some(if is_grouped { "Q4_K" } else { "Q3_K" }),
            (Part::Value, "Q3_K_M") => Some(if at < 2 { "Q5_K" } else { "Q4_K" }),
            (Part::Value, "Q3_K_L") => Some("Q5_K"),
            (Part::Value, "Q4_K_M" | "Q5_K_M") if more => Some("Q6_K"),
            (Part::Value, "Q4_K_S") if at < 4 => Some("Q5_K"),
            (Part::AttentionOutput, "Q2_K" | "Q3_K_S" | "Q3_K_M" | "Q4_K_S" | "Q4_K_M")
                if is_of_eight =>
            {
                Some("Q5_K")
            }
            (Part::AttentionOutput, "Q2_K") => Some("Q3_K"),
            (Part::AttentionOutput, "Q3_K_M") => Some("Q4_K"),
            (Part::AttentionOutput, "Q3_K_L") => Some("Q5_K"),
            (Part::Fused, "Q3_K_M" | "Q3_K_L") => Some("Q4_K"),
            (Part::Fused, "Q4_K_M") => Some("Q5_K"),
            (Part::Fused, "Q5_K_M") => Some("Q6_K"),
            (Part::Down, "Q2_K") => Some("Q3_K"),
            (Part::Down, "Q3_K_M") => Some(if at < n / 16 { "Q5_K" } else { "Q4_K" }),
            (Part::Down, "Q3_K_L") => Some("Q5_K"),
            (Part::Down, "Q4_K_M" | "Q5_K_M") if more => Some("Q6_K"),
            (Part::Down, "Q4_K_S") if at < n / 8 => Some("Q5_K"),
            _ => None,
        }
    }

    fn kind(&self, part: Part, at: u64, is_expert: bool) -> TensorType {
        // Of this mixture, experts alone are packed so tightly.
        if self.name == "MXFP4_MOE" {
            return if is_expert { self.usual } else { of("Q8_0") };
        }
        let kind = self.larger(part, at).map_or(self.usual, of);
        // Where eight heads share their values, these are too small to save at.
        let is_small = matches!(kind.name, "Q3_K" | "Q4_K") && self.n_blocks == 80;
        if part == Part::Value && is_small && self.n_experts == 0 { of("Q5_K") } else { kind }
    }

    /// The type of the head, and of an embedding that is the head.
    fn head(&self) -> TensorType {
        match self.usual.name {
            "F32" | "F16" | "BF16" | "Q8_0" => self.usual,
            "MXFP4" => of("Q8_0"),
            _ => of("Q6_K"),
        }
    }

    fn embedding(&self) -> TensorType {
        if self.name == "MXFP4_MOE" { of("Q8_0") } else { self.usual }
    }
}

/// A type whose blocks divide rows (`tensor_type_fallback`).
fn fitting(kind: TensorType, row: u64) -> TensorType {
    if row % kind.elements == 0 {
        return kind;
    }
    let smaller = match kind.name {
        "Q2_K" | "Q3_K" => of("IQ4_NL"),
        "Q4_K" => of("Q5_0"),
        "Q5_K" => of("Q5_1"),
        "Q6_K" => of("Q8_0"),
        _ => of("F16"),
    };
    if row % smaller.elements == 0 { smaller } else { of("F16") }
}

fn tensor(name: String, shape: Vec<u64>, kind: TensorType) -> Option<Tensor> {
    let kind = fitting(kind, *shape.first()?);
    let elements = shape.iter().try_fold(1_u64, |n, extent| n.checked_mul(*extent))?;
    let bytes = kind.bytes_of(&shape)?;
    Some(Tensor { name, shape, kind, elements, bytes })
}

/// Weights of attention: what they do, inputs and outputs.
fn attention(card: &TransformerCard) -> Vec<(Part, u64, u64)> {
    let (key, value) = card.head_dims();
    let (hidden, heads, shared) = (card.hidden, card.n_heads, card.n_kv_heads);
    let output = (Part::AttentionOutput, heads * value, hidden);
    match card.attention {
        Attention::Latent { query_rank, key_value_rank, plain, rotary, .. } => {
            let mut all = match query_rank {
                Some(rank) => {
                    vec![(Part::Other, hidden, rank), (Part::Other, rank, heads * key)]
                }
                None => vec![(Part::Query, hidden, heads * key)],
            };
            all.push((Part::Other, hidden, key_value_rank + rotary));
            all.push((Part::Other, key_value_rank, heads * (plain + value)));
            all.push(output);
            all
        }
        _ if card.form.is_gated() => vec![
            (Part::Query, hidden, heads * key),
            (Part::Key, hidden, shared * key),
            (Part::Value, hidden, shared * value),
            output,
        ],
        _ => vec![(Part::Fused, hidden, heads * key + shared * (key + value)), output],
    }
}

/// Weights of a feed-forward part of so many experts.
fn feed_forward(card: &TransformerCard, inner: u64) -> Vec<(Part, u64, u64)> {
    let mut all = vec![(Part::Up, card.hidden, inner); card.form.n_first() as usize];
    all.push((Part::Down, inner, card.hidden));
    all
}

/// The tensors of a block; norms, routers and what else is small in 32 bits.
fn block(recipe: &Recipe<'_>, group: &BlockGroup, at: u64) -> Option<Vec<Tensor>> {
    let card = &group.card;
    let mut all = Vec::new();
    let name = |all: &Vec<Tensor>, end: &str| format!("blk.{at}.{}{end}", all.len());
    let mut parts = attention(card);
    let mut small = card.hidden * if card.form.is_gated() { 2 } else { 4 };
    if let Some(experts) = card.experts {
        for (part, inputs, outputs) in feed_forward(card, experts.feed_forward) {
            let kind = recipe.kind(part, at, true);
            let shape = vec![inputs, outputs, experts.n_experts];
            all.push(tensor(name(&all, "_exps.weight"), shape, kind)?);
        }
        let router = vec![card.hidden, experts.n_experts];
        all.push(tensor(name(&all, ".weight"), router, of("F32"))?);
        if experts.n_shared > 0 {
            parts.extend(feed_forward(card, experts.feed_forward * experts.n_shared));
        }
    } else {
        parts.extend(feed_forward(card, card.feed_forward));
    }
    for (part, inputs, outputs) in parts {
        let kind = recipe.kind(part, at, false);
        small += if card.form.is_gated() { 0 } else { outputs };
        all.push(tensor(name(&all, ".weight"), vec![inputs, outputs], kind)?);
    }
    let small = i64::try_from(small).ok()?.saturating_add(group.other_parameters).max(1);
    all.push(tensor(name(&all, ".bias"), vec![small.unsigned_abs()], of("F32"))?);
    Some(all)
}

/// What a model holds in a mixture.
///
/// # Errors
/// `quantization` for sizes that no file has, or blocks that are no transformer's.
pub fn stored(model: &ModelCard, name: &'static str) -> Result<Stored, Diagnostic> {
    let refused = || {
        let message = format!("the tensors of this model in {name} are not known");
        Diagnostic::input("quantization", message).hint("give the GGUF file itself")
    };
    if model.is_of_parts() {
        return Err(refused());
    }
    let usual = MIXTURES.iter().find(|row| row.0 == name).map(|row| of(row.1));
    let (usual, first) = usual.zip(model.groups.first()).ok_or_else(refused)?;
    let n_blocks = u64::from(model.n_blocks());
    let experts = model.groups.iter().filter_map(|group| group.card.experts);
    let recipe = Recipe {
        name,
        usual,
        n_blocks,
        n_experts: experts.map(|experts| experts.n_experts).max().unwrap_or(0),
        n_shared: first.card.n_heads / first.card.n_kv_heads.max(1),
    };
    let ends = |card: &TransformerCard| -> Option<Vec<Tensor>> {
        let shape = vec![card.hidden, card.vocabulary];
        let is_tied = card.head == Head::Tied;
        let kind = if is_tied { recipe.head() } else { recipe.embedding() };
        let mut all = vec![tensor("token_embd.weight".to_owned(), shape.clone(), kind)?];
        if !is_tied {
            all.push(tensor("output.weight".to_owned(), shape, recipe.head())?);
        }
        for (name, count) in
            ["token_embd.bias", "output.bias"].into_iter().zip(model.other_parameters)
        {
            if count > 0 {
                all.push(tensor(name.to_owned(), vec![count.unsigned_abs()], of("F32"))?);
            }
        }
        Some(all)
    };
    let mut tensors = ends(&first.card).ok_or_else(refused)?;
    let mut at = 0;
    for group in &model.groups {
        for _ in 0..group.n_blocks {
            tensors.extend(block(&recipe, group, at).ok_or_else(refused)?);
            at += 1;
        }
    }
    Ok(Stored { method: Some(name.to_owned()), ..of_tensors(&tensors)? })
}
