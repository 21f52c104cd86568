//! Operators of `com.microsoft` that exporters of ONNX Runtime write.

use crate::onnx::infer::{attention, contraction as product, elementwise, quantization, window};
use crate::onnx::rules::rule::Rule;
use crate::onnx::rules::traffic::{self, streams};
use crate::onnx::rules::{attention as attend, contraction as work};

/// The rows.
pub(super) static ROWS: &[Rule] = &[
    Rule::new("com.microsoft::MatMulNBits", product::mat_mul_packed, work::mat_mul_packed),
    Rule::new("com.microsoft::MatMulBnb4", product::mat_mul_packed, work::mat_mul_packed),
    Rule::new("com.microsoft::FusedMatMul", product::fused_mat_mul, work::fused_mat_mul),
    Rule::new("com.microsoft::FusedGemm", product::gemm, work::gemm),
    Rule::new("com.microsoft::FusedConv", window::conv, work::conv),
    Rule::new("com.microsoft::Attention", attention::infer_projecting, attend::projecting),
    Rule::new("com.microsoft::MultiHeadAttention", attention::infer_multi_head, attend::multi_head),
    Rule::new(
        "com.microsoft::GroupQueryAttention",
        attention::infer_group_query,
        attend::group_query,
    ),
    Rule::new("com.microsoft::RotaryEmbedding", attention::rotary, streams),
    Rule::new("com.microsoft::SkipLayerNormalization", elementwise::skip_normalization, streams),
    Rule::new(
        "com.microsoft::SkipSimplifiedLayerNormalization",
        elementwise::skip_normalization,
        streams,
    ),
    Rule::new(
        "com.microsoft::EmbedLayerNormalization",
        attention::embed_layer_normalization,
        streams,
    ),
    Rule::new("com.microsoft::Gelu", elementwise::same, streams),
    Rule::new("com.microsoft::FastGelu", elementwise::same, streams),
    Rule::new("com.microsoft::BiasGelu", elementwise::same, streams),
    Rule::new("com.microsoft::QuickGelu", elementwise::same, streams),
    Rule::new("com.microsoft::MoE", elementwise::same, work::experts),
    Rule::new("com.microsoft::QMoE", elementwise::same, work::experts),
    Rule::new("com.microsoft::QuantizeLinear", quantization::quantize, streams),
    Rule::new("com.microsoft::DequantizeLinear", quantization::dequantize, traffic::dequantize),
];
