//! LayoutLMv3: words where they stand on a page, and the page as a picture, in one encoder (Huang et
//! al. 2022, arXiv:2204.08387).

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;
use serde_json::json;

use super::layer::{Layer, Order, Sight, join};
use super::model::{Model, labels, written};
use super::net::{Conv, Flow, Norm};
use super::spec::Spec;
use super::text;
use super::text_kinds::BERT;
use crate::config::request::{Request, Written};

pub(crate) const TYPES: &[&str] = &["layoutlmv3"];

/// Reads a config of one of [`TYPES`].
pub(crate) fn read(request: &Request<'_>) -> Result<Written, Diagnostic> {
    written(request, write)
}

fn write(model: &mut Model<'_>, spec: &Spec) -> Result<Vec<TensorId>, Diagnostic> {
    let class = match spec.has("architectures") {
        true => {
            model.class(spec, &["Model", "ForTokenClassification", "ForSequenceClassification"])?
        }
        false => "Model",
    };
    let prefix = if class == "Model" { "" } else { "layoutlmv3" };
    for name in ["text_embed", "visual_embed"] {
        spec.only(name, &json!(true))?;
    }
    let width = spec.n("hidden_size", 768)?;
    let sizes = (width, spec.n("num_attention_heads", 12)?, spec.n("intermediate_size", 3072)?);
    let layer = Layer::new(&BERT, sizes, Order::Post)?.acting(spec.text("hidden_act", "gelu")?);
    let words = words(model, spec, prefix, width)?;
    let seen = page(model, spec, prefix, width)?;
    let net = &mut model.net;
    let rows = words.rows.saturating_add(seen.rows);
    let size = (words.count, rows, width);
    let both = net.moved((prefix, "concat", "Concat"), &[words, seen], size)?;
    let mut state = net.norm(&join(prefix, "LayerNorm"), Norm::Layer, both)?;
    let mut biases = Vec::new();
    let (bins, spatial) = (spec.n("rel_pos_bins", 32)?, spec.n("rel_2d_pos_bins", 64)?);
    spec.maybe("max_rel_pos")?;
    spec.maybe("max_rel_2d_pos")?;
    let is_spatial = spec.flag("has_spatial_attention_bias", true)?;
    let tables = [
        ("rel_pos_bias", bins, spec.flag("has_relative_attention_bias", true)?),
        ("rel_pos_x_bias", spatial, is_spatial),
        ("rel_pos_y_bias", spatial, is_spatial),
    ];
    for (name, n, _) in tables.into_iter().filter(|own| own.2) {
        let module = join(prefix, &format!("encoder.{name}"));
        let weight = format!("{module}.weight");
        biases.push(net.relative(
            &module,
            (&weight, [layer.heads, n]),
            [layer.heads, rows, rows],
        )?);
    }
    let sight = Sight { biases: &biases, ..Sight::default() };
    for i in 0..spec.n("num_hidden_layers", 12)? {
        let at = format!("{}.{i}", join(prefix, "encoder.layer"));
        state = net.layer(&layer, &at, state, &sight)?;
    }
    head(model, (class, labels(spec)?), state, words.rows)
}

/// What a class reads off the state of words and patches.
fn head(
    model: &mut Model<'_>,
    (class, n): (&str, u64),
    state: Flow,
    n_words: u64,
) -> Result<Vec<TensorId>, Diagnostic> {
    let net = &mut model.net;
    match class {
        "Model" => Ok(vec![state.id]),
        // Few labels are read off without a dense layer.
        "ForTokenClassification" if n < 10 => {
            let size = (state.count, n_words, state.width);
            let own = net.moved(("", "words", "Slice"), &[state], size)?;
            Ok(vec![net.linear("classifier", own, n, true)?.id])
        }
        _ => {
            let rows = if class == "ForTokenClassification" { n_words } else { 1 };
            let size = (state.count, rows, state.width);
            let own = net.moved(("", "words", "Slice"), &[state], size)?;
            let dense = text::pooled(model, "classifier.dense", own)?;
            Ok(vec![model.net.linear("classifier.out_proj", dense, n, true)?.id])
        }
    }
}

/// Words, their positions, and where on the page they stand.
fn words(model: &mut Model<'_>, spec: &Spec, prefix: &str, width: u64) -> Result<Flow, Diagnostic> {
    let positions = spec.n("max_position_embeddings", 512)?;
    let unused = spec.whole("pad_token_id", 1)?.saturating_add(1);
    let sequence = model.sequence(positions.saturating_sub(unused).max(1))?;
    let ids = model.net.ids("input_ids", &[model.batch, sequence])?;
    let boxes = model.net.ids("bbox", &[model.batch, sequence, 4])?;
    let (net, at) = (&mut model.net, join(prefix, "embeddings"));
    let size = (model.batch, sequence);
    let module = |name: &str| format!("{at}.{name}");
    let mut state = net.table(
        &module("word_embeddings"),
        &[ids],
        (spec.n("vocab_size", 50_265)?, width),
        size,
    )?;
    for (name, n) in [
        ("token_type_embeddings", spec.n("type_vocab_size", 2)?),
        ("position_embeddings", positions),
    ] {
        let own = net.table(&module(name), &[], (n, width), (1, sequence))?;
        state = net.add(&module(name), "add", [state, own])?;
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
        let module = module(&format!("{name}_position_embeddings"));
        let rows = (model.batch, sequence.saturating_mul(times));
        places.push(net.table(&module, &[boxes], (reach, n), rows)?);
    }
    let joined = net.moved((&at, "places", "Concat"), &places, (model.batch, sequence, width))?;
    state = net.add(&at, "add_places", [state, joined])?;
    net.norm(&format!("{at}.LayerNorm"), Norm::Layer, state)
}

/// The page as patches.
fn page(model: &mut Model<'_>, spec: &Spec, prefix: &str, width: u64) -> Result<Flow, Diagnostic> {
    let patch = spec.pair("patch_size", 16)?;
    let image = [spec.n("input_size", 224)?; 2];
    let pixels = model.pixels((1, spec.n("num_channels", 3)?), image)?;
    let net = &mut model.net;
    let conv = Conv::patches(width, &patch);
    let mut state = net.conv(&join(prefix, "patch_embed.proj"), &pixels, conv)?.flow();
    state = net.prepended(&[(join(prefix, "cls_token"), 1)], state)?;
    let name = join(prefix, "pos_embed");
    state = net.with((prefix, "add_positions", "Add"), state, (&name, &[1, state.rows, width]))?;
    net.norm(&join(prefix, "norm"), Norm::Layer, state)
}
