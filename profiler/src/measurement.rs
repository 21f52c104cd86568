//! What was measured.

use std::collections::BTreeMap;
use std::fmt;

use ir::tensor::DType;
use ir::units::Bytes;

/// Something whose time is measured.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    /// A product of `m x k` by `k x n` elements.
    Product {
        /// Element type of all three matrices.
        dtype: DType,
        /// Rows of the first.
        m: u64,
        /// Contracted extent.
        k: u64,
        /// Columns of the second.
        n: u64,
    },
    /// A kernel that only moves memory.
    Stream {
        /// Family, such as `copy` or `softmax`.
        family: String,
        /// Bytes read and written together.
        bytes: u64,
    },
    /// A transfer over a link.
    Transfer {
        /// Link, such as `loopback`.
        link: String,
        /// Bytes sent.
        bytes: u64,
    },
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Product { dtype, m, k, n } => write!(f, "{m} x {k} x {n} in {}", dtype.name()),
            Self::Stream { family, bytes } => write!(f, "{family} of {}", Bytes(*bytes)),
            Self::Transfer { link, bytes } => write!(f, "{} over {link}", Bytes(*bytes)),
        }
    }
}

impl Task {
    /// Floating-point operations, for products.
    #[must_use]
    pub fn flops(&self) -> f64 {
        match self {
            Self::Product { m, k, n, .. } => 2.0 * *m as f64 * *k as f64 * *n as f64,
            Self::Stream { .. } | Self::Transfer { .. } => 0.0,
        }
    }

    /// Bytes read and written, or sent.
    #[must_use]
    pub fn bytes(&self) -> f64 {
        match self {
            Self::Product { dtype, m, k, n } => {
                let [m, k, n] = [*m as f64, *k as f64, *n as f64];
                dtype.bits() as f64 / 8.0 * (m * k + k * n + m * n)
            }
            Self::Stream { bytes, .. } | Self::Transfer { bytes, .. } => *bytes as f64,
        }
    }
}

/// The time of a task over several batches.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What was timed.
    pub task: Task,
    /// Median time of one run, in seconds.
    pub median_s: f64,
    /// Median absolute deviation of the batches over their median.
    pub dispersion: f64,
    /// Timed batches.
    pub n_batches: usize,
}

/// The state of the machine while it was measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machine {
    /// Cores that this process may use.
    pub n_cores: usize,
    /// Runnable processes over the last minute before the start, where the system tells.
    pub load_before: Option<f64>,
    /// The same at the end; the measurement itself adds to it.
    pub load_after: Option<f64>,
    /// Whether the machine was idle enough.
    pub idle: bool,
    /// Processor, clock, governor, library: whatever the system tells.
    pub notes: BTreeMap<String, String>,
}

/// Everything that one run measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// Backend and library, such as `host, matrixmultiply`.
    pub source: String,
    /// Name of the device kind in the profile.
    pub kind: String,
    /// ISO 8601 date.
    pub date: String,
    /// State of the machine.
    pub machine: Machine,
    /// Samples in the order of the grid.
    pub samples: Vec<Sample>,
    /// Seconds of both passes of a transformer block that is too small for anything but its launches to
    /// count, where those take the processor that computes.
    pub block_s: Option<f64>,
    /// Tasks that were left out because the time was up.
    pub n_skipped: usize,
    /// Wall-clock seconds of the whole run.
    pub elapsed_s: f64,
}

impl Measurement {
    /// Median of the samples' dispersions; 0 without samples.
    #[must_use]
    pub fn dispersion(&self) -> f64 {
        let all = self.samples.iter().map(|sample| sample.dispersion).collect();
        crate::statistic::median(all).unwrap_or(0.0)
    }
}
