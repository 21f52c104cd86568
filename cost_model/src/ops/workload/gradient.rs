//! Which forward tensors the gradient of an op type reads, and whether it passes one at all.
//!
//! The table follows the derivatives: a sum needs nothing, a product its other factors, `tanh` its
//! own output, a normalization its input. Ops with matrix products save all operands. A type that
//! is not in the table saves inputs and outputs, and its backward op is marked as guessed.

use std::collections::HashMap;
use std::sync::LazyLock;

/// What the backward op reads besides the gradients of the outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// Nothing: linear with constant coefficients.
    Nothing,
    /// Inputs that are no floats: indices, masks.
    Indices,
    /// Each factor whose partner needs a gradient; of a quotient both terms count as factors.
    OtherFactors,
    /// Activations that it read.
    Inputs,
    /// Outputs that it wrote.
    Outputs,
    /// Both.
    InputsAndOutputs,
    /// Both, because the type is unknown.
    Unknown,
    /// No gradient passes: the output does not depend smoothly on the input.
    Stop,
}

/// Op types by rule, apart by blanks; a domain before `::` is left out.
const RULES: [(Saved, &str); 7] = [
    (
        Saved::Nothing,
        "Add Sub Neg Sum Mean Identity Cast CastLike Transpose Concat Split Slice Pad Expand \
         Tile Reshape Squeeze Unsqueeze Flatten ReduceSum ReduceMean CumSum AveragePool \
         GlobalAveragePool Resize Upsample DepthToSpace SpaceToDepth Trilu QuantizeLinear \
         DequantizeLinear BiasAdd SequenceConstruct SequenceAt SplitToSequence \
         ConcatFromSequence ReverseSequence Col2Im DFT",
    ),
    (
        Saved::Indices,
        "Gather GatherElements GatherND Scatter ScatterElements ScatterND Where Dropout \
         Compress TopK RotaryEmbedding MaxUnpool",
    ),
    (Saved::OtherFactors, "Mul Div"),
    (
        Saved::Inputs,
        "Pow Abs Log Erf Sin Cos Tan Gelu FastGelu BiasGelu QuickGelu Silu Swish \
         HardSwish Mish Softplus Softsign LeakyRelu PRelu Elu Selu Celu Clip HardSigmoid \
         ThresholdedRelu Min Max LayerNormalization SimplifiedLayerNormalization \
         SkipLayerNormalization SkipSimplifiedLayerNormalization RMSNormalization \
         BatchNormalization InstanceNormalization GroupNormalization GroupNorm SkipGroupNorm \
         LpNormalization LRN ReduceProd ReduceL1 ReduceSumSquare ReduceLogSum \
         EmbedLayerNormalization Atan Asin Acos SoftmaxCrossEntropyLoss \
         NegativeLogLikelihoodLoss MatMul Gemm Conv ConvTranspose Einsum FusedMatMul \
         FusedGemm FusedConv MatMulNBits MatMulInteger QLinearMatMul DeformConv",
    ),
    (Saved::Outputs, "Relu Sigmoid Tanh Exp Sqrt Rsqrt Reciprocal Softmax LogSoftmax Hardmax"),
    (
        Saved::InputsAndOutputs,
        "MaxPool GlobalMaxPool LpPool ReduceMax ReduceMin ReduceL2 ReduceLogSumExp LSTM GRU \
         RNN Attention MultiHeadAttention GroupQueryAttention ScaledDotProductAttention \
         CausalAttention MoE",
    ),
    (
        Saved::Stop,
        "Shape Size Constant ConstantOfShape Range RandomNormal RandomNormalLike \
         RandomUniform RandomUniformLike Bernoulli Multinomial ArgMax ArgMin NonZero OneHot \
         EyeLike Floor Ceil Round Sign Equal Less LessOrEqual Greater GreaterOrEqual And Or \
         Not Xor IsInf IsNaN NonMaxSuppression Unique BitShift",
    ),
];

static BY_NAME: LazyLock<HashMap<&str, Saved>> = LazyLock::new(|| {
    RULES.iter().flat_map(|(rule, names)| names.split(' ').map(|name| (name, *rule))).collect()
});

/// The rule for an op type; a domain before `::` is ignored.
#[must_use]
pub fn saved(op_type: &str) -> Saved {
    let name = op_type.rsplit("::").next().unwrap_or(op_type);
    BY_NAME.get(name).copied().unwrap_or(Saved::Unknown)
}

/// Whether each step of the op feeds the next, so that the gradient runs through all products even
/// where the input of the op needs none.
pub(super) fn is_recurrent(op_type: &str) -> bool {
    matches!(op_type.rsplit("::").next(), Some("LSTM" | "GRU" | "RNN"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_one_rule() {
        let mut names: Vec<&str> = RULES.iter().flat_map(|(_, names)| names.split(' ')).collect();
        let n = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), n);
        assert_eq!(saved("com.microsoft::Gelu"), Saved::Inputs);
        assert_eq!(saved("Softmax"), Saved::Outputs);
        assert_eq!(saved("Nonsense"), Saved::Unknown);
    }
}
