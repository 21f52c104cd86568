//! What is known of each value before anything runs: element type, shape and, where it is small
//! and constant, its content. Everything here is arithmetic on descriptions; no weight is read.

use std::sync::Arc;

use ir::diagnostic::Diagnostic;
use ir::tensor::DType;
use ir::units::Bytes;

use crate::onnx::raw::{RawTensor, RawValues};

pub(crate) mod attention;
pub(crate) mod bounds;
pub(crate) mod call;
pub(crate) mod carry;
pub(crate) mod channels;
pub(crate) mod contraction;
pub(crate) mod contributed;
pub(crate) mod control;
pub(crate) mod creation;
pub(crate) mod einsum;
pub(crate) mod elementwise;
pub(crate) mod engine;
pub(crate) mod fold;
pub(crate) mod fold_arithmetic;
pub(crate) mod indexing;
pub(crate) mod layout;
pub(crate) mod learned;
pub(crate) mod merged;
pub(crate) mod program;
pub(crate) mod quantization;
pub(crate) mod quantized;
pub(crate) mod recurrent;
pub(crate) mod reduction;
pub(crate) mod resize;
pub(crate) mod sequence;
pub(crate) mod serving;
pub(crate) mod signal;
pub(crate) mod symbol;
pub(crate) mod text;
pub(crate) mod window;

/// Constants with more elements than this are not folded, so that no file can ask for memory.
pub(crate) const FOLD_LIMIT: u64 = 4096;

/// After this many elements in all nothing more is folded.
pub(crate) const FOLD_BUDGET: u64 = 1 << 24;

/// The greatest extent: no tensor of whole bytes could hold more.
const EXTENT_LIMIT: u64 = 1 << 60;

/// The greatest rank that is accepted.
pub(crate) const RANK_LIMIT: usize = 64;

/// Position of a value in the arena that all graphs and subgraphs of a model share.
pub(crate) type ValueId = usize;

/// Where a value comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Source {
    /// Written by a node.
    #[default]
    Computed,
    /// Fed by the caller, or handed into a subgraph.
    Input,
    /// An initializer of the file.
    Initializer,
    /// The output of a `Constant` node.
    Constant,
    /// Computed here from other constants and from shapes.
    Folded,
}

/// What is known of a value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    /// Element type, `None` = unknown or not a tensor.
    pub(crate) dtype: Option<DType>,
    /// Extents, `None` = at least one of them depends on data.
    pub(crate) shape: Option<Vec<u64>>,
    /// Content, where constant and at most [`FOLD_LIMIT`] elements.
    pub(crate) value: Option<Arc<RawValues>>,
    /// Size where it is not that of the elements: a dequantised parameter is read as stored.
    pub(crate) stored: Option<Bytes>,
    /// Whether extents or content depend on data and are those of the most that the graph allows.
    pub(crate) at_most: bool,
    /// The members, for a sequence whose members are known.
    pub(crate) members: Option<Arc<[ValueId]>>,
    /// Where it comes from.
    pub(crate) source: Source,
}

impl Facts {
    /// A computed tensor.
    pub(crate) fn tensor(dtype: Option<DType>, shape: Option<Vec<u64>>) -> Self {
        Self { dtype, shape, ..Self::default() }
    }

    /// A computed tensor that is at most this large.
    pub(crate) fn at_most(dtype: Option<DType>, shape: Option<Vec<u64>>) -> Self {
        let at_most = shape.is_some();
        Self { at_most, ..Self::tensor(dtype, shape) }
    }

    /// A constant tensor of the file.
    pub(crate) fn constant(tensor: &RawTensor, source: Source) -> Self {
        let small = tensor.n_elements <= FOLD_LIMIT;
        Self {
            dtype: Some(tensor.dtype),
            shape: Some(tensor.dims.clone()),
            value: tensor.values.clone().filter(|_| small).map(Arc::new),
            source,
            ..Self::default()
        }
    }

    /// Whether it is there before the model runs.
    pub(crate) fn is_constant(&self) -> bool {
        matches!(self.source, Source::Initializer | Source::Constant | Source::Folded)
    }

    /// Whether it is a tensor of unknown size.
    pub(crate) fn lacks_size(&self) -> bool {
        (self.shape.is_none() || self.dtype.is_none()) && self.members.is_none()
    }

    /// The number of elements, where known and within 64 bits.
    pub(crate) fn elements(&self) -> Option<u64> {
        elements(self.shape.as_deref()?)
    }

    /// Size of one copy; 0 where the shape or the type is unknown.
    pub(crate) fn bytes(&self) -> Bytes {
        self.stored.or_else(|| self.dtype?.size_of(self.elements()?)).unwrap_or(Bytes::ZERO)
    }

    /// The content as integers.
    pub(crate) fn ints(&self) -> Option<&[i64]> {
        match self.value.as_deref()? {
            RawValues::Ints(ints) => Some(ints),
            RawValues::Floats(_) => None,
        }
    }

    /// An error if it has too many axes or its size does not fit 64 bits.
    pub(crate) fn check(&self, owner: &str) -> Result<(), Diagnostic> {
        let Some(shape) = &self.shape else { return Ok(()) };
        if shape.len() > RANK_LIMIT {
            return Err(Diagnostic::input(
                "rank-limit",
                format!("tensor `{owner}` has {} axes; the limit is {RANK_LIMIT}", shape.len()),
            ));
        }
        // Bits of the widest element bound every later conversion of the same shape.
        let size = elements(shape).and_then(|n| DType::C128.size_of(n));
        // The extents beside a 0 are bounded too: later arithmetic on them must not overflow.
        if size.is_none() || shape.iter().any(|extent| *extent > EXTENT_LIMIT) {
            return Err(Diagnostic::input(
                "size-overflow",
                format!("the size of tensor `{owner}` does not fit 64 bits"),
            )
            .fact("shape", shape.iter().map(u64::to_string).collect::<Vec<_>>()));
        }
        Ok(())
    }
}

/// The product of extents, or `None` past 64 bits.
pub(crate) fn elements(shape: &[u64]) -> Option<u64> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1u64, |product, extent| product.checked_mul(*extent))
}

#[cfg(test)]
mod tests {
    use super::{Facts, elements};
    use ir::tensor::DType;
    use ir::units::Bytes;

    #[test]
    fn sizes_are_checked_not_wrapped() {
        assert_eq!(elements(&[1 << 32, 1 << 32]), None);
        assert_eq!(elements(&[1 << 32, 1 << 32, 0]), Some(0));
        assert_eq!(elements(&[]), Some(1));
        let huge = Facts::tensor(Some(DType::F32), Some(vec![1 << 62]));
        assert_eq!(huge.check("t").map_err(|error| error.code), Err("size-overflow"));
        let deep = Facts::tensor(Some(DType::F32), Some(vec![1; 65]));
        assert_eq!(deep.check("t").map_err(|error| error.code), Err("rank-limit"));
    }

    #[test]
    fn a_dequantised_parameter_is_as_large_as_stored() {
        let mut facts = Facts::tensor(Some(DType::F32), Some(vec![512, 2048]));
        assert_eq!(facts.bytes(), Bytes(4 << 20));
        facts.stored = Some(Bytes(1 << 20));
        assert_eq!(facts.bytes(), Bytes(1 << 20));
    }
}
