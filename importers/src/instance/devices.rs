//! The devices and links of an instance file.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ir::cluster::{
    Channel, Check, Cluster, Device, DeviceKind, Duplex, Links, NO_ROUTE, RouteKind,
};
use ir::diagnostic::Diagnostic;
use ir::id::{ChannelId, ClassId, DeviceId, KindId};
use ir::units::{Bytes, BytesPerSecond};
use serde::Deserialize;

/// Most devices of an instance.
const MAX_DEVICES: usize = 1024;

/// A device.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeviceDocument {
    id: u64,
    kind: String,
    /// Bytes; left out or null = unlimited.
    limit: Option<u64>,
    name: Option<String>,
}

/// The link between every two devices.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkDocument {
    latency_ns: f64,
    bytes_per_s: f64,
    #[serde(default)]
    duplex: DuplexDocument,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum DuplexDocument {
    #[default]
    Full,
    Half,
}

/// The link from one device to another, in place of the link of all.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PairDocument {
    from: u64,
    to: u64,
    latency_ns: f64,
    bytes_per_s: f64,
}

/// Builds the cluster.
///
/// # Errors
/// `no-devices`, `too-many-devices`, `duplicate-id`, `unknown-device`, `invalid-link`.
pub(super) fn cluster(
    devices: &[DeviceDocument],
    link: Option<&LinkDocument>,
    pairs: &[PairDocument],
) -> Result<Cluster, Diagnostic> {
    let mut sorted: Vec<&DeviceDocument> = devices.iter().collect();
    sorted.sort_by_key(|device| device.id);
    check_count(&sorted)?;
    let kind_names: BTreeSet<&str> = sorted.iter().map(|d| d.kind.as_str()).collect();
    let kind_ids: BTreeMap<&str, usize> = kind_names.into_iter().zip(0..).collect();
    let mut names = BTreeSet::new();
    let mut built = Vec::with_capacity(sorted.len());
    for device in &sorted {
        let name = device.name.clone().unwrap_or_else(|| format!("d{}", device.id));
        if !names.insert(name.clone()) {
            return Err(Diagnostic::input(
                "duplicate-id",
                format!("two devices have the name `{name}`"),
            ));
        }
        built.push(Device {
            name,
            kind: KindId::new(kind_ids.get(device.kind.as_str()).copied().unwrap_or(0)),
            class: ClassId(0),
            node: None,
            capacity: device.limit.map(Bytes),
            context: Bytes::ZERO,
            reserve: Bytes::ZERO,
            is_reserve_stated: false,
        });
    }
    let duplex = match link.map_or(DuplexDocument::Full, |link| link.duplex) {
        DuplexDocument::Full => Duplex::Full,
        DuplexDocument::Half => Duplex::Half,
    };
    let links = links(&sorted, &built, duplex, link, pairs)?;
    let classes = classes(&mut built, &links);
    Ok(Cluster {
        slots: Vec::new(),
        name: "instance".to_owned(),
        kinds: kind_ids.keys().map(|name| kind(name)).collect(),
        devices: built,
        nodes: Vec::new(),
        duplex,
        links,
        classes,
    })
}

/// Devices of one kind that nothing is said of but what they hold, and links that take no time:
/// where the time of messages is stated, nothing is left for them.
///
/// # Errors
/// As [`cluster`].
pub(crate) fn alike(kind: &str, limit: Option<u64>, n: u64) -> Result<Cluster, Diagnostic> {
    let device =
        |id| DeviceDocument { id, kind: kind.to_owned(), limit, name: Some(format!("{kind}{id}")) };
    let link = LinkDocument { latency_ns: 0.0, bytes_per_s: 1e15, duplex: DuplexDocument::Full };
    cluster(&(0..n).map(device).collect::<Vec<_>>(), Some(&link), &[])
}

fn check_count(sorted: &[&DeviceDocument]) -> Result<(), Diagnostic> {
    if sorted.is_empty() {
        return Err(Diagnostic::input("no-devices", "the instance has no devices"));
    }
    if sorted.len() > MAX_DEVICES {
        return Err(Diagnostic::input(
            "too-many-devices",
            format!("the instance has {} devices, more than {MAX_DEVICES}", sorted.len()),
        ));
    }
    match sorted.windows(2).find(|pair| pair[0].id == pair[1].id) {
        None => Ok(()),
        Some(pair) => Err(Diagnostic::input(
            "duplicate-id",
            format!("two devices have the id {}", pair[0].id),
        )),
    }
}

fn kind(name: &str) -> DeviceKind {
    let (name, source) = (name.to_owned(), "instance file".to_owned());
    DeviceKind { name, source, check: Check::Given, ..DeviceKind::default() }
}

fn links(
    sorted: &[&DeviceDocument],
    devices: &[Device],
    duplex: Duplex,
    link: Option<&LinkDocument>,
    pairs: &[PairDocument],
) -> Result<Links, Diagnostic> {
    let n = devices.len();
    let mut kinds: Vec<RouteKind> = Vec::new();
    let mut table = vec![NO_ROUTE; n * n];
    if let Some(link) = link {
        kinds.push(route("link".to_owned(), link.latency_ns, link.bytes_per_s)?);
        for (at, entry) in table.iter_mut().enumerate() {
            if at / n != at % n {
                *entry = 0;
            }
        }
    }
    let positions: HashMap<u64, usize> = sorted.iter().map(|d| d.id).zip(0..).collect();
    let position = |id: u64| {
        positions.get(&id).copied().ok_or_else(|| {
            Diagnostic::input(
                "unknown-device",
                format!("a link names device {id}, which is not there"),
            )
        })
    };
    let mut known: HashMap<(u64, u64), u16> = HashMap::new();
    for pair in pairs {
        let (from, to) = (position(pair.from)?, position(pair.to)?);
        if from == to {
            return Err(Diagnostic::input(
                "invalid-link",
                format!("a link goes from device {} to itself", pair.from),
            ));
        }
        let cost = (pair.latency_ns.to_bits(), pair.bytes_per_s.to_bits());
        let row = match known.get(&cost) {
            Some(row) => *row,
            None => {
                let row = u16::try_from(kinds.len()).ok().filter(|row| *row < NO_ROUTE);
                let row = row.ok_or_else(|| {
                    Diagnostic::input("invalid-link", "there are too many different links")
                })?;
                let name = format!("{}-{}", devices[from].name, devices[to].name);
                kinds.push(route(name, pair.latency_ns, pair.bytes_per_s)?);
                known.insert(cost, row);
                row
            }
        };
        table[from * n + to] = row;
    }
    let (channels, send, receive) = channels(devices, duplex);
    Ok(Links { kinds, n_tiers: 1, channels, send, receive, pairs: table, ..Links::default() })
}

fn route(name: String, latency_ns: f64, bytes_per_s: f64) -> Result<RouteKind, Diagnostic> {
    let bandwidth = BytesPerSecond::new(bytes_per_s)
        .filter(|_| latency_ns.is_finite() && latency_ns >= 0.0)
        .ok_or_else(|| {
            Diagnostic::input(
                "invalid-link",
                "a link has a negative latency or a rate that is not positive",
            )
            .fact("latency_ns", latency_ns)
            .fact("bytes_per_s", bytes_per_s)
        })?;
    Ok(RouteKind {
        name,
        tier: 0,
        latency_ns,
        bandwidth,
        source: "instance file".to_owned(),
        check: Check::Given,
    })
}

fn channels(devices: &[Device], duplex: Duplex) -> (Vec<Channel>, Vec<ChannelId>, Vec<ChannelId>) {
    let mut channels = Vec::new();
    let mut send = Vec::new();
    let mut receive = Vec::new();
    let mut add = |name: String| {
        channels.push(Channel { name });
        ChannelId::new(channels.len() - 1)
    };
    for device in devices {
        match duplex {
            Duplex::Full => {
                send.push(add(format!("send {}", device.name)));
                receive.push(add(format!("receive {}", device.name)));
            }
            Duplex::Half => {
                let both = add(format!("link {}", device.name));
                send.push(both);
                receive.push(both);
            }
        }
    }
    (channels, send, receive)
}

/// Sets the class of each device: same kind, same limit, and ways that stay the same when the two
/// change places.
fn classes(devices: &mut [Device], links: &Links) -> Vec<Vec<DeviceId>> {
    let n = devices.len();
    let cost = |from: usize, to: usize| links.pairs[from * n + to];
    let mut classes: Vec<Vec<DeviceId>> = Vec::new();
    for at in 0..n {
        let found = classes.iter().position(|class| {
            let first = class[0].index();
            devices[first].kind == devices[at].kind
                && devices[first].capacity == devices[at].capacity
                && cost(first, at) == cost(at, first)
                && (0..n).filter(|other| *other != at && *other != first).all(|other| {
                    cost(first, other) == cost(at, other) && cost(other, first) == cost(other, at)
                })
        });
        let class = found.unwrap_or_else(|| {
            classes.push(Vec::new());
            classes.len() - 1
        });
        classes[class].push(DeviceId::new(at));
        devices[at].class = ClassId::new(class);
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(devices: &str, link: Option<&str>, pairs: &str) -> Result<Cluster, Diagnostic> {
        let devices: Vec<DeviceDocument> = serde_json::from_str(devices).unwrap();
        let link: Option<LinkDocument> = link.map(|text| serde_json::from_str(text).unwrap());
        let pairs: Vec<PairDocument> = serde_json::from_str(pairs).unwrap();
        cluster(&devices, link.as_ref(), &pairs)
    }

    const THREE: &str =
        r#"[{"id":0,"kind":"b"},{"id":1,"kind":"b"},{"id":2,"kind":"a","limit":7}]"#;
    const LINK: &str = r#"{"latency_ns":1,"bytes_per_s":1e9}"#;

    #[test]
    fn a_link_for_all_and_one_that_differs() {
        let cluster =
            build(THREE, Some(LINK), r#"[{"from":0,"to":2,"latency_ns":5,"bytes_per_s":5e8}]"#)
                .unwrap();
        let time =
            |from, to| cluster.transfer_time(Bytes(4), DeviceId(from), DeviceId(to)).unwrap().get();
        assert_eq!((time(0, 1), time(0, 2), time(2, 0)), (5, 13, 5));
        // Device 0 alone has the slow way.
        assert_eq!(cluster.classes.len(), 3);
        assert_eq!(cluster.kinds.iter().map(|k| k.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(cluster.devices[2].memory_limit(), Some(Bytes(7)));
        assert_eq!(cluster.links.channels.len(), 6);
    }

    #[test]
    fn alike_devices_share_a_class() {
        let cluster = build(THREE, Some(LINK), "[]").unwrap();
        assert_eq!(cluster.classes, [vec![DeviceId(0), DeviceId(1)], vec![DeviceId(2)]]);
        assert!(cluster.is_connected());
        assert!(!build(THREE, None, "[]").unwrap().is_connected());
    }

    #[test]
    fn faults_have_codes() {
        let code = |devices, link, pairs| build(devices, link, pairs).unwrap_err().code;
        assert_eq!(code("[]", None, "[]"), "no-devices");
        let twice = r#"[{"id":0,"kind":"a"},{"id":0,"kind":"a"}]"#;
        assert_eq!(code(twice, None, "[]"), "duplicate-id");
        let stopped = r#"{"latency_ns":1,"bytes_per_s":0}"#;
        assert_eq!(code(THREE, Some(stopped), "[]"), "invalid-link");
        let pair = r#"[{"from":0,"to":9,"latency_ns":5,"bytes_per_s":5e8}]"#;
        assert_eq!(code(THREE, None, pair), "unknown-device");
    }
}
