//! Which nodes of a joint graph are forward, which make gradients of activations and which make
//! those of weights.

use std::collections::{HashMap, HashSet};

use ir::op::Phase;

use super::document::{Argument, Graph, Node, OptionalTensor, OutputSpec, Signature};

/// Names of the tensors that a node reads.
pub(super) fn reads(node: &Node) -> impl Iterator<Item = &str> {
    node.inputs.iter().flat_map(|input| tensors(&input.arg))
}

/// Names of the tensors of an argument.
pub(super) fn tensors(argument: &Argument) -> Vec<&str> {
    let optional = |tensor: &'_ OptionalTensor| match tensor {
        OptionalTensor::Tensor(_) => true,
        OptionalTensor::None(_) => false,
    };
    match argument {
        Argument::AsTensor(name) => vec![name.name.as_str()],
        Argument::AsTensors(names) => names.iter().map(|name| name.name.as_str()).collect(),
        Argument::AsNestedTensors(lists) => lists.0.iter().map(|name| name.name.as_str()).collect(),
        Argument::AsOptionalTensor(tensor) if optional(tensor) => {
            named(std::slice::from_ref(tensor))
        }
        Argument::AsOptionalTensors(tensors) => named(tensors),
        _ => Vec::new(),
    }
}

fn named(optional: &[OptionalTensor]) -> Vec<&str> {
    let names = optional.iter().filter_map(|tensor| match tensor {
        OptionalTensor::Tensor(name) => Some(name.name.as_str()),
        OptionalTensor::None(_) => None,
    });
    names.collect()
}

/// How many gradients of parameters a tensor goes into.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach<'a> {
    None,
    One(&'a str),
    Many,
}

/// The phase of each node. Without gradients among the outputs every node is forward; with them the
/// ancestors of the other outputs are, a node that goes into the gradient of one parameter alone
/// makes that, and all others make gradients of activations.
pub(super) fn phases(graph: &Graph, signature: &Signature) -> Vec<Phase> {
    let mut gradients = HashMap::new();
    let mut wanted: HashSet<&str> = HashSet::new();
    for spec in &signature.output_specs {
        match spec {
            OutputSpec::GradientToParameter(output) => {
                gradients.insert(output.arg.name.as_str(), output.parameter_name.as_str());
            }
            OutputSpec::GradientToUserInput(_) | OutputSpec::Token(_) => {}
            OutputSpec::UserOutput(output) => wanted.extend(tensors(&output.arg)),
            OutputSpec::LossOutput(output)
            | OutputSpec::BufferMutation(output)
            | OutputSpec::ParameterMutation(output)
            | OutputSpec::UserInputMutation(output) => {
                wanted.insert(output.arg.name.as_str());
            }
        }
    }
    let mut phases = vec![Phase::Forward; graph.nodes.len()];
    if gradients.is_empty() {
        return phases;
    }
    let mut reach: HashMap<&str, Reach<'_>> =
        gradients.iter().map(|(name, parameter)| (*name, Reach::One(parameter))).collect();
    for (node, phase) in graph.nodes.iter().zip(&mut phases).rev() {
        let written = || node.outputs.iter().flat_map(tensors);
        if written().any(|name| wanted.contains(name)) {
            wanted.extend(reads(node));
            continue;
        }
        let reached = written().fold(Reach::None, |all, name| {
            join(all, reach.get(name).copied().unwrap_or(Reach::None))
        });
        *phase = if matches!(reached, Reach::One(_)) {
            Phase::BackwardWeight
        } else {
            Phase::BackwardInput
        };
        for name in reads(node) {
            let all = reach.entry(name).or_insert(Reach::None);
            *all = join(*all, reached);
        }
    }
    phases
}

fn join<'a>(a: Reach<'a>, b: Reach<'a>) -> Reach<'a> {
    match (a, b) {
        (Reach::None, other) | (other, Reach::None) => other,
        (Reach::One(x), Reach::One(y)) if x == y => a,
        _ => Reach::Many,
    }
}
