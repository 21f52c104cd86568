//! Matrix products.

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;

use crate::onnx::infer::Facts;
use crate::onnx::infer::call::{Call, broadcast, one};

type Inferred = Result<Vec<Facts>, Diagnostic>;

/// The shape of `left @ right` in NumPy's sense.
pub(crate) fn product_shape(
    call: &Call<'_>,
    left: usize,
    right: usize,
) -> Result<Option<Vec<u64>>, Diagnostic> {
    let (Some(a), Some(b)) = (call.shape(left), call.shape(right)) else { return Ok(None) };
    let (Some((k_left, rows)), Some((_, _))) = (a.split_last(), b.split_last()) else {
        return Err(call.mismatch("a factor is a scalar"));
    };
    let (batch_right, k_right, columns) = match b {
        [k] => (&[][..], k, None),
        [batch @ .., k, n] => (batch, k, Some(*n)),
        [] => return Ok(None),
    };
    if k_left != k_right {
        return Err(call.mismatch(format!("inner extents {k_left} and {k_right} differ")));
    }
    let (batch_left, row) = match rows.split_last() {
        Some((row, batch)) => (batch, Some(*row)),
        None => (&[][..], None),
    };
    let mut shape = broadcast(batch_left, batch_right)
        .ok_or_else(|| call.mismatch("the outer axes do not broadcast"))?;
    shape.extend(row);
    shape.extend(columns);
    Ok(Some(shape))
}

/// `MatMul`.
pub(crate) fn mat_mul(call: &Call<'_>) -> Inferred {
    one(call.dtype(0).or_else(|| call.dtype(1)), product_shape(call, 0, 1)?)
}

/// `MatMulInteger`.
pub(crate) fn mat_mul_integer(call: &Call<'_>) -> Inferred {
    one(Some(DType::I32), product_shape(call, 0, 1)?)
}

/// `QLinearMatMul`: factors at 0 and 3, type of the output's zero point.
pub(crate) fn q_linear_mat_mul(call: &Call<'_>) -> Inferred {
    one(call.dtype(7), product_shape(call, 0, 3)?)
}

/// Rows, contracted extent and columns of a `Gemm`.
pub(crate) fn gemm_extents(call: &Call<'_>) -> Result<Option<[u64; 3]>, Diagnostic> {
    let transposed = [call.int("transA", 0)? != 0, call.int("transB", 0)? != 0];
    let (Some(a), Some(b)) = (call.shape(0), call.shape(1)) else { return Ok(None) };
    let (&[a0, a1], &[b0, b1]) = (a, b) else {
        return Err(call.mismatch("a factor does not have two axes"));
    };
    let (m, k) = if transposed[0] { (a1, a0) } else { (a0, a1) };
    let (k_right, n) = if transposed[1] { (b1, b0) } else { (b0, b1) };
    if k != k_right {
        return Err(call.mismatch(format!("inner extents {k} and {k_right} differ")));
    }
    Ok(Some([m, k, n]))
}

/// `Gemm`.
pub(crate) fn gemm(call: &Call<'_>) -> Inferred {
    one(call.dtype(0), gemm_extents(call)?.map(|[m, _, n]| vec![m, n]))
}

/// `com.microsoft::MatMulNBits`, `MatMulBnb4`: the weight is `N x K` by attributes.
pub(crate) fn mat_mul_packed(call: &Call<'_>) -> Inferred {
    let (k, n) = (call.positive("K", 0)?, call.positive("N", 0)?);
    call.positive("block_size", 32)?;
    let Some(shape) = call.shape(0) else { return one(call.dtype(0), None) };
    let Some((last, rows)) = shape.split_last() else {
        return Err(call.mismatch("the left factor is a scalar"));
    };
    if *last != k {
        return Err(call.mismatch(format!("inner extents {last} and {k} differ")));
    }
    one(call.dtype(0), Some(rows.iter().copied().chain([n]).collect()))
}

/// `com.microsoft::FusedMatMul`: with transpositions of the last two axes, and of the first one
/// to where the rows are.
pub(crate) fn fused_mat_mul(call: &Call<'_>) -> Inferred {
    let (Some([left, right]), dtype) = (fused_factors(call)?, call.dtype(0)) else {
        return one(call.dtype(0), None);
    };
    let [left, right] = [left, right].map(|shape| Facts::tensor(dtype, Some(shape)));
    let inner =
        Call { node: call.node, inputs: vec![Some(&left), Some(&right)], opset: call.opset };
    one(dtype, product_shape(&inner, 0, 1)?)
}

/// Both factors of a `FusedMatMul` as they enter the product.
pub(crate) fn fused_factors(call: &Call<'_>) -> Result<Option<[Vec<u64>; 2]>, Diagnostic> {
    let flag = |name| call.int(name, 0).map(|value| value != 0);
    let swap = [flag("transA")?, flag("transB")?];
    let rotate = [flag("transBatchA")?, flag("transBatchB")?];
    let (Some(left), Some(right)) = (call.shape(0), call.shape(1)) else { return Ok(None) };
    let mut factors = [left.to_vec(), right.to_vec()];
    for ((factor, swap), rotate) in factors.iter_mut().zip(swap).zip(rotate) {
        if let [outer @ .., _] = factor.as_mut_slice()
            && rotate
            && outer.len() > 1
        {
            outer.rotate_left(1);
        }
        if let [.., row, column] = factor.as_mut_slice()
            && swap
        {
            std::mem::swap(row, column);
        }
    }
    Ok(Some(factors))
}

#[cfg(test)]
mod tests {
    use super::{gemm, mat_mul};
    use crate::onnx::infer::call::testing::{call, node, tensor};

    #[test]
    fn products_follow_numpy() {
        let op = node("MatMul", &[]);
        type Case<'a> = (&'a [u64], &'a [u64], Option<&'a [u64]>);
        let cases: [Case<'_>; 6] = [
            (&[2, 3], &[3, 4], Some(&[2, 4])),
            (&[7, 1, 2, 3], &[5, 3, 4], Some(&[7, 5, 2, 4])),
            (&[3], &[3, 4], Some(&[4])),
            (&[2, 3], &[3], Some(&[2])),
            (&[3], &[3], Some(&[])),
            (&[2, 3], &[4, 3], None),
        ];
        for (left, right, expected) in cases {
            let result = mat_mul(&call(&op, &[&tensor(left), &tensor(right)]));
            let shape = result.ok().map(|facts| facts[0].shape.clone().unwrap());
            assert_eq!(shape.as_deref(), expected);
        }
        let op = node("Gemm", &[("transB", &[1])]);
        let facts = gemm(&call(&op, &[&tensor(&[2, 3]), &tensor(&[4, 3])])).unwrap();
        assert_eq!(facts[0].shape, Some(vec![2, 4]));
    }
}
