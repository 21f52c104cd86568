//! Which devices of a cluster a training run can use together: equal hosts, one after the other, all
//! of which reach each other.

use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::id::DeviceId;
use ir::units::BytesPerSecond;

use crate::links::collective::Link;

/// Refuses a run on the first `n_devices` devices of a cluster that do not all reach each other, or
/// sit in unequal hosts.
///
/// # Errors
/// `unreachable-devices`, `unlike-hosts`.
pub fn check(cluster: &Cluster, n_devices: u64) -> Result<(), Diagnostic> {
    let n = usize::try_from(n_devices).unwrap_or(usize::MAX).min(cluster.n_devices());
    let islands = cluster.islands();
    let first = islands.first().map_or(&[][..], Vec::as_slice);
    // Devices are used in the order of the file, so an island is used from its start.
    let reached = first.iter().enumerate().take_while(|(at, device)| device.index() == *at).count();
    if reached < n {
        return Err(unreachable(cluster, &islands, reached));
    }
    let name = |at: usize| cluster.devices.get(at).map_or("", |device| device.name.as_str());
    let per_host = per_host(cluster);
    let node = |at: usize| cluster.devices.get(at).map(|device| device.node);
    let is_new = |at: usize| at > 0 && node(at) != node(at - 1);
    match (0..n).find(|at| is_new(*at) != (*at > 0 && at % per_host == 0)) {
        None => Ok(()),
        Some(at) => {
            let message = format!(
                "training runs are planned on equal hosts; the first has {per_host} devices, and \
                 `{}` breaks the row",
                name(at)
            );
            let whole = at / per_host * per_host;
            Err(Diagnostic::input("unlike-hosts", message)
                .hint(format!("plan on the equal ones with --devices {}", whole.max(1)))
                .hint("or describe the hosts as entries of `nodes` with equal `devices`"))
        }
    }
}

fn unreachable(cluster: &Cluster, islands: &[Vec<DeviceId>], reached: usize) -> Diagnostic {
    const SHOWN: usize = 8;
    let name = |at: usize| cluster.devices.get(at).map_or("", |device| device.name.as_str());
    let message = format!(
        "a training run needs ways between all of its devices, and `{}` and `{}` don't reach each \
         other",
        name(0),
        name(reached)
    );
    let named: Vec<String> =
        islands.iter().take(SHOWN).map(|island| cluster.in_words(island)).collect();
    let join = match cluster.nodes.len() {
        0 => "join the devices by `links` in the cluster file",
        1 => "state how a host joins its devices, such as `scaleup: nvlink4` or `host: pcie5_x16`",
        _ => "state the `network` of the cluster, such as `network: {link: ethernet_100g}`",
    };
    Diagnostic::input("unreachable-devices", message)
        .fact("n_islands", islands.len())
        .fact("islands", named)
        .hint(join)
        .hint(format!("or plan on the first island alone with --devices {}", reached.max(1)))
}

/// Devices in the host of the first one.
#[must_use]
pub fn per_host(cluster: &Cluster) -> usize {
    let first = cluster.devices.first().and_then(|device| device.node);
    cluster.devices.iter().filter(|device| device.node == first).count().max(1)
}

/// The slowest way between two devices of one host, or of different hosts: no ring is faster than
/// its slowest link. `None` where no two devices have one.
pub(super) fn slowest(cluster: &Cluster, of_one_host: bool) -> Option<Link> {
    let ways = cluster.ways(of_one_host);
    let start_up_s = ways.iter().map(|way| way.latency_ns * 1e-9).fold(0.0, f64::max);
    let rate = ways.iter().map(|way| way.bandwidth.get()).fold(f64::INFINITY, f64::min);
    BytesPerSecond::new(rate).map(|rate| Link { start_up_s, rate })
}

/// What differs of a cluster where a training run takes all for the worst.
#[must_use]
pub fn unlike(cluster: &Cluster) -> Vec<Diagnostic> {
    unlike_ways(cluster).into_iter().chain(unlike_memory(cluster)).collect()
}

/// That ways differ where a training run is priced by one, the slowest.
fn unlike_ways(cluster: &Cluster) -> Vec<Diagnostic> {
    const SHOWN: usize = 4;
    let differing = |(of_one_host, place): (bool, &str)| {
        let ways = cluster.ways(of_one_host);
        let first = ways.first()?;
        let is_same = |way: &&ir::cluster::RouteKind| {
            (way.bandwidth, way.latency_ns) == (first.bandwidth, first.latency_ns)
        };
        if ways.iter().all(is_same) {
            return None;
        }
        let message = format!(
            "the ways between devices {place} differ; every exchange is priced by the slowest"
        );
        let names: Vec<String> = ways.iter().take(SHOWN).map(|way| way.name.clone()).collect();
        Some(Diagnostic::warning("unlike-ways", message).fact("ways", names))
    };
    [(true, "of one host"), (false, "of different hosts")]
        .into_iter()
        .filter_map(differing)
        .collect()
}

/// Whether hosts, or devices of none, reach some others at less than half the rate of the fastest way between two.
#[must_use]
pub fn is_far_apart(cluster: &Cluster) -> bool {
    // Devices of no host are all apart.
    let ways = cluster.ways(cluster.nodes.is_empty());
    let rates = || ways.iter().map(|way| way.bandwidth.get());
    2.0 * rates().fold(f64::INFINITY, f64::min) < rates().fold(0.0, f64::max)
}

/// That devices can hold unlike amounts where every one is planned for the least of them.
#[must_use]
pub fn unlike_memory(cluster: &Cluster) -> Option<Diagnostic> {
    let limits = || cluster.devices.iter().map(ir::cluster::Device::memory_limit);
    let least = limits().flatten().min()?;
    limits().any(|limit| limit != Some(least)).then(|| {
        let message = format!("devices can hold unlike amounts; all are planned for {least}");
        Diagnostic::warning("unlike-memory", message)
    })
}

#[cfg(test)]
mod tests {

    use ir::cluster::{Channel, Check, Device, Links, NO_ROUTE, Node, RouteKind};
    use ir::id::{ChannelId, ClassId, KindId, NodeId};
    use ir::units::Bytes;

    use super::*;

    /// Two hosts of four: 100 GB/s inside, 10 GB/s across where they are joined.
    fn hosts(is_joined: bool) -> Cluster {
        let kind = |rate| RouteKind {
            name: String::new(),
            tier: 0,
            latency_ns: 1e3,
            bandwidth: BytesPerSecond::new(rate).unwrap(),
            source: String::new(),
            check: Check::Given,
        };
        let device = |index: usize| Device {
            name: format!("gpu{index}"),
            kind: KindId::new(0),
            class: ClassId::new(0),
            node: Some(NodeId::new(index / 4)),
            capacity: None,
            context: Bytes::ZERO,
            reserve: Bytes::ZERO,
            is_reserve_stated: false,
        };
        let pair = |a: usize, b: usize| match (a == b, a / 4 == b / 4) {
            (true, _) => NO_ROUTE,
            (_, true) => 0,
            (_, false) if is_joined => 1,
            (_, false) => NO_ROUTE,
        };
        let links = Links {
            kinds: vec![kind(100e9), kind(10e9)],
            n_tiers: 1,
            channels: (0..8).map(|i| Channel { name: i.to_string() }).collect(),
            send: (0..8).map(ChannelId::new).collect(),
            receive: (0..8).map(ChannelId::new).collect(),
            pairs: (0..64).map(|i| pair(i / 8, i % 8)).collect(),
            ..Links::default()
        };
        let node = |name: &str| Node {
            name: name.to_owned(),
            host_memory: None,
            n_cpu_cores: None,
            host_bandwidth: None,
            to_device: None,
        };
        let nodes = vec![node("node0"), node("node1")];
        Cluster { devices: (0..8).map(device).collect(), nodes, links, ..Cluster::default() }
    }

    #[test]
    fn runs_stay_on_equal_hosts_that_reach_each_other() {
        let joined = hosts(true);
        assert!((1..=8).all(|n| check(&joined, n).is_ok()));
        assert_eq!(slowest(&joined, true).unwrap().rate.get(), 100e9);
        assert_eq!(slowest(&joined, false).unwrap().rate.get(), 10e9);
        let apart = hosts(false);
        assert!((1..=4).all(|n| check(&apart, n).is_ok()));
        assert_eq!(slowest(&apart, false), None);
        let refused = check(&apart, 5).unwrap_err();
        assert_eq!(refused.code, "unreachable-devices");
        assert!(refused.hints[1].contains("--devices 4"), "{:?}", refused.hints);
        // A device of the first host stands among those of the second.
        let mut mixed = joined;
        mixed.devices[5].node = Some(NodeId::new(0));
        assert_eq!(check(&mixed, 8).unwrap_err().code, "unlike-hosts");
    }

    #[test]
    fn a_run_is_priced_by_the_slowest_of_unlike_ways() {
        let mut cluster = hosts(true);
        assert_eq!(unlike_ways(&cluster).len(), 0);
        // The first two devices of the first host have a faster way than its others.
        let kinds = &mut cluster.links.kinds;
        let fast = BytesPerSecond::new(300e9).unwrap();
        kinds.push(RouteKind { bandwidth: fast, ..kinds[0].clone() });
        (cluster.links.pairs[1], cluster.links.pairs[8]) = (2, 2);
        assert_eq!(slowest(&cluster, true).unwrap().rate.get(), 100e9);
        assert_eq!(unlike_ways(&cluster)[0].code, "unlike-ways");
    }
}
