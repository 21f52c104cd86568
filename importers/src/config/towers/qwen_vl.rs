//! Qwen's towers of pictures of any size, which merge squares of patches, before Qwen's decoders.

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;

use super::layer::{Biases, Layer, Names, Order, Sight, op_type};
use super::model::{Model, written};
use super::multimodal::{given, spoken};
use super::net::{Flow, Norm};
use super::spec::Spec;
use crate::config::decoder::Place;
use crate::config::request::{Request, Written};

pub(crate) const TYPES: &[&str] = &["qwen2_5_vl", "qwen2_vl", QWEN3, "qwen3_5"];

/// The type of the newest tower, which Qwen3.5 has too, without what deeper layers add.
const QWEN3: &str = "qwen3_vl";

/// Pixels of a side where nobody states them.
const DEFAULT_IMAGE: u64 = 448;

const PLAIN: Names = Names {
    qkv: &["attn.qkv"],
    out: "attn.proj",
    norms: ["norm1", "norm2"],
    ways: &["mlp.fc1"],
    down: "mlp.fc2",
    cross: [""; 5],
    scales: ["", ""],
};
const GATED: Names =
    Names { ways: &["mlp.gate_proj", "mlp.up_proj"], down: "mlp.down_proj", ..PLAIN };
const NAMED: Names = Names { ways: &["mlp.linear_fc1"], down: "mlp.linear_fc2", ..PLAIN };

/// Reads a config of one of [`TYPES`].
pub(crate) fn read(request: &Request<'_>) -> Result<Written, Diagnostic> {
    written(request, write)
}

fn write(model: &mut Model<'_>, spec: &Spec) -> Result<Vec<TensorId>, Diagnostic> {
    let kind = spec.text("model_type", "")?.to_owned();
    model.class(spec, &["ForConditionalGeneration"])?;
    let vision = given(spec, "vision_config")?;
    let features = tower(model, &vision, &kind)?;
    model.done(&vision);
    let text = format!("{kind}_text");
    let is_tied = spec.flag("tie_word_embeddings", false)?;
    let place =
        Place { root: Some("model.language_model"), is_tied: Some(is_tied), ..Place::default() };
    spoken(model, spec, &text, place, Some(features))
}

/// The block of a kind of tower, and its columns.
fn layer(vision: &Spec, kind: &str) -> Result<(Layer, u64), Diagnostic> {
    let (names, norm, act) = match kind {
        "qwen2_5_vl" => (&GATED, Norm::Rms, "silu"),
        QWEN3 => (&NAMED, Norm::Layer, "gelu_pytorch_tanh"),
        _ => (&PLAIN, Norm::Layer, "quick_gelu"),
    };
    let (width, inner) = match kind {
        "qwen2_vl" => {
            let width = vision.n("embed_dim", 1280)?;
            // Truncated as the library does.
            (width, (width as f64 * vision.real("mlp_ratio", 4.0)?) as u64)
        }
        "qwen2_5_vl" => (vision.n("hidden_size", 3584)?, vision.n("intermediate_size", 3420)?),
        _ => (vision.n("hidden_size", 1152)?, vision.n("intermediate_size", 4304)?),
    };
    let heads = vision.n("num_heads", 16)?;
    let own = Layer::new(names, (width, heads, inner.max(1)), Order::Pre)?;
    let act = op_type(vision.text("hidden_act", act)?);
    Ok((Layer { norm, act, is_rotary: true, biases: Biases::ALL, ..own }, width))
}

fn tower(model: &mut Model<'_>, vision: &Spec, of: &str) -> Result<Flow, Diagnostic> {
    let kind = if of == "qwen3_5" { QWEN3 } else { of };
    let (layer, width) = layer(vision, kind)?;
    let patch = vision.n("patch_size", if kind == QWEN3 { 16 } else { 14 })?;
    let merge = vision.n("spatial_merge_size", 2)?;
    let image = model.dimension("image", (DEFAULT_IMAGE, 1 << 15), "pixels")?;
    let cells = (image / patch / merge).max(1);
    let (rows, at) = ((cells * merge).saturating_mul(cells * merge), "model.visual");
    let mut state = patched(model, vision, (kind, patch), (rows, width))?;
    let fewer = match kind {
        "qwen2_5_vl" => Some(windows(vision, (cells, merge, patch))?),
        _ => None,
    };
    let full = vision.list("fullatt_block_indexes", &[7, 15, 23, 31])?;
    let deep = match kind {
        QWEN3 => {
            let usual: &[u64] = if of == QWEN3 { &[8, 16, 24] } else { &[] };
            vision.list("deepstack_visual_indexes", usual)?
        }
        _ => Vec::new(),
    };
    let default = if kind == QWEN3 { 27 } else { 32 };
    let mut features = Vec::new();
    for i in 0..vision.n("depth", default)? {
        let spans = fewer.filter(|_| !full.contains(&i)).map(|own| [own; 2]);
        let sight = Sight { spans, ..Sight::default() };
        state = model.net.layer(&layer, &format!("{at}.blocks.{i}"), state, &sight)?;
        if let Some(n) = deep.iter().position(|own| *own == i) {
            let module = format!("{at}.deepstack_merger_list.{n}");
            features.push(merged(model, vision, &module, (state, merge, kind), true)?);
        }
    }
    let made = merged(model, vision, &format!("{at}.merger"), (state, merge, kind), false)?;
    if features.is_empty() {
        return Ok(made);
    }
    // What deeper layers add to early layers of the decoder travels with the features.
    features.insert(0, made);
    model.net.plain("model.visual", ("deepstack", "Sum"), &features)
}

/// Patches, each of two frames, through one product.
fn patched(
    model: &mut Model<'_>,
    vision: &Spec,
    (kind, patch): (&str, u64),
    (rows, width): (u64, u64),
) -> Result<Flow, Diagnostic> {
    let channels = vision.any(&["in_channels", "in_chans"], 3)?;
    let frames = vision.n("temporal_patch_size", 2)?;
    let pixels =
        [channels, frames, patch, patch].iter().fold(1u64, |n, own| n.saturating_mul(*own));
    let id = model.net.fed("pixel_values", &[model.batch, rows, pixels])?;
    let cut = Flow { id, count: model.batch, rows, width: pixels };
    let (net, at) = (&mut model.net, "model.visual");
    let module = format!("{at}.patch_embed.proj");
    let shape = [width, channels, frames, patch, patch];
    let mut parameters = vec![net.parameter(&format!("{module}.weight"), &shape)?];
    if kind != QWEN3 {
        return net.product(&module, cut, width, &parameters);
    }
    parameters.push(net.parameter(&format!("{module}.bias"), &[width])?);
    let state = net.product(&module, cut, width, &parameters)?;
    let module = format!("{at}.pos_embed");
    let n = vision.n("num_position_embeddings", 2304)?;
    let own = net.table(&module, &[], (n, width), (1, rows))?;
    net.add(&module, "add", [state, own])
}

/// Patches that one attends to in the layers of windows, on the average over the picture: windows at
/// its edges are smaller.
fn windows(vision: &Spec, (cells, merge, patch): (u64, u64, u64)) -> Result<u64, Diagnostic> {
    let side = (vision.n("window_size", 112)? / patch / merge).clamp(1, cells);
    let rest = cells % side;
    // The sum of the squares of the windows' sides, along one axis.
    let squares = (cells / side).saturating_mul(side * side).saturating_add(rest * rest);
    let all = squares.saturating_mul(squares) / cells.saturating_mul(cells);
    Ok(all.saturating_mul(merge * merge).max(1))
}

/// Squares of patches as one token of the decoder.
fn merged(
    model: &mut Model<'_>,
    vision: &Spec,
    at: &str,
    (state, merge, kind): (Flow, u64, &str),
    is_late: bool,
) -> Result<Flow, Diagnostic> {
    let net = &mut model.net;
    let (norm, first, second) = match kind {
        QWEN3 => ("norm", "linear_fc1", "linear_fc2"),
        _ => ("ln_q", "mlp.0", "mlp.2"),
    };
    let kind_of = if kind == "qwen2_5_vl" { Norm::Rms } else { Norm::Layer };
    let norm = format!("{at}.{norm}");
    let wide = state.width.saturating_mul(merge * merge);
    let (rows, mut state) = (state.rows / (merge * merge), state);
    if !is_late {
        state = net.norm(&norm, kind_of, state)?;
    }
    state = net.moved((at, "merge", "Transpose"), &[state], (state.count, rows, wide))?;
    if is_late {
        state = net.norm(&norm, kind_of, state)?;
    }
    let first = format!("{at}.{first}");
    let made = net.linear(&first, state, wide, true)?;
    let active = net.plain(&first, ("activation", "Gelu"), &[made])?;
    let out = match kind {
        "qwen2_vl" => vision.n("hidden_size", 3584)?,
        _ => vision.n("out_hidden_size", 3584)?,
    };
    net.linear(&format!("{at}.{second}"), active, out, true)
}
