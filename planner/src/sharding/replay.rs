//! A sharded step on streams: ops of a device one after the other, collectives beside them on links.
//!
//! A collective starts when its tensor is there and its link is free, an op when its inputs are there. Parameters are
//! gathered one layer ahead of the layer that reads them; gradients are reduced while the pass goes on. The optimizer
//! follows the last collective. Collectives slow no kernel.

use std::collections::BTreeMap;
use std::ops::Range;

use cost_model::streams::replay::replay;
use cost_model::streams::{Cell, Order, Piece, Resource, Slowdowns, Stream};

use super::answer::Sharding;
use super::decoder::LOSS;
use super::graph::{Graph, Op, Work};
use super::mesh::{Part, Placement};

/// Layers that parameters may be gathered before they are read.
const AHEAD: usize = 2;

/// Seconds of a micro-batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Replayed {
    /// From its start to the end of the optimizer.
    pub seconds: f64,
    /// Of these, ops.
    pub ops_s: f64,
    /// The optimizer.
    pub update_s: f64,
    /// Collectives of parameters and gradients.
    pub parameters_s: f64,
    /// All other collectives, as far as ops wait for them.
    pub activations_s: f64,
    /// The rest of these, hidden by products.
    pub beside_s: f64,
}

impl Replayed {
    /// Share of the collectives of parameters and gradients that ops do not hide.
    #[must_use]
    pub fn exposed(&self) -> f64 {
        let waits_s = self.seconds - self.ops_s - self.update_s - self.activations_s;
        (waits_s / self.parameters_s.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0)
    }
}

/// Ops of equal layers, by number.
struct Segment {
    ops: Range<usize>,
    copies: u32,
}

/// What a tensor is of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// One, or a copy that is stored.
    Parameter,
    /// The gradient of one.
    Gradient,
}

/// By tensor, what it is of parameters: no op waits for collectives of the others while it could run.
#[must_use]
pub fn of_parameters(graph: &Graph) -> Vec<Option<Of>> {
    let mut all = vec![None; graph.tensors.len()];
    for op in &graph.ops {
        let of = match (&op.work, &op.inputs[..]) {
            (Work::Update(_), _) => Some(Of::Parameter),
            (Work::Nothing | Work::View, [of]) => all[*of],
            _ => None,
        };
        op.outputs.iter().for_each(|tensor| all[*tensor] = of);
    }
    graph.pins.iter().for_each(|pin| all[pin.tensor] = Some(Of::Gradient));
    // What is summed to a gradient is one.
    for op in graph.ops.iter().rev() {
        let is_sum = op.rules.iter().any(|rule| rule.parts.iter().all(|of| *of == Part::Partial));
        let is_gradient = op.outputs.iter().all(|of| all[*of] == Some(Of::Gradient));
        if is_sum && is_gradient && !op.inputs.is_empty() {
            op.inputs.iter().for_each(|tensor| all[*tensor] = Some(Of::Gradient));
        }
    }
    all
}

/// A tensor of a layer, or of the ends.
type Instance = (usize, u32);

struct Lowered<'a> {
    graph: &'a Graph,
    sharding: &'a Sharding,
    /// By tensor its op and number of its outputs.
    producer: Vec<Option<(usize, usize)>>,
    parameters: Vec<Option<Of>>,
    /// By tensor, as it is produced and used, seconds and the outermost axis.
    steps: BTreeMap<(usize, &'a Placement, &'a Placement), (f64, usize)>,
    /// By axis the stream of its links.
    streams: &'a [usize],
    overlap: Overlap,
    cell: Cell,
    order: Vec<usize>,
    there: BTreeMap<Instance, Option<usize>>,
    /// By tensor, layer, and by how often ops run and whether they run again, what moves it once for all of them.
    moved: BTreeMap<(usize, u32, (u32, bool), &'a Placement), usize>,
    /// The last op of each layer so far.
    ends: Vec<usize>,
    /// Name, copy and pass of the present layer.
    layer: Option<(&'a str, u32, bool)>,
    replayed: Replayed,
}

/// Shares of collectives that ops hide, in 0..=1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overlap {
    /// Of gradients of parameters that are replicated at rest.
    pub data: f64,
    /// Of parameters that are split at rest, and of their gradients.
    pub shared: f64,
    /// Of all other tensors.
    pub tensor: f64,
}

/// How a stack runs a step on the axes of a mesh.
#[derive(Clone, Copy, Debug)]
pub struct Running<'a> {
    /// By axis whether its collectives leave hosts.
    pub leaves_host: &'a [bool],
    /// Shares of collectives that ops hide, in 0..=1.
    pub overlap: Overlap,
    /// Seconds that the host takes to launch the forward pass of a layer.
    pub launch_s: f64,
}

impl<'a> Running<'a> {
    /// Full overlap, and launches that take no time.
    #[must_use]
    pub const fn alone(leaves_host: &'a [bool]) -> Self {
        let overlap = Overlap { data: 1.0, shared: 1.0, tensor: 0.0 };
        Self { leaves_host, overlap, launch_s: 0.0 }
    }
}

/// A micro-batch on streams.
#[must_use]
pub fn replayed(graph: &Graph, sharding: &Sharding, running: &Running<'_>) -> Replayed {
    let streams: Vec<usize> =
        running.leaves_host.iter().map(|leaves| 1 + usize::from(*leaves)).collect();
    let stream = |resource| Stream { resource, order: Order::FirstReady };
    let resources = [Resource::Compute, Resource::IntraNode, Resource::InterNode];
    let mut producer = vec![None; graph.tensors.len()];
    for (number, op) in graph.ops.iter().enumerate() {
        for (at, tensor) in op.outputs.iter().enumerate() {
            producer[*tensor] = Some((number, op.inputs.len() + at));
        }
    }
    let steps = sharding.steps.iter().map(|step| {
        let axis = step.collectives.iter().map(|(axis, _)| *axis).min().unwrap_or_default();
        ((step.tensor, &step.from, &step.to), (step.whole_s(graph), axis))
    });
    let mut lowered = Lowered {
        graph,
        sharding,
        producer,
        parameters: of_parameters(graph),
        steps: steps.collect(),
        streams: &streams,
        overlap: running.overlap,
        cell: Cell::new(resources.map(stream)),
        order: Vec::new(),
        there: BTreeMap::new(),
        moved: BTreeMap::new(),
        ends: Vec::new(),
        layer: None,
        replayed: Replayed::default(),
    };
    lowered.run();
    lowered.cell.streams[0].order = Order::Stated(std::mem::take(&mut lowered.order));
    let mut found = lowered.replayed;
    let times = replay(&lowered.cell, &Slowdowns::default());
    let seconds = times.map_or(f64::INFINITY, |times| times.seconds());
    found.seconds = seconds.max(running.launch_s * passes(graph)) + found.update_s;
    found
}

/// Forward passes of layers that take as long to launch as all passes of a micro-batch.
fn passes(graph: &Graph) -> f64 {
    let of_layers = graph.ops.iter().filter(|op| !op.inputs.is_empty());
    let of_layers = of_layers.filter(|op| op.name.ends_with(".attention"));
    // A backward pass has twice as many kernels; ops that are recomputed count twice.
    let chain = |name: &str| {
        let prefix = name.trim_end_matches("attention");
        let chain =
            graph.chains.iter().find(|of| graph.tensors[of.tensor].name.starts_with(prefix));
        chain.map_or(1, |chain| chain.times)
    };
    of_layers.map(|op| f64::from(op.times + 2 * chain(&op.name))).sum()
}

/// Runs of ops that have as many copies.
fn segments(graph: &Graph) -> Vec<Segment> {
    let mut all: Vec<Segment> = Vec::new();
    for (number, op) in graph.ops.iter().enumerate() {
        let is_of_layers = op.times > 1;
        match all.last_mut().filter(|last| is_of_layers == (last.copies > 1)) {
            Some(last) => {
                last.ops.end = number + 1;
                last.copies = last.copies.min(op.times);
            }
            None => all.push(Segment { ops: number..number + 1, copies: op.times }),
        }
    }
    all
}

impl<'a> Lowered<'a> {
    fn run(&mut self) {
        let graph = self.graph;
        let sources = graph.ops.iter().zip(&self.sharding.strategies);
        let sources = sources.filter(|(op, _)| op.inputs.is_empty());
        self.replayed.update_s = sources.map(|(op, of)| f64::from(op.times) * of.seconds).sum();
        let loss = graph.ops.iter().position(|op| op.name == LOSS).unwrap_or(graph.ops.len());
        let segments = segments(graph);
        let mut forward: Vec<&Segment> = Vec::new();
        for segment in &segments {
            let is_backward = segment.ops.start > loss;
            if segment.copies <= 1 {
                segment.ops.clone().for_each(|op| self.op(op, (0, 1), (op > loss, false)));
                continue;
            }
            let mirrored = if is_backward { forward.pop() } else { None };
            let again = mirrored.filter(|of| {
                let times = of.ops.clone().map(|op| graph.ops[op].times);
                times.max().is_some_and(|most| most > of.copies)
            });
            for at in 0..segment.copies {
                let copy = if is_backward { segment.copies - 1 - at } else { at };
                let around = (copy, segment.copies);
                let repeated = again.map_or(0..0, |of| of.ops.clone());
                repeated.for_each(|op| self.op(op, around, (false, true)));
                segment.ops.clone().for_each(|op| self.op(op, around, (is_backward, false)));
            }
            if !is_backward {
                forward.push(segment);
            }
        }
    }

    /// Which tensor of which layer an op of a layer reads.
    fn read(&self, tensor: usize, (copy, copies): (u32, u32), is_backward: bool) -> Instance {
        if let Some(chain) = self.graph.chains.iter().find(|chain| chain.tensor == tensor) {
            let first = if is_backward { copies - 1 } else { 0 };
            return match (copy == first, is_backward) {
                (true, _) => self.read(chain.enters, (0, 1), is_backward),
                (false, false) => (chain.leaves, copy - 1),
                (false, true) => (chain.leaves, copy + 1),
            };
        }
        if let Some(at) = self.graph.chains.iter().position(|chain| chain.ends == tensor) {
            let chain = &self.graph.chains[at];
            let loss = self.graph.ops.iter().position(|op| op.name == LOSS);
            let made = self.producer[chain.leaves].map(|(op, _)| op);
            let last = if made > loss { 0 } else { chain.times - 1 };
            return (chain.leaves, last);
        }
        let is_of_layers =
            self.producer[tensor].is_some_and(|(op, _)| self.graph.ops[op].times > 1);
        (tensor, if is_of_layers { copy } else { 0 })
    }

    /// Adds an op of a layer, and before it what its inputs are moved by.
    fn op(&mut self, number: usize, around: (u32, u32), (is_backward, is_again): (bool, bool)) {
        let op = &self.graph.ops[number];
        let strategy = &self.sharding.strategies[number];
        let copy = around.0;
        if op.inputs.is_empty() {
            op.outputs.iter().for_each(|tensor| {
                self.there.insert((*tensor, copy), None);
            });
            return;
        }
        if is_again && op.work == Work::Nothing {
            return;
        }
        let stated = Some(op.layer.as_str()).filter(|layer| !layer.is_empty());
        let named = || op.name.strip_prefix("layers.").and_then(|rest| rest.split('.').next());
        let name = stated.or_else(named);
        let layer = name.map(|name| (name, copy, is_backward || is_again));
        let takes = !matches!(op.work, Work::Nothing | Work::View);
        if takes && layer != std::mem::replace(&mut self.layer, layer) {
            self.ends.extend(self.order.last());
        }
        let mut after: Vec<usize> = Vec::new();
        for (tensor, to) in op.inputs.iter().zip(&strategy.placements) {
            let read = self.read(*tensor, around, is_backward);
            after.extend(self.moved(*tensor, read, (to, (op.times, is_again))));
        }
        let piece = match takes {
            false => after.first().copied(),
            true => {
                let seconds = strategy.seconds;
                self.replayed.ops_s += seconds;
                let piece = self.piece(0, seconds, after);
                self.order.push(piece);
                Some(piece)
            }
        };
        op.outputs.iter().for_each(|tensor| {
            self.there.insert((*tensor, copy), piece);
        });
        if !is_again {
            self.pins(op, copy);
        }
    }

    /// Reduces gradients that an op leaves.
    fn pins(&mut self, op: &Op, copy: u32) {
        for tensor in &op.outputs {
            let graph = self.graph;
            for pin in graph.pins.iter().filter(|pin| pin.tensor == *tensor) {
                let Some((source, at)) = self.producer[pin.like] else { continue };
                let sharding = self.sharding;
                let to = &sharding.strategies[source].placements[at];
                let times = graph.ops[source].times;
                self.moved(*tensor, (*tensor, copy), (to, (times, false)));
            }
        }
    }

    fn piece(&mut self, stream: usize, seconds: f64, after: Vec<usize>) -> usize {
        let op = u32::from(stream > 0);
        self.cell.add(Piece { op, nano_batch: 0, part: 0, stream, seconds, after })
    }

    /// The piece after which a tensor is there in a placement.
    fn moved(
        &mut self,
        tensor: usize,
        read: Instance,
        (to, pass): (&'a Placement, (u32, bool)),
    ) -> Option<usize> {
        let before = self.there.get(&read).copied().flatten();
        let (op, at) = self.producer[read.0]?;
        let from = &self.sharding.strategies[op].placements[at];
        let Some((seconds, axis)) = self.steps.get(&(tensor, from, to)).copied() else {
            return before;
        };
        if let Some(piece) = self.moved.get(&(tensor, read.1, pass, to)) {
            return Some(*piece);
        }
        let is_parameter = self.parameters[tensor] == Some(Of::Parameter);
        let mut after: Vec<usize> = before.into_iter().collect();
        if is_parameter {
            let ahead = self.ends.len().checked_sub(AHEAD);
            after.extend(ahead.map(|at| self.ends[at]));
        }
        let is_split = |of: &Placement| of.iter().any(|part| part.split().is_some());
        let (whole_s, mut beside_s) = (seconds, seconds);
        match self.parameters[tensor] {
            Some(_) if is_split(from) || is_split(to) => beside_s *= self.overlap.shared,
            Some(_) => beside_s *= self.overlap.data,
            // What is left of it is waited for.
            None => beside_s *= 1.0 - self.overlap.tensor,
        }
        let seconds = match self.parameters[tensor].is_some() {
            true => seconds,
            false => beside_s,
        };
        match self.parameters[tensor].is_some() {
            true => self.replayed.parameters_s += seconds,
            false => {
                self.replayed.activations_s += seconds;
                self.replayed.beside_s += whole_s - seconds;
            }
        }
        if beside_s < seconds {
            let waits = self.piece(0, seconds - beside_s, after);
            self.order.push(waits);
            after = vec![waits];
        }
        let piece = self.piece(self.streams[axis], beside_s, after);
        self.moved.insert((tensor, read.1, pass, to), piece);
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use ir::card::ModelCard;

    use super::super::decoder::{Run, step, tests::llama};
    use super::super::goldens::mesh;
    use super::super::program::{plan, stated};
    use super::*;
    use crate::run::{Control, Limits};

    const FAST: (u64, f64, f64) = (8, 10e-6, 300e9);
    const ALONE: Running<'_> = Running::alone(&[false]);

    /// One copy of all layers takes what all of them take, and lies between ops alone and one after another.
    #[test]
    fn copies_of_layers_take_what_layers_take() {
        for (recomputes, n_sequences) in [(false, 8), (true, 8), (false, 64)] {
            let run = |is_collapsed| Run {
                recomputes,
                stores: true,
                update_bytes: 30.0,
                ..Run::timed(n_sequences, is_collapsed)
            };
            let [one, all] = [true, false]
                .map(|of| step(&ModelCard::uniform(llama(5)), &run(of)).unwrap().graph);
            let (mesh, prices) = mesh(&[FAST]);
            let found = plan(&one, &mesh, &prices, &Control::new(&Limits::default())).unwrap();
            let one_s = replayed(&one, &found, &ALONE);
            let near = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 1e-9, "{a} {b} {one_s:?}");
            let least_s = one_s.ops_s + one_s.update_s;
            near(least_s + one_s.parameters_s + one_s.activations_s, found.seconds);
            assert!((least_s..=found.seconds).contains(&one_s.seconds), "{one_s:?}");
            if recomputes {
                continue;
            }
            let of = |name: &str| {
                let layer = name.split('.').nth(1).filter(|_| name.starts_with("layers."));
                let name = match layer.filter(|layer| layer.parse::<u32>().is_ok()) {
                    Some(layer) => name.replacen(layer, "0-4", 1),
                    None => name.to_owned(),
                };
                // What a layer reads has the name of what is before it.
                let find = |name: &str| one.ops.iter().position(|op| op.name == name);
                let at = find(&name).or_else(|| find("layers.0-4.input.stored")).unwrap();
                found.strategies[at].placements.clone()
            };
            let placements: Vec<_> = all.ops.iter().map(|op| of(&op.name)).collect();
            let whole = stated(&all, &mesh, &prices, &placements).unwrap();
            near(whole.seconds, found.seconds);
            near(one_s.seconds, replayed(&all, &whole, &ALONE).seconds);
        }
    }
}
