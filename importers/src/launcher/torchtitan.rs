//! Overrides of torchtitan (`torchtitan/config/configs.py`): of 0.3 and before, which counts samples,
//! and of main since 73aed7f6c (August 2026), which counts tokens.

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
];

/// The member that lists modules by stage.
const PARTS: &str = "module_fqns_per_model_part";

/// Modules beside the layers; the head's older name stands last.
const ENDS: [&str; 4] = ["tok_embeddings", "norm", "lm_head", "output"];

/// torch's schedules under our names, where they are the same cell by cell.
const SCHEDULES: &[(&str, &str)] = &[
    ("1F1B", "1f1b"),
    ("GPipe", "gpipe"),
    ("Interleaved1F1B", "interleaved"),
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
    if replicate > 1 && shard != Some(1) {
        let why = "replicas of shards are in no plan";
        return Err(not_judged(&own("data_parallel_replicate_degree"), why)
            .hint("state `--parallelism.data_parallel_shard_degree 1` where replicas are whole"));
    }
    let data = shard.and_then(|shard| shard.checked_mul(replicate));
    let has_pipeline = pipeline.unwrap_or(1) > 1;
    let batch = batch(&flags)?;
    let (micro_batch, n_micro_batches) = micro_batches(&flags, &batch, data, has_pipeline)?;
    let parts = flags.words(&own(PARTS));
    let blocks = match parts.as_slice() {
        [] => None,
        parts => Some(modules(parts, pipeline.unwrap_or(1) as usize)?),
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
        global_batch: batch.global,
        sequence_length: batch.sequence_length,
        sequence: Some(sequence(&flags)?),
        zero: Some(zero(&flags, shard, degree("context_parallel_degree")?)?),
        mesh: Some(Mesh::TpCpDpPp),
        recompute: recompute(&flags)?,
        dtype: dtype(&flags)?,
        optimizer: optimizer(&flags)?,
        schedule: schedule(&flags)?,
        schedule_file: flags.text(&own("pipeline_parallel_schedule_csv"))?.map(str::to_owned),
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

/// A switch of its parser takes no value.
fn sequence(flags: &Flags<'_>) -> Result<SequenceParallel, Diagnostic> {
    let name = own("enable_sequence_parallel");
    if let [value, ..] = flags.words(&name).as_slice() {
        let hint = "it takes no value: leave that out, or write `no-` before the name";
        return Err(bad(&name, value, hint));
    }
    Ok(match flags.has(&own("no-enable_sequence_parallel")) {
        true => SequenceParallel::Off,
        false => SequenceParallel::On,
    })
}

/// What a step and a micro-batch are made of.
struct Batch {
    sequence_length: Option<u64>,
    /// Samples of a step.
    global: Option<u64>,
    /// Samples of a replica's pass through the pipeline, which release 0.3 states.
    local: Option<u64>,
    /// Samples of a micro-batch, which main states.
    micro: Option<u64>,
}

fn batch(flags: &Flags<'_>) -> Result<Batch, Diagnostic> {
    let of_tokens = [
        "--training.num_tokens_per_microbatch_per_dp_rank",
        "--training.num_tokens_per_train_step",
        "--training.max_context_length",
        "--parallelism.num_pp_microbatches",
    ];
    let of_samples = [
        "--training.local_batch_size",
        "--training.global_batch_size",
        "--training.seq_len",
        "--parallelism.pipeline_parallel_microbatch_size",
    ];
    let [new, old] = [of_tokens, of_samples].map(|n| n.into_iter().find(|flag| flags.has(flag)));
    if let (Some(new), Some(old)) = (new, old) {
        let hint = format!("no version knows it beside `{old}`: keep to the words of one");
        return Err(bad(new, "", &hint));
    }
    let length = flags.count(of_tokens[2])?;
    let samples = |flag: &'static str| -> Result<Option<u64>, Diagnostic> {
        let Some(tokens) = flags.count(flag)? else { return Ok(None) };
        let Some(length) = length else { return Ok(None) };
        let hint = "give a multiple of `--training.max_context_length`";
        let whole = tokens.is_multiple_of(length).then(|| tokens / length);
        whole.map(Some).ok_or_else(|| bad(flag, &tokens.to_string(), hint))
    };
    let (micro, global) = (samples(of_tokens[0])?, samples(of_tokens[1])?);
    Ok(Batch {
        sequence_length: length.or(flags.count(of_samples[2])?),
        global: global.or(flags.count(of_samples[1])?),
        local: flags.count(of_samples[0])?,
        micro,
    })
}

/// Samples of a micro-batch, and how many a replica runs. Without a pipeline, the local batch is one
/// micro-batch, and gradients are accumulated.
fn micro_batches(
    flags: &Flags<'_>,
    batch: &Batch,
    data: Option<u32>,
    has_pipeline: bool,
) -> Result<(Option<u64>, Option<u64>), Diagnostic> {
    let stated = flags.count(&own("num_pp_microbatches"))?;
    let size = flags.count(&own("pipeline_parallel_microbatch_size"))?;
    let micro = match (batch.micro, has_pipeline) {
        (Some(micro), _) => Some(micro),
        // Without a flag a pipeline's micro-batch is one sample.
        (None, true) => batch.local.map(|_| size.unwrap_or(1)),
        (None, false) => batch.local,
    };
    let n_micro_batches = match (has_pipeline, batch.local, micro, batch.global.zip(data)) {
        (true, Some(local), Some(micro), _) => local.is_multiple_of(micro).then(|| local / micro),
        (true, None, ..) => stated,
        (false, _, Some(micro), Some((global, data))) => {
            let each = micro.checked_mul(u64::from(data));
            each.filter(|each| global.is_multiple_of(*each)).map(|each| global / each)
        }
        _ => None,
    };
    Ok((micro, n_micro_batches))
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

/// What shards share out, context ranks among them.
fn zero(
    flags: &Flags<'_>,
    shard: Option<u32>,
    context: Option<u32>,
) -> Result<ZeroStage, Diagnostic> {
    let text = flags.text("--parallelism.fsdp_reshard_after_forward")?;
    if shard == Some(1) && context.unwrap_or(1) == 1 {
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

/// A subcommand since 0.3, a flag before.
fn recompute(flags: &Flags<'_>) -> Result<Option<Recompute>, Diagnostic> {
    let flag = "--activation_checkpoint.mode";
    let mode = match flags.text(flag)? {
        None => flags.subcommand("activation-checkpoint"),
        mode => mode,
    };
    match mode {
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
        Some("memory-budget") => {
            let why = "the compiler chooses what is computed again";
            Err(not_judged("activation-checkpoint:memory-budget", why))
        }
        Some(other) => Err(bad(flag, other, "use none, selective or full")),
    }
}

/// Blocks of each list of module names; they must follow each other, and ranks share them out.
fn modules(parts: &[&str], n_ranks: usize) -> Result<Vec<u32>, Diagnostic> {
    let flag = own(PARTS);
    let bad = |text: &str, hint: &str| bad(&flag, text, hint);
    if let Some(part) = parts.iter().find(|part| part.contains(['[', ']'])) {
        let hint = "write a word for each part, names parted by commas: `tok_embeddings,layers.0 \
                    layers.1,norm,lm_head`; its parser takes brackets for names";
        return Err(bad(part, hint));
    }
    let known = |name: &str| ENDS.contains(&name) || name.starts_with("layers.");
    if let Some(name) = parts.iter().flat_map(|part| part.split(',')).find(|name| !known(name)) {
        let hint = "it prunes names that the model does not have: use tok_embeddings, layers.0, \
                    norm and lm_head";
        return Err(bad(name, hint));
    }
    let mut next = 0u32;
    let mut counts = Vec::with_capacity(parts.len());
    for part in parts {
        let start = next;
        for layer in part.split(',').filter_map(|name| name.strip_prefix("layers.")) {
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
        return Err(bad(&parts.join(" "), &hint));
    }
    Ok(counts)
}
