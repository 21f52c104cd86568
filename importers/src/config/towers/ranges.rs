//! What the numbers of these models may be at most.

use crate::config::fields::Range;

pub(crate) const RANGES: &[Range] = &[
    Range {
        names: "n_layers encoder_layers decoder_layers num_encoder_layers depth depths \
            num_hidden_groups num_adapter_layers num_global_layers block_sizes block_repeats \
            global_attn_every_n_layers cross_attention_frequency num_stages num_encoder_blocks",
        most: 2_000,
        reason: "16 times the deepest published model (126 blocks)",
    },
    Range {
        names: "dim embedding_size embed_dim projection_dim projection_size hidden_sizes \
            word_embed_proj_dim output_channels conv_dim conv_channels classifier_proj_size \
            output_hidden_size out_hidden_size vision_output_dim encoder_hidden_size \
            mask_input_channels coordinate_size shape_size vision_hidden_size \
            cross_attention_hidden_size pooler_hidden_size image_text_hidden_size \
            decoder_hidden_size attention_hidden_size vocab_hidden_size pooler_output_size \
            codevector_dim proj_codevector_dim",
        most: 1 << 20,
        reason: "64 times the widest published model (16,384)",
    },
    Range {
        names: "hidden_dim encoder_ffn_dim decoder_ffn_dim ffn_dim mlp_dim d_inner \
            iou_head_hidden_dim",
        most: 1 << 22,
        reason: "64 times the widest published feed-forward part (53,248)",
    },
    Range {
        names: "n_heads encoder_attention_heads decoder_attention_heads \
            num_encoder_attention_heads num_decoder_attention_heads attention_heads \
            attention_downsample_rate",
        most: 1 << 14,
        reason: "128 times the most heads of a published model (128)",
    },
    Range { names: "d_head", most: 1 << 14, reason: "64 times the largest published head (256)" },
    Range {
        names: "decoder_vocab_size src_vocab_size tgt_vocab_size",
        most: 1 << 24,
        reason: "64 times the largest published vocabulary (256,000)",
    },
    Range {
        names: "max_source_positions max_target_positions max_encoder_position_embeddings \
            max_decoder_position_embeddings max_2d_position_embeddings num_position_embeddings \
            local_attention attention_window block_size pad_token_id image_seq_length \
            mm_tokens_per_image num_query_tokens num_queries num_detection_tokens \
            relative_attention_num_buckets_ num_buckets max_rel_pos max_rel_2d_pos rel_pos_bins \
            rel_2d_pos_bins position_buckets max_relative_positions num_image_tokens",
        most: 1 << 24,
        reason: "above the longest published context (10 Mi tokens)",
    },
    Range {
        names: "image_size input_size image_embedding_size",
        most: 1 << 15,
        reason: "8 times the largest published image (4,096 pixels)",
    },
    Range {
        names: "patch_size patch_sizes window_size temporal_patch_size spatial_merge_size \
            scale_factor num_random_blocks conv_kernel conv_stride conv_kernel_sizes strides \
            sr_ratios stem_kernel num_conv_pos_embeddings num_conv_pos_embedding_groups \
            conv_pos_kernel_size adapter_kernel_size adapter_stride kernel_size \
            num_attention_heads_ max_num_tiles num_register_tokens",
        most: 1 << 12,
        reason: "32 times the largest published (128)",
    },
    Range {
        names: "num_channels in_channels in_chans num_mel_bins input_feat_per_channel \
            input_channels audio_channels num_codebooks num_conv_layers num_feat_extract_layers \
            ngram inner_group_num num_multimask_outputs iou_head_depth num_point_embeddings \
            num_labels_ out_indices global_attn_indexes fullatt_block_indexes \
            deepstack_visual_indexes cross_attention_layers intermediate_layers_indices \
            supported_aspect_ratios num_codevector_groups num_codevectors_per_group mlp_ratios",
        most: 1 << 12,
        reason: "8 times the most that is published (512)",
    },
];
