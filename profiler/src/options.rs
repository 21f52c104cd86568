//! What to measure, and with what.

use std::path::PathBuf;
use std::time::Duration;

/// Whether a busy machine is measured all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Busy {
    /// Refuse: figures of a busy machine are of no use to a plan.
    #[default]
    Refused,
    /// Measure, and note the load.
    Allowed,
}

/// What counts as the time of a kernel of PyTorch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// Time on the wall, with as many threads as PyTorch takes.
    #[default]
    Wall,
    /// Processor time of a single thread, which other processes hardly disturb.
    Processor,
}

/// What runs the kernels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Products of an embedded library on the processor of this machine.
    Host,
    /// PyTorch in a child process, on its CUDA device if it has one, else on the processor.
    Torch {
        /// Python interpreter that can import torch.
        python: PathBuf,
        /// Script that measures; the embedded one if absent.
        script: Option<PathBuf>,
        /// What counts as time; a CUDA device always keeps time on the wall.
        clock: Clock,
    },
    /// cuBLASLt and NVRTC kernels on an NVIDIA device.
    Cuda {
        /// Number of the device, from 0.
        device: usize,
    },
}

/// How much is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// Everything that a profile needs.
    #[default]
    All,
    /// Random products alone, to check a profile with.
    Products,
}

/// Who holds the other end of the loopback link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Peer {
    /// A thread of this process.
    #[default]
    Thread,
    /// A process of its own, as between two workers of a run. It gets a port as its last argument
    /// and has to call [`crate::answer_loopback`] with it.
    Process {
        /// What is started.
        program: PathBuf,
        /// Arguments before the port.
        arguments: Vec<String>,
    },
}

/// What to measure, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What runs the kernels.
    pub engine: Engine,
    /// Name that the device kind gets in the profile; the backend's own if absent.
    pub kind: Option<String>,
    /// Whether a busy machine is measured all the same.
    pub busy: Busy,
    /// How much is measured.
    pub part: Part,
    /// Seed of the shapes.
    pub seed: u64,
    /// Number of random products.
    pub n_products: usize,
    /// Timed batches per sample, of which the median counts.
    pub repeats: usize,
    /// No sample starts after so long.
    pub time: Duration,
    /// Who holds the other end of the loopback link.
    pub peer: Peer,
}

impl Options {
    /// The defaults of an engine: 64 products, 7 batches each, within 90 seconds.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        Self {
            engine,
            kind: None,
            busy: Busy::default(),
            part: Part::default(),
            seed: 0,
            n_products: 64,
            repeats: 7,
            time: Duration::from_secs(90),
            peer: Peer::default(),
        }
    }
}
