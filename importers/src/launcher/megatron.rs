//! Flags of Megatron-Core (`megatron/training/arguments.py`, commit d98e8a64).

mod classes;
mod partners;
mod shape;
mod software;

use ir::card::{Recompute, SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::launch::LaunchSettings;
use ir::plan::Mesh;
use ir::tensor::DType;
use ir::workload::Optimizer;

use super::ModelFacts;
use super::flags::{Flags, not_judged};
use super::layout;
use super::limits::{MOST_LAYERS, bad};

pub(super) fn read(text: &str, model: ModelFacts) -> Result<LaunchSettings, Diagnostic> {
    let flags = Flags::new(text);
    partners::check(&flags, model)?;
    let tensor = flags.degree(&["--tensor-model-parallel-size"])?;
    let pipeline = flags.degree(&["--pipeline-model-parallel-size"])?;
    let n_layers = flags.degree(&["--num-layers", "--encoder-num-layers"])?;
    let dtype = dtype(&flags)?;
    let micro_batch = flags.count("--micro-batch-size")?;
    let global_batch = flags.count("--global-batch-size")?;
    let mut settings = LaunchSettings {
        tensor,
        pipeline,
        context: flags.degree(&["--context-parallel-size"])?,
        expert: flags.degree(&["--expert-model-parallel-size"])?,
        expert_tensor: flags.degree(&["--expert-tensor-parallel-size"])?,
        micro_batch,
        global_batch,
        // Unless a step is stated, it is one micro-batch of each replica.
        n_micro_batches: micro_batch.filter(|_| global_batch.is_none()).map(|_| 1),
        sequence_length: flags.count("--seq-length")?.or(flags.count("--encoder-seq-length")?),
        n_predicting: flags.degree(&["--mtp-num-layers"])?,
        sequence: Some(if flags.has("--sequence-parallel") {
            SequenceParallel::On
        } else {
            SequenceParallel::Off
        }),
        zero: Some(zero(&flags)?),
        mesh: Some(if flags.has("--use-tp-pp-dp-mapping") {
            Mesh::TpCpPpDp
        } else {
            Mesh::TpCpDpPp
        }),
        recompute: Some(recompute(&flags)?),
        gradients: gradients(&flags, dtype),
        overlaps: Some(flags.has("--overlap-grad-reduce")),
        dtype,
        optimizer: optimizer(&flags)?,
        offloads: Some(offloads(&flags)?),
        sizes: shape::sizes(&flags)?,
        ..LaunchSettings::default()
    };
    stages(&flags, n_layers, model, &mut settings)?;
    partners::check_degrees(&flags, &settings)?;
    let is_looped = settings.virtual_stages.is_some_and(|chunks| chunks > 1);
    settings.schedule = Some(if is_looped { "interleaved" } else { "1f1b" }.to_owned());
    settings.stack = software::read(&flags, is_looped, model)?;
    shape::layers(&flags, n_layers.or(model.n_layers), &mut settings)?;
    if flags.degree(&["--num-distributed-optimizer-instances"])?.is_some_and(|n| n > 1) {
        let why = "replicas share out their states among all of them";
        return Err(not_judged("--num-distributed-optimizer-instances", why));
    }
    settings.no_effect = partners::idle(&flags, model)?;
    settings.not_judged = classes::judge(&flags, model)?;
    settings.not_planned = flags.not_planned();
    Ok(settings)
}

/// What products are computed in: without a flag in single precision.
fn dtype(flags: &Flags<'_>) -> Result<Option<DType>, Diagnostic> {
    let wide = match (flags.has("--bf16"), flags.has("--fp16")) {
        (true, true) => return Err(bad("--fp16", "", "give one of --bf16 and --fp16")),
        (true, false) => Some(DType::Bf16),
        (false, true) => Some(DType::F16),
        (false, false) => Some(DType::F32),
    };
    match flags.text("--fp8-format")? {
        None => Ok(wide),
        Some("e4m3" | "hybrid") => Ok(Some(DType::F8)),
        Some(other) => Err(bad("--fp8-format", other, "use e4m3 or hybrid")),
    }
}

/// What gradients of a 16-bit run are summed and exchanged in (`validate_args`): 32 bits unless a flag
/// says otherwise, in fp16 only where one says so.
fn gradients(flags: &Flags<'_>, dtype: Option<DType>) -> Option<DType> {
    let is_wide = flags.has("--accumulate-allreduce-grads-in-fp32");
    let is_half = flags.has("--grad-reduce-in-bf16");
    match dtype? {
        DType::F16 => Some(if is_wide { DType::F32 } else { DType::F16 }),
        DType::Bf16 | DType::F8 => Some(if is_half { DType::Bf16 } else { DType::F32 }),
        _ => None,
    }
}

fn optimizer(flags: &Flags<'_>) -> Result<Option<Optimizer>, Diagnostic> {
    match flags.text("--optimizer")? {
        None | Some("adam") => Ok(Some(Optimizer::AdamW)),
        Some("sgd")
            if flags
                .text("--sgd-momentum")?
                .is_some_and(|momentum| momentum.parse() == Ok(0.0)) =>
        {
            Ok(Some(Optimizer::Sgd))
        }
        Some("sgd") => {
            let why = "it has momentum, 0.9 unless told otherwise, and plans have none";
            Err(not_judged("--optimizer sgd", why).hint("add `--sgd-momentum 0`"))
        }
        Some(other) => Err(not_judged(&format!("--optimizer {other}"), "adam and sgd are")),
    }
}

/// Blocks of each stage: from the layout, else equal parts with the stated ends. Layers that nobody
/// states are the model's.
fn stages(
    flags: &Flags<'_>,
    stated: Option<u32>,
    model: ModelFacts,
    settings: &mut LaunchSettings,
) -> Result<(), Diagnostic> {
    let pipeline = settings.pipeline.unwrap_or(1);
    let by_count = flags.degree(&[BY_COUNT])?;
    let chunks = flags.degree(&["--num-virtual-stages-per-pipeline-rank"])?;
    let ends = Ends {
        first: flags.degree(&["--decoder-first-pipeline-num-layers"])?,
        last: flags.degree(&["--decoder-last-pipeline-num-layers"])?,
    };
    if let Some(n) = stated.filter(|n| u64::from(*n) > MOST_LAYERS) {
        let hint = format!("at most {MOST_LAYERS} layers are planned");
        return Err(bad("--num-layers", &n.to_string(), &hint));
    }
    if let Some(text) = flags.text("--pipeline-model-parallel-layout")? {
        let layout = layout::parse(text, pipeline)?;
        if let Some(n) = stated.filter(|n| u64::from(*n) != layout.n_layers()) {
            let hint = format!("the layout has {} layers", layout.n_layers());
            return Err(bad("--num-layers", &n.to_string(), &hint));
        }
        settings.virtual_stages = Some(layout.layers.len() as u32 / pipeline);
        let both = layout.layers.iter().zip(&layout.predicting);
        settings.blocks = Some(both.map(|(layers, later)| layers + later).collect());
        settings.n_predicting = Some(layout.n_predicting() as u32).filter(|n| *n > 0);
        return Ok(());
    }
    let later = settings.n_predicting.or(model.n_predicting.filter(|_| stated.is_none()));
    let Some(n_layers) = stated.or(model.n_layers) else {
        let of_chunks = by_count.map(|layers| (BY_COUNT, layers));
        if let Some((flag, value)) = ends.stated().or(of_chunks) {
            return Err(bad(flag, &value.to_string(), "state `--num-layers` beside it"));
        }
        settings.virtual_stages = chunks;
        return Ok(());
    };
    // Who does not state the layers chose the ends, or the ranks.
    let blamed = match (stated, ends.stated()) {
        (Some(n), _) => ("--num-layers", n),
        (None, Some(end)) => end,
        (None, None) => ("--pipeline-model-parallel-size", pipeline),
    };
    let chunks = chunks_of((by_count, chunks), &ends, (n_layers, pipeline))?;
    settings.virtual_stages = Some(chunks);
    pipeline
        .checked_mul(chunks)
        .filter(|n| *n <= n_layers)
        .ok_or_else(|| bad(blamed.0, &blamed.1.to_string(), "there are more stages than layers"))?;
    let mut blocks = even(&ends, n_layers, (pipeline, chunks), blamed)?;
    // Those that predict a later token are counted apart, and lie behind the last one.
    if let (Some(last), Some(later)) = (blocks.last_mut(), later) {
        *last = last.saturating_add(later);
    }
    settings.blocks = Some(blocks);
    Ok(())
}

const BY_COUNT: &str = "--num-layers-per-virtual-pipeline-stage";

/// Chunks of a rank: stated, or by the layers of each.
fn chunks_of(
    (by_count, chunks): (Option<u32>, Option<u32>),
    ends: &Ends,
    (n_layers, pipeline): (u32, u32),
) -> Result<u32, Diagnostic> {
    let Some(layers) = by_count else { return Ok(chunks.unwrap_or(1)) };
    if ends.first.or(ends.last).is_some() {
        let hint = "beside layers of the first or last stage Megatron takes \
                    `--num-virtual-stages-per-pipeline-rank`";
        return Err(bad(BY_COUNT, "", hint));
    }
    let per_rank = n_layers / pipeline;
    if !n_layers.is_multiple_of(pipeline) || !per_rank.is_multiple_of(layers) {
        return Err(bad(BY_COUNT, &layers.to_string(), "it must divide the layers of a rank"));
    }
    Ok(per_rank / layers)
}

/// Layers of the first and of the last rank, where they are stated.
struct Ends {
    first: Option<u32>,
    last: Option<u32>,
}

impl Ends {
    /// The first that is stated, with its flag.
    fn stated(&self) -> Option<(&'static str, u32)> {
        let first = self.first.map(|n| ("--decoder-first-pipeline-num-layers", n));
        first.or(self.last.map(|n| ("--decoder-last-pipeline-num-layers", n)))
    }
}

/// Equal parts between the stated first and last rank, each in equal chunks
/// (`get_num_layers_to_build`); by stage in model order.
fn even(
    ends: &Ends,
    n_layers: u32,
    (pipeline, chunks): (u32, u32),
    (flag, value): (&str, u32),
) -> Result<Vec<u32>, Diagnostic> {
    let Ends { first, last } = *ends;
    let ends = first.unwrap_or(0).saturating_add(last.unwrap_or(0));
    let n_ends = u32::from(first.is_some()) + u32::from(last.is_some());
    let (inner, n_inner) = (n_layers.checked_sub(ends), pipeline.saturating_sub(n_ends));
    let each = match (inner, n_inner) {
        (Some(0), 0) => Some(0),
        (Some(inner), n_inner) if n_inner > 0 => {
            inner.is_multiple_of(n_inner).then(|| inner / n_inner)
        }
        _ => None,
    };
    let mut ranks = vec![each.unwrap_or(0); pipeline as usize];
    if let (Some(first), Some(rank)) = (first, ranks.first_mut()) {
        *rank = first;
    }
    if let (Some(last), Some(rank)) = (last, ranks.last_mut()) {
        *rank = last;
    }
    if each.is_none() || ranks.iter().any(|n| !n.is_multiple_of(chunks)) {
        let hint =
            format!("{pipeline} ranks in {chunks} chunks can't share out {n_layers} layers evenly");
        return Err(bad(flag, &value.to_string(), &hint));
    }
    let chunk: Vec<u32> = ranks.iter().map(|n| n / chunks).collect();
    Ok(chunk.repeat(chunks as usize))
}

/// Whether hosts keep the states of the optimizer: all of them, or none.
fn offloads(flags: &Flags<'_>) -> Result<bool, Diagnostic> {
    let (offload, aware) = ("--optimizer-cpu-offload", "--use-precision-aware-optimizer");
    let fraction = flags.text("--optimizer-offload-fraction")?.unwrap_or("1");
    match (flags.has(offload), flags.has(aware)) {
        (false, false) => Ok(false),
        (false, true) => Err(not_judged(aware, "states are kept in the usual formats")),
        (true, false) => {
            let why = "it needs `--use-precision-aware-optimizer` beside it";
            Err(not_judged(offload, why))
        }
        (true, true) if fraction.parse() == Ok(1.0) => Ok(true),
        (true, true) => {
            Err(not_judged("--optimizer-offload-fraction", "hosts keep all states or none"))
        }
    }
}

/// What replicas share out. The sharding strategy is read by Megatron-FSDP alone.
fn zero(flags: &Flags<'_>) -> Result<ZeroStage, Diagnostic> {
    let name = "--data-parallel-sharding-strategy";
    let strategy = match flags.text(name)? {
        None => None,
        Some("no_shard") => Some(ZeroStage::None),
        Some("optim") => Some(ZeroStage::Optimizer),
        Some("optim_grads") => Some(ZeroStage::Gradients),
        Some("optim_grads_params") => Some(ZeroStage::Parameters),
        Some(other) => {
            let hint = "use no_shard, optim, optim_grads or optim_grads_params";
            return Err(bad(name, other, hint));
        }
    };
    let is_distributed = flags.has("--use-distributed-optimizer");
    let keeps = flags.has("--torch-fsdp2-no-reshard-after-forward");
    // The second is its older name.
    let is_megatron = flags.has("--use-megatron-fsdp") | flags.has("--use-custom-fsdp");
    if flags.has("--use-torch-fsdp2") {
        return Ok(if keeps { ZeroStage::Gradients } else { ZeroStage::Parameters });
    }
    match (is_megatron, strategy) {
        (true, strategy) => Ok(strategy.unwrap_or(ZeroStage::Parameters)),
        (false, Some(_)) => {
            let why = "it has no effect without `--use-megatron-fsdp`";
            Err(not_judged(name, why).hint("add `--use-megatron-fsdp`, or leave the strategy out"))
        }
        (false, None) if is_distributed => Ok(ZeroStage::Optimizer),
        (false, None) => Ok(ZeroStage::None),
    }
}

fn recompute(flags: &Flags<'_>) -> Result<Recompute, Diagnostic> {
    let granularity = flags.text("--recompute-granularity")?;
    let blocks = flags.degree(&["--recompute-num-layers"])?.unwrap_or(1);
    let method = flags.text("--recompute-method")?;
    let modules = flags.words("--recompute-modules");
    // A short form of the selective one.
    let granularity =
        if flags.has("--recompute-activations") { Some("selective") } else { granularity };
    match granularity {
        None => Ok(Recompute::None),
        Some("selective") if modules.iter().any(|module| *module != "core_attn") => {
            let why = "the attention core alone is computed again where it is selective";
            Err(not_judged("--recompute-modules", why))
        }
        Some("selective") => Ok(Recompute::Selective),
        Some("full") => match method {
            Some("uniform") if blocks == 1 => Ok(Recompute::Full),
            Some("uniform") => Ok(Recompute::Uniform { blocks }),
            Some("block") => Ok(Recompute::Block { blocks }),
            other => {
                let hint = "use uniform or block";
                Err(bad("--recompute-method", other.unwrap_or(""), hint))
            }
        },
        Some(other) => Err(bad("--recompute-granularity", other, "use full or selective")),
    }
}
