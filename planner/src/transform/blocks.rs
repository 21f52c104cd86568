//! Blocks: all ops of one block of the model share a device.
//!
//! # Decides
//! Nothing; it adds colocation groups for the rows after it.
//!
//! # Idea
//! Executors that move modules between devices (Accelerate's device map, for one) can't split a
//! repeated block. The unit of an op is the block of its module path ([`ir::module::unit_of`]);
//! outside blocks it is the module itself if that reads weights and holds no other unit. An op
//! without a unit joins that of its first consumer, or else of its first producer, in topological
//! order. Units that read the same weight (tied embeddings) are one unit.
//!
//! # Paper
//! None; the rule is that of the executors.
//!
//! # Guarantee
//! None: the best plan may split a block.
//!
//! # Complexity
//! O((V + E) log V).
//!
//! # Limits
//! Needs module paths in the graph; without any, nothing changes.
//!
//! # Example
//! `meshwright place gpt2.onnx --cluster box.yaml --algorithm blocks,m-etf`

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cost_model::ops::problem::Problem;
use ir::diagnostic::Diagnostic;
use ir::id::{OpId, TensorId};
use ir::module::unit_of;
use ir::tensor::DType;

use super::tie::{Sets, tied};
use crate::run::algorithm::{OptionRow, Options, Row, Transform, Transformed};
use crate::run::no_plan::NoPlan;

/// Options of the row: none.
pub const OPTIONS: &[OptionRow] = &[];

struct Blocks;

/// Makes the row ready.
///
/// # Errors
/// None.
pub fn build(_options: &Options) -> Result<Row, Diagnostic> {
    Ok(Row::Transform(Box::new(Blocks)))
}

impl Transform for Blocks {
    fn apply(&self, problem: &Arc<Problem>) -> Result<Transformed, NoPlan> {
        let sets = solve(problem);
        let facts = vec![("units", sets.len().into())];
        tied(problem, sets, facts)
    }
}

/// The ops of each unit in increasing order; units are ordered by name of their first module.
#[must_use]
pub fn solve(problem: &Problem) -> Vec<Vec<OpId>> {
    let order = problem.topological_order();
    let names = unit_names(problem);
    let number: BTreeMap<&str, usize> = names.iter().copied().zip(0..).collect();
    let mut unit: Vec<Option<usize>> = vec![None; problem.n_ops()];
    for &op in &order {
        let module = problem.graph.op(op).module.as_deref();
        unit[op.index()] = module.and_then(|path| number.get(unit_of(path)).copied());
    }
    let mut position = vec![0; problem.n_ops()];
    for (at, op) in order.iter().enumerate() {
        position[op.index()] = at;
    }
    let first = |unit: &[Option<usize>], neighbours: &mut dyn Iterator<Item = OpId>| {
        let known = neighbours.filter(|op| unit[op.index()].is_some());
        known.min_by_key(|op| position[op.index()]).and_then(|op| unit[op.index()])
    };
    for &op in order.iter().rev() {
        if unit[op.index()].is_none() {
            let readers = problem.outputs(op).iter().flat_map(|t| problem.consumers(*t));
            unit[op.index()] = first(&unit, &mut readers.copied());
        }
    }
    for &op in &order {
        if unit[op.index()].is_none() {
            let mut makers = problem.inputs(op).iter().filter_map(|t| problem.producer(*t));
            unit[op.index()] = first(&unit, &mut makers);
        }
    }
    let mut joined = join_tied(problem, &unit, names.len());
    let mut sets = vec![Vec::new(); names.len()];
    for &op in &problem.actions {
        if let Some(number) = unit[op.index()] {
            sets[joined.find(number)].push(op);
        }
    }
    sets.retain(|set: &Vec<OpId>| !set.is_empty());
    sets
}

/// Names of all units: blocks, and modules outside blocks that read weights, except those that
/// hold another unit (a container whose own ops read a buffer).
fn unit_names(problem: &Problem) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for &op in &problem.actions {
        let Some(path) = problem.graph.op(op).module.as_deref() else { continue };
        let unit = unit_of(path);
        let is_block = unit.rsplit('.').next().is_some_and(is_number);
        let reads_weights = problem.parameters(op).iter().any(|t| is_weight(problem, *t));
        if is_block || (reads_weights && !unit.is_empty()) {
            names.insert(unit);
        }
    }
    let containers: BTreeSet<&str> = names
        .iter()
        .flat_map(|name| name.match_indices('.').filter_map(|(end, _)| name.get(..end)))
        .collect();
    names.retain(|name| !containers.contains(name));
    names
}

fn is_number(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit())
}

/// A parameter of floating type with more than one element: scalars and index tables are
/// constants that an executor copies freely.
fn is_weight(problem: &Problem, tensor: TensorId) -> bool {
    let tensor = problem.graph.tensor(tensor);
    let floating = tensor.dtype.is_wide_float() || matches!(tensor.dtype, DType::F8 | DType::F4);
    floating && tensor.shape.iter().any(|extent| *extent > 1)
}

/// Joins units that read the same weight.
fn join_tied(problem: &Problem, unit: &[Option<usize>], n_units: usize) -> Sets {
    let mut sets = Sets::new(n_units);
    let mut reader: BTreeMap<TensorId, usize> = BTreeMap::new();
    for &op in &problem.actions {
        let Some(number) = unit[op.index()] else { continue };
        for &tensor in problem.parameters(op).iter().filter(|t| is_weight(problem, **t)) {
            let first = *reader.entry(tensor).or_insert(number);
            sets.join(first, number);
        }
    }
    sets
}
