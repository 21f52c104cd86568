//! Links of a fleet: ways of keys and values between pools, and what of the cluster's links is not priced.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use ir::cluster::{Check, Cluster, Device, Duplex, RouteKind};
use ir::diagnostic::Diagnostic;
use ir::id::{ChannelId, DeviceId, NodeId};
use ir::units::Bytes;
use planner::serving::serving_fleet::Link;

use super::pools::Pools;
use super::setting::Setting;
use crate::request::serving::ServingMode;

/// Seconds before the first byte of keys and values that are handed over; *nominal*.
const HAND_OVER_S: f64 = 1e-3;
/// Bytes/s where there is no way ([`Link::is_way`]).
const NO_LINK: f64 = 1e-6;

/// Ways of keys and values between pools, of one device's rate.
pub(super) struct Links {
    /// Between hosts where there are several.
    pub(super) far: Vec<Link>,
    /// Between workers of one host.
    pub(super) near: Vec<Link>,
    /// Of several ways between the same pools, or inside one, the slowest, and the fastest; no slowest where some pairs
    /// have no way.
    pub(super) unequal: Option<(Option<RouteKind>, RouteKind)>,
}

/// Ways between pools, and inside each.
pub(super) fn links(cluster: &Cluster, of: &Pools, mode: ServingMode) -> Links {
    let Pools { all: pools, hosts, .. } = of;
    let devices: Vec<Vec<DeviceId>> = pools.iter().map(|pool| pool.hosts.concat()).collect();
    let mut links = Links { far: Vec::new(), near: Vec::new(), unequal: None };
    for (from, senders) in devices.iter().enumerate() {
        for (to, receivers) in devices.iter().enumerate() {
            let link = |bytes_per_s, start_up_s| Link { from, to, bytes_per_s, start_up_s };
            let of =
                |way: &RouteKind| link(way.bandwidth.get(), HAND_OVER_S + way.latency_ns / 1e9);
            let [inside, across] = Ways::of((cluster, hosts), [senders, receivers]);
            let is_used = from == to || mode != ServingMode::Aggregated;
            let unequal = || inside.unequal().or_else(|| across.unequal()).filter(|_| is_used);
            links.unequal = links.unequal.take().or_else(unequal);
            let near = inside.slowest().map(of);
            // Hosts without a network reach no other.
            let none = near.filter(|_| across.n_pairs > 0).map(|_| link(NO_LINK, HAND_OVER_S));
            let far = across.slowest().map(|way| {
                let far = of(way);
                let share = pools[from].share_of_card.min(pools[to].share_of_card);
                Link { bytes_per_s: far.bytes_per_s * share, ..far }
            });
            let Some(far) = far.or(none).or(near) else { continue };
            // Workers that hand over between hosts may be on one as well, the way through which comes first.
            let is_slower = |near: &Link| near.bytes_per_s < far.bytes_per_s;
            if let (Some(_), Some(slow), Some(fast)) =
                (near.filter(|near| is_slower(near) && is_used), inside.slowest(), across.slowest())
            {
                links.unequal.get_or_insert((Some(slow.clone()), fast.clone()));
            }
            links.far.push(near.filter(is_slower).unwrap_or(far));
            links.near.push(near.unwrap_or(far));
        }
    }
    links
}

/// Ways from devices to others of the same host, or of other hosts.
#[derive(Default)]
struct Ways<'c> {
    /// Those that differ in speed, the slowest first.
    all: Vec<&'c RouteKind>,
    /// Pairs of representatives, and those that have a way.
    n_pairs: usize,
    n_joined: usize,
}

impl<'c> Ways<'c> {
    /// Inside hosts, and between them.
    fn of((cluster, hosts): (&'c Cluster, &Hosts), [from, to]: [&[DeviceId]; 2]) -> [Self; 2] {
        let [from, to] = [from, to].map(|of| cluster.representatives(of.iter().copied()));
        let mut ways = [Self::default(), Self::default()];
        for one in from {
            for other in to.iter().copied().filter(|other| *other != one) {
                let of = &mut ways[usize::from(hosts.of(one) != hosts.of(other))];
                of.n_pairs += 1;
                let Some(route) = cluster.route(one, other) else { continue };
                of.n_joined += 1;
                if !of.all.iter().any(|way| std::ptr::eq(*way, route.kind)) {
                    of.all.push(route.kind);
                }
            }
        }
        for Self { all, .. } in &mut ways {
            let order =
                |one: &&RouteKind, other: &&RouteKind| speed(one).partial_cmp(&speed(other));
            all.sort_by(|one, other| order(one, other).unwrap_or(Ordering::Equal));
            all.dedup_by_key(|way| speed(way));
        }
        ways
    }

    /// The slowest where all have a way.
    fn slowest(&self) -> Option<&'c RouteKind> {
        self.all.first().copied().filter(|_| self.n_joined == self.n_pairs)
    }

    fn unequal(&self) -> Option<(Option<RouteKind>, RouteKind)> {
        let fastest = (*self.all.last()?).clone();
        let slowest = self.slowest();
        (slowest.is_none() || self.all.len() > 1).then(|| (slowest.cloned(), fastest))
    }
}

/// By device its host, or what is taken for one.
#[derive(Clone)]
pub(super) struct Hosts(Vec<usize>);

impl Hosts {
    /// Hosts of the cluster file; a device that is on none is alone.
    pub(super) fn new(cluster: &Cluster) -> Self {
        let n = cluster.nodes.len();
        let of = |(at, device): (usize, &Device)| device.node.map_or(n + at, NodeId::index);
        Self(cluster.devices.iter().enumerate().map(of).collect())
    }

    /// The host of a device.
    pub(super) fn of(&self, device: DeviceId) -> usize {
        self.0[device.index()]
    }
}

/// Bytes/s, and latency in ns less than zero.
fn speed(way: &RouteKind) -> [f64; 2] {
    [way.bandwidth.get(), -way.latency_ns]
}

/// How the devices of a host are joined.
pub(super) struct Joined {
    /// Ways inside, and the hosts that are reached: what equal hosts have in common.
    pub(super) own: (Vec<[f64; 2]>, Vec<DeviceId>),
    /// The fastest way to another host, and network cards: those of a pool count as the slowest and the fewest.
    pub(super) network: (Option<[f64; 2]>, usize),
}

impl Joined {
    /// Of devices of one host, and representatives of all.
    pub(super) fn of(
        (cluster, hosts): (&Cluster, &Hosts),
        devices: &[DeviceId],
        all: &[DeviceId],
    ) -> Self {
        let [inside, _] = Ways::of((cluster, hosts), [devices, devices]);
        let own = cluster.representatives(devices.iter().copied());
        let is_own =
            |other: DeviceId| devices.contains(&other) || hosts.of(devices[0]) == hosts.of(other);
        let mut across: Option<[f64; 2]> = None;
        let mut reached = Vec::new();
        let others: Vec<DeviceId> = all.iter().copied().filter(|other| !is_own(*other)).collect();
        for other in &others {
            let back = own.iter().filter(|one| cluster.route(*other, **one).is_some());
            let ways = back.filter_map(|one| cluster.route(*one, *other));
            let mut n_ways = 0;
            for found in ways.map(|way| speed(way.kind)) {
                n_ways += 1;
                across = across.filter(|fastest| *fastest > found).or(Some(found));
            }
            if n_ways == own.len() {
                reached.push(*other);
            }
        }
        // Of the ways to other hosts those through the fewest cards.
        let n_cards = |other: &DeviceId| {
            let cards =
                devices.iter().filter_map(|device| Some(cluster.route(*device, *other)?.send));
            cards.collect::<BTreeSet<ChannelId>>().len()
        };
        let n_cards = reached.iter().map(n_cards).min().unwrap_or(0);
        // Hosts that reach no other are alike, and those of one network.
        if !reached.is_empty() {
            reached.extend(all.iter().copied().filter(|other| is_own(*other)));
            reached.sort();
        }
        let inside = inside.all.into_iter().map(speed).collect();
        Self { own: (inside, reached), network: (across, n_cards) }
    }
}

/// Whether all of some devices reach all of others.
pub(super) fn are_joined(on: (&Cluster, &Hosts), pair: [&[DeviceId]; 2]) -> bool {
    Ways::of(on, pair).iter().all(|ways| ways.n_joined == ways.n_pairs)
}

/// Devices of a host that reach each other.
pub(super) fn joined(cluster: &Cluster, devices: Vec<DeviceId>) -> Vec<Vec<DeviceId>> {
    let mut groups: Vec<Vec<DeviceId>> = Vec::new();
    for device in devices {
        let is_way = |from, to| cluster.route(from, to).is_some();
        let reaches = |other: &DeviceId| is_way(device, *other) && is_way(*other, device);
        match groups.iter_mut().find(|group| group.iter().all(reaches)) {
            Some(group) => group.push(device),
            None => groups.push(vec![device]),
        }
    }
    groups
}

impl Setting {
    /// Some devices have faster links than others: all are priced at the slowest, so that smaller clusters may serve more,
    /// and nothing is proved.
    pub(super) fn slow_links(&self) -> Option<Diagnostic> {
        let (slowest, fastest) = self.unequal.as_ref().filter(|_| self.tables.is_none())?;
        let fast = &fastest.name;
        let (message, hint) = match slowest.as_ref().map(|way| &way.name) {
            Some(slow) => (
                format!(
                    "`{fast}` joins some devices only: collectives and hand-overs are priced at `{slow}`"
                ),
                format!(
                    "to use `{fast}`, state the devices that it joins as a node, and `{slow}` as the network"
                ),
            ),
            None => (
                format!("`{fast}` joins some devices only: no worker spans devices without a link"),
                "state a `network`, or the devices that it joins as a cluster of their own"
                    .to_owned(),
            ),
        };
        Some(Diagnostic::warning("slow-links", message).hint(hint))
    }

    /// Fields of the cluster file that say nothing of fleets.
    pub(super) fn without_effect(&self) -> impl Iterator<Item = Diagnostic> + use<> {
        let cluster = &self.run.cluster;
        let is_stated = |device: &Device| {
            let is_listed = cluster.kinds[device.kind.index()].check != Check::Given;
            device.context != if is_listed { Device::USUAL_CONTEXT } else { Bytes::ZERO }
        };
        let warning = |message: &str| Diagnostic::warning("no-effect", message);
        let context = cluster.devices.iter().any(is_stated).then(|| {
            let message = "`context_bytes` has no effect: engines have a figure of their own";
            warning(message).hint("state `reserve_bytes` for memory of others")
        });
        let duplex = (cluster.duplex == Duplex::Half)
            .then(|| warning("`duplex: half` has no effect on fleets"));
        context.into_iter().chain(duplex)
    }
}
