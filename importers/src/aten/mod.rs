//! ATen, PyTorch's operators: what each is called in the graph, and the work that it does.
//!
//! One table serves every reader of what PyTorch writes. Bytes are what a call touches in device
//! memory, as in the table of ONNX operators; products are two floating-point operations per
//! multiply-add, as `torch.utils.flop_counter` counts them, and causal masks halve nothing.

mod backward_rows;
mod pointwise_rows;
mod products;
mod rows;
mod splits;

use std::collections::HashMap;
use std::sync::LazyLock;

use ir::op::Product;

pub(crate) use products::attention;
pub(crate) use splits::splits;

/// An argument that is no tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar<'a> {
    Int(i64),
    Ints(Vec<i64>),
    Bools(Vec<bool>),
    Text(&'a str),
}

/// A call of an operator: extents of tensors by the names of its schema.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call<'a> {
    /// Tensor arguments in order, members of lists one by one; `None` = unknown extents.
    pub(crate) tensors: Vec<(&'a str, Option<&'a [u64]>)>,
    /// Other arguments that the call states; schemas' defaults are left out.
    pub(crate) scalars: Vec<(&'a str, Scalar<'a>)>,
    /// Results in order.
    pub(crate) outputs: Vec<Option<&'a [u64]>>,
}

impl<'a> Call<'a> {
    /// Extents of a tensor argument.
    fn shape(&self, name: &str) -> Option<&'a [u64]> {
        self.tensors.iter().find(|(key, _)| *key == name)?.1
    }

    /// Extents of a tensor argument by one of its names, which differ between overloads.
    fn either(&self, names: &[&str]) -> Option<&'a [u64]> {
        names.iter().find_map(|name| self.shape(name))
    }

    /// A list of tensors; `None` where the extents of one are unknown.
    fn list(&self, name: &str) -> Option<Vec<&'a [u64]>> {
        self.tensors.iter().filter(|(key, _)| *key == name).map(|(_, shape)| *shape).collect()
    }

    fn scalar(&self, name: &str) -> Option<&Scalar<'a>> {
        self.scalars.iter().find(|(key, _)| *key == name).map(|(_, scalar)| scalar)
    }

    /// A whole number, or a truth value as 0 and 1.
    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        match self.scalar(name)? {
            Scalar::Int(number) => Some(*number),
            Scalar::Bools(flags) => flags.first().map(|flag| i64::from(*flag)),
            Scalar::Ints(_) | Scalar::Text(_) => None,
        }
    }

    /// Whether a flag is set; not, where it is left out.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.int(name).is_some_and(|number| number != 0)
    }
}

/// Products of a call; `None` where extents that they need are unknown, or leave 64 bits.
type Products = fn(&Call<'_>) -> Option<Vec<Product>>;

/// What a call does to memory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Effect {
    /// Another name for its first tensor, or for a part of it.
    View,
    /// The same where the form of its first tensor admits it, else a copy.
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
