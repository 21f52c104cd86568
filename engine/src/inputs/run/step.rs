//! Model and devices of one step whose layers are planned.

use std::path::Path;

use cost_model::runs::forms::hosts;
use ir::card::stored::CacheType;
use ir::diagnostic::Diagnostic;

use crate::answer::words::ranges;
use crate::inputs::run::model;
use crate::inputs::run::setting::{MOST_SAMPLES, Setting as Run};
use crate::request::ProblemRequest;

/// What a step is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A training run.
    Trains,
    /// A server: the type of its KV cache can be stated.
    Serves(Option<CacheType>),
}

/// Reads a model, of samples of so many tokens where they are stated, on the equal hosts of the flags, for
/// a step of so many samples on a stack.
///
/// # Errors
/// Those of the readers; `batch`, `unlike-hosts`, `not-for-streams`.
pub fn read(
    (path, sequence): (&Path, Option<u64>),
    flags: &ProblemRequest,
    (batch, stack): (u64, &str),
    does: Step,
) -> Result<Run, Diagnostic> {
    if !(1..=MOST_SAMPLES).contains(&batch) {
        let message = format!("{batch} samples of one step, from 1 to {MOST_SAMPLES}");
        return Err(Diagnostic::usage("batch", message).hint("state them with --batch"));
    }
    // The size of a step is none of the graph's that a model is read from.
    let mut flags = flags.clone();
    flags.model.batch = None;
    let mut read = match does {
        Step::Trains => model::read(path, sequence, &flags.model)?,
        Step::Serves(kv_dtype) => model::served((path, sequence), &flags.model, kv_dtype)?,
    };
    let n = read.card.n_blocks();
    let later: Vec<u32> = (n - n_later(&read.card).min(n)..n).collect();
    if !later.is_empty() {
        let message =
            format!("multi-token-prediction (MTP) layers {} are left out", ranges(&later));
        read.warnings.push(Diagnostic::warning("not-planned", message));
    }
    let mut run = Run::on(read, &flags, stack, batch)?;
    if does != Step::Trains {
        // What only training is warned of.
        run.warnings.retain(|warning| warning.code != "stated-dtype");
    }
    if run.layers.is_some() {
        let message = "`--profile` names a folder of measured layers, which know no parts";
        return Err(Diagnostic::usage("not-for-streams", message)
            .hint("give a profile of the devices, or leave it out"));
    }
    hosts::check(&run.cluster, run.cluster.devices.len() as u64)?;
    Ok(run)
}

/// By layer that is planned its group of blocks.
pub fn kinds(run: &Run) -> impl Iterator<Item = usize> {
    let n_own = run.model.n_blocks().saturating_sub(n_later(&run.model));
    run.model.kinds().take(n_own as usize)
}

/// Number of MTP layers.
const fn n_later(card: &ir::card::ModelCard) -> u32 {
    card.n_predictions.saturating_sub(1)
}
