//! Bytes of a device at each op.
//!
//! A device holds its parts of parameters, gradients and optimizer states, what passes store, and at each op the
//! inputs and outputs of that.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::decoder::{self, Step};
use super::graph::{Budget, Graph, Op, Strategy, Work};
use super::mesh::Mesh;
use super::training::Question;

/// What memory of a device is taken by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Memory {
    /// Bytes of a parameter at rest: gradients, master weights and optimizer states.
    pub state_bytes: f64,
    /// Bytes of a logit beside its own, where its loss is computed.
    pub logit_bytes: f64,
    /// What is taken before any tensor.
    pub resident_bytes: f64,
    /// What a device can hold.
    pub most_bytes: f64,
}

impl Question<'_> {
    /// Bytes of a device at each op that takes time.
    #[must_use]
    pub fn budgets(&self, step: &Step) -> Vec<Budget> {
        let Memory { state_bytes, logit_bytes, resident_bytes, most_bytes } = self.memory;
        let element = |tensor: usize| step.graph.tensors[tensor].element_bytes;
        let states = step.parameters.iter().map(|of| (*of, state_bytes));
        let stored = step.stored.iter().map(|of| (*of, element(*of)));
        let weights: BTreeSet<usize> = step.parameters.iter().copied().collect();
        let stores = step.graph.ops.iter().filter(|op| op.work == Work::Nothing);
        let copied: BTreeSet<usize> = stores.flat_map(|op| op.inputs.iter().copied()).collect();
        // Weights of the ends have no copy that is stored, and are there as they are at rest.
        let ends = weights.iter().filter(|tensor| !copied.contains(tensor));
        let ends: Vec<(usize, f64)> = ends.map(|tensor| (*tensor, element(*tensor))).collect();
        let always: Arc<[(usize, f64)]> = states.chain(stored).chain(ends).collect();
        let ops = step.graph.ops.iter().enumerate();
        let takes = ops.filter(|(_, op)| {
            !op.inputs.is_empty() && !matches!(op.work, Work::Nothing | Work::View)
        });
        let budget = |(number, op): (usize, &Op)| {
            let operands = op.inputs.iter().chain(&op.outputs).enumerate().map(|(at, tensor)| {
                let is_loss = op.name.starts_with(decoder::LOSS) && at == 0;
                (number, at, element(*tensor) + if is_loss { logit_bytes } else { 0.0 })
            });
            Budget {
                name: op.name.clone(),
                most_bytes: most_bytes - resident_bytes,
                tensors: Arc::clone(&always),
                operands: operands.collect(),
            }
        };
        takes.map(budget).collect()
    }

    /// Most bytes of a device, and where.
    #[must_use]
    pub fn peak(&self, step: &Step, strategies: &[Strategy]) -> (f64, String) {
        let budgets = self.budgets(step);
        let used = used(&step.graph, self.mesh, &budgets, strategies);
        let of = |(bytes, budget): (f64, Budget)| (bytes + self.memory.resident_bytes, budget.name);
        let all = used.into_iter().zip(budgets).map(of);
        all.max_by(|one, other| one.0.total_cmp(&other.0)).unwrap_or_default()
    }
}

/// Bytes that strategies take of each budget.
#[must_use]
pub fn used(graph: &Graph, mesh: &Mesh, budgets: &[Budget], strategies: &[Strategy]) -> Vec<f64> {
    let local = |tensor: usize, placement| {
        mesh.local(&graph.tensors[tensor].dims, placement).unwrap_or(f64::INFINITY)
    };
    let mut produced = vec![0.0; graph.tensors.len()];
    for (op, strategy) in graph.ops.iter().zip(strategies) {
        let placements = &strategy.placements[op.inputs.len()..];
        for (tensor, placement) in op.outputs.iter().zip(placements) {
            produced[*tensor] = f64::from(op.times) * local(*tensor, placement);
        }
    }
    // Budgets of a step share their list of tensors.
    let mut last: Option<(Arc<[(usize, f64)]>, f64)> = None;
    let mut of = |budget: &Budget| {
        let operands = budget.operands.iter().map(|(op, operand, each)| {
            let of = &graph.ops[*op];
            let tensor = of.inputs.iter().chain(&of.outputs).nth(*operand);
            tensor
                .map_or(0.0, |tensor| each * local(*tensor, &strategies[*op].placements[*operand]))
        });
        let always = match &last {
            Some((tensors, bytes)) if Arc::ptr_eq(tensors, &budget.tensors) => *bytes,
            _ => budget.tensors.iter().map(|(tensor, each)| each * produced[*tensor]).sum(),
        };
        last = Some((Arc::clone(&budget.tensors), always));
        always + operands.sum::<f64>()
    };
    budgets.iter().map(&mut of).collect()
}
