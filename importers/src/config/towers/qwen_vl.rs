//! Qwen's towers of pictures of any size, which merge squares of patches, before Qwen's decoders.

use super::layer::{Layer, Names, Order, Sight};
use super::model::{Model, Outputs};
use super::multimodal::{given, spoken};
use super::names::{QWEN2, QWEN3};
use super::net::{Done, Flow, Norm};
use super::spec::Spec;
use crate::config::decoder::Place;

/// A family: traits, and numbers where the config says nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    /// The type of the decoder.
    pub text: &'static str,
    pub names: &'static Names,
    pub norm: Norm,
    pub act: &'static str,
    pub patch: u64,
    pub depth: u64,
    /// Columns, and the field that says how many.
    pub width: (&'static str, u64),
    /// Columns of the feed-forward part; so many times as wide as the tower where none are stated.
    pub inner: Option<u64>,
    /// The field of the columns of what comes out.
    pub out: &'static str,
    /// Whether most layers attend to windows.
    pub has_windows: bool,
    /// Layers whose states early layers of the decoder read, of towers with a table of positions.
    pub deep: Option<&'static [u64]>,
    /// Norm and products that merge patches.
    pub merger: [&'static str; 3],
}

pub(super) const QWEN2_VL: Family = Family {
    text: "qwen2_vl_text",
    names: &QWEN2,
    norm: Norm::Layer,
    act: "quick_gelu",
    patch: 14,
    depth: 32,
    width: ("embed_dim", 1280),
    inner: None,
    out: "hidden_size",
    has_windows: false,
    deep: None,
    merger: ["ln_q", "mlp.0", "mlp.2"],
};

pub(super) const QWEN3_VL: Family = Family {
    text: "qwen3_vl_text",
    names: &QWEN3,
    act: "gelu_pytorch_tanh",
    patch: 16,
    depth: 27,
    width: ("hidden_size", 1152),
    inner: Some(4304),
    out: "out_hidden_size",
    deep: Some(&[8, 16, 24]),
    merger: ["norm", "linear_fc1", "linear_fc2"],
    ..QWEN2_VL
};

/// Pixels of a side where nobody states them.
const DEFAULT_IMAGE: u64 = 448;

/// Where the tower is.
const AT: &str = "model.visual";

/// Writes a tower and a decoder.
pub(super) fn write(model: &mut Model<'_>, spec: &Spec, family: &Family) -> Outputs {
    model.class(spec, &["ForConditionalGeneration"])?;
    let vision = given(spec, "vision_config")?;
    let features = tower(model, &vision, family)?;
    model.done(&vision);
    let is_tied = Some(spec.flag("tie_word_embeddings", false)?);
    let place = Place { root: Some("model.language_model"), is_tied, ..Place::default() };
    spoken(model, spec, family.text, place, Some(features))
}

/// The block of a tower, and its columns.
fn layer(vision: &Spec, family: &Family) -> Done<(Layer, u64)> {
    let width = vision.n(family.width.0, family.width.1)?;
    let inner = match family.inner {
        Some(inner) => vision.n("intermediate_size", inner)?,
        // Truncated as the library does.
        None => (width as f64 * vision.real("mlp_ratio", 4.0)?) as u64,
    };
    let sizes = (width, vision.n("num_heads", 16)?, inner.max(1));
    let layer = Layer::new(family.names, sizes, Order::Pre)?;
    let layer = layer.acting(vision.text("hidden_act", family.act)?);
    Ok((Layer { norm: family.norm, is_rotary: true, ..layer }, width))
}

fn tower(model: &mut Model<'_>, vision: &Spec, family: &Family) -> Done {
    let (layer, width) = layer(vision, family)?;
    let patch = vision.n("patch_size", family.patch)?;
    let merge = vision.n("spatial_merge_size", 2)?;
    let image = model.dimension("image", (DEFAULT_IMAGE, 1 << 15), "pixels")?;
    let cells = (image / patch / merge).max(1);
    let rows = (cells * merge).saturating_mul(cells * merge);
    let mut state = patched(model, vision, (family, patch), (rows, width))?;
    let fewer = match family.has_windows {
        true => Some(windows(vision, (cells, merge, patch))?),
        false => None,
    };
    let full = vision.list("fullatt_block_indexes", &[7, 15, 23, 31])?;
    let deep = match family.deep {
        Some(usual) => vision.list("deepstack_visual_indexes", usual)?,
        None => Vec::new(),
    };
    let mut features = Vec::new();
    for i in 0..vision.n("depth", family.depth)? {
        let spans = fewer.filter(|_| !full.contains(&i)).map(|span| [span; 2]);
        let sight = Sight { spans, ..Sight::default() };
        state = model.net.layer(&layer, &format!("{AT}.blocks.{i}"), state, &sight)?;
        if let Some(n) = deep.iter().position(|index| *index == i) {
            let module = format!("{AT}.deepstack_merger_list.{n}");
            features.push(merged(model, vision, (&module, family), (state, merge), true)?);
        }
    }
    let module = format!("{AT}.merger");
    let made = merged(model, vision, (&module, family), (state, merge), false)?;
    if features.is_empty() {
        return Ok(made);
    }
    // What deeper layers add to early layers of the decoder travels with the features.
    features.insert(0, made);
    model.net.plain(AT, ("deepstack", "Sum"), &features)
}

/// Patches, each of two frames, through one product.
fn patched(
    model: &mut Model<'_>,
    vision: &Spec,
    (family, patch): (&Family, u64),
    (rows, width): (u64, u64),
) -> Done {
    let channels = vision.any(&["in_channels", "in_chans"], 3)?;
    let shape = [width, channels, vision.n("temporal_patch_size", 2)?, patch, patch];
    let pixels = shape[1..].iter().fold(1u64, |n, extent| n.saturating_mul(*extent));
    let id = model.net.fed("pixel_values", &[model.batch, rows, pixels])?;
    let cut = Flow { id, count: model.batch, rows, width: pixels };
    let (net, module) = (&mut model.net, format!("{AT}.patch_embed.proj"));
    let mut parameters = vec![net.parameter(&format!("{module}.weight"), &shape)?];
    if family.deep.is_none() {
        return net.product(&module, cut, width, &parameters);
    }
    parameters.push(net.parameter(&format!("{module}.bias"), &[width])?);
    let state = net.product(&module, cut, width, &parameters)?;
    net.placed(&format!("{AT}.pos_embed"), vision.n("num_position_embeddings", 2304)?, state)
}

/// Patches that one attends to in the layers of windows, on the average over the picture: windows at
/// its edges are smaller.
fn windows(vision: &Spec, (cells, merge, patch): (u64, u64, u64)) -> Done<u64> {
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
    (at, family): (&str, &Family),
    (mut state, merge): (Flow, u64),
    is_late: bool,
) -> Done {
    let (net, rows) = (&mut model.net, state.rows / (merge * merge));
    let [norm, first, second] = family.merger.map(|name| format!("{at}.{name}"));
    if !is_late {
        state = net.norm(&norm, family.norm, state)?;
    }
    state = net.merged((at, "merge"), state, (merge, rows))?;
    if is_late {
        state = net.norm(&norm, family.norm, state)?;
    }
    let active = net.dense(&first, "Gelu", state, state.width)?;
    net.linear(&second, active, vision.n(family.out, 3584)?, true)
}
