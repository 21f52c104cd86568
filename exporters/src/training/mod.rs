//! Plans of training runs in the words of those who run them, one module per target.
//!
//! A target that has no word for a part of a plan refuses it and names the part.

pub(crate) mod deepspeed;
mod field;
pub(crate) mod flagscale;
pub mod folder;
pub(crate) mod galvatron;
pub(crate) mod huggingface;
pub(crate) mod jax;
pub(crate) mod megatron;
mod peft;
mod program;
mod target;
pub(crate) mod torch_pipelining;
pub(crate) mod torchtitan;

use ir::card::SequenceParallel;
use ir::diagnostic::Diagnostic;

pub use field::Field;
pub(crate) use target::refused;
pub use target::{Blocks, Lack, Policy, TrainingSource, TrainingTarget};

/// Refuses what only files with one strategy per layer have words for.
pub(crate) fn by_block(source: &TrainingSource<'_>, target: &str) -> Result<(), Diagnostic> {
    let hint = "export to galvatron, or plan without a folder of measured layers";
    if source.plan.parallelism.sequence == SequenceParallel::Ulysses {
        return Err(refused(target, "Ulysses", "its tensor ranks split the weights", hint));
    }
    if source.plan.parallelism.vocabulary.is_some() {
        return Err(refused(target, "ends of their own degree", "it has one degree", hint));
    }
    Ok(())
}
