//! Operators that ONNX Runtime's quantiser and its layout passes write.

use crate::onnx::infer::{
    channels, contraction as product, elementwise, quantized, recurrent, resize, window,
};
use crate::onnx::rules::contraction as work;
use crate::onnx::rules::rule::Rule;
use crate::onnx::rules::traffic::{picks, streams};

/// The rows.
pub(super) static ROWS: &[Rule] = &[
    Rule::new("com.microsoft::DynamicQuantizeMatMul", quantized::dynamic, work::dynamic),
    Rule::new("com.microsoft::MatMulIntegerToFloat", quantized::to_float, work::mat_mul),
    Rule::new("com.microsoft::MatMulInteger16", product::mat_mul_integer, work::mat_mul),
    Rule::new("com.microsoft::DynamicQuantizeLSTM", recurrent::recurrent, work::quantized_lstm),
    Rule::new("com.microsoft::QGemm", quantized::gemm, work::q_gemm),
    Rule::new("com.microsoft::QOrderedMatMul", quantized::ordered, work::ordered),
    Rule::new("com.microsoft::QuantizeWithOrder", quantized::quantize_ordered, streams),
    Rule::new("com.microsoft::DequantizeWithOrder", elementwise::cast, streams),
    Rule::new("com.microsoft::GatherBlockQuantized", quantized::gather, picks),
    Rule::new("com.microsoft::QLinearConv", channels::q_linear_conv, work::q_linear_conv),
    Rule::new("com.microsoft::QLinearAdd com.microsoft::QLinearMul", quantized::binary, streams),
    Rule::new("com.microsoft::MulInteger", quantized::multiply, streams),
    Rule::new("com.microsoft::QLinearWhere", quantized::choice, streams),
    Rule::new("com.microsoft::QLinearConcat", quantized::concat, streams),
    Rule::new(
        "com.microsoft::QLinearSigmoid com.microsoft::QLinearLeakyRelu \
         com.microsoft::QLinearSoftmax",
        elementwise::same,
        streams,
    ),
    Rule::new("com.microsoft::QLinearAveragePool", channels::q_linear_pool, streams),
    Rule::new("com.microsoft::QLinearGlobalAveragePool", channels::q_linear_global_pool, streams),
    Rule::new(
        "com.microsoft::QLinearReduceMean com.microsoft::ReduceSumInteger",
        quantized::reduce,
        streams,
    ),
    Rule::new("com.microsoft::NhwcConv com.microsoft::NhwcFusedConv", channels::conv, work::conv),
    Rule::new("com.microsoft::NhwcMaxPool", channels::pool, streams),
    Rule::new("com.microsoft.nchwc::Conv", channels::blocked_conv, work::conv),
    Rule::new(
        "com.microsoft.nchwc::MaxPool com.microsoft.nchwc::AveragePool",
        window::pool,
        streams,
    ),
    Rule::new(
        "com.microsoft.nchwc::GlobalMaxPool com.microsoft.nchwc::GlobalAveragePool",
        window::global_pool,
        streams,
    ),
    Rule::new("com.microsoft.nchwc::ReorderInput", channels::into_blocks, streams),
    Rule::new("com.microsoft.nchwc::ReorderOutput", channels::out_of_blocks, streams),
    Rule::new("com.microsoft.nchwc::Upsample", channels::upsample, streams),
    Rule::new("com.ms.internal.nhwc::Conv", channels::conv, work::conv),
    Rule::new(
        "com.ms.internal.nhwc::ConvTranspose",
        channels::conv_transpose,
        work::conv_transpose,
    ),
    Rule::new(
        "com.ms.internal.nhwc::QLinearConv",
        channels::nhwc_q_linear_conv,
        work::q_linear_conv,
    ),
    Rule::new(
        "com.ms.internal.nhwc::QLinearConvTranspose",
        channels::q_linear_conv_transpose,
        work::q_linear_conv_transpose,
    ),
    Rule::new(
        "com.ms.internal.nhwc::MaxPool com.ms.internal.nhwc::AveragePool \
         com.ms.internal.nhwc::LpPool com.ms.internal.nhwc::QLinearAveragePool",
        channels::pool,
        streams,
    ),
    Rule::new(
        "com.ms.internal.nhwc::GlobalMaxPool com.ms.internal.nhwc::GlobalAveragePool \
         com.ms.internal.nhwc::GlobalLpPool",
        channels::global_pool,
        streams,
    ),
    Rule::new(
        "com.ms.internal.nhwc::BatchNormalization com.ms.internal.nhwc::InstanceNormalization \
         com.ms.internal.nhwc::LRN",
        elementwise::same,
        streams,
    ),
    Rule::new("com.ms.internal.nhwc::DepthToSpace", channels::depth_to_space, streams),
    Rule::new("com.ms.internal.nhwc::SpaceToDepth", channels::space_to_depth, streams),
    Rule::new("com.ms.internal.nhwc::Resize", resize::resize, streams).steered_by(&[1, 2, 3]),
    Rule::new("com.ms.internal.nhwc::GridSample", channels::grid_sample, streams),
    Rule::new("com.ms.internal.nhwc::MaxUnpool", channels::unpool, streams).steered_by(&[2]),
];
