//! Published memory of training runs.

use ir::card::{MemoryFeature, Recompute, StateFormat, TransformerCard};
use ir::chip::Chip;
use ir::plan::Parallelism;

/// Which pipeline rank a figure is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JudgedRank {
    /// The first.
    First,
    /// The last.
    Last,
    /// Whichever holds most.
    Largest,
}

/// What a figure of memory counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryMetric {
    /// All of a rank at its peak, in bytes.
    Peak,
    /// States of the matrices of the blocks, in bytes.
    MatrixStates,
    /// Activations of the blocks, in bytes.
    Activations,
    /// Activations of a block in percent of those with tensor parallelism alone.
    PercentOfTensorParallel,
}

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryRow {
    /// What tells the row from others.
    pub name: String,
    /// Rows of one model or case, which are fitted or left out together.
    pub group: String,
    /// The model.
    pub card: TransformerCard,
    /// Degrees and batch sizes.
    pub parallelism: Parallelism,
    /// What was computed again.
    pub recompute: Recompute,
    /// In which formats states are kept.
    pub format: StateFormat,
    /// Chip of the devices, where it is stated.
    pub chip: Chip,
    /// Declared features that cost memory.
    pub features: Vec<MemoryFeature>,
    /// Which rank the figure is of.
    pub rank: JudgedRank,
    /// What it counts.
    pub metric: MemoryMetric,
    /// The figure, above zero.
    pub value: f64,
}
