//! Reader of the memory that nvidia-smi showed in the BigScience search of a topology.

use std::path::Path;

use importers::measurements::Fields;
use ir::card::{StateFormat, ZeroStage};
use ir::chip::Chip;
use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;

use super::{micro_batches, plain_card, recompute, replicas, small};
use crate::readers::Left;
use crate::readers::memory::{JudgedRank, MemoryMetric, MemoryRow};

/// Width of a head where heads are not stated, that of GPT-3 and of BLOOM.
const HEAD_WIDTH: u64 = 128;

/// Reads the runs that ended well and state layers and memory, from the columns `model_group`,
/// `gpus`, `hidden`, `layers`, `heads`, `seq`, `vocab`, `tp`, `pp`, `micro_batch`, `global_batch`,
/// `zero_stage`, `recompute`, `dtype`, `status` and `peak_mem_gb` (taken as GiB, as nvidia-smi counts).
pub fn read(path: &Path, left: &mut Left) -> Vec<MemoryRow> {
    left.rows(path, row)
}

fn row(fields: &Fields) -> Result<Option<MemoryRow>, Diagnostic> {
    let stated = !fields.text("layers")?.is_empty() && !fields.text("peak_mem_gb")?.is_empty();
    if fields.text("status")? != "ok" || !stated {
        return Ok(None);
    }
    let [tensor, pipeline] = [small(fields, "tp")?, small(fields, "pp")?];
    let n_gpus = fields.count("gpus")?;
    let data = replicas(n_gpus, &[tensor, pipeline]);
    let micro_batch = fields.count("micro_batch")?;
    let hidden = fields.count("hidden")?;
    let heads = fields.count_or_blank("heads")?.unwrap_or((hidden / HEAD_WIDTH).max(1));
    // Stage 1 where the table is silent, as BLOOM was trained.
    let zero = match fields.text("zero_stage")? {
        "0" => ZeroStage::None,
        _ => ZeroStage::Optimizer,
    };
    // DeepSpeed sums the gradients of bf16 in single precision.
    let format = match fields.text("dtype")?.contains("fp32 grad accum") {
        true => StateFormat::HalfGradientsSummed,
        false => StateFormat::HalfGradients,
    };
    let group = fields.name("model_group")?;
    Ok(Some(MemoryRow {
        name: format!("{group} tp{tensor} pp{pipeline} mb{micro_batch} on {n_gpus}"),
        card: plain_card(fields, heads, fields.count("vocab")?)?,
        parallelism: Parallelism {
            data,
            tensor,
            pipeline,
            n_micro_batches: micro_batches(fields.count("global_batch")?, micro_batch, data),
            micro_batch,
            zero,
            ..Parallelism::default()
        },
        recompute: recompute(fields)?,
        chip: Chip::Other,
        features: Vec::new(),
        format,
        rank: JudgedRank::Largest,
        metric: MemoryMetric::Peak,
        value: fields.positive("peak_mem_gb")? * super::GIB,
        group,
    }))
}
