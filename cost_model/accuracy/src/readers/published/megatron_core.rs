//! Reader of Megatron-Core's scaling table on H100.

use std::path::Path;

use cost_model::runs::forms::run::Timed;
use importers::measurements::Fields;
use ir::card::{Head, Recompute, SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;
use ir::tensor::DType;

use super::{H100, gpt, micro_batches, replicas, small};
use crate::readers::Left;
use crate::readers::run::RunRow;

/// Micro-batches that are tried where the table states none.
const MICRO_BATCHES: [u64; 4] = [1, 2, 4, 8];
/// Most chunks of a rank that are tried where the table states none.
const MOST_CHUNKS: u32 = 16;

/// Reads the columns `model`, `heads`, `hidden`, `layers`, `seq`, `vocab`, `tp`, `pp`, `dp`, `gpus`,
/// `gbs` and `tflops_per_gpu`. Micro-batch and interleaving are not stated: all that divide are
/// left open.
///
/// The operations behind `tflops_per_gpu` are `72 B s l h^2 (1 + s / 6h + V / 12lh)` (Megatron-LM,
/// `num_floating_point_operations`, which counts the whole square of attention).
pub fn read(path: &Path, left: &mut Left) -> Vec<RunRow> {
    left.rows(path, |fields| row(fields).map(Some))
}

fn row(fields: &Fields) -> Result<RunRow, Diagnostic> {
    let model = fields.name("model")?;
    let [hidden, heads, sequence, vocabulary, gpus, global] =
        ["hidden", "heads", "seq", "vocab", "gpus", "gbs"].map(|column| fields.count(column));
    let (hidden, sequence, vocabulary) = (hidden?, sequence?, vocabulary?);
    let (gpus, global, layers) = (gpus?, global?, small(fields, "layers")?);
    let (tensor, pipeline) = (small(fields, "tp")?, small(fields, "pp")?);
    let data = replicas(fields, gpus, &[tensor, pipeline])?;
    if data != small(fields, "dp")? {
        return Err(fields.bad("dp", "what `gpus`, `tp` and `pp` leave"));
    }
    let degrees = Parallelism {
        data,
        tensor,
        pipeline,
        sequence: if tensor > 1 { SequenceParallel::On } else { SequenceParallel::Off },
        zero: ZeroStage::Optimizer,
        ..Parallelism::default()
    };
    let [h, s, v, l] = [hidden, sequence, vocabulary, u64::from(layers)].map(|n| n as f64);
    let operations =
        72.0 * global as f64 * s * l * h * h * (1.0 + s / (6.0 * h) + v / (12.0 * l * h));
    let rate = fields.positive("tflops_per_gpu")? * 1e12;
    Ok(RunRow {
        line: fields.line(),
        name: format!("{model} on {gpus}, t {tensor} p {pipeline} d {data}, of {global}"),
        technique: model.clone(),
        card: gpt(&model, [hidden, heads?, sequence, vocabulary], layers, Head::Separate),
        model,
        hosts: H100,
        stack: "megatron-core-2024",
        degrees: open(fields, &degrees, global, layers)?,
        recompute: Recompute::None,
        dtype: DType::Bf16,
        timed: Timed::Step,
        time_s: operations / (rate * gpus as f64),
        peer_s: None,
        peaks: None,
    })
}

/// Micro-batches and chunks that divide.
fn open(
    fields: &Fields,
    degrees: &Parallelism,
    global: u64,
    layers: u32,
) -> Result<Vec<Parallelism>, Diagnostic> {
    let per_replica = micro_batches(fields, "gbs", (global, 1, degrees.data))?;
    let p = degrees.pipeline;
    let mut open = Vec::new();
    for micro_batch in MICRO_BATCHES.into_iter().filter(|n| per_replica.is_multiple_of(*n)) {
        let n_micro_batches = per_replica / micro_batch;
        let is_even = |chunks: u32| {
            layers.is_multiple_of(p * chunks) && n_micro_batches.is_multiple_of(u64::from(p))
        };
        let most = if p > 1 { MOST_CHUNKS } else { 1 };
        for virtual_stages in (1..=most).filter(|chunks| *chunks == 1 || is_even(*chunks)) {
            open.push(Parallelism {
                micro_batch,
                n_micro_batches,
                virtual_stages,
                ..degrees.clone()
            });
        }
    }
    Ok(open)
}
