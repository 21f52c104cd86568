//! Pools of a fleet: equal hosts.

use std::collections::{BTreeMap, BTreeSet};

use cost_model::runs::forms::system::System;
use ir::diagnostic::Diagnostic;
use ir::id::{DeviceId, KindId};
use ir::stack::Stack;

use super::links::{Hosts, Joined, are_joined, joined};
use super::setting::LEFT_FREE;
use crate::inputs::run::setting::Setting as Run;

/// Equal hosts with devices of one kind.
#[derive(Clone)]
pub struct Pool {
    /// Devices by host.
    pub hosts: Vec<Vec<DeviceId>>,
    /// Name of the kind.
    pub kind: String,
    /// Bytes of a device that a process can use.
    pub memory: u64,
    /// Price of a device-hour.
    pub price_per_hour: Option<f64>,
    /// Part of a network card that each device has: of the host with the fewest cards for its devices.
    pub share_of_card: f64,
    pub(super) system: System,
    pub(super) stack: Stack,
}

impl Pool {
    /// Whether nothing joins the devices of a host, or the hosts.
    pub(super) fn is_apart(&self) -> bool {
        let n = [(true, self.hosts[0].len()), (false, self.hosts.len())];
        n.into_iter().any(|(is_of_one_host, n)| n > 1 && !self.system.has_way(is_of_one_host))
    }
}

/// Pools of a cluster.
pub(super) struct Pools {
    pub(super) all: Vec<Pool>,
    /// By device its host.
    pub(super) hosts: Hosts,
    /// Whether hosts of one kind of device that reach each other are in several pools.
    pub(super) are_split: bool,
    /// Whether hosts differ in links alone: those of a pool, or of several such pools.
    pub(super) are_unlike: bool,
}

/// Devices of one kind and memory of a host, what else is in it, and how they are joined.
struct Part {
    kind: (KindId, u64),
    devices: Vec<DeviceId>,
    host: Vec<(KindId, u64, usize)>,
    joined: Joined,
}

/// Hosts of equal devices together, in the order of the cluster. Merged, hosts that reach each other are taken for equal
/// ones of as many devices as divide all of them, whatever joins them.
pub(super) fn pools(run: &Run, is_merged: bool) -> Result<Pools, Diagnostic> {
    let cluster = &run.cluster;
    let hosts = Hosts::new(cluster);
    let mut split: Vec<Vec<Part>> = Vec::new();
    for part in parts(run, &hosts)? {
        let is_like = |pool: &&mut Vec<Part>| {
            let one = &pool[0];
            one.kind == part.kind
                && (&one.host, &one.joined.own) == (&part.host, &part.joined.own)
                && one.devices.len() == part.devices.len()
        };
        match split.iter_mut().find(is_like) {
            Some(pool) => pool.push(part),
            None => split.push(vec![part]),
        }
    }
    let mut merged: Vec<Vec<Part>> = Vec::new();
    let is_unlike =
        |pool: &Vec<Part>| pool.iter().any(|part| part.joined.network != pool[0].joined.network);
    let (mut are_split, mut are_unlike) = (false, split.iter().any(is_unlike));
    for pool in split {
        let one = &pool[0];
        let is_like = |other: &&mut Vec<Part>| {
            let all = [devices_of(other), devices_of(&pool)];
            other[0].kind == one.kind
                && are_joined((cluster, &hosts), all.each_ref().map(Vec::as_slice))
        };
        let like = merged.iter_mut().find(is_like);
        if let Some(other) = &like {
            let is_of_links =
                |of: &Part| of.host == one.host && of.devices.len() == one.devices.len();
            are_split = true;
            are_unlike |= other.iter().any(is_of_links);
        }
        match like.filter(|_| is_merged) {
            Some(other) => other.extend(pool),
            None => merged.push(pool),
        }
    }
    let all = merged.iter().map(|of| pool(run, &hosts, of)).collect::<Result<_, _>>()?;
    Ok(Pools { all, hosts, are_split, are_unlike })
}

fn devices_of(parts: &[Part]) -> Vec<DeviceId> {
    parts.iter().flat_map(|part| part.devices.iter().copied()).collect()
}

/// The greatest common divisor.
fn divisor(one: usize, other: usize) -> usize {
    if other == 0 { one } else { divisor(other, one % other) }
}

fn parts(run: &Run, on: &Hosts) -> Result<Vec<Part>, Diagnostic> {
    let cluster = &run.cluster;
    let mut hosts: BTreeMap<usize, Vec<DeviceId>> = BTreeMap::new();
    for id in cluster.device_ids() {
        hosts.entry(on.of(id)).or_default().push(id);
    }
    let all = cluster.representatives(cluster.device_ids());
    let mut parts = Vec::new();
    for devices in hosts.into_values() {
        let own = by_kind(run, &devices).into_iter().flat_map(|part| joined(cluster, part));
        let own: Vec<Vec<DeviceId>> = own.collect();
        let facts = |part: &Vec<DeviceId>| {
            Ok((cluster.devices[part[0].index()].kind, memory(run, part[0])?, part.len()))
        };
        let host = own.iter().map(facts).collect::<Result<Vec<_>, Diagnostic>>()?;
        for (devices, (kind, memory, _)) in own.into_iter().zip(&host) {
            let joined = Joined::of((cluster, on), &devices, &all);
            parts.push(Part { kind: (*kind, *memory), devices, host: host.clone(), joined });
        }
    }
    Ok(parts)
}

/// Devices of a host by kind and memory.
fn by_kind(run: &Run, devices: &[DeviceId]) -> Vec<Vec<DeviceId>> {
    let key = |id: &DeviceId| (run.cluster.devices[id.index()].kind, memory(run, *id).ok());
    let mut parts: Vec<Vec<DeviceId>> = Vec::new();
    for id in devices {
        match parts.iter_mut().find(|part| key(&part[0]) == key(id)) {
            Some(part) => part.push(*id),
            None => parts.push(vec![*id]),
        }
    }
    parts
}

/// Bytes of a device that an engine's rule begins with: its memory, less what the cluster file or
/// `--memory-margin` keeps free beyond the part that engines leave free by themselves. The driver's context is
/// a term of the engine's memory.
fn memory(run: &Run, id: DeviceId) -> Result<u64, Diagnostic> {
    let device = &run.cluster.devices[id.index()];
    let capacity = device.capacity.ok_or_else(|| {
        let message = format!("`{}` states no memory", device.name);
        Diagnostic::input("no-system", message)
            .hint("state `memory_bytes` of its kind or of the device")
    })?;
    let free = run.request.kept_free.map(|share| capacity.as_f64() * share);
    let used = capacity.as_f64() - free.unwrap_or(device.reserve.as_f64());
    let most = run.request.max_memory_bytes.map_or(f64::INFINITY, |most| most as f64);
    let used = used.min(most) / (1.0 - LEFT_FREE);
    Ok(capacity.0.min(used as u64))
}

/// Part of a network card that each device of a host has for itself: all of them may send at once.
fn share_of_card(part: &Part) -> f64 {
    let (n_cards, n_devices) = (part.joined.network.1, part.devices.len());
    if (1..n_devices).contains(&n_cards) { n_cards as f64 / n_devices as f64 } else { 1.0 }
}

/// The pool of a group of hosts.
fn pool(run: &Run, on: &Hosts, parts: &[Part]) -> Result<Pool, Diagnostic> {
    let cluster = &run.cluster;
    let n = parts.iter().map(|part| part.devices.len()).fold(0, divisor);
    let first = parts[0].devices[0];
    let hosts = parts.iter().flat_map(|part| part.devices.chunks(n)).map(<[DeviceId]>::to_vec);
    let hosts: Vec<Vec<DeviceId>> = hosts.collect();
    let devices = hosts.concat();
    let all: BTreeSet<DeviceId> = devices.iter().copied().collect();
    let part = cluster.keeping(|id| all.contains(&id));
    let kind = cluster.kind_of(first);
    let mut system = System::of(&part, &run.profile).ok_or_else(|| {
        Diagnostic::input("no-system", format!("`{}` states no rate", kind.name))
            .hint("state memory_bytes_per_s and a peak rate of each kind of device")
    })?;
    system.per_host = n as u64;
    if hosts.len() > 1 && !are_joined((cluster, on), [&devices, &devices]) {
        system = system.without_network();
    }
    Ok(Pool {
        kind: kind.name.clone(),
        memory: memory(run, first)?,
        price_per_hour: kind.running.price_per_hour,
        share_of_card: parts.iter().map(share_of_card).fold(1.0, f64::min),
        stack: run.stack_on(kind.chip).unwrap_or_else(|| run.stack.clone()),
        hosts,
        system,
    })
}
