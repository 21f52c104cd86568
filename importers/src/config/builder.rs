//! Adds tensors and ops to a graph with checked sizes.

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::TensorId;
use ir::op::{Kernel, Op, Origin, Phase, Product, Work};
use ir::tensor::{DType, Role, Tensor};
use ir::units::Bytes;

use super::quantization::Quantization;

/// What comes of a part of a config: mostly a tensor, or what is wrong with the config.
pub(super) type Done<T = TensorId> = Result<T, Diagnostic>;

/// Most operations of one pass, and most bytes of all of its tensors: no sum of a few passes leaves
/// 64 bits. The first is a forward pass of 405 billion weights over 5 million tokens.
const MOST: u64 = 1 << 62;

/// A graph of samples of equal length while it grows.
pub(super) struct Builder {
    graph: Graph,
    dtype: DType,
    pub batch: u64,
    /// Tokens of a sample.
    pub sequence: u64,
    parameters: BTreeMap<String, TensorId>,
    /// How often a module's op ran so far.
    runs: BTreeMap<String, u32>,
    /// Where the figures of the ops come from.
    pub origin: Origin,
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
    pub(super) fn new(name: &str, dtype: DType, (batch, sequence): (u64, u64)) -> Self {
        let graph = Graph { name: name.to_owned(), ..Graph::default() };
        Self {
            graph,
            dtype,
            batch,
            sequence,
            parameters: BTreeMap::new(),
            runs: BTreeMap::new(),
            origin: Origin::Rule,
            flops: 0,
            bytes: 0,
        }
    }

    /// `[batch, sequence, width]`.
    pub(super) fn shape(&self, width: u64) -> [u64; 3] {
        [self.batch, self.sequence, width]
    }

    /// Tokens of all samples.
    pub(super) fn tokens(&self) -> u64 {
        self.batch.saturating_mul(self.sequence)
    }

    fn tensor(&mut self, name: String, dtype: DType, shape: &[u64], role: Role) -> Done {
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
    ) -> Done {
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
    pub(super) fn input(&mut self, name: &str, shape: &[u64]) -> Done {
        let id = self.tensor(name.to_owned(), DType::I64, shape, Role::Input)?;
        self.graph.inputs.push(id);
        Ok(id)
    }

    /// States that another model feeds.
    pub(super) fn states(&mut self, name: &str, shape: &[u64]) -> Done {
        let id = self.tensor(name.to_owned(), self.dtype, shape, Role::Input)?;
        self.graph.inputs.push(id);
        Ok(id)
    }

    /// The weight of a module's product, with its scales in fewer bits where the config says so.
    pub(super) fn weight(
        &mut self,
        quantization: Option<&Quantization>,
        module: &str,
        shape: [u64; 2],
    ) -> Done {
        let name = format!("{module}.weight");
        let packed = quantization.and_then(|quantization| quantization.bytes(module, shape));
        let Some(size) = packed else { return self.parameter(&name, &shape) };
        if let Some(id) = self.parameters.get(&name) {
            return Ok(*id);
        }
        let id = self.sized(name.clone(), size, &shape, Role::Parameter)?;
        self.parameters.insert(name, id);
        Ok(id)
    }

    /// A parameter; asking for the same name again gives the same tensor.
    pub(super) fn parameter(&mut self, name: &str, shape: &[u64]) -> Done {
        if let Some(id) = self.parameters.get(name) {
            return Ok(*id);
        }
        let id = self.tensor(name.to_owned(), self.dtype, shape, Role::Parameter)?;
        self.parameters.insert(name.to_owned(), id);
        Ok(id)
    }

    /// Adds an op that reads all of its inputs and parameters; returns its output.
    pub(super) fn op(&mut self, new: &NewOp<'_>) -> Done {
        let all = new.inputs.iter().chain(new.parameters);
        let bytes_read = all.map(|t| self.graph.tensor(*t).bytes).sum();
        // An op that makes nothing reads nothing: an expert that no token goes to.
        let is_empty = new.shape.contains(&0);
        self.op_reading(new, if is_empty { Bytes::ZERO } else { bytes_read })
    }

    /// Adds an op that picks rows of its first parameter, one per element of its output's rows.
    fn gather(&mut self, new: &NewOp<'_>) -> Done {
        let indices = new.inputs.iter().map(|t| self.graph.tensor(*t).bytes).sum::<Bytes>();
        let output = self.op_reading(new, indices)?;
        let rows = self.graph.tensor(output).bytes;
        if let Some(Op { work: Work::Kernel(kernel), .. }) = self.graph.ops.last_mut() {
            kernel.bytes_read += rows;
        }
        Ok(output)
    }

    /// A product of `k` columns of so many rows of each sample with an `n` x `k` weight, the first of
    /// the parameters.
    pub(super) fn linear(
        &mut self,
        (module, input): (&str, TensorId),
        parameters: &[TensorId],
        (rows, k, n): (u64, u64, u64),
    ) -> Done {
        self.op(&NewOp {
            module,
            part: "",
            op_type: "Linear",
            inputs: &[input],
            parameters,
            shape: &[self.batch, rows, n],
            products: &[Product { count: 1, m: self.batch.saturating_mul(rows), k, n }],
        })
    }

    /// An op without products over `[batch, sequence, width]`.
    pub(super) fn norm(
        &mut self,
        (module, op_type): (&str, &str),
        input: TensorId,
        parameters: &[TensorId],
        width: u64,
    ) -> Done {
        let (part, inputs, products) = ("", &[input], &[]);
        let shape = &self.shape(width);
        self.op(&NewOp { module, part, op_type, inputs, parameters, shape, products })
    }

    /// An op of a module without parameters or products.
    pub(super) fn plain(
        &mut self,
        (module, part): (&str, &str),
        op_type: &str,
        inputs: &[TensorId],
        shape: &[u64],
    ) -> Done {
        let (parameters, products) = (&[], &[]);
        self.op(&NewOp { module, part, op_type, inputs, parameters, shape, products })
    }

    /// Rows of a table that `inputs` pick.
    pub(super) fn embedding(
        &mut self,
        module: &str,
        inputs: &[TensorId],
        table: TensorId,
        shape: &[u64],
    ) -> Done {
        let (part, op_type, parameters, products) = ("", "Embedding", &[table], &[]);
        self.gather(&NewOp { module, part, op_type, inputs, parameters, shape, products })
    }

    /// Scores, their biases and softmax, and the weighted values, of so many heads of so many
    /// columns; each token attends to `span` others.
    pub(super) fn attention(
        &mut self,
        module: &str,
        both: (&[TensorId], TensorId),
        bias: Option<TensorId>,
        [heads, columns, span]: [u64; 3],
    ) -> Done {
        self.attention_of(module, both, (bias, None), [heads, columns, columns, span])
    }

    /// The same with a parameter that the softmax reads, and values of other extents than keys.
    pub(super) fn attention_of(
        &mut self,
        module: &str,
        (queries, values): (&[TensorId], TensorId),
        (bias, sinks): (Option<TensorId>, Option<TensorId>),
        [heads, columns, value_columns, span]: [u64; 4],
    ) -> Done {
        let (op_type, parameters) = ("MatMul", &[][..]);
        let (count, m) = (self.batch.saturating_mul(heads), self.sequence);
        let square = [self.batch, heads, m, span];
        let products = &[Product { count, m, k: columns, n: span }];
        let (part, inputs, shape) = ("scores", queries, &square[..]);
        let new = NewOp { module, part, op_type, inputs, parameters, shape, products };
        let mut scores = self.op(&new)?;
        if let Some(bias) = bias {
            scores = self.plain((module, "bias"), "Add", &[scores, bias], &square)?;
        }
        let (sinks, inputs) = (sinks.as_slice(), &[scores]);
        let softmax = NewOp { part: "softmax", op_type: "Softmax", inputs, products: &[], ..new };
        let weights = self.op(&NewOp { parameters: sinks, ..softmax })?;
        let products = &[Product { count, m, k: span, n: value_columns }];
        let shape = &self.shape(heads.saturating_mul(value_columns));
        self.op(&NewOp { part: "context", inputs: &[weights, values], shape, products, ..new })
    }

    /// Elements of all parameters.
    pub(super) fn n_weights(&self) -> u128 {
        let extents = |id: &TensorId| self.graph.tensor(*id).shape.iter().map(|n| u128::from(*n));
        self.parameters.values().map(|id| extents(id).product::<u128>()).sum()
    }

    fn op_reading(&mut self, new: &NewOp<'_>, bytes_read: Bytes) -> Done {
        let name = match new.part {
            "" => new.module.to_owned(),
            part => format!("{}.{part}", new.module),
        };
        let run = self.runs.entry(name.clone()).or_default();
        *run += 1;
        let name = if *run == 1 { name } else { format!("{name}/{run}") };
        for product in new.products {
            let flops = product.flops().and_then(|flops| self.flops.checked_add(flops.get()));
            let flops = flops.filter(|all| *all <= MOST);
            self.flops = flops.ok_or_else(|| exceeded("operations", &name))?;
        }
        let output =
            self.tensor(format!("{name}.output"), self.dtype, new.shape, Role::Activation)?;
        let kernel = Kernel {
            products: new.products.to_vec(),
            bytes_read,
            bytes_written: self.graph.tensor(output).bytes,
            dtype: (!new.products.is_empty()).then_some(self.dtype),
            origin: self.origin,
            ..Kernel::default()
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
            splits: ir::op::Splits::default(),
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
