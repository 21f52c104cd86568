//! Extents of the graph's inputs: numbers, symbols with a value, or an error that lists the rest.

use std::collections::BTreeSet;

use ir::diagnostic::Diagnostic;

use crate::import::ImportOptions;
use crate::onnx::build::shapes::InputFacts;
use crate::onnx::infer::program::Program;
use crate::onnx::infer::symbol::{Bindings, evaluate, unbound};
use crate::onnx::infer::{Facts, Source};
use crate::onnx::raw::{RawDim, RawValue};

/// Inputs with every extent known.
pub(crate) struct Bound {
    /// Facts of the inputs.
    pub(crate) inputs: InputFacts,
    /// Values of all symbols.
    pub(crate) bindings: Bindings,
    /// Whether a symbol stands for the batch: the batch has then been put in its place.
    pub(crate) is_symbolic: bool,
    /// Values for symbols that no input has.
    pub(crate) warnings: Vec<Diagnostic>,
}

/// The axis of the batch in an input.
pub(crate) fn batch_axis(value: &RawValue, options: &ImportOptions) -> usize {
    options.batch_axis.get(&value.name).copied().unwrap_or(0)
}

/// Binds the extents of all inputs.
///
/// # Errors
/// `unbound-dimension`, `invalid-batch`, `batch-sizes`, `unknown-input`.
pub(crate) fn bind(program: &Program<'_>, options: &ImportOptions) -> Result<Bound, Diagnostic> {
    check(program, options)?;
    check_batch(program, options)?;
    let mut bindings = options.dims.clone();
    let mut is_symbolic = false;
    for (_, value) in &program.main.inputs {
        let axis = batch_axis(value, options);
        let dim = value.shape.as_ref().and_then(|shape| shape.get(axis));
        if let Some(dim @ (RawDim::Symbol(_) | RawDim::Unknown)) = dim {
            is_symbolic = true;
            if let Some(batch) = options.batch {
                let key = key(value, axis, dim);
                if unbound(&key, &bindings).len() == 1 && evaluate(&key, &bindings).is_none() {
                    bindings.entry(key).or_insert(batch);
                }
            }
        }
    }
    let mut missing = BTreeSet::new();
    let mut inputs = InputFacts::new();
    for (id, value) in &program.main.inputs {
        let mut shape = value.shape.as_ref().map(|_| Vec::new());
        for (axis, dim) in value.shape.iter().flatten().enumerate() {
            let extent = match dim {
                RawDim::Known(extent) => Some(*extent),
                dim => lookup(&key(value, axis, dim), &bindings),
            };
            match (extent, dim) {
                (Some(extent), _) => shape.iter_mut().for_each(|shape| shape.push(extent)),
                (None, RawDim::Symbol(text)) => missing.extend(unbound(text, &bindings)),
                (None, dim) => {
                    missing.insert(key(value, axis, dim));
                }
            }
        }
        let facts = Facts { source: Source::Input, ..Facts::tensor(value.dtype, shape) };
        inputs.insert(*id, facts);
    }
    if missing.is_empty() {
        let warnings = unused(program, options);
        Ok(Bound { inputs, bindings, is_symbolic, warnings })
    } else {
        Err(missing_dimensions(missing))
    }
}

fn lookup(key: &str, bindings: &Bindings) -> Option<u64> {
    bindings.get(key).copied().or_else(|| evaluate(key, bindings))
}

/// The name under which an extent is bound: its symbol, or `input[axis]` where it has none.
fn key(value: &RawValue, axis: usize, dim: &RawDim) -> String {
    match dim {
        RawDim::Symbol(text) => text.trim().to_owned(),
        RawDim::Known(_) | RawDim::Unknown => format!("{}[{axis}]", value.name),
    }
}

fn missing_dimensions(missing: BTreeSet<String>) -> Diagnostic {
    let names: Vec<String> = missing.into_iter().collect();
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let example = names.iter().map(|name| format!("--dim {name}=8")).collect::<Vec<_>>().join(" ");
    let (subject, verb) =
        if names.len() == 1 { ("dimension", "has") } else { ("dimensions", "have") };
    Diagnostic::input(
        "unbound-dimension",
        format!("the {subject} {} of the inputs {verb} no value", quoted.join(", ")),
    )
    .fact("dimensions", names)
    .hint(format!("give each a value, such as `{example}`"))
}

fn check(program: &Program<'_>, options: &ImportOptions) -> Result<(), Diagnostic> {
    if options.batch == Some(0) {
        return Err(Diagnostic::usage("invalid-batch", "a batch of 0 samples has no work"));
    }
    let names: Vec<&str> = program.main.inputs.iter().map(|(_, v)| v.name.as_str()).collect();
    for (name, axis) in &options.batch_axis {
        let value = program.main.inputs.iter().find(|(_, value)| value.name == *name);
        let Some((_, value)) = value else {
            let listed = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>();
            return Err(Diagnostic::usage("unknown-input", format!("no input is named `{name}`"))
                .hint(format!("name one of {}", listed.join(", "))));
        };
        if value.shape.as_ref().is_some_and(|shape| *axis >= shape.len()) {
            return Err(Diagnostic::usage(
                "invalid-batch",
                format!("input `{name}` has no axis {axis}"),
            ));
        }
    }
    Ok(())
}

/// Refuses a batch that a bound dimension contradicts: the first symbol on a batch axis decides.
fn check_batch(program: &Program<'_>, options: &ImportOptions) -> Result<(), Diagnostic> {
    let Some(batch) = options.batch else { return Ok(()) };
    let symbol = program.main.inputs.iter().find_map(|(_, value)| {
        let axis = batch_axis(value, options);
        let dim = value.shape.as_ref()?.get(axis)?;
        (!matches!(dim, RawDim::Known(_))).then(|| key(value, axis, dim))
    });
    let Some(symbol) = symbol else { return Ok(()) };
    match lookup(&symbol, &options.dims) {
        Some(stated) if stated != batch => Err(Diagnostic::usage(
            "batch-sizes",
            format!(
                "`--dim` makes the batch dimension `{symbol}` {stated}, but {batch} samples go through at once"
            ),
        )
        .fact("dimension", symbol)
        .hint("state the batch once")),
        _ => Ok(()),
    }
}

/// Warns of values that bind nothing, which is a misspelt symbol more often than not.
fn unused(program: &Program<'_>, options: &ImportOptions) -> Vec<Diagnostic> {
    let nothing = Bindings::new();
    let mut used = BTreeSet::new();
    let inputs = program.main.inputs.iter().map(|(_, value)| *value);
    for value in inputs.chain(program.main.declared.values().copied()) {
        for (axis, dim) in value.shape.iter().flatten().enumerate() {
            let key = key(value, axis, dim);
            if let RawDim::Symbol(text) = dim {
                used.extend(unbound(text, &nothing));
            }
            used.insert(key);
        }
    }
    let spare = options.dims.keys().filter(|name| !used.contains(*name));
    spare
        .map(|name| {
            Diagnostic::warning("unused-dimension", format!("no dimension is named `{name}`"))
        })
        .collect()
}
