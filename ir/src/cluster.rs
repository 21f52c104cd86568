//! Clusters: devices, their kinds and classes, and the links between them.

use std::collections::{BTreeMap, BTreeSet};

use crate::chip::{Architecture, Chip};
use crate::id::{ChannelId, ClassId, DeviceId, KindId, NodeId};
use crate::tensor::DType;
use crate::units::{Bytes, BytesPerSecond, FlopsPerSecond, Hertz, Nanos, Watts, Work};

/// Whether a catalogue figure was read in the source that it names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Check {
    /// Read in its source.
    Read,
    /// Measured, in the table that the source names.
    Measured,
    /// Remembered; the source was not at hand.
    Recalled,
    /// Given by the user's cluster file.
    #[default]
    Given,
}

/// A kind of device: a row of the catalogue, or one that a file defines itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceKind {
    /// Name in the catalogue, such as `a100_sxm4_80gb`.
    pub name: String,
    /// By which it is priced where nothing was measured on it.
    pub chip: Chip,
    /// The architecture that a file states of a kind of its own.
    pub architecture: Option<Architecture>,
    /// Memory of one device; `None` = unlimited (instance files).
    pub memory: Option<Bytes>,
    /// Memory bandwidth; `None` where only given costs are used.
    pub memory_bandwidth: Option<BytesPerSecond>,
    /// Peak dense rate of matrix products, by element type.
    pub peak: BTreeMap<DType, FlopsPerSecond>,
    /// Streaming multiprocessors (or their like), for the tile term.
    pub n_multiprocessors: Option<u32>,
    /// Last-level cache, from which small operands are read faster; `None` = unknown.
    pub last_level_cache: Option<Bytes>,
    /// Boost clock, by which start-up costs are compared; `None` = unknown.
    pub clock: Option<Hertz>,
    /// What it may draw, which bounds the clock that large products keep up; `None` = unknown.
    pub power: Option<Watts>,
    /// What its data sheet lets it draw, where its board is limited to less.
    pub full_power: Option<Watts>,
    /// What it draws and costs.
    pub running: Running,
    /// Data sheet or file.
    pub source: String,
    /// Whether the figures were checked.
    pub check: Check,
}

/// Watts that a device draws while it does what, and its price, as a file states them; `None` = not stated.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Running {
    /// While it does nothing.
    pub idle: Option<f64>,
    /// In products at their peak rate.
    pub products: Option<f64>,
    /// In kernels that wait for its memory.
    pub memory: Option<f64>,
    /// While it sends and receives alone.
    pub transfers: Option<f64>,
    /// Of a device and hour, in any one currency.
    pub price_per_hour: Option<f64>,
}

/// Default memory margin, a share of a device's memory: the least whole percent that covers nine in ten
/// allocator peaks of each published set (checked by `tests/it`, intervals). Memory outside the allocator, which
/// nvidia-smi also shows, is not included.
pub const MARGIN: f64 = 0.05;

/// A device.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Unique within the cluster, such as `node0.gpu3`.
    pub name: String,
    /// Its kind.
    pub kind: KindId,
    /// Its interchangeability class.
    pub class: ClassId,
    /// Its host; `None` = the file names none.
    pub node: Option<NodeId>,
    /// Memory of the device; `None` = unlimited.
    pub capacity: Option<Bytes>,
    /// Memory of the driver context, library handles and communicators.
    pub context: Bytes,
    /// The margin: free memory for fragmentation and model error.
    pub reserve: Bytes,
    /// Whether the cluster file states the margin; else it is a default, which an engine may have another of.
    pub is_reserve_stated: bool,
}

impl Device {
    /// Bytes of driver context and libraries on a device of the catalogue where a file states nothing: between the 0.3 GiB
    /// of a bare CUDA context and the 0.8 GiB of one with collective buffers.
    pub const USUAL_CONTEXT: Bytes = Bytes(512 * 1024 * 1024);

    /// Capacity less context and reserve: what a plan may use. `None` = unlimited.
    #[must_use]
    pub fn memory_limit(&self) -> Option<Bytes> {
        self.capacity.map(|capacity| capacity - self.context - self.reserve)
    }
}

/// A host.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Name, such as `node0`.
    pub name: String,
    /// Host memory, where stated.
    pub host_memory: Option<Bytes>,
    /// Bandwidth of its memory, where stated.
    pub host_bandwidth: Option<BytesPerSecond>,
    /// Processor cores, where stated.
    pub n_cpu_cores: Option<u32>,
    /// Way between its memory and each of its devices, where it is known.
    pub to_device: Option<RouteKind>,
}

/// Whether a device sends and receives at the same time on one tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Duplex {
    /// One send and one receive channel per device and tier.
    #[default]
    Full,
    /// One channel for both (Baechi's model).
    Half,
}

/// The cost of a way between two devices, shared by all pairs that look alike.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteKind {
    /// Link type or path, such as `nvlink3` or `gpu0-gpu1`.
    pub name: String,
    /// Tier: which of a device's channels it occupies (0 = inside a node, 1 = network, ...).
    pub tier: usize,
    /// Start-up cost in nanoseconds.
    pub latency_ns: f64,
    /// Rate of one transfer.
    pub bandwidth: BytesPerSecond,
    /// Data sheet, measurement or file.
    pub source: String,
    /// Whether the figures were checked.
    pub check: Check,
}

/// A way between two devices.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// Its cost.
    pub kind: &'a RouteKind,
    /// Channel occupied at the source.
    pub send: ChannelId,
    /// Channel occupied at the destination.
    pub receive: ChannelId,
}

/// A serial resource of transfers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Name, such as `send gpu0 nvlink3`.
    pub name: String,
}

/// Position of a pair without a way in [`Links::pairs`].
pub const NO_ROUTE: u16 = u16::MAX;

/// All ways between devices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Links {
    /// Distinct costs.
    pub kinds: Vec<RouteKind>,
    /// Number of tiers.
    pub n_tiers: usize,
    /// Channels by id.
    pub channels: Vec<Channel>,
    /// `device * n_tiers + tier`: the channel that a sender occupies.
    pub send: Vec<ChannelId>,
    /// `device * n_tiers + tier`: the channel that a receiver occupies. Equal to `send` where the
    /// cluster is half-duplex.
    pub receive: Vec<ChannelId>,
    /// By device, its place: devices of one place sit in one host and have the same ways to all
    /// others. Empty where each device is a place of its own.
    pub places: Vec<u32>,
    /// `from * n_places + to`: position in `kinds`, or [`NO_ROUTE`]; of a place to itself, the way
    /// between two of its devices.
    pub pairs: Vec<u16>,
    /// By growing number of hosts, what one network card reaches in collectives over so many; empty where
    /// it is what two hosts reach.
    pub by_hosts: Vec<(u32, RouteKind)>,
}

/// Positions in the order in which they were first asked for.
#[derive(Default)]
struct Renumbered(Vec<usize>, BTreeMap<usize, usize>);

impl Renumbered {
    fn of(&mut self, old: usize) -> usize {
        let next = self.0.len();
        let new = *self.1.entry(old).or_insert(next);
        if new == next {
            self.0.push(old);
        }
        new
    }
}

/// Most devices of which each is a place of its own: what plans each pair apart takes no more.
pub const MAX_PLACES: usize = 4_096;

impl Links {
    /// Position of a pair of different devices in `kinds`; out of its range where there is no way.
    #[must_use]
    pub fn position(&self, n_devices: usize, from: usize, to: usize) -> Option<usize> {
        let at = if self.places.is_empty() {
            from * n_devices + to
        } else {
            let (from, to) = (*self.places.get(from)?, *self.places.get(to)?);
            from as usize * self.pairs.len().isqrt() + to as usize
        };
        self.pairs.get(at).map(|kind| usize::from(*kind))
    }

    /// The ways between some of so many devices.
    fn keeping(&self, (devices, n_devices): (&[DeviceId], usize)) -> Self {
        let ends = |of: &[ChannelId]| -> Vec<ChannelId> {
            let channels = devices.iter().flat_map(|device| {
                let first = device.index() * self.n_tiers;
                of.get(first..first + self.n_tiers).unwrap_or_default()
            });
            channels.copied().collect()
        };
        let (send, receive) = (ends(&self.send), ends(&self.receive));
        let mut channels = Renumbered::default();
        let used: BTreeSet<usize> =
            send.iter().chain(&receive).map(|channel| channel.index()).collect();
        let mut renamed = |ids: Vec<ChannelId>| -> Vec<ChannelId> {
            ids.into_iter().map(|channel| ChannelId::new(channels.of(channel.index()))).collect()
        };
        renamed(used.into_iter().map(ChannelId::new).collect());
        let (send, receive) = (renamed(send), renamed(receive));
        let mut places = Renumbered::default();
        let place = |device: &DeviceId| self.places.get(device.index()).copied();
        let kept_places: Vec<u32> = devices
            .iter()
            .filter_map(place)
            .map(|place| u32::try_from(places.of(place as usize)).unwrap_or(u32::MAX))
            .collect();
        let (rows, n): (Vec<usize>, usize) = match self.places.is_empty() {
            true => (devices.iter().map(|device| device.index()).collect(), n_devices),
            false => (places.0, self.pairs.len().isqrt()),
        };
        let pair = |(from, to): (&usize, &usize)| self.pairs.get(from * n + to).copied();
        let pairs = rows.iter().flat_map(|from| rows.iter().map(move |to| (from, to)));
        Self {
            kinds: self.kinds.clone(),
            n_tiers: self.n_tiers,
            channels: channels
                .0
                .iter()
                .filter_map(|index| self.channels.get(*index).cloned())
                .collect(),
            send,
            receive,
            places: kept_places,
            pairs: pairs.map(|pair_of| pair(pair_of).unwrap_or(NO_ROUTE)).collect(),
            by_hosts: self.by_hosts.clone(),
        }
    }

    /// The first device of each place.
    fn firsts(&self, n_devices: usize) -> Vec<usize> {
        if self.places.is_empty() {
            return (0..n_devices).collect();
        }
        let mut firsts = vec![0; self.pairs.len().isqrt()];
        for (device, place) in self.places.iter().enumerate().rev() {
            if let Some(first) = firsts.get_mut(*place as usize) {
                *first = device;
            }
        }
        firsts
    }
}

/// Devices and links.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cluster {
    /// Name from the file.
    pub name: String,
    /// Kinds in use, by id.
    pub kinds: Vec<DeviceKind>,
    /// Devices by id.
    pub devices: Vec<Device>,
    /// Hosts by id.
    pub nodes: Vec<Node>,
    /// Whether channels are full duplex.
    pub duplex: Duplex,
    /// Ways between devices.
    pub links: Links,
    /// Interchangeable devices, by class id, each list in increasing order.
    pub classes: Vec<Vec<DeviceId>>,
    /// What [`Self::slots`] were before devices were left out; empty where none was.
    pub slots: Vec<u32>,
}

impl Cluster {
    /// Number of devices.
    #[must_use]
    pub fn n_devices(&self) -> usize {
        self.devices.len()
    }

    /// Ids of all devices.
    pub fn device_ids(&self) -> impl Iterator<Item = DeviceId> + use<> {
        (0..self.devices.len()).map(DeviceId::new)
    }

    /// By device its number among the accelerators of its host in the file, by which the host knows it.
    #[must_use]
    pub fn slots(&self) -> Vec<u32> {
        if !self.slots.is_empty() {
            return self.slots.clone();
        }
        let mut next = BTreeMap::new();
        let mut slot = |device: DeviceId| {
            let next = next.entry(self.devices[device.index()].node).or_insert(0);
            *next += u32::from(self.storage(device).is_none());
            u32::saturating_sub(*next, 1)
        };
        self.device_ids().map(&mut slot).collect()
    }

    /// `"cpu"` or `"disk"` where the kind or the last part of the name, less its number, says so.
    #[must_use]
    pub fn storage(&self, device: DeviceId) -> Option<&'static str> {
        let entry = self.devices.get(device.index())?;
        let kind = self.kinds.get(entry.kind.index()).map_or("", |kind| kind.name.as_str());
        let last = entry.name.rsplit('.').next().unwrap_or_default();
        let bare = last.trim_end_matches(|c: char| c.is_ascii_digit());
        ["cpu", "disk"].into_iter().find(|storage| {
            kind.eq_ignore_ascii_case(storage) || bare.eq_ignore_ascii_case(storage)
        })
    }

    /// The cluster with a margin of `share` of each device's memory; unchanged for `None`.
    #[must_use]
    pub fn with_margin(self, share: Option<f64>) -> Self {
        match share {
            Some(share) => self
                .with_reserve(|memory| Bytes((memory.as_f64() * share).round() as u64), |_| true),
            None => self,
        }
    }

    /// The cluster with a margin of `reserve` of the memory of each device that `of` selects.
    #[must_use]
    pub fn with_reserve(
        mut self,
        reserve: impl Fn(Bytes) -> Bytes,
        of: impl Fn(&Device) -> bool,
    ) -> Self {
        for device in self.devices.iter_mut().filter(|device| of(device)) {
            device.reserve = device.capacity.map_or(Bytes::ZERO, &reserve);
        }
        self
    }

    /// The cluster with memory and margin of each device scaled by `factor`; driver contexts are not scaled.
    #[must_use]
    pub fn with_memory(mut self, factor: f64) -> Self {
        let times = |bytes: Bytes| Bytes((bytes.as_f64() * factor) as u64);
        for device in &mut self.devices {
            device.capacity = device.capacity.map(times);
            device.reserve = times(device.reserve);
        }
        self
    }

    /// The least factor of [`Self::with_memory`] at which `limit` bytes are usable on each device, rounded up
    /// to thousandths; `None` where no device has a limit.
    #[must_use]
    pub fn memory_factor(&self, limit: Bytes) -> Option<f64> {
        let factor = |device: &Device| {
            let free = (device.capacity? - device.reserve).as_f64();
            // One byte more than is lost by rounding capacity and reserve down.
            (free > 0.0).then(|| (limit + device.context + Bytes(2)).as_f64() / free)
        };
        let most = self.devices.iter().filter_map(factor).reduce(f64::max)?;
        Some((most * 1000.0).ceil() / 1000.0)
    }

    /// The same with these devices alone, in this order of the cluster's; hosts without devices go.
    #[must_use]
    pub fn keeping(&self, is_kept: impl Fn(DeviceId) -> bool) -> Self {
        let remaining: Vec<DeviceId> =
            self.device_ids().filter(|device| is_kept(*device)).collect();
        let mut nodes = Renumbered::default();
        let mut classes = Renumbered::default();
        let device = |id: &DeviceId| {
            let old = self.devices[id.index()].clone();
            let node = old.node.map(|node| NodeId::new(nodes.of(node.index())));
            let class = ClassId::new(classes.of(old.class.index()));
            Device { node, class, ..old }
        };
        let devices: Vec<Device> = remaining.iter().map(device).collect();
        let mut members = vec![Vec::new(); classes.0.len()];
        for (at, device) in devices.iter().enumerate() {
            members[device.class.index()].push(DeviceId::new(at));
        }
        let slots = self.slots();
        let slots: Vec<u32> = remaining.iter().map(|id| slots[id.index()]).collect();
        let mut cluster = Self {
            name: self.name.clone(),
            kinds: self.kinds.clone(),
            nodes: nodes.0.iter().map(|node| self.nodes[*node].clone()).collect(),
            duplex: self.duplex,
            links: self.links.keeping((&remaining, self.devices.len())),
            classes: members,
            slots: Vec::new(),
            devices,
        };
        if cluster.slots() != slots {
            cluster.slots = slots;
        }
        cluster
    }

    /// The kind of a device.
    ///
    /// # Panics
    /// If the id belongs to another cluster.
    #[must_use]
    pub fn kind_of(&self, device: DeviceId) -> &DeviceKind {
        &self.kinds[self.devices[device.index()].kind.index()]
    }

    /// The way from one device to another; `None` where there is none, or for a device to itself.
    #[must_use]
    pub fn route(&self, from: DeviceId, to: DeviceId) -> Option<Route<'_>> {
        if from == to {
            return None;
        }
        let links = &self.links;
        let kind = links.position(self.devices.len(), from.index(), to.index())?;
        let kind = links.kinds.get(kind)?;
        Some(Route {
            kind,
            send: links.send[from.index() * links.n_tiers + kind.tier],
            receive: links.receive[to.index() * links.n_tiers + kind.tier],
        })
    }

    /// How long `bytes` take: `latency_ns + bytes x 1e9 / bytes_per_s`, rounded half up, at least
    /// 1 ns if anything is sent. `None` without a way.
    #[must_use]
    pub fn transfer_time(&self, bytes: Bytes, from: DeviceId, to: DeviceId) -> Option<Nanos> {
        self.route(from, to).map(|route| route.kind.time(bytes))
    }

    /// A subset of the devices with the same routes as all of them: two per place.
    #[must_use]
    pub fn representatives(&self, devices: impl IntoIterator<Item = DeviceId>) -> Vec<DeviceId> {
        let mut n_taken = vec![0_u8; self.links.pairs.len().isqrt()];
        let mut is_taken = |device: &DeviceId| {
            let place = self.links.places.get(device.index()).map(|place| *place as usize);
            match place.and_then(|place| n_taken.get_mut(place)) {
                Some(2) => false,
                Some(n) => {
                    *n += 1;
                    true
                }
                None => true,
            }
        };
        devices.into_iter().filter(|device| is_taken(device)).collect()
    }

    /// The ways in use between two devices of one host, or of different hosts, in the order of
    /// [`Links::kinds`].
    #[must_use]
    pub fn ways(&self, of_one_host: bool) -> Vec<&RouteKind> {
        let firsts = self.links.firsts(self.devices.len());
        let nodes: Vec<_> = firsts.iter().map(|d| self.devices.get(*d).map(|d| d.node)).collect();
        let n = nodes.len();
        let mut is_used = vec![false; self.links.kinds.len()];
        for (from, a) in nodes.iter().enumerate() {
            let row = self.links.pairs.get(from * n..(from + 1) * n).unwrap_or_default();
            for (kind, b) in row.iter().zip(&nodes) {
                if (a == b) == of_one_host
                    && let Some(used) = is_used.get_mut(usize::from(*kind))
                {
                    *used = true;
                }
            }
        }
        self.links.kinds.iter().zip(is_used).filter_map(|(kind, is)| is.then_some(kind)).collect()
    }

    /// Devices that reach each other both ways, in the order of their first members. Ways are taken
    /// to lead on: who reaches a member reaches the island.
    #[must_use]
    pub fn islands(&self) -> Vec<Vec<DeviceId>> {
        let mut islands: Vec<Vec<DeviceId>> = Vec::new();
        let reach = |a, b| self.route(a, b).is_some() && self.route(b, a).is_some();
        for device in self.device_ids() {
            match islands.iter_mut().find(|island| reach(island[0], device)) {
                Some(island) => island.push(device),
                None => islands.push(vec![device]),
            }
        }
        islands
    }

    /// Devices in words: by their hosts where these are whole, else by name; the first few.
    #[must_use]
    pub fn in_words(&self, devices: &[DeviceId]) -> String {
        const SHOWN: usize = 4;
        let node = |device: &DeviceId| self.devices.get(device.index()).and_then(|d| d.node);
        let mut hosts: Vec<_> = devices.iter().map(node).collect();
        hosts.dedup();
        let whole = |host| self.devices.iter().filter(|device| device.node == host).count();
        let counted: usize = hosts.iter().map(|host| whole(*host)).sum();
        let names: Vec<&str> = match hosts.contains(&None) || counted != devices.len() {
            true => devices.iter().map(|d| self.devices[d.index()].name.as_str()).collect(),
            false => hosts.iter().flatten().map(|n| self.nodes[n.index()].name.as_str()).collect(),
        };
        let names = in_a_row(&names);
        let mut shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        if names.len() > SHOWN {
            shown.push_str(&format!(" and {} more", names.len() - SHOWN));
        }
        match devices.len() {
            1 => shown,
            n => format!("{shown} ({n} devices)"),
        }
    }

    /// Names of the kinds of its devices.
    #[must_use]
    pub fn kind_names(&self) -> BTreeSet<&str> {
        self.device_ids().map(|device| self.kind_of(device).name.as_str()).collect()
    }

    /// Whether every pair of distinct devices has a way.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        let n = self.devices.len();
        let has_way =
            |a, b| self.links.position(n, a, b).is_some_and(|kind| kind < self.links.kinds.len());
        (0..n).all(|a| (0..n).all(|b| a == b || has_way(a, b)))
    }
}

impl RouteKind {
    /// How long `bytes` take on this way; see [`Cluster::transfer_time`].
    #[must_use]
    pub fn time(&self, bytes: Bytes) -> Nanos {
        let work = if bytes == Bytes::ZERO { Work::None } else { Work::Some };
        Nanos::rounded(self.latency_ns + bytes.as_f64() * 1e9 / self.bandwidth.get(), work)
    }
}

/// Names with `gpu0-3` in place of those whose numbers follow each other.
fn in_a_row(names: &[&str]) -> Vec<String> {
    let numbered = |name: &str| -> Option<(usize, u64)> {
        let at = name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        Some((at, name[at..].parse().ok()?))
    };
    let follows = |a: &&str, b: &&str| match (numbered(a), numbered(b)) {
        (Some((i, m)), Some((j, n))) => a[..i] == b[..j] && m.checked_add(1) == Some(n),
        _ => false,
    };
    let runs = names.chunk_by(follows);
    runs.map(|run| match run {
        [first, .., last] => {
            format!("{first}-{}", numbered(last).map_or(0, |(_, number)| number))
        }
        one => one.concat(),
    })
    .collect()
}
