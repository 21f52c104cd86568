//! More devices.

use std::sync::Arc;

use cost_model::ops::problem::Problem;
use ir::cluster::{Channel, Cluster, Device, NO_ROUTE};
use ir::id::{ChannelId, DeviceId};
use ir::units::Bytes;

use super::{Found, Search, on_cluster};

/// At most so many devices are tried.
const MOST: u64 = 4096;
/// Above, only the recipes whose time does not grow with the devices run.
const MANY: u64 = 32;
/// What a trial runs.
const RECIPES: &[&str] = &["m-topo", "m-etf", "blocks,m-topo", "m-topo(cap=limit)", "blocks,m-etf"];
/// What a trial with many devices runs.
const RECIPES_FOR_MANY: &[&str] = &["m-topo", "blocks,m-topo"];

/// The least number of devices that was found, at least `least`, as a hint. The added ones are
/// copies of the largest device.
pub(super) fn hint(search: &mut Search<'_>, problem: &Arc<Problem>, least: u64) -> Option<String> {
    let model = largest(problem)?;
    let least = least.max(problem.cluster.n_devices() as u64 + 1);
    let mut low = least.saturating_sub(1);
    let mut high = least;
    let mut found = None;
    while found.is_none() {
        if high > MOST || search.is_over() {
            return None;
        }
        found = verified(search, problem, model, high);
        if found.is_none() {
            low = high;
            high = if high < MOST { high.saturating_mul(2).min(MOST) } else { MOST + 1 };
        }
    }
    let mut found = found?;
    while high - low > 1 && !search.is_over() {
        let middle = low + (high - low) / 2;
        match verified(search, problem, model, middle) {
            Some(better) => (high, found) = (middle, better),
            None => low = middle,
        }
    }
    let name = &problem.cluster.devices.get(model.index())?.name;
    Some(format!("use at least {high} devices, the added ones like `{name}` {}", found.proof()))
}

/// The device with the greatest limit that has ways to and from another device; the first of them.
fn largest(problem: &Problem) -> Option<DeviceId> {
    let devices = problem.cluster.device_ids().filter(|d| peer(&problem.cluster, *d).is_some());
    devices.max_by_key(|d| (problem.memory_limit(*d), std::cmp::Reverse(*d)))
}

/// A device that a device can send to and receive from: one of its own kind, if any.
fn peer(cluster: &Cluster, device: DeviceId) -> Option<DeviceId> {
    let kind = cluster.devices.get(device.index())?.kind;
    let both = |other: &DeviceId| {
        cluster.route(device, *other).is_some() && cluster.route(*other, device).is_some()
    };
    let alike = |other: &DeviceId| cluster.devices[other.index()].kind == kind;
    cluster.device_ids().filter(both).max_by_key(|other| (alike(other), std::cmp::Reverse(*other)))
}

fn verified(
    search: &mut Search<'_>,
    problem: &Arc<Problem>,
    model: DeviceId,
    count: u64,
) -> Option<Found> {
    let count = usize::try_from(count).ok()?;
    let problem = on_cluster(problem, extended(&problem.cluster, model, count)?)?;
    let recipes = if count as u64 > MANY { RECIPES_FOR_MANY } else { RECIPES };
    search.plan(&problem, recipes)
}

/// The cluster with copies of a device until it has `count`. A copy has channels of its own, the
/// ways of its model to all others, and to the model and the other copies the way that the model
/// has to its peer.
fn extended(cluster: &Cluster, model: DeviceId, count: usize) -> Option<Cluster> {
    let peer = peer(cluster, model)?;
    let n = cluster.n_devices();
    let mut wide = cluster.clone();
    let original = cluster.devices.get(model.index())?;
    for number in n..count {
        let capacity = original.capacity.map(Bytes::get).map(Bytes);
        let name = format!("{} copy {}", original.name, number - n + 1);
        wide.devices.push(Device { name, capacity, ..original.clone() });
        wide.classes.get_mut(original.class.index())?.push(DeviceId::new(number));
        for tier in 0..cluster.links.n_tiers {
            let at = model.index() * cluster.links.n_tiers + tier;
            let both = cluster.links.send.get(at)? == cluster.links.receive.get(at)?;
            let mut channel = || {
                wide.links.channels.push(Channel { name: format!("copy {number} tier {tier}") });
                ChannelId::new(wide.links.channels.len() - 1)
            };
            let send = channel();
            let receive = if both { send } else { channel() };
            wide.links.send.push(send);
            wide.links.receive.push(receive);
        }
    }
    let pair = |a: usize, b: usize| cluster.links.pairs.get(a * n + b).copied().unwrap_or(NO_ROUTE);
    let way = |from: usize, to: usize| {
        let of = |device: usize| if device < n { device } else { model.index() };
        match (of(from), of(to)) {
            _ if from == to => NO_ROUTE,
            (a, b) if a == b => pair(model.index(), peer.index()),
            (a, b) => pair(a, b),
        }
    };
    wide.links.pairs = (0..count)
        .flat_map(|from| (0..count).map(move |to| (from, to)))
        .map(|(a, b)| way(a, b))
        .collect();
    Some(wide)
}
