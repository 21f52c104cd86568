//! What moves as one, and where it can go.

use std::collections::HashMap;

use ir::diagnostic::{Blame, Diagnostic};
use ir::id::OpId;

use super::{Problem, UNSUPPORTED};
use crate::numeric::device_set::DeviceSet;

impl Problem {
    pub(super) fn intern_device_sets(&mut self) -> Result<(), Diagnostic> {
        let n_devices = self.cluster.n_devices();
        let mut constrained: Vec<Option<DeviceSet>> = vec![None; self.n_ops()];
        for (op, devices) in &self.constraints.pins {
            let set = constrained[op.index()].get_or_insert_with(|| DeviceSet::all(n_devices));
            let mut pinned = DeviceSet::none(n_devices);
            devices.iter().for_each(|d| pinned.insert(*d));
            set.intersect(&pinned);
        }
        for (op, devices) in &self.constraints.forbids {
            let set = constrained[op.index()].get_or_insert_with(|| DeviceSet::all(n_devices));
            devices.iter().for_each(|d| set.remove(*d));
        }
        let mut positions = HashMap::new();
        let mut device_sets: Vec<DeviceSet> = Vec::new();
        let mut placeable = vec![0; self.n_ops()];
        // Most units are not told apart by more than the kinds that run them.
        let mut by_kinds: HashMap<Vec<bool>, u32> = HashMap::new();
        let mut runs = vec![true; self.cluster.kinds.len()];
        for unit in self.unit_slices() {
            for (kind, runs) in runs.iter_mut().enumerate() {
                *runs = unit.iter().all(|op| self.time_on_kind_ns(*op, kind) != UNSUPPORTED);
            }
            let is_free = unit.iter().all(|op| constrained[op.index()].is_none());
            let known = if is_free { by_kinds.get(&runs).copied() } else { None };
            let position = match known {
                Some(position) => position,
                None => {
                    let set = self.open_devices(unit, &runs, &constrained);
                    if set.is_empty() {
                        return Err(self.no_device(unit));
                    }
                    *positions.entry(set).or_insert_with_key(|set: &DeviceSet| {
                        device_sets.push(set.clone());
                        (device_sets.len() - 1) as u32
                    })
                }
            };
            if is_free && known.is_none() {
                by_kinds.insert(runs.clone(), position);
            }
            unit.iter().for_each(|op| placeable[op.index()] = position);
        }
        (self.device_sets, self.placeable) = (device_sets, placeable.into());
        if self.device_sets.is_empty() {
            self.device_sets.push(DeviceSet::all(n_devices));
        }
        Ok(())
    }

    /// Devices of the kinds that run a unit, pins and forbids of its members kept.
    fn open_devices(
        &self,
        unit: &[OpId],
        runs: &[bool],
        constrained: &[Option<DeviceSet>],
    ) -> DeviceSet {
        let mut set = DeviceSet::all(self.cluster.n_devices());
        for device in self.cluster.device_ids() {
            if !runs[self.cluster.devices[device.index()].kind.index()] {
                set.remove(device);
            }
        }
        unit.iter()
            .filter_map(|op| constrained[op.index()].as_ref())
            .for_each(|devices| set.intersect(devices));
        set
    }

    /// Colocation units: each group, and each action in none, ordered by their first member.
    #[must_use]
    pub fn units(&self) -> Vec<Vec<OpId>> {
        self.unit_slices().map(<[OpId]>::to_vec).collect()
    }

    /// [`Problem::units`], one after the other.
    pub fn unit_slices(&self) -> impl Iterator<Item = &[OpId]> {
        self.actions.iter().filter_map(|op| match self.group_of(*op) {
            None => Some(std::slice::from_ref(op)),
            Some(group) => {
                let members = &self.groups[group.index()];
                (members[0] == *op).then_some(members.as_slice())
            }
        })
    }

    /// The distinct sets of [`Problem::placeable`].
    pub(crate) fn device_sets(&self) -> &[DeviceSet] {
        &self.device_sets
    }

    /// Which of [`Problem::device_sets`] an action has.
    pub(crate) fn device_set_of(&self, op: OpId) -> usize {
        self.placeable[op.index()] as usize
    }

    fn no_device(&self, unit: &[OpId]) -> Diagnostic {
        let first = self.graph.op(unit[0]);
        let what = if unit.len() == 1 {
            format!("no device can run op `{}`", first.name)
        } else {
            format!("no device can run all {} ops of the group of `{}`", unit.len(), first.name)
        };
        Diagnostic::error(Blame::Infeasible, "no-device", what)
            .fact("op", first.name.clone())
            .fact("op_type", first.op_type.clone())
            .fact("devices", self.cluster.n_devices())
            .hint("loosen the pins, forbids and colocations of this op, or add a device whose kind can run it")
    }
}
