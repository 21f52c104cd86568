//! Operators with products, windows, states or statistics.

use crate::onnx::infer::{
    attention, contraction as product, einsum, elementwise, quantization, recurrent, window,
};
use crate::onnx::rules::rule::Rule;
use crate::onnx::rules::traffic::{self, streams};
use crate::onnx::rules::{attention as attend, contraction as work};

/// The rows.
pub(super) static ROWS: &[Rule] = &[
    Rule::new("MatMul", product::mat_mul, work::mat_mul),
    Rule::new("MatMulInteger", product::mat_mul_integer, work::mat_mul),
    Rule::new("QLinearMatMul", product::q_linear_mat_mul, work::q_linear_mat_mul),
    Rule::new("Gemm", product::gemm, work::gemm),
    Rule::new("Einsum", einsum::einsum, work::einsum_product),
    Rule::new("Conv", window::conv, work::conv),
    Rule::new("ConvInteger", window::conv_integer, work::conv),
    Rule::new("QLinearConv", window::q_linear_conv, work::q_linear_conv),
    Rule::new("ConvTranspose", window::conv_transpose, work::conv_transpose),
    Rule::new("MaxPool AveragePool LpPool", window::pool, streams),
    Rule::new("GlobalAveragePool GlobalMaxPool GlobalLpPool", window::global_pool, streams),
    Rule::new("LSTM", recurrent::recurrent, work::lstm),
    Rule::new("GRU", recurrent::recurrent, work::gru),
    Rule::new("RNN", recurrent::recurrent, work::rnn),
    Rule::new(
        "LayerNormalization RMSNormalization SimplifiedLayerNormalization",
        elementwise::layer_normalization,
        streams,
    ),
    Rule::new("BatchNormalization", elementwise::batch_normalization, streams),
    Rule::new(
        "GroupNormalization InstanceNormalization",
        elementwise::group_normalization,
        streams,
    ),
    Rule::new("Attention", attention::infer_standard, attend::standard),
    Rule::new("ai.onnx.preview::FlexAttention", attention::infer_standard, attend::standard),
    Rule::new("LinearAttention", recurrent::linear_attention, attend::linear),
    Rule::new("CausalConvWithState", window::causal_conv, work::causal_conv),
    Rule::new("RotaryEmbedding", attention::rotary, streams),
    Rule::new("QuantizeLinear", quantization::quantize, streams),
    Rule::new("DequantizeLinear", quantization::dequantize, traffic::dequantize),
    Rule::new("DynamicQuantizeLinear", quantization::dynamic_quantize, streams),
];
