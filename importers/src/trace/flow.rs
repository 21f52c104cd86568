//! From calls to the operator graph: data flows from the op that wrote memory last to those that
//! read it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use ir::graph::Graph;
use ir::id::{OpId, TensorId};
use ir::op::{Op, Phase, Work};
use ir::tensor::{Role, Tensor};
use ir::units::Bytes;

use super::calls::{Call, Operand};
use super::forest::{Forest, Unit, is_collective};
use super::storages::{Content, External, Storages, created, externals, is_floating, is_real};
use super::work;

/// A graph, and by op the unit that it was made from.
pub(super) struct Flow {
    /// The graph.
    pub(super) graph: Graph,
    /// By op, the position of its unit.
    pub(super) units: Vec<usize>,
    /// Whether the parameters are known by what the optimizer updates.
    pub(super) is_trained: bool,
    /// Messages between ranks in order, each with the name of its group.
    pub(super) collectives: Vec<(OpId, String)>,
}

/// The group of ranks that a collective names, as its record or PyTorch's default calls it.
fn group_of(forest: &Forest, inside: &[usize]) -> String {
    let records = inside.iter().map(|at| &forest.calls[*at]);
    let lists =
        records.filter(|call| &*call.name == "record_param_comms").flat_map(|call| &call.plain);
    let named = lists.filter_map(|(_, text)| serde_json::from_str::<Vec<String>>(text).ok());
    named.into_iter().find_map(|names| names.into_iter().next()).unwrap_or_default()
}

/// Makes the graph of a step.
pub(super) fn flow(forest: &Forest, units: &[Unit], name: &str) -> Flow {
    let phases = forest.phases();
    let externals = externals(forest, &phases);
    let is_trained = externals.values().any(|external| external.parameters > 0);
    let mut builder = Builder {
        forest,
        externals,
        is_trained,
        storages: Storages::default(),
        graph: Graph { name: name.to_owned(), ..Graph::default() },
        units: Vec::new(),
        collectives: Vec::new(),
        gradients: HashSet::new(),
    };
    let modules = forest.modules();
    for (position, unit) in units.iter().enumerate() {
        let (phase, module) = (phases[unit.call], modules[unit.call].clone());
        builder.unit(position, unit, phase, module);
    }
    let Builder { mut graph, units, is_trained, collectives, .. } = builder;
    split_gradients(&mut graph);
    let read: HashSet<TensorId> =
        graph.ops.iter().flat_map(|op| op.inputs.iter().copied()).collect();
    let made = graph.ops.iter().filter(|op| op.phase == Phase::Forward).flat_map(|op| &op.outputs);
    graph.outputs = made.copied().filter(|tensor| !read.contains(tensor)).collect();
    Flow { graph, units, is_trained, collectives }
}

/// Ops that gradients pass on their way to the optimizer: sums over uses, messages, copies.
const GATHERING: [&str; 8] =
    ["Add", "Mul", "Div", "Identity", "Cast", "AllReduce", "ReduceScatter", "Concat"];

/// A gradient that goes to the optimizer, and nowhere else, is one of weights.
fn split_gradients(graph: &mut Graph) {
    let mut is_of_weight = vec![true; graph.tensors.len()];
    for op in graph.ops.iter_mut().rev() {
        let is_last = op.outputs.iter().all(|tensor| is_of_weight[tensor.index()]);
        if op.phase == Phase::BackwardInput && is_last && !op.outputs.is_empty() {
            op.phase = Phase::BackwardWeight;
        }
        let passes = op.phase == Phase::BackwardWeight
            && (op.work == Work::View || GATHERING.contains(&op.op_type.as_str()));
        if op.phase != Phase::Optimizer && !passes {
            op.inputs.iter().for_each(|tensor| is_of_weight[tensor.index()] = false);
        }
    }
}

fn is_backward(phase: Phase) -> bool {
    matches!(phase, Phase::BackwardInput | Phase::BackwardWeight)
}

struct Builder<'f> {
    forest: &'f Forest,
    externals: BTreeMap<u64, External>,
    is_trained: bool,
    storages: Storages,
    graph: Graph,
    units: Vec<usize>,
    collectives: Vec<(OpId, String)>,
    /// Results of the backward pass.
    gradients: HashSet<TensorId>,
}

impl Builder<'_> {
    fn unit(&mut self, position: usize, unit: &Unit, phase: Phase, module: Option<String>) {
        let forest = self.forest;
        let call = &forest.calls[unit.call];
        if unit.is_view {
            self.view(position, unit, (phase, module));
            return;
        }
        let inside = forest.inside(unit.call);
        let made: HashSet<u64> =
            inside.iter().flat_map(|at| created(&forest.calls[*at])).map(|o| o.storage).collect();
        let (mut inputs, mut parameters) = (Vec::new(), Vec::new());
        for operand in self.reads(call, &inside, &made) {
            let Some(tensor) = self.read(&operand) else { continue };
            let list = match self.graph.tensors[tensor.index()].role {
                Role::Parameter => &mut parameters,
                Role::Activation | Role::Input => &mut inputs,
            };
            if !list.contains(&tensor) {
                list.push(tensor);
            }
        }
        let id = OpId::new(self.graph.ops.len());
        let phase = self.phase(phase, &inputs);
        if is_collective(&call.name) {
            self.collectives.push((id, group_of(forest, &inside)));
        }
        self.units.push(position);
        self.graph.ops.push(Op {
            name: format!("{}#{}", call.short_name(), call.id),
            op_type: work::op_type(call, unit),
            module,
            phase,
            inputs,
            parameters,
            outputs: Vec::new(),
            work: Work::Kernel(work::kernel(call, unit)),
            group: None,
            splits: ir::op::Splits::default(),
        });
        self.writes(id, unit, &inside, &made);
    }

    /// The phase that a call is in, or the backward pass where it works on gradients.
    fn phase(&self, phase: Phase, inputs: &[TensorId]) -> Phase {
        let is_gradient = |tensor: &TensorId| self.gradients.contains(tensor);
        if phase == Phase::Forward && inputs.iter().any(is_gradient) {
            return Phase::BackwardInput;
        }
        phase
    }

    /// What a unit reads: its arguments but those that it only writes, and what calls inside it
    /// read from elsewhere.
    fn reads(&self, call: &Call, inside: &[usize], made: &HashSet<u64>) -> Vec<Operand> {
        let fills = work::fills(call);
        let operands = call.inputs.iter().filter(|operand| {
            let is_whole = self
                .storages
                .get(operand.storage)
                .is_none_or(|storage| storage.widest.bytes() <= operand.bytes());
            !(fills && call.writes(operand.position) && is_whole)
        });
        let given = |storage| call.inputs.iter().any(|input| input.storage == storage);
        let deeper = inside.iter().flat_map(|at| &self.forest.calls[*at].inputs);
        let hidden = deeper.filter(|operand| {
            !made.contains(&operand.storage) && !given(operand.storage) && !operand.is_scalar()
        });
        operands.chain(hidden).filter(|operand| is_real(operand)).cloned().collect()
    }

    /// The tensor that an operand names now; `None` for numbers and memory that nobody wrote.
    fn read(&mut self, operand: &Operand) -> Option<TensorId> {
        if let Some(tensor) = self.storages.named(operand) {
            return Some(tensor);
        }
        match self.storages.get(operand.storage).map(|storage| storage.content) {
            Some(Content::Tensor(tensor)) => Some(tensor),
            Some(Content::Beside(op)) => {
                let widest = self.storages.get(operand.storage)?.widest.clone();
                let tensor = self.tensor(
                    &widest,
                    format!("{}:{}", self.graph.op(op).name, widest.storage),
                    Role::Activation,
                );
                self.output(op, tensor);
                self.storages.settle(operand.storage, tensor);
                Some(tensor)
            }
            None => self.external(operand),
        }
    }

    /// A tensor from outside the step.
    fn external(&mut self, operand: &Operand) -> Option<TensorId> {
        let external = self.externals.get(&operand.storage)?.clone();
        if external.widest.is_scalar() {
            return None;
        }
        let is_weight = external.is_weight && is_floating(external.widest.dtype);
        let is_guess = !self.is_trained
            && is_floating(external.widest.dtype)
            && (is_weight || !external.is_input);
        let is_parameter = external.parameters > 0 || is_weight || is_guess;
        let mut widest = external.widest;
        if external.parameters > 0 && external.parameters != widest.elements {
            widest.shape = vec![external.parameters];
            widest.elements = external.parameters;
        }
        let (name, role) = if is_parameter {
            (format!("parameter#{}", widest.storage), Role::Parameter)
        } else {
            (format!("input#{}", widest.storage), Role::Input)
        };
        let tensor = self.tensor(&widest, name, role);
        let is_trainable = external.parameters > 0 || is_guess;
        self.graph.tensors[tensor.index()].trainable = is_trainable;
        if role == Role::Input {
            self.graph.inputs.push(tensor);
        }
        self.storages.make(&widest, Content::Tensor(tensor));
        Some(tensor)
    }

    /// Adds a result to an op.
    fn output(&mut self, op: OpId, tensor: TensorId) {
        self.graph.ops[op.index()].outputs.push(tensor);
        if is_backward(self.graph.op(op).phase) {
            self.gradients.insert(tensor);
        }
    }

    fn tensor(&mut self, of: &Operand, name: String, role: Role) -> TensorId {
        let id = TensorId::new(self.graph.tensors.len());
        self.graph.tensors.push(Tensor {
            name,
            dtype: of.dtype,
            shape: of.shape.clone(),
            bytes: Bytes(of.bytes()),
            state_bytes: Bytes::ZERO,
            role,
            trainable: false,
        });
        id
    }

    /// Notes what a unit writes: its results, arguments in place, and memory made inside it.
    fn writes(&mut self, id: OpId, unit: &Unit, inside: &[usize], made: &HashSet<u64>) {
        let forest = self.forest;
        let call = &forest.calls[unit.call];
        for at in inside {
            for operand in created(&forest.calls[*at]).filter(|operand| operand.elements > 0) {
                self.storages.make(operand, Content::Beside(id));
            }
        }
        let mut done = BTreeSet::new();
        for (position, output) in created(call).filter(|output| output.elements > 0).enumerate() {
            if done.insert(output.storage) {
                let widest =
                    self.storages.get(output.storage).map(|storage| storage.widest.clone());
                let name = format!("{}:{position}", self.graph.op(id).name);
                let tensor =
                    self.tensor(&widest.unwrap_or_else(|| output.clone()), name, Role::Activation);
                self.output(id, tensor);
                self.storages.make(output, Content::Tensor(tensor));
            }
        }
        for at in inside {
            let call = &forest.calls[*at];
            let written = call.inputs.iter().filter(|operand| work::is_written(call, operand));
            for operand in written.filter(|o| is_real(o) && !made.contains(&o.storage)) {
                if done.insert(operand.storage) {
                    self.overwrite(id, operand);
                }
            }
        }
    }

    /// Notes that an op wrote memory that was there before.
    fn overwrite(&mut self, id: OpId, operand: &Operand) {
        let Some(known) = self.storages.get(operand.storage) else {
            // From outside: it matters only to those who read it later.
            if let Some(external) = self.externals.get(&operand.storage)
                && !external.widest.is_scalar()
            {
                self.storages.make(&external.widest, Content::Beside(id));
            }
            return;
        };
        let is_external = matches!(known.content, Content::Tensor(tensor)
            if self.graph.tensors[tensor.index()].role != Role::Activation);
        if is_external {
            self.storages.write(operand, Content::Beside(id));
            return;
        }
        let widest = known.widest.clone();
        let name = format!("{}:{}", self.graph.op(id).name, operand.storage);
        let tensor = self.tensor(&widest, name, Role::Activation);
        self.output(id, tensor);
        self.storages.write(operand, Content::Tensor(tensor));
    }

    /// A view: one op for each of its results that is new.
    fn view(&mut self, position: usize, unit: &Unit, (phase, module): (Phase, Option<String>)) {
        let forest = self.forest;
        let call = &forest.calls[unit.call];
        for (n, output) in call.outputs.iter().filter(|output| is_real(output)).enumerate() {
            let source = call.inputs.iter().find(|input| input.storage == output.storage);
            let Some(source) = source else { continue };
            let Some(from) = self.read(source) else { continue };
            let is_same = (source.tensor, source.offset, source.elements)
                == (output.tensor, output.offset, output.elements);
            if is_same && source.shape == output.shape {
                continue;
            }
            let suffix = if n == 0 { String::new() } else { format!(".{n}") };
            let name = format!("{}#{}{suffix}", call.short_name(), call.id);
            let tensor = self.tensor(output, format!("{name}:0"), Role::Activation);
            let phase = self.phase(phase, &[from]);
            if is_backward(phase) {
                self.gradients.insert(tensor);
            }
            let is_parameter = self.graph.tensors[from.index()].role == Role::Parameter;
            let (inputs, parameters) =
                if is_parameter { (vec![], vec![from]) } else { (vec![from], vec![]) };
            self.units.push(position);
            self.graph.ops.push(Op {
                name,
                op_type: work::op_type(call, unit),
                module: module.clone(),
                phase,
                inputs,
                parameters,
                outputs: vec![tensor],
                work: Work::View,
                group: None,
                splits: ir::op::Splits::default(),
            });
            self.storages.name(output, tensor);
        }
    }
}
