//! From a fabric to channels and to the way of each pair.

use std::collections::HashMap;

use ir::cluster::{Channel, Check, Duplex, Links, MAX_PLACES, NO_ROUTE, RouteKind};
use ir::diagnostic::Diagnostic;
use ir::id::ChannelId;
use ir::units::BytesPerSecond;

use super::devices::Inventory;
use super::links::Fabric;
use super::paths::{Hop, LinkGraph};

/// Gives each device its channels, one or two per tier.
pub(super) fn channels(links: &mut Links, fabric: &Fabric, inventory: &Inventory, duplex: Duplex) {
    let mut cards: HashMap<(usize, usize), (ChannelId, ChannelId)> = HashMap::new();
    for (device, info) in inventory.devices.iter().enumerate() {
        for tier in &fabric.tiers {
            let card = fabric.card[device].filter(|_| tier == "network");
            let shared = card.and_then(|card| cards.get(&card).copied());
            let (send, receive) = shared.unwrap_or_else(|| {
                let owner = match card {
                    Some((node, card)) => format!("{}.nic{card}", inventory.nodes[node].name),
                    None => info.name.clone(),
                };
                open(links, &owner, tier, duplex)
            });
            if let Some(card) = card {
                cards.insert(card, (send, receive));
            }
            links.send.push(send);
            links.receive.push(receive);
        }
    }
}

fn open(links: &mut Links, owner: &str, tier: &str, duplex: Duplex) -> (ChannelId, ChannelId) {
    let mut channel = |name: String| {
        links.channels.push(Channel { name });
        ChannelId::new(links.channels.len() - 1)
    };
    match duplex {
        Duplex::Full => {
            (channel(format!("send {owner} {tier}")), channel(format!("receive {owner} {tier}")))
        }
        Duplex::Half => {
            let both = channel(format!("{owner} {tier}"));
            (both, both)
        }
    }
}

/// What tells one cost from another before its words are made.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum KindKey {
    Ways(usize, usize, usize),
    Path { tier: usize, latency: u64, bandwidth: u64, n_links: u32, recalled: bool },
}

/// Costs so far: by what they are made of, and by what they are.
#[derive(Default)]
struct Known {
    by_key: HashMap<KindKey, u16>,
    by_cost: HashMap<(String, String, usize, u64, u64), u16>,
}

fn intern(
    links: &mut Links,
    known: &mut Known,
    key: KindKey,
    make: impl FnOnce() -> RouteKind,
) -> Result<u16, Diagnostic> {
    if let Some(position) = known.by_key.get(&key) {
        return Ok(*position);
    }
    let kind = make();
    let (latency, bandwidth) = (kind.latency_ns.to_bits(), kind.bandwidth.get().to_bits());
    let cost = (kind.name.clone(), kind.source.clone(), kind.tier, latency, bandwidth);
    let next = u16::try_from(links.kinds.len()).ok().filter(|next| *next != NO_ROUTE);
    let position = match known.by_cost.get(&cost).copied() {
        Some(position) => position,
        None => {
            let next = next.ok_or_else(|| {
                Diagnostic::input(
                    "too-many-links",
                    "the cluster has more than 65534 ways of different cost",
                )
            })?;
            links.kinds.push(kind);
            known.by_cost.insert(cost, next);
            next
        }
    };
    known.by_key.insert(key, position);
    Ok(position)
}

/// Devices of which each pair is looked at: those of more take longer than the rest of a file.
const MOST_ALONE: usize = 512;

/// What ways are looked for between: devices, or places of devices that have the same ways.
struct Units {
    of_device: Vec<usize>,
    first: Vec<usize>,
    /// Another device of it.
    second: Vec<Option<usize>>,
}

impl Units {
    /// Each device, up to [`MOST_ALONE`]; above, devices of one host in the same domains that no
    /// link names.
    fn of(fabric: &Fabric, inventory: &Inventory) -> Result<Self, Diagnostic> {
        let n = inventory.devices.len();
        if n <= MOST_ALONE {
            let all = || (0..n).collect();
            return Ok(Self { of_device: all(), first: all(), second: vec![None; n] });
        }
        let mut is_named = vec![false; n + fabric.n_switches];
        for &(from, to, ..) in &fabric.direct {
            (is_named[from], is_named[to]) = (true, true);
        }
        let mut units = Self { of_device: Vec::with_capacity(n), first: vec![], second: vec![] };
        let mut known = HashMap::new();
        for (device, info) in inventory.devices.iter().enumerate() {
            let domains: Vec<_> =
                fabric.memberships[device].iter().map(|m| (m.hub, m.tier, m.way)).collect();
            let named = is_named[device].then_some(device);
            let next = units.first.len();
            let unit = *known.entry((info.node, domains, named)).or_insert(next);
            units.of_device.push(unit);
            if unit < next {
                units.second[unit].get_or_insert(device);
                continue;
            }
            if next == MAX_PLACES {
                let message = format!(
                    "the cluster has more than {MAX_PLACES} hosts, domains or devices with ways \
                     of their own"
                );
                return Err(Diagnostic::input("too-many-devices", message)
                    .fact("devices", n)
                    .hint("describe hosts of several devices as entries of `nodes`"));
            }
            units.first.push(device);
            units.second.push(None);
        }
        Ok(units)
    }

    fn len(&self) -> usize {
        self.first.len()
    }

    /// Kinds of all pairs of devices, from those of all pairs of units.
    fn expanded(&self, of_units: &[u16]) -> Vec<u16> {
        let (n_devices, n) = (self.of_device.len(), self.len());
        let rows = self.of_device.iter().map(|from| &of_units[from * n..(from + 1) * n]);
        let mut pairs: Vec<u16> =
            rows.flat_map(|row| self.of_device.iter().map(|to| row[*to])).collect();
        pairs.iter_mut().step_by(n_devices + 1).for_each(|same| *same = NO_ROUTE);
        pairs
    }

    /// Two devices of different units, or of one.
    fn pair(&self, from: usize, to: usize) -> Option<(usize, usize)> {
        let other = if from == to { self.second[to] } else { Some(self.first[to]) };
        other.map(|other| (self.first[from], other))
    }
}

/// Finds the way of each pair.
pub(super) fn pairs(
    links: &mut Links,
    fabric: &Fabric,
    inventory: &Inventory,
) -> Result<(), Diagnostic> {
    let units = Units::of(fabric, inventory)?;
    let (n_devices, n) = (inventory.devices.len(), units.len());
    links.pairs = vec![NO_ROUTE; n * n];
    let mut known = Known::default();
    for &(from, to, tier, way) in &fabric.direct {
        if from < n_devices && to < n_devices {
            let kind = intern(links, &mut known, KindKey::Ways(tier, way, way), || {
                joined(fabric, tier, way, way)
            })?;
            links.pairs[units.of_device[from] * n + units.of_device[to]] = kind;
        }
    }
    for from in 0..n {
        for to in 0..n {
            let Some((a, b)) = units.pair(from, to) else { continue };
            if links.pairs[from * n + to] != NO_ROUTE {
                continue;
            }
            let theirs = &fabric.memberships[b];
            let both = fabric.memberships[a]
                .iter()
                .find_map(|a| theirs.iter().find(|b| b.hub == a.hub).map(|b| (a, b)));
            if let Some((a, b)) = both {
                let key = KindKey::Ways(a.tier, a.way, b.way);
                let make = || joined(fabric, a.tier, a.way, b.way);
                links.pairs[from * n + to] = intern(links, &mut known, key, make)?;
            }
        }
    }
    add_paths(links, fabric, &units, &mut known)?;
    if n < n_devices && n_devices <= MAX_PLACES {
        links.pairs = units.expanded(&links.pairs);
    } else if n < n_devices {
        links.places = units.of_device.iter().map(|unit| *unit as u32).collect();
    }
    Ok(())
}

fn add_paths(
    links: &mut Links,
    fabric: &Fabric,
    units: &Units,
    known: &mut Known,
) -> Result<(), Diagnostic> {
    let n = units.len();
    let graph = LinkGraph::new(fabric, units.of_device.len());
    for from in 0..n {
        let missing = |to: &usize| *to != from && links.pairs[from * n + to] == NO_ROUTE;
        let missing: Vec<usize> = (0..n).filter(missing).collect();
        if missing.is_empty() {
            continue;
        }
        let best = graph.from(units.first[from]);
        for to in missing {
            let Some(hop) = best.get(units.first[to]).copied().flatten() else {
                continue;
            };
            let Some(kind) = path_kind(&hop) else {
                continue;
            };
            let key = KindKey::Path {
                tier: hop.tier,
                latency: hop.latency_ns.to_bits(),
                bandwidth: hop.bandwidth.to_bits(),
                n_links: hop.n_links,
                recalled: hop.recalled,
            };
            links.pairs[from * n + to] = intern(links, known, key, || kind)?;
        }
    }
    Ok(())
}

fn path_kind(hop: &Hop) -> Option<RouteKind> {
    Some(RouteKind {
        name: format!("path of {} links", hop.n_links),
        tier: hop.tier,
        latency_ns: hop.latency_ns,
        bandwidth: BytesPerSecond::new(hop.bandwidth)?,
        source: "least latency, then widest, over the links of the cluster file".to_owned(),
        check: if hop.recalled { Check::Recalled } else { Check::Given },
    })
}

/// A hub's way from a member with way `a` to one with way `b`: the slower figures of the two.
fn joined(fabric: &Fabric, tier: usize, a: usize, b: usize) -> RouteKind {
    let (a, b) = (&fabric.ways[a], &fabric.ways[b]);
    let slower = if b.bandwidth < a.bandwidth { b } else { a };
    RouteKind {
        name: slower.name.clone(),
        tier,
        latency_ns: a.latency_ns.max(b.latency_ns),
        bandwidth: slower.bandwidth,
        source: slower.source.clone(),
        check: slower.check,
    }
}
