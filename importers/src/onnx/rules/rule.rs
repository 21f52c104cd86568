//! A row of the table of operators, and the node that a rule is asked about.

use std::collections::HashSet;

use ir::diagnostic::Diagnostic;
use ir::op::{Kernel, Product, Work};
use ir::tensor::DType;
use ir::units::Bytes;

use crate::onnx::infer::Facts;
use crate::onnx::infer::call::Call;
use crate::onnx::infer::fold::Fold;

/// Shapes and types of the outputs.
pub(crate) type Infer = fn(&Call<'_>) -> Result<Vec<Facts>, Diagnostic>;

/// The work of a node whose facts are known.
pub(crate) type Effort = fn(&Job<'_>) -> Result<Work, Diagnostic>;

/// A row of the table.
pub(crate) struct Rule {
    /// Operators between blanks, each with its domain where that is not `ai.onnx`.
    pub(super) ops: &'static str,
    /// Shapes and types.
    pub(crate) infer: Infer,
    /// Work.
    pub(crate) work: Effort,
    /// Content of small constant results.
    pub(crate) fold: Option<Fold>,
    /// Inputs that only steer the op: no data is read from a constant one.
    pub(crate) controls: &'static [usize],
    /// Whether the first output always names the memory of the first input.
    pub(crate) is_view: bool,
}

impl Rule {
    pub(super) const fn new(ops: &'static str, infer: Infer, work: Effort) -> Self {
        Self { ops, infer, work, fold: None, controls: &[], is_view: false }
    }

    pub(super) const fn folds(self, fold: Fold) -> Self {
        Self { fold: Some(fold), ..self }
    }

    pub(super) const fn steered_by(self, controls: &'static [usize]) -> Self {
        Self { controls, ..self }
    }

    /// A row whose ops rename their first input.
    pub(super) const fn view(ops: &'static str, infer: Infer) -> Self {
        Self { is_view: true, ..Self::new(ops, infer, |_| Ok(Work::View)) }
    }
}

/// A node with the facts of its inputs and outputs.
pub(crate) struct Job<'a> {
    /// Node and inputs.
    pub(crate) call: Call<'a>,
    /// Outputs; `None` where one is left out.
    pub(crate) outputs: Vec<Option<&'a Facts>>,
    /// Inputs that only steer.
    pub(crate) controls: &'static [usize],
}

impl Job<'_> {
    /// Whether input `index` is data rather than a constant that steers.
    pub(crate) fn is_data(&self, index: usize) -> bool {
        self.call
            .input(index)
            .is_some_and(|facts| !(facts.is_constant() && self.controls.contains(&index)))
    }

    /// Bytes of input `index`, 0 if it is no data.
    pub(crate) fn input_bytes(&self, index: usize) -> Bytes {
        match self.call.input(index) {
            Some(facts) if self.is_data(index) => facts.bytes(),
            _ => Bytes::ZERO,
        }
    }

    /// Bytes of all data inputs, each once.
    pub(crate) fn read(&self) -> Bytes {
        // Facts are one per value: the same address is the same tensor.
        let mut seen = HashSet::new();
        let inputs = self.call.inputs.iter().enumerate();
        inputs
            .filter(|(_, facts)| facts.is_some_and(|facts| seen.insert(std::ptr::from_ref(facts))))
            .map(|(index, _)| self.input_bytes(index))
            .sum()
    }

    /// Bytes of all outputs.
    pub(crate) fn written(&self) -> Bytes {
        self.outputs.iter().flatten().map(|facts| facts.bytes()).sum()
    }

    /// Extents of the first output.
    pub(crate) fn output(&self) -> Option<&[u64]> {
        self.outputs.first()?.as_ref()?.shape.as_deref()
    }

    /// Work that reads all inputs and writes all outputs.
    pub(crate) fn kernel(&self) -> Kernel {
        Kernel { bytes_read: self.read(), bytes_written: self.written(), ..Kernel::default() }
    }

    /// The same with products in the type of input `factor`.
    pub(crate) fn product_kernel(&self, products: Vec<Product>, factor: usize) -> Kernel {
        let dtype = self.call.dtype(factor).filter(|_| !products.is_empty());
        Kernel { products, dtype, ..self.kernel() }
    }

    /// The product of extents.
    ///
    /// # Errors
    /// `size-overflow`.
    pub(crate) fn volume(&self, extents: &[u64]) -> Result<u64, Diagnostic> {
        crate::onnx::infer::elements(extents).ok_or_else(|| self.call.overflow())
    }
}

/// Whether a type is one that products of floats are computed in.
pub(crate) fn is_float(dtype: DType) -> bool {
    dtype.is_wide_float() || matches!(dtype, DType::F8 | DType::F4)
}
