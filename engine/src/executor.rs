//! Executors by name.

use cost_model::kernels::stack::{preset, presets};
use ir::diagnostic::Diagnostic;
use ir::stack::Stack;
use ir::workload::Workload;

/// Executors whose limits a plan can be kept to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executor {
    /// Hugging Face Accelerate.
    Accelerate,
    /// `torch.distributed.pipelining`.
    TorchPipelining,
    /// torchtitan.
    Torchtitan,
    /// Megatron-LM.
    Megatron,
    /// DeepSpeed.
    Deepspeed,
    /// vLLM.
    Vllm,
    /// SGLang.
    Sglang,
    /// Hetu-Galvatron.
    Galvatron,
    /// None in particular: nothing is left out.
    Any,
}

/// What launches a software stack; the first stack of an executor prices its plans.
const STACKS: [(&str, Executor); 6] = [
    ("megatron-core", Executor::Megatron),
    ("torchtitan", Executor::Torchtitan),
    ("megatron-deepspeed-2021", Executor::Deepspeed),
    ("pytorch-eager", Executor::TorchPipelining),
    ("compiled", Executor::TorchPipelining),
    // Its layers are those of Megatron.
    ("megatron-core", Executor::Galvatron),
];

impl Executor {
    /// All, in the order of listings.
    pub const ALL: [Self; 9] = [
        Self::Accelerate,
        Self::TorchPipelining,
        Self::Torchtitan,
        Self::Megatron,
        Self::Deepspeed,
        Self::Vllm,
        Self::Sglang,
        Self::Galvatron,
        Self::Any,
    ];

    /// The executor of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|executor| executor.target() == name)
    }

    /// What launches a stack.
    pub fn of_stack(stack: &str) -> Option<Self> {
        STACKS.iter().find(|(name, _)| *name == stack).map(|(_, executor)| *executor)
    }

    /// The stack that its training runs are priced as, where it has one.
    pub fn stack(self) -> Option<&'static str> {
        STACKS.iter().find(|(_, executor)| *executor == self).map(|(name, _)| *name)
    }

    /// The name of its format in the table of exporters.
    pub fn target(self) -> &'static str {
        match self {
            Self::Accelerate => "accelerate",
            Self::TorchPipelining => "torch-pipelining",
            Self::Torchtitan => "torchtitan",
            Self::Megatron => "megatron",
            Self::Deepspeed => "deepspeed",
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
            Self::Galvatron => "galvatron",
            Self::Any => "any",
        }
    }
}

/// The software stack of a name.
///
/// # Errors
/// `unknown-stack`.
pub fn named_stack(name: &str) -> Result<Stack, Diagnostic> {
    preset(name).ok_or_else(|| {
        let known = presets().map(|stack| stack.name).to_vec();
        Diagnostic::usage("unknown-stack", format!("`{name}` is no software stack"))
            .fact("known", known)
            .hint("name one of these with --stack")
    })
}

/// Refuses micro-batches for an executor that has none: by a device map, each batch goes through the
/// model whole, one device after the other, and what a pipeline would cost is not what runs.
///
/// # Errors
/// `whole-batches`.
pub fn check_batches(target: &str, workload: &Workload) -> Result<(), Diagnostic> {
    let n_micro_batches = workload.n_micro_batches();
    if target != Executor::Accelerate.target() || n_micro_batches <= 1 {
        return Ok(());
    }
    let message = format!("{target} runs each batch whole and has no micro-batches");
    Err(Diagnostic::usage("whole-batches", message)
        .fact("target", target)
        .fact("micro_batches", n_micro_batches)
        .hint("leave out --micro-batch, or plan without --for and --export accelerate"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stack_has_a_launcher() {
        for stack in presets() {
            assert!(Executor::of_stack(&stack.name).is_some(), "{}", stack.name);
        }
        for (stack, _) in STACKS {
            assert!(preset(stack).is_some(), "{stack}");
        }
    }
}
