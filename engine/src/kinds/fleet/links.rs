//! Links of a fleet: ways of keys and values between pools, and what of the cluster's links is not priced.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use ir::cluster::{Check, Cluster, Device, Duplex, RouteKind};
use ir::diagnostic::Diagnostic;
use ir::id::{ChannelId, DeviceId};
use ir::units::Bytes;
use planner::serving::serving_fleet::Link;

use super::setting::{Pool, Setting};
use crate::request::serving::ServingMode;

/// Seconds before the first byte of keys and values that are handed over; *nominal*.
const HAND_OVER_S: f64 = 1e-3;
/// Bytes/s where there is no way ([`Link::is_way`]).
const NO_LINK: f64 = 1e-6;

/// Ways of keys and values between pools, of one device's rate: between hosts where there are several, and those
/// between workers of one host.
pub(super) fn links(cluster: &Cluster, pools: &[Pool]) -> Vec<(Link, Link)> {
    let devices: Vec<Vec<DeviceId>> = pools.iter().map(|pool| pool.hosts.concat()).collect();
    let mut links = Vec::new();
    for (from, senders) in devices.iter().enumerate() {
        for (to, receivers) in devices.iter().enumerate() {
            let link = |bytes_per_s, start_up_s| Link {
                from,
                to,
                bytes_per_s,
                start_up_s,
                total_bytes_per_s: None,
            };
            let [near, far] = [true, false].map(|is_of_one_host| {
                let ways = Ways::of(cluster, [senders, receivers], is_of_one_host);
                let slowest = ways.all.first().filter(|_| !ways.is_partial);
                let of = |way: &&RouteKind| {
                    link(way.bandwidth.get(), HAND_OVER_S + way.latency_ns / 1e9)
                };
                (slowest.map(of), ways.n_pairs > 0)
            });
            // Hosts without a network reach no other.
            let none = near.0.filter(|_| far.1).map(|_| link(NO_LINK, HAND_OVER_S));
            let Some(far) = far.0.or(none).or(near.0) else { continue };
            let near = near.0.filter(|near| near.bytes_per_s > far.bytes_per_s);
            links.push((far, near.unwrap_or(far)));
        }
    }
    links
}

/// Ways from devices to others of the same host, or of other hosts.
struct Ways<'c> {
    /// Those that differ in speed, the slowest first.
    all: Vec<&'c RouteKind>,
    /// Whether some pairs have none, and others have.
    is_partial: bool,
    /// Pairs of representatives.
    n_pairs: usize,
}

impl<'c> Ways<'c> {
    fn of(cluster: &'c Cluster, [from, to]: [&[DeviceId]; 2], is_of_one_host: bool) -> Self {
        let [from, to] = [from, to].map(|of| cluster.representatives(of.iter().copied()));
        let node = |device: DeviceId| cluster.devices[device.index()].node;
        let is_of_one =
            |one, other| node(one).map_or(one == other, |host| node(other) == Some(host));
        let mut all: Vec<&RouteKind> = Vec::new();
        let [mut n_pairs, mut n_joined] = [0; 2];
        for one in from {
            let is_in =
                |other: &&DeviceId| one != **other && is_of_one(one, **other) == is_of_one_host;
            for other in to.iter().filter(is_in) {
                n_pairs += 1;
                let Some(route) = cluster.route(one, *other) else { continue };
                n_joined += 1;
                if !all.iter().any(|way| std::ptr::eq(*way, route.kind)) {
                    all.push(route.kind);
                }
            }
        }
        all.sort_by(|one, other| speed(one).partial_cmp(&speed(other)).unwrap_or(Ordering::Equal));
        all.dedup_by_key(|way| speed(way));
        Self { all, is_partial: n_joined > 0 && n_joined < n_pairs, n_pairs }
    }

    /// The slowest and the fastest where these differ; no slowest where some pairs have no way.
    fn unequal(&self) -> Option<(Option<&'c RouteKind>, &'c RouteKind)> {
        let slowest = self.all.first().copied().filter(|_| !self.is_partial);
        let fastest = *self.all.last()?;
        (self.is_partial || self.all.len() > 1).then_some((slowest, fastest))
    }
}

/// Bytes/s, and latency in ns less than zero.
fn speed(way: &RouteKind) -> [f64; 2] {
    [way.bandwidth.get(), -way.latency_ns]
}

/// What makes hosts of equal devices one pool: their ways inside, the fastest of those to other hosts, network cards,
/// and what they reach.
#[derive(PartialEq)]
pub(super) struct Joined {
    inside: Vec<[f64; 2]>,
    across: Option<[f64; 2]>,
    n_cards: usize,
    reached: Vec<DeviceId>,
}

impl Joined {
    /// Of devices of one host, and representatives of all.
    pub(super) fn of(cluster: &Cluster, devices: &[DeviceId], all: &[DeviceId]) -> Self {
        let inside = Ways::of(cluster, [devices, devices], true).all;
        let across = Ways::of(cluster, [devices, all], false).all;
        let node = |device: DeviceId| cluster.devices[device.index()].node;
        let is_own = |other: DeviceId| {
            devices.contains(&other)
                || node(other).is_some_and(|host| node(devices[0]) == Some(host))
        };
        let others = || all.iter().copied().filter(|other| !is_own(*other));
        let own = cluster.representatives(devices.iter().copied());
        let reaches =
            |other: &DeviceId| own.iter().all(|one| cluster.route(*one, *other).is_some());
        // Hosts that reach no other are alike, and those of one network.
        let reached = match others().any(|other| reaches(&other)) {
            true => all.iter().copied().filter(|one| is_own(*one) || reaches(one)).collect(),
            false => Vec::new(),
        };
        let card = |device: &DeviceId| Some(cluster.route(*device, others().next()?)?.send);
        let cards: BTreeSet<ChannelId> = devices.iter().filter_map(card).collect();
        Self {
            inside: inside.into_iter().map(speed).collect(),
            across: across.last().map(|way| speed(way)),
            n_cards: cards.len(),
            reached,
        }
    }
}

/// Devices of a host that reach each other.
pub(super) fn joined(cluster: &Cluster, devices: Vec<DeviceId>) -> Vec<Vec<DeviceId>> {
    let mut groups: Vec<Vec<DeviceId>> = Vec::new();
    for device in devices {
        let reaches = |other: &DeviceId| cluster.route(device, *other).is_some();
        match groups.iter_mut().find(|group| group.iter().all(reaches)) {
            Some(group) => group.push(device),
            None => groups.push(vec![device]),
        }
    }
    groups
}

impl Setting {
    /// The slowest link of several inside hosts, between hosts of a pool, or between pools that hand over, and the
    /// fastest of these; no slowest where some have no way.
    fn unequal_links(&self) -> Option<(Option<&RouteKind>, &RouteKind)> {
        let cluster = &self.run.cluster;
        let pools: Vec<Vec<DeviceId>> = self.pools.iter().map(|pool| pool.hosts.concat()).collect();
        let n_pools = if self.asked.mode == ServingMode::Aggregated { 0 } else { pools.len() };
        let own = pools.iter().map(|pool| [pool, pool]);
        let other = (0..n_pools).flat_map(|from| (0..n_pools).map(move |to| [from, to]));
        let other = other.filter(|[from, to]| from != to).map(|pair| pair.map(|at| &pools[at]));
        own.chain(other).find_map(|[from, to]| {
            let of = |is_of_one_host| Ways::of(cluster, [from, to], is_of_one_host).unequal();
            of(true).or_else(|| of(false))
        })
    }

    /// Some devices have faster links than others: all are priced at the slowest, so that smaller clusters may serve more,
    /// and nothing is proved.
    pub(super) fn slow_links(&self) -> Option<Diagnostic> {
        let (slowest, fastest) = self.unequal_links().filter(|_| self.tables.is_none())?;
        let fast = &fastest.name;
        let (message, hint) = match slowest.map(|way| &way.name) {
            Some(slow) => (
                format!(
                    "`{fast}` joins some devices only: collectives and hand-overs are priced at `{slow}`"
                ),
                format!(
                    "to use `{fast}`, state the devices that it joins as a node, and `{slow}` as the network"
                ),
            ),
            None => (
                format!(
                    "`{fast}` joins some devices only: it is not used between others of their hosts"
                ),
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
