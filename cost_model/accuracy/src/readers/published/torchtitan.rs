//! Reader of the rates of torchtitan's runs.

use std::path::Path;

use cost_model::runs::forms::run::Timed;
use importers::measurements::Fields;
use ir::card::{Recompute, SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;
use ir::tensor::DType;

use super::{hosts, micro_batches, models, replicas, small};
use crate::readers::Left;
use crate::readers::run::{Hosts, RunRow};

/// The hosts of the published runs: H100 with HBM2e and a limit of 500 W, a card of 400 Gb/s each.
const HOSTS: Hosts = hosts("h100_sxm5_96gb_hbm2e", 8, "nvlink4", "ib_ndr_400");

/// Models that the table names.
const MODELS: [(&str, &str); 3] = [
    ("llama3.1-8b", models::LLAMA_8B),
    ("llama3.1-70b", models::LLAMA_70B),
    ("llama3.1-405b", models::LLAMA_405B),
];

/// Reads the columns `model`, `gpu`, `gpus`, `dp_shard`, `tp`, `pp`, `cp`, `micro_batch`,
/// `global_batch`, `seq`, `recompute`, `technique`, `schedule` (which must be blank) and
/// `tokens_per_s_per_gpu`.
pub fn read(path: &Path, left: &mut Left) -> Vec<RunRow> {
    left.rows(path, |fields| row(fields).map(Some))
}

fn row(fields: &Fields) -> Result<RunRow, Diagnostic> {
    let model = fields.name("model")?;
    let (_, config) = MODELS
        .iter()
        .find(|(name, _)| *name == model)
        .ok_or_else(|| fields.bad("model", "a model whose config is known"))?;
    if fields.text("gpu")? != "H100 96GB HBM2e 500W" {
        return Err(fields.bad("gpu", "`H100 96GB HBM2e 500W`"));
    }
    if !fields.text("schedule")?.is_empty() {
        return Err(fields.bad("schedule", "blank: only runs without a pipeline are read"));
    }
    let (gpus, sequence) = (fields.count("gpus")?, fields.count("seq")?);
    let [tensor, context, pipeline] =
        [small(fields, "tp")?, small(fields, "cp")?, small(fields, "pp")?];
    let data = replicas(fields, gpus, &[tensor, context, pipeline])?;
    if data != small(fields, "dp_shard")? {
        return Err(fields.bad("dp_shard", "all replicas: no other row is known"));
    }
    let (micro_batch, global) = (fields.count("micro_batch")?, fields.count("global_batch")?);
    let technique = fields.name("technique")?;
    let is_float8 = technique.contains("float8");
    let rate = fields.positive("tokens_per_s_per_gpu")?;
    Ok(RunRow {
        line: fields.line(),
        name: format!("{model} {technique} on {gpus}, t {tensor} c {context} s {sequence}"),
        card: models::card(config, &model, sequence)?,
        model,
        hosts: HOSTS,
        stack: stack(&technique),
        degrees: vec![Parallelism {
            data,
            tensor,
            pipeline,
            context,
            micro_batch,
            n_micro_batches: micro_batches(fields, "global_batch", (global, micro_batch, data))?,
            // Its tensor parallelism always splits the sequence.
            sequence: if tensor > 1 { SequenceParallel::On } else { SequenceParallel::Off },
            zero: ZeroStage::Parameters,
            ..Parallelism::default()
        }],
        recompute: match fields.text("recompute")? {
            "full" => Recompute::Full,
            "selective" | "selective per-op" => Recompute::PerOp,
            _ => return Err(fields.bad("recompute", "`full`, `selective` or `selective per-op`")),
        },
        dtype: if is_float8 { DType::F8 } else { DType::Bf16 },
        timed: Timed::Step,
        time_s: global as f64 * sequence as f64 / (rate * gpus as f64),
        technique,
        peer_s: None,
        peaks: None,
    })
}

/// The preset of a technique.
fn stack(technique: &str) -> &'static str {
    let has = |word: &str| technique.contains(word);
    let is_async = has("async TP") || has("asyncTP");
    match (has("compile"), has("rowwise"), is_async) {
        (false, ..) => "torchtitan-2024-eager",
        (_, true, true) => "torchtitan-2024-rowwise-async-tp",
        (_, true, false) => "torchtitan-2024-rowwise",
        (_, false, true) => "torchtitan-2024-async-tp",
        (_, false, false) => "torchtitan-2024",
    }
}
