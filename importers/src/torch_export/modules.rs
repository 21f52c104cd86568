//! Modules of graphs that hold none, as joint graphs do: parameters are named by the modules that
//! own them, and what lies between two modules belongs to what they share.

use std::collections::HashMap;

use ir::graph::Graph;
use ir::id::{OpId, TensorId};
use ir::op::Phase;
use ir::tensor::Role;

/// Names the modules of the forward ops, then gives each backward op that of the forward op whose
/// tensors it reads, or of what comes before it.
pub(super) fn name(graph: &mut Graph) {
    let roots = graph.roots();
    let producers = graph.producers();
    let owners: Vec<Option<String>> = graph.op_ids().map(|op| owner(graph, &roots, op)).collect();
    let before = forward(graph, &producers, &owners, false);
    let after = forward(graph, &producers, &owners, true);
    let mut modules: Vec<Option<String>> = Vec::with_capacity(owners.len());
    for (index, owner) in owners.into_iter().enumerate() {
        let op = &graph.ops[index];
        let module = if op.phase == Phase::Forward {
            owner.or_else(|| between(before[index].as_deref(), after[index].as_deref()))
        } else {
            let of_input = |tensor: &TensorId| {
                let producer = producers[roots[tensor.index()].index()]?;
                modules.get(producer.index()).cloned().flatten()
            };
            owner.or_else(|| op.inputs.iter().rev().find_map(of_input))
        };
        modules.push(module);
    }
    for (op, module) in graph.ops.iter_mut().zip(modules) {
        op.module = module;
    }
}

/// The module of the last parameter that an op reads.
fn owner(graph: &Graph, roots: &[TensorId], op: OpId) -> Option<String> {
    let node = graph.op(op);
    let read = node.inputs.iter().chain(&node.parameters);
    let weights = read.map(|tensor| graph.tensor(roots[tensor.index()]));
    let mut names = weights.filter(|tensor| tensor.role == Role::Parameter && tensor.trainable);
    let (module, _) = names.next_back()?.name.rsplit_once('.')?;
    Some(module.to_owned())
}

/// For each forward op the nearest owner among what it reads or, the other way round, among what
/// reads it.
fn forward(
    graph: &Graph,
    producers: &[Option<OpId>],
    owners: &[Option<String>],
    is_after: bool,
) -> Vec<Option<String>> {
    let mut found: Vec<Option<String>> = owners.to_vec();
    if !is_after {
        for (index, op) in graph.ops.iter().enumerate() {
            if found[index].is_none() && op.phase == Phase::Forward {
                let makers = op.inputs.iter().filter_map(|tensor| producers[tensor.index()]);
                // The latest: of a residual sum the branch, not the way around it.
                let nearest = makers.max().and_then(|maker| found[maker.index()].clone());
                found[index] = nearest;
            }
        }
        return found;
    }
    let mut next: HashMap<OpId, String> = HashMap::new();
    for (index, op) in graph.ops.iter().enumerate().rev() {
        if op.phase != Phase::Forward {
            continue;
        }
        if found[index].is_none() {
            found[index] = next.get(&OpId::new(index)).cloned();
        }
        if let Some(module) = found[index].clone() {
            for maker in op.inputs.iter().filter_map(|tensor| producers[tensor.index()]) {
                next.insert(maker, module.clone());
            }
        }
    }
    found
}

/// What two modules share, if that is a numbered block or inside one; else the first.
fn between(before: Option<&str>, after: Option<&str>) -> Option<String> {
    let (Some(before), Some(after)) = (before, after) else {
        return before.or(after).map(str::to_owned);
    };
    let same = before.split('.').zip(after.split('.')).take_while(|(a, b)| a == b);
    let shared: Vec<&str> = same.map(|(part, _)| part).collect();
    let is_number = |part: &&str| part.chars().all(|c| c.is_ascii_digit());
    if shared.iter().any(is_number) {
        return Some(shared.join("."));
    }
    let parts: Vec<&str> = before.split('.').collect();
    match parts.iter().position(is_number) {
        Some(block) => Some(parts[..=block].join(".")),
        None => Some(before.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::between;

    #[test]
    fn what_lies_between_modules() {
        let is = |a, b| between(Some(a), Some(b)).unwrap();
        assert_eq!(is("h.0.attn.c_attn", "h.0.attn.c_proj"), "h.0.attn");
        assert_eq!(is("h.0.attn.c_proj", "h.0.ln_2"), "h.0");
        assert_eq!(is("h.0.mlp.c_proj", "h.1.ln_1"), "h.0");
        assert_eq!(is("wte", "h.0.ln_1"), "wte");
    }
}
