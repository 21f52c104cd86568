//! A detector: a network of convolutions, an encoder over its last grid, and a decoder whose learnt
//! questions become boxes (Carion et al. 2020, arXiv:2005.12872).

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;
use serde_json::{Value, json};

use super::layer::{Layer, Names, Order, Sight, join};
use super::model::{Model, labels, written};
use super::net::{Conv, Flow, Grid, Net, Norm};
use super::seq2seq_forms::BART;
use super::spec::{Spec, refused};
use super::vision_kinds::layered;
use crate::config::request::{Request, Written};

pub(crate) const TYPES: &[&str] = &["detr"];

/// Pixels of a side where nobody states them.
const DEFAULT_IMAGE: u64 = 800;

const NAMES: Names = Names {
    out: "self_attn.o_proj",
    ways: &["mlp.fc1"],
    down: "mlp.fc2",
    cross: [
        "encoder_attn.q_proj",
        "encoder_attn.k_proj",
        "encoder_attn.v_proj",
        "encoder_attn.o_proj",
        "encoder_attn_layer_norm",
    ],
    ..BART
};

/// Networks by the name that their library gives them: blocks of each stage, and whether these have a
/// narrow middle.
const BACKBONES: &[(&str, [u64; 4], bool)] = &[
    ("resnet18", [2, 2, 2, 2], false),
    ("resnet34", [3, 4, 6, 3], false),
    ("resnet50", [3, 4, 6, 3], true),
    ("resnet101", [3, 4, 23, 3], true),
    ("resnet152", [3, 8, 36, 3], true),
];

/// Reads a config of one of [`TYPES`].
pub(crate) fn read(request: &Request<'_>) -> Result<Written, Diagnostic> {
    written(request, write)
}

fn write(model: &mut Model<'_>, spec: &Spec) -> Result<Vec<TensorId>, Diagnostic> {
    let class = model.class(spec, &["ForObjectDetection", "Model"])?;
    let prefix = if class == "Model" { "" } else { "model" };
    spec.only("position_embedding_type", &json!("sine"))?;
    spec.only("dilation", &json!(false))?;
    let width = spec.n("d_model", 256)?;
    let grid = backbone(model, spec, prefix)?;
    let net = &mut model.net;
    let conv = Conv::patches(width, &[1, 1]);
    let mut state = net.conv(&join(prefix, "input_projection"), &grid, conv)?.flow();
    let act = spec.text("activation_function", "relu")?;
    let side = |heads: &'static str, inner: &'static str| {
        let sizes = (width, spec.n(heads, 8)?, spec.n(inner, 2048)?);
        Ok::<_, Diagnostic>(Layer::new(&NAMES, sizes, Order::Post)?.acting(act))
    };
    let layer = side("encoder_attention_heads", "encoder_ffn_dim")?;
    for i in 0..spec.any(&["encoder_layers", "num_hidden_layers"], 6)? {
        let at = format!("{}.{i}", join(prefix, "encoder.layers"));
        state = net.layer(&layer, &at, state, &Sight::default())?;
    }
    let n = spec.n("num_queries", 100)?;
    let module = join(prefix, "query_position_embeddings");
    let questions = net.table(&module, &[], (n, width), (state.count, n))?;
    let sight = Sight { encoded: Some(state), ..Sight::default() };
    let layer = side("decoder_attention_heads", "decoder_ffn_dim")?;
    let mut found = questions;
    for i in 0..spec.n("decoder_layers", 6)? {
        let at = format!("{}.{i}", join(prefix, "decoder.layers"));
        found = net.layer(&layer, &at, found, &sight)?;
    }
    let found = net.norm(&join(prefix, "decoder.layernorm"), Norm::Layer, found)?;
    if class == "Model" {
        return Ok(vec![found.id]);
    }
    let n = labels(spec)?.saturating_add(1);
    let kinds = net.linear("class_labels_classifier", found, n, true)?;
    let boxes: Flow = layered(model, "bbox_predictor", found, &[width, width, 4])?;
    Ok(vec![kinds.id, boxes.id])
}

/// The network that the config names, whose norms are not trained.
fn backbone(model: &mut Model<'_>, spec: &Spec, prefix: &str) -> Result<Grid, Diagnostic> {
    let own = spec.part("backbone_config")?;
    let name = match own.has("backbone") {
        true => own.text("backbone", "")?,
        false => spec.text("backbone", "resnet50")?,
    };
    let kind = own.text("model_type", "timm_backbone")?;
    let found = BACKBONES.iter().find(|(known, ..)| *known == name);
    let Some((_, depths, is_narrow)) = found.filter(|_| kind == "timm_backbone") else {
        let shown: String = name.chars().take(40).collect();
        return Err(refused(&format!(
            "the weights of the backbone `{shown}`, which another library has"
        )));
    };
    own.object();
    spec.fields("use_timm_backbone").flag("use_timm_backbone")?;
    let _: Option<&Value> = spec.fields("use_pretrained_backbone").get("use_pretrained_backbone");
    let image = model.dimension("image", (DEFAULT_IMAGE, 1 << 15), "pixels")?;
    let pixels = model.pixels((1, spec.n("num_channels", 3)?), [image; 2])?;
    let (net, at) = (&mut model.net, join(prefix, "backbone.model"));
    let mut grid = net.frozen(&at, ("conv1", "bn1"), &pixels, (64, 7, 2))?;
    grid = net.act_grid(&format!("{at}.act1"), "Relu", &grid)?;
    grid = net.pool((&format!("{at}.maxpool"), "MaxPool"), &grid, [3, 2, 2])?;
    for (i, depth) in depths.iter().enumerate() {
        for block in 0..*depth {
            let at = format!("{at}.layer{}.{block}", i + 1);
            let stride = if block == 0 && i > 0 { 2 } else { 1 };
            grid = net.block(&at, &grid, (64 << i, stride, *is_narrow))?;
        }
    }
    Ok(grid)
}

impl Net {
    /// A convolution without a bias and a norm that is not trained.
    fn frozen(
        &mut self,
        at: &str,
        (conv, norm): (&str, &str),
        x: &Grid,
        (out, kernel, stride): (u64, u64, u64),
    ) -> Result<Grid, Diagnostic> {
        let (kernel, stride, padding) = ([kernel; 2], [stride; 2], kernel / 2 * 2);
        let own =
            Conv { out, kernel: &kernel, stride: &stride, padding, groups: 1, has_bias: false };
        let made = self.conv(&format!("{at}.{conv}"), x, own)?;
        self.norm_grid(&format!("{at}.{norm}"), Norm::Frozen, &made)
    }

    /// A block of a ResNet of so many columns.
    fn block(
        &mut self,
        at: &str,
        x: &Grid,
        (width, stride, is_narrow): (u64, u64, bool),
    ) -> Result<Grid, Diagnostic> {
        let convs: &[(u64, u64, u64)] = match is_narrow {
            true => &[(width, 1, 1), (width, 3, stride), (width * 4, 1, 1)],
            false => &[(width, 3, stride), (width, 3, 1)],
        };
        let mut state = x.clone();
        for (i, conv) in convs.iter().enumerate() {
            let names = (format!("conv{}", i + 1), format!("bn{}", i + 1));
            state = self.frozen(at, (&names.0, &names.1), &state, *conv)?;
            if i + 1 < convs.len() {
                state = self.act_grid(&format!("{at}.act{}", i + 1), "Relu", &state)?;
            }
        }
        let mut other = x.clone();
        if stride > 1 || x.channels != state.channels {
            let conv = (state.channels, 1, stride);
            other = self.frozen(at, ("downsample.0", "downsample.1"), x, conv)?;
        }
        let sum = self.add(at, "add", [other.flow(), state.flow()])?;
        let id = self.plain(at, ("activation", "Relu"), &[sum])?.id;
        Ok(Grid { id, ..state })
    }
}
