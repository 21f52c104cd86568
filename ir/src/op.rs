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
    /// `left @ right` as NumPy's `matmul` multiplies extents that broadcast: outer axes become rows
    /// where the right factor is one matrix, else independent products. `None` past 64 bits.
    #[must_use]
    pub fn of_matrices(left: &[u64], right: &[u64]) -> Option<Self> {
        let volume =
            |extents: &[u64]| extents.iter().try_fold(1u64, |n, extent| n.checked_mul(*extent));
        let (rows, k) = left.split_last().map_or((&[][..], 1), |(k, rows)| (rows, *k));
        let (outer_right, n) = match right {
            [] | [_] => (&[][..], 1),
            [outer @ .., _, n] => (outer, *n),
        };
        if outer_right.iter().all(|extent| *extent == 1) {
            return Some(Self { count: 1, m: volume(rows)?, k, n });
        }
        let (outer_left, m) = rows.split_last().map_or((&[][..], 1), |(m, outer)| (outer, *m));
        let rank = outer_left.len().max(outer_right.len());
        let at = |extents: &[u64], axis: usize| {
            (axis + extents.len()).checked_sub(rank).map_or(1, |axis| extents[axis])
        };
        let count = (0..rank).try_fold(1u64, |count, axis| {
            let (a, b) = (at(outer_left, axis), at(outer_right, axis));
            count.checked_mul(if a == 1 { b } else { a })
        })?;
        Some(Self { count, m, k, n })
    }

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
    /// Does the work of another kernel as well; the scratch of both is the caller's to tell.
    pub fn absorb(&mut self, other: &Self) {
        self.products.extend_from_slice(&other.products);
        self.bytes_read += other.bytes_read;
        self.bytes_written += other.bytes_written;
        self.dtype = self.dtype.or(other.dtype);
        self.origin = self.origin.max(other.origin);
    }

    /// The work of `count` runs one after the other; `None` past 64 bits.
    #[must_use]
    pub fn repeated(mut self, count: u64) -> Option<Self> {
        for product in &mut self.products {
            product.count = product.count.checked_mul(count)?;
            product.flops()?;
        }
        self.bytes_read = self.bytes_read.checked_mul(count)?;
        self.bytes_written = self.bytes_written.checked_mul(count)?;
        Some(self)
    }

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

/// Which of an op's tensors may be partial sums where its results are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Linear {
    /// None.
    #[default]
    No,
    /// Any one of the first `n`, while the others are whole.
    InEach(usize),
    /// All together.
    InAll,
}

/// How devices can share an op: dimensions with one letter are split together, and a result without a letter that
/// an operand has is then a partial sum.
///
/// Where a letter is summed over, the first device alone adds a bias, a mean divides by the number of all elements, and
/// rows of a table that are on other devices are zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Splits {
    /// Of each input, parameter and output, in this order, a letter for each dimension, [`Self::WHOLE`] for one that
    /// is never split. Empty where nothing is known of the op.
    pub words: Vec<String>,
    /// What partial sums it takes.
    pub linear: Linear,
}

impl Splits {
    /// The letter of dimensions that are never split.
    pub const WHOLE: char = '.';
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
    /// How devices can share it.
    pub splits: Splits,
}

impl Op {
    /// Whether all devices run it whole, for want of a rule of how they share it.
    #[must_use]
    pub fn is_replicated(&self) -> bool {
        self.splits == Splits::default() && matches!(self.work, Work::Kernel(_))
    }
}
