//! Operators of `com.microsoft` that exporters, optimisers and servers of ONNX Runtime write.

use crate::onnx::infer::{
    attention, contraction as product, contributed, creation, elementwise, indexing, layout,
    quantization, quantized, recurrent, resize, serving, window,
};
use crate::onnx::rules::rule::Rule;
use crate::onnx::rules::traffic::{self, picks, streams};
use crate::onnx::rules::{attention as attend, contraction as work};

/// The rows.
pub(super) static ROWS: &[Rule] = &[
    Rule::new("com.microsoft::MatMulNBits", product::mat_mul_packed, work::mat_mul_packed),
    Rule::new("com.microsoft::MatMulBnb4", product::mat_mul_packed, work::mat_mul_packed),
    Rule::new("com.microsoft::MatMulNBitsMlp", quantized::packed_mlp, work::packed_mlp),
    Rule::new("com.microsoft::MatMulNBitsQkv", quantized::packed_qkv, work::packed_qkv),
    Rule::new(
        "com.microsoft::MatMulBlockQuantizedFp8Weight com.microsoft::MatMulBlockQuantizedFp4Weight",
        quantized::block_product,
        work::block_product,
    ),
    Rule::new("com.microsoft::MatMulFpQ4", quantized::shaped_product, work::shaped)
        .steered_by(&[2]),
    Rule::new(
        "com.microsoft::FusedMatMul com.microsoft::FusedMatMulActivation \
         com.microsoft::TransposeMatMul",
        product::fused_mat_mul,
        work::fused_mat_mul,
    ),
    Rule::new("com.microsoft::FusedGemm", product::gemm, work::gemm),
    Rule::new("com.microsoft::GemmFloat8", quantized::gemm_float8, work::gemm),
    Rule::new("com.microsoft::GemmFastGelu", product::mat_mul, work::mat_mul),
    Rule::new("com.microsoft::SparseToDenseMatMul", contributed::sparse_product, work::gemm),
    Rule::new("com.microsoft::CDist", contributed::distances, work::distances),
    Rule::new("com.microsoft::FusedConv", window::conv, work::conv),
    Rule::new("com.microsoft::Attention", attention::infer_projecting, attend::projecting),
    Rule::new("com.microsoft::MultiHeadAttention", attention::infer_multi_head, attend::multi_head),
    Rule::new(
        "com.microsoft::GroupQueryAttention",
        attention::infer_group_query,
        attend::group_query,
    ),
    Rule::new("com.microsoft::QAttention", serving::infer_quantized, attend::quantized),
    Rule::new(
        "com.microsoft::DecoderMaskedSelfAttention",
        serving::infer_masked_self,
        attend::projecting,
    ),
    Rule::new(
        "com.microsoft::DecoderMaskedMultiHeadAttention",
        serving::infer_masked,
        attend::masked,
    ),
    Rule::new(
        "com.microsoft::PackedAttention",
        serving::infer_packed_projecting,
        attend::packed_projecting,
    ),
    Rule::new(
        "com.microsoft::PackedMultiHeadAttention",
        serving::infer_packed_multi_head,
        attend::packed_multi_head,
    ),
    Rule::new("com.microsoft::PagedAttention", serving::infer_paged, attend::paged),
    Rule::new(
        "com.microsoft::SparsePagedAttention",
        serving::infer_sparse_paged,
        attend::sparse_paged,
    ),
    Rule::new("com.microsoft::SparseAttention", serving::infer_sparse, attend::sparse),
    Rule::new(
        "com.microsoft::DynamicSparseAttention",
        serving::infer_dynamic_sparse,
        attend::dynamic_sparse,
    ),
    Rule::new("com.microsoft::LongformerAttention", elementwise::same, attend::longformer),
    Rule::new(
        "com.microsoft::QOrderedLongformerAttention",
        elementwise::same,
        attend::ordered_longformer,
    ),
    Rule::new("com.microsoft::QOrderedAttention", serving::infer_ordered, attend::ordered),
    Rule::new("com.microsoft::LinearAttention", recurrent::linear_attention, attend::linear),
    Rule::new("com.microsoft::GatedDeltaNet", recurrent::infer_delta_net, attend::delta_net),
    Rule::new("com.microsoft::LinearAttentionGate", recurrent::gates, streams),
    Rule::new("com.microsoft::CausalConvWithState", recurrent::causal_conv, work::causal_taps),
    Rule::new(
        "com.microsoft::VarlenCausalConvWithState",
        recurrent::packed_causal_conv,
        work::causal_taps,
    ),
    Rule::new("com.microsoft::RemovePadding", serving::remove_padding, streams),
    Rule::new("com.microsoft::RestorePadding", serving::restore_padding, streams),
    Rule::new("com.microsoft::RelativePositionBias", serving::position_bias, picks)
        .steered_by(&[1, 2]),
    Rule::new(
        "com.microsoft::GatedRelativePositionBias",
        serving::gated_position_bias,
        attend::gated_bias,
    ),
    Rule::new("com.microsoft::RotaryEmbedding", attention::rotary, streams),
    Rule::new("com.microsoft::MRotaryEmbedding", attention::rotary, streams),
    Rule::new("com.microsoft::GemmaRotaryEmbedding", serving::gemma_rotary, streams),
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
    Rule::new("com.microsoft::QEmbedLayerNormalization", quantized::embed, streams),
    Rule::new(
        "com.microsoft::Gelu com.microsoft::FastGelu com.microsoft::BiasGelu \
         com.microsoft::QuickGelu com.microsoft::BiasAdd com.microsoft::BiasSoftmax \
         com.microsoft::GroupNorm com.microsoft::ScaledSiLU com.microsoft::GatedAdd \
         com.microsoft::GatedRMSNorm com.microsoft::BranchwiseRMSNorm \
         com.microsoft::HyperConnectionPostMix com.microsoft::QOrderedGelu \
         com.microsoft::QOrderedLayerNormalization",
        elementwise::same,
        streams,
    ),
    Rule::new("com.microsoft::SkipGroupNorm", contributed::with_sum, streams),
    Rule::new("com.microsoft::BiasSplitGelu", contributed::half, streams),
    Rule::new(
        "com.microsoft::BiasDropout com.microsoft::BitmaskDropout \
         com.microsoft::BitmaskBiasDropout",
        contributed::dropout,
        streams,
    ),
    Rule::new("com.microsoft::HyperConnectionPreMix", contributed::sum_streams, streams),
    Rule::new("com.microsoft::EngramGate", contributed::with_sum, streams),
    Rule::new("com.microsoft::MoE", elementwise::same, work::experts),
    Rule::new("com.microsoft::QMoE", elementwise::same, work::experts),
    Rule::new("com.microsoft::QuantizeLinear", quantization::quantize, streams),
    Rule::new("com.microsoft::DequantizeLinear", quantization::dequantize, traffic::dequantize),
    Rule::new("com.microsoft::TorchEmbedding", indexing::gather, picks),
    Rule::new("com.microsoft::GatherND", indexing::gather_nd, picks),
    Rule::new("com.microsoft::ExpandDims", contributed::expand_dims, traffic::view)
        .steered_by(&[1]),
    Rule::new("com.microsoft::Pad", layout::pad, streams).steered_by(&[1, 2]),
    Rule::new("com.microsoft::Range", creation::range, streams).steered_by(&[0, 1, 2]),
    Rule::new("com.microsoft::Trilu", elementwise::same, streams).steered_by(&[1]),
    Rule::new("com.microsoft::Unique", contributed::unique, streams),
    Rule::new("com.microsoft::GridSample", resize::grid_sample, streams),
    Rule::new("com.microsoft::CropAndResize", contributed::crop_and_resize, streams)
        .steered_by(&[3]),
    Rule::new("com.microsoft::MaxpoolWithMask", window::pool, streams),
    Rule::new("com.microsoft::IsAllFinite", contributed::flag, streams),
    Rule::new("com.microsoft::MurmurHash3", contributed::hash, streams),
    Rule::new(
        "com.microsoft::NGramHashMapping com.microsoft::VarlenNGramHashMapping",
        contributed::ngram_hashes,
        streams,
    ),
    Rule::new("com.microsoft::NGramRepeatBlock", contributed::second, streams),
    Rule::new("com.microsoft::DynamicTimeWarping", contributed::warp, streams),
    Rule::new("com.microsoft::WordConvEmbedding", contributed::words, streams),
];
