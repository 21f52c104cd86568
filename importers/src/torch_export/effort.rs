//! The work of a node.

use std::collections::{HashMap, HashSet};

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;
use ir::op::{Kernel, Linear, Origin, Splits, Work};
use ir::tensor::{DType, Role, Tensor};
use ir::units::Bytes;

use super::build::Builder;
use super::document::{Argument, Node, Symbolic};
use super::layout;
use super::values::{Facts, Value, shown};
use crate::aten::{self, Call, Effect, Scalar};

impl Builder<'_> {
    /// Op type and work of a node.
    pub(super) fn work(
        &mut self,
        node: &Node,
        rule: Option<aten::Rule>,
        operands: &[(&str, Value)],
        outputs: &[Value],
    ) -> Result<(String, Work), Diagnostic> {
        let Some(rule) = rule else {
            let target = node.target.strip_prefix("torch.ops.").unwrap_or(&node.target);
            let name = target.replacen('.', "::", 1);
            self.notes.unknown.insert(shown(&name));
            let kernel = Kernel { origin: Origin::Guessed, ..self.streams(operands, outputs) };
            return Ok((name, Work::Kernel(kernel)));
        };
        let op_type = self.op_type(rule, node);
        if is_view(rule, node, operands, outputs) {
            return Ok((op_type, Work::View));
        }
        let whole = self.streams(operands, outputs);
        let bytes = |value: &Value| value.facts.bytes("").unwrap_or(Bytes::ZERO);
        let others: Bytes = distinct(operands, 1).map(bytes).sum();
        let mut kernel = match rule.effect {
            Effect::Picks => Kernel { bytes_read: whole.bytes_written + others, ..whole },
            Effect::Updates => {
                let updates = distinct(operands, 1).map(bytes).max().unwrap_or(Bytes::ZERO);
                Kernel { bytes_read: others, bytes_written: updates, ..whole }
            }
            // It fills what is there with the other tensor.
            Effect::Streams if node.target.contains(".copy_.") => {
                Kernel { bytes_read: others, ..whole }
            }
            Effect::Creates => Kernel { bytes_read: Bytes::ZERO, ..whole },
            Effect::Multiplies(products) => {
                let found = products(&call(node, operands, outputs));
                let found = found.filter(|products| products.iter().all(|p| p.flops().is_some()));
                let origin = if found.is_some() { Origin::Rule } else { Origin::Guessed };
                let products = found.unwrap_or_default();
                let dtype = product_dtype(operands, outputs).filter(|_| !products.is_empty());
                Kernel { products, dtype, origin, ..whole }
            }
            _ => whole,
        };
        let values = || operands.iter().map(|(_, value)| value).chain(outputs);
        for (is_so, origin) in [
            (values().any(|value| value.facts.shape.is_none()), Origin::Guessed),
            (values().any(|value| value.facts.at_most), Origin::Bounded),
            (values().any(|value| value.facts.grows), Origin::Scaled),
        ] {
            kernel.origin = kernel.origin.max(if is_so { origin } else { Origin::Rule });
        }
        Ok((op_type, Work::Kernel(kernel)))
    }

    fn op_type(&self, rule: aten::Rule, node: &Node) -> String {
        let is_causal = || {
            let flag = node.inputs.iter().find(|input| input.name == "is_causal");
            matches!(flag.map(|input| &input.arg), Some(Argument::AsBool(true)))
        };
        if rule.op_type == "Dropout" && !self.drops {
            return "Identity".to_owned();
        }
        match rule.op_type.strip_prefix("ScaledDotProduct") {
            Some(rest) if is_causal() => format!("Causal{rest}"),
            _ => rule.op_type.to_owned(),
        }
    }

    /// Reads every tensor and writes every result.
    pub(super) fn streams(&self, operands: &[(&str, Value)], outputs: &[Value]) -> Kernel {
        let bytes = |value: &Value| value.facts.bytes("").unwrap_or(Bytes::ZERO);
        Kernel {
            bytes_read: distinct(operands, 0).map(bytes).sum(),
            bytes_written: outputs.iter().map(bytes).sum(),
            ..Kernel::default()
        }
    }

    /// A number in the place of a factor, as a constant without axes.
    pub(super) fn scalar<'n>(
        &mut self,
        node: &'n Node,
        op_type: &str,
        operands: &[(&str, Value)],
    ) -> Option<(&'n str, Value)> {
        let ([(_, value)], "Mul" | "Div") = (operands, op_type) else { return None };
        let number = node.inputs.iter().find(|input| is_number(&input.arg))?;
        let facts = Facts {
            shape: Some(Vec::new()),
            strides: None,
            grows: false,
            at_most: false,
            ..value.facts.clone()
        };
        let tensor = TensorId::new(self.graph.tensors.len());
        let name = self.fresh(&format!("{}.{}", node.name.as_deref().unwrap_or("_"), number.name));
        self.graph.tensors.push(Tensor {
            name,
            dtype: facts.dtype,
            shape: Vec::new(),
            // It is part of the call, not of memory.
            bytes: Bytes::ZERO,
            state_bytes: Bytes::ZERO,
            role: Role::Parameter,
            trainable: false,
        });
        Some((number.name.as_str(), self.value(tensor, facts)))
    }
}

fn is_number(arg: &Argument) -> bool {
    matches!(arg, Argument::AsInt(_) | Argument::AsFloat(_) | Argument::AsSymInt(_))
}

/// The chance of a dropout.
pub(super) fn chance(node: &Node) -> Option<f64> {
    let rule = aten::find(&node.target).filter(|rule| rule.op_type == "Dropout");
    let chance = node.inputs.iter().find(|input| input.name == "p").filter(|_| rule.is_some());
    match &chance?.arg {
        Argument::AsFloat(chance) => chance.0,
        _ => None,
    }
}

/// Operands from some place on, each tensor once.
fn distinct<'v>(
    operands: &'v [(&str, Value)],
    skip: usize,
) -> impl Iterator<Item = &'v Value> + use<'v> {
    let mut seen = HashSet::new();
    let rest = operands.iter().map(|(_, value)| value).skip(skip);
    rest.filter(move |value| seen.insert(value.tensor))
}

fn call<'v>(node: &'v Node, operands: &'v [(&str, Value)], outputs: &'v [Value]) -> Call<'v> {
    let scalars = node.inputs.iter().filter_map(|input| {
        let scalar = match &input.arg {
            Argument::AsInt(number) | Argument::AsSymInt(Symbolic::Value(number)) => {
                Scalar::Int(*number)
            }
            Argument::AsBool(flag) => Scalar::Int((*flag).into()),
            Argument::AsInts(numbers) => Scalar::Ints(numbers.clone()),
            Argument::AsSymInts(numbers) => Scalar::Ints(known(numbers)?),
            Argument::AsBools(flags) => Scalar::Bools(flags.clone()),
            Argument::AsString(text) => Scalar::Text(text),
            _ => return None,
        };
        Some((input.name.as_str(), scalar))
    });
    Call {
        tensors: operands
            .iter()
            .map(|(name, value)| (*name, value.facts.shape.as_deref()))
            .collect(),
        scalars: scalars.collect(),
        outputs: outputs.iter().map(|value| value.facts.shape.as_deref()).collect(),
    }
}

/// Numbers, none of which is computed.
fn known(numbers: &[Symbolic]) -> Option<Vec<i64>> {
    let known = |number: &Symbolic| match number {
        Symbolic::Value(number) => Some(*number),
        Symbolic::Name(_) => None,
    };
    numbers.iter().map(known).collect()
}

/// How devices can share a node, by what its op reads and writes, each once.
pub(super) fn splits(
    node: &Node,
    (operands, outputs): (&[(&str, Value)], &[Value]),
    named: &[TensorId],
) -> Splits {
    let mut found = aten::splits(&node.target, &call(node, operands, outputs));
    // A number in the place of a factor is no sum of parts.
    let is_stated = |(name, _): &(&str, Value)| {
        let input = node.inputs.iter().find(|input| input.name == *name);
        input.is_some_and(|input| is_number(&input.arg))
    };
    if operands.iter().any(is_stated) && found.linear != Linear::No {
        found.linear = Linear::InEach(1);
    }
    let mut tensors = operands.iter().map(|(_, value)| value).chain(outputs);
    let mut words: HashMap<TensorId, &String> = HashMap::new();
    for (value, word) in tensors.by_ref().zip(&found.words) {
        // A tensor that is read twice, split in two ways.
        if words.insert(value.tensor, word).is_some_and(|other| other != word) {
            return Splits::default();
        }
    }
    let word = |tensor: &TensorId| words.get(tensor).map(|word| (*word).clone());
    let all: Option<Vec<String>> = named.iter().map(word).collect();
    all.map_or_else(Splits::default, |words| Splits { words, linear: found.linear })
}

/// Whether a node only renames its first tensor.
fn is_view(rule: aten::Rule, node: &Node, operands: &[(&str, Value)], outputs: &[Value]) -> bool {
    let (Some((_, from)), Some(to)) = (operands.first(), outputs.first()) else { return false };
    match rule.effect {
        Effect::View | Effect::Views => true,
        Effect::ViewOrCopy => match rule.op_type {
            "Dropout" => !call(node, operands, outputs).flag("train"),
            "Cast" => {
                from.facts.dtype == to.facts.dtype
                    && !node.target.contains("_to_copy")
                    && !call(node, operands, outputs).flag("copy")
                    && keeps_layout(from, to)
            }
            "Reshape" => match (&from.facts, &to.facts.shape) {
                (facts, Some(to)) => match (&facts.shape, &facts.strides) {
                    (Some(shape), Some(strides)) => layout::is_viewable(shape, strides, to),
                    _ => true,
                },
                _ => true,
            },
            _ => keeps_layout(from, to),
        },
        _ => false,
    }
}

/// Whether a result of the same shape lies in memory as what it is made from, where both are known.
fn keeps_layout(from: &Value, to: &Value) -> bool {
    match (&from.facts.shape, &from.facts.strides, &to.facts.strides) {
        (Some(shape), Some(strides), Some(other)) => {
            strides == other
                || (layout::is_contiguous(shape, strides) && layout::is_contiguous(shape, other))
        }
        _ => true,
    }
}

/// The type of products: that of the first tensor, or of the result where autocast narrows it.
fn product_dtype(operands: &[(&str, Value)], outputs: &[Value]) -> Option<DType> {
    let from = operands.first()?.1.facts.dtype;
    let to = outputs.first()?.facts.dtype;
    let narrows = from.is_wide_float() && to.is_wide_float() && to.bits() < from.bits();
    Some(if narrows { to } else { from })
}
