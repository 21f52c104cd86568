//! Operators that move, make or pick elements, and those that multiply matrices.

use super::Effect::{
    Creates, Multiplies, Nothing, Picks, Streams, Updates, View, ViewOrCopy, Views,
};
use super::{Row, products};

pub(super) static MOVES: &[Row] = &[
    (
        "view _unsafe_view view_as _reshape_alias unflatten unfold as_strided view_as_real \
         view_as_complex real imag atleast_1d atleast_2d atleast_3d split_dim collapse_view",
        "Reshape",
        View,
    ),
    ("unsqueeze", "Unsqueeze", View),
    ("squeeze", "Squeeze", View),
    (
        "transpose t permute numpy_T matrix_H mH mT movedim moveaxis swapaxes swapdims adjoint \
         resolve_conj resolve_neg _conj",
        "Transpose",
        View,
    ),
    ("select slice narrow diagonal linalg_diagonal", "Slice", View),
    ("expand expand_as broadcast_to broadcast_in_dim", "Expand", View),
    (
        "chunk split split_with_sizes tensor_split unbind unsafe_chunk unsafe_split hsplit vsplit \
         dsplit unsafe_split_with_sizes",
        "Split",
        View,
    ),
    ("alias detach positive lift_fresh lift_fresh_copy lift view_of", "Identity", View),
    ("reshape reshape_as flatten ravel", "Reshape", ViewOrCopy),
    ("contiguous", "Identity", ViewOrCopy),
    ("dropout alpha_dropout feature_dropout feature_alpha_dropout", "Dropout", ViewOrCopy),
    ("to type_as _to_copy _cast_Float _cast_Half convert_element_type", "Cast", ViewOrCopy),
    ("native_dropout bernoulli", "Dropout", Streams),
    (
        "clone copy_ lift_copy _to_dense alias_copy permute_copy view_copy expand_copy slice_copy \
         squeeze_copy unsqueeze_copy transpose_copy t_copy detach_copy",
        "Identity",
        Streams,
    ),
    ("copy", "Identity", Updates),
    ("cat concat concatenate stack hstack vstack dstack column_stack", "Concat", Streams),
    (
        "pad constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d \
      replication_pad2d replication_pad3d _pad_circular zero_pad2d",
        "Pad",
        Streams,
    ),
    ("repeat tile", "Tile", Streams),
    ("repeat_interleave", "Gather", Picks),
    ("roll flip rot90 fliplr flipud", "Slice", Streams),
    ("pixel_shuffle channel_shuffle", "DepthToSpace", Streams),
    ("pixel_unshuffle", "SpaceToDepth", Streams),
    ("tril triu", "Trilu", Streams),
    ("im2col", "Im2Col", Streams),
    ("col2im", "Col2Im", Streams),
    ("embedding index_select", "Gather", Picks),
    ("index take _unsafe_index _unsafe_masked_index", "GatherND", Picks),
    ("embedding_bag _embedding_bag _embedding_bag_forward_only", "Gather", Picks),
    ("gather take_along_dim", "GatherElements", Picks),
    ("masked_select", "Compress", Streams),
    (
        "index_put _index_put_impl _unsafe_index_put put index_copy index_add index_fill \
         index_reduce",
        "ScatterND",
        Streams,
    ),
    (
        "scatter scatter_add scatter_reduce slice_scatter select_scatter diagonal_scatter \
         as_strided_scatter masked_scatter",
        "ScatterElements",
        Streams,
    ),
    ("index_put_ index_copy_ index_add_ scatter_ scatter_add_", "ScatterND", Updates),
    ("arange range linspace logspace tril_indices triu_indices", "Range", Creates),
    (
        "full zeros ones empty full_like zeros_like ones_like empty_like new_full new_zeros \
         new_ones new_empty fill zero scalar_tensor empty_strided new_empty_strided eye tensor \
         empty_permuted resize",
        "ConstantOfShape",
        Creates,
    ),
    ("uniform exponential poisson geometric log_normal cauchy random", "RandomNormal", Creates),
    ("meshgrid broadcast_tensors", "Expand", Views),
    ("select_copy narrow_copy diagonal_copy as_strided_copy", "Slice", Streams),
    ("native_channel_shuffle", "DepthToSpace", Streams),
    ("block_diag cartesian_prod combinations", "Concat", Streams),
    (
        "rand randn randint rand_like randn_like randint_like normal randperm",
        "RandomNormal",
        Creates,
    ),
    ("hann_window hamming_window blackman_window kaiser_window bartlett_window", "Range", Creates),
    ("one_hot", "OneHot", Streams),
    ("topk", "TopK", Streams),
    ("sort argsort msort", "TopK", Streams),
    ("unique unique_dim _unique2 unique_consecutive bincount histc", "Unique", Streams),
    ("nonzero nonzero_static argwhere nonzero_numpy", "NonZero", Streams),
    ("nms", "NonMaxSuppression", Streams),
    ("searchsorted bucketize", "BitShift", Streams),
    ("roi_align", "RoiAlign", Streams),
    ("roi_pool ps_roi_align ps_roi_pool", "MaxRoiPool", Streams),
    (
        "upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_bilinear2d \
         upsample_linear1d upsample_trilinear3d upsample_bicubic2d _upsample_bilinear2d_aa \
         _upsample_bicubic2d_aa _upsample_nearest_exact1d _upsample_nearest_exact2d \
         _upsample_nearest_exact3d",
        "Resize",
        Streams,
    ),
    ("grid_sampler grid_sampler_2d grid_sampler_3d", "GridSample", Streams),
    ("affine_grid_generator", "AffineGrid", Streams),
    (
        "_assert_tensor_metadata _assert_scalar _assert_async sym_constrain_range \
         sym_constrain_range_for_size _functional_assert_async sym_size sym_numel sym_stride \
         sym_storage_offset _local_scalar_dense item _check is_nonzero",
        "Identity",
        Nothing,
    ),
];

pub(super) static PRODUCTS: &[Row] = &[
    ("linear", "Gemm", Multiplies(products::linear)),
    (
        "mm matmul bmm mv dot vdot _int_mm _scaled_mm linalg_multi_dot chain_matmul \
         linalg_matmul linalg_vecdot",
        "MatMul",
        Multiplies(products::matmul),
    ),
    (
        "addmm addmv baddbmm addbmm _addmm_activation sparse_addmm",
        "Gemm",
        Multiplies(products::sum),
    ),
    ("einsum", "Einsum", Multiplies(products::einsum)),
    ("inner", "MatMul", Multiplies(products::inner)),
    ("tensordot", "Einsum", Multiplies(products::tensordot)),
    ("cdist _cdist_forward", "Einsum", Multiplies(products::distances)),
    ("bilinear _trilinear", "Einsum", Multiplies(products::bilinear)),
    (
        "_weight_int8pack_mm _weight_int4pack_mm _weight_int4pack_mm_for_cpu _dyn_quant_matmul_4bit",
        "MatMulNBits",
        Multiplies(products::packed),
    ),
    (
        "grouped_mm grouped_mm_fallback _grouped_mm _scaled_grouped_mm",
        "MatMul",
        Multiplies(products::grouped),
    ),
    (
        "conv1d conv2d conv3d convolution _convolution mkldnn_convolution cudnn_convolution \
         convolution_overrideable conv_depthwise3d _conv_depthwise2d slow_conv2d_forward \
         thnn_conv2d _slow_conv2d_forward miopen_convolution deform_conv2d \
         cudnn_convolution_relu cudnn_convolution_add_relu",
        "Conv",
        Multiplies(products::convolution),
    ),
    (
        "conv_transpose1d conv_transpose2d conv_transpose3d cudnn_convolution_transpose \
         slow_conv_transpose2d",
        "ConvTranspose",
        Multiplies(products::transposed_convolution),
    ),
    (
        "scaled_dot_product_attention _scaled_dot_product_flash_attention \
         _scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention \
         _scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_fused_attention_overrideable \
         _scaled_dot_product_attention_math _scaled_dot_product_attention_math_for_mps",
        "ScaledDotProductAttention",
        Multiplies(products::attention),
    ),
    (
        "_flash_attention_forward _efficient_attention_forward _cudnn_attention_forward",
        "ScaledDotProductAttention",
        Multiplies(products::attention_by_token),
    ),
    ("_native_multi_head_attention", "Attention", Multiplies(products::multi_head)),
    ("_transformer_encoder_layer_fwd", "Attention", Multiplies(products::encoder_layer)),
    ("lstm lstm_cell mkldnn_rnn_layer", "LSTM", Multiplies(products::recurrent)),
    ("gru gru_cell", "GRU", Multiplies(products::recurrent)),
    ("rnn_tanh rnn_relu rnn_tanh_cell rnn_relu_cell", "RNN", Multiplies(products::recurrent)),
];
