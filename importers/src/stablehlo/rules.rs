//! Operations of StableHLO, CHLO and Shardy: the op type that each is taken as and how its work is
//! counted. Bytes are what an op touches, each operand once.

/// How the work of an operation is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Element by element; operands that are broadcast are read as they were before.
    Pointwise,
    /// Reads its operands and writes its results; scalar constants steer it.
    Streams,
    /// Reads what it writes, and its other operands.
    Picks,
    /// Writes its results.
    Creates,
    /// Writes its update over its first operand.
    Updates,
    /// Copies its first operand and writes its updates over the copy.
    Scatters,
    /// Another name of its operand.
    View,
    /// No op at all: results are operands.
    Same,
    /// An element type that may be the same.
    Cast,
    Transpose,
    Spread,
    Constant,
    DotGeneral,
    Convolution,
    Reduce,
    ReduceWindow,
    Call,
    CustomCall,
    While,
    Branch,
    Manual,
    /// Between devices.
    Collective,
    /// Ends a region.
    Return,
    /// Says something about the program and does nothing.
    Nothing,
}

impl Kind {
    /// Whether an operation without results may do something.
    pub(super) const fn may_be_silent(self) -> bool {
        matches!(self, Self::Call | Self::CustomCall | Self::While | Self::Branch | Self::Manual)
    }
}

use Kind::{
    Branch, Call, Cast, Collective, Constant, Convolution, Creates, CustomCall, DotGeneral, Manual,
    Nothing, Picks, Pointwise, Reduce, ReduceWindow, Return, Same, Scatters, Spread, Streams,
    Transpose, Updates, View, While,
};

/// Operations without their dialect, by op type and kind. Types are ONNX's; `-` keeps the name.
const ROWS: &[(Kind, &str, &str)] = &[
    (Pointwise, "Add", "add broadcast_add"),
    (Pointwise, "Sub", "subtract broadcast_subtract"),
    (Pointwise, "Mul", "multiply broadcast_multiply square"),
    (Pointwise, "Div", "divide broadcast_divide"),
    (Pointwise, "Max", "maximum broadcast_maximum"),
    (Pointwise, "Min", "minimum broadcast_minimum"),
    (Pointwise, "Pow", "power broadcast_power cbrt"),
    (Pointwise, "Mod", "remainder broadcast_remainder"),
    (Pointwise, "And", "and broadcast_and"),
    (Pointwise, "Or", "or broadcast_or"),
    (Pointwise, "Xor", "xor broadcast_xor"),
    (Pointwise, "Not", "not"),
    (Pointwise, "BitShift", "shift_left shift_right_logical shift_right_arithmetic"),
    (Pointwise, "Exp", "exponential exponential_minus_one"),
    (Pointwise, "Log", "log log_plus_one"),
    (Pointwise, "Sigmoid", "logistic"),
    (Pointwise, "Tanh", "tanh"),
    (Pointwise, "Sqrt", "sqrt"),
    // The inverse root is told from its result, as the reciprocal is.
    (Pointwise, "Reciprocal", "rsqrt"),
    (Pointwise, "Sin", "sine sinh"),
    (Pointwise, "Cos", "cosine cosh"),
    (Pointwise, "Tan", "tan"),
    (Pointwise, "Asin", "asin asinh"),
    (Pointwise, "Acos", "acos acosh"),
    (Pointwise, "Atan", "atan atanh atan2"),
    (Pointwise, "Erf", "erf erfc erf_inv lgamma digamma polygamma zeta bessel_i1e"),
    (Pointwise, "Neg", "negate"),
    (Pointwise, "Abs", "abs"),
    (Pointwise, "Sign", "sign"),
    (Pointwise, "Floor", "floor"),
    (Pointwise, "Ceil", "ceil"),
    (Pointwise, "Round", "round_nearest_even round_nearest_afz"),
    (Pointwise, "IsInf", "is_finite is_inf is_pos_inf is_neg_inf"),
    (Pointwise, "BitwiseNot", "popcnt count_leading_zeros"),
    (Pointwise, "Where", "select broadcast_select"),
    (Pointwise, "Clip", "clamp"),
    (Pointwise, "-", "complex broadcast_complex next_after broadcast_next_after"),
    (Pointwise, "Cast", "real imag conj reduce_precision"),
    (Pointwise, "QuantizeLinear", "uniform_quantize"),
    (Pointwise, "DequantizeLinear", "uniform_dequantize"),
    (Pointwise, "-", "map"),
    (Pointwise, "Compare", "compare broadcast_compare"),
    (Cast, "Cast", "convert"),
    (Cast, "BitCast", "bitcast_convert"),
    (View, "Reshape", "reshape dynamic_reshape"),
    (Transpose, "Transpose", "transpose"),
    (Spread, "Expand", "broadcast_in_dim broadcast dynamic_broadcast_in_dim"),
    (
        Same,
        "-",
        "optimization_barrier sharding_constraint reshard data_flow_edge propagation_barrier \
     sharding_group composite_result cross-replica-sum copy tuple get_tuple_element",
    ),
    (Constant, "Constant", "constant constant_like"),
    (Creates, "Range", "iota dynamic_iota"),
    (Creates, "RandomUniform", "rng rng_bit_generator rng_uniform rng_normal"),
    (Creates, "Constant", "partition_id replica_id create_token after_all get_dimension_size"),
    (DotGeneral, "MatMul", "dot_general dot"),
    (Convolution, "Conv", "convolution dynamic_conv"),
    (Reduce, "ReduceSum", "reduce"),
    (ReduceWindow, "MaxPool", "reduce_window"),
    (Streams, "MaxPoolGrad", "select_and_scatter"),
    (Streams, "Concat", "concatenate"),
    (Streams, "Pad", "pad dynamic_pad"),
    (Streams, "ReverseSequence", "reverse"),
    (Streams, "TopK", "sort top_k"),
    (Streams, "DFT", "fft"),
    (Streams, "BatchNormalization", "batch_norm_training batch_norm_inference batch_norm_grad"),
    (Picks, "Slice", "slice dynamic_slice real_dynamic_slice"),
    (Picks, "Gather", "gather dynamic_gather torch_index_select"),
    (Updates, "TensorScatter", "dynamic_update_slice"),
    (Scatters, "ScatterND", "scatter"),
    (Call, "-", "call named_computation composite"),
    (CustomCall, "-", "custom_call"),
    (While, "Loop", "while"),
    (Branch, "If", "case if"),
    (Manual, "-", "manual_computation"),
    (Collective, "AllReduce", "all_reduce"),
    (Collective, "AllGather", "all_gather"),
    (Collective, "ReduceScatter", "reduce_scatter"),
    (Collective, "AllToAll", "all_to_all"),
    (Collective, "CollectivePermute", "collective_permute"),
    (Collective, "CollectiveBroadcast", "collective_broadcast"),
    (Collective, "Send", "send outfeed"),
    (Collective, "Receive", "recv infeed"),
    (Return, "-", "return"),
    (Nothing, "-", "mesh trace constraint cstr_broadcastable assuming_yield print"),
];

/// The op type and kind of an operation, by its name without the dialect.
pub(super) fn find(short: &[u8]) -> Option<(Kind, &'static str)> {
    use std::collections::HashMap;
    use std::sync::LazyLock;

    static INDEX: LazyLock<HashMap<&'static [u8], (Kind, &'static str)>> = LazyLock::new(|| {
        let rows = ROWS.iter().flat_map(|(kind, op_type, names)| {
            names.split_whitespace().map(|name| (name.as_bytes(), (*kind, *op_type)))
        });
        rows.collect()
    });
    INDEX.get(short).copied()
}

/// The op type of a comparison, by its direction.
pub(super) fn comparison(direction: &[u8]) -> &'static str {
    match direction {
        b"LT" => "Less",
        b"LE" => "LessOrEqual",
        b"GT" => "Greater",
        b"GE" => "GreaterOrEqual",
        // ONNX writes inequality as the negation of equality.
        _ => "Equal",
    }
}

/// What a call of foreign code is known to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Hands its operands on.
    Same,
    /// A matrix product of its first two operands.
    Product,
    /// Attention of queries, keys and values.
    Attention,
    /// Writes what it draws.
    Draws,
    /// Has no results.
    Silent,
    /// Sorts or picks.
    Streams(&'static str),
    Unknown,
}

/// The target of a `custom_call`.
pub(super) fn target(name: &[u8]) -> Target {
    let name = String::from_utf8_lossy(name);
    let starts = |heads: &[&str]| heads.iter().any(|head| name.starts_with(head));
    if starts(&[
        "Sharding",
        "SPMDFullToShardShape",
        "SPMDShardToFullShape",
        "annotate_device_placement",
        "LayoutConstraint",
        "xla.sdy.",
        "MoveTo",
        "optimization_barrier",
        "Pin",
        "Unpin",
    ]) {
        return Target::Same;
    }
    if starts(&["__cublas$", "__onednn$matmul", "cublas", "__triton$gemm"]) {
        return Target::Product;
    }
    if starts(&["__cudnn$fmha"]) {
        return Target::Attention;
    }
    if starts(&["cu_threefry2x32", "threefry", "hip_threefry2x32", "rng"]) {
        return Target::Draws;
    }
    match name.as_ref() {
        "TopK" | "mhlo.topk" | "ApproxTopK" => Target::Streams("TopK"),
        "mhlo.erf" => Target::Streams("Erf"),
        "shape_assertion" | "xla_python_cpu_callback" => Target::Silent,
        _ => Target::Unknown,
    }
}
