//! Reader of the performance summary of Megatron-Bridge.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cost_model::runs::forms::run::Timed;
use importers::measurements::Fields;
use ir::card::{Recompute, SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;
use ir::tensor::DType;

use super::{B200, B300, GB200, GB300, H100, degree, micro_batches, models, replicas, small};
use crate::readers::Left;
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

/// Reads the columns `release`, `section`, `system`, `model`, `gpus`, `precision`, `gbs`, `mbs`, `seq`,
/// `fsdp`, `tp`, `pp`, `cp`, `vp`, `ep` and `tokens_per_s_per_gpu`: rows of pre-training, one for each
/// configuration in each release. `FP8-CS` is `FP8`, `FP8-MX` is `MXFP8`; blank cells, `n/a` and 1 are
/// the same.
fn read_all(path: &Path, part: Part, left: &mut Left) -> Vec<(Key, RunRow)> {
    let mut seen: BTreeSet<(Key, String)> = BTreeSet::new();
    left.rows(path, |fields| {
        if !fields.text("section")?.starts_with("Pre-Training") {
            return Ok(None);
        }
        let (model, config) = model(fields)?;
        if (part == Part::Dense) != model.starts_with("LLAMA") {
            return Ok(None);
        }
        let stated = Stated::of(fields, &model)?;
        let key = stated.key(fields, &model)?;
        if !seen.insert((key.clone(), fields.text("release")?.to_owned())) {
            return Ok(None);
        }
        row(fields, &model, config, &stated).map(|row| Some((key, row)))
    })
}

/// The row of the newest release of each configuration: the first one, as the tables begin with it.
pub fn newest(paths: &[PathBuf], part: Part, left: &mut Left) -> Vec<RunRow> {
    let mut rows = Vec::new();
    for path in paths {
        let mut seen = BTreeSet::new();
        let all = read_all(path, part, left).into_iter();
        rows.extend(all.filter_map(|(key, row)| seen.insert(key).then_some(row)));
    }
    rows
}

/// Most times that one release may be as fast as another in one configuration.
const AGREED: f64 = 1.2;

/// Rows of configurations in which releases agree, and the others, which nothing that the tables state
/// could tell apart.
pub fn agreed(paths: &[PathBuf], part: Part, left: &mut Left) -> [Vec<RunRow>; 2] {
    let mut all = Vec::new();
    for path in paths {
        all.extend(read_all(path, part, left));
    }
    let mut spread: BTreeMap<Key, [f64; 2]> = BTreeMap::new();
    for (key, row) in &all {
        let [least, most] = spread.entry(key.clone()).or_insert([row.time_s; 2]);
        (*least, *most) = (least.min(row.time_s), most.max(row.time_s));
    }
    let agrees = |key: &Key| spread.get(key).is_none_or(|[least, most]| *most <= AGREED * *least);
    let (agreed, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(key, _)| agrees(key));
    [agreed, others].map(|rows| rows.into_iter().map(|(_, row)| row).collect())
}

/// Models by the names of the table, and their configs; what stands in brackets is told apart.
const MODELS: [(&str, &str); 9] = [
    ("LLAMA3_8B", models::LLAMA_8B),
    ("LLAMA3_70B", models::LLAMA_70B),
    ("GPT OSS 120B", models::GPT_OSS_120B),
    ("Qwen3_30B_a3B", models::QWEN3_30B),
    ("Qwen3_235B_a22B", models::QWEN3_235B),
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

/// What the recipes of a release set where its table says otherwise: release, system, model, precision
/// (any where blank), samples of a micro-batch, pipeline ranks, chunks, expert degree. Of 25.11
/// (Megatron-Bridge v0.2.0) the rates of these rows agree with the recipes and with the rows of other
/// releases, not with the table. Of 26.02.01 (v0.3.1) the table has no chunks, and under NVFP4 no pipeline;
/// recipe and rates are those of 26.02 and 26.04.
const RECIPES: [(&str, &str, &str, &str, [u64; 4]); 5] = [
    ("25.11", "DGX-H100", "Qwen3_30B_a3B", "", [1, 2, 12, 8]),
    ("25.11", "DGX-H100", "GPT OSS 120B", "", [1, 4, 1, 8]),
    ("25.11", "DGX-B200", "GPT OSS 120B", "", [4, 1, 1, 64]),
    ("26.02.01", "DGX-GB300", "LLAMA3_70B", "MXFP8", [1, 4, 5, 1]),
    ("26.02.01", "DGX-GB300", "LLAMA3_70B", "NVFP4", [1, 4, 5, 1]),
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
        let release = fields.text("release")?.split(' ').next().unwrap_or_default();
        let is_of = |(r, s, m, p, _): &&(&str, &str, &str, &str, [u64; 4])| {
            (*r, *s, *m) == (release, system, model) && (p.is_empty() || p == precision)
        };
        if let Some((.., [micro, pipeline, chunks, expert])) = RECIPES.iter().find(is_of) {
            let [p, v, e] = [pipeline, chunks, expert].map(|n| u32::try_from(*n).unwrap_or(1));
            (stated.micro, stated.pipeline, stated.chunks, stated.expert) = (*micro, p, v, e);
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
            // Bridge leaves experts whole where they are shared out (`models/transformer_config.py`).
            expert_tensor: (self.tensor > 1 && self.expert > 1).then_some(1),
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
        "DGX-B300" => B300,
        "DGX-GB300" => GB300,
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
        peaks: None,
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

/// The preset of a recipe by the columns of a row, as the tags of Megatron-Bridge v0.1.0rc4 to v0.5.1 state
/// it (the table of `docs/forms.md`): how tokens reach experts, what runs beside exchanges, what is
/// recorded, how operands are scaled. NVFP4 is scaled by blocks too.
fn stack(fields: &Fields, model: &str, stated: &Stated) -> Result<&'static str, Diagnostic> {
    let release = fields.text("release")?.split(' ').next().unwrap_or_default();
    let system = fields.text("system")?;
    let is_h100 = system == "DGX-H100";
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
        "Qwen3_235B_a22B" => match (system, drops) {
            ("DGX-GB200", true) if by_blocks => "megatron-bridge-drop-graphs-mxfp8",
            ("DGX-GB200", true) => "megatron-bridge-drop-graphs",
            (_, true) if by_blocks => "megatron-bridge-drop-mxfp8",
            (_, true) => "megatron-bridge-drop",
            ("DGX-GB200" | "DGX-GB300", _) if release >= "26.06" => {
                "megatron-bridge-flex-overlap-graphs"
            }
            ("DGX-GB200" | "DGX-GB300", _) => "megatron-bridge-flex-graphs",
            _ if stated.chunks > 1 => "megatron-bridge-alltoall-overlap-mxfp8",
            _ => plain,
        },
        "GPT OSS 120B" => match system {
            "DGX-H100" => plain,
            "DGX-GB200" | "DGX-GB300" if by_blocks => "megatron-bridge-flex-overlap-graphs",
            "DGX-GB300" => "megatron-bridge-alltoall-graphs",
            "DGX-GB200" if release >= "26.04" => "megatron-bridge-flex-overlap",
            "DGX-GB200" => plain,
            "DGX-B300" if is_new => "megatron-bridge-flex-graphs",
            "DGX-B300" => "megatron-bridge-alltoall-graphs",
            _ if is_new => "megatron-bridge-flex",
            _ => plain,
        },
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
