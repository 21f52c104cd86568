//! From a document to a cluster.

use documents::cluster::{ClusterDocument, DuplexDocument};
use ir::cluster::{Cluster, Duplex};
use ir::diagnostic::Diagnostic;
use ir::id::DeviceId;

use super::catalogue::catalogue;
use super::{classes, devices, links};

/// The cluster that a document describes, and which of its devices are spares.
pub(super) fn cluster(document: &ClusterDocument) -> Result<(Cluster, Vec<DeviceId>), Diagnostic> {
    let catalogue = catalogue()?;
    let duplex = match document.duplex {
        DuplexDocument::Full => Duplex::Full,
        DuplexDocument::Half => Duplex::Half,
    };
    let mut inventory = devices::inventory(document, &catalogue)?;
    let links = links::links(document, &inventory, &catalogue, duplex)?;
    links::to_devices(document, &mut inventory, &catalogue)?;
    let classes = classes::assign(&mut inventory.devices, &links);
    let spares = inventory.spares;
    let cluster = Cluster {
        slots: Vec::new(),
        name: document.name.clone().unwrap_or_else(|| "cluster".to_owned()),
        kinds: inventory.kinds,
        devices: inventory.devices,
        nodes: inventory.nodes,
        duplex,
        links,
        classes,
    };
    match spares.len() < cluster.devices.len() {
        true => Ok((cluster, spares)),
        false => Err(Diagnostic::input("no-devices", "all devices of the cluster are spares")
            .hint("leave `spare` out where a device may be planned on")),
    }
}
