//! How executors on one host name the devices of a plan.

use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::id::{DeviceId, NodeId};
use serde::Serialize;

use super::refusal;
use crate::format::Source;

/// A device of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Place {
    /// Position among the accelerators of its host.
    Accelerator(u64),
    /// `"cpu"` or `"disk"`.
    Storage(&'static str),
}

/// The devices of a plan.
pub(crate) struct Devices<'a> {
    cluster: &'a Cluster,
    places: Vec<Place>,
    used: Vec<bool>,
}

impl<'a> Devices<'a> {
    /// # Errors
    /// `cannot-express` where the accelerators of the plan are in two hosts.
    pub(crate) fn new(source: &Source<'a>, target: &'static str) -> Result<Self, Diagnostic> {
        let cluster = &*source.problem.cluster;
        let mut used = vec![false; cluster.n_devices()];
        for device in source.plan.placement.device.iter().flatten() {
            if let Some(slot) = used.get_mut(device.index()) {
                *slot = true;
            }
        }
        let devices = Self { cluster, places: places(cluster), used };
        devices.check_one_host(target)?;
        Ok(devices)
    }

    pub(crate) fn place(&self, device: DeviceId) -> Place {
        let place = self.places.get(device.index()).copied();
        place.unwrap_or(Place::Accelerator(u64::from(device.0)))
    }

    pub(crate) fn name(&self, device: DeviceId) -> String {
        let entry = self.cluster.devices.get(device.index());
        entry.map_or_else(|| device.to_string(), |entry| entry.name.clone())
    }

    /// Those that the plan uses.
    pub(crate) fn used(&self) -> impl Iterator<Item = DeviceId> + '_ {
        self.cluster.device_ids().filter(|device| self.used.get(device.index()) == Some(&true))
    }

    pub(crate) fn accelerators(&self) -> impl Iterator<Item = DeviceId> + '_ {
        self.used().filter(|device| matches!(self.place(*device), Place::Accelerator(_)))
    }

    fn check_one_host(&self, target: &'static str) -> Result<(), Diagnostic> {
        let node = |device: DeviceId| node(self.cluster, device);
        let mut accelerators = self.accelerators();
        let Some(first) = accelerators.next() else {
            return Ok(());
        };
        let Some(other) = accelerators.find(|device| node(*device) != node(first)) else {
            return Ok(());
        };
        let (first, other) = (self.name(first), self.name(other));
        let message =
            format!("the file of {target} is for one host, but `{first}` and `{other}` are in two");
        Err(refusal(target, message).hint("plan for the devices of one node"))
    }
}

fn node(cluster: &Cluster, device: DeviceId) -> Option<NodeId> {
    cluster.devices.get(device.index()).and_then(|entry| entry.node)
}

/// By device its place in its host.
pub(crate) fn places(cluster: &Cluster) -> Vec<Place> {
    let place = |(device, slot): (DeviceId, u32)| match cluster.storage(device) {
        Some(storage) => Place::Storage(storage),
        None => Place::Accelerator(u64::from(slot)),
    };
    cluster.device_ids().zip(cluster.slots()).map(place).collect()
}
