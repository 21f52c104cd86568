//! Reader of NeuSight's measurements in single precision, with its own predictions.

use std::path::Path;

use cost_model::runs::forms::run::Timed;
use importers::measurements::Fields;
use ir::card::Recompute;
use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;
use ir::tensor::DType;

use super::{H100, hosts, models};
use crate::readers::Left;
use crate::readers::run::{Hosts, RunRow};

/// Hosts by the names of the table; of one device where the card has no link to its like.
const DEVICES: [(&str, Hosts); 5] = [
    ("NVIDIA_H100_80GB_HBM3", H100),
    ("NVIDIA_A100-SXM4-40GB", hosts("a100_sxm4_40gb", 8, "nvlink3", "ib_hdr_200")),
    ("NVIDIA_A100-PCIE-40GB", hosts("a100_pcie_40gb", 1, "none", "ib_hdr_200")),
    ("NVIDIA_A100_80GB_PCIe", hosts("a100_pcie_80gb", 1, "none", "ib_hdr_200")),
    ("Tesla_T4", hosts("t4", 1, "none", "ib_hdr_200")),
];

/// Models by the names of the table.
const MODELS: [(&str, &str); 3] = [
    ("gpt2_large", models::GPT2_LARGE),
    ("bert_large", models::BERT_LARGE),
    ("gpt3_27", models::GPT3_2_7B),
];

/// Reads the columns `model`, `seq`, `batch`, `device`, `mode` (`inf` or `train`), `option` (blank,
/// `fusion`, or degrees such as `dp4`, `tp4`, `pp4_1`: one micro-batch), `dtype` (`fp32`),
/// `measured_ms` and `neusight_ms`. A training time is of both passes, without the optimizer; the
/// forward pass of BERT is of its blocks.
pub fn read(path: &Path, left: &mut Left) -> Vec<RunRow> {
    left.rows(path, |fields| row(fields).map(Some))
}

/// The config of a model of the table.
#[must_use]
pub fn config(model: &str) -> Option<&'static str> {
    MODELS.iter().find_map(|(name, config)| (*name == model).then_some(*config))
}

fn row(fields: &Fields) -> Result<RunRow, Diagnostic> {
    let (model, device) = (fields.name("model")?, fields.name("device")?);
    let config =
        config(&model).ok_or_else(|| fields.bad("model", "a model whose config is known"))?;
    let found = DEVICES.iter().find(|(name, _)| *name == device);
    let (_, hosts) = found.ok_or_else(|| fields.bad("device", "a device that is known"))?;
    if fields.text("dtype")? != "fp32" {
        return Err(fields.bad("dtype", "`fp32`"));
    }
    let (sequence, batch) = (fields.count("seq")?, fields.count("batch")?);
    let option = fields.text("option")?;
    let timed = match (fields.text("mode")?, model.as_str()) {
        ("train", _) => Timed::Passes,
        ("inf", "bert_large") => Timed::Blocks,
        ("inf", _) => Timed::Forward,
        _ => return Err(fields.bad("mode", "`inf` or `train`")),
    };
    let is_fused = option == "fusion";
    Ok(RunRow {
        line: fields.line(),
        name: format!("{model} {} {option} of {batch} on {}", fields.text("mode")?, hosts.device),
        card: models::card(config, &model, sequence)?,
        model,
        technique: device,
        hosts: hosts.clone(),
        stack: stack(is_fused),
        degrees: vec![degrees(fields, option, batch)?],
        recompute: Recompute::None,
        dtype: DType::F32,
        timed,
        time_s: fields.seconds("measured")?,
        peer_s: Some(fields.seconds("neusight")?),
        peaks: None,
    })
}

fn degrees(fields: &Fields, option: &str, batch: u64) -> Result<Parallelism, Diagnostic> {
    let whole = Parallelism { micro_batch: batch, ..Parallelism::default() };
    match option {
        "" | "fusion" => Ok(whole),
        "dp4" if batch.is_multiple_of(4) => {
            Ok(Parallelism { data: 4, micro_batch: batch / 4, ..whole })
        }
        "tp4" => Ok(Parallelism { tensor: 4, ..whole }),
        "pp4_1" => Ok(Parallelism { pipeline: 4, ..whole }),
        _ => Err(fields.bad("option", "blank, `fusion`, `dp4`, `tp4` or `pp4_1`")),
    }
}

/// The preset: models of Transformers as they are, or compiled.
fn stack(is_fused: bool) -> &'static str {
    if is_fused { "transformers-compiled" } else { "transformers-eager" }
}
