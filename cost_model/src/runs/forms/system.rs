//! The devices and links under a training run: equal hosts of equal devices.

use std::collections::{BTreeMap, HashMap};

use ir::chip::Chip;
use ir::cluster::{Check, Cluster, DeviceKind, RouteKind};
use ir::id::{ChannelId, DeviceId};
use ir::measured::{CollectiveOperation, GpuFacts};
use ir::plan::Parallelism;
use ir::profile::{CollectiveKey, Profile, SizeLaw};
use ir::stack::Stack;
use ir::tensor::DType;
use ir::units::{Bytes, BytesPerSecond, FlopsPerSecond};

use super::hosts::{per_host, slowest};
use super::rank_groups::{Group, Spread};
use crate::kernels::rates::Rates;
use crate::kernels::step_constants::Constants;
use crate::kernels::step_products::StepProducts;
use crate::links::collective::table::{Interpolation, Table};
use crate::links::collective::{Link, ring};

/// Equal hosts of equal devices. Tensor ranks are neighbours in a host, data ranks come next,
/// pipeline ranks are furthest apart, as Megatron-LM lays them out.
#[derive(Clone, Debug, PartialEq)]
pub struct System {
    /// Name, for reports.
    pub name: String,
    /// The device.
    pub device: DeviceKind,
    /// Constants of its products.
    pub products: StepProducts,
    /// Devices of a host.
    pub per_host: u64,
    /// Devices that share a host's memory where it keeps states.
    pub per_memory: u64,
    /// Measured collectives; what is missing follows from the links.
    pub measured: BTreeMap<Among, Table>,
    /// How many times less the links inside a host carry than those that `measured` is of.
    pub slower_inside: f64,
    /// Way between two devices of a host.
    pub inside: Link,
    /// Whether the ways inside a host, and those between hosts, are those of one scale-up domain.
    pub scale_up: [bool; 2],
    /// Way through one network card.
    pub network: Link,
    /// The same in collectives, by growing number of hosts; empty where it is `network` for any.
    pub by_hosts: Vec<(u64, Link)>,
    /// Devices of a host that share a network card.
    pub per_card: u64,
    /// By host, its memory, where that is stated.
    pub host_memory: Vec<Option<Bytes>>,
}

/// Operation, ranks of a group, and those of each of its hosts.
pub type Among = (CollectiveOperation, u64, u64);

/// Start-up of a message in a network, and between devices of a host: data sheets and nccl-tests,
/// nominal.
const NETWORK_START_UP_S: f64 = 5e-6;
const INSIDE_START_UP_S: f64 = 20e-6;
const ALL_REDUCE: CollectiveOperation = CollectiveOperation::AllReduce;
/// Seconds and bytes per second of a way that does not exist.
const UNREACHABLE: (f64, f64) = (60.0, 1.0);

/// A way of nominal start-up.
fn link(start_up_s: f64, bytes_per_s: f64) -> Option<Link> {
    BytesPerSecond::new(bytes_per_s).map(|rate| Link { start_up_s, rate })
}

/// Collectives that a profile holds for a kind of device. Of several libraries the last by name
/// counts.
#[must_use]
pub fn measured_collectives(profile: &Profile, kind: &str) -> BTreeMap<Among, Table> {
    let of_kind = profile.collectives.get(kind).into_iter().flatten();
    let among = |key: &CollectiveKey| (key.operation, key.ranks, key.ranks_per_node);
    of_kind.map(|(key, constants)| (among(key), table_of(&constants.law))).collect()
}

/// Points of a law; of a curve at the powers of two from [`SAMPLED`].
fn table_of(law: &SizeLaw) -> Table {
    match law {
        SizeLaw::Table(points) => {
            Table::new(points.iter().map(|point| (point.bytes.0, point.time.get())))
        }
        SizeLaw::Curve { start_up, bandwidth, per_root_s } => Table::new(SAMPLED.map(|power| {
            let bytes = 1_u64 << power;
            let n = bytes as f64;
            (bytes, start_up.get() + n / bandwidth.get() + per_root_s * n.sqrt())
        })),
    }
}

/// Whether the ways inside hosts, and those between them, are links of a scale-up domain: neither the way
/// through the host nor the network.
fn scale_up(cluster: &Cluster) -> [bool; 2] {
    let (inside, across) = (cluster.ways(true), cluster.ways(false));
    let is_up = !inside.is_empty() && !inside.iter().any(|way| leads_through_host(cluster, way));
    let tier = inside.first().map(|way| way.tier);
    [is_up, is_up && !across.is_empty() && across.iter().all(|way| Some(way.tier) == tier)]
}

fn leads_through_host(cluster: &Cluster, way: &RouteKind) -> bool {
    let ways = cluster.nodes.iter().filter_map(|node| node.to_device.as_ref());
    ways.into_iter().any(|to_device| to_device.name == way.name)
}

/// Powers of two of bytes at which curves are sampled, between which they are nearly straight.
const SAMPLED: std::ops::RangeInclusive<u32> = 8..=36;

impl System {
    /// Whether some devices have a way to each other: of a host, or of several ones.
    #[must_use]
    pub fn has_way(&self, is_of_one_host: bool) -> bool {
        let way = if is_of_one_host { &self.inside } else { &self.network };
        way.start_up_s < UNREACHABLE.0
    }

    /// The same hosts, which reach no other.
    #[must_use]
    pub fn without_network(mut self) -> Self {
        let (start_up_s, bytes_per_s) = UNREACHABLE;
        self.network = link(start_up_s, bytes_per_s).unwrap_or(self.network);
        self.by_hosts.clear();
        self
    }

    /// Hosts of eight A100 behind switches, with the collectives that were measured on them and a
    /// network card of `network_bytes_per_s` for each device.
    ///
    /// Between two devices of a host 228 GB/s were measured (`links.csv`, nvlink3_p2p).
    ///
    /// `None` where a rate is no positive finite number.
    #[must_use]
    pub fn a100_hosts(
        name: &str,
        facts: &GpuFacts,
        measured: BTreeMap<Among, Table>,
        network_bytes_per_s: f64,
    ) -> Option<Self> {
        let peak = FlopsPerSecond::new(facts.peak)?;
        let device = DeviceKind {
            name: "a100_sxm4_80gb".to_owned(),
            chip: Chip::A100,
            memory: None,
            memory_bandwidth: Some(BytesPerSecond::new(facts.memory_bandwidth)?),
            peak: BTreeMap::from([(DType::Bf16, peak)]),
            n_multiprocessors: Some(facts.n_multiprocessors),
            source: "NVIDIA A100 datasheet".to_owned(),
            check: Check::Recalled,
            ..DeviceKind::default()
        };
        Some(Self {
            name: name.to_owned(),
            products: StepProducts::new(&Profile::default(), &device),
            device,
            per_host: 8,
            per_memory: 8,
            measured,
            slower_inside: 1.0,
            inside: link(INSIDE_START_UP_S, 228e9)?,
            scale_up: [true, false],
            network: link(NETWORK_START_UP_S, network_bytes_per_s)?,
            by_hosts: Vec::new(),
            per_card: 1,
            host_memory: Vec::new(),
        })
    }

    /// The first device and host of a cluster, with the slowest ways inside a host and between
    /// hosts; [`super::hosts::check`] says whether all that a run uses are such hosts. `None` where
    /// the cluster is empty.
    #[must_use]
    pub fn of(cluster: &Cluster, profile: &Profile) -> Option<Self> {
        let first = cluster.devices.first()?;
        let device = cluster.kinds.get(first.kind.index())?.clone();
        let in_host = |index: &usize| cluster.devices[*index].node == first.node;
        let all = 0..cluster.devices.len();
        let other = all.clone().find(|index| !in_host(index)).map(DeviceId::new);
        // Devices that share a card have one channel to the network.
        let mut sharing: HashMap<ChannelId, u64> = HashMap::new();
        for index in all {
            let to = if in_host(&index) { other } else { Some(DeviceId::new(0)) };
            if let Some(way) = to.and_then(|to| cluster.route(DeviceId::new(index), to)) {
                *sharing.entry(way.send).or_default() += 1;
            }
        }
        let per_card = sharing.into_values().max().unwrap_or(1);
        let (inside, network) = (slowest(cluster, true), slowest(cluster, false));
        // Of one device, or of hosts without a network, no run gets here ([`super::hosts::check`]);
        // one that did would not look fast.
        let (start_up_s, bytes_per_s) = UNREACHABLE;
        let none = link(start_up_s, bytes_per_s)?;
        let network = match other {
            Some(_) => network,
            None => inside,
        };
        let mut system = Self {
            name: String::new(),
            products: StepProducts::new(profile, &device),
            measured: measured_collectives(profile, &device.name),
            device,
            per_host: per_host(cluster) as u64,
            per_memory: per_host(cluster) as u64,
            slower_inside: 1.0,
            inside: inside.or(network).unwrap_or(none),
            scale_up: scale_up(cluster),
            network: network.unwrap_or(none),
            by_hosts: by_hosts(cluster),
            per_card,
            host_memory: cluster.nodes.iter().map(|node| node.host_memory).collect(),
        };
        if system.by_hosts.is_empty() {
            system.by_hosts = measured_by_hosts(&system);
        }
        Some(system)
    }

    /// One of equal groups of devices, priced as a host of the kind of device of its first one; `other` is
    /// a device of another group. `inside` and `network` are the slowest ways in groups and between them,
    /// where there are any. Devices beside it in its host share its cards. `None` for an empty group.
    #[must_use]
    pub fn of_group(
        (cluster, profile): (&Cluster, &Profile),
        (devices, other): (&[DeviceId], Option<DeviceId>),
        [inside, network]: [Option<Link>; 2],
    ) -> Option<Self> {
        let device = cluster.kind_of(*devices.first()?).clone();
        let (start_up_s, bytes_per_s) = UNREACHABLE;
        let none = link(start_up_s, bytes_per_s)?;
        let card = |from: DeviceId| Some(cluster.route(from, other?)?.send);
        let node = |device: DeviceId| cluster.devices.get(device.index()).and_then(|d| d.node);
        let host = node(*devices.first()?);
        let is_there = |device: &DeviceId| match host {
            Some(_) => node(*device) == host,
            None => devices.contains(device),
        };
        let mut sharing: HashMap<ChannelId, u64> = HashMap::new();
        for card in cluster.device_ids().filter(is_there).filter_map(card) {
            *sharing.entry(card).or_default() += 1;
        }
        let neighbour = devices.get(1).and_then(|other| cluster.route(*devices.first()?, *other));
        let is_up = neighbour.is_some_and(|way| !leads_through_host(cluster, way.kind));
        Some(Self {
            name: String::new(),
            products: StepProducts::new(profile, &device),
            measured: measured_collectives(profile, &device.name),
            device,
            per_host: devices.len() as u64,
            per_memory: cluster.device_ids().filter(|device| node(*device) == host).count() as u64,
            slower_inside: 1.0,
            inside: inside.or(network).unwrap_or(none),
            scale_up: [is_up, false],
            network: network.or(inside).unwrap_or(none),
            by_hosts: by_hosts(cluster),
            per_card: sharing.into_values().max().unwrap_or(1),
            host_memory: Vec::new(),
        })
    }

    /// Whether the tensor ranks of such degrees are in one scale-up domain.
    #[must_use]
    pub fn is_in_domain(&self, degrees: &Parallelism) -> bool {
        let group = Group::tensor(degrees).spread(self.per_host);
        self.scale_up[usize::from(group.leaves_host())]
    }

    /// Rates of a device for kernels of a type under a stack.
    #[must_use]
    pub fn rates(&self, stack: &Stack, constants: &Constants, dtype: DType) -> Rates {
        Rates::new(&self.device, &self.products, stack, constants, dtype)
    }

    /// Measured seconds of an operation on so many bytes, as nccl-tests count them, by a group that is
    /// spread evenly over its hosts; `None` where there are none.
    #[must_use]
    pub fn measured_s(
        &self,
        operation: CollectiveOperation,
        group: Spread,
        bytes: f64,
        network_factor: f64,
    ) -> Option<f64> {
        let is_even = group.most == group.least;
        let table = self.measured.get(&(operation, group.ranks, group.most));
        let table = table.filter(|_| is_even)?;
        let seconds = table.time(whole(bytes), Interpolation::Linear)?;
        Some(match group.leaves_host() {
            true => seconds / network_factor,
            false => seconds * self.slower_inside,
        })
    }

    /// Seconds of an all-reduce of `bytes` by a group: inside each host, then the part of each
    /// device over its share of the network.
    #[must_use]
    pub fn all_reduce_s(&self, group: Spread, bytes: f64, network_factor: f64) -> f64 {
        if let Some(seconds) = self.measured_s(ALL_REDUCE, group, bytes, network_factor) {
            return seconds;
        }
        let within = self.inside_s(group.most, bytes);
        if !group.leaves_host() {
            return within;
        }
        let part = whole(bytes / group.least as f64);
        let link = self.network_over(group.hosts, 1, network_factor);
        within + ring(ALL_REDUCE, group.hosts, part, link)
    }

    /// Seconds of a gather or a scatter of `bytes` by a group, as measured, else half an all-reduce.
    #[must_use]
    pub fn half_s(
        &self,
        half: CollectiveOperation,
        group: Spread,
        bytes: f64,
        network_factor: f64,
    ) -> f64 {
        let measured = self.measured_s(half, group, bytes, network_factor);
        measured.unwrap_or_else(|| self.all_reduce_s(group, bytes, network_factor) / 2.0)
    }

    /// Whether gathers or scatters were measured, so that one of each may take longer than an all-reduce.
    #[must_use]
    pub fn has_measured_halves(&self) -> bool {
        let halves = [CollectiveOperation::AllGather, CollectiveOperation::ReduceScatter];
        self.measured.keys().any(|(operation, ..)| halves.contains(operation))
    }

    /// Where nothing was measured, a ring with one start-up in all: what `links.csv` states of a link inside
    /// hosts is the whole of a small all-reduce.
    fn inside_s(&self, ranks: u64, bytes: f64) -> f64 {
        if ranks <= 1 {
            return 0.0;
        }
        let measured = self.measured_s(ALL_REDUCE, Spread::inside(ranks), bytes, 1.0);
        measured.unwrap_or_else(|| {
            let link = Link { start_up_s: 0.0, ..self.inside };
            self.inside.start_up_s + ring(ALL_REDUCE, ranks, whole(bytes), link)
        })
    }

    /// Seconds in which every device of a group sends `bytes` to the next one of the group; where
    /// that leaves a host, through its own card, which other rings of the host may use too.
    #[must_use]
    pub fn next_in_ring_s(&self, group: Group, bytes: f64, network_factor: f64) -> f64 {
        let rings = group.rings_through_card(self.per_host, self.per_card);
        let link = match rings {
            0 if group.spread(self.per_host).ranks <= 1 => return 0.0,
            0 => self.inside_of(1.0),
            rings => self.card_among(rings, network_factor),
        };
        ring(CollectiveOperation::PointToPoint, 2, whole(bytes), link)
    }

    /// The way between two devices of a host, at a factor of its rate.
    #[must_use]
    pub fn inside_of(&self, factor: f64) -> Link {
        let rate = self.inside.rate.get() * factor / self.slower_inside;
        let rate = BytesPerSecond::new(rate).unwrap_or(self.inside.rate);
        Link { start_up_s: self.inside.start_up_s, rate }
    }

    /// The way through a network card that no one else uses.
    #[must_use]
    pub fn card(&self, factor: f64) -> Link {
        self.through(self.network.rate.get() * factor)
    }

    /// The way through a network card that so many use at once. Links inside the host that are
    /// slower than the card slow each of them, not what they have of the card.
    #[must_use]
    pub fn card_among(&self, users: u64, factor: f64) -> Link {
        self.through(self.network.rate.get() * factor / users.max(1) as f64)
    }

    /// The network as a ring sees it that leaves a host through the shares of so many devices,
    /// while all other devices of the host use theirs.
    #[must_use]
    pub fn network_of(&self, devices: u64, factor: f64) -> Link {
        self.share_of(self.network, devices, factor)
    }

    /// The same in a collective over so many hosts.
    #[must_use]
    pub fn network_over(&self, hosts: u64, devices: u64, factor: f64) -> Link {
        self.share_of(self.card_over(hosts), devices, factor)
    }

    fn share_of(&self, card: Link, devices: u64, factor: f64) -> Link {
        let share = card.rate.get() * factor / self.per_card.max(1) as f64;
        let through = self.through(share * devices.max(1) as f64);
        Link { start_up_s: card.start_up_s, ..through }
    }

    /// One network card in a collective over so many hosts: between the numbers of hosts that are stated a
    /// straight line over their logarithms and that of the rate, beyond them the nearest.
    fn card_over(&self, hosts: u64) -> Link {
        let after = self.by_hosts.partition_point(|(n, _)| *n <= hosts);
        let before = after.checked_sub(1).and_then(|at| self.by_hosts.get(at));
        match (before, self.by_hosts.get(after)) {
            (Some((n, one)), Some((next, other))) => {
                let share = (hosts as f64 / *n as f64).ln() / (*next as f64 / *n as f64).ln();
                let rate = one.rate.get() * (other.rate.get() / one.rate.get()).powf(share);
                let start_up_s = one.start_up_s + share * (other.start_up_s - one.start_up_s);
                Link { start_up_s, rate: BytesPerSecond::new(rate).unwrap_or(one.rate) }
            }
            (Some((_, link)), None) | (None, Some((_, link))) => *link,
            (None, None) => self.network,
        }
    }

    /// What enters and leaves the network has to pass the links inside the host too.
    fn through(&self, rate: f64) -> Link {
        let rate = rate.min(self.inside.rate.get() / self.slower_inside);
        Link {
            start_up_s: self.network.start_up_s,
            rate: BytesPerSecond::new(rate).unwrap_or(self.network.rate),
        }
    }

    /// Seconds of the exchange of `bytes` of gradients by a group of replicas: inside a host where
    /// they fit, else a ring through all hosts, which leaves each of them through the network
    /// shares of its own devices in that host, at `ring_rate` of their rate.
    #[must_use]
    pub fn exchange_s(
        &self,
        group: Spread,
        bytes: f64,
        [network_factor, ring_rate]: [f64; 2],
    ) -> f64 {
        if !group.leaves_host() {
            return self.inside_s(group.ranks, bytes);
        }
        if let Some(seconds) = self.measured_s(ALL_REDUCE, group, bytes, network_factor) {
            return seconds;
        }
        let link = self.network_over(group.hosts, group.least, network_factor * ring_rate);
        ring(ALL_REDUCE, group.ranks, whole(bytes), link)
    }
}

/// What a network card of a cluster reaches by number of hosts.
fn by_hosts(cluster: &Cluster) -> Vec<(u64, Link)> {
    let of = |(hosts, way): &(u32, RouteKind)| {
        Some((u64::from(*hosts), link(way.latency_ns * 1e-9, way.bandwidth.get())?))
    };
    cluster.links.by_hosts.iter().filter_map(of).collect()
}

/// The same of all-reduces that were measured among all devices of whole hosts, by the rate of the largest.
fn measured_by_hosts(system: &System) -> Vec<(u64, Link)> {
    let per_host = system.per_host;
    let cards = (per_host / system.per_card.max(1)).max(1) as f64;
    let of = |((operation, ranks, most), table): (&Among, &Table)| {
        let is_whole = *operation == ALL_REDUCE && *most == per_host && ranks > most;
        let (bytes, seconds) = table.points().last().filter(|_| is_whole)?;
        let sent = 2.0 * (*ranks - 1) as f64 / *ranks as f64 * bytes;
        let link = link(system.network.start_up_s, sent / seconds / cards)?;
        Some((ranks.div_ceil(per_host), link))
    };
    system.measured.iter().filter_map(of).collect()
}

/// The slowest of the ways from some devices to others; `None` where one is missing.
#[must_use]
pub fn slowest_between(cluster: &Cluster, from: &[DeviceId], to: &[DeviceId]) -> Option<Link> {
    let pairs = from.iter().flat_map(|a| to.iter().map(move |b| (*a, *b)));
    let mut slowest = None;
    for (a, b) in pairs.filter(|(a, b)| a != b) {
        let way = cluster.route(a, b)?.kind;
        slowest = slower(slowest, link(way.latency_ns * 1e-9, way.bandwidth.get()));
    }
    slowest
}

/// A way that is no faster than both.
pub fn slower(one: Option<Link>, other: Option<Link>) -> Option<Link> {
    let (Some(a), Some(b)) = (one, other) else { return one.or(other) };
    let rate = if b.rate.get() < a.rate.get() { b.rate } else { a.rate };
    Some(Link { start_up_s: a.start_up_s.max(b.start_up_s), rate })
}

/// Bytes as a whole number; a float cast saturates.
fn whole(bytes: f64) -> Bytes {
    Bytes(bytes.max(0.0).round() as u64)
}

#[cfg(test)]
pub(crate) mod tests {
    use ir::plan::Parallelism;

    use super::*;

    /// An A100 of the data sheet, without measured collectives.
    pub(crate) fn a100() -> System {
        let facts = GpuFacts {
            memory_bandwidth: 2.039e12,
            peak: 312e12,
            n_multiprocessors: 108,
            last_level_cache: None,
            clock: None,
        };
        System::a100_hosts("a100", &facts, BTreeMap::new(), 25e9).unwrap()
    }

    #[test]
    fn measured_tables_win_and_slow_links_stretch_them() {
        let mut system = a100();
        let of = |system: &System, ranks| system.all_reduce_s(Spread::inside(ranks), 1e6, 1.0);
        let formula = of(&system, 4);
        assert!(formula > 0.0);
        system.measured.insert((ALL_REDUCE, 4, 4), Table::new([(1_000_000, 0.5)]));
        assert_eq!(of(&system, 4), 0.5);
        system.slower_inside = 3.0;
        assert_eq!(of(&system, 4), 1.5);
        assert_eq!(of(&system, 1), 0.0);
    }

    #[test]
    fn rings_leave_a_host_through_the_shares_of_their_devices() {
        let mut system = a100();
        // 64 replicas of one device each: eight shares; of eight tensor ranks: one share.
        let group =
            |in_host| Spread { ranks: 64, hosts: 64 / in_host, most: in_host, least: in_host };
        let exchange =
            |system: &System, in_host| system.exchange_s(group(in_host), 1e9, [1.0, 1.0]);
        let start_up = 126.0 * NETWORK_START_UP_S;
        let by_hand = |rate: f64| start_up + 2.0 * 63.0 / 64.0 * 1e9 / rate;
        let near =
            |value: f64, wanted: f64| assert!((value / wanted - 1.0).abs() < 1e-9, "{value}");
        near(exchange(&system, 8), by_hand(200e9));
        near(exchange(&system, 1), by_hand(25e9));
        near(system.exchange_s(group(1), 1e9, [0.5, 0.8]), by_hand(10e9));
        // Two hosts of eight: inside first, then an eighth of the bytes across.
        let pair = Spread { ranks: 16, hosts: 2, most: 8, least: 8 };
        let across = |system: &System| {
            let inside = system.all_reduce_s(Spread::inside(8), 1e9, 1.0);
            system.all_reduce_s(pair, 1e9, 1.0) - inside
        };
        near(across(&system), 2.0 * NETWORK_START_UP_S + 1e9 / 8.0 / 25e9);
        // One card for eight devices.
        system.per_card = 8;
        near(exchange(&system, 8), by_hand(25e9));
        near(exchange(&system, 1), by_hand(25e9 / 8.0));
        near(across(&system), 2.0 * NETWORK_START_UP_S + 1e9 / 25e9);
    }

    #[test]
    fn cards_reach_what_is_stated_of_so_many_hosts() {
        let mut system = a100();
        let at = |rate: f64| link(1e-5, rate).unwrap();
        system.by_hosts = vec![(2, at(20e9)), (8, at(5e9))];
        let rate = |hosts| system.network_over(hosts, 1, 1.0).rate.get();
        // A doubling of hosts halves the rate.
        for (hosts, wanted) in [(1, 20e9), (2, 20e9), (4, 10e9), (8, 5e9), (64, 5e9)] {
            assert!((rate(hosts) / wanted - 1.0).abs() < 1e-9, "{hosts}");
        }
        let group = Spread { ranks: 8, hosts: 8, most: 1, least: 1 };
        let by_hand = 14.0 * 1e-5 + 2.0 * 7.0 / 8.0 * 1e9 / 5e9;
        let seconds = system.exchange_s(group, 1e9, [1.0, 1.0]);
        assert!((seconds / by_hand - 1.0).abs() < 1e-9, "{seconds}");
        // Neighbours are one way apart, however many hosts there are.
        assert_eq!(system.card(1.0).rate.get(), 25e9);
        // Of all-reduces of all devices of two hosts a card has an eighth of the bus bandwidth.
        system.measured.insert((ALL_REDUCE, 16, 8), Table::new([(1_000_000_000, 0.01875)]));
        system.measured.insert((ALL_REDUCE, 16, 4), Table::new([(1_000_000_000, 1.0)]));
        let measured = measured_by_hosts(&system);
        assert_eq!((measured.len(), measured[0].0), (1, 2));
        assert!((measured[0].1.rate.get() / 12.5e9 - 1.0).abs() < 1e-9);
    }

    #[test]
    fn rings_by_hand() {
        let mut system = a100();
        let near =
            |value: f64, wanted: f64| assert!((value / wanted - 1.0).abs() < 1e-9, "{value}");
        let degrees = |tensor, context| Parallelism { tensor, context, ..Parallelism::default() };
        let ring = Group::context(&degrees(4, 4));
        near(system.next_in_ring_s(ring, 1e9, 1.0), NETWORK_START_UP_S + 1e9 / 25e9);
        let ring_inside = Group::context(&degrees(2, 4));
        near(system.next_in_ring_s(ring_inside, 1e9, 1.0), INSIDE_START_UP_S + 1e9 / 228e9);
        // Four rings leave each host by its one card.
        system.per_card = 8;
        near(system.next_in_ring_s(ring, 1e9, 1.0), NETWORK_START_UP_S + 4.0 * 1e9 / 25e9);
    }
}
