//! Reader of the performance summary of Megatron-Bridge.

use std::collections::BTreeSet;
use std::path::Path;

use cost_model::runs::forms::run::Timed;
use importers::measurements::{Fields, read_table};
use ir::card::{Recompute, SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;
use ir::tensor::DType;

use super::{B200, GB200, H100, degree, micro_batches, models, replicas, small};
use crate::readers::run::{Hosts, RunRow};

/// Which rows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Llama 3.
    Dense,
    /// Mixtures of experts.
    Experts,
}

/// What tells configurations apart.
type Key = (String, String, String, [u64; 10]);

/// Reads the columns `release`, `system`, `model`, `gpus`, `precision`, `gbs`, `mbs`, `seq`,
/// `fsdp`, `tp`, `pp`, `cp`, `vp`, `ep` and `tokens_per_s_per_gpu`: the first row of each
/// configuration, which is that of the newest release, as the table begins with it. `FP8-CS` is
/// `FP8`, `FP8-MX` is `MXFP8`; blank cells, `n/a` and 1 are the same.
///
/// # Errors
/// Those of the table, see [`read_table`]; `bad-cell` for models, systems and precisions that are
/// not known, and degrees that don't divide devices or batch.
pub fn read(path: &Path, part: Part) -> Result<Vec<RunRow>, Diagnostic> {
    let mut seen: BTreeSet<Key> = BTreeSet::new();
    read_table(path, |fields| {
        let (model, config) = model(fields)?;
        if (part == Part::Dense) != model.starts_with("LLAMA") {
            return Ok(None);
        }
        let stated = Stated::of(fields, &model)?;
        if !seen.insert(stated.key(fields, &model)?) {
            return Ok(None);
        }
        row(fields, &model, config, &stated).map(Some)
    })
}

/// Models by the names of the table, and their configs; what stands in brackets is told apart.
const MODELS: [(&str, &str); 8] = [
    ("LLAMA3_8B", models::LLAMA_8B),
    ("LLAMA3_70B", models::LLAMA_70B),
    ("GPT OSS 120B", models::GPT_OSS_120B),
    ("Qwen3_30B_a3B", models::QWEN3_30B),
    ("DeepSeekV3 (w/ MTP)", models::DEEPSEEK_V3_MTP),
    ("DeepSeekV3", models::DEEPSEEK_V3),
    ("DeepSeekV3 (tokendrop)", models::DEEPSEEK_V3),
    ("DeepSeekV3 (dropless)", models::DEEPSEEK_V3),
];

fn model(fields: &Fields) -> Result<(String, &'static str), Diagnostic> {
    let name = fields.name("model")?;
    let plain = name.split(" (").next().unwrap_or_default();
    let of = |wanted: &str| MODELS.iter().find(|(known, _)| *known == wanted);
    match of(&name).or_else(|| of(plain)) {
        Some((_, config)) => Ok((name, config)),
        None => Err(fields.bad("model", "a model whose config is known")),
    }
}

/// Degrees and batch sizes.
struct Stated {
    gpus: u64,
    global: u64,
    micro: u64,
    sequence: u64,
    /// Ranks that share parameters, 0 = none.
    sharing: u64,
    tensor: u32,
    pipeline: u32,
    context: u32,
    chunks: u32,
    expert: u32,
    precision: &'static str,
}

/// Precisions by the names of the table.
const PRECISIONS: [(&str, &str); 6] = [
    ("BF16", "BF16"),
    ("FP8", "FP8"),
    ("FP8-CS", "FP8"),
    ("MXFP8", "MXFP8"),
    ("FP8-MX", "MXFP8"),
    ("NVFP4", "NVFP4"),
];

/// What the recipes of release 25.11 (Megatron-Bridge v0.2.0) set where its table says otherwise:
/// system, model, samples of a micro-batch, chunks, expert degree. The rates of these rows agree
/// with the recipes and with the rows of other releases, not with the table.
const RECIPES_OF_25_11: [(&str, &str, u64, u32, u32); 3] = [
    ("DGX-H100", "Qwen3_30B_a3B", 1, 12, 8),
    ("DGX-H100", "GPT OSS 120B", 1, 1, 8),
    ("DGX-B200", "GPT OSS 120B", 4, 1, 64),
];

impl Stated {
    fn of(fields: &Fields, model: &str) -> Result<Self, Diagnostic> {
        let precision = fields.text("precision")?;
        let precision = PRECISIONS.iter().find(|(name, _)| *name == precision);
        let (_, precision) =
            precision.ok_or_else(|| fields.bad("precision", "a precision that is known"))?;
        let sharing =
            if fields.text("fsdp")?.is_empty() { 0 } else { fields.count_or_zero("fsdp")? };
        let mut stated = Self {
            gpus: fields.count("gpus")?,
            global: fields.count("gbs")?,
            micro: fields.count("mbs")?,
            sequence: fields.count("seq")?,
            sharing,
            tensor: small(fields, "tp")?,
            pipeline: small(fields, "pp")?,
            context: small(fields, "cp")?,
            chunks: degree(fields, "vp")?,
            expert: degree(fields, "ep")?,
            precision,
        };
        let system = fields.text("system")?;
        if fields.text("release")?.starts_with("25.11")
            && let Some((_, _, micro, chunks, expert)) =
                RECIPES_OF_25_11.iter().find(|(s, m, ..)| (*s, *m) == (system, model))
        {
            (stated.micro, stated.chunks, stated.expert) = (*micro, *chunks, *expert);
        }
        Ok(stated)
    }

    fn key(&self, fields: &Fields, model: &str) -> Result<Key, Diagnostic> {
        let degrees = [self.tensor, self.pipeline, self.context, self.chunks, self.expert];
        let [t, p, c, v, e] = degrees.map(u64::from);
        let counts =
            [self.gpus, self.global, self.micro, self.sequence, self.sharing, t, p, c, v, e];
        Ok((fields.name("system")?, model.to_owned(), self.precision.to_owned(), counts))
    }

    fn parallelism(&self, fields: &Fields) -> Result<Parallelism, Diagnostic> {
        let data = replicas(fields, self.gpus, &[self.tensor, self.pipeline, self.context])?;
        if self.sharing > 0 && self.sharing != u64::from(data) {
            return Err(fields.bad("fsdp", "0 or the count of replicas"));
        }
        Ok(Parallelism {
            data,
            tensor: self.tensor,
            pipeline: self.pipeline,
            expert: self.expert,
            context: self.context,
            n_micro_batches: micro_batches(fields, "gbs", (self.global, self.micro, data))?,
            micro_batch: self.micro,
            virtual_stages: self.chunks,
            sequence: match self.tensor {
                1 => SequenceParallel::Off,
                _ => SequenceParallel::On,
            },
            // The recipes use the distributed optimizer.
            zero: if self.sharing > 0 { ZeroStage::Parameters } else { ZeroStage::Optimizer },
            ..Parallelism::default()
        })
    }
}

fn row(
    fields: &Fields,
    model: &str,
    config: &'static str,
    stated: &Stated,
) -> Result<RunRow, Diagnostic> {
    let system = fields.text("system")?;
    let hosts = match system {
        "DGX-H100" => H100,
        "DGX-B200" => B200,
        "DGX-GB200" => GB200,
        _ => return Err(fields.bad("system", "a system that is known")),
    };
    let plain = model.split(" (").next().unwrap_or_default();
    let rate = fields.positive("tokens_per_s_per_gpu")?;
    let parallelism = stated.parallelism(fields)?;
    let Parallelism { tensor, pipeline, virtual_stages, expert, micro_batch, .. } = parallelism;
    Ok(RunRow {
        line: fields.line(),
        name: format!(
            "{model} {} on {} {}, t {tensor} p {pipeline} x {virtual_stages} e {expert}, \
             {micro_batch} of {}, {}",
            stated.precision,
            stated.gpus,
            hosts.device,
            stated.global,
            fields.text("release")?.split(' ').next().unwrap_or_default()
        ),
        model: plain.to_owned(),
        technique: stated.precision.to_owned(),
        card: models::card(config, plain, stated.sequence)?,
        recompute: recompute(&hosts, plain),
        hosts,
        stack: stack(fields, model, stated)?,
        degrees: vec![parallelism],
        dtype: match stated.precision {
            "BF16" => DType::Bf16,
            "NVFP4" => DType::F4,
            _ => DType::F8,
        },
        timed: Timed::Step,
        time_s: stated.global as f64 * stated.sequence as f64 / (rate * stated.gpus as f64),
        peer_s: None,
    })
}

/// What a recipe computes again: five blocks of Llama 3 8B on an H100; the other recipes keep all
/// of a block but cheap pointwise functions.
fn recompute(hosts: &Hosts, model: &str) -> Recompute {
    match (hosts.device, model) {
        ("h100_sxm5_80gb", "LLAMA3_8B") => Recompute::Block { blocks: 5 },
        _ => Recompute::None,
    }
}

/// The preset of a recipe, as the tags of Megatron-Bridge v0.1.0rc4 to v0.4.1 state it: how tokens
/// reach experts, what runs beside exchanges, what is recorded, how operands are scaled. NVFP4 is
/// scaled by blocks too.
fn stack(fields: &Fields, model: &str, stated: &Stated) -> Result<&'static str, Diagnostic> {
    let release = fields.text("release")?.split(' ').next().unwrap_or_default();
    let is_h100 = fields.text("system")? == "DGX-H100";
    let by_blocks = ["MXFP8", "NVFP4"].contains(&stated.precision);
    let (is_new, drops) = (release >= "26.02.01", model.contains("tokendrop"));
    let plain = if by_blocks { "megatron-bridge-mxfp8" } else { "megatron-bridge" };
    let name = match model.split(" (").next().unwrap_or_default() {
        "Qwen3_30B_a3B" => match (is_h100, drops, is_new, stated.pipeline > 1) {
            (true, true, ..) => "megatron-bridge-drop-overlap",
            (true, _, true, true) => "megatron-bridge-flex-overlap",
            (true, _, true, false) => "megatron-bridge-flex-fp8",
            (true, _, false, true) => "megatron-bridge-alltoall-overlap",
            (false, true, ..) => "megatron-bridge-drop-graphs",
            (false, _, true, _) => "megatron-bridge-flex-graphs",
            _ => plain,
        },
        "GPT OSS 120B" if !is_h100 && is_new => "megatron-bridge-flex",
        "DeepSeekV3" if is_h100 && by_blocks => "megatron-bridge-flex-overlap-mxfp8",
        "DeepSeekV3" if is_h100 => "megatron-bridge-flex-overlap",
        "DeepSeekV3" if stated.chunks > 1 => "megatron-bridge-flex-overlap-graphs",
        "DeepSeekV3" if release >= "26.02" => "megatron-bridge-flex",
        "DeepSeekV3" if drops && by_blocks => "megatron-bridge-drop-mxfp8",
        "DeepSeekV3" if drops => "megatron-bridge-drop",
        _ => plain,
    };
    Ok(name)
}
