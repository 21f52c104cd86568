//! Members of a `ds_config` by what DeepSpeed 0.19.8 does with them (`deepspeed/runtime/config.py`).

use std::collections::BTreeSet;

use ir::diagnostic::Diagnostic;
use ir::nearest::likeness;
use serde_json::Value;

use super::super::flags::not_judged;
use super::super::keys::Keys;
use super::super::limits::bad;
use super::PERSISTENT;

/// Members at the top; it passes over others.
const TOP: &[&str] = &[
    "activation_checkpointing",
    "aio",
    "allgather_size",
    "autotuning",
    "bf16",
    "bfloat16",
    "checkpoint",
    "comet",
    "communication_data_type",
    "comms_logger",
    "compile",
    "csv_monitor",
    "data_efficiency",
    "data_parallel_size",
    "data_types",
    "dataloader_drop_last",
    "datastates_ckpt",
    "disable_allgather",
    "disable_python_gc",
    "dump_state",
    "expert_parallel",
    "flops_profiler",
    "fp16",
    "gradient_accumulation_steps",
    "gradient_allreduce_op",
    "gradient_clipping",
    "gradient_predivide_factor",
    "hybrid_engine",
    "log_level",
    "managed_gradient_accumulation",
    "memory_breakdown",
    "optimizer",
    "pipeline",
    "prescale_gradients",
    "scheduler",
    "seq_parallel_communication_data_type",
    "sequence_parallel_size",
    "steps_per_print",
    "tensor_parallel",
    "tensorboard",
    "timers",
    "torch_autocast",
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "use_data_before_expert_parallelism",
    "vocabulary_size",
    "wall_clock_breakdown",
    "wandb",
    "weight_quantization",
    "zero_allow_untested_optimizer",
    "zero_force_ds_cpu_optimizer",
    "zero_optimization",
];

/// Members that it had once, and refuses.
const REMOVED: &[&str] = &[
    "amp",
    "compression_training",
    "curriculum_learning",
    "eigenvalue",
    "elasticity",
    "graph_harvesting",
    "nebula",
    "progressive_layer_drop",
    "quantize_training",
    "sparse_attention",
    "sparse_gradients",
];

/// Sections that take no members but these.
const SECTIONS: &[(&str, &[&str])] = &[
    (
        "zero_optimization",
        &[
            "allgather_bucket_size",
            "allgather_partitions",
            "allgather_sequential",
            "compute_grad_norm",
            "contiguous_gradients",
            "cpu_offload",
            "cpu_offload_param",
            "cpu_offload_use_pin_memory",
            "elastic_checkpoint",
            "enable_sanity_checks",
            "gather_16bit_weights_on_model_save",
            "ignore_unused_parameters",
            "leaf_module",
            "legacy_stage1",
            "load_from_fp32_weights",
            "log_trace_cache_warnings",
            "max_live_parameters",
            "max_reuse_distance",
            "memory_efficient_linear",
            "model_persistence_threshold",
            "module_granularity_threshold",
            "offload_optimizer",
            "offload_param",
            "overlap_comm",
            "override_module_apply",
            "param_persistence_threshold",
            "parameter_alignment",
            "pipeline_loading_checkpoint",
            "prefetch_bucket_size",
            "reduce_bucket_size",
            "reduce_scatter",
            "round_robin_gradients",
            "save_muon_momentum_buffer_in_memory",
            "stage",
            "stage3_allgather_sequential",
            "stage3_gather_16bit_weights_on_model_save",
            "stage3_gather_fp16_weights_on_model_save",
            "stage3_max_live_parameters",
            "stage3_max_reuse_distance",
            "stage3_model_persistence_threshold",
            "stage3_module_granularity_threshold",
            "stage3_param_persistence_threshold",
            "stage3_prefetch_bucket_size",
            "stage3_use_all_reduce_for_fetch_params",
            "sub_group_size",
            "use_all_reduce_for_fetch_params",
            "use_multi_rank_bucket_allreduce",
            "zenflow",
            "zero_hpz_partition_size",
            "zero_quantized_gradients",
            "zero_quantized_nontrainable_weights",
            "zero_quantized_weights",
        ],
    ),
    (
        "bf16",
        &[
            "bf16_master_weights_and_grads",
            "bf16_optimizer_states",
            "check_grad_overflow",
            "enabled",
            "immediate_grad_update",
        ],
    ),
    (
        "fp16",
        &[
            "auto_cast",
            "consecutive_hysteresis",
            "enabled",
            "fp16_master_weights_and_grads",
            "hysteresis",
            "initial_scale_power",
            "loss_scale",
            "loss_scale_window",
            "min_loss_scale",
        ],
    ),
    (
        "tensor_parallel",
        &[
            "autotp_size",
            "dtype",
            "injection_policy_tuple",
            "keep_module_on_host",
            "kernel_inject",
            "partition_config",
            "preset_model",
            "replace_with_kernel_inject",
            "tensor_parallel",
            "tp",
            "tp_overlap_comm",
            "vocab_parallel_ce_backend",
            "vocab_parallel_lm_head",
        ],
    ),
];

/// What changes the run in a way that no plan has, where it is switched on or more than 1.
const NOT_JUDGED: &[(&str, &str, &str)] = &[
    ("", "sequence_parallel_size", "context ranks pass keys and values on in a ring"),
    ("", "weight_quantization", "weights are not quantized"),
    ("activation_checkpointing", "cpu_checkpointing", "activations stay on the devices"),
    (
        "activation_checkpointing",
        "partition_activations",
        "what is kept is not split over tensor ranks",
    ),
    ("bf16", "bf16_master_weights_and_grads", "master weights have 32 bits"),
    ("bf16", "bf16_optimizer_states", "optimizer states have 32 bits"),
    ("compile", "deepcompile", "its compiler moves collectives and states"),
    ("data_efficiency", "enabled", "all samples have one length and go through all blocks"),
    ("fp16", "fp16_master_weights_and_grads", "master weights have 32 bits"),
    ("hybrid_engine", "enabled", "runs do not generate between their steps"),
    ("tensor_parallel", "tp_overlap_comm", "the stack says what runs beside products"),
    ("torch_autocast", "enabled", "parameters have the type of the run"),
    ("zero_optimization", "zenflow", "all states are updated in each step"),
    ("zero_optimization", "zero_hpz_partition_size", "parameters are shared out over all replicas"),
    ("zero_optimization", "zero_quantized_gradients", "gradients are exchanged as they are"),
    ("zero_optimization", "zero_quantized_nontrainable_weights", "weights are not quantized"),
    ("zero_optimization", "zero_quantized_weights", "weights are gathered as they are"),
];

/// Members that are read, or refused by some of their values.
const READ: &[&str] = &[
    "bf16.enabled",
    "bfloat16.enabled",
    "communication_data_type",
    "data_types.grad_accum_dtype",
    "expert_parallel.autoep_size",
    "expert_parallel.enabled",
    "fp16.enabled",
    "gradient_accumulation_steps",
    "managed_gradient_accumulation",
    "optimizer.params.momentum",
    "optimizer.type",
    "pipeline.activation_checkpoint_interval",
    "tensor_parallel.autotp_size",
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "zero_optimization",
    "zero_optimization.cpu_offload",
    "zero_optimization.cpu_offload_param",
    "zero_optimization.offload_optimizer.device",
    "zero_optimization.offload_optimizer.ratio",
    "zero_optimization.offload_optimizer.super_offload",
    "zero_optimization.offload_param.device",
    "zero_optimization.overlap_comm",
    "zero_optimization.stage",
];

/// Likeness from which on a member that is passed over is a slip of one that is read.
const LIKENESS: f64 = 0.75;

/// Refuses what DeepSpeed refuses, what looks like a member that it reads, and what is not judged.
pub(super) fn check(config: &Value) -> Result<(), Diagnostic> {
    for name in names(config) {
        if REMOVED.contains(&name) {
            let message = format!("DeepSpeed 0.19 refuses `{name}`, which earlier ones had");
            return Err(Diagnostic::input("bad-settings", message).hint("leave it out"));
        }
        if let Some(near) = nearest(name, TOP).filter(|_| !TOP.contains(&name)) {
            return Err(unknown(name, "", near));
        }
    }
    for (section, members) in SECTIONS {
        let mut stated = config.get(section).into_iter().flat_map(names);
        if let Some(name) = stated.find(|name| !members.contains(name)) {
            let near = nearest(name, members).unwrap_or(members[0]);
            return Err(unknown(name, section, near));
        }
    }
    for (section, name, why) in NOT_JUDGED {
        let parent = if section.is_empty() { Some(config) } else { config.get(section) };
        if parent.and_then(|parent| parent.get(name)).is_some_and(is_on) {
            let path = [*section, *name].into_iter().filter(|part| !part.is_empty());
            return Err(not_judged(&path.collect::<Vec<_>>().join("."), why));
        }
    }
    if config.get("managed_gradient_accumulation") == Some(&Value::Bool(false)) {
        let why = "a step sums the micro-batches that the file states";
        return Err(not_judged("managed_gradient_accumulation", why));
    }
    Ok(())
}

/// Members that no plan has, but those that are left to who fills them in.
///
/// # Errors
/// `bad-settings` for members that are nested too deeply.
pub(super) fn not_planned(config: &Value) -> Result<BTreeSet<String>, Diagnostic> {
    let mut keys = Keys::of(config.clone()).map_err(|why| bad("ds_config", "", &why))?;
    let is_usual = |path: &str, value: &Value| {
        path.ends_with("param_persistence_threshold") && value.as_f64() == Some(PERSISTENT)
    };
    keys.values.retain(|path, value| *value != "auto" && !is_usual(path, value));
    keys.pass(READ.iter().map(|path| (*path).to_owned()));
    // What is refused where it is on is off.
    let joined = |(section, name, _): &(&str, &str, &str)| format!("{section}.{name}");
    keys.pass(NOT_JUDGED.iter().map(|row| joined(row).trim_start_matches('.').to_owned()));
    Ok(keys.not_planned())
}

fn names(section: &Value) -> impl Iterator<Item = &str> {
    section.as_object().into_iter().flat_map(|members| members.keys().map(String::as_str))
}

fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let scored = known.iter().map(|candidate| (likeness(name, candidate), *candidate));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(score, _)| *score >= LIKENESS).map(|(_, candidate)| candidate)
}

/// Whether a switch is on, or a size more than 1.
fn is_on(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is_on) => *is_on,
        Value::Number(n) => n.as_f64() != Some(0.0) && n.as_f64() != Some(1.0),
        // Left to who fills it in.
        Value::String(text) => text != "auto",
        Value::Array(_) | Value::Object(_) => true,
    }
}

fn unknown(name: &str, section: &str, nearest: &str) -> Diagnostic {
    const LONGEST: usize = 60;
    let shown: String = name.chars().take(LONGEST).collect();
    let of = if section.is_empty() { "a `ds_config`".to_owned() } else { format!("`{section}`") };
    Diagnostic::input("unknown-flag", format!("`{shown}` is no member of {of}"))
        .fact("flag", shown)
        .hint(format!("the nearest that is read is `{nearest}`; correct it or leave it out"))
}
