//! ATen, PyTorch's operators: what each is called in the graph, and the work that it does.
//!
//! One table serves every reader of what PyTorch writes. Bytes are what a call touches in device
//! memory, as in the table of ONNX operators; products are two floating-point operations per
//! multiply-add, as `torch.utils.flop_counter` counts them, and causal masks halve nothing.

mod backward_rows;
mod call;
mod pointwise_rows;
mod products;
mod rows;
mod splits;

use std::collections::HashMap;
use std::sync::LazyLock;

use ir::op::{Product, Splits};

pub(crate) use call::{Call, Scalar};
pub(crate) use products::attention;

/// Products of a call; `None` where extents that they need are unknown, or leave 64 bits.
type Products = fn(&Call<'_>) -> Option<Vec<Product>>;

/// What a call does to memory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Effect {
    /// Another name for its first tensor, or for a part of it.
    View,
    /// Each result is another name for the tensor in its place.
    Views,
    /// As [`Effect::View`] where the form of its first tensor admits it, else a copy.
    ViewOrCopy,
    /// Reads every tensor and writes every result.
    Streams,
    /// Reads as much of its first tensor as it writes, and all others.
    Picks,
    /// Writes its updates over its first tensor, of which nothing else is read.
    Updates,
    /// Writes its results; of its tensors only the form counts.
    Creates,
    /// Multiplies matrices, and reads and writes as [`Effect::Streams`] does.
    Multiplies(Products),
    /// Checks something while the model runs in Python: no work.
    Nothing,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    /// Name of the operator in the graph: ONNX's, where it has one.
    pub(crate) op_type: &'static str,
    /// What it does.
    pub(crate) effect: Effect,
}

impl Rule {
    /// Whether its result is a sum over elements of its tensors.
    pub(crate) fn is_sum(&self) -> bool {
        let sums = ["Reduce", "Scatter", "GatherGrad"];
        matches!(self.effect, Effect::Multiplies(_))
            || sums.iter().any(|start| self.op_type.starts_with(start))
    }

    /// Whether all results but the first are gradients of weights.
    pub(crate) fn has_weight_gradients(&self) -> bool {
        self.op_type == "ConvGrad" || self.op_type.ends_with("NormalizationGrad")
    }
}

/// Operators between blanks, with the rule for all of them.
type Row = (&'static str, &'static str, Effect);

static TABLES: [&[Row]; 4] =
    [rows::MOVES, rows::PRODUCTS, pointwise_rows::ROWS, backward_rows::ROWS];

static INDEX: LazyLock<HashMap<&'static str, Rule>> = LazyLock::new(|| {
    let rows = TABLES.iter().copied().flatten();
    rows.flat_map(|(names, op_type, effect)| {
        names.split_whitespace().map(|name| (name, Rule { op_type, effect: *effect }))
    })
    .collect()
});

/// Namespaces whose operators are known by their names alone.
const NAMESPACES: [&str; 7] =
    ["aten", "transformers", "torchvision", "quantized_decomposed", "prims", "torchao", "mkldnn"];

/// The rule of an operator such as `aten::linear`, `aten.linear.default` or
/// `torch.ops.aten.add_.Tensor`; an operator in place, or of lists, has the rule of the one that it is named for.
pub(crate) fn find(target: &str) -> Option<Rule> {
    let name = base_name(target)?;
    // One call for a list of tensors.
    let name = name.strip_prefix("_foreach_").unwrap_or(name);
    let in_place = || name.strip_suffix('_').and_then(|name| INDEX.get(name));
    INDEX.get(name).or_else(in_place).copied()
}

/// `linear` of `torch.ops.aten.linear.default`, where the namespace is known.
fn base_name(target: &str) -> Option<&str> {
    let target = target.strip_prefix("torch.ops.").unwrap_or(target);
    let (namespace, rest) =
        target.split_once("::").or_else(|| target.split_once('.')).unwrap_or(("aten", target));
    let known = NAMESPACES.contains(&namespace);
    known.then(|| rest.split('.').next().unwrap_or(rest))
}

/// How devices can share a call of an operator, by its tensor arguments in their order and its results.
pub(crate) fn splits(target: &str, call: &Call<'_>) -> Splits {
    base_name(target).map_or_else(Splits::default, |name| splits::of(name, call))
}

/// Whether an operator is of a namespace whose operators are known by their names.
pub(crate) fn is_of_known_namespace(target: &str) -> bool {
    base_name(target).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_one_row() {
        let rows = TABLES.iter().copied().flatten();
        let mut names: Vec<&str> = rows.flat_map(|(names, ..)| names.split_whitespace()).collect();
        let n = names.len();
        names.sort_unstable();
        let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(twice.is_empty(), "{twice:?}");
        assert_eq!(n, INDEX.len());
    }

    #[test]
    fn targets_are_known_in_every_spelling() {
        for target in [
            "torch.ops.aten.linear.default",
            "aten.linear.default",
            "aten::linear",
            "torch.ops.aten.linear",
        ] {
            assert_eq!(find(target).map(|rule| rule.op_type), Some("Gemm"), "{target}");
        }
        assert_eq!(find("torch.ops.aten.relu_.default").map(|rule| rule.op_type), Some("Relu"));
        assert_eq!(find("aten::__and__").map(|rule| rule.op_type), Some("And"));
        assert!(find("torch.ops.mine.linear.default").is_none());
        assert!(find("torch.ops.aten.no_such_operator.default").is_none());
    }
}
