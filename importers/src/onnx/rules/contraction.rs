//! Operators that multiply matrices, as products.

use ir::diagnostic::Diagnostic;
use ir::op::{Kernel, Product, Work};
use ir::units::Bytes;

use crate::onnx::infer::call::broadcast;
use crate::onnx::infer::contraction::{fused_factors, gemm_extents};
use crate::onnx::infer::recurrent::cell;
use crate::onnx::infer::{einsum, quantized};
use crate::onnx::rules::rule::Job;

type Done = Result<Work, Diagnostic>;

/// `left @ right`, whose outer axes must broadcast.
fn matrix_product(job: &Job<'_>, left: &[u64], right: &[u64]) -> Result<Product, Diagnostic> {
    let outer = |extents: &'_ [u64]| extents.len().saturating_sub(2);
    broadcast(&left[..outer(left)], &right[..outer(right)])
        .ok_or_else(|| job.call.mismatch("the outer axes do not broadcast"))?;
    Product::of_matrices(left, right).ok_or_else(|| job.call.overflow())
}

fn factors(job: &Job<'_>, left: usize, right: usize) -> Done {
    let products = match (job.call.shape(left), job.call.shape(right)) {
        (Some(a), Some(b)) => vec![matrix_product(job, a, b)?],
        _ => Vec::new(),
    };
    Ok(Work::Kernel(job.product_kernel(products, left)))
}

/// `MatMul`, `MatMulInteger`.
pub(crate) fn mat_mul(job: &Job<'_>) -> Done {
    factors(job, 0, 1)
}

/// `QLinearMatMul`.
pub(crate) fn q_linear_mat_mul(job: &Job<'_>) -> Done {
    factors(job, 0, 3)
}

/// `com.microsoft::FusedMatMul`.
pub(crate) fn fused_mat_mul(job: &Job<'_>) -> Done {
    let products = match fused_factors(&job.call)? {
        Some([left, right]) => vec![matrix_product(job, &left, &right)?],
        None => Vec::new(),
    };
    Ok(Work::Kernel(job.product_kernel(products, 0)))
}

/// `Gemm`; its bias is not counted.
pub(crate) fn gemm(job: &Job<'_>) -> Done {
    let products = match gemm_extents(&job.call)? {
        Some([m, k, n]) => vec![Product { count: 1, m, k, n }],
        None => Vec::new(),
    };
    Ok(Work::Kernel(job.product_kernel(products, 0)))
}

/// `com.microsoft::MatMulNBits`: the weight is read packed, the product is in the data's type.
pub(crate) fn mat_mul_packed(job: &Job<'_>) -> Done {
    let (k, n) = (job.call.positive("K", 1)?, job.call.positive("N", 1)?);
    let products = match job.call.shape(0).and_then(|shape| shape.split_last()) {
        Some((_, rows)) => vec![Product { count: 1, m: job.volume(rows)?, k, n }],
        None => Vec::new(),
    };
    Ok(Work::Kernel(job.product_kernel(products, 0)))
}

/// A convolution as an implicit product: a row per output position, a column per output channel
/// of a group.
fn convolution(job: &Job<'_>, weight: usize) -> Done {
    let group = job.call.positive("group", 1)?;
    let products = match (job.output(), job.call.shape(weight)) {
        // Wherever the channels stand, there are as many as the weight has rows.
        (Some(output), Some([out, taps @ ..])) => {
            let m = job.volume(output)?.checked_div(*out).unwrap_or(0);
            vec![Product { count: group, m, k: job.volume(taps)?, n: out / group }]
        }
        _ => Vec::new(),
    };
    Ok(Work::Kernel(job.product_kernel(products, 0)))
}

/// `Conv`, `ConvInteger`.
pub(crate) fn conv(job: &Job<'_>) -> Done {
    convolution(job, 1)
}

/// `AffineGrid`: a matrix of 3 x 4 per sample on every point, of planes as of volumes: so its
/// function body does.
pub(crate) fn affine_grid(job: &Job<'_>) -> Done {
    let products = match job.output() {
        Some([count, points @ .., _]) => {
            vec![Product { count: *count, m: 3, k: 4, n: job.volume(points)? }]
        }
        _ => Vec::new(),
    };
    Ok(Work::Kernel(job.product_kernel(products, 0)))
}

/// `CausalConvWithState`: a product per channel, a row per position.
pub(crate) fn causal_conv(job: &Job<'_>) -> Done {
    let products = match (job.call.shape(0), job.call.shape(1)) {
        (Some([n, c, length]), Some([.., taps])) => {
            vec![Product { count: *c, m: job.volume(&[*n, *length])?, k: *taps, n: 1 }]
        }
        _ => Vec::new(),
    };
    Ok(Work::Kernel(job.product_kernel(products, 0)))
}

/// `QLinearConv`.
pub(crate) fn q_linear_conv(job: &Job<'_>) -> Done {
    convolution(job, 3)
}

/// `ConvTranspose`: a row per input position, a column per output channel and tap.
pub(crate) fn conv_transpose(job: &Job<'_>) -> Done {
    transposed(job, 1)
}

fn transposed(job: &Job<'_>, weight: usize) -> Done {
    let group = job.call.positive("group", 1)?;
    let products = match (job.call.shape(0), job.call.shape(weight)) {
        (Some(data), Some([channels, columns @ ..])) => {
            let m = job.volume(data)?.checked_div(*channels).unwrap_or(0);
            vec![Product { count: group, m, k: channels / group, n: job.volume(columns)? }]
        }
        _ => Vec::new(),
    };
    Ok(Work::Kernel(job.product_kernel(products, 0)))
}

/// `com.microsoft::DynamicQuantizeMatMul`: floats are quantised on the way to an integer product.
pub(crate) fn dynamic(job: &Job<'_>) -> Done {
    match factors(job, 0, 1)? {
        Work::Kernel(kernel) => Ok(Work::Kernel(Kernel { dtype: job.call.dtype(1), ..kernel })),
        work => Ok(work),
    }
}

/// `com.microsoft::QGemm`.
pub(crate) fn q_gemm(job: &Job<'_>) -> Done {
    let products = match gemm_extents(&job.call.with(&[0, 3]))? {
        Some([m, k, n]) => vec![Product { count: 1, m, k, n }],
        None => Vec::new(),
    };
    Ok(Work::Kernel(job.product_kernel(products, 0)))
}

/// `com.microsoft::QOrderedMatMul`.
pub(crate) fn ordered(job: &Job<'_>) -> Done {
    factors(job, 0, 2)
}

/// A product of the rows of the data with each of these weights, `k` deep and `n` wide.
fn rows_with(job: &Job<'_>, weights: &[(u64, u64)]) -> Done {
    let products = match job.call.shape(0).and_then(|shape| shape.split_last()) {
        Some((_, rows)) => {
            let m = job.volume(rows)?;
            weights.iter().map(|(k, n)| Product { count: 1, m, k: *k, n: *n }).collect()
        }
        None => Vec::new(),
    };
    Ok(Work::Kernel(job.product_kernel(products, 0)))
}

/// `com.microsoft::MatMulNBitsMlp`: gate and up projection.
pub(crate) fn packed_mlp(job: &Job<'_>) -> Done {
    let weight = (job.call.positive("K", 1)?, job.call.positive("N", 1)?);
    rows_with(job, &[weight, weight])
}

/// `com.microsoft::MatMulNBitsQkv`.
pub(crate) fn packed_qkv(job: &Job<'_>) -> Done {
    let k = job.call.positive("K", 1)?;
    let keys = (k, job.call.positive("Nkv", 1)?);
    rows_with(job, &[(k, job.call.positive("Nq", 1)?), keys, keys])
}

/// `com.microsoft::MatMulBlockQuantizedFp8Weight`, `...Fp4Weight`: the weight is read as stored.
pub(crate) fn block_product(job: &Job<'_>) -> Done {
    match quantized::block_weight(&job.call)? {
        Some((n, k)) => rows_with(job, &[(k, n)]),
        None => Ok(Work::Kernel(job.kernel())),
    }
}

/// `com.microsoft::MatMulFpQ4`: as wide as its result.
pub(crate) fn shaped(job: &Job<'_>) -> Done {
    let k = job.call.shape(0).and_then(<[u64]>::last);
    match k.zip(job.output().and_then(<[u64]>::last)) {
        Some((k, n)) => rows_with(job, &[(*k, *n)]),
        None => Ok(Work::Kernel(job.kernel())),
    }
}

/// `com.microsoft::CDist`: rows against rows.
pub(crate) fn distances(job: &Job<'_>) -> Done {
    match job.call.extents(1) {
        Some([n, k]) => rows_with(job, &[(k, n)]),
        None => Ok(Work::Kernel(job.kernel())),
    }
}

/// `com.ms.internal.nhwc::QLinearConvTranspose`.
pub(crate) fn q_linear_conv_transpose(job: &Job<'_>) -> Done {
    transposed(job, 3)
}

/// `com.microsoft::CausalConvWithState` of any layout, `VarlenCausalConvWithState`: so many
/// multiply-adds per element as the kernel has taps.
pub(crate) fn causal_taps(job: &Job<'_>) -> Done {
    let products = match (job.output(), job.call.shape(1)) {
        (Some(output), Some([channels, _, taps @ ..])) if *channels > 0 => {
            let m = job.volume(output)? / channels;
            vec![Product { count: *channels, m, k: job.volume(taps)?, n: 1 }]
        }
        _ => Vec::new(),
    };
    Ok(Work::Kernel(job.product_kernel(products, 0)))
}

/// `com.microsoft::DynamicQuantizeLSTM`: its products are of integers.
pub(crate) fn quantized_lstm(job: &Job<'_>) -> Done {
    match recurrent(job, 4)? {
        Work::Kernel(kernel) => Ok(Work::Kernel(Kernel { dtype: job.call.dtype(1), ..kernel })),
        work => Ok(work),
    }
}

/// `Einsum`.
pub(crate) fn einsum_product(job: &Job<'_>) -> Done {
    let products = match einsum::equation(&job.call)? {
        Some(equation) => equation.products().ok_or_else(|| job.call.overflow())?,
        None => Vec::new(),
    };
    Ok(Work::Kernel(job.product_kernel(products, 0)))
}

/// Gates of a recurrent layer: the inputs of all steps in one product, then one recurrent product
/// per step and direction. Together `2 b s g h (in + h)` per direction with `g` gates.
fn recurrent(job: &Job<'_>, gates: u64) -> Done {
    let Some(cell) = cell(&job.call)? else {
        return Ok(Work::Kernel(job.kernel()));
    };
    let n = job.volume(&[gates, cell.hidden])?;
    let rows = job.volume(&[cell.steps, cell.batch])?;
    let count = job.volume(&[cell.steps, cell.directions])?;
    let products = vec![
        Product { count: cell.directions, m: rows, k: cell.input, n },
        Product { count, m: cell.batch, k: cell.hidden, n },
    ];
    Ok(Work::Kernel(job.product_kernel(products, 0)))
}

/// `LSTM`.
pub(crate) fn lstm(job: &Job<'_>) -> Done {
    recurrent(job, 4)
}

/// `GRU`.
pub(crate) fn gru(job: &Job<'_>) -> Done {
    recurrent(job, 3)
}

/// `RNN`.
pub(crate) fn rnn(job: &Job<'_>) -> Done {
    recurrent(job, 1)
}

/// `com.microsoft::MoE`, `QMoE`: each token goes to `k` experts, and only experts that get tokens
/// are read.
pub(crate) fn experts(job: &Job<'_>) -> Done {
    let mut kernel = job.kernel();
    let k = job.call.positive("k", 1)?;
    let is_quantized = job.call.node.op_type == "QMoE";
    let bits = if is_quantized { job.call.positive("expert_weight_bits", 4)? } else { 8 };
    let (Some([rows @ .., hidden]), Some([n_experts, packed @ ..])) =
        (job.call.shape(0), job.call.shape(2))
    else {
        return Ok(Work::Kernel(kernel));
    };
    let visits = job.volume(&[job.volume(rows)?, k])?;
    let active = visits.min(*n_experts).max(1);
    let elements = job.volume(&[job.volume(packed)?, 8])? / bits;
    let inner = elements.checked_div(*hidden).unwrap_or(0);
    let (count, m) = if visits % active == 0 { (active, visits / active) } else { (1, visits) };
    // Inputs: fc1 weights 2, fc2 weights 4 (or 5 where scales stand between).
    kernel.products = vec![
        Product { count, m, k: *hidden, n: inner },
        Product { count, m, k: inner, n: *hidden },
    ];
    kernel.dtype = job.call.dtype(0);
    let weights: Bytes = (2..job.call.inputs.len()).map(|index| job.input_bytes(index)).sum();
    let touched = u128::from(weights.get()) * u128::from(active) / u128::from((*n_experts).max(1));
    let touched = Bytes(u64::try_from(touched).unwrap_or(u64::MAX));
    kernel = Kernel { bytes_read: kernel.bytes_read - weights + touched, ..kernel };
    Ok(Work::Kernel(kernel))
}
