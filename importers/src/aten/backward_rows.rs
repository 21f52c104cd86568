//! Gradients, as joint graphs and traces call them.

use super::Effect::{Multiplies, Streams};
use super::{Row, products};

pub(super) static ROWS: &[Row] = &[
    (
        "convolution_backward mkldnn_convolution_backward",
        "ConvGrad",
        Multiplies(products::convolution_backward),
    ),
    (
        "_scaled_dot_product_flash_attention_backward \
         _scaled_dot_product_efficient_attention_backward \
         _scaled_dot_product_cudnn_attention_backward \
         _scaled_dot_product_flash_attention_for_cpu_backward \
         _scaled_dot_product_fused_attention_overrideable_backward",
        "ScaledDotProductAttentionGrad",
        Multiplies(products::attention_backward),
    ),
    (
        "_flash_attention_backward _efficient_attention_backward _cudnn_attention_backward",
        "ScaledDotProductAttentionGrad",
        Multiplies(products::attention_by_token_backward),
    ),
    ("grouped_mm_fallback_backward", "MatMulGrad", Multiplies(products::grouped_backward)),
    ("mkldnn_rnn_layer_backward", "LSTMGrad", Multiplies(products::recurrent_backward)),
    ("threshold_backward hardtanh_backward", "ReluGrad", Streams),
    ("gelu_backward", "GeluGrad", Streams),
    ("silu_backward", "SiluGrad", Streams),
    ("tanh_backward", "TanhGrad", Streams),
    ("sigmoid_backward log_sigmoid_backward", "SigmoidGrad", Streams),
    ("elu_backward", "EluGrad", Streams),
    ("leaky_relu_backward rrelu_with_noise_backward", "LeakyReluGrad", Streams),
    ("hardswish_backward", "HardSwishGrad", Streams),
    ("hardsigmoid_backward", "HardSigmoidGrad", Streams),
    ("softplus_backward mish_backward", "SoftplusGrad", Streams),
    ("glu_backward", "MulGrad", Streams),
    ("_prelu_kernel_backward", "PReluGrad", Streams),
    ("_softmax_backward_data", "SoftmaxGrad", Streams),
    ("_log_softmax_backward_data", "LogSoftmaxGrad", Streams),
    ("native_layer_norm_backward", "LayerNormalizationGrad", Streams),
    ("_fused_rms_norm_backward", "RMSNormalizationGrad", Streams),
    (
        "native_batch_norm_backward cudnn_batch_norm_backward batch_norm_backward \
         miopen_batch_norm_backward",
        "BatchNormalizationGrad",
        Streams,
    ),
    ("native_group_norm_backward", "GroupNormalizationGrad", Streams),
    ("embedding_dense_backward embedding_backward", "GatherGrad", Streams),
    ("native_dropout_backward", "DropoutGrad", Streams),
    ("nll_loss_backward nll_loss2d_backward", "NegativeLogLikelihoodLossGrad", Streams),
    (
        "mse_loss_backward l1_loss_backward smooth_l1_loss_backward huber_loss_backward \
         binary_cross_entropy_backward",
        "ReduceSumSquareGrad",
        Streams,
    ),
    (
        "max_pool2d_with_indices_backward max_pool3d_with_indices_backward \
         adaptive_max_pool2d_backward",
        "MaxPoolGrad",
        Streams,
    ),
    (
        "avg_pool2d_backward avg_pool3d_backward _adaptive_avg_pool2d_backward",
        "AveragePoolGrad",
        Streams,
    ),
    (
        "upsample_nearest1d_backward upsample_nearest2d_backward upsample_bilinear2d_backward \
         upsample_bicubic2d_backward upsample_linear1d_backward",
        "ResizeGrad",
        Streams,
    ),
    ("grid_sampler_2d_backward grid_sampler_3d_backward", "GridSampleGrad", Streams),
    ("slice_backward select_backward diagonal_backward unfold_backward", "SliceGrad", Streams),
    ("value_selecting_reduction_backward", "ReduceMaxGrad", Streams),
    ("_weight_norm_interface_backward", "LpNormalizationGrad", Streams),
    ("_cdist_backward", "ReduceL2Grad", Streams),
];
