//! Ops on accelerators that hang on the memory of a host with CPU cores.

use crate::op::Phase;
use crate::units::{Bytes, Nanos};

/// An op.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadNode {
    /// Its id in the file.
    pub source_id: u64,
    /// Its name; may be empty, need not be unique.
    pub name: String,
    /// Time on one CPU core.
    pub cpu: Nanos,
    /// Time on an accelerator; `None` = can't run there.
    pub accelerator: Option<Nanos>,
    /// Time to move its output between one accelerator and the host's memory.
    pub transfer: Nanos,
    /// Bytes that it holds on an accelerator; CPU cores have no limit.
    pub bytes: Bytes,
    /// Nodes of one colour share a device; less than [`LoadInstance::n_colours`].
    pub colour: Option<u32>,
    /// Forward, or backward (`BackwardInput` = the whole backward pass).
    pub phase: Phase,
}

/// Ops with given times on `n_accelerators` equal accelerators and `n_cpus` equal CPU cores, and
/// transfers through the host's memory.
///
/// Nodes are numbered by position, in the order of the file, which need not be topological.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadInstance {
    /// Name of the file, without folder and extensions.
    pub name: String,
    /// The ops.
    pub nodes: Vec<LoadNode>,
    /// Producer and consumer, each pair once, in increasing order; no loops, no cycles.
    pub edges: Vec<(u32, u32)>,
    /// Number of colours.
    pub n_colours: usize,
    /// Accelerators, `k`.
    pub n_accelerators: usize,
    /// CPU cores, `l`.
    pub n_cpus: usize,
    /// Memory of one accelerator.
    pub accelerator_memory: Bytes,
}

impl LoadInstance {
    /// Accelerators and CPU cores together: accelerators come first in every numbering.
    #[must_use]
    pub fn n_devices(&self) -> usize {
        self.n_accelerators + self.n_cpus
    }
}

/// Ids of nodes by device, as a person or another program has split an instance. A device is
/// numbered as in [`LoadInstance::n_devices`], with the file's own number of accelerators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// Node ids of each accelerator.
    pub accelerators: Vec<Vec<u64>>,
    /// Node ids of each CPU core.
    pub cpus: Vec<Vec<u64>>,
}
