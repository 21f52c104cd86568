//! What flags say of kernels, dispatch and overlap.

use ir::diagnostic::Diagnostic;
use ir::launch::StackSettings;
use ir::stack::{AttentionKernel, Dispatcher, Launch, Scaling};

use super::super::ModelFacts;
use super::super::flags::{Flags, not_judged};
use super::super::limits::bad;

/// Fields of the stack; what no flag says has Megatron's default where that does anything.
pub(super) fn read(
    flags: &Flags<'_>,
    is_looped: bool,
    model: ModelFacts,
) -> Result<StackSettings, Diagnostic> {
    let has_experts = flags.has("--num-experts") || model.has_experts == Some(true);
    let is_shared = flags.degree(&["--expert-model-parallel-size"])?.is_some_and(|n| n > 1);
    let pipeline = flags.degree(&["--pipeline-model-parallel-size"])?.unwrap_or(1);
    let beside = flags.has("--overlap-moe-expert-parallel-comm");
    // Elsewhere Megatron refuses the flag.
    let may_overlap = is_shared && (pipeline == 1 || is_looped);
    let dispatcher = dispatcher(flags)?;
    Ok(StackSettings {
        scaling: scaling(flags)?,
        launch: Some(launch(flags)?),
        attention: Some(attention(flags)?),
        dispatcher: has_experts.then_some(dispatcher),
        overlaps_experts: (may_overlap || beside).then_some(beside),
        overlaps_tensor: Some(flags.has("--tp-comm-overlap")),
        compiled: None,
    })
}

fn scaling(flags: &Flags<'_>) -> Result<Option<Scaling>, Diagnostic> {
    let is_narrow = flags.has("--fp8-format");
    let scaling = match flags.text("--fp8-recipe")? {
        None | Some("tensorwise" | "delayed") => Scaling::Tensor,
        Some("mxfp8" | "blockwise") => Scaling::Block,
        Some(other) => {
            let hint = "use tensorwise, delayed, blockwise or mxfp8";
            return Err(bad("--fp8-recipe", other, hint));
        }
    };
    Ok(is_narrow.then_some(scaling))
}

/// The two older flags name an implementation too.
fn launch(flags: &Flags<'_>) -> Result<Launch, Diagnostic> {
    let is_older = flags.has("--enable-cuda-graph") | flags.has("--external-cuda-graph");
    match flags.text("--cuda-graph-impl")? {
        None | Some("none") if !is_older => Ok(Launch::Eager),
        None | Some("local" | "transformer_engine" | "full_iteration") => Ok(Launch::CudaGraphs),
        Some(other) => {
            let hint = "use none, local, transformer_engine or full_iteration";
            Err(bad("--cuda-graph-impl", other, hint))
        }
    }
}

fn attention(flags: &Flags<'_>) -> Result<AttentionKernel, Diagnostic> {
    match flags.text("--attention-backend")? {
        None | Some("auto" | "flash" | "fused") => Ok(AttentionKernel::Flash),
        Some("unfused" | "local") => Ok(AttentionKernel::Unfused),
        Some(other) => {
            Err(bad("--attention-backend", other, "use flash, fused, unfused, local or auto"))
        }
    }
}

fn dispatcher(flags: &Flags<'_>) -> Result<Dispatcher, Diagnostic> {
    // Below zero nothing is dropped.
    let capacity =
        flags.text("--moe-expert-capacity-factor")?.filter(|factor| !factor.starts_with('-'));
    let is_padded = flags.has("--moe-pad-expert-input-to-capacity");
    let named = match flags.text("--moe-token-dispatcher-type")? {
        None | Some("allgather") => Dispatcher::AllGather,
        Some("alltoall") => Dispatcher::AllToAll,
        Some("flex") => Dispatcher::Flex,
        Some(other) => {
            let hint = "use allgather, alltoall or flex";
            return Err(bad("--moe-token-dispatcher-type", other, hint));
        }
    };
    match capacity {
        None if is_padded => {
            let hint = "give `--moe-expert-capacity-factor` beside it";
            Err(bad("--moe-pad-expert-input-to-capacity", "", hint))
        }
        None => Ok(named),
        Some(text) if is_padded && text.parse() == Ok(1.0) && named == Dispatcher::AllToAll => {
            Ok(Dispatcher::Padded)
        }
        Some(_) => {
            let why = "tokens are dropped by `alltoall`, padded to a factor of 1, or not at all";
            Err(not_judged("--moe-expert-capacity-factor", why))
        }
    }
}
