//! Families of towers of vision that stand alone.

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;

use super::layer::{Biases, Layer, Names, join, op_type};
use super::model::{Model, labels, written};
use super::net::{Flow, Norm};
use super::spec::Spec;
use super::vision::{Places, Tower, VIT, usual};
use crate::config::request::{Request, Written};

pub(crate) const TYPES: &[&str] = &[
    "beit",
    "data2vec-vision",
    "deit",
    "dinov2",
    "dinov2_with_registers",
    "dinov3_vit",
    "ijepa",
    "vit",
    "yolos",
];

const DINO: Names = Names {
    norms: ["norm1", "norm2"],
    scales: ["layer_scale1.lambda1", "layer_scale2.lambda1"],
    ..VIT
};
const DINO_GATED: Names =
    Names { ways: &["mlp.gate_proj", "mlp.up_proj"], down: "mlp.down_proj", ..DINO };
const DINO_PLAIN: Names = Names { ways: &["mlp.up_proj"], down: "mlp.down_proj", ..DINO };
const BEIT: Names = Names { scales: ["lambda_1", "lambda_2"], ..VIT };
const OLD: Names = Names {
    qkv: &["attention.attention.query", "attention.attention.key", "attention.attention.value"],
    out: "attention.output.dense",
    ways: &["intermediate.dense"],
    down: "output.dense",
    ..VIT
};
const OLD_BEIT: Names = Names { scales: ["lambda_1", "lambda_2"], ..OLD };

/// Classes of a task, the usual one first.
const CLASSES: &[&str] = &["ForImageClassification", "WithTeacher", "ForObjectDetection", "Model"];

/// What comes behind a tower.
struct End {
    /// Module of the tower in the class of a task.
    prefix: &'static str,
    /// Dense layer on the first token of the model without a task.
    pooler: &'static str,
    /// Whether the classifier reads the mean of the patches: instead of the first token, or beside it.
    mean: Mean,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mean {
    Unread,
    /// With a norm behind it.
    Normed(&'static str),
    Beside,
    /// Of all tokens.
    All,
}

/// Reads a config of one of [`TYPES`].
pub(crate) fn read(request: &Request<'_>) -> Result<Written, Diagnostic> {
    written(request, write)
}

fn write(model: &mut Model<'_>, spec: &Spec) -> Result<Vec<TensorId>, Diagnostic> {
    usual(spec)?;
    let (tower, end) = match spec.text("model_type", "")? {
        "beit" | "data2vec-vision" => beit(spec)?,
        "dinov2" | "dinov2_with_registers" => dinov2(spec)?,
        "dinov3_vit" => dinov3(spec)?,
        "yolos" => yolos(spec)?,
        kind => vit(spec, kind)?,
    };
    let class = match (model.class(spec, CLASSES)?, spec.text("model_type", "")?) {
        // What has no class for images.
        ("ForImageClassification", "dinov3_vit") => "Model",
        ("ForImageClassification", "yolos") => "ForObjectDetection",
        (class, _) => class,
    };
    let prefix = if class == "Model" { "" } else { end.prefix };
    let image = model.image(tower.image)?;
    let pixels = model.pixels((1, tower.channels), image)?;
    let mut state = model.net.tower(prefix, &tower, &pixels)?;
    if !tower.last_norm.is_empty() {
        state = model.net.norm(&join(prefix, tower.last_norm), tower.layer.norm, state)?;
    }
    ended(model, spec, (&tower, &end), (class, prefix), state)
}

fn ended(
    model: &mut Model<'_>,
    spec: &Spec,
    (tower, end): (&Tower, &End),
    (class, prefix): (&str, &str),
    state: Flow,
) -> Result<Vec<TensorId>, Diagnostic> {
    let n = labels(spec)?;
    let net = &mut model.net;
    if class == "ForObjectDetection" {
        let rows = tower.tokens.last().map_or(1, |own| own.1);
        let found =
            net.moved(("", "detections", "Slice"), &[state], (state.count, rows, state.width))?;
        let mut outputs = Vec::new();
        for (module, n) in [("class_labels_classifier", n.saturating_add(1)), ("bbox_predictor", 4)]
        {
            outputs.push(layered(model, module, found, &[state.width, state.width, n])?.id);
        }
        return Ok(outputs);
    }
    let mut read = match end.mean {
        Mean::Unread => net.first(prefix, state)?,
        Mean::All => net.mean(prefix, state)?,
        Mean::Normed(norm) => {
            let mean = net.mean(prefix, state)?;
            net.norm(&join(prefix, norm), Norm::Layer, mean)?
        }
        Mean::Beside if class == "Model" => net.first(prefix, state)?,
        Mean::Beside => {
            let size = (state.count, 1, state.width.saturating_mul(2));
            net.moved((prefix, "first_and_mean", "Concat"), &[state], size)?
        }
    };
    if class == "Model" {
        if !end.pooler.is_empty() {
            let width = spec.n("pooler_output_size", read.width)?;
            read = net.linear(&join(prefix, end.pooler), read, width, true)?;
            read = net.plain(&join(prefix, end.pooler), ("activation", "Tanh"), &[read])?;
        }
        return Ok(vec![state.id, read.id]);
    }
    let classifiers: &[&str] = match class {
        "WithTeacher" => &["cls_classifier", "distillation_classifier"],
        _ => &["classifier"],
    };
    classifiers.iter().map(|name| Ok(model.net.linear(name, read, n, true)?.id)).collect()
}

/// Dense layers one behind the other.
pub(super) fn layered(
    model: &mut Model<'_>,
    module: &str,
    x: Flow,
    widths: &[u64],
) -> Result<Flow, Diagnostic> {
    let mut state = x;
    for (i, width) in widths.iter().enumerate() {
        let module = format!("{module}.layers.{i}");
        state = model.net.linear(&module, state, *width, true)?;
        if i + 1 < widths.len() {
            state = model.net.plain(&module, ("activation", "Relu"), &[state])?;
        }
    }
    Ok(state)
}

/// Biases of queries, keys and values alone.
fn with_qkv(layer: Layer, qkv: [bool; 3]) -> Layer {
    Layer { biases: Biases { qkv, ..layer.biases }, ..layer }
}

const BASE: [u64; 6] = [768, 12, 12, 3072, 224, 16];

fn vit(spec: &Spec, kind: &str) -> Result<(Tower, End), Diagnostic> {
    let mut own = Tower::read(spec, &VIT, BASE)?;
    own.layer = with_qkv(own.layer, [spec.flag("qkv_bias", true)?; 3]);
    let (prefix, mean) = match kind {
        "deit" => {
            own.tokens.push(("embeddings.distillation_token", 1));
            ("deit", Mean::Unread)
        }
        "ijepa" => {
            own.tokens.clear();
            ("ijepa", Mean::All)
        }
        _ => ("vit", Mean::Unread),
    };
    Ok((own, End { prefix, pooler: "pooler.dense", mean }))
}

fn beit(spec: &Spec) -> Result<(Tower, End), Diagnostic> {
    let is_old = spec.text("model_type", "")? == "data2vec-vision";
    let is_scaled = spec.real("layer_scale_init_value", 0.1)? > 0.0;
    let names = match (is_old, is_scaled) {
        (true, true) => &OLD_BEIT,
        (true, false) => &OLD,
        (false, true) => &BEIT,
        (false, false) => &VIT,
    };
    let mut own = Tower::read(spec, names, BASE)?;
    own.layer = with_qkv(own.layer, [true, false, true]);
    for name in ["use_relative_position_bias", "use_shared_relative_position_bias"] {
        spec.only(name, &serde_json::json!(false))?;
    }
    if !spec.flag("use_absolute_position_embeddings", false)? {
        own.places = Places::Absent;
    }
    if spec.flag("use_mask_token", false)? {
        own.mask = Some(("embeddings.mask_token", vec![1, 1, own.width]));
    }
    let is_mean = spec.flag("use_mean_pooling", true)?;
    own.last_norm = if is_mean { "" } else { "layernorm" };
    own.layers = if is_old { "encoder.layer" } else { "layers" };
    let prefix = if is_old { "data2vec_vision" } else { "beit" };
    let mean = if is_mean { Mean::Normed("pooler.layernorm") } else { Mean::Unread };
    Ok((own, End { prefix, pooler: "", mean }))
}

fn dinov2(spec: &Spec) -> Result<(Tower, End), Diagnostic> {
    let has_registers = spec.text("model_type", "")? == "dinov2_with_registers";
    let patch = if has_registers { 16 } else { 14 };
    let is_gated = spec.flag("use_swiglu_ffn", false)?;
    let names = if is_gated { &DINO_GATED } else { &DINO };
    let mut own = Tower::read(spec, names, [768, 12, 12, 3072, 224, patch])?;
    own.layer = with_qkv(own.layer, [spec.flag("qkv_bias", true)?; 3]);
    // Truncated as the library does.
    let inner = (own.width as f64 * spec.real("mlp_ratio", 4.0)?) as u64;
    own.layer.inner = if is_gated { (inner * 2 / 3).div_ceil(8) * 8 } else { inner }.max(1);
    if is_gated {
        own.layer.act = op_type("silu");
    }
    own.layers = "encoder.layer";
    if has_registers || spec.flag("use_mask_token", true)? {
        own.mask = Some(("embeddings.mask_token", vec![1, own.width]));
    }
    if has_registers {
        own.registers = ("embeddings.register_tokens", spec.whole("num_register_tokens", 4)?);
    }
    let prefix = if has_registers { "dinov2_with_registers" } else { "dinov2" };
    Ok((own, End { prefix, pooler: "", mean: Mean::Beside }))
}

fn dinov3(spec: &Spec) -> Result<(Tower, End), Diagnostic> {
    let names = if spec.flag("use_gated_mlp", false)? { &DINO_GATED } else { &DINO_PLAIN };
    let own = Tower::read(spec, names, [384, 12, 6, 1536, 224, 16])?;
    let mut layer = own.layer;
    let mut qkv = [true, false, true];
    for (bias, name) in qkv.iter_mut().zip(["query_bias", "key_bias", "value_bias"]) {
        *bias = spec.flag(name, *bias)?;
    }
    layer.biases =
        Biases { qkv, out: spec.flag("proj_bias", true)?, feed: spec.flag("mlp_bias", true)? };
    layer.is_rotary = true;
    let registers = ("embeddings.register_tokens", spec.whole("num_register_tokens", 0)?);
    let tower = Tower {
        conv: ("embeddings.patch_embeddings", true),
        places: Places::Absent,
        mask: Some(("embeddings.mask_token", vec![1, 1, own.width])),
        registers,
        layers: "model.layer",
        last_norm: "norm",
        layer,
        ..own
    };
    Ok((tower, End { prefix: "", pooler: "", mean: Mean::Unread }))
}

fn yolos(spec: &Spec) -> Result<(Tower, End), Diagnostic> {
    let mut own = Tower::read(spec, &OLD, BASE)?;
    if !spec.has("image_size") {
        own.image = [512, 864];
    }
    own.layer = with_qkv(own.layer, [spec.flag("qkv_bias", true)?; 3]);
    own.layers = "encoder.layer";
    own.tokens.push(("embeddings.detection_tokens", spec.n("num_detection_tokens", 100)?));
    if spec.flag("use_mid_position_embeddings", true)? {
        let [height, width] = own.grid(own.image)?;
        let rows = own.tokens.iter().fold(height * width, |n, token| n.saturating_add(token.1));
        let shape = vec![own.n_layers.saturating_sub(1), 1, rows, own.width];
        own.mask = Some(("encoder.interpolation.mid_position_embeddings", shape));
    }
    Ok((own, End { prefix: "vit", pooler: "pooler.dense", mean: Mean::Unread }))
}
