//! Adds tensors and ops to a graph with checked sizes.

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::TensorId;
use ir::op::{Kernel, Op, Origin, Phase, Product, Work};
use ir::tensor::{DType, Role, Tensor};
use ir::units::Bytes;

/// Most operations of one pass, and most bytes of all of its tensors: no sum of a few passes leaves
/// 64 bits. The first is a forward pass of 405 billion weights over 5 million tokens.
const MOST: u64 = 1 << 62;

/// A graph while it grows.
pub(super) struct Builder {
    graph: Graph,
    dtype: DType,
    parameters: BTreeMap<String, TensorId>,
    /// Operations and bytes so far.
    flops: u64,
    bytes: u64,
}

/// An op to add.
pub(super) struct NewOp<'a> {
    /// Module that owns it; the op's name as well, unless `part` adds to it.
    pub module: &'a str,
    /// What the op does inside its module, where that has several ops.
    pub part: &'a str,
    pub op_type: &'a str,
    pub inputs: &'a [TensorId],
    pub parameters: &'a [TensorId],
    /// Extents of its output.
    pub shape: &'a [u64],
    pub products: &'a [Product],
}

impl Builder {
    /// An empty graph whose floats have one type.
    pub(super) fn new(name: &str, dtype: DType) -> Self {
        let graph = Graph { name: name.to_owned(), ..Graph::default() };
        Self { graph, dtype, parameters: BTreeMap::new(), flops: 0, bytes: 0 }
    }

    fn tensor(
        &mut self,
        name: String,
        dtype: DType,
        shape: &[u64],
        role: Role,
    ) -> Result<TensorId, Diagnostic> {
        let bytes = shape
            .iter()
            .try_fold(1u64, |n, extent| n.checked_mul(*extent))
            .and_then(|n| dtype.size_of(n))
            .ok_or_else(|| exceeded("bytes", &name))?;
        self.sized(name, (dtype, bytes), shape, role)
    }

    /// A tensor of so many bytes.
    fn sized(
        &mut self,
        name: String,
        (dtype, bytes): (DType, Bytes),
        shape: &[u64],
        role: Role,
    ) -> Result<TensorId, Diagnostic> {
        let all = self.bytes.checked_add(bytes.get()).filter(|all| *all <= MOST);
        self.bytes = all.ok_or_else(|| exceeded("bytes", &name))?;
        self.graph.tensors.push(Tensor {
            name,
            dtype,
            shape: shape.to_vec(),
            bytes,
            state_bytes: Bytes::ZERO,
            role,
            trainable: role == Role::Parameter,
        });
        Ok(TensorId::new(self.graph.tensors.len() - 1))
    }

    /// Whole numbers that the caller feeds.
    pub(super) fn input(&mut self, name: &str, shape: &[u64]) -> Result<TensorId, Diagnostic> {
        let id = self.tensor(name.to_owned(), DType::I64, shape, Role::Input)?;
        self.graph.inputs.push(id);
        Ok(id)
    }

    /// States that another model feeds.
    pub(super) fn states(&mut self, name: &str, shape: &[u64]) -> Result<TensorId, Diagnostic> {
        let id = self.tensor(name.to_owned(), self.dtype, shape, Role::Input)?;
        self.graph.inputs.push(id);
        Ok(id)
    }

    /// A parameter in fewer bits, of so many bytes with its scales.
    pub(super) fn packed(
        &mut self,
        name: &str,
        shape: &[u64],
        dtype: DType,
        bytes: u64,
    ) -> Result<TensorId, Diagnostic> {
        if let Some(id) = self.parameters.get(name) {
            return Ok(*id);
        }
        let size = (dtype, Bytes(bytes));
        let id = self.sized(name.to_owned(), size, shape, Role::Parameter)?;
        self.parameters.insert(name.to_owned(), id);
        Ok(id)
    }

    /// A parameter; asking for the same name again gives the same tensor.
    pub(super) fn parameter(&mut self, name: &str, shape: &[u64]) -> Result<TensorId, Diagnostic> {
        if let Some(id) = self.parameters.get(name) {
            return Ok(*id);
        }
        let id = self.tensor(name.to_owned(), self.dtype, shape, Role::Parameter)?;
        self.parameters.insert(name.to_owned(), id);
        Ok(id)
    }

    /// Adds an op that reads all of its inputs and parameters; returns its output.
    pub(super) fn op(&mut self, new: &NewOp<'_>) -> Result<TensorId, Diagnostic> {
        let all = new.inputs.iter().chain(new.parameters);
        let bytes_read = all.map(|t| self.graph.tensor(*t).bytes).sum();
        self.op_reading(new, bytes_read)
    }

    /// Adds an op that picks rows of its first parameter, one per element of its output's rows.
    pub(super) fn gather(&mut self, new: &NewOp<'_>) -> Result<TensorId, Diagnostic> {
        let indices = new.inputs.iter().map(|t| self.graph.tensor(*t).bytes).sum::<Bytes>();
        let output = self.op_reading(new, indices)?;
        let rows = self.graph.tensor(output).bytes;
        if let Some(Op { work: Work::Kernel(kernel), .. }) = self.graph.ops.last_mut() {
            kernel.bytes_read += rows;
        }
        Ok(output)
    }

    fn op_reading(&mut self, new: &NewOp<'_>, bytes_read: Bytes) -> Result<TensorId, Diagnostic> {
        let name = match new.part {
            "" => new.module.to_owned(),
            part => format!("{}.{part}", new.module),
        };
        for product in new.products {
            let flops = product.flops().and_then(|own| self.flops.checked_add(own.get()));
            let flops = flops.filter(|all| *all <= MOST);
            self.flops = flops.ok_or_else(|| exceeded("operations", &name))?;
        }
        let output =
            self.tensor(format!("{name}.output"), self.dtype, new.shape, Role::Activation)?;
        let kernel = Kernel {
            products: new.products.to_vec(),
            bytes_read,
            bytes_written: self.graph.tensor(output).bytes,
            temporary: Bytes::ZERO,
            dtype: (!new.products.is_empty()).then_some(self.dtype),
            origin: Origin::Rule,
        };
        let mut inputs = new.inputs.to_vec();
        inputs.dedup();
        self.graph.ops.push(Op {
            name,
            op_type: new.op_type.to_owned(),
            module: Some(new.module.to_owned()),
            phase: Phase::Forward,
            inputs,
            parameters: new.parameters.to_vec(),
            outputs: vec![output],
            work: Work::Kernel(kernel),
            group: None,
        });
        Ok(output)
    }

    /// The graph, with what comes out of it.
    pub(super) fn finish(mut self, outputs: &[TensorId]) -> Graph {
        self.graph.outputs.extend(outputs);
        self.graph
    }
}

fn exceeded(what: &str, name: &str) -> Diagnostic {
    let message = format!("the model exceeds {MOST} {what} of one pass at `{name}`");
    Diagnostic::input("size-budget", message)
        .hint("plan for fewer samples or tokens at once, or check the numbers of the config")
}
