//! Measured layers: what one transformer block, the ends of the model and collectives cost on some
//! devices, in time and memory, as a profiler saw them.

use std::collections::BTreeMap;

use crate::card::SequenceParallel;
use crate::measured::CollectiveOperation;
use crate::profile::SizePoint;
use crate::units::{Bytes, BytesPerSecond, Seconds};

/// Forward pass over a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchPoint {
    /// Samples of the batch.
    pub samples: u64,
    /// Time of all of them together.
    pub time: Seconds,
}

/// Memory of an end of the model, by the degree to which its vocabulary is split.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EndMemory {
    /// Parameters, gradients and optimizer states of one device, nothing shared out by replicas.
    pub states: BTreeMap<u32, Bytes>,
    /// Most that a pass adds, of one device and per sample.
    pub activation: BTreeMap<u32, Bytes>,
}

/// Which ranks form a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ranks {
    /// Neighbours.
    Neighbours,
    /// Ranks with others between them.
    Apart,
}

/// Rates of links and collectives, measured on one number of hosts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinkRates {
    /// Bus bandwidth of a large all-reduce (bytes that each rank's link carries, per second), by
    /// ranks of the group and where they lie.
    pub all_reduce: BTreeMap<(u32, Ranks), BytesPerSecond>,
    /// Rate from one pipeline rank to the next, by the number of pipeline ranks.
    pub next: BTreeMap<u32, BytesPerSecond>,
    /// Times of collectives by growing bytes of one rank's tensor, by kind and ranks of the group.
    pub sized: BTreeMap<(CollectiveOperation, u32), Vec<SizePoint>>,
}

/// Hosts and devices of each that link rates were measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hosts {
    /// Hosts.
    pub n_hosts: u32,
    /// Devices of a host.
    pub per_host: u32,
}

/// Measured layers of one model at one length of its samples.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerProfile {
    /// Name.
    pub name: String,
    /// Tokens of a sample.
    pub sequence: u64,
    /// Forward pass of one block on one device, by growing batch.
    pub block: Vec<BatchPoint>,
    /// Forward pass of everything that is no block, by growing batch.
    pub ends: Vec<BatchPoint>,
    /// Parameters of a block in single precision.
    pub block_weights: Bytes,
    /// What a block keeps of one sample on one device, by the degree to which it is split.
    pub block_activation: BTreeMap<u32, Bytes>,
    /// What a block that is computed again keeps of one sample, before it is split.
    pub block_input: Bytes,
    /// Whether tensor ranks split the sequence between tensor-parallel regions.
    pub split: SequenceParallel,
    /// Both ends on one rank.
    pub both_ends: EndMemory,
    /// The first pipeline rank's.
    pub first_end: EndMemory,
    /// The last pipeline rank's.
    pub last_end: EndMemory,
    /// How many times as long passes and collectives take while they run beside each other.
    pub slow_down: f64,
    /// By hosts.
    pub links: BTreeMap<Hosts, LinkRates>,
}
