//! Overrides of Megatron Bridge's `ConfigContainer` (`src/megatron/bridge/training/config.py`), one per
//! line: the flags of Megatron-Core in its words.
//!
//! They override a recipe, so settings that equal Megatron's defaults are written too: the recipe may set others.

use std::collections::BTreeSet;
use std::fmt::Write;

use ir::diagnostic::Diagnostic;
use ir::stack::AttentionKernel;

use super::super::program::{Program, Start};
use super::super::target::{TrainingSource, TrainingTarget};
use super::sums_wide;
use crate::format::Export;

/// Its row.
pub(crate) const ROW: TrainingTarget = TrainingTarget {
    name: "megatron-bridge",
    versions: &["0.7"],
    file_name: "megatron-bridge.overrides",
    summary: "overrides of a recipe of Megatron Bridge, one per line",
    launches: Some(super::STACKS.split_at(super::N_WITHOUT_BRIDGE).1),
    program: Some(Program {
        start: Start::Torchrun,
        members: &[],
        words: "\"${SCRIPT:-scripts/training/run_recipe.py}\" --mode pretrain \\\n  \
                --recipe \"${RECIPE:?a recipe of Megatron Bridge, such as llama3_8b_pretrain_config}\"",
        environment: super::environment,
        yours: "`RECIPE`, which names data, tokenizer and learning rate, and the length of the run; `SCRIPT` is \
                `run_recipe.py` of Megatron Bridge unless you set it",
    }),
    export,
    ..super::ROW
};

/// How a flag is written.
enum Spelling {
    /// Its value under these keys; a switch is `true`.
    Keys(&'static [&'static str]),
    /// A switch that turns off what the key names.
    Off(&'static str),
    /// A pattern or words as a list.
    List(&'static str),
    /// A switch that sets several keys.
    Set(&'static [(&'static str, &'static str)]),
    /// Positions stretched as `yarn`: two keys, the second one of latent attention.
    Yarn(&'static str, &'static str),
    /// Nothing: another key implies it.
    Implied,
}

use Spelling::{Implied, Keys, List, Off, Set, Yarn};

/// Flags that are no field of the model under their own name.
const SPELLINGS: &[(&str, Spelling)] = &[
    ("micro-batch-size", Keys(&["train.micro_batch_size"])),
    ("global-batch-size", Keys(&["train.global_batch_size"])),
    ("seq-length", Keys(&["model.seq_length", "dataset.seq_length"])),
    ("use-tp-pp-dp-mapping", Keys(&["dist.use_tp_pp_dp_mapping"])),
    (
        "use-distributed-optimizer",
        Keys(&["ddp.use_distributed_optimizer", "optimizer.use_distributed_optimizer"]),
    ),
    ("use-megatron-fsdp", Keys(&["ddp.use_megatron_fsdp", "dist.use_megatron_fsdp"])),
    ("ckpt-format", Keys(&["checkpoint.ckpt_format"])),
    ("data-parallel-sharding-strategy", Keys(&["ddp.data_parallel_sharding_strategy"])),
    ("overlap-grad-reduce", Keys(&["ddp.overlap_grad_reduce"])),
    ("overlap-param-gather", Keys(&["ddp.overlap_param_gather", "optimizer.overlap_param_gather"])),
    // One switch for both types of 16 bits.
    ("grad-reduce-in-bf16", Implied),
    ("accumulate-allreduce-grads-in-fp32", Implied),
    ("optimizer", Keys(&["optimizer.optimizer"])),
    ("sgd-momentum", Keys(&["optimizer.sgd_momentum"])),
    ("optimizer-cpu-offload", Keys(&["optimizer.optimizer_cpu_offload"])),
    ("optimizer-offload-fraction", Keys(&["optimizer.optimizer_offload_fraction"])),
    ("use-precision-aware-optimizer", Keys(&["optimizer.use_precision_aware_optimizer"])),
    (
        "bf16",
        Set(&[
            ("model.bf16", "true"),
            ("model.params_dtype", "bf16"),
            ("model.pipeline_dtype", "bf16"),
            ("optimizer.bf16", "true"),
            ("optimizer.params_dtype", "bf16"),
        ]),
    ),
    (
        "fp16",
        Set(&[
            ("model.fp16", "true"),
            ("model.params_dtype", "fp16"),
            ("model.pipeline_dtype", "fp16"),
            ("optimizer.fp16", "true"),
            ("optimizer.params_dtype", "fp16"),
        ]),
    ),
    ("fp8-format", Keys(&["model.fp8"])),
    ("fp8-recipe", Keys(&["model.fp8_recipe", "optimizer.fp8_recipe"])),
    // An enumeration there, which no override can name; recipes choose fused kernels.
    ("attention-backend", Implied),
    ("cuda-graph-modules", List("model.cuda_graph_modules")),
    ("te-rng-tracker", Keys(&["model.use_te_rng_tracker", "rng.te_rng_tracker"])),
    ("num-experts", Keys(&["model.num_moe_experts"])),
    ("moe-layer-freq", List("model.moe_layer_freq")),
    ("untie-embeddings-and-output-weights", Off("model.share_embeddings_and_output_weights")),
    // By the number of groups of queries.
    ("group-query-attention", Implied),
    // By the length of a sample.
    ("max-position-embeddings", Implied),
    ("no-rope-fusion", Off("model.apply_rope_fusion")),
    ("norm-epsilon", Keys(&["model.layernorm_epsilon"])),
    ("disable-bias-linear", Off("model.add_bias_linear")),
    ("rotary-seq-len-interpolation-factor", Keys(&["model.seq_len_interpolation_factor"])),
    ("use-rope-scaling", Keys(&["model.rope_scaling"])),
    (
        "rotary-scaling-factor",
        Yarn("model.yarn_rotary_scaling_factor", "model.rotary_scaling_factor"),
    ),
    ("mscale", Yarn("model.yarn_mscale", "model.mscale")),
    ("mscale-all-dim", Yarn("model.yarn_mscale_all_dim", "model.mscale_all_dim")),
    ("no-yarn-correction-range-round-to-int", Off("model.yarn_correction_range_round_to_int")),
    ("swiglu", Set(&[("model.gated_linear_unit", "true"), ("model.activation_func", "silu")])),
    (
        "quick-geglu",
        Set(&[("model.gated_linear_unit", "true"), ("model.activation_func", "quick_gelu")]),
    ),
    ("openai-gelu", Set(&[("model.activation_func", "fast_gelu")])),
    ("window-size", List("model.window_size")),
    ("window-attn-skip-freq", List("model.window_attn_skip_freq")),
];

/// What holds where no flag says otherwise: Megatron's defaults.
const DEFAULTS: &[(&str, &str)] = &[
    // Those of a recipe are laid over the fields below when it starts.
    ("comm_overlap", "null"),
    ("mixed_precision", "null"),
    ("model.pipeline_model_parallel_layout", "null"),
    ("model.num_layers_in_first_pipeline_stage", "null"),
    ("model.num_layers_in_last_pipeline_stage", "null"),
    ("model.account_for_embedding_in_pipeline_split", "false"),
    ("model.account_for_loss_in_pipeline_split", "false"),
    ("model.mtp_num_layers", "null"),
    ("model.sequence_parallel", "false"),
    ("model.tp_comm_overlap", "false"),
    ("model.overlap_moe_expert_parallel_comm", "false"),
    ("model.delay_wgrad_compute", "false"),
    ("model.recompute_granularity", "null"),
    ("model.recompute_method", "null"),
    ("model.recompute_num_layers", "null"),
    ("model.recompute_modules", "null"),
    ("model.cpu_offloading", "false"),
    ("model.fine_grained_activation_offloading", "false"),
    ("model.cuda_graph_impl", "none"),
    ("model.bf16", "false"),
    ("model.fp16", "false"),
    ("model.params_dtype", "fp32"),
    ("model.pipeline_dtype", "fp32"),
    ("model.fp8", "null"),
    ("model.fp8_param", "false"),
    ("model.first_last_layers_bf16", "false"),
    ("optimizer.bf16", "false"),
    ("optimizer.fp16", "false"),
    ("optimizer.params_dtype", "fp32"),
    ("optimizer.optimizer_cpu_offload", "false"),
    ("optimizer.use_precision_aware_optimizer", "false"),
    ("optimizer.use_distributed_optimizer", "false"),
    ("optimizer.overlap_param_gather", "false"),
    ("optimizer.reuse_grad_buf_for_mxfp8_param_ag", "false"),
    ("ddp.use_distributed_optimizer", "false"),
    ("ddp.num_distributed_optimizer_instances", "1"),
    ("ddp.use_megatron_fsdp", "false"),
    ("ddp.overlap_grad_reduce", "false"),
    ("ddp.overlap_param_gather", "false"),
    ("ddp.fp8_param_gather", "false"),
    ("ddp.reuse_grad_buf_for_mxfp8_param_ag", "false"),
    ("dist.use_megatron_fsdp", "false"),
    ("dist.use_torch_fsdp2", "false"),
    ("dist.use_tp_pp_dp_mapping", "false"),
    ("model.moe_expert_capacity_factor", "null"),
    ("model.moe_pad_expert_input_to_capacity", "false"),
    ("model.gated_linear_unit", "false"),
    ("model.activation_func", "gelu"),
    ("model.add_bias_linear", "true"),
    ("model.add_qkv_bias", "false"),
    ("model.qk_layernorm", "false"),
    ("model.share_embeddings_and_output_weights", "true"),
];

fn export(source: &TrainingSource<'_>) -> Result<Export, Diagnostic> {
    let flags = super::export(source)?;
    let text = String::from_utf8_lossy(&flags.bytes).into_owned();
    let is_latent = text.contains("--multi-latent-attention");
    let mut overrides = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("--")) {
        let (flag, value) = line.split_once(' ').unwrap_or((line, "true"));
        spell(flag, value, is_latent, &mut overrides);
    }
    overrides.extend(own(source));
    let said: BTreeSet<String> = overrides.iter().map(|(key, _)| key.clone()).collect();
    let left = DEFAULTS.iter().filter(|(key, _)| !said.contains(*key));
    overrides.extend(left.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    let mut file = String::new();
    for (key, value) in overrides {
        // Writing to a string can't fail.
        let _ = writeln!(file, "{key}={value}");
    }
    let mut warnings = flags.warnings;
    if source.stack.attention == AttentionKernel::Unfused {
        let message = "the file says nothing of attention as two products";
        let hint = "set `model.attention_backend` in the recipe";
        warnings.push(Diagnostic::warning("not-in-file", message).hint(hint));
    }
    Ok(Export { warnings, ..Export::from(file) })
}

/// A flag in Bridge's words.
fn spell(flag: &str, value: &str, is_latent: bool, overrides: &mut Vec<(String, String)>) {
    let mut say = |key: &str, value: &str| overrides.push((key.to_owned(), value.to_owned()));
    match SPELLINGS.iter().find(|(name, _)| *name == flag).map(|(_, spelling)| spelling) {
        None => say(&format!("model.{}", flag.replace('-', "_")), value),
        Some(Keys(keys)) => keys.iter().for_each(|key| say(key, value)),
        Some(Off(key)) => say(key, "false"),
        Some(List(key)) => say(key, &list(value)),
        Some(Set(pairs)) => pairs.iter().for_each(|(key, value)| say(key, value)),
        Some(Yarn(_, key)) if is_latent => say(key, value),
        Some(Yarn(key, _)) => say(key, value),
        Some(Implied) => {}
    }
}

/// What Megatron's flags have by default and Bridge's model by another.
fn own(source: &TrainingSource<'_>) -> Vec<(String, String)> {
    let degrees = &source.plan.parallelism;
    let has_chunks = degrees.virtual_stages > 1;
    let chunks = if has_chunks { degrees.virtual_stages.to_string() } else { "null".to_owned() };
    let mut overrides = vec![
        ("model.virtual_pipeline_model_parallel_size", chunks),
        ("model.overlap_p2p_comm", has_chunks.to_string()),
        ("model.batch_p2p_comm", (!has_chunks).to_string()),
        ("ddp.grad_reduce_in_fp32", sums_wide(source).to_string()),
    ];
    // Bridge would leave experts whole where they are shared out.
    if source.model.has_experts() && degrees.expert_tensor.is_none() {
        overrides.push(("model.expert_tensor_parallel_size", degrees.tensor.to_string()));
    }
    overrides.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// A list of words, with repetition expanded: `([0]*3+[1]*5)`.
fn list(value: &str) -> String {
    let runs = value.trim_matches(['(', ')']).split('+').map(|run| {
        let (words, n) = run.split_once('*').unwrap_or((run, "1"));
        vec![words.trim_matches(['[', ']']); n.parse().unwrap_or(1)]
    });
    format!("[{}]", runs.flatten().collect::<Vec<_>>().join(","))
}
