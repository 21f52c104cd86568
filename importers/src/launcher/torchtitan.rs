//! Overrides of torchtitan (`torchtitan/config/configs.py`).

use ir::card::{Recompute, SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::launch::LaunchSettings;
use ir::plan::Mesh;

use super::bad;
use super::flags::Flags;

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
    let pipeline: Option<u32> = flags.count(&own("pipeline_parallel_degree"))?;
    let replicate: u32 = flags.count(&own("data_parallel_replicate_degree"))?.unwrap_or(1);
    // -1 is what is left.
    let shard_flag = own("data_parallel_shard_degree");
    let shard: Option<u32> = match flags.text(&shard_flag) {
        None | Some("-1") => None,
        Some(_) => flags.count(&shard_flag)?,
    };
    let micro: Option<u64> = flags.count(&own("num_pp_microbatches"))?;
    let local: Option<u64> = flags.count("--training.local_batch_size")?;
    let global: Option<u64> = flags.count("--training.global_batch_size")?;
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
        tensor: flags.count(&own("tensor_parallel_degree"))?,
        pipeline,
        context: flags.count(&own("context_parallel_degree"))?,
        expert: flags.count(&own("expert_parallel_degree"))?,
        n_micro_batches,
        virtual_stages: (!has_pipeline).then_some(1),
        micro_batch: match (local, in_pipeline) {
            (Some(local), Some(n)) if local.is_multiple_of(n) => Some(local / n),
            _ => None,
        },
        global_batch: global,
        sequence_length: flags.count("--training.seq_len")?,
        sequence: Some(match flags.text(&own("enable_sequence_parallel")) {
            Some("false" | "False") => SequenceParallel::Off,
            _ => SequenceParallel::On,
        }),
        zero: Some(zero(&flags, shard)?),
        mesh: Some(Mesh::DataInside),
        recompute: recompute(&flags)?,
        ..LaunchSettings::default()
    };
    // Where a file holds the schedule, its class has no name of ours.
    let in_file = flags.text(&own("pipeline_parallel_schedule_csv")).is_some();
    if let Some(name) = flags.text(&own("pipeline_parallel_schedule")).filter(|_| !in_file) {
        let known = SCHEDULES.iter().find(|(torch, _)| torch.eq_ignore_ascii_case(name));
        settings.schedule = Some(known.map_or(name, |(_, own)| own).to_owned());
    }
    let parts = own("module_fqns_per_model_part");
    if let Some(text) = flags.text(&parts) {
        let blocks = modules(&parts, text)?;
        let ranks = pipeline.unwrap_or(1) as usize;
        if !blocks.len().is_multiple_of(ranks) {
            let hint = format!("{ranks} ranks can't share out {} parts", blocks.len());
            return Err(bad(&parts, text, &hint));
        }
        settings.virtual_stages = Some((blocks.len() / ranks) as u32);
        settings.blocks = Some(blocks);
    }
    Ok(settings)
}

fn zero(flags: &Flags, shard: Option<u32>) -> Result<ZeroStage, Diagnostic> {
    if shard == Some(1) {
        return Ok(ZeroStage::None);
    }
    match flags.text("--parallelism.fsdp_reshard_after_forward") {
        Some("never") => Ok(ZeroStage::Gradients),
        None | Some("always" | "default") => Ok(ZeroStage::Parameters),
        Some(other) => {
            let flag = "--parallelism.fsdp_reshard_after_forward";
            Err(bad(flag, other, "use default, always or never"))
        }
    }
}

fn recompute(flags: &Flags) -> Result<Option<Recompute>, Diagnostic> {
    match flags.text("--activation_checkpoint.mode") {
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
