//! Encoders, encoder-decoders, and models that see or hear: written out from traits, with the
//! module names of the library's own classes (transformers 5.23). Each family is a row of
//! [`families`], each shape of model has one writer.

mod audio;
mod crossed;
mod detr;
mod families;
mod layer;
mod layout;
mod model;
mod multimodal;
mod names;
mod net;
mod pairs;
mod pyramids;
mod qwen_vl;
pub(super) mod ranges;
mod resnet;
mod seq2seq;
mod spec;
mod swin;
mod t5;
mod text;
mod vision;
mod vision_kinds;
mod xlnet;

use ir::diagnostic::Diagnostic;

use super::architecture::unknown_type;
use super::request::{Request, Written};
use families::{FAMILIES, Form};

/// All model types of these families.
pub(super) fn types() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|(name, _)| *name)
}

/// Reads a config of one of [`types`].
///
/// # Errors
/// See [`super::read`].
pub(super) fn read(request: &Request<'_>) -> Result<Written, Diagnostic> {
    let kind = request.model_type;
    let found = FAMILIES.iter().find(|(name, _)| *name == kind);
    let (_, form) = found.ok_or_else(|| unknown_type(kind))?;
    model::written(request, |model, spec| match form {
        Form::Sound(family) => audio::write(model, spec, family),
        Form::Text(family) => text::write(model, spec, family),
        Form::Sides(family) => seq2seq::write(model, spec, family),
        Form::T5(family) => t5::write(model, spec, family),
        Form::Seen(family) => vision_kinds::write(model, spec, family),
        Form::ConvNext(family) => pyramids::convnext(model, spec, family),
        Form::Pair(family) => pairs::write(model, spec, family),
        Form::Pictures(family) => multimodal::write(model, spec, family),
        Form::Qwen(family) => qwen_vl::write(model, spec, family),
        Form::Own(write) => write(model, spec),
    })
}
