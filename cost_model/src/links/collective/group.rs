//! Groups of devices of a cluster: their tiers, and groups that get in each other's way.

use std::collections::BTreeMap;

use ir::cluster::Cluster;
use ir::diagnostic::{Blame, Diagnostic};
use ir::id::{ChannelId, DeviceId};
use ir::measured::CollectiveOperation;
use ir::units::{Bytes, Nanos, Work};

use super::{Level, Link, fastest};

/// The tiers of a group, innermost first: devices inside a host, then hosts.
///
/// Each tier's link is its slowest way: the greatest start-up cost and the least rate of all pairs
/// of the tier, both directions. Devices without a host count as one host. A group with unlike
/// numbers of devices per host is one flat tier.
///
/// # Errors
/// `bad-group` for a device that is not in the cluster or stands twice; `no-route` for a pair
/// without a way.
pub fn levels(cluster: &Cluster, group: &[DeviceId]) -> Result<Vec<Level>, Diagnostic> {
    let mut hosts: BTreeMap<Option<usize>, Vec<DeviceId>> = BTreeMap::new();
    for (position, device) in group.iter().enumerate() {
        let twice = group.iter().take(position).any(|other| other == device);
        let entry = cluster.devices.get(device.index()).filter(|_| !twice);
        let Some(entry) = entry else {
            let message = format!("device {} does not fit into the group", device.index());
            return Err(Diagnostic::error(Blame::Internal, "bad-group", message));
        };
        hosts.entry(entry.node.map(|node| node.index())).or_default().push(*device);
    }
    let sizes: Vec<usize> = hosts.values().map(Vec::len).collect();
    let alike = sizes.windows(2).all(|pair| pair[0] == pair[1]);
    let per_host = sizes.first().copied().unwrap_or_default();
    let inside = |a: DeviceId, b: DeviceId| {
        let host = |device: DeviceId| cluster.devices.get(device.index()).and_then(|d| d.node);
        host(a) == host(b)
    };
    let mut levels = Vec::new();
    if !alike || hosts.len() <= 1 || per_host <= 1 {
        if let Some(link) = slowest(cluster, group, |_, _| true)? {
            levels.push(Level { parts: group.len() as u64, link });
        }
        return Ok(levels);
    }
    if let Some(link) = slowest(cluster, group, inside)? {
        levels.push(Level { parts: per_host as u64, link });
    }
    if let Some(link) = slowest(cluster, group, |a, b| !inside(a, b))? {
        levels.push(Level { parts: hosts.len() as u64, link });
    }
    Ok(levels)
}

/// The slowest way of all pairs that are asked for; `None` without a pair.
fn slowest(
    cluster: &Cluster,
    group: &[DeviceId],
    wanted: impl Fn(DeviceId, DeviceId) -> bool,
) -> Result<Option<Link>, Diagnostic> {
    let mut slowest: Option<Link> = None;
    let pairs = group.iter().flat_map(|a| group.iter().map(move |b| (*a, *b)));
    for (from, to) in pairs.filter(|(a, b)| a != b && wanted(*a, *b)) {
        let Some(route) = cluster.route(from, to) else {
            return Err(no_route(cluster, from, to));
        };
        let start_up_s = route.kind.latency_ns * 1e-9;
        let rate = route.kind.bandwidth;
        slowest = Some(slowest.map_or(Link { start_up_s, rate }, |link| Link {
            start_up_s: link.start_up_s.max(start_up_s),
            rate: if rate < link.rate { rate } else { link.rate },
        }));
    }
    Ok(slowest)
}

fn no_route(cluster: &Cluster, from: DeviceId, to: DeviceId) -> Diagnostic {
    let name = |device: DeviceId| {
        cluster.devices.get(device.index()).map_or_else(String::new, |d| d.name.clone())
    };
    let message = format!("there is no way from `{}` to `{}`", name(from), name(to));
    Diagnostic::error(Blame::Input, "no-route", message)
        .fact("from", name(from))
        .fact("to", name(to))
        .hint("state a link between them in the cluster file")
}

/// How many groups share the busiest channel of each, if all run rings at the same time in the
/// order of their lists: at least 1.
///
/// A ring is as slow as its slowest hop, so a group whose busiest channel carries `k` hops gets
/// `1/k` of the rate ([`Link::shared`]). In a group alone each device sends to one other and
/// receives from one: `k = 1` unless the cluster is half-duplex.
#[must_use]
pub fn contention(cluster: &Cluster, groups: &[&[DeviceId]]) -> Vec<u64> {
    let mut load: BTreeMap<ChannelId, u64> = BTreeMap::new();
    for group in groups {
        for channel in channels(cluster, group) {
            *load.entry(channel).or_default() += 1;
        }
    }
    let busiest = |group: &&[DeviceId]| {
        channels(cluster, group).filter_map(|channel| load.get(&channel).copied()).max()
    };
    groups.iter().map(|group| busiest(group).unwrap_or(1)).collect()
}

/// Channels of the hops of a ring, one entry per hop and end.
fn channels<'a>(
    cluster: &'a Cluster,
    group: &'a [DeviceId],
) -> impl Iterator<Item = ChannelId> + 'a {
    let next = group.iter().cycle().skip(1);
    let hops = group.iter().zip(next).filter_map(|(from, to)| cluster.route(*from, *to));
    hops.flat_map(|route| [route.send, route.receive])
}

/// How long a group takes for a collective whose links `sharers` groups use at the same time.
///
/// # Errors
/// As [`levels`].
pub fn time(
    cluster: &Cluster,
    group: &[DeviceId],
    operation: CollectiveOperation,
    bytes: Bytes,
    sharers: u64,
) -> Result<Nanos, Diagnostic> {
    let mut levels = levels(cluster, group)?;
    for level in &mut levels {
        level.link = level.link.shared(sharers);
    }
    let work = if bytes == Bytes::ZERO || group.len() <= 1 { Work::None } else { Work::Some };
    Ok(match work {
        Work::None => Nanos::ZERO,
        Work::Some => Nanos::rounded(fastest(operation, &levels, bytes) * 1e9, work),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use ir::cluster::{Channel, Check, Device, Links, RouteKind};
    use ir::id::{ClassId, KindId, NodeId};
    use ir::units::BytesPerSecond;

    use super::*;

    /// Two hosts of two devices: 100 B/s inside, 10 B/s across.
    fn cluster() -> Cluster {
        let kind = |tier, latency_ns, rate| RouteKind {
            name: format!("tier {tier}"),
            tier,
            latency_ns,
            bandwidth: BytesPerSecond::new(rate).unwrap(),
            source: String::new(),
            check: Check::Given,
        };
        let device = |index: usize| Device {
            name: format!("gpu{index}"),
            kind: KindId::new(0),
            class: ClassId::new(0),
            node: Some(NodeId::new(index / 2)),
            capacity: None,
            context: Bytes::ZERO,
            reserve: Bytes::ZERO,
        };
        let pair = |a: usize, b: usize| {
            if a == b { ir::cluster::NO_ROUTE } else { u16::from(a / 2 != b / 2) }
        };
        let links = Links {
            kinds: vec![kind(0, 1e9, 100.0), kind(1, 2e9, 10.0)],
            n_tiers: 2,
            channels: (0..16).map(|i| Channel { name: i.to_string() }).collect(),
            send: (0..8).map(ChannelId::new).collect(),
            receive: (8..16).map(ChannelId::new).collect(),
            places: Vec::new(),
            pairs: (0..16).map(|i| pair(i / 4, i % 4)).collect(),
        };
        Cluster { devices: (0..4).map(device).collect(), links, ..Cluster::default() }
    }

    fn ids(indices: &[usize]) -> Vec<DeviceId> {
        indices.iter().map(|index| DeviceId::new(*index)).collect()
    }

    #[test]
    fn hosts_are_tiers() {
        let cluster = cluster();
        let shape = |indices: &[usize]| {
            let levels = levels(&cluster, &ids(indices)).unwrap();
            levels.iter().map(|l| (l.parts, l.link.rate.get())).collect::<Vec<_>>()
        };
        assert_eq!(shape(&[0, 1, 2, 3]), [(2, 100.0), (2, 10.0)]);
        assert_eq!(shape(&[0, 1]), [(2, 100.0)]);
        assert_eq!(shape(&[0, 2]), [(2, 10.0)]);
        assert_eq!(shape(&[0, 1, 2]), [(3, 10.0)]);
        assert_eq!(shape(&[3]), []);
        assert_eq!(levels(&cluster, &ids(&[1, 1])).unwrap_err().code, "bad-group");
        assert_eq!(levels(&cluster, &ids(&[9])).unwrap_err().code, "bad-group");
    }

    #[test]
    fn times_by_hand() {
        let cluster = cluster();
        let all_reduce = |indices: &[usize], bytes, sharers| {
            let op = CollectiveOperation::AllReduce;
            time(&cluster, &ids(indices), op, Bytes(bytes), sharers).unwrap().seconds()
        };
        // Inside: 2 x 1 s + 400 B / 100 B/s. Across: 2 x 2 s + 200 B / 10 B/s.
        assert_eq!(all_reduce(&[0, 1], 400, 1), 6.0);
        assert_eq!(all_reduce(&[0, 1, 2, 3], 400, 1), 6.0 + 24.0);
        assert_eq!(all_reduce(&[0, 1], 400, 2), 10.0);
        assert_eq!((all_reduce(&[0], 400, 1), all_reduce(&[0, 1], 0, 1)), (0.0, 0.0));
    }

    #[test]
    fn groups_that_share_a_channel_slow_each_other() {
        let cluster = cluster();
        let (a, b, c) = (ids(&[0, 2]), ids(&[1, 3]), ids(&[0, 3]));
        assert_eq!(contention(&cluster, &[&a, &b]), [1, 1]);
        assert_eq!(contention(&cluster, &[&a, &c]), [2, 2]);
        assert_eq!(contention(&cluster, &[&a, &b, &c]), [2, 2, 2]);
        assert_eq!(contention(&cluster, &[&[]]), [1]);
    }

    #[test]
    fn a_pair_without_a_way_is_an_error() {
        let mut cluster = cluster();
        cluster.links.pairs[1] = ir::cluster::NO_ROUTE;
        assert_eq!(levels(&cluster, &ids(&[0, 1])).unwrap_err().code, "no-route");
    }
}
