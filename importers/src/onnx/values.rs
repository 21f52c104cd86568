//! What is inferred of each value of a model, for those who judge it by another program.

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;

use crate::import::ImportOptions;
use crate::onnx::{build, load};

/// A value of the main graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Its name.
    pub name: String,
    /// Element type, `None` = unknown or not a tensor.
    pub dtype: Option<DType>,
    /// Extents, `None` = unknown.
    pub shape: Option<Vec<u64>>,
    /// Whether the extents depend on data and are the most that the graph allows.
    pub at_most: bool,
}

/// All values of the main graph of a model, constants and folded ones included.
///
/// # Errors
/// Those of the ONNX reader.
pub fn values(bytes: &[u8], options: &ImportOptions) -> Result<Vec<Value>, Diagnostic> {
    let (model, _) = load(&bytes)?;
    build::values(&model, options)
}
