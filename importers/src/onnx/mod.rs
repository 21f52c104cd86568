//! ONNX models: a pre-scan that leaves the weights out, typed decoding of the rest, inlining of
//! local functions, checks, then shapes and work.

mod annotations;
mod budget;
pub mod build;
mod check;
mod declared;
mod decode;
mod dtype;
pub mod infer;
mod inline;
mod module_path;
pub mod raw;
pub mod rules;
mod scan;
mod schema;
mod tensor;
mod ties;
pub mod values;
pub(crate) mod wire;

use ir::diagnostic::Diagnostic;

use crate::import::{Import, ImportOptions};
use crate::onnx::raw::RawModel;
use crate::sound;
use crate::source::Source;

/// Reads a model.
///
/// # Errors
/// Whatever `load` or the builder finds.
pub(crate) fn read(
    source: &dyn Source,
    name: &str,
    options: &ImportOptions,
) -> Result<Import, Diagnostic> {
    let (model, warnings) = load(source)?;
    if model.graph.nodes.is_empty() {
        return Err(sound::no_ops());
    }
    build::build(model, name, options, warnings)
}

/// `--qdq-as-written` was said of a model without anything that it could be said of.
pub(crate) fn no_pairs() -> Diagnostic {
    Diagnostic::warning(
        "flag-without-effect",
        "`--qdq-as-written` has no effect: no `QuantizeLinear` and `DequantizeLinear` of this model \
         would be priced otherwise",
    )
}

/// Decodes a model: form checked, functions inlined, nodes sorted.
///
/// # Errors
/// `empty-file`, `truncated-file`, `invalid-protobuf`, `nesting-limit`, `size-budget`,
/// `invalid-utf8`, `missing-graph`, `missing-opset`, `unsupported-opset`, `unknown-dtype`,
/// `negative-dimension`, `size-overflow`, `data-too-short`, `invalid-external-data`,
/// `recursive-function`, `inline-budget`, `duplicate-tensor`, `undefined-tensor`, `graph-cycle`,
/// `missing-output`.
pub(crate) fn load(source: &dyn Source) -> Result<(RawModel, Vec<Diagnostic>), Diagnostic> {
    let scanned = scan::scan(source)?;
    let mut warnings = Vec::new();
    let mut model = decode::decode(scanned, &mut warnings)?;
    ties::merge(&mut model);
    check::check(&mut model, &mut warnings)?;
    warnings.extend(ties::copies(&model, source));
    Ok((model, warnings))
}
