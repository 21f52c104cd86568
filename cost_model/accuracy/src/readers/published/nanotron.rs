//! Reader of the Ultra-Scale Playbook's runs of nanotron.

use std::collections::BTreeMap;
use std::path::Path;

use cost_model::runs::forms::run::Timed;
use importers::measurements::Fields;
use ir::card::{Recompute, SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;
use ir::tensor::DType;

use super::{H100, models, small};
use crate::readers::Left;
use crate::readers::run::{Hosts, RunRow};

/// The sizes of the table as Llama: 32 heads, none grouped, as their `mfu` implies
/// (6 N + 12 l h s operations a token).
const MODELS: [(&str, &str); 2] = [
    (
        "1B",
        r#"{"model_type":"llama","hidden_size":2048,"num_hidden_layers":16,
        "num_attention_heads":32,"num_key_value_heads":32,"intermediate_size":8192,
        "vocab_size":131072,"max_position_embeddings":4096,"tie_word_embeddings":true}"#,
    ),
    (
        "8B",
        r#"{"model_type":"llama","hidden_size":4096,"num_hidden_layers":32,
        "num_attention_heads":32,"num_key_value_heads":32,"intermediate_size":14336,
        "vocab_size":131072,"max_position_embeddings":4096,"tie_word_embeddings":false}"#,
    ),
];
/// DGX H100's figures, and what the source measured of its network: all-reduces of 256 MB over all devices
/// of 2 to 64 hosts, 362, 160, 100, 85, 65 and 33 GB/s, through eight cards a host.
const HOSTS: Hosts = Hosts {
    by_hosts: &[
        (2, 362_000_000_000 / 8),
        (4, 160_000_000_000 / 8),
        (8, 100_000_000_000 / 8),
        (16, 85_000_000_000 / 8),
        (32, 65_000_000_000 / 8),
        (64, 33_000_000_000 / 8),
    ],
    ..H100
};
/// Devices of a host.
const PER_HOST: u32 = 8;
/// Most tensor ranks that are read: those of a host.
const MOST_TENSOR: u32 = 8;

/// Reads the columns `model`, `nodes`, `mbs`, `ga`, `gbs`, `dp`, `pp`, `tp`, `zero`, `tok_s_gpu`, `status`
/// and `seq`: rows that ran, without a pipeline, with tensor ranks inside a host. Rows whose samples don't
/// add up and configurations that occur twice are left out.
pub fn read(path: &Path, left: &mut Left) -> Vec<RunRow> {
    let rows = left.rows(path, row);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for row in &rows {
        *seen.entry(row.name.clone()).or_default() += 1;
    }
    rows.into_iter().filter(|row| seen.get(&row.name) == Some(&1)).collect()
}

fn row(fields: &Fields) -> Result<Option<RunRow>, Diagnostic> {
    let [pipeline, tensor] = [small(fields, "pp")?, small(fields, "tp")?];
    if fields.text("status")? != "ok" || pipeline != 1 || tensor > MOST_TENSOR {
        return Ok(None);
    }
    let (micro_batch, count) = (fields.count("mbs")?, fields.count("ga")?);
    let (data, global) = (small(fields, "dp")?, fields.count("gbs")?);
    let (nodes, sequence) = (small(fields, "nodes")?, fields.count("seq")?);
    let samples = micro_batch.saturating_mul(count).saturating_mul(u64::from(data));
    if samples != global
        || u64::from(data) * u64::from(tensor) != u64::from(nodes) * u64::from(PER_HOST)
    {
        return Ok(None);
    }
    let name = fields.name("model")?;
    let known = MODELS.iter().find(|(model, _)| *model == name);
    let (_, config) = known.ok_or_else(|| fields.bad("model", "`1B` or `8B`"))?;
    let zero = fields.count_or_zero("zero")?;
    let rate = fields.positive("tok_s_gpu")?;
    Ok(Some(RunRow {
        line: fields.line(),
        name: format!(
            "{name} on {nodes} hosts, t {tensor} d {data} z {zero}, {micro_batch} x {count}"
        ),
        technique: format!("{nodes} hosts"),
        card: models::card(config, &name, sequence)?,
        model: name,
        hosts: HOSTS,
        stack: "nanotron",
        degrees: vec![Parallelism {
            data,
            tensor,
            micro_batch,
            n_micro_batches: count,
            sequence: if tensor > 1 { SequenceParallel::On } else { SequenceParallel::Off },
            zero: if zero > 0 { ZeroStage::Optimizer } else { ZeroStage::None },
            ..Parallelism::default()
        }],
        recompute: Recompute::None,
        dtype: DType::Bf16,
        timed: Timed::Step,
        time_s: global as f64 * sequence as f64 / (rate * f64::from(nodes) * f64::from(PER_HOST)),
        peer_s: None,
        peaks: None,
    }))
}
