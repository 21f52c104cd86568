//! Equal layers of a graph that was read op by op, whose ops have their strategies in common.
//!
//! Layers are the modules of a list: paths that differ in their number. Two are equal where their ops are, in their
//! order: the same rules and prices, of tensors of the same form, which the same ops of the layer produce.

use std::collections::BTreeMap;

use super::graph::{Graph, Op};

/// An operand's producer: the number of an op within the layer and of its output; none where it is of another layer.
type From = Option<(usize, usize)>;

/// By op the same op of the first equal layer; empty where no layer has an equal.
#[must_use]
pub(super) fn tied(graph: &Graph) -> Vec<usize> {
    let mut layers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (number, op) in graph.ops.iter().enumerate() {
        if is_numbered(&op.layer) {
            layers.entry(&op.layer).or_default().push(number);
        }
    }
    let mut of: Vec<From> = vec![None; graph.tensors.len()];
    for ops in layers.values() {
        for (at, number) in ops.iter().enumerate() {
            let outputs = graph.ops[*number].outputs.iter().enumerate();
            outputs.for_each(|(output, tensor)| of[*tensor] = Some((at, output)));
        }
    }
    let mut producer = vec![""; graph.tensors.len()];
    for op in &graph.ops {
        op.outputs.iter().for_each(|tensor| producer[*tensor] = &op.layer);
    }
    let from = |op: &Op| -> Vec<From> {
        op.inputs.iter().map(|at| of[*at].filter(|_| producer[*at] == op.layer)).collect()
    };
    let form = |tensor: &usize| {
        let of = &graph.tensors[*tensor];
        (&of.dims, of.element_bytes)
    };
    let is_same = |one: &Op, other: &Op| {
        let is_priced = one.work == other.work && one.flops == other.flops;
        let are_rules = one.rules == other.rules && one.by_axis == other.by_axis;
        let forms = |op: &Op| op.inputs.iter().chain(&op.outputs).map(form).collect::<Vec<_>>();
        is_priced && are_rules && forms(one) == forms(other) && from(one) == from(other)
    };
    let mut firsts: BTreeMap<&str, Vec<&Vec<usize>>> = BTreeMap::new();
    let mut tied: Vec<usize> = (0..graph.ops.len()).collect();
    for (name, ops) in &layers {
        let known = firsts.entry(list(name)).or_default();
        let equal = known.iter().find(|first| {
            let mut pairs = first.iter().zip(ops);
            first.len() == ops.len()
                && pairs.all(|(one, other)| is_same(&graph.ops[*one], &graph.ops[*other]))
        });
        match equal {
            Some(first) => ops.iter().zip(*first).for_each(|(op, first)| tied[*op] = *first),
            None => known.push(ops),
        }
    }
    if (0..tied.len()).all(|op| tied[op] == op) { Vec::new() } else { tied }
}

fn is_numbered(layer: &str) -> bool {
    let number = layer.rsplit('.').next().unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// The path of the list that a layer is of.
fn list(layer: &str) -> &str {
    layer.rsplit_once('.').map_or("", |(list, _)| list)
}
