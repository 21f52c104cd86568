//! Overrides of torchtitan (`torchtitan/config/configs.py`).

use ir::card::{Recompute, SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::launch::LaunchSettings;
use ir::plan::Mesh;
use ir::tensor::DType;
use ir::workload::Optimizer;

use super::flags::{Flags, not_judged};
use super::limits::bad;

/// Members of `ParallelismConfig` that change no plan.
const OTHERS: &[&str] = &[
    "enable_fsdp_symm_mem",
    "spmd_backend",
    "pipeline_parallel_first_stage_less_layers",
    "pipeline_parallel_last_stage_less_layers",
    "context_parallel_load_balancer",
    "context_parallel_ptrr_mask_key",
    "context_parallel_rotate_method",
    "disable_loss_parallel",
    "enable_async_tensor_parallel",
    "enable_compiled_autograd",
    "expert_parallel_comm_backend",
    "pipeline_parallel_microbatch_size",
];

/// torch's schedules under our names.
const SCHEDULES: &[(&str, &str)] = &[
    ("1F1B", "1f1b"),
    ("GPipe", "gpipe"),
    ("Interleaved1F1B", "interleaved"),
    ("LoopedBFS", "breadth-first"),
    ("ZBVZeroBubble", "zb-v"),
    ("DualPipeV", "dualpipe-v"),
];

pub(super) fn read(text: &str) -> Result<LaunchSettings, Diagnostic> {
    let flags = Flags::new(text);
    let own = |name: &str| format!("--parallelism.{name}");
    let degree = |name: &str| flags.degree(&[own(name).as_str()]);
    let pipeline = degree("pipeline_parallel_degree")?;
    let replicate = degree("data_parallel_replicate_degree")?.unwrap_or(1);
    // -1 is what is left.
    let shard_flag = own("data_parallel_shard_degree");
    let shard = match flags.text(&shard_flag)? {
        None | Some("-1") => None,
        Some(_) => degree("data_parallel_shard_degree")?,
    };
    let micro = flags.count(&own("num_pp_microbatches"))?;
    let local = flags.count("--training.local_batch_size")?;
    let global = flags.count("--training.global_batch_size")?;
    let data = shard.and_then(|shard| shard.checked_mul(replicate));
    let has_pipeline = pipeline.unwrap_or(1) > 1;
    // Without a pipeline, the local batch is one micro-batch, and gradients are accumulated.
    let in_pipeline = micro.or((!has_pipeline).then_some(1));
    let n_micro_batches = match (has_pipeline, global, local, data) {
        (true, ..) => micro,
        (false, Some(global), Some(local), Some(data)) => {
            let each = local.checked_mul(u64::from(data));
            each.filter(|each| global.is_multiple_of(*each)).map(|each| global / each)
        }
        _ => None,
    };
    let mut settings = LaunchSettings {
        data,
        tensor: degree("tensor_parallel_degree")?,
        pipeline,
        context: degree("context_parallel_degree")?,
        expert: degree("expert_parallel_degree")?,
        n_micro_batches,
        virtual_stages: (!has_pipeline).then_some(1),
        micro_batch: match (local, in_pipeline) {
            (Some(local), Some(n)) if local.is_multiple_of(n) => Some(local / n),
            _ => None,
        },
        global_batch: global,
        sequence_length: flags.count("--training.seq_len")?,
        sequence: Some(match flags.text(&own("enable_sequence_parallel"))? {
            Some("false" | "False") => SequenceParallel::Off,
            _ => SequenceParallel::On,
        }),
        zero: Some(zero(&flags, shard)?),
        mesh: Some(Mesh::DataInside),
        recompute: recompute(&flags)?,
        dtype: dtype(&flags)?,
        optimizer: optimizer(&flags)?,
        ..LaunchSettings::default()
    };
    // Where a file holds the schedule, its class has no name of ours.
    let in_file = flags.text(&own("pipeline_parallel_schedule_csv"))?.is_some();
    let name = flags.text(&own("pipeline_parallel_schedule"))?;
    if let Some(name) = name.filter(|_| !in_file) {
        let known = SCHEDULES.iter().find(|(torch, _)| torch.eq_ignore_ascii_case(name));
        settings.schedule = Some(known.map_or(name, |(_, own)| own).to_owned());
    }
    let parts = own("module_fqns_per_model_part");
    if let Some(text) = flags.text(&parts)? {
        let blocks = modules(&parts, text)?;
        let ranks = pipeline.unwrap_or(1) as usize;
        if !blocks.len().is_multiple_of(ranks) {
            let hint = format!("{ranks} ranks can't share out {} parts", blocks.len());
            return Err(bad(&parts, text, &hint));
        }
        settings.virtual_stages = Some((blocks.len() / ranks) as u32);
        settings.blocks = Some(blocks);
    }
    flags.refuse(&[
        ("--parallelism.pipeline_parallel_layers_per_stage", "stages are cut by lists of modules"),
        ("--training.enable_cpu_offload", "the states of settings stay on the devices"),
    ])?;
    let others: Vec<String> = OTHERS.iter().map(|name| own(name)).collect();
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    flags.finish("--parallelism.", &others)?;
    Ok(settings)
}

/// What products are computed in.
fn dtype(flags: &Flags<'_>) -> Result<Option<DType>, Diagnostic> {
    if let Some(kept) = flags.text("--training.dtype")?.filter(|kept| *kept != "float32") {
        let why = "weights and states are kept in single precision";
        return Err(not_judged(&format!("--training.dtype {kept}"), why));
    }
    match flags.text("--training.mixed_precision_param")? {
        None => Ok(None),
        Some("bfloat16") => Ok(Some(DType::Bf16)),
        Some("float32") => Ok(Some(DType::F32)),
        Some(other) => {
            Err(bad("--training.mixed_precision_param", other, "use bfloat16 or float32"))
        }
    }
}

fn optimizer(flags: &Flags<'_>) -> Result<Option<Optimizer>, Diagnostic> {
    match flags.text("--optimizer.name")? {
        None => Ok(None),
        Some("Adam" | "AdamW") => Ok(Some(Optimizer::AdamW)),
        Some(other) => Err(not_judged(&format!("--optimizer.name {other}"), "Adam and AdamW are")),
    }
}

fn zero(flags: &Flags<'_>, shard: Option<u32>) -> Result<ZeroStage, Diagnostic> {
    let text = flags.text("--parallelism.fsdp_reshard_after_forward")?;
    if shard == Some(1) {
        return Ok(ZeroStage::None);
    }
    match text {
        Some("never") => Ok(ZeroStage::Gradients),
        None | Some("always" | "default") => Ok(ZeroStage::Parameters),
        Some(other) => {
            let flag = "--parallelism.fsdp_reshard_after_forward";
            Err(bad(flag, other, "use default, always or never"))
        }
    }
}

fn recompute(flags: &Flags<'_>) -> Result<Option<Recompute>, Diagnostic> {
    match flags.text("--activation_checkpoint.mode")? {
        None => Ok(None),
        Some("none") => Ok(Some(Recompute::None)),
        Some("full") => Ok(Some(Recompute::Full)),
        Some("selective") => Ok(Some(Recompute::Selective)),
        Some(other) => {
            Err(bad("--activation_checkpoint.mode", other, "use none, selective or full"))
        }
    }
}

/// Blocks of each list of module names; they must follow each other.
fn modules(flag: &str, text: &str) -> Result<Vec<u32>, Diagnostic> {
    let hint = "give lists of module names, such as [[\"layers.0\"],[\"layers.1\"]]";
    let parts: Vec<Vec<String>> = serde_json::from_str(text).map_err(|_| bad(flag, text, hint))?;
    let mut next = 0u32;
    let mut counts = Vec::with_capacity(parts.len());
    for part in &parts {
        let start = next;
        for layer in part.iter().filter_map(|name| name.strip_prefix("layers.")) {
            if layer.parse() != Ok(next) {
                let hint = format!("layer {next} is missing or out of order");
                return Err(bad(flag, layer, &hint));
            }
            next += 1;
        }
        counts.push(next - start);
    }
    Ok(counts)
}
