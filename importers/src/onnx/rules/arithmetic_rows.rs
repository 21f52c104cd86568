//! Elementwise operators and reductions.

use crate::onnx::infer::{creation, elementwise, fold_arithmetic, reduction};
use crate::onnx::rules::rule::Rule;
use crate::onnx::rules::traffic::{self, streams};

/// The rows.
pub(super) static ROWS: &[Rule] = &[
    Rule::new("Add Sub Mul Div Mod Pow Min Max", elementwise::arithmetic, streams)
        .folds(fold_arithmetic::binary),
    Rule::new("And Or Xor", elementwise::comparison, streams).folds(fold_arithmetic::binary),
    Rule::new("Equal Less LessOrEqual Greater GreaterOrEqual", elementwise::comparison, streams)
        .folds(fold_arithmetic::compare),
    Rule::new(
        "Sum Mean BitShift BitwiseAnd BitwiseOr BitwiseXor PRelu SwiGLU",
        elementwise::arithmetic,
        streams,
    ),
    Rule::new("Neg Abs Floor Ceil Round Sqrt Reciprocal Exp Log Sign", elementwise::same, streams)
        .folds(fold_arithmetic::unary),
    Rule::new("Not", elementwise::test, streams).folds(fold_arithmetic::unary),
    Rule::new("IsNaN IsInf", elementwise::test, streams),
    Rule::new("Relu", elementwise::same, streams).folds(fold_arithmetic::unary),
    Rule::new(
        "LeakyRelu Elu Selu Celu ThresholdedRelu Sigmoid HardSigmoid HardSwish Swish \
         Mish Softplus Softsign Tanh Gelu Erf Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh \
         Acosh Atanh Shrink BitwiseNot MeanVarianceNormalization LRN LpNormalization",
        elementwise::same,
        streams,
    ),
    Rule::new("Bernoulli", creation::like, streams),
    Rule::new("Clip", elementwise::same, streams).steered_by(&[1, 2]),
    Rule::new("Softmax LogSoftmax Hardmax", elementwise::along_axis, streams),
    Rule::new("CumSum CumProd", elementwise::same, streams).steered_by(&[1]),
    Rule::new("Where", elementwise::choice, streams).folds(fold_arithmetic::choose),
    Rule::new("Cast", elementwise::cast, traffic::cast).folds(fold_arithmetic::cast),
    Rule::new("CastLike", elementwise::cast_like, traffic::cast).steered_by(&[1]),
    Rule::new("ReduceProd ReduceSum ReduceMax ReduceMin", reduction::reduce, streams)
        .folds(fold_arithmetic::reduce)
        .steered_by(&[1]),
    Rule::new(
        "ReduceMean ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceSumSquare",
        reduction::reduce,
        streams,
    )
    .steered_by(&[1]),
    Rule::new("ArgMax ArgMin", reduction::arg, streams),
    Rule::new("SoftmaxCrossEntropyLoss NegativeLogLikelihoodLoss", reduction::loss, streams),
];
