//! A detector: a network of convolutions, an encoder over its last grid, and a decoder whose learnt
//! questions become boxes (Carion et al. 2020, arXiv:2005.12872).

use serde_json::json;

use super::layer::{Layer, Order, Sight};
use super::model::{Model, Outputs, labels};
use super::names::DETR;
use super::net::{Conv, Done, Grid, Norm};
use super::resnet::Resnet;
use super::spec::{Spec, refused};
use super::vision_kinds::layered;

/// Pixels of a side where nobody states them.
const DEFAULT_IMAGE: u64 = 800;

/// Networks by the name that their library gives them: blocks of each stage, and whether these have a
/// narrow middle.
const BACKBONES: &[(&str, [u64; 4], bool)] = &[
    ("resnet18", [2, 2, 2, 2], false),
    ("resnet34", [3, 4, 6, 3], false),
    ("resnet50", [3, 4, 6, 3], true),
    ("resnet101", [3, 4, 23, 3], true),
    ("resnet152", [3, 8, 36, 3], true),
];

/// Writes a detector.
pub(super) fn write(model: &mut Model<'_>, spec: &Spec) -> Outputs {
    let class = model.task(spec, "model", &["ForObjectDetection", "Model"])?;
    spec.only("position_embedding_type", &json!("sine"))?;
    spec.only("dilation", &json!(false))?;
    let width = spec.n("d_model", 256)?;
    let grid = backbone(model, spec)?;
    let conv = Conv::patches(width, &[1, 1]);
    let state = model.net.conv(&model.at("input_projection"), &grid, conv)?.flow();
    let act = spec.text("activation_function", "relu")?;
    let side = |heads: &'static str, inner: &'static str| {
        let sizes = (width, spec.n(heads, 8)?, spec.n(inner, 2048)?);
        Done::Ok(Layer::new(&DETR, sizes, Order::Post)?.acting(act))
    };
    let layer = side("encoder_attention_heads", "encoder_ffn_dim")?;
    let n = spec.any(&["encoder_layers", "num_hidden_layers"], 6)?;
    let layers = model.at("encoder.layers");
    let state = model.net.stack(&layer, (&layers, n), state, &Sight::default())?;
    let n = spec.n("num_queries", 100)?;
    let module = model.at("query_position_embeddings");
    let questions = model.net.table(&module, &[], (n, width), (state.count, n))?;
    let sight = Sight { encoded: Some(state), ..Sight::default() };
    let layer = side("decoder_attention_heads", "decoder_ffn_dim")?;
    let (layers, n) = (model.at("decoder.layers"), spec.n("decoder_layers", 6)?);
    let found = model.net.stack(&layer, (&layers, n), questions, &sight)?;
    let found = model.net.norm(&model.at("decoder.layernorm"), Norm::Layer, found)?;
    if class == "Model" {
        return Ok(vec![found.id]);
    }
    let n = labels(spec)?.saturating_add(1);
    let kinds = model.net.linear("class_labels_classifier", found, n, true)?;
    Ok(vec![kinds.id, layered(model, "bbox_predictor", found, 4)?.id])
}

/// The network that the config names, whose norms are not trained.
fn backbone(model: &mut Model<'_>, spec: &Spec) -> Done<Grid> {
    let backbone = spec.part("backbone_config")?;
    let name = match backbone.has("backbone") {
        true => backbone.text("backbone", "")?,
        false => spec.text("backbone", "resnet50")?,
    };
    let kind = backbone.text("model_type", "timm_backbone")?;
    let found = BACKBONES.iter().find(|(known, ..)| *known == name);
    let Some((_, depths, is_narrow)) = found.filter(|_| kind == "timm_backbone") else {
        let shown: String = name.chars().take(40).collect();
        let what = format!("the weights of the backbone `{shown}`, which another library has");
        return Err(refused(&what));
    };
    backbone.object();
    spec.fields("use_timm_backbone").flag("use_timm_backbone")?;
    spec.has("use_pretrained_backbone");
    let image = model.dimension("image", (DEFAULT_IMAGE, 1 << 15), "pixels")?;
    let pixels = model.pixels((1, spec.n("num_channels", 3)?), [image; 2])?;
    let (at, net) = (model.at("backbone.model"), &mut model.net);
    let form = Resnet { narrow: is_narrow.then_some(1), is_timm: true };
    let stem = ["conv1", "bn1"].map(|name| format!("{at}.{name}"));
    let mut grid = form.conv(net, [&stem[0], &stem[1]], &pixels, [64, 7, 2])?;
    grid = net.act_grid(&format!("{at}.act1"), "Relu", &grid)?;
    grid = net.pool((&format!("{at}.maxpool"), "MaxPool"), &grid, [3, 2, 2])?;
    for (i, depth) in depths.iter().enumerate() {
        let width = (if *is_narrow { 256 } else { 64 }) << i;
        for block in 0..*depth {
            let at = format!("{at}.layer{}.{block}", i + 1);
            let stride = if block == 0 && i > 0 { 2 } else { 1 };
            grid = form.block(net, &at, &grid, (width, stride))?;
        }
    }
    Ok(grid)
}
