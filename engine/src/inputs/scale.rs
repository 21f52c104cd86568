//! What of a cluster is so many times what its file says: memory, limits of power, and the rates of its ways.

use std::collections::BTreeSet;

use cost_model::energy::{self, LEAST_LIMIT};
use ir::cluster::{Cluster, RouteKind};
use ir::diagnostic::Diagnostic;
use ir::profile::Profile;
use ir::units::{BytesPerSecond, Watts};
use serde_json::{Value, json};

use crate::answer::suggest;

/// Memory of each device.
const MEMORY: &str = "memory";
/// What each board may draw.
pub const POWER: &str = "power";
/// All ways between devices.
const LINKS: &str = "links";
/// What products in another order may differ by, as a share.
const ROUNDING: f64 = 1e-9;
/// Least and greatest factor.
const RANGE: std::ops::RangeInclusive<f64> = 0.001..=1000.0;

/// A cluster as `NAME=FACTOR` change it, one after the other, with what they do not change.
///
/// # Errors
/// `bad-scale` for what is no factor, `unknown-way` for a name that is neither
/// `memory` nor `links` nor a way in use, `no-effect` for what the cluster has nothing of.
pub fn scaled(
    mut cluster: Cluster,
    profile: &Profile,
    factors: &[String],
) -> Result<(Cluster, Option<Diagnostic>), Diagnostic> {
    let mut seen = BTreeSet::new();
    for text in factors {
        let (name, factor) = read(text)?;
        seen.insert(name);
        cluster = match name {
            MEMORY => with_memory(cluster, factor)?,
            POWER => with_power(cluster, factor)?,
            name => with_ways(cluster, name, factor)?,
        };
    }
    let is_of_ways = seen.iter().any(|name| ![MEMORY, POWER].contains(name));
    let kinds = cluster.kinds.iter().filter(|kind| profile.collectives.contains_key(&kind.name));
    let kinds: Vec<String> = kinds.map(|kind| kind.name.clone()).collect();
    let note = (is_of_ways && !kinds.is_empty()).then(|| {
        let message = "the profile's collectives keep the times that were measured, whatever --scale \
            says of the ways";
        Diagnostic::warning("measured-collectives", message)
            .fact("kinds", kinds)
            .hint("leave out --profile to see what the rates of the ways alone make of it")
    });
    Ok((cluster, note))
}

fn read(text: &str) -> Result<(&str, f64), Diagnostic> {
    let wrong = || {
        let message = format!("`--scale {text}` is no NAME=FACTOR");
        let (least, most) = (RANGE.start(), RANGE.end());
        Diagnostic::usage("bad-scale", message)
            .hint(format!("write a factor from {least} to {most}, such as --scale memory=2"))
    };
    let (name, factor) = text.rsplit_once('=').ok_or_else(wrong)?;
    let factor: f64 = factor.trim().parse().map_err(|_| wrong())?;
    if RANGE.contains(&factor) { Ok((name.trim(), factor)) } else { Err(wrong()) }
}

fn with_memory(cluster: Cluster, factor: f64) -> Result<Cluster, Diagnostic> {
    if cluster.devices.iter().all(|device| device.capacity.is_none()) {
        let message = "`--scale memory` has no effect: no device has a limit";
        return Err(Diagnostic::usage("no-effect", message).hint("leave it out"));
    }
    let scaled = cluster.with_memory(factor);
    let is_full = |device: &&ir::cluster::Device| {
        device.capacity.is_some_and(|capacity| capacity <= device.context + device.reserve)
    };
    match scaled.devices.iter().find(is_full) {
        None => Ok(scaled),
        Some(device) => {
            let message =
                format!("`--scale memory={factor}` leaves nothing of `{}` to a plan", device.name);
            Err(Diagnostic::usage("bad-scale", message)
                .fact("context", device.context)
                .fact("reserve", device.reserve)
                .hint("give a greater factor"))
        }
    }
}

/// Least factor that all boards of a cluster can be limited by: to a fifth of what data sheets say.
pub fn least_power(cluster: &Cluster) -> f64 {
    let kinds = cluster.device_ids().map(|device| cluster.kind_of(device));
    let least = kinds.filter_map(|kind| {
        let power = kind.power?;
        Some(LEAST_LIMIT * kind.full_power.unwrap_or(power).get() / power.get())
    });
    least.fold(LEAST_LIMIT, f64::max)
}

fn with_power(mut cluster: Cluster, factor: f64) -> Result<Cluster, Diagnostic> {
    if cluster.kinds.iter().all(|kind| kind.power.is_none()) {
        let message = "`--scale power` has no effect: no device states what it may draw";
        return Err(Diagnostic::usage("no-effect", message)
            .hint("state power_w of its kind in the cluster file, or leave it out"));
    }
    let least = least_power(&cluster);
    let used: BTreeSet<_> = cluster.devices.iter().map(|device| device.kind.index()).collect();
    for (_, kind) in cluster.kinds.iter_mut().enumerate().filter(|entry| used.contains(&entry.0)) {
        let Some(power) = kind.power else { continue };
        let full = kind.full_power.unwrap_or(power);
        let limit = Watts::new(power.get() * factor);
        let is_limit = |share: f64| (LEAST_LIMIT * (1.0 - ROUNDING)..=1.0).contains(&share);
        let limit = limit.filter(|limit| is_limit(limit.get() / full.get()));
        let limit = limit.ok_or_else(|| {
            let message =
                format!("`--scale power={factor}` is no limit of a board of `{}`", kind.name);
            Diagnostic::usage("bad-scale", message)
                .fact("watts", full.get())
                .hint(format!("give a factor from {:.4} to 1", (least * 1e4).ceil() / 1e4))
        })?;
        *kind = energy::limited(kind, limit).unwrap_or_else(|| kind.clone());
    }
    Ok(cluster)
}

/// Takes what limits of boards leave of the rates of their kinds.
pub fn limited(mut cluster: Cluster) -> Cluster {
    for kind in cluster.kinds.iter_mut().filter(|kind| kind.full_power.is_some()) {
        *kind = energy::at_limit(kind);
    }
    cluster
}

/// The ways in use, with whether they join hosts.
fn ways(cluster: &Cluster) -> Vec<(&RouteKind, bool)> {
    let inside = cluster.ways(true).into_iter().map(|way| (way, false));
    let between = cluster.ways(false).into_iter().map(|way| (way, true));
    inside.chain(between).collect()
}

fn with_ways(mut cluster: Cluster, name: &str, factor: f64) -> Result<Cluster, Diagnostic> {
    let names: BTreeSet<String> =
        ways(&cluster).into_iter().map(|(way, _)| way.name.clone()).collect();
    if names.is_empty() {
        let message = format!("`--scale {name}` has no effect: no way joins two devices");
        return Err(Diagnostic::usage("no-effect", message).hint("leave it out"));
    }
    if name != LINKS && !names.contains(name) {
        let known = [MEMORY, POWER, LINKS].into_iter().chain(names.iter().map(String::as_str));
        let message = format!("the cluster uses no way called `{name}`");
        return Err(Diagnostic::usage("unknown-way", message).hint(suggest::hint(name, known)));
    }
    let links = &mut cluster.links;
    let by_hosts = links.by_hosts.iter_mut().map(|(_, way)| way);
    let all = links.kinds.iter_mut().chain(by_hosts);
    for way in all.filter(|way| name == LINKS || way.name == name) {
        let rate = BytesPerSecond::new(way.bandwidth.get() * factor);
        way.bandwidth = rate.ok_or_else(|| {
            let message = format!("`{}` times {factor} is no rate", way.name);
            Diagnostic::usage("bad-scale", message).hint("give a factor nearer to 1")
        })?;
    }
    Ok(cluster)
}

/// What a cluster has of all that can be scaled: devices by kind and memory, and its ways.
#[must_use]
pub fn document(cluster: &Cluster) -> Value {
    let mut devices: Vec<(Value, u64)> = Vec::new();
    for (id, device) in cluster.device_ids().zip(&cluster.devices) {
        let row = json!({
            "kind": cluster.kind_of(id).name,
            "power_w": cluster.kind_of(id).power.map(Watts::get),
            "memory_bytes": device.capacity.map(|bytes| bytes.get()),
            "limit_bytes": device.memory_limit().map(|bytes| bytes.get()),
        });
        match devices.last_mut().filter(|(last, _)| *last == row) {
            Some((_, n)) => *n += 1,
            None => devices.push((row, 1)),
        }
    }
    let devices = devices.into_iter().map(|(mut row, n)| {
        row["n"] = n.into();
        row
    });
    let way = |(way, is_between): (&RouteKind, bool)| {
        json!({
            "name": way.name,
            "between_hosts": is_between,
            "bytes_per_s": way.bandwidth.get(),
            "latency_s": way.latency_ns / 1e9,
        })
    };
    json!({
        "name": cluster.name,
        "n_devices": cluster.n_devices(),
        "devices": devices.collect::<Vec<_>>(),
        "ways": ways(cluster).into_iter().map(way).collect::<Vec<_>>(),
    })
}
