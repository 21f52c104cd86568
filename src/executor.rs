//! Executors by their names on the command line.

use clap::ValueEnum;

/// Executors whose limits a plan can be kept to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Executor {
    Accelerate,
    TorchPipelining,
    Torchtitan,
    Megatron,
    Deepspeed,
    Vllm,
    Sglang,
    Galvatron,
}

impl Executor {
    /// The executor of a name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::value_variants().iter().copied().find(|executor| executor.target() == name)
    }

    /// The name of its format in the table of exporters.
    pub(crate) fn target(self) -> &'static str {
        match self {
            Self::Accelerate => "accelerate",
            Self::TorchPipelining => "torch-pipelining",
            Self::Torchtitan => "torchtitan",
            Self::Megatron => "megatron",
            Self::Deepspeed => "deepspeed",
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
            Self::Galvatron => "galvatron",
        }
    }
}
