//! Bytes of parameters, gradients, master weights and optimizer states, by number format and by
//! what the replicas share out.

use ir::card::{StateFormat, ZeroStage};
use ir::workload::Optimizer;

/// Bytes of a single-precision number.
const SINGLE: f64 = 4.0;
/// Bytes of a half-precision number.
const HALF: f64 = 2.0;
/// Bytes of host memory for each byte of states there: what DeepSpeed's estimators take
/// (`additional_buffer_factor` of `estimate_zero2_model_states_mem_needs` and its siblings). PyTorch rounds
/// pinned buffers up to powers of two, so that the 8 pinned bytes of Megatron-Core's optimizer take 16 at most:
/// as much in all.
pub const HOST_BUFFERS: f64 = 1.5;

/// Bytes per parameter that one rank keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StateBytes {
    /// Weights that are computed with.
    pub parameters: f64,
    /// Gradients.
    pub gradients: f64,
    /// Single-precision copy of the weights.
    pub master_weights: f64,
    /// Moments of the optimizer.
    pub optimizer_states: f64,
}

impl StateBytes {
    /// All together.
    #[must_use]
    pub fn total(self) -> f64 {
        self.parameters + self.gradients + self.master_weights + self.optimizer_states
    }
}

/// Bytes per parameter where `replicas` share out what `zero` says. What Adafactor keeps by row and
/// by column of a matrix is not among them.
#[must_use]
pub fn state_bytes(
    format: StateFormat,
    optimizer: Optimizer,
    zero: ZeroStage,
    replicas: f64,
) -> StateBytes {
    let moments = moments(optimizer, format);
    let whole = match format {
        StateFormat::Half => [HALF, HALF, 0.0, moments[0]],
        StateFormat::Megatron => [HALF, SINGLE, SINGLE, moments[0]],
        StateFormat::HalfGradients => [HALF, HALF, SINGLE, moments[0]],
        StateFormat::HalfGradientsSummed => [HALF, HALF + SINGLE, SINGLE, moments[0]],
        StateFormat::Single => [SINGLE, SINGLE, 0.0, moments[0]],
    };
    let replicas = replicas.max(1.0);
    let share = |least: ZeroStage, bytes: f64| if zero >= least { bytes / replicas } else { bytes };
    let [parameters, gradients, master_weights, optimizer_states] = whole;
    StateBytes {
        parameters: share(ZeroStage::Parameters, parameters),
        gradients: share(ZeroStage::Gradients, gradients),
        master_weights: share(ZeroStage::Optimizer, master_weights),
        optimizer_states: share(ZeroStage::Optimizer, optimizer_states),
    }
}

/// Bytes of host memory per parameter whose optimizer runs there, where so many ranks share it out: weights,
/// gradients and moments in single precision (`HybridDeviceOptimizer` of Megatron-Core d98e8a64; the 16 bytes
/// of DeepSpeed's estimators), times [`HOST_BUFFERS`]. Copies of whole models that processes load on the host
/// before are not counted.
#[must_use]
pub fn host_bytes(optimizer: Optimizer, sharers: f64) -> f64 {
    HOST_BUFFERS * (2.0 * SINGLE + optimizer.moments()[0]) / sharers.max(1.0)
}

/// Bytes of moments per parameter of a matrix of a block, and of another one: of 16-bit parameters PyTorch's
/// optimizers keep theirs in 16 bits too, others state their own.
#[must_use]
pub fn moments(optimizer: Optimizer, format: StateFormat) -> [f64; 2] {
    let halves = format == StateFormat::Half && !optimizer.is_in_place();
    optimizer.moments().map(|bytes| if halves { bytes / 2.0 } else { bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Published runs of a model of 33 billion parameters with ZeRO-Offload: 600 GB of host memory were too
    /// few, 800 GB enough.
    #[test]
    fn hosts_hold_what_deepspeed_estimates() {
        let bytes = |n_parameters: f64| n_parameters * host_bytes(Optimizer::AdamW, 1.0);
        assert!((600e9..800e9).contains(&bytes(33e9)), "{}", bytes(33e9));
        // `estimate_zero2_model_states_mem_needs(2.851e9)` prints 63.72 GB (of 2^30 bytes) per CPU.
        assert!((bytes(2.851e9) / 1024.0_f64.powi(3) - 63.72).abs() < 0.01);
    }

    fn total(format: StateFormat, zero: ZeroStage, replicas: f64) -> f64 {
        state_bytes(format, Optimizer::AdamW, zero, replicas).total()
    }

    #[test]
    fn the_table_of_zero() {
        for (zero, gigabytes) in [
            (ZeroStage::None, 120.0),
            (ZeroStage::Optimizer, 31.40625),
            (ZeroStage::Gradients, 16.640625),
            (ZeroStage::Parameters, 1.875),
        ] {
            assert_eq!(7.5 * total(StateFormat::HalfGradients, zero, 64.0), gigabytes);
        }
    }

    #[test]
    fn formats_of_the_stacks() {
        use StateFormat::{HalfGradients, HalfGradientsSummed, Megatron, Single};
        let shards = 24.0;
        assert_eq!(total(Megatron, ZeroStage::None, shards), 18.0);
        assert_eq!(total(Megatron, ZeroStage::Optimizer, shards), 6.0 + 12.0 / shards);
        assert_eq!(total(Megatron, ZeroStage::Gradients, shards), 2.0 + 16.0 / shards);
        assert_eq!(total(Megatron, ZeroStage::Parameters, shards), 18.0 / shards);
        assert_eq!(total(HalfGradients, ZeroStage::Optimizer, shards), 4.0 + 12.0 / shards);
        assert_eq!(total(HalfGradientsSummed, ZeroStage::Optimizer, shards), 8.0 + 12.0 / shards);
        assert_eq!(total(Single, ZeroStage::Parameters, shards), 16.0 / shards);
        assert_eq!(total(Megatron, ZeroStage::Parameters, 0.0), 18.0);
    }

    /// Bytes of weight, gradient and moments of one 16-bit parameter that is updated in place.
    #[test]
    fn states_in_fewer_bits() {
        let total =
            |optimizer| state_bytes(StateFormat::Half, optimizer, ZeroStage::None, 1.0).total();
        let factor = 4.0 / 256.0;
        for (optimizer, bytes) in [
            (Optimizer::AdamW, 8.0),
            (Optimizer::AdamW16, 8.0),
            (Optimizer::AdamW8, 6.0 + 2.0 * factor),
            (Optimizer::PagedAdamW, 12.0),
            (Optimizer::Lion, 6.0),
            (Optimizer::Lion8, 5.0 + factor),
            (Optimizer::Muon, 6.0),
            (Optimizer::AdamMini, 6.0),
            (Optimizer::Sgd, 4.0),
        ] {
            assert_eq!(total(optimizer), bytes, "{optimizer:?}");
        }
    }
}
