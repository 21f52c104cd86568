//! ONNX's numbers of element types.

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;

/// The element type with this number in `TensorProto.DataType`; `None` for 0, "undefined", and for
/// numbers that ONNX does not have yet.
pub(crate) fn element_type(number: i32) -> Option<DType> {
    Some(match number {
        1 => DType::F32,
        2 => DType::U8,
        3 => DType::I8,
        4 => DType::U16,
        5 => DType::I16,
        6 => DType::I32,
        7 => DType::I64,
        8 => DType::String,
        9 => DType::Bool,
        10 => DType::F16,
        11 => DType::F64,
        12 => DType::U32,
        13 => DType::U64,
        14 => DType::C64,
        15 => DType::C128,
        16 => DType::Bf16,
        // 17 to 20 are the four layouts of an 8-bit float, 24 a bare exponent.
        17..=20 | 24 => DType::F8,
        21 => DType::U4,
        22 => DType::I4,
        23 => DType::F4,
        25 => DType::U2,
        26 => DType::I2,
        _ => return None,
    })
}

/// The element type that `TensorProto.DataType` gives this name; of those that attributes named
/// before opset 6.
pub(crate) fn named(name: &str) -> Option<DType> {
    const NAMES: [&str; 15] = [
        "FLOAT",
        "UINT8",
        "INT8",
        "UINT16",
        "INT16",
        "INT32",
        "INT64",
        "STRING",
        "BOOL",
        "FLOAT16",
        "DOUBLE",
        "UINT32",
        "UINT64",
        "COMPLEX64",
        "COMPLEX128",
    ];
    let position = NAMES.iter().position(|known| *known == name)?;
    element_type(i32::try_from(position).ok()? + 1)
}

/// The error `unknown-dtype`, with the number.
pub(crate) fn unknown(number: i32) -> Diagnostic {
    Diagnostic::input("unknown-dtype", format!("unknown element type {number}"))
        .fact("number", number.to_string())
        .hint("the element types 1 to 26 of ONNX are supported")
}
