//! Towers of vision that stand alone, and what comes behind them.

use serde_json::json;

use super::layer::{Biases, Layer, op_type};
use super::model::{Model, Outputs, labels};
use super::names::{BEIT, DINO, DINO_GATED, OLD, VIT};
use super::net::{Done, Flow, Norm};
use super::spec::Spec;
use super::vision::{Places, Tower, VIT_TOWER, switched};

/// A family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    pub tower: Tower,
    /// Module of the tower in the class of a task.
    pub prefix: &'static str,
    /// Dense layer on the first token of the model without a task.
    pub pooler: &'static str,
    pub mean: Mean,
    /// The class that reads images; of some families another than the usual one.
    pub usual: &'static str,
}

/// Whether the classifier reads the mean of the patches: instead of the first token, or beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mean {
    Unread,
    /// With a norm behind it, unless the tower ends with one.
    Normed,
    Beside,
    /// Of all tokens.
    All,
}

/// Classes of a task, the usual one first.
const CLASSES: &[&str] = &["ForImageClassification", "WithTeacher", "ForObjectDetection", "Model"];

pub(super) const VIT_FORM: Family = Family {
    tower: VIT_TOWER,
    prefix: "vit",
    pooler: "pooler.dense",
    mean: Mean::Unread,
    usual: CLASSES[0],
};

pub(super) const BEIT_FORM: Family = Family {
    tower: Tower { places: Places::Parameter("embeddings.position_embeddings"), ..VIT_TOWER }
        .of(&BEIT, beit),
    prefix: "beit",
    pooler: "",
    mean: Mean::Normed,
    ..VIT_FORM
};

pub(super) const DINOV2: Family = Family {
    tower: Tower { patch: [14; 2], layers: "encoder.layer", ..VIT_TOWER }.of(&DINO, dinov2),
    prefix: "dinov2",
    pooler: "",
    mean: Mean::Beside,
    ..VIT_FORM
};

/// Writes a tower and what the class puts behind it.
pub(super) fn write(model: &mut Model<'_>, spec: &Spec, family: &Family) -> Outputs {
    spec.only("position_embedding_type", &json!("absolute"))?;
    let tower = family.tower.read(spec)?;
    let class = match model.class(spec, CLASSES)? {
        "ForImageClassification" => family.usual,
        class => class,
    };
    model.prefix = if class == "Model" { "" } else { family.prefix };
    let mut state = model.tower(model.prefix, &tower)?;
    if !tower.last_norm.is_empty() {
        state = model.net.norm(&model.at(tower.last_norm), tower.layer.norm, state)?;
    }
    let n = labels(spec)?;
    if class == "ForObjectDetection" {
        let rows = tower.n_detections.max(1);
        let size = (state.count, rows, state.width);
        let found = model.net.moved(("", "detections", "Slice"), &[state], size)?;
        return detected(model, found, n);
    }
    let (norm, prefix, net) = (model.at("pooler.layernorm"), model.prefix, &mut model.net);
    let mut read = match family.mean {
        Mean::All => net.mean(prefix, state)?,
        Mean::Normed if tower.last_norm.is_empty() => {
            let mean = net.mean(prefix, state)?;
            net.norm(&norm, Norm::Layer, mean)?
        }
        Mean::Beside if class != "Model" => {
            let size = (state.count, 1, state.width.saturating_mul(2));
            net.moved((prefix, "first_and_mean", "Concat"), &[state], size)?
        }
        _ => net.first(prefix, state)?,
    };
    if class == "Model" {
        if !family.pooler.is_empty() {
            let width = spec.n("pooler_output_size", read.width)?;
            read = model.net.dense(&model.at(family.pooler), "Tanh", read, width)?;
        }
        return Ok(vec![state.id, read.id]);
    }
    let classifiers: &[&str] = match class {
        "WithTeacher" => &["cls_classifier", "distillation_classifier"],
        _ => &["classifier"],
    };
    classifiers.iter().map(|name| Ok(model.net.linear(name, read, n, true)?.id)).collect()
}

/// Classes, one more than there are labels, and boxes of what was found.
pub(super) fn detected(model: &mut Model<'_>, found: Flow, n: u64) -> Outputs {
    let kinds = layered(model, "class_labels_classifier", found, n.saturating_add(1))?;
    let boxes = layered(model, "bbox_predictor", found, 4)?;
    Ok(vec![kinds.id, boxes.id])
}

/// Three dense layers one behind the other.
pub(super) fn layered(model: &mut Model<'_>, module: &str, x: Flow, n: u64) -> Done {
    let mut state = x;
    for i in 0..2 {
        state = model.net.dense(&format!("{module}.layers.{i}"), "Relu", state, x.width)?;
    }
    model.net.linear(&format!("{module}.layers.2"), state, n, true)
}

/// Without biases by distance; scaled by parameters where the config says so.
pub(super) fn beit(tower: &mut Tower, spec: &Spec) -> Done<()> {
    if spec.real("layer_scale_init_value", 0.1)? <= 0.0 {
        tower.layer.names = if tower.layer.names.own.parts == OLD.own.parts { &OLD } else { &VIT };
    }
    tower.layer = tower.layer.qkv([true, false, true]);
    for name in ["use_relative_position_bias", "use_shared_relative_position_bias"] {
        spec.only(name, &json!(false))?;
    }
    switched(tower, spec, false)?;
    if spec.flag("use_mean_pooling", true)? {
        tower.last_norm = "";
    }
    Ok(())
}

fn dinov2(tower: &mut Tower, spec: &Spec) -> Done<()> {
    tower.mask = spec.flag("use_mask_token", true)?.then_some(2);
    widened(tower, spec)
}

/// A feed-forward part so many times as wide as the tower, or gated and two thirds of that.
fn widened(tower: &mut Tower, spec: &Spec) -> Done<()> {
    let is_gated = spec.flag("use_swiglu_ffn", false)?;
    // Truncated as the library does.
    let inner = (tower.width as f64 * spec.real("mlp_ratio", 4.0)?) as u64;
    tower.layer.inner = inner.max(1);
    if is_gated {
        tower.layer = Layer { names: &DINO_GATED, act: op_type("silu"), ..tower.layer };
        tower.layer.inner = ((inner * 2 / 3).div_ceil(8) * 8).max(1);
    }
    tower.layer = tower.layer.qkv([spec.flag("qkv_bias", true)?; 3]);
    Ok(())
}

/// With tokens that nothing reads behind the first (Darcet et al. 2024, arXiv:2309.16588).
pub(super) fn registered(tower: &mut Tower, spec: &Spec) -> Done<()> {
    tower.mask = Some(2);
    tower.n_registers = spec.whole("num_register_tokens", 4)?;
    widened(tower, spec)
}

pub(super) fn dinov3(tower: &mut Tower, spec: &Spec) -> Done<()> {
    if spec.flag("use_gated_mlp", false)? {
        tower.layer.names = &DINO_GATED;
    }
    let mut qkv = [true, false, true];
    for (bias, name) in qkv.iter_mut().zip(["query_bias", "key_bias", "value_bias"]) {
        *bias = spec.flag(name, *bias)?;
    }
    let (out, feed) = (spec.flag("proj_bias", true)?, spec.flag("mlp_bias", true)?);
    tower.layer = Layer { biases: Biases { qkv, out, feed }, is_rotary: true, ..tower.layer };
    tower.n_registers = spec.whole("num_register_tokens", 0)?;
    Ok(())
}

pub(super) fn yolos(tower: &mut Tower, spec: &Spec) -> Done<()> {
    tower.layer = tower.layer.qkv([spec.flag("qkv_bias", true)?; 3]);
    tower.n_detections = spec.n("num_detection_tokens", 100)?;
    tower.has_middle = spec.flag("use_mid_position_embeddings", true)?;
    if tower.has_middle { tower.grid(tower.image).map(drop) } else { Ok(()) }
}
