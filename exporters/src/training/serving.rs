//! Degrees and layers per pipeline rank for servers: vLLM (`VLLM_PP_LAYER_PARTITION`) and SGLang
//! (`SGLANG_PP_LAYER_PARTITION`). The lists need one entry per rank and the sum of all layers.

use ir::diagnostic::Diagnostic;
use ir::plan::Parallelism;

use super::target::{TrainingSource, blocks, only_one, refused};
use crate::format::Export;

/// Its expert group is all tensor and data ranks, or none.
pub(super) fn vllm_accepts(degrees: &Parallelism, schedule: &str) -> bool {
    let group = u64::from(degrees.tensor) * u64::from(degrees.data);
    let expert = u64::from(degrees.expert);
    sglang_accepts(degrees, schedule) && (expert == 1 || expert == group)
}

/// Servers have no context ranks and one chunk on each rank.
pub(super) fn sglang_accepts(degrees: &Parallelism, _: &str) -> bool {
    degrees.context == 1 && degrees.virtual_stages <= 1
}

pub(super) fn vllm(source: &TrainingSource<'_>) -> Result<Export, Diagnostic> {
    let target = "vllm";
    let degrees = &source.plan.parallelism;
    only_one(target, "context", degrees.context)?;
    // Its expert group is all tensor and data ranks, or none.
    let group = u64::from(degrees.tensor) * u64::from(degrees.data);
    let experts = match u64::from(degrees.expert) {
        1 => "",
        expert if expert == group => " --enable-expert-parallel",
        expert => {
            let why = format!("it is {expert}, of {group} tensor and data ranks");
            let hint = format!("plan with `--pin expert={group}`");
            return Err(refused(target, "an expert degree of its own", &why, &hint));
        }
    };
    let partition = partition(source, target)?;
    Ok(Export::from(format!(
        "VLLM_PP_LAYER_PARTITION={partition}\n--tensor-parallel-size {} \
         --pipeline-parallel-size {} --data-parallel-size {}{experts}\n",
        degrees.tensor, degrees.pipeline, degrees.data
    )))
}

pub(super) fn sglang(source: &TrainingSource<'_>) -> Result<Export, Diagnostic> {
    let target = "sglang";
    let degrees = &source.plan.parallelism;
    only_one(target, "context", degrees.context)?;
    let partition = partition(source, target)?;
    Ok(Export::from(format!(
        "SGLANG_PP_LAYER_PARTITION={partition}\n--tp-size {} --pp-size {} --dp-size {} --ep-size {}\n",
        degrees.tensor, degrees.pipeline, degrees.data, degrees.expert
    )))
}

fn partition(source: &TrainingSource<'_>, target: &str) -> Result<String, Diagnostic> {
    only_one(target, "virtual", source.plan.parallelism.virtual_stages)?;
    let mut counts = blocks(source.plan)?;
    // Layers that predict a later token are no hidden layers of the server.
    if let Some(last) = counts.last_mut() {
        *last = last.saturating_sub(source.n_predicting());
    }
    if let Some(rank) = counts.iter().position(|count| *count == 0) {
        let why = format!("rank {rank} holds none");
        return Err(refused(target, "ranks without layers", &why, "give each rank a layer"));
    }
    let counts: Vec<String> = counts.iter().map(u32::to_string).collect();
    Ok(counts.join(","))
}
