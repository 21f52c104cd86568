//! Encoders, encoder-decoders, and models that see or hear: written out from traits, with the
//! module names of the library's own classes (transformers 5.23).

mod audio;
mod crossed;
mod detr;
mod layer;
mod layout;
mod model;
mod multimodal;
mod net;
mod pairs;
mod pyramids;
mod qwen_vl;
pub(super) mod ranges;
mod seq2seq;
mod seq2seq_forms;
mod spec;
mod swin;
mod t5;
mod text;
mod text_kinds;
mod vision;
mod vision_kinds;
mod xlnet;

use super::request::Reader;

/// Model types and who reads them.
pub(super) const READERS: &[(&[&str], Reader)] = &[
    (audio::TYPES, audio::read),
    (crossed::TYPES, crossed::read),
    (detr::TYPES, detr::read),
    (layout::TYPES, layout::read),
    (multimodal::TYPES, multimodal::read),
    (pairs::TYPES, pairs::read),
    (pyramids::TYPES, pyramids::read),
    (qwen_vl::TYPES, qwen_vl::read),
    (seq2seq::TYPES, seq2seq::read),
    (swin::TYPES, swin::read),
    (t5::TYPES, t5::read),
    (text_kinds::TYPES, text_kinds::read),
    (vision_kinds::TYPES, vision_kinds::read),
    (xlnet::TYPES, xlnet::read),
];
