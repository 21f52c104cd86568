//! Published training runs and forward passes of named models on named systems.

use cost_model::runs::forms::run::Timed;
use ir::card::{ModelCard, Recompute};
use ir::plan::Parallelism;
use ir::tensor::DType;

/// Equal hosts, by the names of the catalogue; each device has a network card of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hosts {
    /// Kind of the devices, such as `h100_sxm5_80gb`.
    pub device: &'static str,
    /// Devices of a host, or of a scale-up domain that joins several.
    pub per_host: u32,
    /// Link between them; `none` where a host has one.
    pub scaleup: &'static str,
    /// Link of a network card.
    pub network: &'static str,
    /// What its source measured of a card in collectives, by number of hosts: bytes per second.
    pub by_hosts: &'static [(u32, u64)],
}

/// One published run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRow {
    /// Line of the table, from 1.
    pub line: u64,
    /// What tells the row from others.
    pub name: String,
    /// What is left out together where one model is.
    pub model: String,
    /// What is left out together where one technique or platform is.
    pub technique: String,
    /// What ran it.
    pub hosts: Hosts,
    /// Name of the stack preset.
    pub stack: &'static str,
    /// The model.
    pub card: ModelCard,
    /// Degrees and batch sizes; several where the table leaves some of them open.
    pub degrees: Vec<Parallelism>,
    /// What is computed again.
    pub recompute: Recompute,
    /// Type that it computes in.
    pub dtype: DType,
    /// What the time is of.
    pub timed: Timed,
    /// The time in seconds.
    pub time_s: f64,
    /// What another model predicts for this row, in seconds.
    pub peer_s: Option<f64>,
    /// Bytes of its fullest rank: what the allocator handed out at most, and what it held of the device.
    pub peaks: Option<[f64; 2]>,
}
