//! Flags whose meaning hangs on others (`validate_args` in `megatron/training/arguments.py` and
//! `core/transformer/transformer_config.py`, commit d98e8a64): what Megatron stops at is refused, what
//! it passes over is named.

use std::collections::BTreeMap;

use ir::card::Recompute;
use ir::diagnostic::Diagnostic;
use ir::launch::LaunchSettings;

use super::super::ModelFacts;
use super::super::flags::Flags;

/// Flags that need one of others; Megatron stops without it.
const NEEDED: &[(&str, &[&str])] = &[
    (
        "--overlap-param-gather",
        &["--use-distributed-optimizer", "--use-megatron-fsdp", "--use-custom-fsdp"],
    ),
    ("--overlap-param-gather", &["--overlap-grad-reduce"]),
    ("--overlap-param-gather-with-optimizer-step", &["--overlap-param-gather"]),
    ("--tp-comm-overlap", &["--sequence-parallel"]),
    ("--fp16-lm-cross-entropy", &["--fp16"]),
    ("--fp32-residual-connection", &["--bf16", "--fp16"]),
    (
        "--fp8-param-gather",
        &["--use-distributed-optimizer", "--use-torch-fsdp2", "--use-megatron-fsdp"],
    ),
];

/// Flags that do nothing without one of others.
const IDLE: &[(&str, &[&str])] = &[
    ("--recompute-method", &["--recompute-granularity", "--recompute-activations"]),
    ("--recompute-num-layers", &["--recompute-granularity", "--recompute-activations"]),
    ("--recompute-modules", &["--recompute-granularity", "--recompute-activations"]),
    ("--optimizer-offload-fraction", &["--optimizer-cpu-offload"]),
    ("--torch-fsdp2-no-reshard-after-forward", &["--use-torch-fsdp2"]),
    ("--fp8-recipe", &["--fp8-format"]),
    ("--grad-reduce-in-bf16", &["--bf16"]),
    ("--num-query-groups", &["--group-query-attention"]),
    ("--window-attn-skip-freq", &["--window-size"]),
    ("--q-lora-rank", LATENT),
    ("--kv-lora-rank", LATENT),
    ("--qk-head-dim", LATENT),
    ("--qk-pos-emb-head-dim", LATENT),
    ("--v-head-dim", LATENT),
    ("--cuda-graph-modules", GRAPHS),
    ("--cuda-graph-scope", GRAPHS),
    ("--microbatch-group-size-per-virtual-pipeline-stage", &[LAYERS, STAGES, LAYOUT]),
];

const LATENT: &[&str] = &["--multi-latent-attention"];
const GRAPHS: &[&str] = &["--cuda-graph-impl", "--enable-cuda-graph", "--external-cuda-graph"];
const LAYERS: &str = "--num-layers-per-virtual-pipeline-stage";
const STAGES: &str = "--num-virtual-stages-per-pipeline-rank";
const LAYOUT: &str = "--pipeline-model-parallel-layout";
const EXPERTS: &str = "--num-experts";

/// Flags that do nothing for a model without experts.
const OF_EXPERTS: &[&str] = &[
    "--moe-ffn-hidden-size",
    "--moe-router-topk",
    "--moe-shared-expert-intermediate-size",
    "--moe-layer-freq",
    "--moe-token-dispatcher-type",
    "--moe-expert-capacity-factor",
    "--moe-pad-expert-input-to-capacity",
    "--moe-grouped-gemm",
    "--moe-flex-dispatcher-backend",
    "--expert-tensor-parallel-size",
];

/// Flags that Megatron stops at beside each other.
const APART: &[(&str, &str)] = &[
    ("--num-layers", "--encoder-num-layers"),
    ("--seq-length", "--encoder-seq-length"),
    (LAYOUT, LAYERS),
    (LAYOUT, STAGES),
    (LAYERS, STAGES),
    (LAYOUT, "--decoder-first-pipeline-num-layers"),
    (LAYOUT, "--decoder-last-pipeline-num-layers"),
    ("--use-torch-fsdp2", "--use-distributed-optimizer"),
    ("--use-torch-fsdp2", "--use-megatron-fsdp"),
    ("--use-torch-fsdp2", "--fp16"),
    ("--enable-cuda-graph", "--external-cuda-graph"),
    ("--cuda-graph-modules", "--cuda-graph-scope"),
];

/// Refuses flags beside others that Megatron stops at, or without those that it stops without.
///
/// # Errors
/// `bad-settings` with the flag and its partner.
pub(super) fn check(flags: &Flags<'_>, model: ModelFacts) -> Result<(), Diagnostic> {
    if let Some((flag, other)) = APART.iter().find(|(a, b)| flags.has(a) & flags.has(b)) {
        return Err(refused(flag, &format!("Megatron takes no `{other}` beside it: give one")));
    }
    let is_alone = |(flag, any): &&(&str, &[&str])| flags.has(flag) && !any_of(flags, any);
    if let Some((flag, any)) = NEEDED.iter().find(is_alone) {
        return Err(refused(flag, &format!("Megatron stops without `{}`: add it", any[0])));
    }
    let expert = "--expert-model-parallel-size";
    let is_split = flags.degree(&[expert])?.is_some_and(|n| n > 1);
    if is_split && model.has_experts == Some(false) && !flags.has(EXPERTS) {
        return Err(refused(expert, "the model has no experts: leave it out"));
    }
    recompute(flags)?;
    let impl_of_graphs = flags.text("--cuda-graph-impl")?.filter(|name| *name != "none");
    let older = ["--enable-cuda-graph", "--external-cuda-graph"];
    if let (Some(_), Some(flag)) = (impl_of_graphs, older.iter().find(|flag| flags.has(flag))) {
        return Err(refused(flag, "Megatron takes no `--cuda-graph-impl` beside it: give one"));
    }
    Ok(())
}

/// What is computed again takes flags of its own kind alone.
fn recompute(flags: &Flags<'_>) -> Result<(), Diagnostic> {
    let granularity = flags.text("--recompute-granularity")?;
    let is_selective = flags.has("--recompute-activations") || granularity == Some("selective");
    let [method, layers] = ["--recompute-method", "--recompute-num-layers"];
    if let (true, Some(flag)) = (is_selective, [method, layers].iter().find(|flag| flags.has(flag)))
    {
        let hint = "selective recompute takes no such flag: leave it out, or give \
                    `--recompute-granularity full`";
        return Err(refused(flag, hint));
    }
    if !is_selective && granularity == Some("full") && !flags.has(layers) {
        let hint = format!("Megatron stops without `{layers}`: add `{layers} 1`");
        return Err(refused("--recompute-granularity", &hint));
    }
    Ok(())
}

/// Refuses degrees that the settings as a whole rule out.
///
/// # Errors
/// `bad-settings`.
pub(super) fn check_degrees(
    flags: &Flags<'_>,
    settings: &LaunchSettings,
) -> Result<(), Diagnostic> {
    let [pipeline, expert, virtual_stages] =
        [settings.pipeline, settings.expert, settings.virtual_stages]
            .map(|degree| degree.unwrap_or(1));
    let is_looped = virtual_stages > 1;
    let least = if flags.has("--no-overlap-p2p-communication") { 3 } else { 2 };
    if is_looped && pipeline < least {
        let flag = [LAYERS, STAGES, LAYOUT].into_iter().find(|flag| flags.has(flag));
        let hint = format!("virtual stages need {least} pipeline ranks or more");
        return Err(refused(flag.unwrap_or(STAGES), &hint));
    }
    if flags.has("--use-torch-fsdp2") && (pipeline > 1 || expert > 1) {
        let hint = "it shards no model that pipeline or expert ranks split";
        return Err(refused("--use-torch-fsdp2", hint));
    }
    let beside = "--overlap-moe-expert-parallel-comm";
    if !flags.has(beside) {
        return Ok(());
    }
    let sent = flags.text("--moe-token-dispatcher-type")?;
    let again = settings.recompute.unwrap_or(Recompute::None);
    let is_whole = !matches!(again, Recompute::None | Recompute::Selective);
    let lacks = [
        (expert == 1, "expert ranks: give `--expert-model-parallel-size`"),
        (!["alltoall", "flex"].contains(&sent.unwrap_or_default()), "`alltoall` or `flex`"),
        (is_whole, "no recompute of whole blocks"),
        (!flags.has("--bf16") & !flags.has("--fp16"), "`--bf16` or `--fp16`"),
        (pipeline > 1 && !is_looped, "virtual stages beside pipeline ranks"),
    ];
    match lacks.into_iter().find(|(lacks, _)| *lacks) {
        None => Ok(()),
        Some((_, what)) => Err(refused(beside, &format!("Megatron takes it only with {what}"))),
    }
}

/// Flags that do nothing as the settings are, each with what it needs.
///
/// # Errors
/// `bad-settings` for a flag without a value.
pub(super) fn idle(
    flags: &Flags<'_>,
    model: ModelFacts,
) -> Result<BTreeMap<String, String>, Diagnostic> {
    let is_alone = |(flag, any): &&(&str, &[&str])| flags.has(flag) && !any_of(flags, any);
    let rows = IDLE.iter().filter(is_alone);
    let mut idle: BTreeMap<String, String> =
        rows.map(|(flag, any)| ((*flag).to_owned(), format!("`{}`", any[0]))).collect();
    let is_dense = model.has_experts == Some(false) && !flags.has(EXPERTS);
    let of_experts = OF_EXPERTS.iter().filter(|flag| is_dense && flags.has(flag));
    idle.extend(of_experts.map(|flag| ((*flag).to_owned(), format!("`{EXPERTS}`"))));
    let degree = |flag: &str| flags.degree(&[flag]).map(|n| n.unwrap_or(1));
    let recomputes = flags.text("--recompute-granularity")? == Some("full");
    let is_short = flags.has("--recompute-activations");
    let [tensor, pipeline] = ["--tensor-model-parallel-size", "--pipeline-model-parallel-size"];
    for (flag, is_idle, needed) in [
        ("--sequence-parallel", degree(tensor)? == 1, format!("`{tensor}` above 1")),
        ("--use-tp-pp-dp-mapping", degree(pipeline)? == 1, format!("`{pipeline}` above 1")),
        (
            "--recompute-modules",
            recomputes && !is_short,
            "`--recompute-granularity selective`".to_owned(),
        ),
    ] {
        if is_idle && flags.has(flag) {
            idle.insert(flag.to_owned(), needed);
        }
    }
    if flags.has("--recompute-activations")
        && flags.text("--recompute-granularity")? == Some("full")
    {
        // The short form stands for the selective one, and wins.
        let without = "recompute without `--recompute-activations`".to_owned();
        idle.insert("--recompute-granularity".to_owned(), without);
    }
    Ok(idle)
}

/// Whether one of some flags is there; all of them are known from now on.
fn any_of(flags: &Flags<'_>, any: &[&str]) -> bool {
    any.iter().fold(false, |found, flag| found | flags.has(flag))
}

fn refused(flag: &str, hint: &str) -> Diagnostic {
    let message = format!("Megatron does not start with `{flag}` as it is set here");
    Diagnostic::input("bad-settings", message).fact("flag", flag.to_owned()).hint(hint.to_owned())
}
