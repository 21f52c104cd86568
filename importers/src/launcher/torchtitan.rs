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

/// The member that lists modules by stage.
const PARTS: &str = "module_fqns_per_model_part";

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
    let degree = |name: &str| flags.degree(&[own(name).as_str()]);
    let pipeline = degree("pipeline_parallel_degree")?;
    let replicate = degree("data_parallel_replicate_degree")?.unwrap_or(1);
    // -1 is what is left.
    let shard = match flags.text(&own("data_parallel_shard_degree"))? {
        None | Some("-1") => None,
        Some(_) => degree("data_parallel_shard_degree")?,
    };
    let data = shard.and_then(|shard| shard.checked_mul(replicate));
    let has_pipeline = pipeline.unwrap_or(1) > 1;
    let global_batch = flags.count("--training.global_batch_size")?;
    let (micro_batch, n_micro_batches) = micro_batches(&flags, global_batch, data, has_pipeline)?;
    let blocks = match flags.text(&own(PARTS))? {
        None => None,
        Some(text) => Some(modules(text, pipeline.unwrap_or(1) as usize)?),
    };
    let virtual_stages = blocks.as_ref().map(|own| own.len() as u32 / pipeline.unwrap_or(1));
    let settings = LaunchSettings {
        data,
        tensor: degree("tensor_parallel_degree")?,
        pipeline,
        context: degree("context_parallel_degree")?,
        expert: degree("expert_parallel_degree")?,
        n_micro_batches,
        virtual_stages: virtual_stages.or((!has_pipeline).then_some(1)),
        micro_batch,
        global_batch,
        sequence_length: flags.count("--training.seq_len")?,
        sequence: Some(match flags.text(&own("enable_sequence_parallel"))? {
            Some("false" | "False") => SequenceParallel::Off,
            _ => SequenceParallel::On,
        }),
        zero: Some(zero(&flags, shard)?),
        mesh: Some(Mesh::TpCpDpPp),
        recompute: recompute(&flags)?,
        dtype: dtype(&flags)?,
        optimizer: optimizer(&flags)?,
        schedule: schedule(&flags)?,
        blocks,
        ..LaunchSettings::default()
    };
    flags.refuse(&[
        ("--parallelism.pipeline_parallel_layers_per_stage", "stages are cut by lists of modules"),
        ("--training.enable_cpu_offload", "the states of settings stay on the devices"),
    ])?;
    let others: Vec<String> = OTHERS.iter().map(|name| own(name)).collect();
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    flags.finish("--parallelism.", &others)?;
    Ok(settings)
}

fn own(name: &str) -> String {
    format!("--parallelism.{name}")
}

/// Samples of a micro-batch, and how many a replica runs. Without a pipeline, the local batch is one
/// micro-batch, and gradients are accumulated.
fn micro_batches(
    flags: &Flags<'_>,
    global: Option<u64>,
    data: Option<u32>,
    has_pipeline: bool,
) -> Result<(Option<u64>, Option<u64>), Diagnostic> {
    let micro = flags.count(&own("num_pp_microbatches"))?;
    let local = flags.count("--training.local_batch_size")?;
    let in_pipeline = micro.or((!has_pipeline).then_some(1));
    let parts = local.zip(in_pipeline).filter(|(local, n)| local.is_multiple_of(*n));
    let n_micro_batches = match (has_pipeline, global, local, data) {
        (true, ..) => micro,
        (false, Some(global), Some(local), Some(data)) => {
            let each = local.checked_mul(u64::from(data));
            each.filter(|each| global.is_multiple_of(*each)).map(|each| global / each)
        }
        _ => None,
    };
    Ok((parts.map(|(local, n)| local / n), n_micro_batches))
}

/// Where a file holds the schedule, its class has no name of ours.
fn schedule(flags: &Flags<'_>) -> Result<Option<String>, Diagnostic> {
    let in_file = flags.text(&own("pipeline_parallel_schedule_csv"))?.is_some();
    let name = flags.text(&own("pipeline_parallel_schedule"))?.filter(|_| !in_file);
    Ok(name.map(|name| {
        let known = SCHEDULES.iter().find(|(torch, _)| torch.eq_ignore_ascii_case(name));
        known.map_or(name, |(_, own)| own).to_owned()
    }))
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
        Some("selective") => match flags.text("--activation_checkpoint.selective_ac_option")? {
            None | Some("op") => Ok(Some(Recompute::PerOp)),
            Some(other) => {
                let flag = format!("--activation_checkpoint.selective_ac_option {other}");
                Err(not_judged(&flag, "every so many blocks are none of a plan's policies"))
            }
        },
        Some(other) => {
            Err(bad("--activation_checkpoint.mode", other, "use none, selective or full"))
        }
    }
}

/// Blocks of each list of module names; they must follow each other, and ranks share them out.
fn modules(text: &str, n_ranks: usize) -> Result<Vec<u32>, Diagnostic> {
    let flag = own(PARTS);
    let bad = |text: &str, hint: &str| bad(&flag, text, hint);
    let hint = "give lists of module names, such as [[\"layers.0\"],[\"layers.1\"]]";
    let parts: Vec<Vec<String>> = serde_json::from_str(text).map_err(|_| bad(text, hint))?;
    let mut next = 0u32;
    let mut counts = Vec::with_capacity(parts.len());
    for part in &parts {
        let start = next;
        for layer in part.iter().filter_map(|name| name.strip_prefix("layers.")) {
            if layer.parse() != Ok(next) {
                let hint = format!("layer {next} is missing or out of order");
                return Err(bad(layer, &hint));
            }
            next += 1;
        }
        counts.push(next - start);
    }
    if !counts.len().is_multiple_of(n_ranks) {
        let hint = format!("{n_ranks} ranks can't share out {} parts", counts.len());
        return Err(bad(text, &hint));
    }
    Ok(counts)
}
