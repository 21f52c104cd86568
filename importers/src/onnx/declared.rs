//! Values with a declared type: graph inputs, outputs and inner values.

use ir::diagnostic::Diagnostic;
use onnx_protobuf::tensor_shape_proto::dimension;
use onnx_protobuf::{TensorShapeProto, ValueInfoProto, type_proto};

use crate::onnx::dtype::{self, element_type};
use crate::onnx::raw::{RawDim, RawValue};

/// Where a value is declared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Declared {
    /// As a graph input: its extents have to make sense.
    Input,
    /// As an output or an inner value: its extents are a second opinion.
    Other,
}

/// A value's name, and its type where it is a tensor.
///
/// # Errors
/// `unknown-dtype`, `negative-dimension`.
pub(crate) fn value(info: ValueInfoProto, declared: Declared) -> Result<RawValue, Diagnostic> {
    let mut value = RawValue { name: info.name, ..RawValue::default() };
    let Some(kind) = info.type_.into_option().and_then(|t| t.value) else { return Ok(value) };
    let (number, shape) = match kind {
        type_proto::Value::TensorType(tensor) => (tensor.elem_type, tensor.shape),
        type_proto::Value::SparseTensorType(tensor) => (tensor.elem_type, tensor.shape),
        _ => return Ok(value),
    };
    value.dtype = element_type(number);
    if value.dtype.is_none() && number != 0 {
        return Err(dtype::unknown(number).fact("tensor", value.name));
    }
    if let Some(shape) = shape.into_option() {
        let dims =
            dims(shape, declared).map_err(|error| error.fact("tensor", value.name.clone()))?;
        value.shape = Some(dims);
    }
    Ok(value)
}

fn dims(shape: TensorShapeProto, declared: Declared) -> Result<Vec<RawDim>, Diagnostic> {
    let mut dims = Vec::with_capacity(shape.dim.len());
    for dim in shape.dim {
        dims.push(match dim.value {
            Some(dimension::Value::DimValue(number)) => match u64::try_from(number) {
                Ok(extent) => RawDim::Known(extent),
                // Some exporters write -1 for a free dimension.
                Err(_) if number == -1 || declared == Declared::Other => RawDim::Unknown,
                Err(_) => {
                    return Err(Diagnostic::input(
                        "negative-dimension",
                        format!("a graph input has the negative dimension {number}"),
                    )
                    .hint("export it with a named dimension and bind it with --dim NAME=VALUE"));
                }
            },
            Some(dimension::Value::DimParam(symbol)) if !symbol.is_empty() => {
                RawDim::Symbol(symbol)
            }
            _ => RawDim::Unknown,
        });
    }
    Ok(dims)
}
