//! Interchangeable devices: same kind, same limits, and links that look the same when the two
//! change places.
//!
//! Up to [`EXACT`] devices every pair is tested; above, devices of hosts with several devices are
//! compared only inside their host. Finer classes than possible are always sound: they only leave
//! some symmetry unused.

use std::collections::{BTreeMap, HashMap};

use ir::cluster::{Device, Links};
use ir::id::{ChannelId, ClassId, DeviceId};

/// Most devices for which hosts are not told apart.
const EXACT: usize = 256;

/// Sets the class of each device and returns the members of each class.
pub(super) fn assign(devices: &mut [Device], links: &Links) -> Vec<Vec<DeviceId>> {
    let n = devices.len();
    let mut in_host: HashMap<usize, usize> = HashMap::new();
    for node in devices.iter().filter_map(|device| device.node) {
        *in_host.entry(node.index()).or_default() += 1;
    }
    let mut users: HashMap<ChannelId, usize> = HashMap::new();
    for channel in links.send.iter().chain(&links.receive) {
        *users.entry(*channel).or_default() += 1;
    }
    let mut classes: Vec<Vec<DeviceId>> = Vec::new();
    let mut buckets: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (index, device) in devices.iter_mut().enumerate() {
        let host = device
            .node
            .map(|node| node.index())
            .filter(|node| n > EXACT && in_host.get(node).copied().unwrap_or_default() > 1);
        let key = (device.kind, device.capacity, device.context, device.reserve, host);
        let bucket = buckets.entry(key).or_default();
        let found = bucket.iter().copied().find(|class| {
            let first = classes[*class][0].index();
            same_links(links, n, first, index) && same_channels(links, &users, first, index)
        });
        let class = found.unwrap_or_else(|| {
            bucket.push(classes.len());
            classes.push(Vec::new());
            classes.len() - 1
        });
        device.class = ClassId::new(class);
        classes[class].push(DeviceId::new(index));
    }
    classes
}

/// Whether the ways of `a` become those of `b` when the two change places.
fn same_links(links: &Links, n: usize, a: usize, b: usize) -> bool {
    // Devices of one place do; that others do too is not looked for.
    if let (Some(a), Some(b)) = (links.places.get(a), links.places.get(b)) {
        return a == b;
    }
    let pair = |from: usize, to: usize| links.pairs[from * n + to];
    pair(a, b) == pair(b, a)
        && (0..n)
            .filter(|x| *x != a && *x != b)
            .all(|x| pair(a, x) == pair(b, x) && pair(x, a) == pair(x, b))
}

/// Whether, on each tier, both use the same channel, or each one that nobody else uses.
fn same_channels(links: &Links, users: &HashMap<ChannelId, usize>, a: usize, b: usize) -> bool {
    (0..links.n_tiers).all(|tier| {
        let (i, j) = (a * links.n_tiers + tier, b * links.n_tiers + tier);
        let alone = |at: usize| {
            // A half-duplex channel is counted once as send and once as receive.
            let expected = if links.send[at] == links.receive[at] { 2 } else { 1 };
            users.get(&links.send[at]) == Some(&expected)
                && users.get(&links.receive[at]) == Some(&expected)
        };
        (links.send[i] == links.send[j] && links.receive[i] == links.receive[j])
            || (alone(i) && alone(j))
    })
}
