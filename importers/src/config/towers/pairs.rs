//! Two towers side by side, of pictures and of text (CLIP, Radford et al. 2021; SigLIP), and either
//! of them alone.

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;
use ir::op::Product;

use super::layer::{Layer, Order, Sight, join};
use super::model::{Model, labels, written};
use super::net::{Flow, Norm};
use super::spec::Spec;
use super::vision::{CLIP, Tower};
use crate::config::builder::NewOp;
use crate::config::request::{Request, Written};

pub(crate) const TYPES: &[&str] = &[
    "clip",
    "clip_text_model",
    "clip_vision_model",
    "siglip",
    "siglip2",
    "siglip2_text_model",
    "siglip2_vision_model",
    "siglip_text_model",
    "siglip_vision_model",
];

/// Reads a config of one of [`TYPES`].
pub(crate) fn read(request: &Request<'_>) -> Result<Written, Diagnostic> {
    written(request, write)
}

/// Classes of a task, the usual one first, longer names before what they end with.
const CLASSES: &[&str] = &[
    "ForImageClassification",
    "TextModelWithProjection",
    "VisionModelWithProjection",
    "TextModel",
    "VisionModel",
    "Model",
];

fn write(model: &mut Model<'_>, spec: &Spec) -> Result<Vec<TensorId>, Diagnostic> {
    let kind = spec.text("model_type", "")?.to_owned();
    let is_clip = kind.starts_with("clip");
    let class = match model.class(spec, CLASSES)? {
        "Model" | "ForImageClassification" if kind.contains("_text") => "TextModel",
        "Model" | "ForImageClassification" if kind.contains("_vision") => "VisionModel",
        class => class,
    };
    let part = |name: &'static str| match kind.contains('_') {
        true => Ok(Spec::new(spec.object())),
        false => spec.part(name),
    };
    let is_seen = class != "TextModel" && class != "TextModelWithProjection";
    let is_read = class == "Model" || !is_seen;
    let mut outputs = Vec::new();
    let is_alone = class == "TextModel" || class == "VisionModel";
    let at = |name: &'static str| if is_alone { "" } else { name };
    let (vision, text) = (part("vision_config")?, part("text_config")?);
    let width = spec.n("projection_dim", 512)?;
    let has_projection = is_clip && !is_alone;
    if is_seen {
        let [state, pooled] = seen(model, &vision, at("vision_model"), &kind)?;
        model.done(&vision);
        if class == "ForImageClassification" {
            let mean = model.net.mean("vision_model", state)?;
            return Ok(vec![model.net.linear("classifier", mean, labels(spec)?, true)?.id]);
        }
        outputs.push(match has_projection {
            true => model.net.linear("visual_projection", pooled, width, false)?,
            false => pooled,
        });
    }
    if is_read {
        let read = read_text(model, &text, at("text_model"), is_clip)?;
        model.done(&text);
        outputs.push(match has_projection {
            true => model.net.linear("text_projection", read, width, false)?,
            false => read,
        });
    }
    if let [image, text] = outputs[..] {
        outputs.push(similar(model, [image, text], is_clip)?);
    }
    Ok(outputs.into_iter().map(|own| own.id).collect())
}

/// Every picture against every text.
fn similar(
    model: &mut Model<'_>,
    [image, text]: [Flow; 2],
    is_clip: bool,
) -> Result<Flow, Diagnostic> {
    let (batch, net) = (model.batch, &mut model.net);
    let mut parameters = Vec::new();
    match is_clip {
        true => parameters.push(net.parameter("logit_scale", &[])?),
        false => {
            for name in ["logit_scale", "logit_bias"] {
                parameters.push(net.parameter(name, &[1])?);
            }
        }
    }
    let id = net.op(&NewOp {
        module: "",
        part: "logits",
        op_type: "MatMul",
        inputs: &[text.id, image.id],
        parameters: &parameters,
        shape: &[batch, batch],
        products: &[Product { count: 1, m: batch, k: text.width, n: batch }],
    })?;
    Ok(Flow { id, count: 1, rows: batch, width: batch })
}

/// The tower of pictures: its states, and what is read of each picture.
fn seen(
    model: &mut Model<'_>,
    vision: &Spec,
    at: &str,
    kind: &str,
) -> Result<[Flow; 2], Diagnostic> {
    let is_clip = kind.starts_with("clip");
    let tower = if is_clip { Tower::clip(vision)? } else { Tower::siglip(vision)? };
    let is_flat = vision.has("num_patches") || kind.starts_with("siglip2");
    let state = if is_flat {
        flat(model, vision, &tower, at)?
    } else {
        let image = model.image(tower.image)?;
        let pixels = model.pixels((1, tower.channels), image)?;
        model.net.tower(at, &tower, &pixels)?
    };
    let norm = join(at, tower.last_norm);
    if is_clip {
        let first = model.net.first(at, state)?;
        return Ok([state, model.net.norm(&norm, Norm::Layer, first)?]);
    }
    let state = model.net.norm(&norm, Norm::Layer, state)?;
    let pooled = match vision.flag("vision_use_head", true)? {
        true => model.net.pooling_head(&join(at, "head"), &tower.layer, state)?,
        false => state,
    };
    Ok([state, pooled])
}

/// A tower whose caller cuts pictures of any form into as many patches (SigLIP 2).
fn flat(model: &mut Model<'_>, vision: &Spec, tower: &Tower, at: &str) -> Result<Flow, Diagnostic> {
    let n = vision.n("num_patches", 256)?;
    let pixels = tower.patch[0].saturating_mul(tower.patch[1]).saturating_mul(tower.channels);
    let id = model.net.fed("pixel_values", &[model.batch, n, pixels])?;
    let cut = Flow { id, count: model.batch, rows: n, width: pixels };
    let module = join(at, tower.conv.0);
    let net = &mut model.net;
    let mut state = net.linear(&module, cut, tower.width, true)?;
    let module = join(at, "embeddings.position_embedding");
    let own = net.table(&module, &[], (n, tower.width), (1, n))?;
    state = net.add(&module, "add", [state, own])?;
    for i in 0..tower.n_layers {
        let at = format!("{}.{i}", join(at, tower.layers));
        state = net.layer(&tower.layer, &at, state, &Sight::default())?;
    }
    Ok(state)
}

/// The tower of text: what is read of each sample.
fn read_text(
    model: &mut Model<'_>,
    text: &Spec,
    at: &str,
    is_clip: bool,
) -> Result<Flow, Diagnostic> {
    let base = match is_clip {
        true => [49_408, 512, 12, 8, 2048, 77],
        false => [32_000, 768, 12, 12, 3072, 64],
    };
    let [vocabulary, width, n_layers, heads, inner, positions] = base;
    let width = text.n("hidden_size", width)?;
    let sizes = (width, text.n("num_attention_heads", heads)?, text.n("intermediate_size", inner)?);
    let act = if is_clip { "quick_gelu" } else { "gelu_pytorch_tanh" };
    let layer = Layer::new(&CLIP, sizes, Order::Pre)?.acting(text.text("hidden_act", act)?);
    let (vocabulary, positions) =
        (text.n("vocab_size", vocabulary)?, text.n("max_position_embeddings", positions)?);
    let sequence = model.sequence(positions)?;
    let ids = model.net.ids("input_ids", &[model.batch, sequence])?;
    let net = &mut model.net;
    let module = join(at, "embeddings.token_embedding");
    let mut state = net.table(&module, &[ids], (vocabulary, width), (model.batch, sequence))?;
    let module = join(at, "embeddings.position_embedding");
    let own = net.table(&module, &[], (positions, width), (1, sequence))?;
    state = net.add(&module, "add", [state, own])?;
    for i in 0..text.n("num_hidden_layers", n_layers)? {
        let at = format!("{}.{i}", join(at, "encoder.layers"));
        state = net.layer(&layer, &at, state, &Sight::default())?;
    }
    state = net.norm(&join(at, "final_layer_norm"), Norm::Layer, state)?;
    let one = net.moved((at, "last_token", "Slice"), &[state], (state.count, 1, width))?;
    match is_clip {
        true => Ok(one),
        false => net.linear(&join(at, "head"), one, text.n("projection_size", width)?, true),
    }
}
