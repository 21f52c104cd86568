//! What is known of a tensor of a program.

use std::collections::HashMap;

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;
use ir::tensor::DType;
use ir::units::Bytes;

use super::document::{Graph, TensorMeta};
use super::layout;
use super::sizes::Sizes;

/// A tensor that a node reads or writes.
#[derive(Clone, Debug)]
pub(super) struct Value {
    /// Its tensor in the graph.
    pub(super) tensor: TensorId,
    pub(super) facts: Facts,
    /// Position of the memory that it names, and how often that was written when it was named.
    pub(super) memory: usize,
    pub(super) version: u32,
}

/// Type and form of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Facts {
    pub(super) dtype: DType,
    /// `None` = unknown.
    pub(super) shape: Option<Vec<u64>>,
    /// In elements; `None` = unknown.
    pub(super) strides: Option<Vec<u64>>,
    /// Whether an extent depends on data and is taken as the most that it can be.
    pub(super) at_most: bool,
    /// Whether its extents grow with a batch that the file holds as a number.
    pub(super) grows: bool,
}

/// Tensors by the names of a graph.
pub(super) type Values<'a> = HashMap<&'a str, Value>;

/// Another batch than that of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Growth {
    pub(super) from: u64,
    pub(super) to: u64,
}

/// How tensors of a program are sized.
pub(super) struct Measure<'a> {
    pub(super) sizes: &'a Sizes,
    /// Replaces the type of every float of 16 bits and more.
    pub(super) dtype: Option<DType>,
    pub(super) growth: Option<Growth>,
}

impl Measure<'_> {
    /// The facts of a tensor of a graph.
    ///
    /// # Errors
    /// `undefined-tensor` where the graph does not describe it, `unknown-dtype`.
    pub(super) fn facts(
        &self,
        graph: &Graph,
        name: &str,
        grows: bool,
    ) -> Result<Facts, Diagnostic> {
        let meta = graph.tensor_values.get(name).ok_or_else(|| {
            Diagnostic::input(
                "undefined-tensor",
                format!("`tensor_values` lacks the tensor `{}`", shown(name)),
            )
            .hint("export the model again: the file is not as torch.export.save writes it")
        })?;
        let dtype = dtype(meta.dtype).ok_or_else(|| {
            Diagnostic::input(
                "unknown-dtype",
                format!("tensor `{}` has the unknown element type {}", shown(name), meta.dtype),
            )
        })?;
        let dtype = self.dtype.filter(|_| dtype.is_wide_float()).unwrap_or(dtype);
        Ok(self.sized(meta, dtype, grows))
    }

    fn sized(&self, meta: &TensorMeta, dtype: DType, grows: bool) -> Facts {
        let (shape, at_most) = match self.sizes.shape(meta) {
            Some((shape, at_most)) => (Some(shape), at_most),
            None => (None, false),
        };
        let strides = self.sizes.strides(meta).filter(|strides| strides.len() == meta.sizes.len());
        let mut facts = Facts { dtype, shape, strides, at_most, grows };
        if let (true, Some(growth), Some(shape)) = (grows, self.growth, &mut facts.shape) {
            match shape.iter_mut().find(|extent| extent.is_multiple_of(growth.from)) {
                Some(extent) => *extent = (*extent / growth.from).saturating_mul(growth.to),
                None => facts.grows = false,
            }
        }
        facts
    }
}

impl Facts {
    /// Bytes in memory, where an expanded axis repeats what is there.
    ///
    /// # Errors
    /// `size-overflow`.
    pub(super) fn bytes(&self, name: &str) -> Result<Bytes, Diagnostic> {
        let Some(shape) = &self.shape else { return Ok(Bytes::ZERO) };
        let elements = layout::distinct(shape, self.strides.as_deref());
        elements.and_then(|elements| self.dtype.size_of(elements)).ok_or_else(|| {
            Diagnostic::input(
                "size-overflow",
                format!("the size of tensor `{}` is more than 64 bits hold", shown(name)),
            )
        })
    }
}

/// `ScalarType` of the schema, which is not that of c10.
fn dtype(number: i64) -> Option<DType> {
    Some(match number {
        1 => DType::U8,
        2 => DType::I8,
        3 => DType::I16,
        4 => DType::I32,
        5 => DType::I64,
        6 => DType::F16,
        7 => DType::F32,
        8 => DType::F64,
        // Two halves have the size of a single.
        9 => DType::F32,
        10 => DType::C64,
        11 => DType::C128,
        12 => DType::Bool,
        13 => DType::Bf16,
        28 => DType::U16,
        29..=33 => DType::F8,
        34 => DType::U32,
        35 => DType::U64,
        _ => return None,
    })
}

/// A name for a message.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(80).collect()
}
