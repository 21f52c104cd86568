//! Operators that make tensors from little: `Constant`, `Shape`, `Range`, random numbers.

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;

use crate::onnx::infer::call::{Call, one};
use crate::onnx::infer::elementwise::dtype_of;
use crate::onnx::infer::{Facts, Source};
use crate::onnx::raw::{RawAttribute, RawValues};

type Inferred = Result<Vec<Facts>, Diagnostic>;

/// `Constant`, by whichever attribute holds the value.
pub(crate) fn constant(call: &Call<'_>) -> Inferred {
    if let Some(tensor) = call.tensor("value") {
        return Ok(vec![Facts::constant(tensor, Source::Constant)]);
    }
    let of = |dtype, shape, values| Facts {
        source: Source::Constant,
        value: Some(std::sync::Arc::new(values)),
        ..Facts::tensor(Some(dtype), Some(shape))
    };
    for (name, value) in &call.node.attributes {
        let facts = match (name.as_str(), value) {
            ("value_int", RawAttribute::Int(int)) => {
                of(DType::I64, vec![], RawValues::Ints(vec![*int]))
            }
            ("value_ints", RawAttribute::Ints(ints)) => {
                of(DType::I64, vec![ints.len() as u64], RawValues::Ints(ints.clone()))
            }
            ("value_float", RawAttribute::Float(float)) => {
                of(DType::F32, vec![], RawValues::Floats(vec![f64::from(*float)]))
            }
            ("value_floats", RawAttribute::Floats(floats)) => of(
                DType::F32,
                vec![floats.len() as u64],
                RawValues::Floats(floats.iter().map(|float| f64::from(*float)).collect()),
            ),
            ("value_string", _) => Facts::tensor(Some(DType::String), Some(vec![])),
            ("value_strings", RawAttribute::Texts(texts)) => {
                Facts::tensor(Some(DType::String), Some(vec![texts.len() as u64]))
            }
            _ => continue,
        };
        return Ok(vec![Facts { source: Source::Constant, ..facts }]);
    }
    Ok(vec![Facts { source: Source::Constant, ..Facts::default() }])
}

/// The range of axes that a `Shape` node reports.
pub(crate) fn shape_range(
    call: &Call<'_>,
    rank: usize,
) -> Result<std::ops::Range<usize>, Diagnostic> {
    let signed = i64::try_from(rank).unwrap_or(i64::MAX);
    let clamp = |axis: i64| {
        let from_front = if axis < 0 { axis.saturating_add(signed) } else { axis };
        usize::try_from(from_front.clamp(0, signed)).unwrap_or(0)
    };
    let start = clamp(call.int("start", 0)?);
    Ok(start..clamp(call.int("end", signed)?).max(start))
}

/// `Shape`.
pub(crate) fn shape(call: &Call<'_>) -> Inferred {
    let length = match call.shape(0) {
        Some(shape) => Some(vec![shape_range(call, shape.len())?.len() as u64]),
        None => None,
    };
    one(Some(DType::I64), length)
}

/// `Size`.
pub(crate) fn size(_: &Call<'_>) -> Inferred {
    one(Some(DType::I64), Some(Vec::new()))
}

/// Extents written in a tensor of integers.
fn extents(call: &Call<'_>, ints: &[i64]) -> Result<Vec<u64>, Diagnostic> {
    ints.iter()
        .map(|extent| u64::try_from(*extent).map_err(|_| call.invalid(format!("extent {extent}"))))
        .collect()
}

/// `ConstantOfShape`.
pub(crate) fn constant_of_shape(call: &Call<'_>) -> Inferred {
    let dtype = call.tensor("value").map_or(DType::F32, |tensor| tensor.dtype);
    let shape = match call.ints_of(0) {
        Some(ints) => Some(extents(call, ints)?),
        None => None,
    };
    one(Some(dtype), shape)
}

/// The number of steps of a `Range`; `None` where an end is unknown.
pub(crate) fn range_length(call: &Call<'_>) -> Result<Option<u64>, Diagnostic> {
    let end = |index: usize| -> Option<f64> {
        match call.input(index)?.value.as_deref()? {
            RawValues::Ints(ints) => ints.first().map(|int| *int as f64),
            RawValues::Floats(floats) => floats.first().copied(),
        }
    };
    let (Some(start), Some(limit), Some(step)) = (end(0), end(1), end(2)) else {
        return Ok(None);
    };
    if step == 0.0 {
        return Err(call.invalid("the step is 0"));
    }
    let length = ((limit - start) / step).ceil().max(0.0);
    if !length.is_finite() || length >= 9.2e18 {
        return Err(call.overflow());
    }
    Ok(Some(length as u64))
}

/// `Range`.
pub(crate) fn range(call: &Call<'_>) -> Inferred {
    one(call.dtype(0), range_length(call)?.map(|length| vec![length]))
}

/// `EyeLike`, `RandomNormalLike`, ...: shape of the input, type by attribute `dtype`.
pub(crate) fn like(call: &Call<'_>) -> Inferred {
    let dtype = match call.int("dtype", 0)? {
        0 => call.dtype(0),
        code => Some(dtype_of(call, code)?),
    };
    one(dtype, call.shape(0).map(<[u64]>::to_vec))
}

/// `RandomNormal`, `RandomUniform`: shape and type by attribute.
pub(crate) fn random(call: &Call<'_>) -> Inferred {
    let dtype = dtype_of(call, call.int("dtype", 1)?)?;
    let shape = extents(call, call.ints("shape")?.unwrap_or_default())?;
    one(Some(dtype), Some(shape))
}
