//! What inference has found of the values of a graph.

use std::collections::HashMap;

use crate::onnx::build::integer::Integers;
use crate::onnx::infer::carry::Growth;
use crate::onnx::infer::engine::Inferred;
use crate::onnx::infer::{Facts, ValueId};

/// Both states of a model's values: at the file's batch and at the one asked for.
pub(crate) struct Shapes {
    /// At the batch asked for.
    pub(super) now: Inferred,
    /// The facts at the file's batch and both batches, where they differ.
    pub(super) reference: Option<(Inferred, Growth)>,
    /// Nodes that run as parts of integer kernels.
    pub(super) integers: Integers,
}

impl Shapes {
    /// The facts that the work of a node with this output is computed from.
    pub(super) fn facts(&self, is_scaled: bool) -> &[Facts] {
        match &self.reference {
            Some((reference, _)) if is_scaled => &reference.facts,
            _ => &self.now.facts,
        }
    }

    /// Whether the value is known only at the file's batch.
    pub(super) fn is_scaled(&self, id: ValueId) -> bool {
        self.now.scaled[id]
    }

    /// `amount` at the file's batch as of now, rounded up.
    pub(super) fn scale(&self, amount: u64) -> u64 {
        let Some((_, batch)) = &self.reference else { return amount };
        let scaled = u128::from(amount) * u128::from(batch.to);
        u64::try_from(scaled.div_ceil(u128::from(batch.from.max(1)))).unwrap_or(u64::MAX)
    }
}

/// Facts of the graph's inputs.
pub(super) type InputFacts = HashMap<ValueId, Facts>;
