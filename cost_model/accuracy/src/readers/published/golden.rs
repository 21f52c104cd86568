//! Reader of the step times of Megatron-LM's functional tests.

use std::path::Path;

use cost_model::runs::forms::run::Timed;
use importers::measurements::Fields;
use ir::card::{ExpertCard, FeedForward, Head, Recompute, SequenceParallel, ZeroStage};
use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;
use ir::tensor::DType;

use super::{A100, GB200, H100, degree, gpt, small};
use crate::readers::Left;
use crate::readers::run::{Hosts, RunRow};

/// Shortest step that is read, in seconds: below it the times are those of the test's frame.
const SHORTEST_S: f64 = 0.3;
/// GPUs that a test runs on, and where its name says one node of a GB200.
const N_GPUS: u32 = 8;
const GPUS_OF_A_GB200_NODE: u32 = 4;
/// Rows of the embedding, which the table does not state: GPT-2's, made even.
const VOCABULARY: u64 = 51_200;
/// Elements of a head where the heads are not stated.
const USUAL_HEAD: u64 = 64;

/// Reads the training steps over 0.3 s of rows of the families `gpt` and `moe` that state layers,
/// width and tokens, from the columns `family`, `case`, `platform`, `iter_s_median`, `tp`, `pp`,
/// `vpp_layers`, `vpp`, `cp`, `ep`, `micro_batch`, `global_batch`, `layers`, `hidden`, `heads`,
/// `kv_groups`, `ffn`, `experts`, `topk`, `moe_ffn`, `seq`, `recompute`, `seq_par`, `dist_opt`. A
/// platform that is blank is taken as A100. Cases of reinforcement learning (`grpo`) time no
/// training step, and are left out, as are those whose chunks take micro-batches in groups of another
/// size than the pipeline's (`tunable_overlap`), for which no schedule is made.
pub fn read(path: &Path, left: &mut Left) -> Vec<RunRow> {
    left.rows(path, row)
}

fn row(fields: &Fields) -> Result<Option<RunRow>, Diagnostic> {
    let (case, family) = (fields.name("case")?, fields.text("family")?);
    let Some(time_s) = fields.positive_or_blank("iter_s_median")? else { return Ok(None) };
    let is_stated = |column| fields.text(column).map(|text| !text.is_empty());
    let [layers, hidden, sequence, batch] =
        ["layers", "hidden", "seq", "global_batch"].map(is_stated);
    let is_sized = layers? && hidden? && sequence? && batch?;
    if !is_sized
        || time_s <= SHORTEST_S
        || case.contains("grpo")
        || !["gpt", "moe"].contains(&family)
    {
        return Ok(None);
    }
    let platform = fields.text("platform")?.to_owned();
    let hosts = hosts(&platform);
    let is_true = |column| fields.text(column).map(|text| text == "true");
    let zero = match (case.contains("z3"), is_true("dist_opt")?) {
        (true, _) => ZeroStage::Parameters,
        (false, true) => ZeroStage::Optimizer,
        (false, false) => ZeroStage::None,
    };
    let sequence = match is_true("seq_par")? {
        true => SequenceParallel::On,
        false => SequenceParallel::Off,
    };
    let Some(degrees) = degrees(fields, &case, hosts == GB200)? else { return Ok(None) };
    Ok(Some(RunRow {
        line: fields.line(),
        name: format!("{case} {platform}"),
        model: family.to_owned(),
        card: card(fields, &case)?,
        technique: platform,
        hosts,
        stack: "megatron-lm-tests",
        degrees: vec![Parallelism { zero, sequence, ..degrees }],
        recompute: match fields.text("recompute")? {
            "full" => Recompute::Full,
            "selective" => Recompute::Selective,
            _ => Recompute::None,
        },
        dtype: DType::Bf16,
        timed: Timed::Step,
        time_s,
        peer_s: None,
        peaks: None,
    }))
}

fn hosts(platform: &str) -> Hosts {
    match platform {
        p if p.contains("gb200") => GB200,
        p if p.contains("h100") => H100,
        _ => A100,
    }
}

/// Degrees and batch sizes; `None` where the devices of a test don't hold them, or no whole
/// micro-batch of a replica is left.
fn degrees(fields: &Fields, case: &str, is_gb200: bool) -> Result<Option<Parallelism>, Diagnostic> {
    let [tensor, pipeline, context, expert] =
        ["tp", "pp", "cp", "ep"].map(|column| degree(fields, column));
    let (tensor, pipeline, context, expert) = (tensor?, pipeline?, context?, expert?);
    let n_gpus = if is_gb200 && case.contains("_1no") { GPUS_OF_A_GB200_NODE } else { N_GPUS };
    let data = (n_gpus / (tensor * pipeline * context)).max(1);
    let micro_batch = fields.count_or_blank("micro_batch")?.unwrap_or(1);
    let n_micro_batches = fields.count("global_batch")? / (u64::from(data) * micro_batch);
    let per_rank = small(fields, "layers")? / pipeline;
    let virtual_stages = match (pipeline, fields.count_or_blank("vpp_layers")?) {
        (1, _) => 1,
        (_, Some(layers)) => (u64::from(per_rank) / layers).max(1) as u32,
        (_, None) => degree(fields, "vpp")?,
    };
    let is_grouped = virtual_stages == 1 || n_micro_batches.is_multiple_of(u64::from(pipeline));
    Ok((n_micro_batches > 0 && is_grouped).then(|| Parallelism {
        data,
        tensor,
        pipeline,
        expert,
        context,
        n_micro_batches,
        micro_batch,
        virtual_stages,
        ..Parallelism::default()
    }))
}

fn card(fields: &Fields, case: &str) -> Result<ir::card::ModelCard, Diagnostic> {
    let (hidden, sequence) = (fields.count("hidden")?, fields.count("seq")?);
    let heads = fields.count_or_blank("heads")?.unwrap_or((hidden / USUAL_HEAD).max(1));
    let layers = small(fields, "layers")?;
    let mut model = gpt(case, [hidden, heads, sequence, VOCABULARY], layers, Head::Tied);
    let first = model.groups.first_mut();
    let (kv_heads, inner) = (fields.count_or_blank("kv_groups")?, fields.count_or_blank("ffn")?);
    let experts = fields.count_or_blank("experts")?;
    let (per_token, expert_inner) =
        (fields.count_or_blank("topk")?, fields.count_or_blank("moe_ffn")?);
    if let Some(group) = first {
        let card = &mut group.card;
        card.n_kv_heads = kv_heads.unwrap_or(heads);
        card.feed_forward = inner.unwrap_or(card.feed_forward);
        // The names of the tests say which models have a gate.
        if case.contains("7b") || case.contains("swiglu") {
            card.form = FeedForward::Gated;
        }
        card.experts = experts.map(|n_experts| ExpertCard {
            n_experts,
            per_token: per_token.unwrap_or(1),
            feed_forward: expert_inner.unwrap_or(card.feed_forward),
            n_shared: 0,
            ..ExpertCard::default()
        });
    }
    Ok(model)
}
