//! LayoutLMv3: words where they stand on a page, and the page as a picture, in one encoder (Huang et
//! al. 2022, arXiv:2204.08387).

use ir::diagnostic::Diagnostic;
use serde_json::json;

use super::layer::{Layer, Order, Sight};
use super::model::{Model, Outputs, labels};
use super::names::BERT;
use super::net::{Conv, Done, Norm};
use super::spec::Spec;

/// Writes a LayoutLMv3 and its head.
pub(super) fn write(model: &mut Model<'_>, spec: &Spec) -> Outputs {
    let classes = &["Model", "ForTokenClassification", "ForSequenceClassification"];
    let class = match spec.has("architectures") {
        true => model.task(spec, "layoutlmv3", classes)?,
        false => "Model",
    };
    for name in ["text_embed", "visual_embed"] {
        spec.only(name, &json!(true))?;
    }
    let width = spec.n("hidden_size", 768)?;
    let sizes = (width, spec.n("num_attention_heads", 12)?, spec.n("intermediate_size", 3072)?);
    let layer = Layer::new(&BERT, sizes, Order::Post)?.acting(spec.text("hidden_act", "gelu")?);
    let words = words(model, spec, width)?;
    let seen = page(model, spec, width)?;
    let rows = words.rows.saturating_add(seen.rows);
    let (size, at) = ((words.count, rows, width), (model.prefix, "concat", "Concat"));
    let both = model.net.moved(at, &[words, seen], size)?;
    let state = model.net.norm(&model.at("LayerNorm"), Norm::Layer, both)?;
    let mut biases = Vec::new();
    let (bins, spatial) = (spec.n("rel_pos_bins", 32)?, spec.n("rel_2d_pos_bins", 64)?);
    spec.maybe("max_rel_pos")?;
    spec.maybe("max_rel_2d_pos")?;
    let is_spatial = spec.flag("has_spatial_attention_bias", true)?;
    for (name, n, is_there) in [
        ("rel_pos_bias", bins, spec.flag("has_relative_attention_bias", true)?),
        ("rel_pos_x_bias", spatial, is_spatial),
        ("rel_pos_y_bias", spatial, is_spatial),
    ] {
        let module = model.at(&format!("encoder.{name}"));
        if is_there {
            let shape = [layer.heads, n];
            biases.push(model.net.relative((&module, "weight"), shape, [layer.heads, rows])?);
        }
    }
    let sight = Sight { biases: &biases, ..Sight::default() };
    let layers = (model.at("encoder.layer"), spec.n("num_hidden_layers", 12)?);
    let state = model.net.stack(&layer, (&layers.0, layers.1), state, &sight)?;
    let n = labels(spec)?;
    if class == "Model" {
        return Ok(vec![state.id]);
    }
    let is_each = class == "ForTokenClassification";
    let size = (state.count, if is_each { words.rows } else { 1 }, state.width);
    let sliced = model.net.moved(("", "words", "Slice"), &[state], size)?;
    // Few labels of tokens are read off without a dense layer.
    if is_each && n < 10 {
        return model.labelled(spec, "classifier", sliced);
    }
    let dense = model.pooled("classifier.dense", sliced)?;
    model.labelled(spec, "classifier.out_proj", dense)
}

/// Words, their positions, and where on the page they stand.
fn words(model: &mut Model<'_>, spec: &Spec, width: u64) -> Done {
    let positions = spec.n("max_position_embeddings", 512)?;
    let unused = spec.whole("pad_token_id", 1)?.saturating_add(1);
    let sequence = model.sequence(positions.saturating_sub(unused).max(1))?;
    let ids = model.ids("input_ids", sequence)?;
    let boxes = model.net.ids("bbox", &[model.batch, sequence, 4])?;
    let at = model.at("embeddings");
    let module = |name: &str| format!("{at}.{name}");
    let size = (spec.n("vocab_size", 50_265)?, width);
    let mut state = model.words(&module("word_embeddings"), ids, size, sequence)?;
    let types = spec.n("type_vocab_size", 2)?;
    for (name, n) in [("token_type_embeddings", types), ("position_embeddings", positions)] {
        state = model.net.placed(&module(name), n, state)?;
    }
    let reach = spec.n("max_2d_position_embeddings", 1024)?;
    let (coordinate, shape) = (spec.n("coordinate_size", 128)?, spec.n("shape_size", 128)?);
    if coordinate.saturating_mul(4).saturating_add(shape.saturating_mul(2)) != width {
        let message = "four of `coordinate_size` and two of `shape_size` are not `hidden_size`";
        return Err(Diagnostic::input("invalid-field", message));
    }
    let mut places = Vec::new();
    for (name, n, times) in
        [("x", coordinate, 2), ("y", coordinate, 2), ("h", shape, 1), ("w", shape, 1)]
    {
        let (module, rows) = (format!("{at}.{name}_position_embeddings"), sequence * times);
        places.push(model.words(&module, boxes, (reach, n), rows)?);
    }
    let (net, size) = (&mut model.net, (model.batch, sequence, width));
    let joined = net.moved((&at, "places", "Concat"), &places, size)?;
    state = net.add(&at, "add_places", [state, joined])?;
    net.norm(&module("LayerNorm"), Norm::Layer, state)
}

/// The page as patches.
fn page(model: &mut Model<'_>, spec: &Spec, width: u64) -> Done {
    let patch = spec.pair("patch_size", [16; 2])?;
    let image = [spec.n("input_size", 224)?; 2];
    let pixels = model.pixels((1, spec.n("num_channels", 3)?), image)?;
    let conv = Conv::patches(width, &patch);
    let mut state = model.net.conv(&model.at("patch_embed.proj"), &pixels, conv)?.flow();
    state = model.net.prepended(&[(model.at("cls_token"), 1)], state)?;
    let (name, at) = (model.at("pos_embed"), (model.prefix, "add_positions", "Add"));
    state = model.net.with(at, state, (&name, &[1, state.rows, width]))?;
    model.net.norm(&model.at("norm"), Norm::Layer, state)
}
