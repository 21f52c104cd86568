//! Bytes of numbers under the element type of a training run.
//!
//! fp32 computes everything in 32 bits. bf16 and fp16 keep activations and the weights that are
//! computed with in 16 bits. fp8 does what bf16 does, but for products by weights of blocks: their
//! operands are 8 bits wide, so their kept inputs are too, and each such weight has a copy and a
//! transposed copy in 8 bits (NVIDIA, Transformer Engine documentation, FP8 recipes).

use ir::card::StateFormat;
use ir::stack::{Scaling, Stack};
use ir::tensor::DType;
use ir::workload::Optimizer;

/// Types that training runs compute in.
pub const TYPES: [DType; 5] = [DType::Bf16, DType::F16, DType::F32, DType::F8, DType::F4];

/// Copies of a block's weights as operands: one, and a transposed one.
const COPIES: f64 = 2.0;

/// Bytes of an activation, of its gradient, and of a weight that is computed with.
#[must_use]
pub const fn element(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 8.0,
        DType::F32 => 4.0,
        _ => 2.0,
    }
}

/// Bytes of an operand of a product by weights; of NVFP4 with a factor of 8 bits for every 16 values.
#[must_use]
pub const fn operand(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 8.0,
        DType::F32 => 4.0,
        DType::F8 => 1.0,
        DType::F4 => 0.5625,
        _ => 2.0,
    }
}

/// The type of what is no product by weights: attention, head, pointwise kernels.
#[must_use]
pub const fn beside(dtype: DType) -> DType {
    match dtype {
        DType::F8 | DType::F4 => DType::Bf16,
        other => other,
    }
}

/// Bytes per parameter of a block that copies in the type of its products take.
#[must_use]
pub const fn copies(dtype: DType) -> f64 {
    match dtype {
        DType::F8 | DType::F4 => COPIES * operand(dtype),
        _ => 0.0,
    }
}

/// Bytes per parameter that the optimizer reads and writes.
///
/// With a 32-bit master copy: the 16-bit gradient becomes a 32-bit one (2 + 4), the optimizer reads
/// it and the master weight and writes that (12), and the weight that is computed with is written
/// (2); AdamW reads and writes two moments (16), Adafactor reads the gradient once more for its sums
/// (4). Without one: gradient and weight are read and the weight is written (12, 6 of 16-bit weights that are
/// updated in place), and the same besides, where moments of PyTorch's optimizers have 16 bits as the weights. fp8 and nvfp4 read the 16-bit weight again and write two copies.
#[must_use]
pub fn optimizer_bytes(dtype: DType, optimizer: Optimizer, format: StateFormat) -> f64 {
    let states = moved_states(optimizer);
    if matches!(dtype, DType::Bf16 | DType::F16) {
        if optimizer.is_in_place() {
            return 3.0 * element(dtype) + states;
        }
        if format == StateFormat::Half {
            return 3.0 * element(dtype) + states / 2.0;
        }
    }
    let plain = match dtype {
        DType::F32 => 12.0,
        DType::F8 => 24.0,
        DType::F4 => 20.0 + 2.0 + 2.0 * 0.5625,
        _ => 20.0,
    };
    plain + states
}

/// Bytes of moments per parameter that are read and written; Adafactor's sums read the gradient once more.
const fn moved_states(optimizer: Optimizer) -> f64 {
    match optimizer {
        Optimizer::Adafactor => 4.0,
        other => 2.0 * other.moments()[0],
    }
}

/// Bytes per parameter that an optimizer reads and writes in the memory of its host: the gradient,
/// the weight there and the states, and the weight for the device.
#[must_use]
pub const fn host_optimizer_bytes(dtype: DType, optimizer: Optimizer) -> f64 {
    4.0 + 8.0 + moved_states(optimizer) + element(dtype)
}

/// Bytes that casting an element of an operand moves, from 16 bits: its greatest value is looked for
/// (2), it is read and written (3), and a transposed copy is written, where Hopper reads it once more
/// (1; Blackwell's tensor cores read either order). Blocks need no pass of their own for the greatest
/// value. fp4 turns columns before they are cast.
///
/// Derived from the kernels of Transformer Engine 2; the cast in the rows of `gemm_fp8.csv` moves
/// about 6 bytes an element on every device.
#[must_use]
pub const fn cast_bytes(dtype: DType, scaling: Scaling, is_transposed_apart: bool) -> f64 {
    match (dtype, scaling, is_transposed_apart) {
        (DType::F8, Scaling::Block, _) => 4.2,
        (DType::F8, _, true) => 6.0,
        (DType::F8, _, false) => 5.0,
        (DType::F4, ..) => 5.2,
        _ => 0.0,
    }
}

/// In which numbers gradients are summed and exchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gradients {
    /// 16 bits: 2 bytes each on the wire; adding a micro-batch's reads and writes 2 + 2 + 2.
    #[default]
    Half,
    /// 32-bit main gradients: 4 bytes each on the wire; adding one of 16 bits reads and writes
    /// 2 + 4 + 4.
    Full,
}

impl Gradients {
    /// Those of a run that computes in a type under a stack.
    #[must_use]
    pub const fn of(dtype: DType, stack: &Stack) -> Self {
        match (dtype, stack.gradients) {
            (DType::F32 | DType::F64, _) | (_, DType::F32) => Self::Full,
            _ => Self::Half,
        }
    }

    /// Bytes per parameter that data-parallel replicas exchange.
    #[must_use]
    pub const fn exchanged(self) -> f64 {
        match self {
            Self::Half => 2.0,
            Self::Full => 4.0,
        }
    }

    /// Bytes per parameter that adding one micro-batch's gradients of a type reads and writes.
    #[must_use]
    pub const fn added(self, dtype: DType) -> f64 {
        match self {
            Self::Half => 6.0,
            Self::Full => element(dtype) + 8.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_by_hand() {
        // 6 for the wide gradient, 28 for Adam and its three 32-bit numbers, 2 for the weight.
        assert_eq!(optimizer_bytes(DType::Bf16, Optimizer::AdamW, StateFormat::Megatron), 36.0);
        // Weight, gradient and two moments of 16 bits read, all but the gradient written.
        assert_eq!(optimizer_bytes(DType::Bf16, Optimizer::AdamW, StateFormat::Half), 14.0);
        // Gradient, weight and two moments read, the last three written.
        assert_eq!(optimizer_bytes(DType::F32, Optimizer::AdamW, StateFormat::Single), 28.0);
        assert_eq!(optimizer_bytes(DType::F32, Optimizer::Sgd, StateFormat::Single), 12.0);
        assert_eq!(host_optimizer_bytes(DType::Bf16, Optimizer::AdamW), 30.0);
        assert_eq!(TYPES.map(element), [2.0, 2.0, 4.0, 2.0, 2.0]);
        assert_eq!(TYPES.map(operand), [2.0, 2.0, 4.0, 1.0, 0.5625]);
    }
}
