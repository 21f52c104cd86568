//! Models that read pictures and text: a tower, a projector, and a decoder, some of whose tokens are
//! what the projector makes.

use ir::diagnostic::Diagnostic;
use serde_json::Value;

use super::layer::op_type;
use super::model::{MAX_DEFAULT_SEQUENCE, Model, Outputs};
use super::net::{Done, Flow, Net, Norm, join};
use super::spec::{Spec, refused};
use super::vision::{CLIP_TOWER, IDEFICS3, INTERNVL, PIXTRAL_TOWER, SIGLIP, Tower};
use crate::config::decoder::{Decoder, Place};
use crate::config::fields::{Fields, invalid};
use crate::config::request::MAX_EXTENT;

/// A family.
#[derive(Clone, Copy)]
pub(super) struct Family {
    /// Makes tokens of pictures.
    pub tokens: fn(&mut Model<'_>, &Spec, &Spec) -> Done,
    /// The module of the decoder but for its head, and its type where the config says nothing.
    pub root: &'static str,
    pub text: &'static str,
    /// Whether the head is the table of words where the config says nothing.
    pub is_tied: bool,
}

/// Where the projector is.
const AT: &str = "model.multi_modal_projector";

/// Writes a tower, a projector and a decoder.
pub(super) fn write(model: &mut Model<'_>, spec: &Spec, family: &Family) -> Outputs {
    model.class(spec, &["ForConditionalGeneration"])?;
    let vision = given(spec, "vision_config")?;
    let features = (family.tokens)(model, spec, &vision)?;
    model.done(&vision);
    let is_tied = Some(spec.flag("tie_word_embeddings", family.is_tied)?);
    let place = Place { root: Some(family.root), is_tied, ..Place::default() };
    spoken(model, spec, family.text, place, Some(features))
}

/// A part that has to be there.
///
/// # Errors
/// `missing-field`.
pub(super) fn given(spec: &Spec, name: &'static str) -> Done<Spec> {
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
) -> Outputs {
    let text = given(spec, "text_config")?;
    let kind = text.text("model_type", kind)?.to_owned();
    let decoder = Decoder::read(Fields(text.object()), &kind, false)?;
    model.warnings.extend(decoder.warnings.iter().cloned());
    let usual = text.n("max_position_embeddings", MAX_DEFAULT_SEQUENCE)?.min(MAX_DEFAULT_SEQUENCE);
    let sequence =
        model.dimension("sequence", (usual, MAX_EXTENT), "tokens, pictures included,")?;
    if let Some(features) = features.filter(|flow| flow.rows > sequence) {
        let message = format!(
            "a picture takes the place of {} tokens, of {sequence} of a sample",
            features.rows
        );
        return Err(Diagnostic::input("invalid-field", message)
            .hint("state more tokens with `--dim sequence=N`"));
    }
    let (trains, batch) = (model.options.trains, model.batch);
    let builder = model.net.builder();
    (builder.batch, builder.sequence) = (batch, sequence);
    let features = features.map(|flow| flow.id);
    decoder.write(builder, trains, Place { features, ..place })
}

/// A tower, its states, and its patches along both axes.
type Towered = (Tower, Vec<Flow>, [u64; 2]);

/// Runs a tower of any kind over one picture of each sample, with its last norm.
fn towered(model: &mut Model<'_>, vision: &Spec, kind: &str) -> Done<Towered> {
    let at = "model.vision_tower";
    let kind = vision.text("model_type", kind)?;
    let tower = match kind {
        "clip_vision_model" => CLIP_TOWER,
        "siglip_vision_model" => SIGLIP,
        "pixtral" => PIXTRAL_TOWER,
        kind => return Err(refused(&format!("a tower of type `{kind}`"))),
    };
    let tower = tower.read(vision)?;
    let grid = tower.grid(model.image(tower.image)?)?;
    let mut all = model.states(at, &tower)?;
    let (net, n) = (&mut model.net, all.len() - 1);
    let norm = join(at, tower.last_norm);
    match kind {
        "clip_vision_model" => {
            let first = net.first(at, all[n])?;
            net.norm(&norm, Norm::Layer, first)?;
        }
        "siglip_vision_model" => {
            all[n] = net.norm(&norm, Norm::Layer, all[n])?;
            if vision.flag("vision_use_head", true)? {
                net.pooling_head(&format!("{at}.head"), &tower.layer, all[n])?;
            }
        }
        _ => {}
    }
    vision.maybe("vocab_size")?;
    vision.maybe("projection_dim")?;
    Ok((tower, all, grid))
}

/// The layers whose states are read, counted from the front.
fn layers_read(spec: &Spec, default: i64, n: usize) -> Done<Vec<usize>> {
    let name = "vision_feature_layer";
    let usual = Value::from(default);
    let value = spec.fields(name).get(name).unwrap_or(&usual);
    let each = value.as_array().map_or_else(|| vec![value], |all| all.iter().collect());
    let wrong = || invalid(name, value, "layers of the tower are needed");
    let read = |value: &Value| {
        let layer = value.as_i64()?;
        let from_front = if layer < 0 { layer.checked_add(n as i64)? } else { layer };
        usize::try_from(from_front).ok().filter(|layer| *layer < n)
    };
    if each.is_empty() || each.len() > 64 {
        return Err(wrong());
    }
    each.into_iter().map(|value| read(value).ok_or_else(wrong)).collect()
}

/// States of the layers that are read, side by side, without the learnt tokens before them.
fn chosen(
    model: &mut Model<'_>,
    spec: &Spec,
    (tower, all): (&Tower, &[Flow]),
    (default, strategy): (i64, &str),
) -> Done {
    let layers = layers_read(spec, default, all.len())?;
    // "Default" drops the first token of each picture, whatever it is.
    let n = match spec.text("vision_feature_select_strategy", strategy)? {
        "default" => tower.n_tokens().max(1),
        _ => 0,
    };
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
fn columns(spec: &Spec, default: u64) -> Done<u64> {
    given(spec, "text_config")?.n("hidden_size", default)
}

/// Squares of a grid of patches that become a token each.
fn squares(grid: [u64; 2], side: u64) -> u64 {
    (grid[0] / side).max(1).saturating_mul((grid[1] / side).max(1))
}

impl Net {
    /// Squares of so many patches along a side as tokens, of which there are so many.
    pub(super) fn merged(&mut self, at: (&str, &str), x: Flow, (side, rows): (u64, u64)) -> Done {
        let wide = x.width.saturating_mul(side).saturating_mul(side);
        self.moved((at.0, at.1, "Transpose"), &[x], (x.count, rows, wide))
    }
}

/// Two products with a pointwise function between them.
fn projected(model: &mut Model<'_>, spec: &Spec, (x, bias): (Flow, bool), width: u64) -> Done {
    let (first, second) = (format!("{AT}.linear_1"), format!("{AT}.linear_2"));
    let wide = model.net.linear(&first, x, width, bias)?;
    let act = op_type(spec.text("projector_hidden_act", "gelu")?);
    let active = model.net.act(&first, act, wide)?;
    model.net.linear(&second, active, width, bias)
}

pub(super) fn llava(model: &mut Model<'_>, spec: &Spec, vision: &Spec) -> Done {
    let (tower, all, _) = towered(model, vision, "clip_vision_model")?;
    let features = chosen(model, spec, (&tower, &all), (-2, "default"))?;
    let bias = spec.flag("multimodal_projector_bias", true)?;
    spec.maybe("image_seq_length")?;
    projected(model, spec, (features, bias), columns(spec, 4096)?)
}

pub(super) fn mistral3(model: &mut Model<'_>, spec: &Spec, vision: &Spec) -> Done {
    let (tower, all, grid) = towered(model, vision, "pixtral")?;
    let features = chosen(model, spec, (&tower, &all), (-1, "full"))?;
    let net = &mut model.net;
    let normed = net.norm_of(&format!("{AT}.norm"), Norm::Rms, features, tower.width)?;
    let side = spec.n("spatial_merge_size", 2)?;
    let module = format!("{AT}.patch_merger");
    let merged = net.merged((&module, "merge"), normed, (side, squares(grid, side)))?;
    let merged = net.linear(&format!("{module}.merging_layer"), merged, tower.width, false)?;
    let bias = spec.flag("multimodal_projector_bias", false)?;
    projected(model, spec, (merged, bias), columns(spec, 5120)?)
}

/// Means of squares of patches leave as many tokens as the config says.
pub(super) fn gemma3(model: &mut Model<'_>, spec: &Spec, vision: &Spec) -> Done {
    let (tower, all, grid) = towered(model, vision, "siglip_vision_model")?;
    let (net, x) = (&mut model.net, all[all.len() - 1]);
    let side = spec.n("mm_tokens_per_image", 256)?.isqrt().max(1);
    let kernel = (grid[0] / side).max(1);
    let size = (x.count, (grid[0] / kernel).saturating_mul(grid[0] / kernel), tower.width);
    let pooled = net.moved((AT, "avg_pool", "AveragePool"), &[x], size)?;
    let normed = net.norm(&format!("{AT}.mm_soft_emb_norm"), Norm::Rms, pooled)?;
    let width = columns(spec, 2304)?;
    let name = format!("{AT}.mm_input_projection");
    let weight = net.parameter(&format!("{name}_weight"), &[tower.width, width])?;
    net.product(&name, normed, width, &[weight])
}

pub(super) fn paligemma(model: &mut Model<'_>, spec: &Spec, vision: &Spec) -> Done {
    let (_, all, _) = towered(model, vision, "siglip_vision_model")?;
    let width = vision.n("projection_dim", spec.n("projection_dim", 2048)?)?;
    spec.maybe("hidden_size")?;
    spec.maybe("vocab_size")?;
    model.net.linear(&format!("{AT}.linear"), all[all.len() - 1], width, true)
}

pub(super) fn idefics3(model: &mut Model<'_>, spec: &Spec, vision: &Spec) -> Done {
    let (at, module) = ("model.vision_model", "model.connector");
    let state = model.tower(at, &IDEFICS3.read(vision)?)?;
    let net = &mut model.net;
    let normed = net.norm(&format!("{at}.post_layernorm"), Norm::Layer, state)?;
    let side = spec.n("scale_factor", 2)?;
    let rows = (normed.rows / side.saturating_mul(side)).max(1);
    let shuffled = net.merged((module, "shuffle"), normed, (side, rows))?;
    let width = columns(spec, 4096)?;
    net.linear(&format!("{module}.modality_projection.proj"), shuffled, width, false)
}

pub(super) fn internvl(model: &mut Model<'_>, spec: &Spec, vision: &Spec) -> Done {
    let (at, tower) = ("model.vision_tower", INTERNVL.read(vision)?);
    let grid = tower.grid(model.image(tower.image)?)?;
    let mut all = model.states(at, &tower)?;
    if !vision.flag("use_mean_pooling", true)? {
        let last = all[all.len() - 1];
        all.push(model.net.norm(&format!("{at}.layernorm"), tower.layer.norm, last)?);
    }
    let features = chosen(model, spec, (&tower, &all), (-1, "default"))?;
    let ratio = spec.real("downsample_ratio", 0.5)?;
    let side = if ratio > 0.0 { (1.0 / ratio) as u64 } else { 1 }.max(1);
    let size = (side, squares(grid, side));
    let shuffled = model.net.merged((AT, "shuffle"), features, size)?;
    let normed = model.net.norm(&format!("{AT}.layer_norm"), Norm::Layer, shuffled)?;
    spec.maybe("image_seq_length")?;
    projected(model, spec, (normed, true), columns(spec, 4096)?)
}
