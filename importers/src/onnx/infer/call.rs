//! One node as its rules see it: attributes and what is known of its inputs.

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;

use crate::onnx::infer::Facts;
use crate::onnx::raw::{RawAttribute, RawNode, RawTensor};

/// A node with what is known of its inputs.
pub(crate) struct Call<'a> {
    /// The node.
    pub(crate) node: &'a RawNode,
    /// Its inputs in order; `None` where one is left out.
    pub(crate) inputs: Vec<Option<&'a Facts>>,
    /// Version of the operator set that the node is from.
    pub(crate) opset: i64,
}

/// Axes from an attribute or an input.
pub(crate) enum Axes {
    /// Neither is given.
    Absent,
    /// These, as written.
    Known(Vec<i64>),
    /// They depend on data.
    Dynamic,
}

impl<'a> Call<'a> {
    /// What is known of input `index`.
    pub(crate) fn input(&self, index: usize) -> Option<&'a Facts> {
        self.inputs.get(index).copied().flatten()
    }

    /// Whether input `index` is given.
    pub(crate) fn has(&self, index: usize) -> bool {
        self.input(index).is_some()
    }

    /// Extents of input `index`.
    pub(crate) fn shape(&self, index: usize) -> Option<&'a [u64]> {
        self.input(index)?.shape.as_deref()
    }

    /// Extents of input `index` if it has exactly `N` axes.
    pub(crate) fn extents<const N: usize>(&self, index: usize) -> Option<[u64; N]> {
        self.shape(index)?.try_into().ok()
    }

    /// Element type of input `index`.
    pub(crate) fn dtype(&self, index: usize) -> Option<DType> {
        self.input(index)?.dtype
    }

    /// Integer content of input `index`.
    pub(crate) fn ints_of(&self, index: usize) -> Option<&'a [i64]> {
        self.input(index)?.ints()
    }

    /// An integer attribute, or `default`.
    ///
    /// # Errors
    /// `invalid-attribute` if it is there with another kind.
    pub(crate) fn int(&self, name: &str, default: i64) -> Result<i64, Diagnostic> {
        match self.node.attributes.get(name) {
            None => Ok(default),
            Some(RawAttribute::Int(value)) => Ok(*value),
            Some(_) => Err(self.invalid(format!("attribute `{name}` is not an integer"))),
        }
    }

    /// An integer attribute that must be at least 1, or `default`.
    ///
    /// # Errors
    /// `invalid-attribute`.
    pub(crate) fn positive(&self, name: &str, default: i64) -> Result<u64, Diagnostic> {
        let value = self.int(name, default)?;
        match u64::try_from(value) {
            Ok(value) if value > 0 => Ok(value),
            _ => Err(self.invalid(format!("attribute `{name}` is {value}, below 1"))),
        }
    }

    /// A list of integers.
    ///
    /// # Errors
    /// `invalid-attribute` if it is there with another kind.
    pub(crate) fn ints(&self, name: &str) -> Result<Option<&'a [i64]>, Diagnostic> {
        match self.node.attributes.get(name) {
            None => Ok(None),
            Some(RawAttribute::Ints(values)) => Ok(Some(values)),
            Some(RawAttribute::Int(value)) => Ok(Some(std::slice::from_ref(value))),
            Some(_) => Err(self.invalid(format!("attribute `{name}` is not a list of integers"))),
        }
    }

    /// The count in the scalar input `index`; `None` where it depends on data or is left out.
    ///
    /// # Errors
    /// `invalid-attribute` below 0.
    pub(crate) fn count(&self, index: usize) -> Result<Option<u64>, Diagnostic> {
        let Some(value) = self.ints_of(index).and_then(<[i64]>::first) else { return Ok(None) };
        match u64::try_from(*value) {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(self.invalid(format!("input {index} is {value}, below 0"))),
        }
    }

    /// The extents written in input `index`; `None` where they depend on data or are left out.
    ///
    /// # Errors
    /// `invalid-attribute` below 0.
    pub(crate) fn sizes(&self, index: usize) -> Result<Option<Vec<u64>>, Diagnostic> {
        let Some(values) = self.ints_of(index) else { return Ok(None) };
        let sizes = values.iter().map(|size| {
            u64::try_from(*size).map_err(|_| self.invalid(format!("input {index}: extent {size}")))
        });
        sizes.collect::<Result<_, _>>().map(Some)
    }

    /// The node with only these inputs, in this order.
    pub(crate) fn with(&self, inputs: &[usize]) -> Self {
        let inputs = inputs.iter().map(|index| self.input(*index)).collect();
        Self { node: self.node, inputs, opset: self.opset }
    }

    /// A text attribute, or `default`.
    pub(crate) fn text(&self, name: &str, default: &'a str) -> &'a str {
        match self.node.attributes.get(name) {
            Some(RawAttribute::Text(text)) => text,
            _ => default,
        }
    }

    /// A tensor attribute.
    pub(crate) fn tensor(&self, name: &str) -> Option<&'a RawTensor> {
        match self.node.attributes.get(name) {
            Some(RawAttribute::Tensor(tensor)) => Some(tensor),
            _ => None,
        }
    }

    /// `axis` counted from the front, for a tensor with `rank` axes.
    ///
    /// # Errors
    /// `invalid-attribute` if there is no such axis.
    pub(crate) fn axis(&self, axis: i64, rank: usize) -> Result<usize, Diagnostic> {
        let signed = i64::try_from(rank).unwrap_or(i64::MAX);
        let from_front = if axis < 0 { axis.saturating_add(signed) } else { axis };
        match usize::try_from(from_front) {
            Ok(position) if position < rank => Ok(position),
            _ => Err(self.invalid(format!("axis {axis} is out of range for {rank} axes"))),
        }
    }

    /// Axes from input `index`, or else from attribute `axes`.
    ///
    /// # Errors
    /// `invalid-attribute`.
    pub(crate) fn axes(&self, index: usize) -> Result<Axes, Diagnostic> {
        if let Some(facts) = self.input(index) {
            return Ok(match facts.ints() {
                Some(axes) => Axes::Known(axes.to_vec()),
                None => Axes::Dynamic,
            });
        }
        Ok(match self.ints("axes")? {
            Some(axes) => Axes::Known(axes.to_vec()),
            None => Axes::Absent,
        })
    }

    /// The name that messages use: that of the first output.
    pub(crate) fn name(&self) -> &'a str {
        self.node.outputs.iter().find(|name| !name.is_empty()).map_or("", String::as_str)
    }

    /// An attribute (or an input that acts as one) has a value that no run could honour.
    pub(crate) fn invalid(&self, what: impl AsRef<str>) -> Diagnostic {
        self.error("invalid-attribute", what.as_ref())
    }

    /// The shapes of the inputs contradict each other.
    pub(crate) fn mismatch(&self, what: impl AsRef<str>) -> Diagnostic {
        let mut error = self.error("shape-mismatch", what.as_ref());
        for facts in self.inputs.iter().flatten() {
            let shape = facts.shape.as_deref().unwrap_or_default();
            error = error.fact("shape", shape.iter().map(u64::to_string).collect::<Vec<_>>());
        }
        error
    }

    /// A size past 64 bits.
    pub(crate) fn overflow(&self) -> Diagnostic {
        self.error("size-overflow", "a size does not fit 64 bits")
    }

    fn error(&self, code: &'static str, what: &str) -> Diagnostic {
        let node = self.name();
        Diagnostic::input(code, format!("{} node `{node}`: {what}", self.node.op_type))
            .fact("node", node)
    }
}

/// The single output of most operators.
pub(crate) fn one(dtype: Option<DType>, shape: Option<Vec<u64>>) -> Result<Vec<Facts>, Diagnostic> {
    Ok(vec![Facts::tensor(dtype, shape)])
}

/// The shape that both broadcast to, right-aligned; `None` if they contradict each other.
pub(crate) fn broadcast(left: &[u64], right: &[u64]) -> Option<Vec<u64>> {
    let rank = left.len().max(right.len());
    let at = |shape: &[u64], axis: usize| -> u64 {
        (axis + shape.len()).checked_sub(rank).and_then(|i| shape.get(i).copied()).unwrap_or(1)
    };
    (0..rank)
        .map(|axis| match (at(left, axis), at(right, axis)) {
            (a, b) if a == b => Some(a),
            (1, b) => Some(b),
            (a, 1) => Some(a),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::broadcast;

    #[test]
    fn broadcasting_aligns_right_and_stretches_ones() {
        assert_eq!(broadcast(&[2, 1, 4], &[3, 1]), Some(vec![2, 3, 4]));
        assert_eq!(broadcast(&[], &[5]), Some(vec![5]));
        assert_eq!(broadcast(&[0], &[1]), Some(vec![0]));
        assert_eq!(broadcast(&[2], &[3]), None);
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Nodes and facts for the tests of rules.
    use std::sync::Arc;

    use ir::tensor::DType;

    use super::Call;
    use crate::onnx::infer::{Facts, Source};
    use crate::onnx::raw::{RawAttribute, RawNode, RawValues};

    /// A node with integer attributes; one of a single element is a plain integer.
    pub(crate) fn node(op_type: &str, attributes: &[(&str, &[i64])]) -> RawNode {
        RawNode {
            op_type: op_type.to_owned(),
            outputs: vec!["y".to_owned()],
            attributes: attributes
                .iter()
                .map(|(name, values)| {
                    let value = match values {
                        [one] => RawAttribute::Int(*one),
                        many => RawAttribute::Ints(many.to_vec()),
                    };
                    ((*name).to_owned(), value)
                })
                .collect(),
            ..RawNode::default()
        }
    }

    /// A float activation.
    pub(crate) fn tensor(shape: &[u64]) -> Facts {
        Facts::tensor(Some(DType::F32), Some(shape.to_vec()))
    }

    /// A constant vector of integers.
    pub(crate) fn vector(values: &[i64]) -> Facts {
        Facts {
            value: Some(Arc::new(RawValues::Ints(values.to_vec()))),
            source: Source::Initializer,
            ..Facts::tensor(Some(DType::I64), Some(vec![values.len() as u64]))
        }
    }

    /// The call of a node.
    pub(crate) fn call<'a>(node: &'a RawNode, inputs: &[&'a Facts]) -> Call<'a> {
        Call { node, inputs: inputs.iter().map(|facts| Some(*facts)).collect(), opset: 20 }
    }
}
