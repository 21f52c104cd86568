//! What an op asks of a device: which form of the cost model it takes.

use ir::op::{Kernel, Op, Product};

use crate::kernels::attention::{Call, Masking};

/// A backward pass computes the scores anew: 2.5 times the work of the forward pass instead of 2
/// (Dao, `FlashAttention-2`, 2023, section 4.1).
const SCORES_ANEW: f64 = 1.25;

/// Kernels that only move memory, by what they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Softmax over an axis.
    Softmax,
    /// Its gradient.
    SoftmaxBackward,
    /// Normalisation over an axis.
    Normalisation,
    /// Its gradient.
    NormalisationBackward,
    /// Pointwise function of one tensor.
    Activation,
    /// Its gradient.
    ActivationBackward,
    /// Pointwise function of several tensors.
    Arithmetic,
    /// Copies in another order or type.
    Copy,
    /// Rows of a table.
    Embedding,
    /// Sums, maxima, means.
    Reduction,
    /// Writes without reading.
    Creation,
    /// Anything else.
    Other,
}

impl Stream {
    /// Families of a profile that stand for it: its own, as many as the first figure says, then
    /// what comes nearest.
    #[must_use]
    pub const fn families(self) -> (usize, &'static [&'static str]) {
        match self {
            Self::Softmax => (1, &["softmax", "layer-norm", "gelu", "scale", "copy"]),
            Self::SoftmaxBackward => (1, &["softmax-backward", "softmax", "add", "scale", "copy"]),
            Self::Normalisation => (1, &["layer-norm", "softmax", "gelu", "scale", "copy"]),
            Self::NormalisationBackward => {
                (1, &["layer-norm-backward", "layer-norm", "add", "scale", "copy"])
            }
            Self::Activation => (1, &["gelu", "scale", "copy"]),
            Self::ActivationBackward => (1, &["gelu-backward", "gelu", "add", "scale", "copy"]),
            Self::Arithmetic => (2, &["add", "scale", "copy"]),
            Self::Copy => (1, &["copy", "scale"]),
            Self::Embedding => (1, &["embedding", "copy", "scale"]),
            Self::Reduction => (2, &["row-sum", "read", "scale", "copy"]),
            Self::Creation => (1, &["write", "copy", "scale"]),
            Self::Other => (0, &["copy", "scale", "add"]),
        }
    }

    /// By the type of an op without its domain.
    pub(crate) fn of(op_type: &str) -> Self {
        let (base, is_gradient) =
            op_type.strip_suffix("Grad").map_or((op_type, false), |base| (base, true));
        let or = |forward, backward| if is_gradient { backward } else { forward };
        match base {
            "Softmax" | "LogSoftmax" | "Hardmax" | "SoftmaxCrossEntropyLoss" => {
                or(Self::Softmax, Self::SoftmaxBackward)
            }
            _ if base.contains("Norm") => or(Self::Normalisation, Self::NormalisationBackward),
            "Gelu" | "FastGelu" | "BiasGelu" | "QuickGelu" | "Erf" | "Tanh" | "Sigmoid"
            | "Relu" | "LeakyRelu" | "Elu" | "Selu" | "Celu" | "HardSigmoid" | "HardSwish"
            | "Swish" | "Mish" | "Softplus" | "Softsign" | "Activation" | "Exp" | "Log" | "Sin"
            | "Cos" | "Pow" | "Sqrt" | "Rsqrt" | "Silu" | "Reciprocal" | "Clip" | "Neg" | "Abs"
            | "RotaryEmbedding" => or(Self::Activation, Self::ActivationBackward),
            "Add" | "Sub" | "Mul" | "Div" | "Sum" | "Mean" | "Min" | "Max" | "Where" | "Mod"
            | "And" | "Or" | "Xor" | "Equal" | "Less" | "LessOrEqual" | "Greater"
            | "GreaterOrEqual" | "Combine" => Self::Arithmetic,
            "Transpose" | "Concat" | "Split" | "Slice" | "Expand" | "Tile" | "Pad" | "Cast"
            | "CastLike" | "Identity" | "Dropout" | "DepthToSpace" | "SpaceToDepth" | "Trilu" => {
                Self::Copy
            }
            "Gather" | "GatherElements" | "GatherND" | "Embedding" => Self::Embedding,
            _ if base.starts_with("Reduce") || base.starts_with("Arg") => Self::Reduction,
            "Range" | "ConstantOfShape" | "Constant" | "EyeLike" => Self::Creation,
            _ => Self::Other,
        }
    }
}

/// Which form an op takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// Nothing is moved and nothing computed.
    Nothing,
    /// Matrix products; convolutions are implicit ones.
    Products,
    /// A fused attention core, and the products that project into it.
    Attention(Masking),
    /// A fused mixture-of-experts layer.
    Experts,
    /// Moves memory only.
    Stream(Stream),
}

impl Form {
    /// Its name in an explanation.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing to do",
            Self::Products => "matrix product",
            Self::Attention(_) => "fused attention",
            Self::Experts => "fused mixture of experts",
            Self::Stream(_) => "memory stream",
        }
    }

    /// The form of an op whose work is `kernel`.
    #[must_use]
    pub fn of(op: &Op, kernel: &Kernel) -> Self {
        // A search for a character is many times faster than for a text.
        let op_type = op.op_type.rsplit(':').next().unwrap_or_default();
        if kernel.products.is_empty() {
            let bytes = kernel.bytes_read + kernel.bytes_written;
            return if bytes.get() == 0 {
                Self::Nothing
            } else {
                Self::Stream(Stream::of(op_type))
            };
        }
        match op_type.strip_suffix("Grad").unwrap_or(op_type) {
            "Attention" | "MultiHeadAttention" | "ScaledDotProductAttention"
                if core(op_type, kernel).is_some() =>
            {
                Self::Attention(Masking::Full)
            }
            "GroupQueryAttention" | "CausalAttention" => match core(op_type, kernel) {
                Some(core) if core.queries == core.keys => Self::Attention(Masking::Causal),
                Some(_) => Self::Attention(Masking::Full),
                None => Self::Products,
            },
            "MoE" | "QMoE" => Self::Experts,
            _ => Self::Products,
        }
    }
}

/// Extents of the two products of an attention core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Core {
    heads: u64,
    queries: u64,
    keys: u64,
    width: u64,
    value_width: u64,
}

/// The core of a fused attention op, if its first two products are one: scores of `queries x width`
/// by `width x keys`, then `queries x keys` by `keys x value width`; in a gradient the first two
/// are the gradients of these with regard to their left factors.
fn core(op_type: &str, kernel: &Kernel) -> Option<Core> {
    let [scores, context, ..] = kernel.products.as_slice() else { return None };
    let turned = |p: &Product| Product { k: p.n, n: p.k, ..*p };
    let (scores, context) = if op_type.ends_with("Grad") {
        (turned(scores), turned(context))
    } else {
        (*scores, *context)
    };
    let core = Core {
        heads: scores.count,
        queries: scores.m,
        keys: scores.n,
        width: scores.k,
        value_width: context.n,
    };
    let is_core = context.count == core.heads
        && context.m == core.queries
        && context.k == core.keys
        && core.heads.min(core.queries).min(core.keys).min(core.width) > 0;
    is_core.then_some(core)
}

/// The call of a fused attention op, and how many of its products are the core.
pub(super) fn call(op_type: &str, kernel: &Kernel, masking: Masking) -> Option<(Call, usize)> {
    let core = core(op_type, kernel)?;
    let element = kernel.dtype.map_or(2.0, |dtype| dtype.bits() as f64 / 8.0);
    let [heads, queries, keys, width, value_width] =
        [core.heads, core.queries, core.keys, core.width, core.value_width].map(|n| n as f64);
    let all = (kernel.bytes_read + kernel.bytes_written).as_f64();
    let query_bytes = heads * (width + value_width) * element;
    let cached_bytes = (all - queries * query_bytes).max(0.0);
    // What is read beyond the queries is the cache; what is written may be a copy of it.
    let read = (kernel.bytes_read.as_f64() - queries * heads * width * element).max(0.0);
    let kv_heads = (read / (keys * (width + value_width) * element)).round().clamp(1.0, heads);
    let is_gradient = op_type.ends_with("Grad");
    let n_core = if is_gradient { 4 } else { 2 }.min(kernel.products.len());
    let flops: f64 = kernel.products.iter().take(n_core).map(flops).sum();
    let forward = 2.0 * heads * queries * keys * (width + value_width);
    let effort = if is_gradient { flops / forward * SCORES_ANEW } else { 1.0 };
    let head_dim = f64::midpoint(width, value_width);
    let call = Call {
        heads,
        kv_heads,
        queries,
        keys,
        head_dim,
        query_bytes,
        cached_bytes,
        masking,
        effort,
    };
    Some((call, n_core))
}

/// Floating-point operations of a product.
pub(crate) fn flops(product: &Product) -> f64 {
    2.0 * product.count as f64 * product.m as f64 * product.k as f64 * product.n as f64
}
