//! Whether an operator of a trace can be what an operator of a graph does: itself, a part of it, or
//! what it is made of.

/// What operators are made of.
const ARITHMETIC: u32 = 1;
const CHOICE: u32 = 1 << 1;
const REDUCTION: u32 = 1 << 2;
const SOFTMAX: u32 = 1 << 3;
const LOGARITHM: u32 = 1 << 4;
const SIGMOID: u32 = 1 << 5;
const TANH: u32 = 1 << 6;
const GELU: u32 = 1 << 7;
const NORM: u32 = 1 << 8;
const BATCH_NORM: u32 = 1 << 9;
const INDEX: u32 = 1 << 10;
const SCAN: u32 = 1 << 11;
const POOL: u32 = 1 << 12;
const EXPONENTIAL: u32 = 1 << 13;
const WAVE: u32 = 1 << 14;
const NOISE: u32 = 1 << 15;
/// Of no other operator.
const OWN: u32 = 1 << 31;
const ANY: u32 = u32::MAX;

/// What an operator needs to have a counterpart, and what it is a counterpart to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) needs: u32,
    pub(super) offers: u32,
    /// What a neighbour may have left to it.
    pub(super) folds: u32,
}

/// Operators, what each needs, and what it offers beside that. Decompositions are those of
/// `torch._decomp` and of ONNX's functions.
const TABLE: &[(&str, u32, u32)] = &[
    // Names, copies and fills of memory; masks and noise come and go with exporters and modes.
    (
        "Reshape Unsqueeze Squeeze Transpose Slice Expand Split Identity Cast Concat Pad Tile \
         ConstantOfShape Constant Range SliceGrad ConcatGrad Trilu Shape \
         Flatten Gather",
        0,
        0,
    ),
    ("Add Sub Mul Div Neg Abs Pow Sign Sum Reciprocal AddGrad MulGrad DropoutGrad", ARITHMETIC, 0),
    // Masks of attention are made in many ways, and those of dropout are none of an inference pass.
    ("Equal Not Less LessOrEqual Greater GreaterOrEqual And Or Xor IsNaN IsInf", 0, CHOICE),
    ("Dropout", 0, NOISE | ARITHMETIC | CHOICE),
    ("RandomNormal Bernoulli", NOISE, 0),
    ("Sqrt Rsqrt", ARITHMETIC, NORM),
    ("Where Min Max Clip Relu LeakyRelu PRelu", CHOICE, 0),
    ("ReluGrad LeakyReluGrad PReluGrad ThresholdedRelu", CHOICE, ARITHMETIC),
    ("HardSwish HardSigmoid HardSwishGrad HardSigmoidGrad", CHOICE, ARITHMETIC),
    ("Elu Selu Celu EluGrad", CHOICE, EXPONENTIAL | ARITHMETIC),
    ("ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd", REDUCTION, POOL | ARITHMETIC),
    ("ReduceL2 ReduceSumSquare LpNormalization", REDUCTION, ARITHMETIC | NORM),
    ("SoftmaxGrad LogSoftmaxGrad", REDUCTION, ARITHMETIC | EXPONENTIAL),
    ("AveragePool GlobalAveragePool", POOL, REDUCTION | ARITHMETIC),
    ("AveragePoolGrad", 0, ARITHMETIC),
    ("Softmax", SOFTMAX, EXPONENTIAL | REDUCTION | ARITHMETIC | CHOICE),
    ("LogSoftmax", SOFTMAX | LOGARITHM, EXPONENTIAL | REDUCTION | ARITHMETIC),
    ("SoftmaxCrossEntropyLoss", SOFTMAX | LOGARITHM, EXPONENTIAL | REDUCTION | ARITHMETIC | INDEX),
    ("ReduceLogSumExp", REDUCTION | LOGARITHM, EXPONENTIAL | ARITHMETIC),
    ("Exp", EXPONENTIAL, SOFTMAX | SIGMOID),
    ("Log", LOGARITHM, 0),
    ("Softplus Mish SoftplusGrad", LOGARITHM, EXPONENTIAL | TANH | ARITHMETIC | CHOICE | SIGMOID),
    ("Sigmoid Silu Swish QuickGelu SiluGrad", SIGMOID, ARITHMETIC),
    ("SigmoidGrad TanhGrad", ARITHMETIC, TANH | SIGMOID),
    ("Tanh", TANH, GELU),
    ("Erf", GELU, 0),
    ("Gelu FastGelu BiasGelu GeluGrad", GELU, TANH | ARITHMETIC | EXPONENTIAL),
    (
        "LayerNormalization RMSNormalization SimplifiedLayerNormalization GroupNormalization \
         InstanceNormalization LRN",
        NORM,
        REDUCTION | ARITHMETIC,
    ),
    (
        "LayerNormalizationGrad RMSNormalizationGrad GroupNormalizationGrad \
         BatchNormalizationGrad",
        REDUCTION,
        NORM | ARITHMETIC,
    ),
    ("BatchNormalization", BATCH_NORM, NORM | REDUCTION | ARITHMETIC),
    (
        "GatherND GatherElements ScatterND ScatterElements Compress OneHot NonZero Unique \
         GatherGrad NegativeLogLikelihoodLoss NegativeLogLikelihoodLossGrad ReduceMaxGrad \
         MaxPoolGrad ArgMax ArgMin",
        INDEX,
        CHOICE | ARITHMETIC | REDUCTION,
    ),
    ("Gemm MatMul Conv ConvTranspose Einsum ConvGrad MatMulGrad", 0, 0),
    ("CumSum", SCAN, ARITHMETIC),
    ("Sin Cos Tan Asin Acos Atan", WAVE, 0),
    ("DFT MaxPool TopK Resize GridSample", OWN, 0),
];

/// What operators hold where others run it beside them: a bias, a scale.
const FOLDED: [(&str, u32); 5] = [
    ("Dropout", ARITHMETIC),
    ("Gemm", ARITHMETIC),
    ("Conv", ARITHMETIC | BATCH_NORM),
    ("FusedConv", ARITHMETIC | BATCH_NORM | CHOICE),
    ("FusedMatMul", ARITHMETIC),
];

impl Parts {
    /// Those of an operator by its name without a namespace; `is_traced` says on which side it is. Of
    /// the operators of files that are not known here anything may be a part.
    pub(super) fn of(op_type: &str, is_traced: bool) -> Self {
        let is_own = |names: &str| names.split_whitespace().any(|name| name == op_type);
        let folds = FOLDED.iter().find(|(name, _)| *name == op_type).map_or(0, |(_, parts)| *parts);
        match TABLE.iter().find(|(names, ..)| is_own(names)) {
            Some((_, needs, offers)) => {
                Self { needs: *needs, offers: (*needs | *offers) & !OWN, folds }
            }
            None if is_traced => Self { needs: OWN, offers: 0, folds },
            None => Self { needs: 0, offers: ANY & !OWN, folds },
        }
    }
}
