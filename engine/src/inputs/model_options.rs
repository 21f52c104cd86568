//! How a model file is read: the flags checked against each other, and against what was read.

use std::collections::BTreeMap;

use importers::ImportOptions;
use ir::diagnostic::Diagnostic;
use ir::graph::Graph;

use crate::request::ModelRequest;

/// What the flags ask of the importer.
///
/// # Errors
/// `batch-sizes`, `batch-axis`, `duplicate-flag` for flags that contradict each other.
pub fn options(flags: &ModelRequest) -> Result<ImportOptions, Diagnostic> {
    if let (Some(batch), Some(micro)) = (flags.batch, flags.micro_batch)
        && batch % micro != 0
    {
        return Err(Diagnostic::usage(
            "batch-sizes",
            format!("a batch of {batch} does not divide into micro-batches of {micro}"),
        )
        .hint("choose a micro-batch that divides the batch"));
    }
    let batch_axis =
        by_name("--batch-axis", &flags.batch_axis)?.into_iter().map(|(input, axis)| {
            let axis = usize::try_from(axis);
            Ok((input, axis.map_err(|_| Diagnostic::usage("batch-axis", "no such axis"))?))
        });
    Ok(ImportOptions {
        dims: by_name("--dim", &flags.dims)?,
        batch: flags.micro_batch.or(flags.batch),
        batch_axis: batch_axis.collect::<Result<_, Diagnostic>>()?,
        dtype: flags.dtype,
        qdq_as_written: flags.qdq_as_written,
        trains: false,
        traces: flags.traces.clone(),
    })
}

/// Each name once.
fn by_name(flag: &str, pairs: &[(String, u64)]) -> Result<BTreeMap<String, u64>, Diagnostic> {
    let mut named = BTreeMap::new();
    for (name, value) in pairs {
        if let Some(other) = named.insert(name.clone(), *value).filter(|other| other != value) {
            let message = format!("`{flag}` gives `{name}` twice, as {other} and as {value}");
            return Err(
                Diagnostic::usage("duplicate-flag", message).hint("leave out one of the two")
            );
        }
    }
    Ok(named)
}

/// Refuses a dimension that binds the batch to another number than the batch asked for: the model
/// would be costed at the one and the plan would state the other.
///
/// An importer puts the batch in the place of every symbol on a batch axis that no flag binds, and
/// grows a batch that the file holds as a number. So the batch is missing on all batch axes only
/// where a flag stood in its way.
///
/// # Errors
/// `batch-sizes`.
pub fn check_batch(graph: &Graph, options: &ImportOptions) -> Result<(), Diagnostic> {
    let Some(batch) = options.batch else { return Ok(()) };
    let extents = || {
        graph.inputs.iter().filter_map(|input| {
            let tensor = graph.tensor(*input);
            let axis = options.batch_axis.get(&tensor.name).copied().unwrap_or(0);
            tensor.shape.get(axis).copied()
        })
    };
    if extents().any(|extent| extent == batch) {
        return Ok(());
    }
    let bound = |extent: u64| options.dims.iter().find(|(_, value)| **value == extent);
    let Some((name, value)) = extents().find_map(bound) else { return Ok(()) };
    Err(Diagnostic::usage(
        "batch-sizes",
        format!("`--dim {name}={value}` binds the batch, which is to be {batch}"),
    )
    .hint(format!("leave out `--dim {name}={value}`, or give both the same number"))
    .hint("say --batch-axis INPUT=AXIS where the batch is not the first axis of an input"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(dims: &[(&str, u64)]) -> ModelRequest {
        let dims = dims.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        ModelRequest { dims, batch: Some(4), ..ModelRequest::default() }
    }

    #[test]
    fn a_name_has_one_value() {
        let error = options(&flags(&[("a", 1), ("b", 2), ("a", 3)])).unwrap_err();
        assert_eq!(error.code, "duplicate-flag");
        let same = options(&flags(&[("a", 1), ("a", 1)])).unwrap();
        assert_eq!((same.dims.len(), same.batch), (1, Some(4)));
    }

    #[test]
    fn micro_batches_divide_the_batch() {
        let ragged = ModelRequest { micro_batch: Some(3), ..flags(&[]) };
        assert_eq!(options(&ragged).unwrap_err().code, "batch-sizes");
    }
}
