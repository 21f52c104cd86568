//! Reader of llm-foundry's runs of MPT under PyTorch's FSDP.

use std::path::Path;

use cost_model::runs::forms::run::Timed;
use importers::measurements::Fields;
use ir::card::{Head, Recompute, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;
use ir::tensor::DType;

use super::{H100, gpt, hosts, micro_batches, replicas};
use crate::readers::Left;
use crate::readers::run::{Hosts, RunRow};

/// MPT by the names of the table: hidden size, layers, heads. Its `mfu` (6 N + 12 l h s operations a token)
/// tells that the largest has 48 layers of 56 heads.
const MODELS: [(&str, [u64; 3]); 6] = [
    ("125m", [768, 12, 12]),
    ("350m", [1024, 24, 16]),
    ("1b", [2048, 24, 16]),
    ("3b", [2560, 32, 20]),
    ("7b", [4096, 32, 32]),
    ("30b", [7168, 48, 56]),
];
const VOCABULARY: u64 = 50_368;

/// Eight devices and 1,600 Gb/s of RoCE a host, as the sections of the table say of A100; what joins
/// the hosts of H100 is not stated.
const DEVICES: [(&str, Hosts); 3] = [
    ("a100_40gb", hosts("a100_sxm4_40gb", 8, "nvlink3", "ib_hdr_200")),
    ("a100_80gb", hosts("a100_sxm4_80gb", 8, "nvlink3", "ib_hdr_200")),
    ("h100_80gb", H100),
];

/// Reads the columns `model`, `seq`, `gpus`, `gpu`, `mbs`, `ga`, `gbs`, `tok_s`, `precision`, `mode`,
/// `shard`, `ckpt` and `cpu_offload`, which has to be `False`.
pub fn read(path: &Path, left: &mut Left) -> Vec<RunRow> {
    left.rows(path, |fields| row(fields).map(Some))
}

fn row(fields: &Fields) -> Result<RunRow, Diagnostic> {
    let name = fields.name("model")?;
    let known = MODELS.iter().find(|(model, _)| *model == name);
    let (_, [hidden, layers, heads]) =
        known.ok_or_else(|| fields.bad("model", "a size of MPT that is known"))?;
    let gpu = fields.text("gpu")?;
    let known = DEVICES.iter().find(|(device, _)| *device == gpu);
    let (_, hosts) = known.ok_or_else(|| fields.bad("gpu", "a device that is known"))?;
    if fields.text("cpu_offload")? != "False" {
        return Err(fields.bad("cpu_offload", "`False`: no other row is known"));
    }
    let (gpus, sequence) = (fields.count("gpus")?, fields.count("seq")?);
    let (micro_batch, global) = (fields.count("mbs")?, fields.count("gbs")?);
    let data = replicas(fields, gpus, &[])?;
    let is_fp8 = match fields.text("precision")? {
        "bf16" | "amp_bf16" => false,
        "amp_fp8" => true,
        _ => return Err(fields.bad("precision", "`bf16`, `amp_bf16` or `amp_fp8`")),
    };
    let mode = fields.text("mode")?;
    let stack = match (mode, is_fp8) {
        ("PURE", false) => "llm-foundry-pure",
        ("DEFAULT", _) => "llm-foundry",
        _ => return Err(fields.bad("mode", "`DEFAULT`, or `PURE` in 16 bits")),
    };
    let kept = if fields.text("ckpt")? == "True" { Recompute::Full } else { Recompute::None };
    let layers = u32::try_from(*layers).unwrap_or(u32::MAX);
    let rate = fields.positive("tok_s")?;
    let precision = if is_fp8 { "fp8" } else { "bf16" };
    Ok(RunRow {
        line: fields.line(),
        name: format!(
            "MPT {name} {precision} on {gpus} {gpu}, {micro_batch} of {global} x {sequence}"
        ),
        technique: precision.to_owned(),
        card: gpt(&name, [*hidden, *heads, sequence, VOCABULARY], layers, Head::Tied),
        model: name,
        hosts: hosts.clone(),
        stack,
        degrees: vec![Parallelism {
            data,
            micro_batch,
            n_micro_batches: micro_batches(fields, "gbs", (global, micro_batch, data))?,
            zero: match fields.text("shard")? {
                "FULL_SHARD" => ZeroStage::Parameters,
                "SHARD_GRAD_OP" => ZeroStage::Gradients,
                _ => return Err(fields.bad("shard", "`FULL_SHARD` or `SHARD_GRAD_OP`")),
            },
            ..Parallelism::default()
        }],
        recompute: kept,
        dtype: if is_fp8 { DType::F8 } else { DType::Bf16 },
        timed: Timed::Step,
        time_s: global as f64 * sequence as f64 / rate,
        peer_s: None,
        peaks: None,
    })
}
