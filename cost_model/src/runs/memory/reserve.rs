//! Memory that no formula of the model gives: allocator, workspace, driver, communicators.

use ir::chip::{Architecture, Chip};
use ir::plan::Parallelism;

use crate::kernels::rates::RESIDENT;

/// Free memory that the allocator of PyTorch keeps between tensors, over what they take: found on
/// torchtitan's runs, 1 to 5 %.
const RESERVED: f64 = 0.03;

/// What is set aside beside what is computed, in bytes of one rank.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reserve {
    /// Rounding of the allocator and small tensors of the framework.
    pub allocator: f64,
    /// Scratch memory of product libraries.
    pub workspace: f64,
    /// Context of the driver and loaded kernels.
    pub context: f64,
    /// Buffers of each communicator.
    pub per_communicator: f64,
    /// Free memory that is too scattered to be used, as a share of what is allocated.
    pub fragmentation: f64,
}

/// Workspace of cuBLAS in PyTorch on one stream of a GPU from compute capability 9.0 on
/// (`CUBLAS_WORKSPACE_CONFIG` `:4096:8`, PyTorch documentation): 32 MiB.
const WORKSPACE: f64 = 32.0 * 1024.0 * 1024.0;
/// Context of a CUDA process with the kernels of PyTorch; *nominal*, 0.3 to 0.6 GB by driver.
const CONTEXT: f64 = 0.5e9;
/// Buffers of one NCCL communicator: 4 MiB (`NCCL_BUFFSIZE`) for each of 16 channels, both ways;
/// *nominal*, the count of channels depends on the links.
const COMMUNICATOR: f64 = 2.0 * 16.0 * 4.0 * 1024.0 * 1024.0;
/// *Nominal*: 2 to 10 % by how sizes of tensors vary.
const FRAGMENTATION: f64 = 0.1;

/// Bytes more than [`RESIDENT`] that mixtures of experts show: 105 MB of those peaks instead of 75.
const RESIDENT_EXPERTS: f64 = 0.03e9;
/// Streams whose workspaces grouped products hold: four of cuBLAS on devices of compute capability
/// 9.0 and later, seen as 245 MB instead of 110 resident where the experts of a test are grouped
/// (`--moe-grouped-gemm`).
const GROUPED_STREAMS: f64 = 4.0;
/// Bytes of a device beside a mixture of experts, whose products are grouped or run one after the other.
#[must_use]
pub fn beside_experts(chip: Chip, is_grouped: bool) -> f64 {
    let has_streams =
        is_grouped && matches!(chip.architecture(), Architecture::Hopper | Architecture::Blackwell);
    RESIDENT_EXPERTS + if has_streams { GROUPED_STREAMS * WORKSPACE } else { 0.0 }
}

impl Reserve {
    /// Bytes beside so many allocated ones, of a rank of these degrees.
    #[must_use]
    pub fn bytes(&self, degrees: &Parallelism, allocated: f64) -> f64 {
        let d = degrees;
        let groups = [d.data, d.tensor, d.pipeline, d.expert, d.context];
        let n_communicators = groups.iter().filter(|degree| **degree > 1).count() as f64;
        self.allocator
            + self.workspace
            + self.context
            + self.per_communicator * n_communicators
            + self.fragmentation * allocated
    }

    /// Nothing.
    pub const NONE: Self = Self {
        allocator: 0.0,
        workspace: 0.0,
        context: 0.0,
        per_communicator: 0.0,
        fragmentation: 0.0,
    };

    /// What the peak of an allocator holds (`torch.cuda.max_memory_allocated`).
    #[must_use]
    pub const fn allocator_peak() -> Self {
        Self { allocator: RESIDENT, ..Self::NONE }
    }

    /// What an allocator has taken from the device (`torch.cuda.max_memory_reserved`).
    #[must_use]
    pub const fn reserved() -> Self {
        Self { fragmentation: RESERVED, ..Self::allocator_peak() }
    }

    /// What a device must have free.
    #[must_use]
    pub const fn device() -> Self {
        Self {
            allocator: RESIDENT,
            workspace: WORKSPACE,
            context: CONTEXT,
            per_communicator: COMMUNICATOR,
            fragmentation: FRAGMENTATION,
        }
    }
}
