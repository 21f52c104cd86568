//! The software between a plan and the devices: what it fuses, overlaps and launches.

use crate::units::Seconds;

/// Kernel of the attention core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AttentionKernel {
    /// Two batched products with scores, softmax and dropout in memory between them.
    Unfused,
    /// One kernel that never writes the scores (Dao et al. 2022).
    #[default]
    Flash,
}

/// Whether pointwise ops between products run as one kernel each or fused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Elementwise {
    /// A kernel each.
    Separate,
    /// Chains of them as one kernel.
    #[default]
    Fused,
}

/// How kernels are launched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Launch {
    /// One by one from the host: a block takes at least `launch_floor`.
    #[default]
    Eager,
    /// As a recorded graph: no floor.
    CudaGraphs,
}

/// What a software stack does. All figures belong to the stack, not to a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Stack {
    /// Name of the preset or of the user's own.
    pub name: String,
    /// Least time of one block's forward pass under eager launches; backward takes twice that.
    pub launch_floor: Seconds,
    /// How kernels are launched.
    pub launch: Launch,
    /// Whether pointwise ops are fused.
    pub elementwise: Elementwise,
    /// Kernel of the attention core.
    pub attention: AttentionKernel,
    /// Share of the gradient exchange that runs beside the backward pass, in 0..=1.
    pub overlap_data: f64,
    /// Share of the tensor-parallel collectives that runs beside products, in 0..=1.
    pub overlap_tensor: f64,
    /// Factor on kernel rates of a hot, power-limited step, in (0, 1].
    pub derating: f64,
    /// Where the figures come from.
    pub source: String,
}
