//! Reader of Table 2 of the SC21 Megatron paper: ZeRO-3 beside tensor and pipeline parallelism.

use std::path::Path;

use cost_model::runs::forms::run::Timed;
use importers::measurements::Fields;
use ir::card::{Head, Recompute, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;
use ir::tensor::DType;

use super::{A100, gpt, micro_batches, replicas, small};
use crate::readers::Left;
use crate::readers::run::RunRow;

/// Tokens of a sample and rows of the embedding (arXiv:2104.04473, section 5).
const SEQUENCE: u64 = 2048;
const VOCABULARY: u64 = 51_200;
/// Tensor degree of the rows with tensor and pipeline parallelism (the paper's section 5.2).
const TENSOR: u32 = 8;
/// What the rows without model parallelism are called.
pub const SHARDED: &str = "ZeRO-3";
/// What the others are called.
pub const PIPELINED: &str = "tensor + pipeline";

/// Reads the columns `model`, `hidden`, `layers`, `heads`, `model_parallel` (1 = ZeRO-3), `gpus`,
/// `mbs`, `gbs` and `tflops_per_gpu`.
///
/// The operations behind `tflops_per_gpu` are `96 B s l h^2 (1 + s / 6h + V / 16lh)`, with the
/// forward pass computed again (the paper's appendix).
pub fn read(path: &Path, left: &mut Left) -> Vec<RunRow> {
    left.rows(path, |fields| row(fields).map(Some))
}

fn row(fields: &Fields) -> Result<RunRow, Diagnostic> {
    let (gpus, global) = (fields.count("gpus")?, fields.count("gbs")?);
    let (hidden, heads) = (fields.count("hidden")?, fields.count("heads")?);
    let (micro_batch, layers) = (fields.count("mbs")?, small(fields, "layers")?);
    let model_parallel = small(fields, "model_parallel")?;
    let (tensor, pipeline, zero, technique) = match model_parallel {
        1 => (1, 1, ZeroStage::Parameters, SHARDED),
        n if n.is_multiple_of(TENSOR) => (TENSOR, n / TENSOR, ZeroStage::None, PIPELINED),
        _ => return Err(fields.bad("model_parallel", "1 or a multiple of eight")),
    };
    let data = replicas(fields, gpus, &[tensor, pipeline])?;
    let [h, s, v, l] = [hidden, SEQUENCE, VOCABULARY, u64::from(layers)].map(|n| n as f64);
    let operations =
        96.0 * global as f64 * s * l * h * h * (1.0 + s / (6.0 * h) + v / (16.0 * l * h));
    let rate = fields.positive("tflops_per_gpu")? * 1e12;
    let model = fields.name("model")?;
    Ok(RunRow {
        line: fields.line(),
        name: format!("{model} on {gpus}, {technique}, {micro_batch} of {global}"),
        technique: technique.to_owned(),
        card: gpt(&model, [hidden, heads, SEQUENCE, VOCABULARY], layers, Head::Tied),
        model,
        hosts: A100,
        stack: "megatron-deepspeed-2021",
        degrees: vec![Parallelism {
            data,
            tensor,
            pipeline,
            micro_batch,
            n_micro_batches: micro_batches(fields, "gbs", (global, micro_batch, data))?,
            zero,
            ..Parallelism::default()
        }],
        recompute: Recompute::Full,
        dtype: DType::Bf16,
        timed: Timed::Step,
        time_s: operations / (rate * gpus as f64),
        peer_s: None,
        peaks: None,
    })
}
