//! Where exchanges of experts of one micro-batch can run beside the work of another because a plan says
//! so: what Megatron-Core asks for `--overlap-moe-expert-parallel-comm`
//! (`megatron/core/transformer/transformer_config.py`).

use ir::card::Recompute;
use ir::plan::{Parallelism, Stage};
use ir::stack::{Dispatcher, Stack};
use ir::tensor::DType;

/// Why no run under such degrees can, whatever its stages.
#[must_use]
pub fn obstacle(
    stack: &Stack,
    (dtype, n_predictions): (DType, u32),
    degrees: &Parallelism,
) -> Option<&'static str> {
    if !stack.experts.may_overlap || stack.experts.overlaps {
        return Some("the stack does not leave that to the plan");
    }
    if stack.experts.dispatcher == Dispatcher::AllGather {
        return Some("the stack gathers all tokens and exchanges none");
    }
    if dtype == DType::F32 {
        return Some("only runs in 16 or 8 bits do so");
    }
    if n_predictions > 1 && degrees.pipeline <= 1 {
        return Some("models that predict later tokens need a pipeline for it");
    }
    if degrees.expert <= 1 {
        return Some("the ranks share out no experts");
    }
    (degrees.overlapped() <= 0.0).then_some("all micro-batches fill the pipeline")
}

/// Whether both passes run together: without a pipeline, or where its ranks hold several chunks.
#[must_use]
pub const fn runs_together(degrees: &Parallelism) -> bool {
    degrees.pipeline <= 1 || degrees.virtual_stages > 1
}

/// Whether stages compute nothing again but attention cores.
#[must_use]
pub fn keeps_blocks(stages: &[Stage]) -> bool {
    let allowed = [Recompute::None, Recompute::Selective];
    stages.iter().all(|stage| {
        allowed.contains(&stage.recompute)
            && stage.each.iter().all(|policy| allowed.contains(&policy.recompute))
    })
}
