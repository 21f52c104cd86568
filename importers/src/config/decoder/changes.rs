//! What single configs change of their families.

use ir::diagnostic::Diagnostic;
use serde_json::Value;

use super::style::{Form, Gate, HeadNorm, Join, MIXTURE, Mixture, Norm, Positions, Style, When};
use crate::config::fields::{Fields, invalid};

use When::{If, Never};

pub(super) fn hyperclovax(style: &mut Style, fields: Fields<'_>) -> Result<(), Diagnostic> {
    if fields.flag("use_post_norm")? == Some(true) {
        [style.norms[1], style.norms[3]] = ["post_norm1", "post_norm2"];
    }
    Ok(())
}

pub(super) fn ernie(style: &mut Style, fields: Fields<'_>) -> Result<(), Diagnostic> {
    style.feed_forward.bias = If("use_bias");
    style.head_bias = If("use_bias");
    if let Some(mixture) = style.mixture.as_mut() {
        if fields.whole("moe_num_shared_experts")? == 0 {
            mixture.shared = "";
        }
    } else {
        // The dense family's head has none.
        style.head_bias = Never;
    }
    Ok(())
}

/// Two norms under either of their names, one, or parts one after the other.
pub(super) fn falcon(style: &mut Style, fields: Fields<'_>) -> Result<(), Diagnostic> {
    style.tokens_norm = "";
    let is_new = fields.flag("new_decoder_architecture")? == Some(true);
    let n_norms = fields.optional("num_ln_in_parallel_attn")?.unwrap_or(1 + u64::from(is_new));
    if fields.flag("alibi")? != Some(true) {
        style.positions = Positions::Rotary;
    }
    (style.attention.bias, style.attention.output_bias) = (If("bias"), If("bias"));
    style.feed_forward.bias = If("bias");
    if fields.flag("parallel_attn")? == Some(true) {
        style.join = Join::Beside;
        style.norms = if n_norms == 2 {
            ["ln_attn", "", "ln_mlp", ""]
        } else {
            ["input_layernorm", "", "", ""]
        };
    }
    Ok(())
}

pub(super) fn neox(style: &mut Style, fields: Fields<'_>) -> Result<(), Diagnostic> {
    if fields.flag("use_parallel_residual")? == Some(true) {
        style.join = Join::Beside;
    }
    Ok(())
}

pub(super) fn opt(style: &mut Style, fields: Fields<'_>) -> Result<(), Diagnostic> {
    if fields.flag("layer_norm_elementwise_affine")? == Some(false) {
        style.norm = Norm::LayerBare;
    }
    if fields.flag("do_layer_norm_before")? == Some(false) {
        style.join = Join::Sums;
        style.norms = ["", "self_attn_layer_norm", "", "final_layer_norm"];
        style.last_norm = "";
    }
    if fields.flag("_remove_final_layer_norm")? == Some(true) {
        style.last_norm = "";
    }
    Ok(())
}

pub(super) fn phi(style: &mut Style, _: Fields<'_>) -> Result<(), Diagnostic> {
    *style = style.head_norms(["q_layernorm", "k_layernorm"], If("qk_layernorm"));
    Ok(())
}

pub(super) fn persimmon(style: &mut Style, _: Fields<'_>) -> Result<(), Diagnostic> {
    *style = style.head_norms(["q_layernorm", "k_layernorm"], If("qk_layernorm"));
    Ok(())
}

pub(super) fn stablelm(style: &mut Style, fields: Fields<'_>) -> Result<(), Diagnostic> {
    let (names, kind) = (["q_layernorm", "k_layernorm"], Norm::LayerWeight);
    style.attention.norm = Some(HeadNorm { names, kind, is_wide: true, when: If("qk_layernorm") });
    style.feed_forward.bias = Never;
    if fields.flag("use_parallel_residual")? == Some(true) {
        style.join = Join::Beside;
        style.norms[2] = "";
    }
    Ok(())
}

/// One expert is a plain feed-forward part.
pub(super) fn hunyuan(style: &mut Style, _: Fields<'_>) -> Result<(), Diagnostic> {
    *style = style.experts(Mixture {
        router: "gate.wg",
        shared: "shared_mlp",
        is_many: true,
        ..MIXTURE
    });
    Ok(())
}

/// What all tokens go through stands beside the experts, or instead of them.
pub(super) fn granite(style: &mut Style, fields: Fields<'_>) -> Result<(), Diagnostic> {
    if fields.whole("num_local_experts")? == 0 {
        (style.feed_forward.module, style.feed_forward.form) = ("shared_mlp", Form::Halves);
        style.feed_forward.names = ["", "input_linear", "output_linear"];
    }
    if let Some(mixture) = style.mixture.as_mut() {
        mixture.shared = "..shared_mlp";
        if fields.whole("shared_intermediate_size")? == 0 {
            mixture.shared = "";
        }
    }
    Ok(())
}

/// A pattern of letters in the older configs.
pub(super) fn nemotron_h(style: &mut Style, fields: Fields<'_>) -> Result<(), Diagnostic> {
    if fields.get("n_shared_experts").and_then(Value::as_u64) == Some(0)
        && let Some(mixture) = style.mixture.as_mut()
    {
        mixture.shared = "";
    }
    Ok(())
}

/// A part of a family that is not written out.
fn unsupported(name: &str, value: &Value, what: &str) -> Diagnostic {
    Diagnostic::input("unsupported-trait", format!("`{name}` is {value}: {what}"))
        .hint("export the model to ONNX and import that")
}

/// Models with embeddings of each layer are refused.
pub(super) fn gemma4(style: &mut Style, fields: Fields<'_>) -> Result<(), Diagnostic> {
    for (name, what) in [
        ("hidden_size_per_layer_input", "embeddings of each layer are not written out"),
        ("num_kv_shared_layers", "keys of other layers are not written out"),
    ] {
        let stated = fields.get(name).filter(|value| value.as_u64() != Some(0));
        if let Some(value) = stated {
            return Err(unsupported(name, value, what));
        }
    }
    if fields.flag("use_double_wide_mlp")? == Some(true) {
        let value = Value::from(true);
        return Err(unsupported("use_double_wide_mlp", &value, "wider layers are not written out"));
    }
    if fields.flag("enable_moe_block")? != Some(true) {
        style.mixture = None;
    }
    Ok(())
}

/// Blocks are shared by the mechanism that ties the head to the embedding.
pub(super) fn zamba(_: &mut Style, fields: Fields<'_>) -> Result<(), Diagnostic> {
    if let Some(value) =
        fields.get("tie_word_embeddings").filter(|value| value.as_bool() != Some(true))
    {
        return Err(invalid(
            "tie_word_embeddings",
            value,
            "shared blocks need true in this family",
        ));
    }
    match fields.get("layers_block_type") {
        Some(_) => Ok(()),
        None => Err(Diagnostic::input("missing-field", "the config has no `layers_block_type`")),
    }
}

pub(super) fn doge(_: &mut Style, fields: Fields<'_>) -> Result<(), Diagnostic> {
    match fields.get("is_moe").filter(|value| value.as_bool() == Some(true)) {
        Some(value) => {
            Err(unsupported("is_moe", value, "experts of one row each cannot be planned"))
        }
        None => Ok(()),
    }
}

/// The class has a pattern of its own for configs that list no types.
fn listed(fields: Fields<'_>) -> Result<(), Diagnostic> {
    match fields.get("layer_types") {
        Some(_) => Ok(()),
        None => Err(Diagnostic::input("missing-field", "the config has no `layer_types`")),
    }
}

pub(super) fn beam(_: &mut Style, fields: Fields<'_>) -> Result<(), Diagnostic> {
    listed(fields)
}

/// The first two layers are dense where no list says which.
pub(super) fn flint(style: &mut Style, fields: Fields<'_>) -> Result<(), Diagnostic> {
    listed(fields)?;
    if let (None, Some(mixture)) = (fields.get("mlp_only_layers"), style.mixture.as_mut()) {
        mixture.n_dense = 2;
    }
    Ok(())
}

pub(super) fn lfm3(style: &mut Style, fields: Fields<'_>) -> Result<(), Diagnostic> {
    listed(fields)?;
    if fields.flag("use_sandwich_norm")? == Some(true) {
        [style.norms[1], style.norms[3]] = ["post_operator_norm", "post_ffn_norm"];
    }
    if fields.flag("use_attention_gate")? == Some(true) {
        style.attention.gate = Gate::Heads("g_proj");
    }
    Ok(())
}

/// A later model of the family has gates, narrower experts, and parts that recall what earlier layers left.
pub(super) fn kimi(style: &mut Style, fields: Fields<'_>) -> Result<(), Diagnostic> {
    if fields.get("linear_attn_config").is_none() {
        listed(fields)?;
    }
    if fields.flag("mla_use_nope")? == Some(false) {
        style.positions = Positions::Rotary;
    }
    if fields.flag("mla_use_output_gate")? == Some(true) {
        style.attention.gate = Gate::Wide("g_proj");
    }
    if fields.get("attn_res_block_size").is_some() {
        style.join = Join::Recalled;
    }
    if let (Some(_), Some(mixture)) =
        (fields.get("routed_expert_hidden_size"), style.mixture.as_mut())
    {
        let is_normed = fields.flag("latent_moe_use_norm")? == Some(true);
        mixture.module = "block_sparse_moe";
        mixture.latent = [
            "routed_expert_down_proj",
            "routed_expert_up_proj",
            if is_normed { "routed_expert_norm" } else { "" },
        ];
    }
    Ok(())
}

pub(super) fn laguna(style: &mut Style, fields: Fields<'_>) -> Result<(), Diagnostic> {
    if fields.flag("gating")? == Some(false) {
        style.attention.gate = Gate::Wide("g_proj");
    }
    Ok(())
}
