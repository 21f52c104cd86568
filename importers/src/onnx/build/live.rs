//! Which nodes of a graph are needed.

use std::collections::HashSet;

use ir::diagnostic::Diagnostic;

use crate::onnx::build::effort::{Appraiser, Effort};
use crate::onnx::infer::ValueId;
use crate::onnx::infer::program::{Block, Step};

/// A node that is left after folding and dropping, with its work.
pub(crate) struct Live<'s, 'a> {
    /// The node.
    pub(crate) step: &'s Step<'a>,
    /// Its work.
    pub(crate) effort: Effort,
}

/// The nodes of a block that its outputs need, in order.
///
/// # Errors
/// As [`Appraiser::appraise`].
pub(crate) fn live<'s, 'a>(
    appraiser: &Appraiser<'_>,
    block: &'s Block<'a>,
) -> Result<Vec<Live<'s, 'a>>, Diagnostic> {
    let mut needed: HashSet<ValueId> = block.outputs.iter().copied().collect();
    let mut live = Vec::new();
    for step in block.steps.iter().rev() {
        let is_needed = step.outputs.iter().flatten().any(|id| needed.contains(id));
        if !is_needed || appraiser.is_folded(step) {
            continue;
        }
        let effort = appraiser.appraise(step)?;
        needed.extend(&effort.reads);
        live.push(Live { step, effort });
    }
    live.reverse();
    Ok(live)
}
