//! Reader of steps of Megatron-LM on one host of eight B200, which SimuMax published.

use std::path::Path;

use cost_model::runs::forms::run::Timed;
use importers::measurements::Fields;
use ir::card::{ModelCard, Recompute, SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;
use ir::tensor::DType;

use super::{B200, degree, models, small};
use crate::readers::GIB;
use crate::readers::Left;
use crate::readers::run::RunRow;

/// Heads of keys and values of these rows' Llama 3.1 405B, as the data's README states: its first release had
/// 16, today's config has 8.
const KEY_VALUE_HEADS: u64 = 16;

/// Reads the columns `case`, `model`, `n_layers`, `tensor`, `pipeline`, `expert`, `context`,
/// `sequence_length`, `micro_batches`, `data`, `step_ms`, `peak_allocated_gib`,
/// `peak_reserved_gib` and `peer_step_ms`.
pub fn read(path: &Path, left: &mut Left) -> Vec<RunRow> {
    left.rows(path, |fields| row(fields).map(Some))
}

/// A model by its name, cut to so many layers: of DeepSeek-V2's the first is dense.
fn model(fields: &Fields, n_layers: u32, sequence: u64) -> Result<ModelCard, Diagnostic> {
    let name = fields.name("model")?;
    let config = match name.as_str() {
        "llama3-405b" => models::LLAMA_405B,
        "deepseekv2" => models::DEEPSEEK_V2,
        _ => return Err(fields.bad("model", "a model whose config is known")),
    };
    let mut card = models::card(config, &name, sequence)?;
    let mut left = n_layers;
    for group in &mut card.groups {
        if config == models::LLAMA_405B {
            group.card.n_kv_heads = KEY_VALUE_HEADS;
        }
        group.n_blocks = group.n_blocks.min(left);
        group.card.n_layers = group.n_blocks;
        left -= group.n_blocks;
    }
    card.groups.retain(|group| group.n_blocks > 0);
    Ok(card)
}

fn row(fields: &Fields) -> Result<RunRow, Diagnostic> {
    let name = fields.name("model")?;
    let sequence = fields.count("sequence_length")?;
    let card = model(fields, small(fields, "n_layers")?, sequence)?;
    let tensor = small(fields, "tensor")?;
    let gib = |column| Ok::<f64, Diagnostic>(fields.positive(column)? * GIB);
    let degrees = Parallelism {
        data: small(fields, "data")?,
        tensor,
        pipeline: small(fields, "pipeline")?,
        expert: degree(fields, "expert")?,
        context: small(fields, "context")?,
        n_micro_batches: fields.count("micro_batches")?,
        sequence: if tensor > 1 { SequenceParallel::On } else { SequenceParallel::Off },
        zero: ZeroStage::Optimizer,
        ..Parallelism::default()
    };
    Ok(RunRow {
        line: fields.line(),
        name: fields.name("case")?,
        technique: name.clone(),
        model: name,
        hosts: B200,
        stack: "megatron-core-no-overlap",
        card,
        degrees: vec![degrees],
        recompute: Recompute::None,
        dtype: DType::Bf16,
        timed: Timed::Step,
        time_s: fields.positive("step_ms")? * 1e-3,
        peer_s: Some(fields.positive("peer_step_ms")? * 1e-3),
        peaks: Some([gib("peak_allocated_gib")?, gib("peak_reserved_gib")?]),
    })
}
