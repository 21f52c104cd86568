//! Models that read pictures and text: a tower, a projector, and a decoder, some of whose tokens are
//! what the projector makes.

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;
use serde_json::Value;

use super::layer::op_type;
use super::model::{MAX_DEFAULT_SEQUENCE, Model, written};
use super::net::{Flow, Norm};
use super::spec::{Spec, refused};
use super::vision::{Places, Tower};
use crate::config::decoder::{Decoder, Place};
use crate::config::fields::{Fields, invalid};
use crate::config::request::{MAX_EXTENT, Request, Written};

pub(crate) const TYPES: &[&str] =
    &["gemma3", "idefics3", "internvl", "llava", "mistral3", "paligemma", "smolvlm"];

/// Reads a config of one of [`TYPES`].
pub(crate) fn read(request: &Request<'_>) -> Result<Written, Diagnostic> {
    written(request, write)
}

fn write(model: &mut Model<'_>, spec: &Spec) -> Result<Vec<TensorId>, Diagnostic> {
    let kind = spec.text("model_type", "")?.to_owned();
    model.class(spec, &["ForConditionalGeneration"])?;
    let vision = given(spec, "vision_config")?;
    let (features, root) = match kind.as_str() {
        "gemma3" => (gemma3(model, spec, &vision)?, "model.language_model"),
        "idefics3" | "smolvlm" => (idefics3(model, spec, &vision)?, "model.text_model"),
        "internvl" => (internvl(model, spec, &vision)?, "model.language_model"),
        "paligemma" => (paligemma(model, spec, &vision)?, "model.language_model"),
        "mistral3" => (mistral3(model, spec, &vision)?, "model.language_model"),
        _ => (llava(model, spec, &vision)?, "model.language_model"),
    };
    model.done(&vision);
    let usual = ["gemma3", "internvl", "mistral3", "paligemma"].contains(&kind.as_str());
    let is_tied = spec.flag("tie_word_embeddings", usual)?;
    let kind = match kind.as_str() {
        "gemma3" => "gemma3_text",
        "paligemma" => "gemma",
        "mistral3" => "mistral",
        "internvl" => "qwen2",
        _ => "llama",
    };
    let place = Place { root: Some(root), is_tied: Some(is_tied), ..Place::default() };
    spoken(model, spec, kind, place, Some(features))
}

/// A part that has to be there.
///
/// # Errors
/// `missing-field`.
pub(super) fn given(spec: &Spec, name: &'static str) -> Result<Spec, Diagnostic> {
    if spec.has(name) {
        return spec.part(name);
    }
    Err(Diagnostic::input("missing-field", format!("the config has no `{name}`")))
}

/// The decoder of the part `text_config`; features take the place of as many tokens.
pub(super) fn spoken(
    model: &mut Model<'_>,
    spec: &Spec,
    kind: &str,
    place: Place<'_>,
    features: Option<Flow>,
) -> Result<Vec<TensorId>, Diagnostic> {
    let text = given(spec, "text_config")?;
    let kind = text.text("model_type", kind)?.to_owned();
    let decoder = Decoder::read(Fields(text.object()), &kind, false)?;
    model.warnings.extend(decoder.warnings.iter().cloned());
    let usual = text.n("max_position_embeddings", MAX_DEFAULT_SEQUENCE)?.min(MAX_DEFAULT_SEQUENCE);
    let sequence =
        model.dimension("sequence", (usual, MAX_EXTENT), "tokens, pictures included,")?;
    if let Some(features) = features.filter(|own| own.rows > sequence) {
        let message = format!(
            "a picture takes the place of {} tokens, of {sequence} of a sample",
            features.rows
        );
        return Err(Diagnostic::input("invalid-field", message)
            .hint("state more tokens with `--dim sequence=N`"));
    }
    let trains = model.options.trains;
    let batch = model.batch;
    let builder = model.net.builder();
    (builder.batch, builder.sequence) = (batch, sequence);
    let features = features.map(|own| own.id);
    decoder.write(builder, trains, Place { features, ..place })
}

/// Runs a tower of any kind over one picture of each sample: its states, and those behind its last
/// norm.
fn towered(
    model: &mut Model<'_>,
    vision: &Spec,
    at: &str,
    kind: &str,
) -> Result<(Tower, Vec<Flow>, [u64; 2]), Diagnostic> {
    let kind = vision.text("model_type", kind)?.to_owned();
    let tower = match kind.as_str() {
        "clip_vision_model" => Tower::clip(vision)?,
        "siglip_vision_model" => Tower::siglip(vision)?,
        "pixtral" => Tower::pixtral(vision)?,
        kind => return Err(refused(&format!("a tower of type `{kind}`"))),
    };
    let image = model.image(tower.image)?;
    let grid = tower.grid(image)?;
    let pixels = model.pixels((1, tower.channels), image)?;
    let net = &mut model.net;
    let mut all = net.states(at, &tower, &pixels)?;
    let last = all[all.len() - 1];
    let norm = format!("{at}.{}", tower.last_norm);
    match kind.as_str() {
        "clip_vision_model" => {
            let first = net.first(at, last)?;
            net.norm(&norm, Norm::Layer, first)?;
        }
        "siglip_vision_model" => {
            let normed = net.norm(&norm, Norm::Layer, last)?;
            if let Some(last) = all.last_mut() {
                *last = normed;
            }
            if vision.flag("vision_use_head", true)? {
                net.pooling_head(&format!("{at}.head"), &tower.layer, normed)?;
            }
        }
        _ => {}
    }
    vision.maybe("vocab_size")?;
    vision.maybe("projection_dim")?;
    Ok((tower, all, grid))
}

/// The layers whose states are read, counted from the front.
fn layers_read(spec: &Spec, default: i64, n: usize) -> Result<Vec<usize>, Diagnostic> {
    let name = "vision_feature_layer";
    let usual = Value::from(default);
    let value = spec.fields(name).get(name).unwrap_or(&usual);
    let each = value.as_array().map_or_else(|| vec![value], |all| all.iter().collect());
    let wrong = || invalid(name, value, "layers of the tower are needed");
    let read = |own: &Value| {
        let layer = own.as_i64()?;
        let from_front = if layer < 0 { layer.checked_add(n as i64)? } else { layer };
        usize::try_from(from_front).ok().filter(|layer| *layer < n)
    };
    if each.is_empty() || each.len() > 64 {
        return Err(wrong());
    }
    each.into_iter().map(|own| read(own).ok_or_else(wrong)).collect()
}

/// States of the layers that are read, side by side, without the learnt tokens before them.
fn chosen(
    model: &mut Model<'_>,
    spec: &Spec,
    (tower, all, default): (&Tower, &[Flow], i64),
    strategy: &str,
) -> Result<Flow, Diagnostic> {
    let layers = layers_read(spec, default, all.len())?;
    let strategy = spec.text("vision_feature_select_strategy", strategy)?;
    let n = tower.tokens.iter().fold(0u64, |n, own| n.saturating_add(own.1));
    // "Default" drops the first token of each picture, whatever it is.
    let n = if strategy == "default" { n.max(1) } else { 0 };
    let first = all[layers[0]];
    if layers.len() == 1 && n == 0 {
        return Ok(first);
    }
    let rows = first.rows.checked_sub(n).filter(|rows| *rows > 0);
    let rows = rows.ok_or_else(|| refused("a picture of a single token"))?;
    let inputs: Vec<Flow> = layers.iter().map(|layer| all[*layer]).collect();
    let width = first.width.saturating_mul(layers.len() as u64);
    model.net.moved(("", "features", "Slice"), &inputs, (first.count, rows, width))
}

/// Columns of the decoder.
fn columns(spec: &Spec, default: u64) -> Result<u64, Diagnostic> {
    let text = given(spec, "text_config")?;
    text.n("hidden_size", default)
}

/// Two products with a pointwise function between them.
fn projected(
    model: &mut Model<'_>,
    spec: &Spec,
    (x, bias): (Flow, bool),
    width: u64,
) -> Result<Flow, Diagnostic> {
    let at = "model.multi_modal_projector";
    let first = format!("{at}.linear_1");
    let wide = model.net.linear(&first, x, width, bias)?;
    let act = op_type(spec.text("projector_hidden_act", "gelu")?);
    let active = model.net.plain(&first, ("activation", act), &[wide])?;
    model.net.linear(&format!("{at}.linear_2"), active, width, bias)
}

fn llava(model: &mut Model<'_>, spec: &Spec, vision: &Spec) -> Result<Flow, Diagnostic> {
    let (tower, all, _) = towered(model, vision, "model.vision_tower", "clip_vision_model")?;
    let features = chosen(model, spec, (&tower, &all, -2), "default")?;
    let bias = spec.flag("multimodal_projector_bias", true)?;
    spec.maybe("image_seq_length")?;
    projected(model, spec, (features, bias), columns(spec, 4096)?)
}

fn mistral3(model: &mut Model<'_>, spec: &Spec, vision: &Spec) -> Result<Flow, Diagnostic> {
    let (tower, all, grid) = towered(model, vision, "model.vision_tower", "pixtral")?;
    let features = chosen(model, spec, (&tower, &all, -1), "full")?;
    let at = "model.multi_modal_projector";
    let net = &mut model.net;
    let normed = net.norm_of(&format!("{at}.norm"), Norm::Rms, features, tower.width)?;
    let side = spec.n("spatial_merge_size", 2)?;
    let rows = (grid[0] / side).max(1).saturating_mul((grid[1] / side).max(1));
    let wide = normed.width.saturating_mul(side).saturating_mul(side);
    let module = format!("{at}.patch_merger");
    let merged =
        net.moved((&module, "merge", "Transpose"), &[normed], (normed.count, rows, wide))?;
    let merged = net.linear(&format!("{module}.merging_layer"), merged, tower.width, false)?;
    let bias = spec.flag("multimodal_projector_bias", false)?;
    projected(model, spec, (merged, bias), columns(spec, 5120)?)
}

fn gemma3(model: &mut Model<'_>, spec: &Spec, vision: &Spec) -> Result<Flow, Diagnostic> {
    let (tower, all, grid) = towered(model, vision, "model.vision_tower", "siglip_vision_model")?;
    let (net, at) = (&mut model.net, "model.multi_modal_projector");
    let features = all[all.len() - 1];
    // Means of squares of patches leave as many tokens as the config says.
    let side = spec.n("mm_tokens_per_image", 256)?.isqrt().max(1);
    let kernel = (grid[0] / side).max(1);
    let rows = (grid[0] / kernel).saturating_mul(grid[0] / kernel);
    let pooled = net.moved(
        (at, "avg_pool", "AveragePool"),
        &[features],
        (features.count, rows, tower.width),
    )?;
    let normed = net.norm(&format!("{at}.mm_soft_emb_norm"), Norm::Rms, pooled)?;
    let width = columns(spec, 2304)?;
    let name = format!("{at}.mm_input_projection_weight");
    let weight = net.parameter(&name, &[tower.width, width])?;
    net.product(&format!("{at}.mm_input_projection"), normed, width, &[weight])
}

fn paligemma(model: &mut Model<'_>, spec: &Spec, vision: &Spec) -> Result<Flow, Diagnostic> {
    let (_, all, _) = towered(model, vision, "model.vision_tower", "siglip_vision_model")?;
    let features = all[all.len() - 1];
    let width = vision.n("projection_dim", spec.n("projection_dim", 2048)?)?;
    spec.maybe("hidden_size")?;
    spec.maybe("vocab_size")?;
    model.net.linear("model.multi_modal_projector.linear", features, width, true)
}

fn idefics3(model: &mut Model<'_>, spec: &Spec, vision: &Spec) -> Result<Flow, Diagnostic> {
    let at = "model.vision_model";
    let tower = Tower::idefics3(vision)?;
    let image = model.image(tower.image)?;
    let pixels = model.pixels((1, tower.channels), image)?;
    let net = &mut model.net;
    let all = net.states(at, &tower, &pixels)?;
    let normed = net.norm(&format!("{at}.post_layernorm"), Norm::Layer, all[all.len() - 1])?;
    let side = spec.n("scale_factor", 2)?;
    let rows = (normed.rows / side.saturating_mul(side)).max(1);
    let wide = normed.width.saturating_mul(side).saturating_mul(side);
    let module = "model.connector";
    let size = (normed.count, rows, wide);
    let shuffled = net.moved((module, "shuffle", "Transpose"), &[normed], size)?;
    let width = columns(spec, 4096)?;
    model.net.linear(&format!("{module}.modality_projection.proj"), shuffled, width, false)
}

fn internvl(model: &mut Model<'_>, spec: &Spec, vision: &Spec) -> Result<Flow, Diagnostic> {
    let tower = Tower::internvl(vision)?;
    let image = model.image(tower.image)?;
    let grid = tower.grid(image)?;
    let pixels = model.pixels((1, tower.channels), image)?;
    let at = "model.vision_tower";
    let mut all = model.net.states(at, &tower, &pixels)?;
    if !vision.flag("use_mean_pooling", true)? {
        let last = all[all.len() - 1];
        all.push(model.net.norm(&format!("{at}.layernorm"), tower.layer.norm, last)?);
    }
    let features = chosen(model, spec, (&tower, &all, -1), "default")?;
    let ratio = spec.real("downsample_ratio", 0.5)?;
    let side = if ratio > 0.0 { (1.0 / ratio) as u64 } else { 1 }.max(1);
    let rows = (grid[0] / side).max(1).saturating_mul((grid[1] / side).max(1));
    let wide = features.width.saturating_mul(side).saturating_mul(side);
    let module = "model.multi_modal_projector";
    let size = (features.count, rows, wide);
    let shuffled = model.net.moved((module, "shuffle", "Transpose"), &[features], size)?;
    let normed = model.net.norm(&format!("{module}.layer_norm"), Norm::Layer, shuffled)?;
    spec.maybe("image_seq_length")?;
    projected(model, spec, (normed, true), columns(spec, 4096)?)
}

impl Tower {
    /// InternVL's.
    fn internvl(spec: &Spec) -> Result<Self, Diagnostic> {
        let own = Self::scaled(spec, [1024, 24, 16, 4096, 448, 14])?;
        spec.only("use_qk_norm", &Value::Bool(false))?;
        spec.only("norm_type", &Value::from("layer_norm"))?;
        let is_placed = spec.flag("use_absolute_position_embeddings", true)?;
        let mask = spec.flag("use_mask_token", false)?;
        Ok(Self {
            places: if is_placed { own.places } else { Places::Absent },
            mask: mask.then(|| ("embeddings.mask_token", vec![1, 1, own.width])),
            ..own
        })
    }
}
