//! Memory that several tensors name.
//!
//! A write through one name makes a new value of the whole memory, which the op reads and writes in
//! part, and every name taken before is a view of that value when it is read again (as in
//! functionalisation, `torch/_subclasses/functional_tensor.py`). Archives hold no schemas, so what
//! an operator writes follows from its name and those of its arguments, as in
//! `native_functions.yaml`.

use std::collections::{HashMap, HashSet};

use ir::id::TensorId;
use ir::op::{Op, Work};
use ir::tensor::{Role, Tensor};
use ir::units::Bytes;

use super::build::{Builder, module};
use super::document::{Argument, Graph, Node};
use super::phases::{reads, tensors};
use super::values::{Facts, Value, Values, shown};
use crate::aten;

/// Memory by its last value.
pub(super) struct Memory {
    tensor: TensorId,
    facts: Facts,
    version: u32,
    /// The tensor that holds it, where the last value tells only what changed and when.
    held: Option<TensorId>,
}

/// Arguments that a node writes over.
#[derive(Default)]
pub(super) struct Writes<'n> {
    arguments: Vec<&'n str>,
    /// Whether its results are these arguments.
    are_results: bool,
    /// Whether it reads nothing of them.
    are_outputs: bool,
}

/// Results of training that are written into arguments.
const RUNNING: [&str; 2] = ["running_mean", "running_var"];

/// Operators with further arguments that they write, by how their names begin.
const FURTHER: [(&str, &[&str]); 5] = [
    (
        "_fused_",
        &[
            "grads",
            "exp_avgs",
            "exp_avg_sqs",
            "max_exp_avg_sqs",
            "state_sums",
            "momentum_buffer_list",
        ],
    ),
    ("rrelu_with_noise", &["noise"]),
    ("fused_moving_avg_obs", &["running_min", "running_max", "scale", "zero_point"]),
    ("_fused_moving_avg_obs", &["running_min", "running_max", "scale", "zero_point"]),
    ("_amp_", &["found_inf", "growth_tracker"]),
];

/// Tensors that are read though they are given by keyword.
const READ_BY_KEYWORD: [&str; 5] = ["sorter", "weight", "grad_scale", "found_inf", "lr"];

/// Operators that change which memory a tensor names.
const REBINDING: [&str; 5] = ["set_", "set_data", "resize_", "resize_as_", "_resize_output_"];

/// Namespace, name and overload.
fn parts(target: &str) -> Option<(&str, &str, &str)> {
    let mut parts = target.strip_prefix("torch.ops.")?.split('.');
    Some((parts.next()?, parts.next()?, parts.next().unwrap_or("default")))
}

/// Positions of nodes of operators of one's own whose results nobody reads: exporters leave out what
/// has no effect.
pub(super) fn for_effect(graph: &Graph) -> HashSet<usize> {
    let is_own =
        |node: &Node| parts(&node.target).is_some() && !aten::is_of_known_namespace(&node.target);
    let candidates = || graph.nodes.iter().enumerate().filter(|(_, node)| is_own(node));
    if candidates().next().is_none() {
        return HashSet::new();
    }
    let returned = graph.outputs.iter().flat_map(tensors);
    let read: HashSet<&str> = graph.nodes.iter().flat_map(reads).chain(returned).collect();
    let is_unread = |node: &Node| {
        let mut results = node.outputs.iter().flat_map(tensors);
        let has_others = node.outputs.iter().any(|output| tensors(output).is_empty());
        !has_others && results.all(|name| !read.contains(name))
    };
    candidates().filter(|(_, node)| is_unread(node)).map(|(index, _)| index).collect()
}

impl<'n> Writes<'n> {
    /// `is_for_effect`: whether nobody reads a result of it.
    pub(super) fn of(node: &'n Node, is_for_effect: bool) -> Self {
        let Some((namespace, name, overload)) = parts(&node.target) else { return Self::default() };
        let with_tensors = || node.inputs.iter().filter(|input| !tensors(&input.arg).is_empty());
        let named = |names: &[&str]| {
            let inputs = with_tensors().filter(|input| names.contains(&input.name.as_str()));
            inputs.map(|input| input.name.as_str()).collect::<Vec<_>>()
        };
        let outputs = with_tensors().filter(|input| {
            let is_read = READ_BY_KEYWORD.contains(&input.name.as_str());
            input.name == "out" || (overload != "default" && input.is_keyword() && !is_read)
        });
        let outputs: Vec<&str> = outputs.map(|input| input.name.as_str()).collect();
        let dunder = name.strip_prefix("__i").is_some_and(|rest| rest.ends_with("__"));
        let is_plain = name.ends_with('_') && !name.ends_with("__");
        let is_in_place = dunder || is_plain || (namespace, name) == ("prims", "copy_to");
        if is_in_place {
            let first = node.inputs.first().filter(|input| !tensors(&input.arg).is_empty());
            let mut arguments: Vec<&str> =
                first.map(|input| input.name.as_str()).into_iter().collect();
            let further = FURTHER.iter().filter(|(start, _)| name.starts_with(start));
            further.for_each(|(_, names)| arguments.extend(named(names)));
            return Self { arguments, are_results: true, are_outputs: false };
        }
        if !outputs.is_empty() && namespace == "aten" {
            return Self { arguments: outputs, are_results: true, are_outputs: true };
        }
        let trains = node.inputs.iter().any(|input| {
            let decides = ["training", "use_input_stats"].contains(&input.name.as_str());
            decides && matches!(input.arg, Argument::AsBool(true))
        });
        let mut arguments = Vec::new();
        if trains || name == "_batch_norm_with_update" {
            arguments.extend(named(&RUNNING));
        }
        let further = FURTHER[1..].iter().filter(|(start, _)| name.starts_with(start));
        further.for_each(|(_, names)| arguments.extend(named(names)));
        // It was called for what it writes, which its schema would say.
        if is_for_effect {
            arguments.extend(with_tensors().map(|input| input.name.as_str()));
        }
        Self { arguments, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.arguments.is_empty()
    }

    /// What the work of the node depends on: not what it only writes.
    pub(super) fn read(&self, operands: &[(&'n str, Value)]) -> Vec<(&'n str, Value)> {
        let is_read = |name: &&str| !(self.are_outputs && self.arguments.contains(name));
        operands.iter().filter(|(name, _)| is_read(name)).cloned().collect()
    }
}

impl Builder<'_> {
    /// A tensor with memory of its own.
    pub(super) fn value(&mut self, tensor: TensorId, facts: Facts) -> Value {
        self.memories.push(Memory { tensor, facts: facts.clone(), version: 0, held: None });
        Value { tensor, facts, memory: self.memories.len() - 1, version: 0 }
    }

    /// Lets the results of a view name the memory of what it renames.
    pub(super) fn share(&self, node: &Node, operands: &[(&str, Value)], outputs: &mut [Value]) {
        let Some((_, of)) = operands.first() else { return };
        // Named as a view, because it costs nothing, it gives memory of its own.
        if parts(&node.target).is_some_and(|(_, name, _)| name == "lift_fresh_copy") {
            return;
        }
        for output in outputs {
            (output.memory, output.version) = (of.memory, of.version);
        }
    }

    /// What an op reads beside a tensor that tells only what changed.
    pub(super) fn beside(&self, value: &Value) -> Option<TensorId> {
        self.memories[value.memory].held
    }

    fn is_given(&self, tensor: TensorId) -> bool {
        self.graph.tensor(tensor).role != Role::Activation
    }

    /// Values of memory that the caller or the file gave and that was written over.
    pub(super) fn mutated(&self) -> Vec<TensorId> {
        let given = |memory: &&Memory| memory.held.is_some_and(|holder| self.is_given(holder));
        self.memories.iter().filter(given).map(|memory| memory.tensor).collect()
    }

    /// Lets what the model returns hold itself.
    pub(super) fn fill_outputs(&mut self) {
        let holders = self.memories.iter().filter_map(|memory| Some((memory.tensor, memory.held?)));
        let holders: HashMap<TensorId, TensorId> =
            holders.filter(|(_, holder)| !self.is_given(*holder)).collect();
        if holders.is_empty() {
            return;
        }
        let roots = self.graph.roots();
        for output in self.graph.outputs.clone() {
            let root = roots[output.index()];
            if let Some(holder) = holders.get(&root) {
                self.graph.tensors[root.index()].bytes = self.graph.tensor(*holder).bytes;
            }
        }
    }

    /// Whether the memory of a value was written over since.
    pub(super) fn is_mutated(&self, value: &Value) -> bool {
        self.memories[value.memory].version > value.version
    }

    /// Makes names that are about to be read name their memory as it was written last.
    pub(super) fn renew<'n>(
        &mut self,
        node: Option<&Node>,
        names: impl IntoIterator<Item = &'n str>,
        values: &mut Values<'_>,
    ) {
        for name in names {
            let Some(value) = values.get_mut(name).filter(|value| self.is_mutated(value)) else {
                continue;
            };
            let memory = &self.memories[value.memory];
            let (whole, version) = (memory.tensor, memory.version);
            let tensor = if value.facts == memory.facts {
                whole
            } else {
                let fresh = self.like(value.tensor, name);
                self.rename(node, whole, fresh);
                fresh
            };
            (value.tensor, value.version) = (tensor, version);
        }
    }

    /// A tensor of the form of another, for an op to write.
    fn like(&mut self, tensor: TensorId, name: &str) -> TensorId {
        let new_tensor = Tensor {
            name: self.fresh(name),
            role: Role::Activation,
            state_bytes: Bytes::ZERO,
            trainable: false,
            ..self.graph.tensor(tensor).clone()
        };
        self.graph.tensors.push(new_tensor);
        TensorId::new(self.graph.tensors.len() - 1)
    }

    fn rename(&mut self, node: Option<&Node>, from: TensorId, to: TensorId) {
        self.graph.ops.push(Op {
            name: self.graph.tensor(to).name.clone(),
            op_type: "Identity".to_owned(),
            module: node.and_then(module),
            phase: self.phase,
            inputs: vec![from],
            parameters: Vec::new(),
            outputs: vec![to],
            work: Work::View,
            group: None,
            splits: ir::op::Splits::default(),
        });
    }

    /// Adds an op that writes over memory that was there before; what its results are then.
    pub(super) fn overwrite(
        &mut self,
        node: &Node,
        (mut op_type, work): (String, Work),
        writes: &Writes<'_>,
        (operands, mut outputs): (&[(&str, Value)], Vec<Value>),
    ) -> Vec<Value> {
        if let Some((_, name, _)) = parts(&node.target).filter(|parts| REBINDING.contains(&parts.1))
        {
            self.notes.rebound.insert(format!("{name} ({})", shown(&label(node))));
        }
        let is_target = |name: &&str| writes.arguments.contains(name);
        let targets = operands.iter().filter(|(name, _)| is_target(name)).map(|(_, value)| value);
        let targets: Vec<usize> = targets.map(|value| value.memory).collect();
        let n_results = if writes.are_results { targets.len().min(outputs.len()) } else { 0 };
        let beside = outputs.split_off(n_results);
        let whole = |builder: &Self, result: &&Value, memory: usize| {
            result.facts == builder.memories[memory].facts
        };
        let mut wholes: Vec<Value> = Vec::new();
        for (at, memory) in targets.iter().enumerate() {
            if wholes.iter().any(|value| value.memory == *memory) {
                continue;
            }
            let result = outputs.get(at).filter(|result| whole(self, result, *memory));
            let tensor = match result {
                Some(result) => result.tensor,
                None => self.successor(node, *memory, outputs.get(at)),
            };
            wholes.push(self.next(*memory, tensor));
        }
        let is_part =
            wholes.first().is_none_or(|first| outputs.iter().all(|o| o.tensor != first.tensor));
        if is_part && op_type == "Identity" {
            "ScatterElements".clone_into(&mut op_type);
        }
        let written: Vec<Value> = wholes.iter().chain(&beside).cloned().collect();
        self.add(node, op_type, work, (operands, &written));
        self.settle(&wholes, &outputs);
        for (result, memory) in outputs.iter_mut().zip(targets) {
            let Memory { tensor, version, .. } = self.memories[memory];
            if tensor != result.tensor {
                self.rename(Some(node), tensor, result.tensor);
            }
            (result.memory, result.version) = (memory, version);
        }
        outputs.extend(beside);
        outputs
    }

    /// The next values of memory that the graphs of an operator write over.
    pub(super) fn successors(&mut self, node: &Node, memories: &[usize]) -> Vec<Value> {
        let mut seen = HashSet::new();
        let mut values = Vec::new();
        for memory in memories.iter().copied().filter(|memory| seen.insert(*memory)) {
            let tensor = self.successor(node, memory, None);
            values.push(self.next(memory, tensor));
        }
        values
    }

    /// A tensor for the next value of memory. It takes the name of a result that is a part of it,
    /// by which the op is then known.
    fn successor(&mut self, node: &Node, memory: usize, part: Option<&Value>) -> TensorId {
        let name = match part {
            Some(part) => self.graph.tensor(part.tensor).name.clone(),
            None => label(node),
        };
        let tensor = self.like(self.memories[memory].tensor, &name);
        if let Some(holder) = self.memories[memory].held {
            self.graph.tensors[tensor.index()].bytes = self.graph.tensor(holder).bytes;
        }
        if let Some(part) = part {
            let of_whole = std::mem::take(&mut self.graph.tensors[tensor.index()].name);
            let of_part = &mut self.graph.tensors[part.tensor.index()].name;
            let name = std::mem::replace(of_part, of_whole);
            self.graph.tensors[tensor.index()].name = name;
        }
        tensor
    }

    fn next(&self, memory: usize, tensor: TensorId) -> Value {
        let Memory { facts, version, .. } = &self.memories[memory];
        Value { tensor, facts: facts.clone(), memory, version: version + 1 }
    }

    /// Memory holds these values from now on. Given memory stays where it is: its next value holds
    /// what the op that makes it writes, and whoever reads it reads both. So does other memory of
    /// which a part was written, with a value of no bytes; in training, where gradients have the size
    /// of the value, it is a tensor of its own.
    pub(super) fn settle(&mut self, values: &[Value], results: &[Value]) {
        let work = self.graph.ops.last().map(|op| &op.work);
        let written =
            if let Some(Work::Kernel(kernel)) = work { kernel.bytes_written } else { Bytes::ZERO };
        for value in values {
            let memory = &self.memories[value.memory];
            let before = memory.held.unwrap_or(memory.tensor);
            let is_part = results.iter().all(|result| result.tensor != value.tensor);
            let mut holder = Some(before);
            if self.graph.tensors[before.index()].role != Role::Activation {
                let bytes = &mut self.graph.tensors[value.tensor.index()].bytes;
                *bytes = written.min(*bytes);
            } else if is_part && !self.trains {
                self.graph.tensors[value.tensor.index()].bytes = Bytes::ZERO;
            } else {
                holder = None;
            }
            let memory = &mut self.memories[value.memory];
            (memory.tensor, memory.version, memory.held) = (value.tensor, value.version, holder);
        }
    }
}

fn label(node: &Node) -> String {
    node.name.clone().unwrap_or_else(|| node.target.clone())
}
