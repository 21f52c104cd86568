//! Kinds, hosts and devices of a document, before the links.

use std::collections::{BTreeMap, HashMap};

use documents::cluster::{ClusterDocument, DeviceDocument, KindDocument, NodesDocument};
use ir::chip::{Architecture, Chip};
use ir::cluster::{Check, Device, DeviceKind, MARGIN, Node};
use ir::diagnostic::Diagnostic;
use ir::id::{ClassId, DeviceId, KindId, NodeId};
use ir::nearest;
use ir::tensor::DType;
use ir::units::Bytes;

use super::catalogue::Catalogue;
use super::chips;
use super::ranges::checked;
use super::running;
use super::values::{bytes, check_name, count, peak, rate, watts};

/// Most devices of a cluster: four times the largest published training runs.
pub(super) const MAX_DEVICES: u64 = 65_536;
/// Memory lines that a device, its host entry and the cluster may state.
#[derive(Clone, Copy, Debug, Default)]
struct Margins {
    context_bytes: Option<f64>,
    reserve_bytes: Option<f64>,
    reserve_fraction: Option<f64>,
}

/// The margins that a part of a document states.
macro_rules! margins_of {
    ($document:expr) => {
        Margins {
            context_bytes: $document.context_bytes.map(f64::from),
            reserve_bytes: $document.reserve_bytes.map(f64::from),
            reserve_fraction: $document.reserve_fraction,
        }
    };
}

impl Margins {
    fn states_reserve(self) -> bool {
        self.reserve_bytes.is_some() || self.reserve_fraction.is_some()
    }

    /// What `self` states, else what `outer` does. A reserve in either form hides both outer ones.
    fn within(self, outer: Self) -> Self {
        let reserve = if self.states_reserve() { self } else { outer };
        Self {
            context_bytes: self.context_bytes.or(outer.context_bytes),
            reserve_bytes: reserve.reserve_bytes,
            reserve_fraction: reserve.reserve_fraction,
        }
    }
}

/// What a device is made of before its limits are computed.
#[derive(Clone, Debug)]
struct Blueprint {
    name: String,
    kind: String,
    node: Option<NodeId>,
    memory_bytes: Option<f64>,
    margins: Margins,
    is_spare: bool,
}

/// Devices with what the links need to know of their hosts.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    pub(super) kinds: Vec<DeviceKind>,
    pub(super) devices: Vec<Device>,
    /// Of them, those that wait for others to fail.
    pub(super) spares: Vec<DeviceId>,
    pub(super) nodes: Vec<Node>,
    /// By host: the entry of `nodes` that made it; `None` for hosts that only devices name.
    pub(super) entry_of_node: Vec<Option<usize>>,
    /// Position of each device among those that its host's entry made.
    pub(super) slot: Vec<Option<usize>>,
    /// Device by name.
    pub(super) by_name: HashMap<String, usize>,
    /// Host by name.
    pub(super) node_by_name: HashMap<String, usize>,
}

/// All devices of a document.
pub(super) fn inventory(
    document: &ClusterDocument,
    catalogue: &Catalogue,
) -> Result<Inventory, Diagnostic> {
    let mut inventory = Inventory::default();
    let mut blueprints = Vec::new();
    for (position, entry) in document.nodes.iter().enumerate() {
        add_nodes(&mut inventory, &mut blueprints, entry, position)?;
    }
    add_devices(&mut inventory, &mut blueprints, document)?;
    if blueprints.is_empty() {
        return Err(Diagnostic::input("no-devices", "the cluster has no devices")
            .hint("list them under `nodes` or `devices`"));
    }
    let own_kinds = own_kinds(document, catalogue)?;
    let mut kind_ids = BTreeMap::new();
    let outer = margins_of!(document);
    for blueprint in blueprints {
        let kind = find_kind(&blueprint, &own_kinds, catalogue)?;
        let next = inventory.kinds.len();
        let id = *kind_ids.entry(kind.name.clone()).or_insert(next);
        if id == next {
            inventory.kinds.push(kind.clone());
        }
        let device = device(&blueprint, kind, KindId::new(id), outer)?;
        if blueprint.is_spare {
            inventory.spares.push(DeviceId::new(inventory.devices.len()));
        }
        inventory.devices.push(device);
    }
    running::apply(document, &mut inventory.kinds)?;
    Ok(inventory)
}

fn add_nodes(
    inventory: &mut Inventory,
    blueprints: &mut Vec<Blueprint>,
    entry: &NodesDocument,
    position: usize,
) -> Result<(), Diagnostic> {
    let stem = entry.name.as_deref().unwrap_or("node");
    check_name(stem, "host")?;
    let n_nodes = count(entry.count.unwrap_or(1), "count", stem, MAX_DEVICES)?;
    let n_devices = count(entry.devices.unwrap_or(1), "devices", stem, MAX_DEVICES)?;
    if n_nodes.saturating_mul(n_devices).saturating_add(blueprints.len()) > MAX_DEVICES as usize {
        return Err(too_many());
    }
    let mut number = 0;
    for _ in 0..n_nodes {
        // A name that stands for one host is kept as it is; others are numbered on through the file.
        let name = match &entry.name {
            Some(name) if n_nodes == 1 => name.clone(),
            _ => free_name(inventory, stem, &mut number),
        };
        let node = add_node(inventory, name.clone(), Some(position))?;
        let info = &mut inventory.nodes[node.index()];
        info.host_memory = entry
            .host_memory_bytes
            .map(|size| bytes(size.0, "host_memory_bytes", &name))
            .transpose()?;
        info.host_bandwidth = entry
            .host_memory_bytes_per_s
            .map(|value| rate(value, "memory_bytes_per_s", &name))
            .transpose()?;
        if let Some(cores) = entry.cpu_cores {
            checked("cpu_cores", &name, f64::from(cores))?;
        }
        info.n_cpu_cores = entry.cpu_cores;
        for slot in 0..n_devices {
            let blueprint = Blueprint {
                name: format!("{name}.gpu{slot}"),
                kind: entry.device.clone(),
                node: Some(node),
                memory_bytes: entry.memory_bytes.map(f64::from),
                margins: margins_of!(entry),
                is_spare: entry.spare.unwrap_or(false),
            };
            inventory.by_name.insert(blueprint.name.clone(), blueprints.len());
            inventory.slot.push(Some(slot));
            blueprints.push(blueprint);
        }
    }
    Ok(())
}

/// The first free name made of `stem` and a number of at least `from`, which moves on.
fn free_name(inventory: &Inventory, stem: &str, from: &mut u64) -> String {
    loop {
        let name = format!("{stem}{from}");
        *from = from.saturating_add(1);
        if !inventory.node_by_name.contains_key(&name) {
            return name;
        }
    }
}

fn add_node(
    inventory: &mut Inventory,
    name: String,
    entry: Option<usize>,
) -> Result<NodeId, Diagnostic> {
    if inventory.node_by_name.insert(name.clone(), inventory.nodes.len()).is_some() {
        return Err(Diagnostic::input("duplicate-node", format!("two hosts are named `{name}`")));
    }
    inventory.nodes.push(Node {
        name,
        host_memory: None,
        host_bandwidth: None,
        n_cpu_cores: None,
        to_device: None,
    });
    inventory.entry_of_node.push(entry);
    Ok(NodeId::new(inventory.nodes.len() - 1))
}

fn add_devices(
    inventory: &mut Inventory,
    blueprints: &mut Vec<Blueprint>,
    document: &ClusterDocument,
) -> Result<(), Diagnostic> {
    let mut stated = HashMap::new();
    for entry in &document.devices {
        check_name(&entry.id, "device")?;
        if stated.insert(&entry.id, ()).is_some() {
            return Err(Diagnostic::input(
                "duplicate-device",
                format!("two devices have the id `{}`", entry.id),
            )
            .hint("give each device its own `id`"));
        }
        if let Some(name) = &entry.node {
            check_name(name, "host")?;
        }
        let node = match &entry.node {
            None => None,
            Some(name) => match inventory.node_by_name.get(name).copied() {
                Some(position) => Some(NodeId::new(position)),
                None => Some(add_node(inventory, name.clone(), None)?),
            },
        };
        let margins = margins_of!(entry);
        match inventory.by_name.get(&entry.id).copied() {
            Some(position) => changed(&mut blueprints[position], entry, node, margins)?,
            None => {
                let kind = entry.kind.clone().ok_or_else(|| {
                    let message = format!("device `{}` states no `kind`", entry.id);
                    Diagnostic::input("missing-key", message)
                })?;
                if blueprints.len() >= MAX_DEVICES as usize {
                    return Err(too_many());
                }
                inventory.by_name.insert(entry.id.clone(), blueprints.len());
                inventory.slot.push(None);
                blueprints.push(Blueprint {
                    name: entry.id.clone(),
                    kind,
                    node,
                    memory_bytes: entry.memory_bytes.map(f64::from),
                    margins,
                    is_spare: entry.spare.unwrap_or(false),
                });
            }
        }
    }
    Ok(())
}

/// Changes a device that its host's entry made.
fn changed(
    made: &mut Blueprint,
    entry: &DeviceDocument,
    node: Option<NodeId>,
    margins: Margins,
) -> Result<(), Diagnostic> {
    if node.is_some() && node != made.node {
        return Err(Diagnostic::input(
            "device-moved",
            format!("device `{}` already sits in another host", entry.id),
        ));
    }
    if let Some(kind) = &entry.kind {
        made.kind.clone_from(kind);
    }
    made.memory_bytes = entry.memory_bytes.map(f64::from).or(made.memory_bytes);
    made.margins = margins.within(made.margins);
    made.is_spare = entry.spare.unwrap_or(made.is_spare);
    Ok(())
}

fn too_many() -> Diagnostic {
    Diagnostic::input(
        "too-many-devices",
        format!("the cluster has more than {MAX_DEVICES} devices"),
    )
    .fact("most", MAX_DEVICES)
    .hint("a training run over equal hosts scales by its replicas: plan it on fewer hosts")
}

fn own_kinds(
    document: &ClusterDocument,
    catalogue: &Catalogue,
) -> Result<BTreeMap<String, DeviceKind>, Diagnostic> {
    let mut kinds = BTreeMap::new();
    for entry in &document.kinds {
        let known = catalogue.device(&entry.name).is_some();
        let mut kind = own_kind(entry)?;
        kind.architecture = entry.architecture.as_deref().map(architecture).transpose()?;
        kind.chip = chips::nearest(&kind, catalogue).map_or(Chip::Other, |row| row.kind.chip);
        if known || kinds.insert(entry.name.clone(), kind).is_some() {
            return Err(Diagnostic::input(
                "duplicate-kind",
                format!("the kind `{}` is defined already", entry.name),
            )
            .hint("give the kind another name"));
        }
    }
    Ok(kinds)
}

/// The architecture of a name.
fn architecture(name: &str) -> Result<Architecture, Diagnostic> {
    let keys = Architecture::ALL.map(Architecture::key);
    let known = Architecture::ALL.into_iter().find(|architecture| architecture.key() == name);
    known.ok_or_else(|| {
        let message = format!("there is no architecture `{name}`");
        let error = Diagnostic::input("unknown-architecture", message);
        let error = nearest::hint(error, name, keys.iter().map(String::as_str));
        error.hint(format!("architectures: {}", keys.join(", ")))
    })
}

fn own_kind(entry: &KindDocument) -> Result<DeviceKind, Diagnostic> {
    let name = &entry.name;
    let mut peaks = BTreeMap::new();
    for (key, value, dtype) in [
        ("peak_fp64_flops", entry.peak_fp64_flops, DType::F64),
        ("peak_fp32_flops", entry.peak_fp32_flops, DType::F32),
        ("peak_fp16_flops", entry.peak_fp16_flops, DType::F16),
        ("peak_bf16_flops", entry.peak_bf16_flops, DType::Bf16),
        ("peak_fp8_flops", entry.peak_fp8_flops, DType::F8),
        ("peak_fp4_flops", entry.peak_fp4_flops, DType::F4),
    ] {
        if let Some(value) = value {
            peaks.insert(dtype, peak(value, key, name)?);
        }
    }
    let memory_bandwidth =
        entry.memory_bytes_per_s.map(|value| rate(value, "memory_bytes_per_s", name));
    let power = entry.power_w.map(|value| watts(value, "power_w", name));
    if let Some(count) = entry.multiprocessors {
        checked("multiprocessors", name, f64::from(count))?;
    }
    Ok(DeviceKind {
        name: name.clone(),
        memory: entry.memory_bytes.map(|size| bytes(size.0, "memory_bytes", name)).transpose()?,
        memory_bandwidth: memory_bandwidth.transpose()?,
        peak: peaks,
        n_multiprocessors: entry.multiprocessors,
        last_level_cache: None,
        clock: None,
        power: power.transpose()?,
        source: "cluster file".to_owned(),
        check: Check::Given,
        ..DeviceKind::default()
    })
}

fn find_kind<'a>(
    blueprint: &Blueprint,
    kinds: &'a BTreeMap<String, DeviceKind>,
    catalogue: &'a Catalogue,
) -> Result<&'a DeviceKind, Diagnostic> {
    let name = &blueprint.kind;
    kinds.get(name).or_else(|| catalogue.device(name).map(|row| &row.kind)).ok_or_else(|| {
        let known: Vec<String> = kinds
            .keys()
            .cloned()
            .chain(catalogue.devices.iter().map(|r| r.kind.name.clone()))
            .collect();
        // People write `H100` or `RTX 4090`, the catalogue `h100_sxm5_80gb` and `rtx_4090`.
        let written = name.trim().to_lowercase().replace([' ', '-', '.'], "_");
        let stem: Vec<&str> = known.iter().map(String::as_str).collect();
        let inside: Vec<&str> =
            stem.iter().copied().filter(|kind| kind.starts_with(&written)).collect();
        let near = if written.is_empty() || inside.is_empty() { stem } else { inside };
        nearest::hint(
            Diagnostic::input("unknown-kind", format!("unknown kind of device `{name}`"))
                .fact("device", blueprint.name.clone()),
            &written,
            near.into_iter(),
        )
        .hint("`meshwright devices` lists the kinds; define others under `kinds`")
    })
}

fn device(
    blueprint: &Blueprint,
    kind: &DeviceKind,
    id: KindId,
    outer: Margins,
) -> Result<Device, Diagnostic> {
    let name = &blueprint.name;
    let margins = blueprint.margins.within(outer);
    let stated =
        blueprint.memory_bytes.map(|size| bytes(size, "memory_bytes", name)).transpose()?;
    let capacity = stated.or(kind.memory);
    let from_catalogue = kind.check != Check::Given;
    let context = match margins.context_bytes {
        Some(size) => bytes(size, "context_bytes", name)?,
        None if from_catalogue => Device::USUAL_CONTEXT,
        None => Bytes::ZERO,
    };
    let share = match (margins.reserve_bytes, margins.reserve_fraction) {
        (Some(_), _) => 0.0,
        (None, Some(share)) => checked("reserve_fraction", name, share)?,
        (None, None) if from_catalogue => MARGIN,
        (None, None) => 0.0,
    };
    let reserve = match (margins.reserve_bytes, capacity) {
        (Some(size), _) => bytes(size, "reserve_bytes", name)?,
        (None, Some(capacity)) => Bytes((capacity.as_f64() * share).round() as u64),
        (None, None) => Bytes::ZERO,
    };
    if let Some(capacity) = capacity
        && context + reserve >= capacity
    {
        let message = format!("context and reserve of device `{name}` leave none of its memory");
        return Err(Diagnostic::input("no-memory-left", message)
            .fact("capacity", capacity)
            .fact("context", context)
            .fact("reserve", reserve)
            .hint("sizes are in bytes unless they have a unit, such as `80GB` or `80GiB`"));
    }
    Ok(Device {
        name: name.clone(),
        kind: id,
        class: ClassId::new(0),
        node: blueprint.node,
        capacity,
        context,
        reserve,
        is_reserve_stated: margins.states_reserve(),
    })
}
