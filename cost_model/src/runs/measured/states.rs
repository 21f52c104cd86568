//! Parameters, gradients and optimizer states of one device, as shares of 16 bytes a parameter.
//!
//! Mixed-precision Adam holds 2 bytes of weights, 2 of gradients and 12 of states (Rajbhandari et
//! al. 2020, section 3.1). With several micro-batches gradients are summed where they are until the
//! step ends, so every replica holds them whole (PyTorch's fully sharded data parallel without
//! exchange between micro-batches); with one they are shared out as they come.

use ir::card::ZeroStage;
use ir::workload::Optimizer;

use crate::runs::forms::model::Offload;
use crate::runs::memory::states::host_bytes;

/// Weights, of 16 bytes.
const WEIGHTS: f64 = 2.0 / 16.0;
/// Gradients, of 16 bytes.
const GRADIENTS: f64 = 2.0 / 16.0;
/// Master weights and two moments, of 16 bytes.
const OPTIMIZER: f64 = 12.0 / 16.0;
/// What a device holds of everything beyond its share, by padding of the shards; Galvatron's cost
/// model (`core/search_engine/cost_model.py`), *nominal*.
const PADDING: f64 = 0.003;

/// Share of all states that one of `n_ranks` holds.
#[must_use]
pub fn share(zero: ZeroStage, n_ranks: u32, n_micro_batches: u64, offload: Offload) -> f64 {
    let shared = match n_ranks {
        0 | 1 => 1.0,
        n => 1.0 / f64::from(n) + PADDING,
    };
    let of = |is_shared: bool| if is_shared { shared } else { 1.0 };
    let whole_gradients = n_micro_batches > 1;
    let optimizer = match offload {
        Offload::Nothing => OPTIMIZER * of(zero >= ZeroStage::Optimizer),
        Offload::Optimizer => 0.0,
        Offload::Parameters => return 0.0,
    };
    WEIGHTS * of(zero == ZeroStage::Parameters)
        + GRADIENTS * of(zero >= ZeroStage::Gradients && !whole_gradients)
        + optimizer
}

/// Bytes that hosts keep where a parameter has 16 bytes of states, per device.
#[must_use]
pub fn on_host(bytes: f64, n_ranks: u32, offload: Offload) -> f64 {
    match offload {
        Offload::Nothing => 0.0,
        // Adam, whose states are the other twelve.
        Offload::Optimizer => bytes / 16.0 * host_bytes(Optimizer::AdamW, f64::from(n_ranks)),
        Offload::Parameters => {
            let states = bytes / 16.0 * host_bytes(Optimizer::AdamW, f64::from(n_ranks));
            states + bytes * (WEIGHTS + GRADIENTS) / f64::from(n_ranks.max(1))
        }
    }
}
