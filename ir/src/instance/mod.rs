//! Instances of partitioning problems whose costs are all given, in the forms of benchmark
//! collections of other planners.
//!
//! Their time units differ from file to file and are not stated: one unit is 10^9 ns here.

mod load;
mod profile;
mod stages;

pub use load::{LoadInstance, LoadNode, Split};
pub use profile::{LayerProfile, ProfileNode};
pub use stages::{Configuration, StageInstance, StageNode};

/// An instance of any form.
#[derive(Clone, Debug, PartialEq)]
pub enum Instance {
    /// Ops on accelerators and CPU cores; greatest load or latency.
    Load(LoadInstance),
    /// Layers with configurations; stages of a pipeline with data and tensor degrees.
    Stages(StageInstance),
    /// Measured layers; a straight pipeline.
    Profile(LayerProfile),
}

impl Instance {
    /// Name of the instance: its file's.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Load(instance) => &instance.name,
            Self::Stages(instance) => &instance.name,
            Self::Profile(instance) => &instance.name,
        }
    }
}
