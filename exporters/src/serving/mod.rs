//! Inference servers: scripts that start them, with the layers of each device.

pub mod experts;
pub mod fleet;
mod layers;
mod llama_cpp;
pub mod nano_batches;
mod pipelined;
pub mod slots;
pub mod stages;
#[cfg(test)]
mod tests;

use crate::modules::refusal;
use ir::diagnostic::Diagnostic;

pub use llama_cpp::LLAMA_CPP;
pub(crate) use llama_cpp::LLAMA_CPP_PLACED;
pub use pipelined::{Ranks, device_map};
pub(crate) use pipelined::{SGLANG, SGLANG_PLACED, VLLM, VLLM_PLACED};

/// Servers that take inference pipelines.
pub const SERVERS: [&str; 3] = [VLLM, SGLANG, LLAMA_CPP];

/// The head of every script: devices are numbered as `nvidia-smi` numbers them.
const HEAD: &str = "#!/usr/bin/env bash\nexport CUDA_DEVICE_ORDER=PCI_BUS_ID\n";

/// The refusal of what is trained.
pub(crate) fn trains(target: &'static str) -> Diagnostic {
    refusal(target, format!("{target} serves models and trains none"))
        .hint("plan with --phase prefill or decode")
}
