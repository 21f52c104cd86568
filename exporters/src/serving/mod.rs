//! What servers are told of a placement of inference: scripts that start them, with the layers of each
//! device.

pub mod experts;
mod layers;
mod llama_cpp;
pub mod nano_batches;
mod pipelined;
pub mod slots;
pub mod stages;
#[cfg(test)]
mod tests;

pub(crate) use llama_cpp::{LLAMA_CPP, colocation as llama_cpp_colocation, export as llama_cpp};
pub use pipelined::{Ranks, device_map};
pub(crate) use pipelined::{SGLANG, VLLM, colocation as pipelined_colocation, sglang, vllm};

/// The head of every script: devices are numbered as `nvidia-smi` numbers them.
const HEAD: &str = "#!/usr/bin/env bash\nexport CUDA_DEVICE_ORDER=PCI_BUS_ID\n";
