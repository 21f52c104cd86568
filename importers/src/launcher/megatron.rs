//! Flags of Megatron-Core (`megatron/training/arguments.py`).

use ir::card::{Recompute, SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::launch::LaunchSettings;
use ir::plan::Mesh;

use super::flags::Flags;
use super::{bad, layout};

pub(super) fn read(text: &str) -> Result<LaunchSettings, Diagnostic> {
    let flags = Flags::new(text);
    let pipeline: Option<u32> = flags.count("--pipeline-model-parallel-size")?;
    let n_layers: Option<u32> = flags.count("--num-layers")?;
    let mut settings = LaunchSettings {
        tensor: flags.count("--tensor-model-parallel-size")?,
        pipeline,
        context: flags.count("--context-parallel-size")?,
        expert: flags.count("--expert-model-parallel-size")?,
        micro_batch: flags.count("--micro-batch-size")?,
        global_batch: flags.count("--global-batch-size")?,
        sequence_length: flags.count("--seq-length")?,
        n_predicting: flags.count("--mtp-num-layers")?,
        sequence: Some(if flags.has("--sequence-parallel") {
            SequenceParallel::On
        } else {
            SequenceParallel::Off
        }),
        zero: Some(zero(&flags)?),
        mesh: Some(if flags.has("--use-tp-pp-dp-mapping") {
            Mesh::PipelineInside
        } else {
            Mesh::DataInside
        }),
        recompute: Some(recompute(&flags)?),
        ..LaunchSettings::default()
    };
    stages(&flags, n_layers, &mut settings)?;
    let is_looped = settings.virtual_stages.is_some_and(|chunks| chunks > 1);
    settings.schedule = Some(if is_looped { "interleaved" } else { "1f1b" }.to_owned());
    Ok(settings)
}

/// Blocks of each stage: from the layout, else equal parts with the stated ends.
fn stages(
    flags: &Flags,
    n_layers: Option<u32>,
    settings: &mut LaunchSettings,
) -> Result<(), Diagnostic> {
    let pipeline = settings.pipeline.unwrap_or(1);
    if let Some(text) = flags.text("--pipeline-model-parallel-layout") {
        let layout = layout::parse(text, pipeline)?;
        if n_layers.is_some_and(|n| u64::from(n) != layout.n_layers()) {
            let hint = format!("the layout has {} layers", layout.n_layers());
            return Err(bad("--num-layers", &n_layers.unwrap_or(0).to_string(), &hint));
        }
        settings.virtual_stages = Some(layout.layers.len() as u32 / pipeline);
        let both = layout.layers.iter().zip(&layout.predicting);
        settings.blocks = Some(both.map(|(layers, later)| layers + later).collect());
        settings.n_predicting = Some(layout.n_predicting() as u32).filter(|n| *n > 0);
        return Ok(());
    }
    let by_count: Option<u32> = flags.count("--num-layers-per-virtual-pipeline-stage")?;
    let chunks: Option<u32> = flags.count("--num-virtual-stages-per-pipeline-rank")?;
    let Some(n_layers) = n_layers else {
        settings.virtual_stages = chunks;
        return Ok(());
    };
    let chunks = match (by_count, chunks) {
        (Some(layers), None) => {
            let per_rank = n_layers / pipeline;
            if !n_layers.is_multiple_of(pipeline) || !per_rank.is_multiple_of(layers) {
                let hint = "it must divide the layers of a rank";
                let flag = "--num-layers-per-virtual-pipeline-stage";
                return Err(bad(flag, &layers.to_string(), hint));
            }
            per_rank / layers
        }
        (None, chunks) => chunks.unwrap_or(1),
        (Some(_), Some(chunks)) => {
            let hint = "give one of the two flags for virtual stages";
            return Err(bad("--num-virtual-stages-per-pipeline-rank", &chunks.to_string(), hint));
        }
    };
    settings.virtual_stages = Some(chunks);
    let n_stages = pipeline.checked_mul(chunks).filter(|n| *n <= n_layers).ok_or_else(|| {
        bad("--num-layers", &n_layers.to_string(), "there are more stages than layers")
    })?;
    settings.blocks = Some(even(flags, n_layers, n_stages)?);
    Ok(())
}

/// Equal parts between the stated first and last stage.
fn even(flags: &Flags, n_layers: u32, n_stages: u32) -> Result<Vec<u32>, Diagnostic> {
    let first: Option<u32> = flags.count("--decoder-first-pipeline-num-layers")?;
    let last: Option<u32> = flags.count("--decoder-last-pipeline-num-layers")?;
    let ends = first.unwrap_or(0).saturating_add(last.unwrap_or(0));
    let n_ends = u32::from(first.is_some()) + u32::from(last.is_some());
    let (inner, n_inner) = (n_layers.checked_sub(ends), n_stages.saturating_sub(n_ends));
    let each = match (inner, n_inner) {
        (Some(0), 0) => 0,
        (Some(inner), n_inner) if n_inner > 0 && inner.is_multiple_of(n_inner) => inner / n_inner,
        _ => {
            let hint = format!("{n_stages} stages can't share them out evenly");
            return Err(bad("--num-layers", &n_layers.to_string(), &hint));
        }
    };
    let mut blocks = vec![each; n_stages as usize];
    if let (Some(first), Some(stage)) = (first, blocks.first_mut()) {
        *stage = first;
    }
    if let (Some(last), Some(stage)) = (last, blocks.last_mut()) {
        *stage = last;
    }
    Ok(blocks)
}

fn zero(flags: &Flags) -> Result<ZeroStage, Diagnostic> {
    match flags.text("--data-parallel-sharding-strategy") {
        None | Some("no_shard" | "optim") if flags.has("--use-distributed-optimizer") => {
            Ok(ZeroStage::Optimizer)
        }
        None | Some("no_shard") => Ok(ZeroStage::None),
        Some("optim") => Ok(ZeroStage::Optimizer),
        Some("optim_grads") => Ok(ZeroStage::Gradients),
        Some("optim_grads_params") => Ok(ZeroStage::Parameters),
        Some(other) => {
            let hint = "use no_shard, optim, optim_grads or optim_grads_params";
            Err(bad("--data-parallel-sharding-strategy", other, hint))
        }
    }
}

fn recompute(flags: &Flags) -> Result<Recompute, Diagnostic> {
    match flags.text("--recompute-granularity") {
        None => Ok(Recompute::None),
        Some("selective") => Ok(Recompute::Selective),
        Some("full") => {
            let blocks: u32 = flags.count("--recompute-num-layers")?.unwrap_or(1);
            match flags.text("--recompute-method") {
                Some("uniform") if blocks == 1 => Ok(Recompute::Full),
                Some("uniform") => Ok(Recompute::Uniform { blocks }),
                Some("block") => Ok(Recompute::Block { blocks }),
                other => {
                    let hint = "use uniform or block";
                    Err(bad("--recompute-method", other.unwrap_or(""), hint))
                }
            }
        }
        Some(other) => Err(bad("--recompute-granularity", other, "use full or selective")),
    }
}
