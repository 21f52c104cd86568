//! The fields of a config. Every number is read here and held against a range, so that no product
//! behind it passes 64 bits: of two fields none does, and [`within_budget`] bounds the rest.

use ir::diagnostic::Diagnostic;
use serde_json::Value;

use crate::json::Object;

/// What a number may be at most.
pub(super) struct Range {
    /// With blanks between them.
    pub names: &'static str,
    pub most: u64,
    /// Why, as the end of a sentence.
    pub reason: &'static str,
}

/// The ranges of all fields.
fn ranges() -> impl Iterator<Item = &'static Range> {
    RANGES.iter().chain(super::towers::ranges::RANGES)
}

const RANGES: &[Range] = &[
    Range {
        names: "num_hidden_layers n_layer n_layers num_layers num_decoder_layers",
        most: 2_000,
        reason: "16 times the deepest published model (126 blocks)",
    },
    Range {
        names: "index_topk_freq index_skip_topk_offset first_k_dense_replace decoder_sparse_step max_window_layers num_dense_layers \
            moe_layer_start_index moe_layer_interval moe_layer_freq num_sparse_encoder_layers \
            num_sparse_decoder_layers interleave_moe_layer_step no_rope_layer_interval \
            attn_layer_period attn_layer_offset expert_layer_period expert_layer_offset \
            num_mem_blocks global_attn_every_n_layers attn_res_block_size",
        most: 2_000,
        reason: "as many as there can be blocks",
    },
    Range {
        names: "hidden_size n_embd d_model word_embed_proj_dim lru_width",
        most: 1 << 20,
        reason: "64 times the widest published model (16,384)",
    },
    Range {
        names: "intermediate_size intermediate_size_mlp n_inner d_ff dff ffn_dim ffn_hidden_size \
            moe_intermediate_size moe_shared_expert_intermediate_size \
            shared_expert_intermediate_size shared_intermediate_size dense_intermediate_size mamba_d_ssm",
        most: 1 << 22,
        reason: "64 times the widest published feed-forward part (53,248)",
    },
    Range {
        names: "num_attention_heads n_head n_heads num_heads attention_heads num_key_value_heads \
            num_kv_heads num_global_key_value_heads swa_num_attention_heads swa_num_key_value_heads \
            index_n_heads linear_num_heads mamba_n_heads mamba_num_heads n_mamba_heads linear_num_key_heads \
            linear_num_value_heads n_groups mamba_n_groups mamba_ngroups",
        most: 1 << 14,
        reason: "128 times the most heads of a published model (128)",
    },
    Range {
        names: "head_dim global_head_dim swa_head_dim swa_v_head_dim index_head_dim d_kv qk_nope_head_dim qk_rope_head_dim v_head_dim attention_head_dim \
            kv_channels mamba_head_dim linear_head_dim linear_key_head_dim linear_value_head_dim state_size \
            mamba_d_state ssm_state_size",
        most: 1 << 14,
        reason: "64 times the largest published head (256)",
    },
    Range {
        names: "adapter_rank moe_latent_size routed_expert_hidden_size q_lora_rank kv_lora_rank o_lora_rank time_step_rank mamba_dt_rank",
        most: 1 << 20,
        reason: "as wide as a model can be",
    },
    Range {
        names: "vocab_size num_labels",
        most: 1 << 24,
        reason: "64 times the largest published vocabulary (256,000)",
    },
    Range {
        names: "max_position_embeddings n_positions max_seq_len context_length seq_length model_max_length",
        most: 1 << 24,
        reason: "above the longest published context (10 Mi tokens)",
    },
    Range {
        names: "type_vocab_size relative_attention_num_buckets",
        most: 1 << 16,
        reason: "2,048 times the most that is published (32)",
    },
    Range {
        names: "num_local_experts num_experts num_experts_per_tok num_experts_per_token top_k_experts n_routed_experts \
            n_shared_experts moe_num_experts moe_topk moe_k moe_num_shared_experts \
            num_shared_experts",
        most: 1 << 14,
        reason: "the most experts of a published block (16,384)",
    },
    Range { names: "n_group topk_group", most: 1_024, reason: "as many as there can be experts" },
    Range {
        names: "num_nextn_predict_layers",
        most: 8,
        reason: "eight times the published number",
    },
    Range {
        names: "group_size q_group_size weight_block_size block_multiple_of",
        most: 1 << 20,
        reason: "as wide as a model can be",
    },
    Range { names: "expand mamba_expand", most: 64, reason: "32 times the published number" },
    Range {
        names: "conv_kernel mamba_d_conv conv_L_cache conv1d_width linear_conv_kernel_dim",
        most: 1_024,
        reason: "128 times the most that is published",
    },
    Range {
        names: "chunk_size mamba_chunk_size block_size",
        most: 1 << 16,
        reason: "256 times the published number",
    },
    Range { names: "hc_mult", most: 64, reason: "16 times the published number" },
    Range { names: "o_groups", most: 1 << 14, reason: "as many as there can be heads" },
    Range {
        names: "compress_rate_csa compress_rate_hca index_topk_blocks index_block_size",
        most: 1 << 20,
        reason: "above the longest published context",
    },
    Range {
        names: "num_ln_in_parallel_attn",
        most: 2,
        reason: "one norm for both parts, or one for each",
    },
    // They shorten attention and make nothing longer.
    Range {
        names: "index_topk sliding_window window_size attention_window_size attention_chunk_size",
        most: 1 << 53,
        reason: "what JSON numbers can state",
    },
];

/// Most weights of a model: a thousand times the largest published models, of 10^12. Six operations
/// for each, for the most tokens of a step (2^48), are far below what a float holds.
const MOST_WEIGHTS: u128 = 1 << 50;

/// The fields of an object, read by name.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a Object);

impl<'a> Fields<'a> {
    /// Checks the numbers of all known fields, those that the model does not read included.
    ///
    /// # Errors
    /// `invalid-field`, `layer-budget`.
    pub(super) fn check(self) -> Result<(), Diagnostic> {
        let names = RANGES.iter().flat_map(|range| range.names.split(' '));
        // Some sizes may be left to a rule.
        let is_number = |value: &&Value| value.as_str() != Some("auto");
        let stated = |name| Some((name, self.get(name).filter(is_number)?));
        names.filter_map(stated).try_for_each(|(name, value)| {
            // How often layers have experts, or which ones have.
            let list = value.as_array().filter(|_| name == "moe_layer_freq");
            let one = std::slice::from_ref(value);
            list.map_or(one, Vec::as_slice).iter().try_for_each(|value| {
                number(name, value, 0)?;
                Ok(())
            })
        })
    }

    /// A field that is there and not null.
    pub(super) fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A positive number under the first of `names` that is there.
    ///
    /// # Errors
    /// `missing-field` where there is neither one nor a default, `invalid-field`, `layer-budget`.
    pub(super) fn count(
        self,
        names: &[&'static str],
        default: Option<u64>,
    ) -> Result<u64, Diagnostic> {
        let found = names.iter().find_map(|name| Some((*name, self.get(name)?)));
        match (found, default) {
            (Some((name, value)), _) => number(name, value, 1),
            (None, Some(default)) => Ok(default),
            (None, None) => {
                let name = names.first().copied().unwrap_or_default();
                Err(Diagnostic::input("missing-field", format!("the config has no `{name}`")))
            }
        }
    }

    /// A number from 0 on; 0 where it is missing.
    ///
    /// # Errors
    /// `invalid-field`.
    pub(super) fn whole(self, name: &'static str) -> Result<u64, Diagnostic> {
        self.get(name).map_or(Ok(0), |value| number(name, value, 0))
    }

    /// A number from 1 on, where there is one.
    ///
    /// # Errors
    /// `invalid-field`.
    pub(super) fn optional(self, name: &'static str) -> Result<Option<u64>, Diagnostic> {
        self.get(name).map(|value| number(name, value, 1)).transpose()
    }

    /// Yes or no, where the config says it.
    ///
    /// # Errors
    /// `invalid-field`.
    pub(super) fn flag(self, name: &str) -> Result<Option<bool>, Diagnostic> {
        let wrong = |value: &Value| invalid(name, value, "true or false is needed");
        self.get(name).map(|value| value.as_bool().ok_or_else(|| wrong(value))).transpose()
    }

    /// A text, where there is one.
    ///
    /// # Errors
    /// `invalid-field`.
    pub(super) fn text(self, name: &str) -> Result<Option<&'a str>, Diagnostic> {
        let wrong = |value: &Value| invalid(name, value, "a text is needed");
        self.get(name).map(|value| value.as_str().ok_or_else(|| wrong(value))).transpose()
    }

    /// A list, empty where it is missing.
    ///
    /// # Errors
    /// `invalid-field`.
    pub(super) fn list(self, name: &str) -> Result<&'a [Value], Diagnostic> {
        let wrong = |value: &Value| invalid(name, value, "a list is needed");
        let Some(value) = self.get(name) else { return Ok(&[]) };
        value.as_array().map(Vec::as_slice).ok_or_else(|| wrong(value))
    }
}

/// A number within the range of its field.
///
/// # Errors
/// `invalid-field`; `layer-budget` for too many layers.
pub(super) fn number(name: &'static str, value: &Value, least: u64) -> Result<u64, Diagnostic> {
    let range = ranges().find(|range| range.names.split(' ').any(|known| known == name));
    let (most, reason) = range.map_or((0, "no field of this name"), |r| (r.most, r.reason));
    if name == "num_hidden_layers"
        && let Some(n) = value.as_u64().filter(|n| *n > most)
    {
        let message = format!("layer budget exceeded: {n} layers, at most {most} are planned");
        return Err(Diagnostic::input("layer-budget", message)
            .fact("layers", n)
            .fact("limit", most)
            .fact("reason", reason));
    }
    value.as_u64().filter(|n| (least..=most).contains(n)).ok_or_else(|| {
        let why = format!("out of range, a whole number from {least} to {most} is needed");
        invalid(name, value, &why).fact("reason", reason)
    })
}

/// The refusal of a value.
pub(super) fn invalid(name: &str, value: &Value, why: &str) -> Diagnostic {
    let shown: String = value.to_string().chars().take(40).collect();
    Diagnostic::input("invalid-field", format!("`{name}` is {shown}: {why}"))
}

/// Refuses models of more weights than any that there will be.
///
/// # Errors
/// `size-budget`.
pub(super) fn within_budget(weights: u128) -> Result<(), Diagnostic> {
    if weights <= MOST_WEIGHTS {
        return Ok(());
    }
    let message = format!("the config has {weights} weights, at most {MOST_WEIGHTS} are planned");
    Err(Diagnostic::input("size-budget", message))
}
