//! Memory that no formula of the model gives: allocator, workspace, driver, communicators.

use ir::plan::Parallelism;

use crate::kernels::rates::RESIDENT;

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
const FRAGMENTATION: f64 = 0.05;

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
