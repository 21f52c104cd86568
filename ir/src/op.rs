//! Operators and the work that they do.

use std::collections::BTreeMap;

use crate::id::{GroupId, TensorId};
use crate::tensor::DType;
use crate::units::{Bytes, Flops, Nanos};

/// Which part of a step an op belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Forward pass (all of an inference graph).
    #[default]
    Forward,
    /// Gradient with respect to activations.
    BackwardInput,
    /// Gradient with respect to weights.
    BackwardWeight,
    /// Parameter update.
    Optimizer,
}

/// Where an op's work figures come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// From a rule for this op type, with every shape known.
    #[default]
    Rule,
    /// From a rule at the greatest extents that the graph allows, for they depend on data.
    Bounded,
    /// From a rule at another batch size, scaled linearly to this one.
    Scaled,
    /// No rule, or an unknown shape: bytes of its known tensors only.
    Guessed,
}

/// Which kernel does the work of an op.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fused {
    /// One that starts with this op.
    #[default]
    Alone,
    /// One that starts with an earlier op of its chain; its bytes are what it adds to that.
    Chain,
    /// One of a whole attention core, of which this op is one of the two products.
    Attention,
    /// One product by the weights of several ops side by side.
    Beside {
        /// Columns of all of them.
        columns: u64,
        /// Whether this op is the first of them.
        is_first: bool,
    },
}

/// `count` independent products of an `m x k` by a `k x n` matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Product {
    /// Independent products of this shape (batch, heads, convolution groups, LSTM steps).
    pub count: u64,
    /// Rows of the left operand.
    pub m: u64,
    /// Contracted extent.
    pub k: u64,
    /// Columns of the right operand.
    pub n: u64,
}

impl Product {
    /// Two per multiply-add, or `None` past 64 bits.
    #[must_use]
    pub fn flops(&self) -> Option<Flops> {
        2u64.checked_mul(self.count)?
            .checked_mul(self.m)?
            .checked_mul(self.k)?
            .checked_mul(self.n)
            .map(Flops)
    }
}

/// Work from which durations are computed, per device kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kernel {
    /// Matrix products, convolutions (as implicit products), attention parts and recurrent steps.
    pub products: Vec<Product>,
    /// Bytes read from device memory.
    pub bytes_read: Bytes,
    /// Bytes written to device memory.
    pub bytes_written: Bytes,
    /// Scratch bytes held while the op runs.
    pub temporary: Bytes,
    /// Type in which products are computed (chooses the peak rate); `None` = no product.
    pub dtype: Option<DType>,
    /// Where the figures come from.
    pub origin: Origin,
    /// Whether it is launched for this op alone.
    pub fused: Fused,
    /// Duration that a trace recorded, by the name of the device kind that it ran on; on other
    /// kinds the work above counts.
    pub measured: BTreeMap<String, Nanos>,
}

impl Kernel {
    /// Floating-point operations of all products (saturating).
    #[must_use]
    pub fn flops(&self) -> Flops {
        self.products.iter().map(|p| p.flops().unwrap_or(Flops::MAX)).sum()
    }
}

/// Durations given by an instance file or a measurement instead of computed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GivenCost {
    /// Duration on each device kind, by the kind's name; a kind that is missing can't run the op.
    pub time: BTreeMap<String, Nanos>,
    /// Scratch bytes held while the op runs.
    pub temporary: Bytes,
}

/// What an op does.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// Another name for its first input: no action, no copy.
    View,
    /// Work whose duration a cost model computes.
    Kernel(Kernel),
    /// Work whose duration is given.
    Given(GivenCost),
}

/// An operator of the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Op {
    /// Unique within its graph.
    pub name: String,
    /// `MatMul`, `com.microsoft::MatMulNBits`, ...
    pub op_type: String,
    /// Dotted path of the module that owns it, such as `transformer.h.0.attn`, where known.
    pub module: Option<String>,
    /// Part of the step.
    pub phase: Phase,
    /// Activations and graph inputs that it reads, in the op's own order, each once. For a view
    /// the first one (or else the first of `parameters`) is the tensor that it renames.
    pub inputs: Vec<TensorId>,
    /// Parameters that it reads, each once.
    pub parameters: Vec<TensorId>,
    /// Tensors that it writes.
    pub outputs: Vec<TensorId>,
    /// What it does.
    pub work: Work,
    /// Ops of one group share a device.
    pub group: Option<GroupId>,
}
