//! Quantisation: what is stored, and what it stands for.

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;

use crate::onnx::infer::Facts;
use crate::onnx::infer::call::{Call, one};
use crate::onnx::infer::elementwise::dtype_of;

type Inferred = Result<Vec<Facts>, Diagnostic>;

/// `QuantizeLinear`: type of the zero point, else attribute `output_dtype`, else `uint8`.
pub(crate) fn quantize(call: &Call<'_>) -> Inferred {
    let dtype = match (call.dtype(2), call.int("output_dtype", 0)?) {
        (Some(dtype), _) => dtype,
        (None, 0) => DType::U8,
        (None, code) => dtype_of(call, code)?,
    };
    one(Some(dtype), call.shape(0).map(<[u64]>::to_vec))
}

/// `DequantizeLinear`: type of the scale. A dequantised parameter keeps its stored size, because
/// executors dequantise it while they read it.
pub(crate) fn dequantize(call: &Call<'_>) -> Inferred {
    let mut facts =
        Facts::tensor(call.dtype(1).or(Some(DType::F32)), call.shape(0).map(<[u64]>::to_vec));
    facts.stored = call.input(0).filter(|data| data.is_constant()).map(Facts::bytes);
    Ok(vec![facts])
}

/// `DynamicQuantizeLinear`: data, scale, zero point.
pub(crate) fn dynamic_quantize(call: &Call<'_>) -> Inferred {
    Ok(vec![
        Facts::tensor(Some(DType::U8), call.shape(0).map(<[u64]>::to_vec)),
        Facts::tensor(Some(DType::F32), Some(Vec::new())),
        Facts::tensor(Some(DType::U8), Some(Vec::new())),
    ])
}
