//! The layers of a model in order, what lies before and behind them, and where a placement puts it.

use std::collections::{BTreeMap, BTreeSet};

use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::{DeviceId, OpId};
use ir::op::{Phase, Work};

use crate::format::Source;
use crate::modules::devices::Devices;
use crate::modules::layout::Layout;
use crate::modules::refusal;

/// What an op is to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// It reads weights, such as embeddings, and comes before all layers.
    Before,
    /// Of a layer.
    Layer(usize),
    /// Of the experts of a layer.
    Experts(usize),
    /// It reads weights, such as those of the head, behind layers.
    After,
    /// Computed wherever it is needed.
    Free,
}

/// The layers of a model.
pub(super) struct Layers {
    target: &'static str,
    /// Their modules in order.
    pub(super) names: Vec<String>,
    /// By op.
    pub(super) parts: Vec<Part>,
    /// Modules and parameters of the model.
    pub(super) layout: Layout,
    /// By unit of the layout: its number among the layers.
    pub(super) numbers: BTreeMap<usize, usize>,
}

impl Layers {
    /// # Errors
    /// `cannot-express` where the modules of ops are not known, or the model has not one list of
    /// layers.
    pub(super) fn new(graph: &Graph, target: &'static str) -> Result<Self, Diagnostic> {
        let layout = Layout::new(graph, target)?;
        let units = listed(&layout, graph, target)?;
        let names = units.iter().filter_map(|unit| layout.units.get(*unit).cloned()).collect();
        let numbers: BTreeMap<usize, usize> = units.into_iter().zip(0..).collect();
        let mut layers = Self { target, names, parts: Vec::new(), layout, numbers };
        layers.parts = layers.read_parts(graph);
        Ok(layers)
    }

    fn read_parts(&self, graph: &Graph) -> Vec<Part> {
        let bound = self.layout.parameters.iter().filter(|parameter| parameter.binds);
        let readers: BTreeSet<OpId> =
            bound.flat_map(|parameter| parameter.readers.iter().copied()).collect();
        let producers = graph.producers();
        // Whether a layer stands before an op.
        let mut is_behind = vec![false; graph.ops.len()];
        let mut parts = Vec::with_capacity(graph.ops.len());
        for op in graph.op_ids() {
            let node = graph.op(op);
            let unit = self.layout.unit.get(op.index()).copied().flatten();
            let number = unit.and_then(|unit| self.numbers.get(&unit).copied());
            let makers = node
                .inputs
                .iter()
                .filter_map(|tensor| producers.get(tensor.index()).copied().flatten());
            let behind = makers.into_iter().any(|maker| is_behind[maker.index()]);
            is_behind[op.index()] = behind || number.is_some();
            let plays = node.work != Work::View && node.phase == Phase::Forward;
            parts.push(match number.filter(|_| plays) {
                Some(number) if self.is_expert(op) => Part::Experts(number),
                Some(number) => Part::Layer(number),
                None if !plays || !readers.contains(&op) => Part::Free,
                None if behind => Part::After,
                None => Part::Before,
            });
        }
        parts
    }

    fn is_expert(&self, op: OpId) -> bool {
        let module = self.layout.modules.get(op.index()).and_then(Option::as_deref);
        module.is_some_and(|path| path.split('.').any(|part| part == "experts"))
    }

    /// Ops that lie in one slot each.
    pub(super) fn groups(&self, slot: Slot) -> Vec<Vec<OpId>> {
        let mut groups: BTreeMap<usize, Vec<OpId>> = BTreeMap::new();
        for (op, part) in self.parts.iter().enumerate() {
            if let Some(slot) = slot(*part, self.names.len()) {
                groups.entry(slot).or_default().push(OpId::new(op));
            }
        }
        groups.into_values().filter(|ops| ops.len() > 1).collect()
    }

    /// The device of each slot; `None` = it holds nothing that runs.
    ///
    /// # Errors
    /// `cannot-express` with the module and its devices, where a slot is on two.
    pub(super) fn places(
        &self,
        source: &Source<'_>,
        devices: &Devices<'_>,
        (slot, n_slots): (Slot, usize),
    ) -> Result<Vec<Option<DeviceId>>, Diagnostic> {
        let mut places = vec![None; n_slots];
        for (op, part) in self.parts.iter().enumerate() {
            let device = source.plan.placement.of(OpId::new(op));
            let place = slot(*part, self.names.len()).and_then(|slot| places.get_mut(slot));
            let (Some(device), Some(place)) = (device, place) else { continue };
            let first = *place.get_or_insert(device);
            if first != device {
                let name = self.name(OpId::new(op), *part);
                let (first, second) = (devices.name(first), devices.name(device));
                let message = format!(
                    "the plan splits `{name}`, which {} can't, over `{first}` and `{second}`",
                    self.target
                );
                return Err(self.refused(message, &name).fact("devices", vec![first, second]));
            }
        }
        Ok(places)
    }

    fn name(&self, op: OpId, part: Part) -> String {
        let layer = |number: usize| self.names.get(number).cloned().unwrap_or_default();
        match part {
            Part::Layer(number) => layer(number),
            Part::Experts(number) => format!("{}'s experts", layer(number)),
            Part::Before | Part::After | Part::Free => {
                let module = self.layout.modules.get(op.index()).cloned().flatten();
                module.unwrap_or_default()
            }
        }
    }

    pub(super) fn refused(&self, message: String, unit: &str) -> Diagnostic {
        let hint =
            format!("plan with `--for {}`, which keeps layers whole and in order", self.target);
        refusal(self.target, message).fact("unit", unit.to_owned()).hint(hint)
    }

    /// Layers in a row on each device, in order; those without a place are where the one before is.
    ///
    /// # Errors
    /// `cannot-express` with the layer, where a device has a second row.
    pub(super) fn rows(
        &self,
        places: &[Option<DeviceId>],
        devices: &Devices<'_>,
    ) -> Result<Vec<(DeviceId, usize)>, Diagnostic> {
        let mut rows: Vec<(DeviceId, usize)> = Vec::new();
        let mut waiting = 0;
        for (number, place) in places.iter().enumerate() {
            let last =
                rows.last_mut().filter(|(device, _)| place.is_none_or(|place| place == *device));
            match (last, *place) {
                (Some((_, n)), _) => *n += 1,
                (None, None) => waiting += 1,
                (None, Some(place)) => {
                    if rows.iter().any(|(device, _)| *device == place) {
                        let name = self.names.get(number).map_or("the head", String::as_str);
                        let (target, device) = (self.target, devices.name(place));
                        let message = format!(
                            "`{name}` is on `{device}` again, behind layers elsewhere: {target} \
                             gives each device layers that follow one another"
                        );
                        return Err(self.refused(message, name));
                    }
                    rows.push((place, 1 + waiting));
                    waiting = 0;
                }
            }
        }
        Ok(rows)
    }
}

/// The slot of a part in a model of N layers; parts of one slot share a device.
pub(super) type Slot = fn(Part, usize) -> Option<usize>;

/// The units that are layers, in order.
fn listed(layout: &Layout, graph: &Graph, target: &'static str) -> Result<Vec<usize>, Diagnostic> {
    let mut lists: BTreeMap<&str, BTreeMap<usize, usize>> = BTreeMap::new();
    for (unit, name) in layout.units.iter().enumerate() {
        let Some((list, number)) = name.rsplit_once('.') else { continue };
        if let Ok(number) = number.parse() {
            lists.entry(list).or_default().insert(number, unit);
        }
    }
    let hint = "export to accelerate, which takes any modules";
    let mut named = lists.keys();
    let message = match (named.next(), named.next()) {
        (Some(_), None) => {
            let list = lists.into_values().next().unwrap_or_default();
            match list.keys().enumerate().find(|(at, number)| at != *number) {
                None => return Ok(list.into_values().collect()),
                Some((at, _)) => format!("`{}` has no layer {at}, but later ones", graph.name),
            }
        }
        (None, _) => format!("`{}` has no numbered layers, and {target} counts them", graph.name),
        (Some(one), Some(other)) => format!(
            "`{}` has several lists of layers, such as `{one}` and `{other}`, and {target} counts \
             those of one",
            graph.name
        ),
    };
    Err(refusal(target, message).hint(hint))
}
