//! Overrides of torchtitan (`torchtitan/config/configs.py`): of 0.3 and before, which counts samples,
//! and of main since 73aed7f6c (August 2026), which counts tokens.

pub(super) mod document;

use std::collections::BTreeMap;

use ir::card::{Recompute, SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::launch::{LaunchSettings, StackSettings};
use ir::plan::Mesh;
use ir::stack::Scaling;
use ir::tensor::DType;
use ir::workload::Optimizer;

use super::flags::{Flags, not_judged, spelled};
use super::limits::{MOST_LAYERS, MOST_SAMPLES, bad};

/// Members of `ParallelismConfig`, and those of `TrainingConfig` and of the optimizer that look like ones that
/// are read, that change no plan.
const OTHERS: &[&str] = &[
    "--parallelism.enable_fsdp_symm_mem",
    "--parallelism.spmd_backend",
    "--parallelism.context_parallel_load_balancer",
    "--parallelism.context_parallel_ptrr_mask_key",
    "--parallelism.context_parallel_rotate_method",
    "--parallelism.enable_compiled_autograd",
    "--parallelism.expert_parallel_comm_backend",
    "--optimizer.beta1",
    "--optimizer.beta2",
    "--optimizer.eps",
    "--optimizer.implementation",
    "--optimizer.lr",
    "--optimizer.weight_decay",
    "--training.dataset",
    "--training.dataset_path",
    "--training.deterministic",
    "--training.disable_cuda_graphs",
    "--training.gc_debug",
    "--training.gc_freq",
    "--training.max_norm",
    "--training.seed",
    "--training.steps",
];

/// The flag that lists what changes the model before it is sharded out.
const CONVERTERS: &str = "--model.converters";
/// The flag of a recipe of float8, up to 0.1 and since (`docs/float8.md`).
const RECIPES: [&str; 2] = ["--float8.recipe_name", "--quantize.linear.float8.recipe_name"];

/// The member that lists modules by stage.
const PARTS: &str = "module_fqns_per_model_part";

/// Modules beside the layers; the head's older name stands last.
const ENDS: [&str; 4] = ["tok_embeddings", "norm", "lm_head", "output"];

/// torch's schedules under our names, where they are the same cell by cell.
const SCHEDULES: &[(&str, &str)] = &[
    ("1F1B", "1f1b"),
    ("GPipe", "gpipe"),
    ("Interleaved1F1B", "interleaved"),
    ("ZBVZeroBubble", "zb-v"),
    ("DualPipeV", "dualpipe-v"),
];

/// Torch's schedules of one stage a rank; all others take two where nobody lists modules.
const SINGLE: [&str; 3] = ["1F1B", "GPipe", "PipelineScheduleSingle"];

/// Torch's schedules whose stages go down the ranks and up again.
const FOLDED: [&str; 2] = ["ZBVZeroBubble", "DualPipeV"];

pub(super) fn read(text: &str) -> Result<LaunchSettings, Diagnostic> {
    // Its parser takes names with hyphens too.
    let text = spelled(text, '-', "_");
    let flags = Flags::new(&text);
    let degree = |name: &str| flags.degree(&[own(name).as_str()]);
    let pipeline = degree("pipeline_parallel_degree")?;
    let replicate = degree("data_parallel_replicate_degree")?.unwrap_or(1);
    // -1 is what is left.
    let shard = match flags.text(&own("data_parallel_shard_degree"))? {
        None | Some("-1") => None,
        Some(_) => degree("data_parallel_shard_degree")?,
    };
    if replicate > 1 && shard != Some(1) {
        let why = "replicas of shards are in no plan";
        return Err(not_judged(&own("data_parallel_replicate_degree"), why)
            .hint("state `--parallelism.data_parallel_shard_degree 1` where replicas are whole"));
    }
    let data = shard.and_then(|shard| shard.checked_mul(replicate));
    let n_ranks = pipeline.unwrap_or(1);
    let batch = batch(&flags)?;
    let (micro_batch, n_micro_batches) = micro_batches(&flags, &batch, data, n_ranks > 1)?;
    let cut = cut(&flags, n_ranks)?;
    let (context, scaling) = (degree("context_parallel_degree")?, converted(&flags)?);
    let mut settings = LaunchSettings {
        data,
        tensor: degree("tensor_parallel_degree")?,
        pipeline,
        context,
        expert: degree("expert_parallel_degree")?,
        n_micro_batches,
        virtual_stages: Some(cut.virtual_stages),
        micro_batch,
        global_batch: batch.global,
        sequence_length: batch.sequence_length,
        sequence: Some(sequence(&flags)?),
        zero: Some(zero(&flags, shard, context, n_ranks > 1)?),
        mesh: Some(Mesh::TpCpDpPp),
        recompute: recompute(&flags)?,
        dtype: dtype(&flags, scaling)?,
        stack: StackSettings {
            scaling,
            // Blocks are compiled where a flag says so.
            compiled: Some(compiled(&flags)?.unwrap_or(false)),
            overlaps_tensor: asynchronous(&flags)?.map(|(_, is_used)| is_used),
            ..StackSettings::default()
        },
        optimizer: optimizer(&flags)?,
        offloads: Some(flags.has("--training.enable_cpu_offload")),
        offloads_parameters: flags.has("--training.enable_cpu_offload"),
        schedule: schedule(&flags)?,
        schedule_file: schedule_file(&flags)?.filter(|_| n_ranks > 1).map(str::to_owned),
        blocks: cut.blocks,
        ends: cut.ends,
        no_effect: idle(&flags, (shard, context), n_ranks)?,
        ..LaunchSettings::default()
    };
    check(&flags, &settings)?;
    settings.not_planned = flags.not_planned();
    Ok(settings)
}

/// Refuses what is not judged or not known.
fn check(flags: &Flags<'_>, settings: &LaunchSettings) -> Result<(), Diagnostic> {
    flags.refuse(&[
        (
            "--parallelism.pipeline_parallel_layers_per_stage",
            "stages are those of the schedule or of a list of modules",
        ),
        ("--optimizer.early_step_in_backward", "plans keep gradients until the step's end"),
        ("--parallelism.disable_loss_parallel", "tensor ranks share out logits in a plan"),
    ])?;
    elsewhere(flags)?;
    whole_experts(flags)?;
    if settings.offloads_parameters && settings.zero != Some(ZeroStage::Parameters) {
        let why = "parameters that stay whole between the passes stay on the devices";
        return Err(not_judged("--training.enable_cpu_offload", why));
    }
    flags.finish("--parallelism.", OTHERS)?;
    flags.finish("--compile.", OTHERS)?;
    for (flag, value) in flags.unread() {
        let path = flag.trim_start_matches('-');
        if flag.starts_with("--") && path.contains('.') {
            document::check(path, value)?;
        }
    }
    Ok(())
}

/// Refuses settings that are in another file.
fn elsewhere(flags: &Flags<'_>) -> Result<(), Diagnostic> {
    for flag in ["--job.config_file", "--config", "--module"] {
        let Some(value) = flags.text(flag)? else { continue };
        let shown: String = value.chars().take(80).collect();
        let message = format!("`{flag} {shown}` takes settings that are not in this file");
        let hint = match shown.ends_with(".toml") {
            true => "give that file, with the flags of this one as its members",
            false => "write its settings as flags, such as --training.local_batch_size, without it",
        };
        return Err(Diagnostic::input("not-judged", message)
            .fact("setting", flag.to_owned())
            .hint(hint));
    }
    Ok(())
}

/// Whether blocks are compiled; `None` where no flag says it.
fn compiled(flags: &Flags<'_>) -> Result<Option<bool>, Diagnostic> {
    let is_off = flags.has("--compile.no_enable");
    let parts: Vec<&str> =
        flags.words("--compile.components").into_iter().flat_map(|part| part.split(',')).collect();
    let has_model = parts.is_empty() || parts.contains(&"model");
    if let Some(backend) = flags.text("--compile.backend")?.filter(|name| *name != "inductor") {
        let why = "blocks are compiled by the stack's compiler";
        return Err(not_judged(&format!("--compile.backend {backend}"), why));
    }
    let stated = is_off.then_some(false).or(flags.has("--compile.enable").then_some(true));
    Ok(stated.map(|is_on| is_on && has_model))
}

/// The flag of asynchronous tensor parallelism, and whether it does anything: it needs compiled blocks.
fn asynchronous(flags: &Flags<'_>) -> Result<Option<(&'static str, bool)>, Diagnostic> {
    const NAMES: [&str; 2] =
        ["--parallelism.enable_async_tensor_parallel", "--compile.enable_async_tensor_parallel"];
    let is_compiled = compiled(flags)? == Some(true);
    let stated = NAMES.map(|name| (name, flags.has(name)));
    Ok(stated.into_iter().find(|(_, is_on)| *is_on).map(|(name, _)| (name, is_compiled)))
}

/// Refuses experts that tensor ranks split: they are shared out whole.
fn whole_experts(flags: &Flags<'_>) -> Result<(), Diagnostic> {
    let name = own("expert_tensor_parallel_degree");
    match flags.degree(&[name.as_str()])? {
        None | Some(1) => Ok(()),
        Some(n) => {
            let why = "experts are shared out whole, over the ranks of `expert_parallel_degree`";
            Err(not_judged(&format!("{name} {n}"), why))
        }
    }
}

/// Flags of pipelines.
const OF_PIPELINES: [&str; 7] = [
    "pipeline_parallel_schedule",
    "pipeline_parallel_schedule_csv",
    "pipeline_parallel_microbatch_size",
    "pipeline_parallel_first_stage_less_layers",
    "pipeline_parallel_last_stage_less_layers",
    "num_pp_microbatches",
    PARTS,
];

/// Flags that do nothing as the others are, by what each needs.
fn idle(
    flags: &Flags<'_>,
    (shard, context): (Option<u32>, Option<u32>),
    n_ranks: u32,
) -> Result<BTreeMap<String, String>, Diagnostic> {
    let of_pipelines = OF_PIPELINES.map(own);
    let mut idle: Vec<(String, &str)> = of_pipelines
        .into_iter()
        .filter(|flag| n_ranks == 1 && flags.has(flag))
        .map(|flag| (flag, "several `--parallelism.pipeline_parallel_degree`"))
        .collect();
    let option = "--activation_checkpoint.selective_ac_option";
    let policy = recompute(flags)?;
    if flags.has(option) && policy != Some(Recompute::PerOp) {
        idle.push((option.to_owned(), "`--activation_checkpoint.mode selective`"));
    }
    let reshard = own("fsdp_reshard_after_forward");
    if flags.has(&reshard) && shard == Some(1) && context.unwrap_or(1) == 1 {
        idle.push((reshard, "several `--parallelism.data_parallel_shard_degree`"));
    }
    if let Some((flag, false)) = asynchronous(flags)? {
        idle.push((flag.to_owned(), "compiled blocks: `--compile.enable`"));
    }
    let recipe = RECIPES.into_iter().find(|flag| flags.has(flag));
    if let Some(flag) = recipe.filter(|_| flags.words(CONVERTERS).is_empty()) {
        idle.push((flag.to_owned(), "`--model.converters`"));
    }
    Ok(idle.into_iter().map(|(flag, needed)| (flag, needed.to_owned())).collect())
}

/// Who holds which layers.
struct Cut {
    /// Of each stage, where modules are listed.
    blocks: Option<Vec<u32>>,
    /// Stages of a rank.
    virtual_stages: u32,
    /// Layers that the ends count for where torchtitan cuts.
    ends: Option<[u32; 2]>,
}

/// A list of modules, or as many stages as the schedule has (`_get_pipeline_metadata` in
/// `distributed/pipeline_parallel.py`).
fn cut(flags: &Flags<'_>, n_ranks: u32) -> Result<Cut, Diagnostic> {
    let first = end(flags, "pipeline_parallel_first_stage_less_layers")?;
    let last = end(flags, "pipeline_parallel_last_stage_less_layers")?;
    let name = flags.text(&own("pipeline_parallel_schedule"))?.unwrap_or(SINGLE[0]);
    let is_single = SINGLE.iter().any(|known| known.eq_ignore_ascii_case(name));
    let parts = flags.words(&own(PARTS));
    if parts.is_empty() {
        let virtual_stages = if is_single || n_ranks == 1 { 1 } else { 2 };
        return Ok(Cut { blocks: None, virtual_stages, ends: Some([first, last]) });
    }
    let blocks = modules(&parts, n_ranks as usize)?;
    if n_ranks == 1 {
        return Ok(Cut { blocks: None, virtual_stages: 1, ends: None });
    }
    let virtual_stages = blocks.len() as u32 / n_ranks;
    if is_single && virtual_stages > 1 {
        let hint = format!("`{name}` runs one part on each of {n_ranks} ranks");
        return Err(bad(&own(PARTS), &parts.join(" "), &hint));
    }
    Ok(Cut { blocks: Some(blocks), virtual_stages, ends: None })
}

/// Layers that embedding or head count for: one, unless stated.
fn end(flags: &Flags<'_>, name: &str) -> Result<u32, Diagnostic> {
    let flag = own(name);
    let Some(text) = flags.text(&flag)? else { return Ok(1) };
    let number = text.parse().ok().filter(|n| u64::from(*n) <= MOST_LAYERS);
    let hint = format!("give a whole number from 0 to {MOST_LAYERS}");
    number.ok_or_else(|| bad(&flag, text, &hint))
}

/// Layers of each stage where torchtitan cuts the model itself
/// (`_generate_llm_fqn_per_model_part` in `distributed/pipeline_parallel.py`): the ends count for so
/// many layers, and the first stages take what does not divide.
///
/// # Errors
/// `bad-settings` where it refuses: stages without a layer on average, ends that count for more.
pub fn cut_by_ends(
    n_layers: u32,
    n_stages: u32,
    [first, last]: [u32; 2],
) -> Result<Vec<u32>, Diagnostic> {
    if n_stages <= 1 {
        return Ok(vec![n_layers]);
    }
    let all = u64::from(n_layers) + u64::from(first) + u64::from(last);
    let (each, rest) = (all / u64::from(n_stages), all % u64::from(n_stages));
    if each == 0 || u64::from(first.max(last)) > each {
        let message = format!(
            "torchtitan can't cut {n_layers} layers into {n_stages} stages of which the first counts \
             for {first} more and the last for {last}"
        );
        return Err(Diagnostic::input("bad-settings", message)
            .hint("use fewer stages, or list the modules of each"));
    }
    let of = |stage: u32| {
        let less = u32::from(stage == 0) * first + u32::from(stage + 1 == n_stages) * last;
        (each + u64::from(u64::from(stage) < rest)) as u32 - less
    };
    Ok((0..n_stages).map(of).collect())
}

fn own(name: &str) -> String {
    format!("--parallelism.{name}")
}

/// A switch of its parser takes no value.
fn sequence(flags: &Flags<'_>) -> Result<SequenceParallel, Diagnostic> {
    let name = own("enable_sequence_parallel");
    if let [value, ..] = flags.words(&name).as_slice() {
        let hint = "it takes no value: leave that out, or write `no-` before the name";
        return Err(bad(&name, value, hint));
    }
    Ok(match flags.has(&own("no_enable_sequence_parallel")) {
        true => SequenceParallel::Off,
        false => SequenceParallel::On,
    })
}

/// What a step and a micro-batch are made of.
struct Batch {
    sequence_length: Option<u64>,
    /// Samples of a step.
    global: Option<u64>,
    /// Samples of a replica's pass through the pipeline, which release 0.3 states.
    local: Option<u64>,
    /// Samples of a micro-batch, which main states.
    micro: Option<u64>,
    /// Whether it is stated in the words of main.
    in_tokens: bool,
}

fn batch(flags: &Flags<'_>) -> Result<Batch, Diagnostic> {
    let of_tokens = [
        "--training.num_tokens_per_microbatch_per_dp_rank",
        "--training.num_tokens_per_train_step",
        "--training.max_context_length",
        "--parallelism.num_pp_microbatches",
    ];
    let of_samples = [
        "--training.local_batch_size",
        "--training.global_batch_size",
        "--training.seq_len",
        "--parallelism.pipeline_parallel_microbatch_size",
    ];
    let [new, old] = [of_tokens, of_samples].map(|n| n.into_iter().find(|flag| flags.has(flag)));
    if let (Some(new), Some(old)) = (new, old) {
        let hint = format!("no version knows it beside `{old}`: keep to the words of one");
        return Err(bad(new, "", &hint));
    }
    let length = flags.count(of_tokens[2])?;
    let samples = |flag: &'static str| -> Result<Option<u64>, Diagnostic> {
        let Some(tokens) = flags.tokens(flag)? else { return Ok(None) };
        let hint = "give a multiple of `--training.max_context_length`, which stands beside it";
        let whole = length.filter(|length| tokens.is_multiple_of(*length));
        let whole = whole.map(|length| tokens / length).filter(|n| *n <= MOST_SAMPLES);
        whole.map(Some).ok_or_else(|| bad(flag, &tokens.to_string(), hint))
    };
    // -1 is what all replicas take at once.
    let is_open = |flag: &str| Ok(flags.text(flag)? == Some("-1"));
    let global = match (is_open(of_tokens[1])?, is_open(of_samples[1])?) {
        (false, false) => samples(of_tokens[1])?.or(flags.count(of_samples[1])?),
        _ => None,
    };
    Ok(Batch {
        sequence_length: length.or(flags.count(of_samples[2])?),
        global,
        local: flags.count(of_samples[0])?,
        micro: samples(of_tokens[0])?,
        in_tokens: new.is_some(),
    })
}

/// Samples of a micro-batch, and how many a replica runs. Without a pipeline, the local batch is one
/// micro-batch, and gradients are accumulated; a pipeline runs once unless a step has more samples.
fn micro_batches(
    flags: &Flags<'_>,
    batch: &Batch,
    data: Option<u32>,
    has_pipeline: bool,
) -> Result<(Option<u64>, Option<u64>), Diagnostic> {
    let stated = flags.count(&own("num_pp_microbatches"))?;
    let flag = own("pipeline_parallel_microbatch_size");
    let size = flags.count(&flag)?;
    if !has_pipeline {
        let micro = batch.micro.or(batch.local);
        let each = micro.zip(data).and_then(|(micro, data)| micro.checked_mul(u64::from(data)));
        let n = match (batch.global, each) {
            (None, _) => micro.map(|_| 1),
            (Some(global), Some(each)) => global.is_multiple_of(each).then(|| global / each),
            (Some(_), None) => None,
        };
        return Ok((micro, n));
    }
    if batch.in_tokens {
        return Ok((batch.micro, Some(stated.unwrap_or(1))));
    }
    // Without a flag a pipeline's micro-batch is one sample.
    let Some(local) = batch.local else { return Ok((size, None)) };
    let micro = size.unwrap_or(1);
    if !local.is_multiple_of(micro) {
        let hint = format!("give a number that divides the {local} samples of the local batch");
        return Err(bad(&flag, &micro.to_string(), &hint));
    }
    Ok((Some(micro), Some(local / micro)))
}

/// Where a file holds the schedule, its class has no name of ours.
fn schedule(flags: &Flags<'_>) -> Result<Option<String>, Diagnostic> {
    let in_file = schedule_file(flags)?.is_some();
    let name = flags.text(&own("pipeline_parallel_schedule"))?;
    let is_folded = |name: &&str| FOLDED.iter().any(|folded| folded.eq_ignore_ascii_case(name));
    if let Some(name) = name.filter(is_folded).filter(|_| in_file) {
        let why = "stages of a schedule in a file go round the ranks";
        return Err(not_judged(&format!("{} {name}", own("pipeline_parallel_schedule")), why));
    }
    Ok(name.filter(|_| !in_file).map(|name| {
        let known = SCHEDULES.iter().find(|(torch, _)| torch.eq_ignore_ascii_case(name));
        known.map_or(name, |(_, schedule)| schedule).to_owned()
    }))
}

fn schedule_file<'a>(flags: &Flags<'a>) -> Result<Option<&'a str>, Diagnostic> {
    flags.text(&own("pipeline_parallel_schedule_csv"))
}

/// What products are computed in.
fn dtype(flags: &Flags<'_>, scaling: Option<Scaling>) -> Result<Option<DType>, Diagnostic> {
    if let Some(dtype) = flags.text("--training.dtype")?.filter(|dtype| *dtype != "float32") {
        let why = "weights and states are kept in single precision";
        return Err(not_judged(&format!("--training.dtype {dtype}"), why));
    }
    let reduced = flags.text("--training.mixed_precision_reduce")?;
    if let Some(other) = reduced.filter(|dtype| *dtype != "float32") {
        let why = "gradients are reduced in single precision";
        return Err(not_judged(&format!("--training.mixed_precision_reduce {other}"), why));
    }
    match flags.text("--training.mixed_precision_param")? {
        None | Some("bfloat16") if scaling.is_some() => Ok(Some(DType::F8)),
        None => Ok(None),
        Some("bfloat16") => Ok(Some(DType::Bf16)),
        Some("float32") => Ok(Some(DType::F32)),
        Some(other) => {
            Err(bad("--training.mixed_precision_param", other, "use bfloat16 or float32"))
        }
    }
}

/// How operands of linear layers in float8 are scaled; `None` where no converter changes them.
fn converted(flags: &Flags<'_>) -> Result<Option<Scaling>, Diagnostic> {
    let lists = flags.words(CONVERTERS).into_iter().flat_map(|list| list.split(','));
    let names: Vec<&str> = lists.map(|name| name.trim_matches(['"', '\''])).collect();
    let recipe = RECIPES.map(|flag| flags.text(flag));
    let [old, new] = recipe;
    let recipe = old?.or(new?).map(|recipe| recipe.trim_matches(['"', '\'']));
    match names.as_slice() {
        [] | [""] => Ok(None),
        ["float8" | "quantize.linear.float8"] => match recipe {
            None | Some("tensorwise") => Ok(Some(Scaling::Tensor)),
            Some("rowwise") => Ok(Some(Scaling::Row)),
            Some(other) => Err(not_judged(
                &format!("recipe_name {other}"),
                "operands in 8 bits are scaled by tensor or by row",
            )),
        },
        others => Err(not_judged(
            &format!("{CONVERTERS} {}", others.join(",")),
            "float8 of linear layers is",
        )),
    }
}

fn optimizer(flags: &Flags<'_>) -> Result<Option<Optimizer>, Diagnostic> {
    match flags.text("--optimizer.name")? {
        None => Ok(None),
        Some("Adam" | "AdamW") => Ok(Some(Optimizer::AdamW)),
        Some(other) => Err(not_judged(&format!("--optimizer.name {other}"), "Adam and AdamW are")),
    }
}

/// What shards share out, context ranks among them. By default parameters are gathered once a step in
/// a pipeline (`get_fsdp_reshard_after_forward_policy` in `distributed/fsdp.py`).
fn zero(
    flags: &Flags<'_>,
    shard: Option<u32>,
    context: Option<u32>,
    has_pipeline: bool,
) -> Result<ZeroStage, Diagnostic> {
    let text = flags.text("--parallelism.fsdp_reshard_after_forward")?;
    if shard == Some(1) && context.unwrap_or(1) == 1 {
        return Ok(ZeroStage::None);
    }
    match text {
        Some("never") => Ok(ZeroStage::Gradients),
        None | Some("default") if has_pipeline => Ok(ZeroStage::Gradients),
        None | Some("always" | "default") => Ok(ZeroStage::Parameters),
        Some(other) => {
            let flag = "--parallelism.fsdp_reshard_after_forward";
            Err(bad(flag, other, "use default, always or never"))
        }
    }
}

/// A subcommand since 0.3, a flag before.
fn recompute(flags: &Flags<'_>) -> Result<Option<Recompute>, Diagnostic> {
    let flag = "--activation_checkpoint.mode";
    let mode = match flags.text(flag)? {
        None => flags.subcommand("activation-checkpoint"),
        mode => mode,
    };
    match mode {
        None => Ok(None),
        Some("none") => Ok(Some(Recompute::None)),
        Some("full") => Ok(Some(Recompute::Full)),
        Some("selective") => match flags.text("--activation_checkpoint.selective_ac_option")? {
            None | Some("op") => Ok(Some(Recompute::PerOp)),
            Some(other) => {
                let flag = format!("--activation_checkpoint.selective_ac_option {other}");
                Err(not_judged(&flag, "every so many blocks are none of a plan's policies"))
            }
        },
        Some("memory-budget") => {
            let why = "the compiler chooses what is computed again";
            Err(not_judged("activation-checkpoint:memory-budget", why))
        }
        Some(other) => Err(bad(flag, other, "use none, selective or full")),
    }
}

/// Blocks of each list of module names; they must follow each other, and ranks share them out.
fn modules(parts: &[&str], n_ranks: usize) -> Result<Vec<u32>, Diagnostic> {
    let flag = own(PARTS);
    let bad = |text: &str, hint: &str| bad(&flag, text, hint);
    if let Some(part) = parts.iter().find(|part| part.contains(['[', ']'])) {
        let hint = "write a word for each part, names parted by commas: `tok_embeddings,layers.0 \
                    layers.1,norm,lm_head`; its parser takes brackets for names";
        return Err(bad(part, hint));
    }
    let known = |name: &str| ENDS.contains(&name) || name.starts_with("layers.");
    if let Some(name) = parts.iter().flat_map(|part| part.split(',')).find(|name| !known(name)) {
        let hint = "it prunes names that the model does not have: use tok_embeddings, layers.0, \
                    norm and lm_head";
        return Err(bad(name, hint));
    }
    let mut next = 0u32;
    let mut counts = Vec::with_capacity(parts.len());
    for part in parts {
        let start = next;
        for layer in part.split(',').filter_map(|name| name.strip_prefix("layers.")) {
            if layer.parse() != Ok(next) {
                let hint = format!("layer {next} is missing or out of order");
                return Err(bad(layer, &hint));
            }
            next += 1;
        }
        counts.push(next - start);
    }
    if !counts.len().is_multiple_of(n_ranks) {
        let hint = format!("{n_ranks} ranks can't share out {} parts", counts.len());
        return Err(bad(&parts.join(" "), &hint));
    }
    Ok(counts)
}
