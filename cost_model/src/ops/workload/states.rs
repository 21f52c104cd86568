//! Bytes of training state per parameter.
//!
//! | parameters | weight | gradient | master | AdamW | SGD | Adafactor |
//! |---|---|---|---|---|---|---|
//! | bf16, fp16 | 2 | 4 | 4 | 8 | 0 | rows + columns |
//! | fp32 | 4 | 4 | 0 | 8 | 0 | rows + columns |
//! | fp64 | 8 | 8 | 0 | 16 | 0 | rows + columns |
//!
//! In bytes per element; 18 for bf16 with AdamW, as Megatron-LM holds it (fp16 weight, fp32 main
//! gradient, fp32 weight, two fp32 moments). Adafactor keeps, per matrix of the last two extents,
//! one fp32 per row and one per column (Shazeer and Stern 2018, algorithm 4); vectors keep one per
//! element.

use ir::card::StateFormat;
use ir::tensor::{DType, Tensor};
use ir::units::Bytes;
use ir::workload::Optimizer;

use crate::kernels::precision;

/// Training state of one parameter in bytes, each part once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct States {
    pub(crate) gradient: Bytes,
    pub(crate) master: Bytes,
    pub(crate) moments: Bytes,
}

impl States {
    /// All that the parameter drags along besides its weight.
    pub(crate) fn total(&self) -> Bytes {
        self.gradient + self.master + self.moments
    }
}

/// Elements of a tensor: by its shape, or else by its bytes.
pub(super) fn elements(tensor: &Tensor) -> u64 {
    let by_shape =
        tensor.shape.iter().try_fold(1u64, |product, extent| product.checked_mul(*extent));
    match by_shape {
        Some(elements) if !tensor.shape.is_empty() => elements,
        _ => tensor.bytes.get().saturating_mul(8) / tensor.dtype.bits().max(1),
    }
}

/// The training state of a parameter.
pub(crate) fn states(parameter: &Tensor, optimizer: Optimizer) -> States {
    let elements = elements(parameter);
    let wide = if parameter.dtype == DType::F64 { 8 } else { 4 };
    let times = |each: u64, count: u64| Bytes(each.saturating_mul(count));
    let narrow = matches!(parameter.dtype, DType::F16 | DType::Bf16 | DType::F8 | DType::F4);
    let needs_master = narrow && !optimizer.is_in_place();
    // Matrices of embeddings and heads are not told apart from those of blocks.
    let [of_matrices, of_others] = optimizer.moments();
    let each = if parameter.shape.len() < 2 { of_others } else { of_matrices };
    let lines = rows_and_columns(&parameter.shape, elements);
    let n_lines = if optimizer.keeps_lines() { lines } else { 0 };
    let moments = (each * (wide / 4) as f64 * elements as f64) as u64;
    States {
        gradient: times(if narrow && !needs_master { 2 } else { wide }, elements),
        master: if needs_master { times(4, elements) } else { Bytes::ZERO },
        moments: Bytes(moments) + times(wide, n_lines),
    }
}

/// Rows and columns of all matrices of a shape, elements of a vector: what Adafactor keeps a number
/// for.
#[must_use]
pub fn rows_and_columns(shape: &[u64], elements: u64) -> u64 {
    match shape {
        [outer @ .., rows, columns] => {
            let matrices =
                outer.iter().fold(1u64, |product, extent| product.saturating_mul(*extent));
            matrices.saturating_mul(rows.saturating_add(*columns))
        }
        _ => elements,
    }
}

/// Bytes that one update reads and writes.
///
/// All together what [`precision::optimizer_bytes`] counts; it writes the weight, the master with the
/// 32-bit gradient that it is made from, and the moments.
pub(super) fn traffic(parameter: &Tensor, states: &States, optimizer: Optimizer) -> (Bytes, Bytes) {
    let (dtype, wider) = match parameter.dtype {
        DType::F64 => (DType::F32, 2.0),
        dtype => (dtype, 1.0),
    };
    let format = StateFormat::Megatron;
    let all =
        wider * precision::optimizer_bytes(dtype, optimizer, format) * elements(parameter) as f64;
    let gradient = if states.master == Bytes::ZERO { Bytes::ZERO } else { states.gradient };
    let written = parameter.bytes + states.master + states.moments + gradient;
    (Bytes((all as u64).saturating_sub(written.get())), written)
}

#[cfg(test)]
mod tests {
    use ir::tensor::Role;

    use super::*;

    fn parameter(dtype: DType, shape: &[u64]) -> Tensor {
        let elements = shape.iter().product();
        Tensor {
            name: "w".to_owned(),
            dtype,
            shape: shape.to_vec(),
            bytes: dtype.size_of(elements).unwrap_or(Bytes::MAX),
            state_bytes: Bytes::ZERO,
            role: Role::Parameter,
            trainable: true,
        }
    }

    #[test]
    fn bf16_with_adam_is_eighteen_bytes_per_parameter() {
        let tensor = parameter(DType::Bf16, &[10, 100]);
        let states = states(&tensor, Optimizer::AdamW);
        assert_eq!(tensor.bytes + states.total(), Bytes(18_000));
        // Reads 2 + 4 + 8 + 4, writes 2 + 4 + 8 + 4.
        let traffic = traffic(&tensor, &states, Optimizer::AdamW);
        assert_eq!(traffic, (Bytes(18_000), Bytes(18_000)));
    }

    #[test]
    fn fp32_has_no_master() {
        let tensor = parameter(DType::F32, &[1_000]);
        let adam = states(&tensor, Optimizer::AdamW);
        assert_eq!(
            adam,
            States { gradient: Bytes(4_000), master: Bytes::ZERO, moments: Bytes(8_000) }
        );
        // Reads 4 + 8 + 4, writes 4 + 8.
        let traffic = traffic(&tensor, &adam, Optimizer::AdamW);
        assert_eq!(traffic, (Bytes(16_000), Bytes(12_000)));
    }

    #[test]
    fn sgd_keeps_no_moments_and_adafactor_keeps_edges() {
        let matrix = parameter(DType::Bf16, &[10, 100]);
        assert_eq!(states(&matrix, Optimizer::Sgd).total(), Bytes(8_000));
        assert_eq!(states(&matrix, Optimizer::Adafactor).moments, Bytes(4 * 110));
        let experts = parameter(DType::Bf16, &[8, 10, 100]);
        assert_eq!(states(&experts, Optimizer::Adafactor).moments, Bytes(8 * 4 * 110));
        let vector = parameter(DType::Bf16, &[100]);
        assert_eq!(states(&vector, Optimizer::Adafactor).moments, Bytes(400));
    }
}
