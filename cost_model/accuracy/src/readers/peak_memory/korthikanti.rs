//! Reader of the memory figures of Korthikanti et al. 2022.

use std::path::Path;

use importers::measurements::Fields;
use ir::card::{SequenceParallel, StateFormat};
use ir::chip::Chip;
use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;

use super::{GIB, micro_batches, plain_card, recompute, small};
use crate::readers::Left;
use crate::readers::memory::{JudgedRank, MemoryMetric, MemoryRow};

/// Reads the rows whose `metric` is one of memory, from the columns `model`, `layers`, `hidden`,
/// `heads`, `seq`, `vocab`, `tp`, `pp`, `dp`, `virtual_pp`, `global_batch`, `micro_batch`,
/// `recompute`, `seq_parallel`, `metric` and `value`.
pub fn read(path: &Path, left: &mut Left) -> Vec<MemoryRow> {
    left.rows(path, row)
}

fn row(fields: &Fields) -> Result<Option<MemoryRow>, Diagnostic> {
    let (metric, unit) = match fields.text("metric")? {
        "param_and_optimizer_GiB" => (MemoryMetric::MatrixStates, GIB),
        "activation_GiB_first_stage" => (MemoryMetric::Activations, GIB),
        "activation_percent_of_TP_baseline" => (MemoryMetric::PercentOfTensorParallel, 1.0),
        _ => return Ok(None),
    };
    let data = small(fields, "dp")?;
    let micro_batch = fields.count("micro_batch")?;
    let group = fields.name("model")?;
    Ok(Some(MemoryRow {
        name: format!(
            "{group} {} {} {}",
            fields.text("metric")?,
            fields.text("recompute")?,
            fields.text("seq_parallel")?
        ),
        card: plain_card(fields, fields.count("heads")?, fields.count("vocab")?)?,
        parallelism: Parallelism {
            data,
            tensor: small(fields, "tp")?,
            pipeline: small(fields, "pp")?,
            n_micro_batches: micro_batches(fields.count("global_batch")?, micro_batch, data),
            micro_batch,
            virtual_stages: small(fields, "virtual_pp")?,
            sequence: match fields.text("seq_parallel")? {
                "true" => SequenceParallel::On,
                _ => SequenceParallel::Off,
            },
            ..Parallelism::default()
        },
        recompute: recompute(fields)?,
        chip: Chip::Other,
        features: Vec::new(),
        format: StateFormat::Megatron,
        rank: JudgedRank::First,
        metric,
        value: fields.positive("value")? * unit,
        group,
    }))
}
