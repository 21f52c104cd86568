//! Two towers side by side, of pictures and of text (CLIP, Radford et al. 2021; SigLIP), and either
//! of them alone.

use ir::op::Product;

use super::layer::{Layer, Order, Sight};
use super::model::{Model, Outputs};
use super::names::CLIP;
use super::net::{Done, Flow, Norm, join};
use super::spec::Spec;
use super::vision::{CLIP_TOWER, SIGLIP, Tower};
use crate::config::builder::NewOp;

/// A family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    /// The tower that stands alone, where the config is one's.
    pub alone: Option<&'static str>,
    pub tower: Tower,
    /// Of the tower of text where the config says nothing: words, columns, blocks, heads, columns of
    /// the feed-forward part, positions.
    pub text: [u64; 6],
    /// Whether both towers are projected, and pictures are read off the first token.
    pub is_clip: bool,
    /// Whether the caller cuts pictures of any form into patches.
    pub is_flat: bool,
}

pub(super) const CLIP_PAIR: Family = Family {
    alone: None,
    tower: CLIP_TOWER,
    text: [49_408, 512, 12, 8, 2048, 77],
    is_clip: true,
    is_flat: false,
};

pub(super) const SIGLIP_PAIR: Family =
    Family { tower: SIGLIP, text: [32_000, 768, 12, 12, 3072, 64], is_clip: false, ..CLIP_PAIR };

/// Classes of a task, the usual one first, longer names before what they end with.
const CLASSES: &[&str] = &[
    "ForImageClassification",
    "TextModelWithProjection",
    "VisionModelWithProjection",
    "TextModel",
    "VisionModel",
    "Model",
];

/// Writes both towers, or one of them.
pub(super) fn write(model: &mut Model<'_>, spec: &Spec, family: &Family) -> Outputs {
    let class = match model.class(spec, CLASSES)? {
        class @ ("Model" | "ForImageClassification") => family.alone.unwrap_or(class),
        class => class,
    };
    let part = |name: &'static str| match family.alone {
        Some(_) => Ok(Spec::new(spec.object())),
        None => spec.part(name),
    };
    let is_seen = !class.starts_with("TextModel");
    let is_read = class == "Model" || !is_seen;
    let is_alone = class == "TextModel" || class == "VisionModel";
    let at = |name: &'static str| if is_alone { "" } else { name };
    let (vision, text) = (part("vision_config")?, part("text_config")?);
    let width = spec.n("projection_dim", 512)?;
    let is_projected = family.is_clip && !is_alone;
    let projected = |model: &mut Model<'_>, name: &str, x: Flow| match is_projected {
        true => model.net.linear(name, x, width, false),
        false => Ok(x),
    };
    let mut outputs = Vec::new();
    if is_seen {
        let [state, pooled] = seen(model, &vision, at("vision_model"), family)?;
        model.done(&vision);
        if class == "ForImageClassification" {
            let mean = model.net.mean("vision_model", state)?;
            return model.labelled(spec, "classifier", mean);
        }
        outputs.push(projected(model, "visual_projection", pooled)?);
    }
    if is_read {
        let read = read_text(model, &text, at("text_model"), family)?;
        model.done(&text);
        outputs.push(projected(model, "text_projection", read)?);
    }
    if let [image, text] = outputs[..] {
        outputs.push(similar(model, [image, text], family.is_clip)?);
    }
    Ok(outputs.into_iter().map(|output| output.id).collect())
}

/// Every picture against every text.
fn similar(model: &mut Model<'_>, [image, text]: [Flow; 2], is_clip: bool) -> Done {
    let (batch, net) = (model.batch, &mut model.net);
    let mut parameters = vec![net.parameter("logit_scale", &[1][usize::from(is_clip)..])?];
    if !is_clip {
        parameters.push(net.parameter("logit_bias", &[1])?);
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
fn seen(model: &mut Model<'_>, vision: &Spec, at: &str, family: &Family) -> Done<[Flow; 2]> {
    let tower = family.tower.read(vision)?;
    let state = match vision.has("num_patches") || family.is_flat {
        true => flat(model, vision, &tower, at)?,
        false => model.tower(at, &tower)?,
    };
    let (norm, net) = (join(at, tower.last_norm), &mut model.net);
    if family.is_clip {
        let first = net.first(at, state)?;
        return Ok([state, net.norm(&norm, Norm::Layer, first)?]);
    }
    let state = net.norm(&norm, Norm::Layer, state)?;
    let pooled = match vision.flag("vision_use_head", true)? {
        true => net.pooling_head(&join(at, "head"), &tower.layer, state)?,
        false => state,
    };
    Ok([state, pooled])
}

/// A tower whose caller cuts pictures of any form into as many patches (SigLIP 2).
fn flat(model: &mut Model<'_>, vision: &Spec, tower: &Tower, at: &str) -> Done {
    let n = vision.n("num_patches", 256)?;
    let pixels = tower.patch[0].saturating_mul(tower.patch[1]).saturating_mul(tower.channels);
    let id = model.net.fed("pixel_values", &[model.batch, n, pixels])?;
    let cut = Flow { id, count: model.batch, rows: n, width: pixels };
    let net = &mut model.net;
    let state = net.linear(&join(at, tower.conv.0), cut, tower.width, true)?;
    let state = net.placed(&join(at, "embeddings.position_embedding"), n, state)?;
    let layers = join(at, tower.layers);
    net.stack(&tower.layer, (&layers, tower.n_layers), state, &Sight::default())
}

/// The tower of text: what is read of each sample.
fn read_text(model: &mut Model<'_>, text: &Spec, at: &str, family: &Family) -> Done {
    let [vocabulary, width, n_layers, heads, inner, positions] = family.text;
    let width = text.n("hidden_size", width)?;
    let sizes = (width, text.n("num_attention_heads", heads)?, text.n("intermediate_size", inner)?);
    let act = text.text("hidden_act", family.tower.act)?;
    let layer = Layer::new(&CLIP, sizes, Order::Pre)?.acting(act);
    let vocabulary = text.n("vocab_size", vocabulary)?;
    let positions = text.n("max_position_embeddings", positions)?;
    let sequence = model.sequence(positions)?;
    let ids = model.ids("input_ids", sequence)?;
    let table = join(at, "embeddings.token_embedding");
    let state = model.words(&table, ids, (vocabulary, width), sequence)?;
    let net = &mut model.net;
    let state = net.placed(&join(at, "embeddings.position_embedding"), positions, state)?;
    let (layers, n) = (join(at, "encoder.layers"), text.n("num_hidden_layers", n_layers)?);
    let state = net.stack(&layer, (&layers, n), state, &Sight::default())?;
    let state = net.norm(&join(at, "final_layer_norm"), Norm::Layer, state)?;
    let one = net.one(at, "last_token", state)?;
    match family.is_clip {
        true => Ok(one),
        false => net.linear(&join(at, "head"), one, text.n("projection_size", width)?, true),
    }
}
