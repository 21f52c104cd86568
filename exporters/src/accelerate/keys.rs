//! From units to the keys of the map.

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;
use ir::id::{DeviceId, OpId};
use ir::op::Work;

use super::TARGET;
use crate::format::Source;
use crate::modules::devices::{Devices, Place};
use crate::modules::layout::{Layout, Operand, Owner, prefixes};
use crate::modules::refusal;

/// A module or direct parameter with its device.
struct Entry {
    key: String,
    device: DeviceId,
}

/// The devices of all units, checked.
pub(super) struct Keys<'a> {
    layout: &'a Layout,
    source: &'a Source<'a>,
    names: &'a Devices<'a>,
    unit_devices: Vec<Option<DeviceId>>,
    parameter_devices: Vec<Option<DeviceId>>,
    /// Forward ops of containers that run elsewhere than planned.
    n_adrift: u64,
}

impl<'a> Keys<'a> {
    /// # Errors
    /// `cannot-express` where a unit, or all that share a parameter, is split.
    pub(super) fn new(
        layout: &'a Layout,
        source: &'a Source<'a>,
        names: &'a Devices<'a>,
    ) -> Result<Self, Diagnostic> {
        let mut keys = Self {
            layout,
            source,
            names,
            unit_devices: vec![None; layout.units.len()],
            parameter_devices: vec![None; layout.parameters.len()],
            n_adrift: 0,
        };
        keys.place_units()?;
        keys.place_parameters()?;
        Ok(keys)
    }

    fn differ(&self, a: DeviceId, b: DeviceId) -> bool {
        self.names.place(a) != self.names.place(b)
    }

    fn place_units(&mut self) -> Result<(), Diagnostic> {
        for (index, unit) in self.layout.unit.iter().enumerate() {
            let (Some(unit), Some(device)) =
                (*unit, self.source.plan.placement.of(OpId::new(index)))
            else {
                continue;
            };
            match self.unit_devices.get(unit).copied().flatten() {
                None => self.set_unit(unit, device),
                Some(first) if self.differ(first, device) => {
                    let name = self.unit_name(unit);
                    return Err(self.split(
                        format!("the plan splits module `{name}`"),
                        name,
                        (first, device),
                    ));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn set_unit(&mut self, unit: usize, device: DeviceId) {
        if let Some(slot) = self.unit_devices.get_mut(unit) {
            *slot = Some(device);
        }
    }

    fn unit_name(&self, unit: usize) -> &'a str {
        self.layout.units.get(unit).map_or("", String::as_str)
    }

    fn place_parameters(&mut self) -> Result<(), Diagnostic> {
        for (position, parameter) in self.layout.parameters.iter().enumerate() {
            let unit_device = match parameter.owner {
                Owner::Unit(unit) => self.unit_devices.get(unit).copied().flatten(),
                Owner::Container => None,
            };
            let readers =
                parameter.readers.iter().filter_map(|op| self.source.plan.placement.of(*op));
            let mut devices = unit_device.into_iter().chain(readers);
            let Some(first) = devices.next() else {
                continue;
            };
            if parameter.binds
                && let Some(other) = devices.find(|device| self.differ(first, *device))
            {
                let name = parameter.name.as_str();
                return Err(self.split(
                    format!("the plan splits the modules that share parameter `{name}`"),
                    name,
                    (first, other),
                ));
            }
            if let Owner::Unit(unit) = parameter.owner
                && unit_device.is_none()
            {
                self.set_unit(unit, first);
            }
            if let Some(slot) = self.parameter_devices.get_mut(position) {
                *slot = Some(first);
            }
        }
        Ok(())
    }

    /// Ops of containers run where their operands lie, which must be one place.
    ///
    /// # Errors
    /// `cannot-express` where it is two.
    pub(super) fn check_glue(&mut self) -> Result<(), Diagnostic> {
        let graph = &self.source.problem.graph;
        let mut actual: Vec<Option<DeviceId>> = (0..graph.ops.len())
            .map(|op| {
                self.layout.unit.get(op).copied().flatten()?;
                self.source.plan.placement.of(OpId::new(op))
            })
            .collect();
        for (op, operands) in &self.layout.glue {
            let mut place: Option<(DeviceId, Operand)> = None;
            for operand in operands {
                let device = match operand {
                    Operand::Op(producer) => actual.get(producer.index()).copied().flatten(),
                    Operand::Parameter(position) => {
                        self.parameter_devices.get(*position).copied().flatten()
                    }
                };
                match (place, device) {
                    (None, Some(device)) => place = Some((device, *operand)),
                    (Some((first, from)), Some(device)) if self.differ(first, device) => {
                        return Err(self.torn(*op, (first, from), (device, *operand)));
                    }
                    _ => {}
                }
            }
            if let Some(slot) = actual.get_mut(op.index()) {
                *slot = place.map(|(device, _)| device);
            }
            if let (Some((device, _)), Some(planned)) = (place, self.source.plan.placement.of(*op))
                && self.differ(device, planned)
            {
                self.n_adrift += 1;
            }
        }
        Ok(())
    }

    fn torn(&self, op: OpId, first: (DeviceId, Operand), other: (DeviceId, Operand)) -> Diagnostic {
        let (left, right) = (self.operand_name(first.1), self.operand_name(other.1));
        let name = &self.source.problem.graph.op(op).name;
        self.split(
            format!("op `{name}` joins `{left}` and `{right}`, which the plan splits"),
            &left,
            (first.0, other.0),
        )
    }

    fn operand_name(&self, operand: Operand) -> String {
        match operand {
            Operand::Op(op) => match self.layout.unit.get(op.index()).copied().flatten() {
                Some(unit) => self.unit_name(unit).to_owned(),
                None => self.source.problem.graph.op(op).name.clone(),
            },
            Operand::Parameter(position) => {
                self.layout.parameters.get(position).map_or(String::new(), |p| p.name.clone())
            }
        }
    }

    fn split(&self, what: String, unit: &str, devices: (DeviceId, DeviceId)) -> Diagnostic {
        let (first, second) = (self.names.name(devices.0), self.names.name(devices.1));
        refusal(TARGET, format!("{what}, which Accelerate can't, over `{first}` and `{second}`"))
            .fact("unit", unit)
            .fact("devices", vec![first, second])
            .hint("plan with `--for accelerate`, which keeps such ops together")
    }

    /// The map in the order of the model: each entry under its longest container that has one
    /// device throughout.
    pub(super) fn collapse(&self) -> Vec<(String, Place)> {
        let units = self
            .layout
            .units
            .iter()
            .zip(&self.unit_devices)
            .filter_map(|(unit, device)| Some(Entry { key: unit.clone(), device: (*device)? }));
        let direct = self.layout.parameters.iter().zip(&self.parameter_devices);
        let direct = direct
            .filter(|(p, _)| p.owner == Owner::Container)
            .filter_map(|(p, device)| Some(Entry { key: p.name.clone(), device: (*device)? }));
        let entries: Vec<Entry> = units.chain(direct).collect();
        let mut uniform: BTreeMap<&str, Option<Place>> = BTreeMap::new();
        for entry in &entries {
            let target = self.names.place(entry.device);
            for prefix in std::iter::once("").chain(prefixes(&entry.key)) {
                uniform
                    .entry(prefix)
                    .and_modify(|known| *known = known.filter(|known| *known == target))
                    .or_insert(Some(target));
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        let mut map = Vec::new();
        for entry in &entries {
            let key = std::iter::once("")
                .chain(prefixes(&entry.key))
                .find(|prefix| uniform.get(prefix).copied().flatten().is_some());
            if let Some(key) = key
                && seen.insert(key)
            {
                map.push((key.to_owned(), self.names.place(entry.device)));
            }
        }
        map
    }

    /// Ops that will run elsewhere than planned.
    pub(super) fn warning(&self) -> Option<Diagnostic> {
        let graph = &self.source.problem.graph;
        let n_actions = graph.ops.iter().filter(|op| op.work != Work::View).count();
        (self.n_adrift > 0).then(|| {
            Diagnostic::warning(
                "runs-elsewhere",
                format!(
                    "{} of {n_actions} ops belong to containers and run where their operands lie, \
                     not where the plan puts them",
                    self.n_adrift
                ),
            )
            .fact("n_ops", self.n_adrift)
            .hint("plan with `--for accelerate`, which keeps such ops together")
        })
    }
}
