//! From a decoded model to the operator graph: bind extents, infer shapes, fold constants, then
//! one op for each node that is left.

use ir::diagnostic::Diagnostic;

use crate::import::{Import, ImportOptions};
use crate::onnx::infer::Facts;
use crate::onnx::infer::engine::{Engine, Inferred};
use crate::onnx::infer::program::{self, Program};
use crate::onnx::no_pairs;
use crate::onnx::raw::RawModel;
use crate::onnx::values::Value;

mod batch;
mod bind;
mod control;
mod effort;
mod emit;
pub(crate) mod integer;
mod live;
mod shapes;
mod totals;

use integer::Integers;
use shapes::Shapes;

/// Builds the graph of a model.
///
/// With `options.dtype` every float of 16 bits and more, parameter or activation, takes that type
/// before bytes are computed; with an 8-bit type so do activations and products. Nodes whose
/// results nobody reads are dropped, and so are folded ones. A sequence whose members are known
/// is dissolved: reading a member is a view of it.
///
/// # Errors
/// `unbound-dimension`, `invalid-batch`, `unknown-input`, `invalid-attribute`, `shape-mismatch`,
/// `size-overflow`, `rank-limit`, `nesting-limit`, `undefined-tensor`.
pub(crate) fn build(
    model: RawModel,
    name: &str,
    options: &ImportOptions,
    mut warnings: Vec<Diagnostic>,
) -> Result<Import, Diagnostic> {
    let program = program::resolve(&model)?;
    let bound = bind::bind(&program, options)?;
    warnings.extend(bound.warnings);
    let engine = |rebatch| Engine {
        program: &program,
        bindings: &bound.bindings,
        dtype: options.dtype,
        rebatch,
    };
    let mut first = engine(None).run(&bound.inputs)?;
    warnings.extend(contradictions(&program, &first));
    // Weights that are trained are there as floats.
    let mut integers =
        if options.trains { Integers::default() } else { Integers::find(&program, &first.facts) };
    if options.qdq_as_written {
        warnings.extend(integers.is_empty().then(no_pairs));
        integers = Integers::default();
    }
    integers.settle(&mut first);
    let shapes = match batch::grown_inputs(&program, &bound.inputs, options)? {
        Some((inputs, batch)) if !bound.is_symbolic => {
            let mut now = engine(Some((&first, batch))).run(&inputs)?;
            integers.settle(&mut now);
            Shapes { now, reference: Some((first, batch)), integers }
        }
        _ => Shapes { now: first, reference: None, integers },
    };
    let emitted = emit::emit(&program, &shapes, graph_name(&model, name))?;
    let summary = totals::summary(&model, &program, &emitted, options.dtype);
    warnings.extend(emitted.warnings);
    Ok(Import { graph: emitted.graph, cluster: None, summary, warnings })
}

/// What is inferred of the values of the main graph, in the order of the file.
///
/// # Errors
/// As [`build`].
pub(crate) fn values(model: &RawModel, options: &ImportOptions) -> Result<Vec<Value>, Diagnostic> {
    let program = program::resolve(model)?;
    let bound = bind::bind(&program, options)?;
    let engine = Engine {
        program: &program,
        bindings: &bound.bindings,
        dtype: options.dtype,
        rebatch: None,
    };
    let inferred = engine.run(&bound.inputs)?;
    let named = program.names.iter().zip(&program.in_main).zip(inferred.facts);
    let main = named.filter(|((_, in_main), _)| **in_main);
    let value = |((name, _), facts): ((&&str, &bool), Facts)| Value {
        name: (*name).to_owned(),
        dtype: facts.dtype,
        shape: facts.shape,
        at_most: facts.at_most,
    };
    Ok(main.map(value).collect())
}

fn graph_name(model: &RawModel, file: &str) -> String {
    // Exporters call every graph `main_graph` or `torch_jit`: the file's name says more.
    if file.is_empty() { model.graph.name.clone() } else { file.to_owned() }
}

/// One warning for all declared shapes that inference contradicts.
fn contradictions(program: &Program<'_>, inferred: &Inferred) -> Option<Diagnostic> {
    let first = inferred.contradicted.first()?;
    let names: Vec<String> =
        inferred.contradicted.iter().take(5).map(|id| program.names[*id].to_owned()).collect();
    let message = format!(
        "the declared shape of `{}` is not the inferred one, which is used",
        program.names[*first]
    );
    Some(
        Diagnostic::warning("shape-contradiction", message)
            .fact("tensors", names)
            .fact("count", inferred.contradicted.len()),
    )
}

#[cfg(test)]
mod tests;
