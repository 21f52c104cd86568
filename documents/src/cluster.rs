//! The cluster file: what a user writes in YAML to describe devices and the links between them.
//!
//! Two forms may be mixed in one document: `nodes` (counts of equal hosts with equal devices, joined
//! by a `network`) and `devices` with `links` (each named). Sizes are in bytes or have a unit, rates
//! are in bytes or floating-point operations per second, times in seconds. Nothing is checked here
//! but the shape; `importers` checks the values.

use serde::{Deserialize, Serialize};

use crate::quantity::Size;

/// Whether a device sends and receives at the same time on one tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DuplexDocument {
    /// One send and one receive channel per device and tier.
    #[default]
    Full,
    /// One channel for both.
    Half,
}

/// One cluster. A file may hold several, separated by `---`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterDocument {
    /// Name of the cluster; `FILE#NAME` chooses by it.
    pub name: Option<String>,
    /// Whether devices send and receive at the same time.
    pub duplex: DuplexDocument,
    /// Default for devices that state none: bytes of driver context and library handles.
    pub context_bytes: Option<Size>,
    /// Default for devices that state none: memory margin in bytes.
    pub reserve_bytes: Option<Size>,
    /// Default for devices that state none: memory margin as a share of the memory, in [0, 1).
    pub reserve_fraction: Option<f64>,
    /// Kinds of devices that the catalogue does not have.
    pub kinds: Vec<KindDocument>,
    /// Power and price by kind of device.
    pub running: Vec<RunningDocument>,
    /// Kinds of links that the catalogue does not have.
    pub link_kinds: Vec<LinkKindDocument>,
    /// Hosts with devices in them.
    pub nodes: Vec<NodesDocument>,
    /// What joins the hosts.
    pub network: Option<NetworkDocument>,
    /// Scale-up domains that are not one per host.
    pub domains: Vec<DomainDocument>,
    /// Devices by name: new ones, or changes to those of `nodes`.
    pub devices: Vec<DeviceDocument>,
    /// Ends of links that are no devices.
    pub switches: Vec<String>,
    /// Links by their two ends.
    pub links: Vec<LinkDocument>,
}

/// A kind of device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KindDocument {
    /// Its name.
    pub name: String,
    /// Memory of one device.
    pub memory_bytes: Option<Size>,
    /// Memory bandwidth.
    pub memory_bytes_per_s: Option<f64>,
    /// Peak rate of dense fp64 products.
    pub peak_fp64_flops: Option<f64>,
    /// Peak rate of dense fp32 products.
    pub peak_fp32_flops: Option<f64>,
    /// Peak rate of dense fp16 products.
    pub peak_fp16_flops: Option<f64>,
    /// Peak rate of dense bf16 products.
    pub peak_bf16_flops: Option<f64>,
    /// Peak rate of dense fp8 products.
    pub peak_fp8_flops: Option<f64>,
    /// Peak rate of dense 4-bit products.
    pub peak_fp4_flops: Option<f64>,
    /// What it may draw, in watts.
    pub power_w: Option<f64>,
    /// Streaming multiprocessors, for the tile term.
    pub multiprocessors: Option<u32>,
    /// Its architecture, such as `hopper`; that of the kind nearest by figures if absent.
    pub architecture: Option<String>,
}

/// What the devices of a kind draw and cost. Watts that are absent are shares of the data sheet's limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunningDocument {
    /// The kind.
    pub kind: String,
    /// What a board is limited to; the data sheet's if absent.
    pub power_w: Option<f64>,
    /// Watts while it does nothing.
    pub idle_w: Option<f64>,
    /// Watts in products at their peak rate.
    pub products_w: Option<f64>,
    /// Watts in kernels that wait for memory.
    pub memory_w: Option<f64>,
    /// Watts while it sends and receives alone.
    pub transfers_w: Option<f64>,
    /// Price of a device and hour, in any one currency.
    pub price_per_hour: Option<f64>,
}

/// A kind of link.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkKindDocument {
    /// Its name.
    pub name: String,
    /// Rate of one transfer.
    pub bytes_per_s: f64,
    /// Start-up cost.
    pub latency_s: Option<f64>,
}

/// `count` equal hosts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodesDocument {
    /// Name of the host, or what its number is appended to; `node` if absent.
    pub name: Option<String>,
    /// How many; 1 if absent.
    pub count: Option<u64>,
    /// Kind of its devices.
    pub device: String,
    /// Devices in one host; 1 if absent.
    pub devices: Option<u64>,
    /// Link between devices of one domain; none if absent.
    pub scaleup: Option<String>,
    /// Devices per domain; all of the host if absent (2 for bridge
    /// pairs, 4 for bridges of four).
    pub scaleup_domain: Option<u64>,
    /// Link through the host between devices that share no domain. The catalogue's for the kind if
    /// absent; `none` = no such way.
    pub host: Option<String>,
    /// Network cards; one per device if absent. Devices share them evenly.
    pub nics: Option<u64>,
    /// Link of its network cards where it is not the cluster's.
    pub network: Option<String>,
    /// Memory of each device where it is not the kind's.
    pub memory_bytes: Option<Size>,
    /// See [`ClusterDocument::context_bytes`].
    pub context_bytes: Option<Size>,
    /// See [`ClusterDocument::reserve_bytes`].
    pub reserve_bytes: Option<Size>,
    /// See [`ClusterDocument::reserve_fraction`].
    pub reserve_fraction: Option<f64>,
    /// Memory of the host.
    pub host_memory_bytes: Option<Size>,
    /// Bytes per second of the host's memory.
    pub host_memory_bytes_per_s: Option<f64>,
    /// Processor cores of the host.
    pub cpu_cores: Option<u32>,
    /// Whether its devices wait for others to fail; no plan uses them.
    pub spare: Option<bool>,
}

/// What joins hosts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkDocument {
    /// Link by name, or else the two figures.
    pub link: Option<String>,
    /// Rate of one transfer.
    pub bytes_per_s: Option<f64>,
    /// Start-up cost.
    pub latency_s: Option<f64>,
    /// What a network card reaches in collectives by number of hosts.
    #[serde(default)]
    pub by_hosts: Vec<HostsRateDocument>,
}

/// What one network card reaches while all cards of so many hosts take part in a collective.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostsRateDocument {
    /// Hosts, from 2.
    pub hosts: u32,
    /// Bus bandwidth in one direction, in bytes per second.
    pub bytes_per_s: f64,
    /// Start-up cost of a message; that of the network where it is absent.
    pub latency_s: Option<f64>,
}

/// A scale-up domain: all its devices reach each other over one kind of link.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainDocument {
    /// Its link.
    pub link: String,
    /// All devices of these hosts belong to it.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// These devices belong to it.
    #[serde(default)]
    pub devices: Vec<String>,
}

/// A device, or changes to one that `nodes` made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceDocument {
    /// Its name.
    pub id: String,
    /// Its kind; may be absent where `nodes` gave it.
    pub kind: Option<String>,
    /// The host that it sits in.
    pub node: Option<String>,
    /// Memory where it is not the kind's.
    pub memory_bytes: Option<Size>,
    /// See [`ClusterDocument::context_bytes`].
    pub context_bytes: Option<Size>,
    /// See [`ClusterDocument::reserve_bytes`].
    pub reserve_bytes: Option<Size>,
    /// See [`ClusterDocument::reserve_fraction`].
    pub reserve_fraction: Option<f64>,
    /// Whether it waits for others to fail; no plan uses it.
    pub spare: Option<bool>,
}

/// A link between two devices or switches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkDocument {
    /// Its two ends; or else `from` and `to`.
    pub between: Option<[String; 2]>,
    /// Where a one-way link starts.
    pub from: Option<String>,
    /// Where a one-way link ends.
    pub to: Option<String>,
    /// Whether `between` names a one-way link from the first to the second.
    pub directed: bool,
    /// Link by name, or else the two figures.
    pub link: Option<String>,
    /// Rate of one transfer.
    pub bytes_per_s: Option<f64>,
    /// Start-up cost.
    pub latency_s: Option<f64>,
    /// Which of a device's channels it occupies; `direct` if absent.
    pub tier: Option<String>,
}
