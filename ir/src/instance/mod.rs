//! Instances of partitioning problems with given costs, in the formats of benchmark
//! collections of other planners, gradients to exchange, tasks, and nodes that average models.
//!
//! PipeDream's times are milliseconds, those of gradients seconds. The other files don't state their unit: one is 10^9 ns here.

mod averaging;
mod gradients;
mod load;
mod profile;
mod stages;
mod tasks;

use crate::units::Nanos;

pub use averaging::{AllReplicas, AveragingInstance, Peers, SyncBy, SyncWay};
pub use gradients::{Exchange, ExchangeCost, GradientInstance, GradientTensor, Lossy, LossyCost};
pub use load::{LoadInstance, LoadNode, Split};
pub use profile::{LayerProfile, ProfileNode};
pub use stages::{Configuration, StageInstance, StageNode};
pub use tasks::{Task, TaskInstance, TaskRun};

/// An instance of any form.
#[derive(Clone, Debug, PartialEq)]
pub enum Instance {
    /// Ops on accelerators and CPU cores; greatest load or latency.
    Load(LoadInstance),
    /// Layers with configurations; stages of a pipeline with data and tensor degrees.
    Stages(StageInstance),
    /// Measured layers; a straight pipeline.
    Profile(LayerProfile),
    /// Gradients of a data-parallel step; buckets that are exchanged together.
    Gradients(GradientInstance),
    /// Tasks on devices; when the last one ends.
    Tasks(TaskInstance),
    /// Nodes that average their models; the slowest round.
    Averaging(AveragingInstance),
}

impl Instance {
    /// Name of the instance: its file's.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Load(instance) => &instance.name,
            Self::Stages(instance) => &instance.name,
            Self::Profile(instance) => &instance.name,
            Self::Gradients(instance) => &instance.name,
            Self::Tasks(instance) => &instance.name,
            Self::Averaging(instance) => &instance.name,
        }
    }

    /// What times are given in.
    #[must_use]
    pub fn unit(&self) -> TimeUnit {
        match self {
            Self::Load(_) | Self::Stages(_) => TimeUnit::UNSTATED,
            Self::Profile(_) | Self::Gradients(_) => TimeUnit::MILLISECOND,
            Self::Tasks(_) | Self::Averaging(_) => TimeUnit::SECOND,
        }
    }

    /// Nodes, layers, tensors or tasks.
    #[must_use]
    pub fn n_nodes(&self) -> usize {
        match self {
            Self::Load(instance) => instance.nodes.len(),
            Self::Stages(instance) => instance.nodes.len(),
            Self::Profile(instance) => instance.nodes.len(),
            Self::Gradients(instance) => instance.tensors.len(),
            Self::Tasks(instance) => instance.tasks.len(),
            Self::Averaging(instance) => instance.nodes.len(),
        }
    }
}

/// The unit of the times of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeUnit {
    /// Nanoseconds that one unit counts as.
    pub ns: u64,
    /// Its symbol; empty where the files don't say what it is.
    pub symbol: &'static str,
}

impl TimeUnit {
    /// Milliseconds.
    pub const MILLISECOND: Self = Self { ns: 1_000_000, symbol: "ms" };
    /// Seconds.
    pub const SECOND: Self = Self { ns: 1_000_000_000, symbol: "s" };
    /// Not stated: counts as a second, so that values keep nine digits.
    pub const UNSTATED: Self = Self { ns: 1_000_000_000, symbol: "" };

    /// A time in this unit.
    #[must_use]
    pub fn of(self, time: Nanos) -> f64 {
        time.as_f64() / self.ns as f64
    }

    /// A time in this unit, to the nanosecond, and the unit where it is known.
    #[must_use]
    pub fn text(self, time: Nanos) -> String {
        let (digits, symbol) = if self.symbol.is_empty() { (9, "") } else { (6, self.symbol) };
        let number = format!("{:.digits$}", self.of(time));
        let number = number.trim_end_matches('0').trim_end_matches('.');
        format!("{number} {symbol}").trim_end().to_owned()
    }
}
