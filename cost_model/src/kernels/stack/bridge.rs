//! Stacks of Megatron-Bridge's recipes for mixtures of experts.

use ir::stack::{Dispatcher, ExpertStack, Launch, Scaling, Stack};

use super::megatron_bridge;

/// A recipe: its stack's name, how it dispatches, whether exchanges run beside work, whether attention
/// is recorded, how 8-bit operands are scaled, and where it says so.
struct Recipe(&'static str, Dispatcher, bool, bool, Scaling, &'static str);

const RECIPES: [Recipe; 14] = [
    Recipe(
        "megatron-bridge-alltoall-overlap",
        Dispatcher::AllToAll,
        true,
        false,
        Scaling::Tensor,
        "Qwen3 30B on H100 over two pipeline ranks, Megatron-Bridge v0.2.0",
    ),
    Recipe(
        "megatron-bridge-drop",
        Dispatcher::Padded,
        false,
        false,
        Scaling::Tensor,
        "DeepSeek-V3 that drops tokens on B200, Megatron-Bridge v0.1.0rc4",
    ),
    Recipe(
        "megatron-bridge-drop-mxfp8",
        Dispatcher::Padded,
        false,
        false,
        Scaling::Block,
        "the same with MXFP8, Megatron-Bridge v0.1.0rc4",
    ),
    Recipe(
        "megatron-bridge-drop-overlap",
        Dispatcher::Padded,
        true,
        false,
        Scaling::Tensor,
        "Qwen3 30B that drops tokens on H100, Megatron-Bridge v0.1.0rc4",
    ),
    Recipe(
        "megatron-bridge-drop-graphs",
        Dispatcher::Padded,
        false,
        true,
        Scaling::Tensor,
        "Qwen3 30B that drops tokens on B200, Megatron-Bridge v0.1.0rc4",
    ),
    Recipe(
        "megatron-bridge-flex",
        Dispatcher::Flex,
        false,
        false,
        Scaling::Block,
        "GPT-OSS 120B and DeepSeek-V3 over 16 pipeline ranks on B200, Megatron-Bridge v0.3.1",
    ),
    Recipe(
        "megatron-bridge-flex-fp8",
        Dispatcher::Flex,
        false,
        false,
        Scaling::Tensor,
        "Qwen3 30B on H100 without a pipeline, Megatron-Bridge v0.4.1",
    ),
    Recipe(
        "megatron-bridge-flex-overlap-mxfp8",
        Dispatcher::Flex,
        true,
        false,
        Scaling::Block,
        "DeepSeek-V3 on H100 in FP8 by blocks, Megatron-Bridge v0.1.0rc4",
    ),
    Recipe(
        "megatron-bridge-flex-overlap",
        Dispatcher::Flex,
        true,
        false,
        Scaling::Tensor,
        "DeepSeek-V3 on H100, Megatron-Bridge v0.1.0rc4; Qwen3 30B on H100, v0.3.1",
    ),
    Recipe(
        "megatron-bridge-flex-graphs",
        Dispatcher::Flex,
        false,
        true,
        Scaling::Block,
        "Qwen3 30B on B200, Megatron-Bridge v0.3.1",
    ),
    Recipe(
        "megatron-bridge-flex-overlap-graphs",
        Dispatcher::Flex,
        true,
        true,
        Scaling::Block,
        "DeepSeek-V3 in two chunks a rank on B200, Megatron-Bridge v0.4.1",
    ),
    Recipe(
        "megatron-bridge-alltoall-overlap-mxfp8",
        Dispatcher::AllToAll,
        true,
        false,
        Scaling::Block,
        "Qwen3 235B in chunks on B200 and B300, Megatron-Bridge v0.2.0 to v0.3.1",
    ),
    Recipe(
        "megatron-bridge-alltoall-graphs",
        Dispatcher::AllToAll,
        false,
        true,
        Scaling::Tensor,
        "GPT-OSS 120B on GB300, Megatron-Bridge v0.2.0 to v0.4.1, and on B300, v0.3.0",
    ),
    Recipe(
        "megatron-bridge-drop-graphs-mxfp8",
        Dispatcher::Padded,
        false,
        true,
        Scaling::Block,
        "Qwen3 235B that drops tokens on GB200 with MXFP8, Megatron-Bridge v0.1.0rc4",
    ),
];

/// All of them.
pub(super) fn recipes() -> impl Iterator<Item = Stack> {
    RECIPES.iter().map(|Recipe(name, dispatcher, overlaps, is_recorded, scaling, source)| Stack {
        name: (*name).to_owned(),
        experts: ExpertStack {
            dispatcher: *dispatcher,
            overlaps: *overlaps,
            may_overlap: !overlaps,
        },
        launch: if *is_recorded { Launch::CudaGraphs } else { Launch::Eager },
        scaling: *scaling,
        source: (*source).to_owned(),
        ..megatron_bridge()
    })
}
