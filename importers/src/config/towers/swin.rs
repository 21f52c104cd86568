//! Blocks over windows of an image that move from block to block, and get larger by merging patches
//! (Liu et al. 2021, arXiv:2103.14030).

use super::layer::{Layer, Order, Sight};
use super::model::{Model, Outputs};
use super::names::VIT;
use super::net::{Conv, Done, Flow, Grid, Net, Norm};
use super::spec::Spec;

/// Writes a Swin and its head.
pub(super) fn write(model: &mut Model<'_>, spec: &Spec) -> Outputs {
    let class = model.task(spec, "swin", &["ForImageClassification", "Model"])?;
    let depths = spec.list("depths", &[2, 2, 6, 2])?;
    let depths = spec.each("depths", &depths, depths.len())?;
    let heads = spec.each("num_heads", &[3, 6, 12, 24], depths.len())?;
    let (mut state, mut grid) = patched(model, spec)?;
    for (i, (depth, heads)) in depths.iter().zip(&heads).enumerate() {
        let at = format!("{}.{i}", model.at("encoder.layers"));
        let stage = Stage::read(spec, (state.width, *heads), grid)?;
        for block in 0..*depth {
            state = model.net.windowed(&stage, &format!("{at}.blocks.{block}"), state)?;
        }
        if i + 1 < depths.len() {
            grid = grid.map(|n| n.div_ceil(2));
            let size = (state.count, grid[0] * grid[1], state.width.saturating_mul(4));
            let at = format!("{at}.downsample");
            let merged = model.net.moved((&at, "merge", "Concat"), &[state], size)?;
            let normed = model.net.norm(&format!("{at}.norm"), Norm::Layer, merged)?;
            let width = state.width.saturating_mul(2);
            state = model.net.linear(&format!("{at}.reduction"), normed, width, false)?;
        }
    }
    let state = model.net.norm(&model.at("layernorm"), Norm::Layer, state)?;
    let mean = model.net.mean(model.prefix, state)?;
    if class == "Model" {
        return Ok(vec![state.id, mean.id]);
    }
    model.labelled(spec, "classifier", mean)
}

/// Patches, padded to whole ones, with a norm.
fn patched(model: &mut Model<'_>, spec: &Spec) -> Done<(Flow, [u64; 2])> {
    let patch = spec.pair("patch_size", [4; 2])?;
    let configured = spec.pair("image_size", [224; 2])?;
    let image = model.image(configured)?;
    let pixels = model.pixels((1, spec.n("num_channels", 3)?), image)?;
    let width = spec.n("embed_dim", 96)?;
    let space = image.iter().zip(patch).map(|(n, patch)| n.div_ceil(patch) * patch).collect();
    let (at, net) = (model.at("embeddings"), &mut model.net);
    let module = format!("{at}.patch_embeddings.projection");
    let grid = net.conv(&module, &Grid { space, ..pixels }, Conv::patches(width, &patch))?;
    let extents = [grid.space[0], grid.space[1]];
    let mut state = net.norm(&format!("{at}.norm"), Norm::Layer, grid.flow())?;
    if spec.flag("use_absolute_embeddings", false)? {
        let n = (configured[0] / patch[0]) * (configured[1] / patch[1]);
        let name = format!("{at}.position_embeddings");
        state = net.with((&at, "add_positions", "Add"), state, (&name, &[1, n, width]))?;
    }
    Ok((state, extents))
}

/// What the blocks of a stage have in common.
struct Stage {
    layer: Layer,
    /// Positions along both axes.
    grid: [u64; 2],
    /// Of a side.
    window: u64,
    /// Rows of the table of biases by distance.
    distances: u64,
}

impl Stage {
    fn read(spec: &Spec, (width, heads): (u64, u64), grid: [u64; 2]) -> Done<Self> {
        let window = spec.n("window_size", 7)?;
        // Truncated as the library does.
        let inner = (width as f64 * spec.real("mlp_ratio", 4.0)?) as u64;
        let layer = Layer::new(&VIT, (width, heads, inner.max(1)), Order::Pre)?;
        let layer = layer.qkv([spec.flag("qkv_bias", true)?; 3]);
        let layer = layer.acting(spec.text("hidden_act", "gelu")?);
        let side = window.saturating_mul(2).saturating_sub(1);
        let distances = side.saturating_mul(side);
        Ok(Self { layer, grid, window: window.min(grid[0].min(grid[1])).max(1), distances })
    }
}

impl Net {
    /// A block whose tokens attend to their window, in an image padded to whole ones.
    fn windowed(&mut self, stage: &Stage, at: &str, state: Flow) -> Done {
        let (layer, names, side) = (&stage.layer, stage.layer.names, stage.window);
        let module = format!("{at}.attention.relative_position_bias");
        let (table, heads) = ("relative_position_bias_table", layer.heads);
        let shape = [stage.distances, heads];
        let biases = [self.relative((&module, table), shape, [heads, side * side])?];
        let state = self.part(layer, at, (names.own.norm, ""), state, |net, x| {
            let [rows, columns] = stage.grid.map(|n| n.div_ceil(side));
            let windows = rows.saturating_mul(columns);
            let size = (x.count, windows.saturating_mul(side * side), x.width);
            let apart = net.moved((at, "windows", "Transpose"), &[x], size)?;
            let sight = Sight { windows: Some(windows), biases: &biases, ..Sight::default() };
            let made = net.own_attention(layer, at, apart, &sight)?;
            net.moved((at, "joined", "Transpose"), &[made], (x.count, x.rows, made.width))
        })?;
        self.part(layer, at, (names.feed.norm, ""), state, |net, x| net.feed(layer, at, x))
    }
}
