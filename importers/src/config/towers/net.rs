//! Layers of any shape: sequences of a number of their own, grids of pixels or of samples of sound.

use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::TensorId;
use ir::op::Product;
use ir::tensor::DType;

use crate::config::builder::{Builder, NewOp};
use crate::config::quantization::Quantization;

/// What comes out of a part of a model.
pub(super) type Done<T = Flow> = Result<T, Diagnostic>;

/// The module of an op, what it does in there, and its type.
pub(super) type At<'a> = (&'a str, &'a str, &'a str);

/// Most ops of a model: 50 in each of as many layers as there may be.
const MAX_OPS: u64 = 100_000;

/// So many sequences of `rows` tokens of `width` columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    pub id: TensorId,
    pub count: u64,
    pub rows: u64,
    pub width: u64,
}

impl Flow {
    /// The same elements seen as other sequences.
    pub(super) fn seen(self, count: u64, rows: u64) -> Self {
        Self { count, rows, ..self }
    }
}

/// So many images of `channels` over one or two axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub id: TensorId,
    pub count: u64,
    pub channels: u64,
    pub space: Vec<u64>,
}

impl Grid {
    /// Its positions as tokens.
    pub(super) fn flow(&self) -> Flow {
        let rows = self.space.iter().fold(1u64, |n, extent| n.saturating_mul(*extent));
        Flow { id: self.id, count: self.count, rows, width: self.channels }
    }

    /// The same extents of another tensor.
    pub(super) fn of(&self, id: TensorId) -> Self {
        Self { id, ..self.clone() }
    }
}

/// A convolution; strides and padding are those of every axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conv<'a> {
    pub out: u64,
    pub kernel: &'a [u64],
    pub stride: &'a [u64],
    /// On both sides together.
    pub padding: u64,
    pub groups: u64,
    pub has_bias: bool,
}

impl<'a> Conv<'a> {
    /// Patches that don't overlap.
    pub(super) fn patches(out: u64, kernel: &'a [u64]) -> Self {
        Self { out, kernel, stride: kernel, padding: 0, groups: 1, has_bias: true }
    }

    /// Of a padding that keeps the extents at a stride of 1.
    pub(super) fn same(out: u64, kernel: &'a [u64], stride: &'a [u64]) -> Self {
        Self { stride, padding: kernel[0] / 2 * 2, ..Self::patches(out, kernel) }
    }
}

/// Kinds of norms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Norm {
    /// With a weight and a bias.
    Layer,
    /// With a weight alone.
    Unbiased,
    /// Root mean square, with a weight.
    Rms,
    /// Of a batch, with a weight and a bias that are trained.
    Batch,
    /// Of a batch, without any that are trained.
    Frozen,
    /// Of groups of channels.
    Group,
}

/// The two products of attention.
#[derive(Clone, Copy, Debug)]
pub(super) struct Core<'a> {
    pub heads: u64,
    pub dim: u64,
    /// Tokens that a token is multiplied with for its scores, and for what it reads.
    pub spans: [u64; 2],
    /// Added to the scores.
    pub biases: &'a [TensorId],
}

/// A model while it grows.
pub(super) struct Net {
    builder: Builder,
    quantization: Option<Quantization>,
    n_ops: u64,
}

impl Net {
    pub(super) fn new(name: &str, dtype: DType, quantization: Option<Quantization>) -> Self {
        Self { builder: Builder::new(name, dtype, (1, 1)), quantization, n_ops: 0 }
    }

    pub(super) fn finish(self, outputs: &[TensorId]) -> Graph {
        self.builder.finish(outputs)
    }

    pub(super) fn builder(&mut self) -> &mut Builder {
        &mut self.builder
    }

    /// Whole numbers that the caller feeds, such as tokens.
    pub(super) fn ids(&mut self, name: &str, shape: &[u64]) -> Done<TensorId> {
        self.builder.input(name, shape)
    }

    /// Floats that the caller feeds: images, sound, states of another model.
    pub(super) fn fed(&mut self, name: &str, shape: &[u64]) -> Done<TensorId> {
        self.builder.states(name, shape)
    }

    /// A parameter by its full name; one of the same name is the same.
    pub(super) fn parameter(&mut self, name: &str, shape: &[u64]) -> Done<TensorId> {
        self.builder.parameter(name, shape)
    }

    /// Adds an op.
    pub(super) fn op(&mut self, new: &NewOp<'_>) -> Done<TensorId> {
        self.n_ops += 1;
        if self.n_ops > MAX_OPS {
            let message = format!("the config makes more than {MAX_OPS} operators");
            return Err(
                Diagnostic::input("layer-budget", message).hint("check its numbers of layers")
            );
        }
        self.builder.op(new)
    }

    /// An op that makes sequences of such extents.
    pub(super) fn made(
        &mut self,
        (module, part, op_type): At<'_>,
        (inputs, parameters): (&[Flow], &[TensorId]),
        (count, rows, width): (u64, u64, u64),
        products: &[Product],
    ) -> Done {
        let inputs = &inputs.iter().map(|flow| flow.id).collect::<Vec<_>>()[..];
        let shape = &[count, rows, width];
        let id = self.op(&NewOp { module, part, op_type, inputs, parameters, shape, products })?;
        Ok(Flow { id, count, rows, width })
    }

    /// An op that makes tokens of so many columns of `inputs`, which have as many rows.
    pub(super) fn apply(
        &mut self,
        at: At<'_>,
        inputs: &[Flow],
        parameters: &[TensorId],
        width: u64,
    ) -> Done {
        let (count, rows) = inputs.first().map_or((1, 1), |first| (first.count, first.rows));
        self.made(at, (inputs, parameters), (count, rows, width), &[])
    }

    /// An op without parameters that keeps the shape of its first input.
    pub(super) fn plain(&mut self, module: &str, at: (&str, &str), inputs: &[Flow]) -> Done {
        let width = inputs.first().map_or(1, |flow| flow.width);
        self.apply((module, at.0, at.1), inputs, &[], width)
    }

    /// A pointwise function behind the op of a module.
    pub(super) fn act(&mut self, module: &str, op_type: &str, x: Flow) -> Done {
        self.plain(module, ("activation", op_type), &[x])
    }

    /// A copy with other extents: cuts, windows, padding.
    pub(super) fn moved(&mut self, at: At<'_>, inputs: &[Flow], size: (u64, u64, u64)) -> Done {
        self.made(at, (inputs, &[]), size, &[])
    }

    pub(super) fn add(&mut self, module: &str, part: &str, both: [Flow; 2]) -> Done {
        self.plain(module, (part, "Add"), &both)
    }

    /// `x W (+ b)` over the last axis.
    pub(super) fn linear(&mut self, module: &str, x: Flow, n: u64, bias: bool) -> Done {
        let shape = [n, x.width];
        let mut all = vec![self.builder.weight(self.quantization.as_ref(), module, shape)?];
        if bias {
            all.push(self.parameter(&format!("{module}.bias"), &[n])?);
        }
        self.product(module, x, n, &all)
    }

    /// A product with biases and a pointwise function behind it.
    pub(super) fn dense(&mut self, module: &str, op_type: &str, x: Flow, n: u64) -> Done {
        let made = self.linear(module, x, n, true)?;
        self.act(module, op_type, made)
    }

    /// A product with a weight in the type of the model, such as a head; biases are the others.
    pub(super) fn product(&mut self, module: &str, x: Flow, n: u64, all: &[TensorId]) -> Done {
        let op_type = if all.len() > 1 { "Gemm" } else { "MatMul" };
        let products = &[Product { count: 1, m: x.count.saturating_mul(x.rows), k: x.width, n }];
        self.made((module, "", op_type), (&[x], all), (x.count, x.rows, n), products)
    }

    /// A norm of `weight` columns at a time.
    pub(super) fn norm_of(&mut self, module: &str, kind: Norm, x: Flow, weight: u64) -> Done {
        let (op_type, parts): (_, &[&str]) = match kind {
            Norm::Layer => ("LayerNormalization", &["weight", "bias"]),
            Norm::Unbiased => ("LayerNormalization", &["weight"]),
            Norm::Rms => ("RMSNormalization", &["weight"]),
            Norm::Batch => ("BatchNormalization", &["weight", "bias"]),
            Norm::Frozen => ("BatchNormalization", &[]),
            Norm::Group => ("GroupNormalization", &["weight", "bias"]),
        };
        let mut parameters = Vec::new();
        for part in parts {
            parameters.push(self.parameter(&format!("{module}.{part}"), &[weight])?);
        }
        self.apply((module, "", op_type), &[x], &parameters, x.width)
    }

    pub(super) fn norm(&mut self, module: &str, kind: Norm, x: Flow) -> Done {
        self.norm_of(module, kind, x, x.width)
    }

    /// A norm of the channels of a grid.
    pub(super) fn norm_grid(&mut self, module: &str, kind: Norm, x: &Grid) -> Done<Grid> {
        Ok(x.of(self.norm(module, kind, x.flow())?.id))
    }

    /// A pointwise function of a grid.
    pub(super) fn act_grid(&mut self, module: &str, op_type: &str, x: &Grid) -> Done<Grid> {
        Ok(x.of(self.act(module, op_type, x.flow())?.id))
    }

    /// Rows of a table, one for each of `ids`, or all positions in order.
    pub(super) fn table(
        &mut self,
        module: &str,
        ids: &[TensorId],
        (n, width): (u64, u64),
        (count, rows): (u64, u64),
    ) -> Done {
        let table = self.parameter(&format!("{module}.weight"), &[n, width])?;
        self.rows_of(module, ids, table, (count, rows, width))
    }

    /// A state with a learnt position added to each token, of a table of so many.
    pub(super) fn placed(&mut self, module: &str, n: u64, x: Flow) -> Done {
        let positions = self.table(module, &[], (n, x.width), (1, x.rows))?;
        self.add(module, "add", [x, positions])
    }

    /// Rows of a table that is there.
    pub(super) fn rows_of(
        &mut self,
        module: &str,
        ids: &[TensorId],
        table: TensorId,
        (count, rows, width): (u64, u64, u64),
    ) -> Done {
        self.n_ops += 1;
        let id = self.builder.embedding(module, ids, table, &[count, rows, width])?;
        Ok(Flow { id, count, rows, width })
    }

    /// Biases of scores between so many tokens from the table `name` of such a shape.
    pub(super) fn relative(
        &mut self,
        (module, name): (&str, &str),
        shape: [u64; 2],
        [heads, rows]: [u64; 2],
    ) -> Done<TensorId> {
        let table = self.parameter(&join(module, name), &shape)?;
        self.n_ops += 1;
        self.builder.embedding(module, &[], table, &[1, heads, rows, rows])
    }

    /// An op that reads parameters beside a flow and keeps its shape.
    pub(super) fn with(&mut self, at: At<'_>, x: Flow, (name, shape): (&str, &[u64])) -> Done {
        let parameter = self.parameter(name, shape)?;
        self.apply(at, &[x], &[parameter], x.width)
    }

    /// Learnt tokens before those of each sequence.
    pub(super) fn prepended(&mut self, names: &[(String, u64)], x: Flow) -> Done {
        let mut parameters = Vec::new();
        let mut rows = x.rows;
        for (name, n) in names {
            parameters.push(self.parameter(name, &[1, *n, x.width])?);
            rows = rows.saturating_add(*n);
        }
        let Some((first, _)) = names.first() else { return Ok(x) };
        let at = (owner(first), "concat", "Concat");
        self.made(at, (&[x], &parameters), (x.count, rows, x.width), &[])
    }

    /// The first of the rows of each sequence, or the last.
    pub(super) fn one(&mut self, at: &str, part: &str, x: Flow) -> Done {
        self.moved((at, part, "Slice"), &[x], (x.count, 1, x.width))
    }

    /// The first token of each sequence.
    pub(super) fn first(&mut self, at: &str, x: Flow) -> Done {
        self.one(at, "first_token", x)
    }

    /// The mean of all tokens of each sequence.
    pub(super) fn mean(&mut self, at: &str, x: Flow) -> Done {
        self.moved((at, "mean", "ReduceMean"), &[x], (x.count, 1, x.width))
    }

    /// Scores, their softmax, and the weighted values.
    pub(super) fn attend(
        &mut self,
        module: &str,
        queries: Flow,
        (keys, values): (TensorId, TensorId),
        core: Core<'_>,
    ) -> Done {
        let Core { heads, dim, spans: [span, read], biases } = core;
        let Flow { count, rows, .. } = queries;
        let all = count.saturating_mul(heads);
        let square = [count, heads, rows, span];
        let mut new = NewOp {
            module,
            part: "scores",
            op_type: "MatMul",
            inputs: &[queries.id, keys],
            parameters: &[],
            shape: &square,
            products: &[Product { count: all, m: rows, k: dim, n: span }],
        };
        let mut scores = self.op(&new)?;
        for (i, bias) in biases.iter().enumerate() {
            let part = format!("bias_{i}");
            let inputs = &[scores, *bias];
            let products = &[];
            scores = self.op(&NewOp { part: &part, op_type: "Add", inputs, products, ..new })?;
        }
        let inputs = &[scores];
        let products = &[];
        let softmax = NewOp { part: "softmax", op_type: "Softmax", inputs, products, ..new };
        let shares = self.op(&softmax)?;
        let width = heads.saturating_mul(dim);
        let (inputs, shape) = ([shares, values], [count, rows, width]);
        let products = [Product { count: all, m: rows, k: read, n: dim }];
        new = NewOp { part: "context", inputs: &inputs, shape: &shape, products: &products, ..new };
        let id = self.op(&new)?;
        Ok(Flow { id, count, rows, width })
    }

    /// A convolution whose weight is `parameters`' first.
    pub(super) fn conv(&mut self, module: &str, x: &Grid, conv: Conv<'_>) -> Done<Grid> {
        let Conv { out, kernel, groups, has_bias, .. } = conv;
        let shape = [&[out, x.channels / groups.max(1)], kernel].concat();
        let mut parameters = vec![self.parameter(&format!("{module}.weight"), &shape)?];
        if has_bias {
            parameters.push(self.parameter(&format!("{module}.bias"), &[out])?);
        }
        self.conv_with(module, x, conv, &parameters)
    }

    /// A convolution by weights that are there.
    ///
    /// # Errors
    /// `invalid-field` for one larger than its image, or groups that don't divide the channels.
    pub(super) fn conv_with(
        &mut self,
        module: &str,
        x: &Grid,
        conv: Conv<'_>,
        parameters: &[TensorId],
    ) -> Done<Grid> {
        let Conv { out, kernel, stride, padding, groups, .. } = conv;
        let divides = |n: u64| groups > 0 && n.is_multiple_of(groups);
        if !divides(x.channels) || !divides(out) {
            let both = format!("{} and {out} channels", x.channels);
            let message = format!("{groups} groups of `{module}` do not divide {both}");
            return Err(Diagnostic::input("invalid-field", message));
        }
        let mut space = Vec::new();
        for ((extent, taps), step) in x.space.iter().zip(kernel).zip(stride) {
            let padded = extent.saturating_add(padding);
            let steps = padded.checked_sub(*taps).filter(|_| *step > 0).ok_or_else(|| {
                let message = format!("`{module}` has a kernel of {taps} over {padded} positions");
                Diagnostic::input("invalid-field", message).hint("give a larger input")
            })?;
            space.push(steps / step + 1);
        }
        let grid = Grid { id: x.id, count: x.count, channels: out, space };
        let m = grid.flow().rows.saturating_mul(x.count);
        let taps = kernel.iter().fold(x.channels / groups, |n, extent| n.saturating_mul(*extent));
        let products = &[Product { count: groups, m, k: taps, n: out / groups }];
        let shape = &[&[x.count, out], &grid.space[..]].concat();
        let (part, op_type, inputs) = ("", "Conv", &[x.id]);
        let id = self.op(&NewOp { module, part, op_type, inputs, parameters, shape, products })?;
        Ok(Grid { id, ..grid })
    }

    /// The largest or the mean of each window.
    pub(super) fn pool(
        &mut self,
        (module, op_type): (&str, &str),
        x: &Grid,
        [kernel, stride, padding]: [u64; 3],
    ) -> Done<Grid> {
        let reduce = |extent: &u64| {
            (extent.saturating_add(padding)).saturating_sub(kernel) / stride.max(1) + 1
        };
        let space: Vec<u64> = x.space.iter().map(reduce).collect();
        let shape = &[&[x.count, x.channels], &space[..]].concat();
        let (part, inputs, parameters, products) = ("", &[x.id], &[], &[]);
        let id = self.op(&NewOp { module, part, op_type, inputs, parameters, shape, products })?;
        Ok(Grid { id, space, ..x.clone() })
    }
}

/// The module `name` within `at`.
pub(super) fn join(at: &str, name: &str) -> String {
    match (at, name) {
        ("", name) => name.to_owned(),
        (at, "") => at.to_owned(),
        (at, name) => format!("{at}.{name}"),
    }
}

/// The module that owns a parameter or a module.
pub(super) fn owner(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(owner, _)| owner)
}
