//! Another batch than the file's, for files that hold theirs as a number.

use ir::diagnostic::Diagnostic;

use crate::import::ImportOptions;
use crate::onnx::build::bind::batch_axis;
use crate::onnx::build::shapes::InputFacts;
use crate::onnx::infer::carry::Growth;
use crate::onnx::infer::program::Program;

/// The inputs at the batch asked for, and both batches; `None` where there is nothing to change.
///
/// The file's batch is the extent of the first input that has a batch axis. Other inputs with
/// that extent on their batch axis follow; so does every input named by the caller.
///
/// # Errors
/// `invalid-batch` if the file's batch is 0.
pub(crate) fn grown_inputs(
    program: &Program<'_>,
    inputs: &InputFacts,
    options: &ImportOptions,
) -> Result<Option<(InputFacts, Growth)>, Diagnostic> {
    let Some(to) = options.batch else { return Ok(None) };
    let extents: Vec<_> = program
        .main
        .inputs
        .iter()
        .filter_map(|(id, value)| {
            let axis = batch_axis(value, options);
            let extent = *inputs.get(id)?.shape.as_ref()?.get(axis)?;
            let is_named = options.batch_axis.contains_key(&value.name);
            Some((*id, axis, extent, is_named))
        })
        .collect();
    let named = extents.iter().find(|(.., is_named)| *is_named);
    let Some((.., from, _)) = named.or(extents.first()).copied() else { return Ok(None) };
    if from == 0 {
        return Err(Diagnostic::usage("invalid-batch", "the batch of the file is 0"));
    }
    if from == to {
        return Ok(None);
    }
    let mut grown = inputs.clone();
    for (id, axis, extent, is_named) in extents {
        if (extent == from || is_named)
            && let Some(shape) = grown.get_mut(&id).and_then(|facts| facts.shape.as_mut())
            && let Some(place) = shape.get_mut(axis)
        {
            *place = to;
        }
    }
    Ok(Some((grown, Growth { from, to })))
}
