//! Ways between devices.
//!
//! A pair of devices takes the first of these that exists:
//! 1. the link that the file names for this very pair;
//! 2. a scale-up domain that both belong to, first those of `domains`, then those of the host;
//! 3. the way through the host that both sit in;
//! 4. the network, at the slower of the two hosts' cards;
//! 5. the path over all of these that has the least latency, the widest of several (see
//!    `paths.rs`).
//!
//! Tiers, as far as used: `scaleup`, `host`, `network`, then those of named links (`direct` unless
//! the link says otherwise). A device has one send and one receive channel per tier. Where a host
//! has fewer network cards than devices, device `i` of `n` uses card `i x cards / n`, and devices
//! of one card share its channels: their transfers queue.

use std::collections::HashMap;

use documents::cluster::{ClusterDocument, HostsRateDocument, LinkDocument, NodesDocument};
use ir::cluster::{Duplex, Links, RouteKind};
use ir::diagnostic::Diagnostic;
use ir::nearest;

use super::catalogue::Catalogue;
use super::devices::{Inventory, MAX_DEVICES};
use super::link_types::{LinkTypes, Way};
use super::pairs::{channels, pairs};
use super::values::{check_name, count};

/// Most switches.
const MAX_SWITCHES: usize = 4_096;
/// Most named links.
const MAX_LINKS: usize = 65_536;

/// That a device reaches all other members of `hub` over `way`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Membership {
    pub(super) hub: usize,
    pub(super) tier: usize,
    pub(super) way: usize,
}

/// Everything that ways are made of.
#[derive(Debug, Default)]
pub(super) struct Fabric {
    pub(super) ways: Vec<Way>,
    pub(super) tiers: Vec<String>,
    /// By device, in the order in which they are tried.
    pub(super) memberships: Vec<Vec<Membership>>,
    pub(super) n_hubs: usize,
    pub(super) n_switches: usize,
    /// Named one-way links: ends (devices, then switches), tier, way.
    pub(super) direct: Vec<(usize, usize, usize, usize)>,
    /// By device: the network card that it shares, where it does.
    pub(super) card: Vec<Option<(usize, usize)>>,
}

impl Fabric {
    fn tier(&mut self, name: &str) -> usize {
        if let Some(position) = self.tiers.iter().position(|tier| tier == name) {
            return position;
        }
        self.tiers.push(name.to_owned());
        self.tiers.len() - 1
    }

    fn way(&mut self, way: Way) -> usize {
        self.ways.push(way);
        self.ways.len() - 1
    }

    fn hub(&mut self) -> usize {
        self.n_hubs += 1;
        self.n_hubs - 1
    }
}

/// All ways between the devices of a document.
pub(super) fn links(
    document: &ClusterDocument,
    inventory: &Inventory,
    catalogue: &Catalogue,
    duplex: Duplex,
) -> Result<Links, Diagnostic> {
    let types = LinkTypes::new(document, catalogue)?;
    let n = inventory.devices.len();
    let mut fabric =
        Fabric { memberships: vec![Vec::new(); n], card: vec![None; n], ..Fabric::default() };
    join_domains(&mut fabric, document, inventory, &types)?;
    join_hosts(&mut fabric, document, inventory, &types)?;
    join_network(&mut fabric, document, inventory, &types)?;
    add_direct(&mut fabric, document, inventory, &types)?;
    let mut links = Links { n_tiers: fabric.tiers.len(), ..Links::default() };
    channels(&mut links, &fabric, inventory, duplex);
    pairs(&mut links, &fabric, inventory)?;
    links.by_hosts = by_hosts(document, &types)?;
    Ok(links)
}

/// What a card of the network reaches over so many hosts, as the file states it.
fn by_hosts(
    document: &ClusterDocument,
    types: &LinkTypes<'_>,
) -> Result<Vec<(u32, RouteKind)>, Diagnostic> {
    let Some(network) = document.network.as_ref().filter(|network| !network.by_hosts.is_empty())
    else {
        return Ok(Vec::new());
    };
    let link = network.link.as_deref();
    let common = types.either("network", link, network.bytes_per_s, network.latency_s)?;
    let is_growing = network.by_hosts.windows(2).all(|pair| match pair {
        [one, next] => one.hosts < next.hosts,
        _ => true,
    });
    if !is_growing || network.by_hosts.iter().any(|row| row.hosts < 2) {
        let message = "`by_hosts` of the network needs growing numbers of `hosts`, from 2";
        return Err(Diagnostic::input("count-invalid", message)
            .hint("such as [{hosts: 2, bytes_per_s: 45e9}, {hosts: 8, bytes_per_s: 30e9}]"));
    }
    let way = |row: &HostsRateDocument| {
        let latency_s = row.latency_s.unwrap_or(common.latency_ns * 1e-9);
        let Way { latency_ns, bandwidth, source, check, .. } =
            Way::given("by_hosts", row.bytes_per_s, Some(latency_s))?;
        let name = common.name.clone();
        Ok((row.hosts, RouteKind { name, tier: 0, latency_ns, bandwidth, source, check }))
    };
    network.by_hosts.iter().map(way).collect()
}

fn join_domains(
    fabric: &mut Fabric,
    document: &ClusterDocument,
    inventory: &Inventory,
    types: &LinkTypes<'_>,
) -> Result<(), Diagnostic> {
    for domain in &document.domains {
        let mut members = Vec::new();
        for name in &domain.nodes {
            let node = *inventory.node_by_name.get(name).ok_or_else(|| {
                let known = inventory.nodes.iter().map(|node| node.name.as_str());
                let message = format!("a domain names the host `{name}`, which does not exist");
                nearest::hint(Diagnostic::input("unknown-node", message), name, known)
            })?;
            let inside = |d: &usize| inventory.devices[*d].node.map(|n| n.index()) == Some(node);
            members.extend((0..inventory.devices.len()).filter(inside));
        }
        for name in &domain.devices {
            members.push(end(name, inventory, &HashMap::new())?);
        }
        members.sort_unstable();
        members.dedup();
        let way = types.find_scaleup(&domain.link)?;
        let (tier, hub) = (fabric.tier("scaleup"), fabric.hub());
        let way = fabric.way(way);
        for device in members {
            fabric.memberships[device].push(Membership { hub, tier, way });
        }
    }
    Ok(())
}

/// Scale-up domains inside hosts first, so that they are tried before the ways through the host.
fn join_hosts(
    fabric: &mut Fabric,
    document: &ClusterDocument,
    inventory: &Inventory,
    types: &LinkTypes<'_>,
) -> Result<(), Diagnostic> {
    for (position, entry) in document.nodes.iter().enumerate() {
        let Some(name) = entry.scaleup.as_deref().filter(|name| *name != "none") else {
            continue;
        };
        let (tier, way) = (fabric.tier("scaleup"), types.find_scaleup(name)?);
        let way = fabric.way(way);
        let size = domain_size(entry)?;
        join_by(fabric, inventory, (position, tier, way), |device| {
            Some(inventory.slot[device]? / size)
        });
    }
    for (position, entry) in document.nodes.iter().enumerate() {
        let Some(name) = host_way(entry, types.catalogue) else { continue };
        if made_by(inventory, position).nth(1).is_none() {
            continue;
        }
        let (tier, way) = (fabric.tier("host"), types.find(name)?);
        let way = fabric.way(way);
        join_by(fabric, inventory, (position, tier, way), |_| Some(0));
    }
    Ok(())
}

/// The link between a host and its devices: the entry's own, or that of the kind of device.
fn host_way<'a>(entry: &'a NodesDocument, catalogue: &'a Catalogue) -> Option<&'a str> {
    let usual = || catalogue.device(&entry.device).map(|row| row.host_link.as_str());
    entry.host.as_deref().or_else(usual).filter(|name| *name != "none")
}

/// Tells hosts the way between their memory and each of their devices.
///
/// # Errors
/// For a stated link that there is none of.
pub(super) fn to_devices(
    document: &ClusterDocument,
    inventory: &mut Inventory,
    catalogue: &Catalogue,
) -> Result<(), Diagnostic> {
    let types = LinkTypes::new(document, catalogue)?;
    for (position, entry) in document.nodes.iter().enumerate() {
        let Some(name) = host_way(entry, catalogue) else { continue };
        let way = match entry.host {
            Some(_) => types.find(name)?,
            // The catalogue names links that it has no figures of.
            None => match types.find(name) {
                Ok(way) => way,
                Err(_) => continue,
            },
        };
        let route = RouteKind {
            name: way.name,
            tier: 0,
            latency_ns: way.latency_ns,
            bandwidth: way.bandwidth,
            source: way.source,
            check: way.check,
        };
        let nodes = inventory.nodes.iter_mut().zip(&inventory.entry_of_node);
        nodes
            .filter(|(_, entry)| **entry == Some(position))
            .for_each(|(node, _)| node.to_device = Some(route.clone()));
    }
    Ok(())
}

/// Warns about hosts without a `scaleup` link if the catalogue lists one for the device.
pub(super) fn unjoined<'a>(
    document: &'a ClusterDocument,
    catalogue: &'a Catalogue,
) -> impl Iterator<Item = Diagnostic> + 'a {
    let states_links = !document.links.is_empty() || !document.domains.is_empty();
    let silent = document.nodes.iter().filter(move |entry| {
        entry.scaleup.is_none() && entry.devices.unwrap_or(1) > 1 && !states_links
    });
    silent.filter_map(|entry| {
        let row = catalogue.device(&entry.device)?;
        // Boards of these forms have the link, cards may have a bridge.
        let has_link = ["sxm", "oam", "superchip"].contains(&row.form.as_str());
        let host = entry.host.as_deref().unwrap_or(&row.host_link);
        let message = format!(
            "no `scaleup` link is stated: the `{}` of a host communicate over `{host}`, not over `{}`",
            entry.device, row.scaleup_link
        );
        has_link.then(|| {
            Diagnostic::warning("no-scaleup", message).hint(format!(
                "add `scaleup: {}` to the node, or `scaleup: none` for boards without it",
                row.scaleup_link
            ))
        })
    })
}

/// Joins the devices of an entry that share a host and a part of it, where they are in any.
fn join_by(
    fabric: &mut Fabric,
    inventory: &Inventory,
    (entry, tier, way): (usize, usize, usize),
    part: impl Fn(usize) -> Option<usize>,
) {
    let mut hubs = HashMap::new();
    for device in made_by(inventory, entry) {
        if let Some(place) = inventory.devices[device].node.zip(part(device)) {
            let hub = *hubs.entry(place).or_insert_with(|| fabric.hub());
            fabric.memberships[device].push(Membership { hub, tier, way });
        }
    }
}

/// Devices in hosts of an entry, those that `devices` put there included.
fn made_by(inventory: &Inventory, entry: usize) -> impl Iterator<Item = usize> + '_ {
    (0..inventory.devices.len()).filter(move |device| {
        inventory.devices[*device]
            .node
            .is_some_and(|node| inventory.entry_of_node[node.index()] == Some(entry))
    })
}

/// How many cards a bridge of this name joins, whatever else is in the host; `None` for other links.
#[must_use]
pub fn bridged(link: &str) -> Option<u64> {
    [("_bridge_pair", 2), ("_bridge_quad", 4)]
        .into_iter()
        .find(|(name, _)| link.contains(name))
        .map(|(_, cards)| cards)
}

fn domain_size(entry: &NodesDocument) -> Result<usize, Diagnostic> {
    let default = entry.scaleup.as_deref().and_then(bridged).unwrap_or(MAX_DEVICES);
    let owner = entry.name.as_deref().unwrap_or("node");
    count(entry.scaleup_domain.unwrap_or(default), "scaleup_domain", owner, MAX_DEVICES)
}

fn join_network(
    fabric: &mut Fabric,
    document: &ClusterDocument,
    inventory: &Inventory,
    types: &LinkTypes<'_>,
) -> Result<(), Diagnostic> {
    let Some(network) = &document.network else {
        return match document.nodes.iter().find(|entry| entry.network.is_some()) {
            None => Ok(()),
            Some(_) => Err(Diagnostic::input(
                "no-network",
                "an entry of `nodes` names its network link, but the cluster has no `network`",
            )),
        };
    };
    let link = network.link.as_deref();
    let common = types.either("network", link, network.bytes_per_s, network.latency_s)?;
    let (tier, common, hub) = (fabric.tier("network"), fabric.way(common), fabric.hub());
    let mut by_entry = Vec::new();
    for entry in &document.nodes {
        let way = match entry.network.as_deref() {
            None => common,
            Some(name) => fabric.way(types.find(name)?),
        };
        let owner = entry.name.as_deref().unwrap_or("node");
        let n_devices = entry.devices.unwrap_or(1).max(1);
        let n_cards = count(entry.nics.unwrap_or(n_devices), "nics", owner, MAX_DEVICES)?;
        by_entry.push((way, n_cards, n_devices as usize));
    }
    for (device, info) in inventory.devices.iter().enumerate() {
        let Some(node) = info.node.map(|node| node.index()) else {
            continue;
        };
        let entry = inventory.entry_of_node[node].and_then(|position| by_entry.get(position));
        let way = entry.map_or(common, |(way, _, _)| *way);
        fabric.memberships[device].push(Membership { hub, tier, way });
        if let (Some((_, n_cards, n_devices)), Some(slot)) = (entry, inventory.slot[device])
            && n_cards < n_devices
        {
            fabric.card[device] = Some((node, slot * n_cards / n_devices));
        }
    }
    Ok(())
}

fn add_direct(
    fabric: &mut Fabric,
    document: &ClusterDocument,
    inventory: &Inventory,
    types: &LinkTypes<'_>,
) -> Result<(), Diagnostic> {
    if document.switches.len() > MAX_SWITCHES || document.links.len() > MAX_LINKS {
        return Err(Diagnostic::input(
            "too-many-links",
            format!("the cluster has more than {MAX_LINKS} links or {MAX_SWITCHES} switches"),
        ));
    }
    let n = inventory.devices.len();
    let mut switches = HashMap::new();
    for name in &document.switches {
        check_name(name, "switch")?;
        let taken = inventory.by_name.contains_key(name);
        if taken || switches.insert(name.as_str(), n + switches.len()).is_some() {
            return Err(Diagnostic::input(
                "duplicate-device",
                format!("the name of the switch `{name}` is taken"),
            ));
        }
    }
    fabric.n_switches = switches.len();
    let mut seen = HashMap::new();
    for entry in &document.links {
        let (from, to, both) = ends(entry)?;
        let owner = format!("{from}-{to}");
        let way =
            types.either(&owner, entry.link.as_deref(), entry.bytes_per_s, entry.latency_s)?;
        let (way, tier) = (fabric.way(way), fabric.tier(entry.tier.as_deref().unwrap_or("direct")));
        let (from, to) = (end(from, inventory, &switches)?, end(to, inventory, &switches)?);
        let reverse = both.then_some((to, from));
        for (a, b) in std::iter::once((from, to)).chain(reverse) {
            if a == b {
                return Err(Diagnostic::input(
                    "self-link",
                    format!("the link `{owner}` joins a device to itself"),
                )
                .hint("name two different ends"));
            }
            if seen.insert((a, b), ()).is_some() {
                return Err(Diagnostic::input(
                    "duplicate-link",
                    format!("the link `{owner}` joins a pair that another link joins already"),
                )
                .hint("keep one of the two; an entry with `between` goes both ways"));
            }
            fabric.direct.push((a, b, tier, way));
        }
    }
    Ok(())
}

/// The two ends of a link, and whether it goes both ways.
fn ends(entry: &LinkDocument) -> Result<(&str, &str, bool), Diagnostic> {
    match (&entry.between, &entry.from, &entry.to) {
        (Some([a, b]), None, None) => Ok((a, b, !entry.directed)),
        (None, Some(from), Some(to)) => Ok((from, to, false)),
        _ => Err(Diagnostic::input(
            "link-ends",
            "a link needs either `between` or both `from` and `to`",
        )),
    }
}

fn end(
    name: &str,
    inventory: &Inventory,
    switches: &HashMap<&str, usize>,
) -> Result<usize, Diagnostic> {
    let found = inventory.by_name.get(name).or_else(|| switches.get(name)).copied();
    found.ok_or_else(|| {
        let mut known: Vec<&str> = inventory.devices.iter().map(|d| d.name.as_str()).collect();
        let mut others: Vec<&str> = switches.keys().copied().collect();
        others.sort_unstable();
        known.extend(others);
        let unknown = Diagnostic::input("unknown-device", format!("no device is named `{name}`"));
        nearest::hint(unknown, name, known.into_iter())
    })
}
