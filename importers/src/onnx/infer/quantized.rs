//! Operators on integers that stand for floats, as ONNX Runtime's quantiser writes them.

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;

use crate::onnx::infer::Facts;
use crate::onnx::infer::call::{Call, one};
use crate::onnx::infer::contraction::{gemm_extents, product_shape};
use crate::onnx::infer::elementwise::{dtype_of, joint};
use crate::onnx::infer::{elements, layout, reduction};

type Inferred = Result<Vec<Facts>, Diagnostic>;

/// `QLinearAdd`, `QLinearMul`: data at 0 and 3.
pub(crate) fn binary(call: &Call<'_>) -> Inferred {
    one(call.dtype(0), joint(&call.with(&[0, 3]), 0)?)
}

/// `QLinearWhere`: condition, and choices at 1 and 4.
pub(crate) fn choice(call: &Call<'_>) -> Inferred {
    one(call.dtype(1), joint(&call.with(&[0, 1, 4]), 0)?)
}

/// `MulInteger`: factors at 0 and 2.
pub(crate) fn multiply(call: &Call<'_>) -> Inferred {
    one(Some(DType::I32), joint(&call.with(&[0, 2]), 0)?)
}

/// Inputs of a `QLinearConcat` that hold data: each has a scale and a zero point behind it.
pub(crate) fn parts(call: &Call<'_>) -> Vec<usize> {
    (2..call.inputs.len()).step_by(3).collect()
}

/// `QLinearConcat`.
pub(crate) fn concat(call: &Call<'_>) -> Inferred {
    layout::concat(&call.with(&parts(call)))
}

/// `QLinearReduceMean`, `ReduceSumInteger`: axes from the attribute.
pub(crate) fn reduce(call: &Call<'_>) -> Inferred {
    let mut facts = reduction::reduce(&call.with(&[0]))?;
    if let [facts] = facts.as_mut_slice()
        && call.node.op_type == "ReduceSumInteger"
    {
        facts.dtype = Some(DType::I32);
    }
    Ok(facts)
}

/// `QGemm`: factors at 0 and 3; the type of the zero point of the output, or floats where it is
/// left out.
pub(crate) fn gemm(call: &Call<'_>) -> Inferred {
    let extents = gemm_extents(&call.with(&[0, 3]))?;
    one(call.dtype(8).or_else(|| call.dtype(1)), extents.map(|[m, _, n]| vec![m, n]))
}

/// `GemmFloat8`.
pub(crate) fn gemm_float8(call: &Call<'_>) -> Inferred {
    let dtype = dtype_of(call, call.int("dtype", 1)?)?;
    one(Some(dtype), gemm_extents(call)?.map(|[m, _, n]| vec![m, n]))
}

/// `DynamicQuantizeMatMul`: floats in and out; the data is quantised on the way.
pub(crate) fn dynamic(call: &Call<'_>) -> Inferred {
    one(call.dtype(0), product_shape(call, 0, 1)?)
}

/// `MatMulIntegerToFloat`: the type of the scales.
pub(crate) fn to_float(call: &Call<'_>) -> Inferred {
    one(call.dtype(2), product_shape(call, 0, 1)?)
}

/// `QOrderedMatMul`: factors at 0 and 2.
pub(crate) fn ordered(call: &Call<'_>) -> Inferred {
    one(call.dtype(0), product_shape(call, 0, 2)?)
}

/// `QuantizeWithOrder`.
pub(crate) fn quantize_ordered(call: &Call<'_>) -> Inferred {
    one(Some(DType::I8), call.shape(0).map(<[u64]>::to_vec))
}

/// Weights of which 4 or fewer bits stand in a byte, as they are: `N x K` of them.
fn unpacked(call: &Call<'_>, per_byte: u64) -> Result<Option<(u64, u64)>, Diagnostic> {
    let Some([n, packed]) = call.extents(1) else { return Ok(None) };
    let k = packed.checked_mul(per_byte).ok_or_else(|| call.overflow())?;
    Ok(Some((n, k)))
}

/// Rows and columns of the weight of `MatMulBlockQuantizedFp8Weight` and `...Fp4Weight`.
pub(crate) fn block_weight(call: &Call<'_>) -> Result<Option<(u64, u64)>, Diagnostic> {
    let is_half = call.node.op_type == "MatMulBlockQuantizedFp4Weight";
    unpacked(call, if is_half { 2 } else { 1 })
}

/// `MatMulBlockQuantizedFp8Weight`, `MatMulBlockQuantizedFp4Weight`.
pub(crate) fn block_product(call: &Call<'_>) -> Inferred {
    let dtype = call.dtype(0);
    let (Some((n, k)), Some(shape)) = (block_weight(call)?, call.shape(0)) else {
        return one(dtype, None);
    };
    match shape.split_last() {
        Some((last, rows)) if *last == k => one(dtype, Some([rows, &[n]].concat())),
        _ => Err(call.mismatch(format!("data {shape:?}, a weight of {n} x {k}"))),
    }
}

/// Features behind a projection of the data to `n`.
fn projected(call: &Call<'_>, n: u64) -> Result<Option<Vec<u64>>, Diagnostic> {
    let k = call.positive("K", 0)?;
    match call.shape(0).map(<[u64]>::split_last) {
        None => Ok(None),
        Some(Some((last, rows))) if *last == k => Ok(Some([rows, &[n]].concat())),
        Some(_) => Err(call.mismatch(format!("the data does not have {k} features"))),
    }
}

/// `MatMulNBitsMlp`: gate and up projection in one, and the sum that was normalised.
pub(crate) fn packed_mlp(call: &Call<'_>) -> Inferred {
    let dtype = call.dtype(0);
    let shape = projected(call, call.positive("N", 0)?)?;
    let sum = Facts::tensor(dtype, call.shape(0).map(<[u64]>::to_vec));
    Ok(vec![Facts::tensor(dtype, shape), sum])
}

/// `MatMulNBitsQkv`: queries, keys, values, and the sum that was normalised.
pub(crate) fn packed_qkv(call: &Call<'_>) -> Inferred {
    let dtype = call.dtype(0);
    let queries = projected(call, call.positive("Nq", 0)?)?;
    let keys = projected(call, call.positive("Nkv", 0)?)?;
    let sum = call.shape(0).map(<[u64]>::to_vec);
    let shapes = [queries, keys.clone(), keys, sum];
    Ok(shapes.into_iter().map(|shape| Facts::tensor(dtype, shape)).collect())
}

/// `GatherBlockQuantized`: rows of a table, unpacked; the type of the scales.
pub(crate) fn gather(call: &Call<'_>) -> Inferred {
    let dtype = call.dtype(2);
    let (Some(table), Some(indices)) = (call.shape(0), call.shape(1)) else {
        return one(dtype, None);
    };
    let bits = call.positive("bits", 4)?;
    let mut table = table.to_vec();
    // Bytes hold several elements each; types of 4 bits say what they are.
    if call.dtype(0) == Some(DType::U8)
        && let Some(last) = table.last_mut()
    {
        *last = last.checked_mul(8 / bits.min(8)).ok_or_else(|| call.overflow())?;
    }
    let axis = call.axis(call.int("gather_axis", 0)?, table.len())?;
    let (front, back) = table.split_at(axis);
    let shape = [front, indices, back.get(1..).unwrap_or_default()].concat();
    one(dtype, Some(shape))
}

/// `QEmbedLayerNormalization`: as without quantisation, in the type of the scales.
pub(crate) fn embed(call: &Call<'_>) -> Inferred {
    let ids = call.extents::<2>(0);
    let shape = ids.zip(call.extents::<2>(2)).map(|([b, s], [_, h])| vec![b, s, h]);
    let mask = Facts::tensor(Some(DType::I32), ids.map(|[b, _]| vec![b]));
    Ok(vec![Facts::tensor(call.dtype(8), shape), mask])
}

/// `MatMulFpQ4`: the shape of the weight is an input.
pub(crate) fn shaped_product(call: &Call<'_>) -> Inferred {
    let weight = Facts::tensor(None, call.sizes(2)?);
    if weight.shape.as_deref().is_some_and(|shape| elements(shape).is_none()) {
        return Err(call.overflow());
    }
    let inner =
        Call { node: call.node, inputs: vec![call.input(0), Some(&weight)], opset: call.opset };
    one(call.dtype(0), product_shape(&inner, 0, 1)?)
}

#[cfg(test)]
mod tests {
    use super::{concat, gather, gemm};
    use crate::onnx::infer::Facts;
    use crate::onnx::infer::call::testing::{call, node, tensor};
    use ir::tensor::DType;

    fn bytes(shape: &[u64]) -> Facts {
        Facts { dtype: Some(DType::U8), ..tensor(shape) }
    }

    #[test]
    fn data_stands_between_scales() {
        let (scale, zero) = (tensor(&[]), bytes(&[]));
        let op = node("QLinearConcat", &[("axis", &[1])]);
        let (left, right) = (bytes(&[2, 3]), bytes(&[2, 5]));
        let inputs = [&scale, &zero, &left, &scale, &zero, &right, &scale, &zero];
        let facts = concat(&call(&op, &inputs)).unwrap();
        assert_eq!((facts[0].shape.clone(), facts[0].dtype), (Some(vec![2, 8]), Some(DType::U8)));
        let op = node("QGemm", &[("transB", &[1])]);
        let (data, weight) = (bytes(&[4, 8]), bytes(&[16, 8]));
        let inputs = [&data, &scale, &zero, &weight, &scale, &zero];
        let facts = gemm(&call(&op, &inputs)).unwrap();
        // No zero point of the output: it comes out in floats.
        assert_eq!((facts[0].shape.clone(), facts[0].dtype), (Some(vec![4, 16]), Some(DType::F32)));
    }

    #[test]
    fn packed_tables_hold_two_elements_in_a_byte() {
        let op = node("GatherBlockQuantized", &[("bits", &[4])]);
        let (table, ids, scales) = (bytes(&[1000, 32]), tensor(&[2, 7]), tensor(&[1000, 2]));
        let facts = gather(&call(&op, &[&table, &ids, &scales])).unwrap();
        assert_eq!(
            (facts[0].shape.clone(), facts[0].dtype),
            (Some(vec![2, 7, 64]), Some(DType::F32))
        );
    }
}
