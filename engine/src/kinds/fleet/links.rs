//! Links of a fleet: ways of keys and values between pools, and what of the cluster's links is not priced.

use ir::cluster::{Check, Cluster, Device, Duplex, RouteKind};
use ir::diagnostic::Diagnostic;
use ir::id::DeviceId;
use ir::units::Bytes;
use planner::serving::serving_fleet::Link;

use super::setting::{Pool, Setting};

/// Seconds before the first byte of keys and values that are handed over; *nominal*.
const HAND_OVER_S: f64 = 1e-3;
/// Hosts of a pool at most that are looked at.
const HOSTS: usize = 128;
/// Bytes/s where there is no way ([`Link::is_way`]).
const NO_LINK: f64 = 1e-6;

/// Ways of keys and values between pools, of one device's rate: between hosts where there are several, and those
/// between workers of a pool that are on one host.
pub(super) fn links(cluster: &Cluster, pools: &[Pool]) -> Vec<(Link, Link)> {
    let mut links = Vec::new();
    for (from, sender) in pools.iter().enumerate() {
        for (to, receiver) in pools.iter().enumerate() {
            let one = sender.hosts[0][0];
            let way = |host: Option<&Vec<DeviceId>>| {
                let other = host?.last().copied().filter(|other| *other != one)?;
                let route = cluster.route(one, other)?;
                let start_up_s = HAND_OVER_S + route.kind.latency_ns / 1e9;
                let bytes_per_s = route.kind.bandwidth.get();
                Some(Link { from, to, bytes_per_s, start_up_s, total_bytes_per_s: None })
            };
            let near = way(receiver.hosts.first().filter(|_| from == to));
            // Hosts without a network reach no other.
            let none = near.map(|near| Link { bytes_per_s: NO_LINK, ..near });
            let Some(far) = way(receiver.hosts.last()).or(none) else { continue };
            let near = near.filter(|near| near.bytes_per_s > far.bytes_per_s);
            links.push((far, near.unwrap_or(far)));
        }
    }
    links
}

impl Setting {
    /// The slowest link of several inside hosts, or between hosts, and a faster one.
    fn unequal_links(&self) -> Option<[&RouteKind; 2]> {
        let cluster = &self.run.cluster;
        let key = |of: &&RouteKind| (of.bandwidth.get(), -of.latency_ns);
        let by_speed = |one: &&RouteKind, other: &&RouteKind| {
            let [(rate, late), (other_rate, other_late)] = [key(one), key(other)];
            rate.total_cmp(&other_rate).then(late.total_cmp(&other_late))
        };
        let of = |devices: &[DeviceId]| {
            let pairs =
                devices.iter().flat_map(|one| devices.iter().map(move |other| (*one, *other)));
            let routes = pairs.filter_map(|(one, other)| Some(cluster.route(one, other)?.kind));
            let slowest = routes.clone().min_by(by_speed)?;
            let fastest = routes.max_by(by_speed)?;
            (key(&slowest) != key(&fastest)).then_some([slowest, fastest])
        };
        self.pools.iter().find_map(|pool| {
            let firsts: Vec<DeviceId> =
                pool.hosts.iter().filter_map(|host| host.first()).copied().take(HOSTS).collect();
            pool.hosts.iter().find_map(|host| of(host)).or_else(|| of(&firsts))
        })
    }

    /// Some devices have faster links than others: all are priced at the slowest, so that smaller clusters may serve more,
    /// and nothing is proved.
    pub(super) fn slow_links(&self) -> Option<Diagnostic> {
        let [slowest, fastest] = self.unequal_links().filter(|_| self.tables.is_none())?;
        let (slowest, fastest) = (&slowest.name, &fastest.name);
        let message = format!(
            "`{fastest}` joins some devices only: collectives of a worker are priced at `{slowest}`"
        );
        let hint = format!(
            "to use `{fastest}`, state the devices that it joins as a node, and `{slowest}` as the network"
        );
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
