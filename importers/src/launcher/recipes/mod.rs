//! Recipes in YAML, a key for each setting: of Accelerate, Axolotl and LLaMA-Factory.
//!
//! Every key is read, refused where it changes what runs, or listed as one that changes neither time nor
//! memory; others are refused by their names.

mod accelerate;
mod axolotl;
mod command;
mod fsdp;
mod llama_factory;
mod tuned;

use ir::card::ZeroStage;
use ir::diagnostic::Diagnostic;
use ir::launch::LaunchSettings;

use super::deepspeed;
pub(super) use accelerate::read as accelerate;
pub(super) use axolotl::read as axolotl;
pub(super) use llama_factory::read as llama_factory;

/// What settings say together with the DeepSpeed file that they name: that file of what is shared out and
/// where states are kept, they of batches.
///
/// # Errors
/// Those of reading the file.
pub fn with_deepspeed(own: LaunchSettings, text: &str) -> Result<LaunchSettings, Diagnostic> {
    let file = deepspeed::read(text)?;
    if file.zero == Some(ZeroStage::Parameters) {
        tuned::check_gathered(own.adapter.as_ref(), "zero_optimization.stage: 3")?;
    }
    Ok(LaunchSettings {
        deepspeed_file: None,
        data: own.data.or(file.data),
        context: own.context,
        expert: own.expert.or(file.expert),
        micro_batch: own.micro_batch.or(file.micro_batch),
        n_micro_batches: own.n_micro_batches.or(file.n_micro_batches),
        global_batch: own.global_batch.or(file.global_batch),
        sequence_length: own.sequence_length,
        recompute: own.recompute.or(file.recompute),
        dtype: file.dtype.or(own.dtype),
        optimizer: file.optimizer.or(own.optimizer),
        adapter: own.adapter,
        trains_elsewhere: own.trains_elsewhere,
        not_judged: own.not_judged,
        no_effect: own.no_effect.into_iter().chain(file.no_effect.clone()).collect(),
        not_planned: own.not_planned.into_iter().chain(file.not_planned.clone()).collect(),
        ..file
    })
}
