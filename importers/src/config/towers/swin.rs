//! Blocks over windows of an image that move from block to block, and get larger by merging patches
//! (Liu et al. 2021, arXiv:2103.14030).

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;

use super::layer::{Biases, Layer, Names, Order, Sight, join, op_type};
use super::model::{Model, labels, written};
use super::net::{Conv, Flow, Grid, Net, Norm};
use super::spec::Spec;
use super::vision::VIT;
use crate::config::request::{Request, Written};

pub(crate) const TYPES: &[&str] = &["swin"];

const NAMES: Names = VIT;

/// Reads a config of one of [`TYPES`].
pub(crate) fn read(request: &Request<'_>) -> Result<Written, Diagnostic> {
    written(request, write)
}

fn write(model: &mut Model<'_>, spec: &Spec) -> Result<Vec<TensorId>, Diagnostic> {
    let class = model.class(spec, &["ForImageClassification", "Model"])?;
    let prefix = if class == "Model" { "" } else { "swin" };
    let depths = spec.list("depths", &[2, 2, 6, 2])?;
    let depths = spec.each("depths", &depths, depths.len())?;
    let heads = spec.each("num_heads", &[3, 6, 12, 24], depths.len())?;
    let (mut state, mut grid) = patched(model, spec, prefix)?;
    for (i, (depth, heads)) in depths.iter().zip(&heads).enumerate() {
        let at = format!("{}.{i}", join(prefix, "encoder.layers"));
        let stage = Stage::read(spec, (state.width, *heads), grid)?;
        for block in 0..*depth {
            state = model.net.windowed(&stage, &format!("{at}.blocks.{block}"), state)?;
        }
        if i + 1 < depths.len() {
            grid = [grid[0].div_ceil(2), grid[1].div_ceil(2)];
            let size = (state.count, grid[0] * grid[1], state.width.saturating_mul(4));
            let at = format!("{at}.downsample");
            let merged = model.net.moved((&at, "merge", "Concat"), &[state], size)?;
            let normed = model.net.norm(&format!("{at}.norm"), Norm::Layer, merged)?;
            let width = state.width.saturating_mul(2);
            state = model.net.linear(&format!("{at}.reduction"), normed, width, false)?;
        }
    }
    let state = model.net.norm(&join(prefix, "layernorm"), Norm::Layer, state)?;
    let mean = model.net.mean(prefix, state)?;
    if class == "Model" {
        return Ok(vec![state.id, mean.id]);
    }
    Ok(vec![model.net.linear("classifier", mean, labels(spec)?, true)?.id])
}

/// Patches, padded to whole ones, with a norm.
fn patched(
    model: &mut Model<'_>,
    spec: &Spec,
    prefix: &str,
) -> Result<(Flow, [u64; 2]), Diagnostic> {
    let patch = spec.pair("patch_size", 4)?;
    let own = spec.pair("image_size", 224)?;
    let image = model.image(own)?;
    let pixels = model.pixels((1, spec.n("num_channels", 3)?), image)?;
    let width = spec.n("embed_dim", 96)?;
    let space: Vec<u64> =
        pixels.space.iter().zip(patch).map(|(n, patch)| n.div_ceil(patch) * patch).collect();
    let pixels = Grid { space, ..pixels };
    let at = join(prefix, "embeddings");
    let net = &mut model.net;
    let conv = Conv::patches(width, &patch);
    let grid = net.conv(&format!("{at}.patch_embeddings.projection"), &pixels, conv)?;
    let extents = [grid.space[0], grid.space[1]];
    let mut state = net.norm(&format!("{at}.norm"), Norm::Layer, grid.flow())?;
    if spec.flag("use_absolute_embeddings", false)? {
        let n = (own[0] / patch[0]) * (own[1] / patch[1]);
        let name = format!("{at}.position_embeddings");
        state = net.with((&at, "add_positions", "Add"), state, (&name, &[1, n, width]))?;
    }
    Ok((state, extents))
}

/// What the blocks of a stage have in common.
pub(super) struct Stage {
    layer: Layer,
    /// Positions along both axes.
    grid: [u64; 2],
    /// Of a side.
    window: u64,
    /// Rows of the table of biases by distance.
    distances: u64,
}

impl Stage {
    fn read(spec: &Spec, (width, heads): (u64, u64), grid: [u64; 2]) -> Result<Self, Diagnostic> {
        let window = spec.n("window_size", 7)?;
        // Truncated as the library does.
        let inner = (width as f64 * spec.real("mlp_ratio", 4.0)?) as u64;
        let layer = Layer::new(&NAMES, (width, heads, inner.max(1)), Order::Pre)?;
        let qkv = [spec.flag("qkv_bias", true)?; 3];
        let act = op_type(spec.text("hidden_act", "gelu")?);
        let side = window.saturating_mul(2).saturating_sub(1);
        let distances = side.saturating_mul(side);
        let least = grid[0].min(grid[1]);
        Ok(Self {
            layer: Layer { biases: Biases { qkv, ..Biases::ALL }, act, ..layer },
            grid,
            window: window.min(least).max(1),
            distances,
        })
    }
}

impl Net {
    /// A block whose tokens attend to their window.
    fn windowed(&mut self, stage: &Stage, at: &str, state: Flow) -> Result<Flow, Diagnostic> {
        let layer = &stage.layer;
        let [first, second] = layer.names.norms;
        let side = stage.window;
        let module = format!("{at}.attention.relative_position_bias");
        let name = format!("{module}.relative_position_bias_table");
        let square = [layer.heads, side * side, side * side];
        let bias = self.relative(&module, (&name, [stage.distances, layer.heads]), square)?;
        let state = self.part(layer, at, (first, ""), state, |net, x| {
            net.in_windows(at, x, (stage.grid, side), |net, x, windows| {
                let sight = Sight { windows: Some(windows), biases: &[bias], ..Sight::default() };
                net.own_attention(layer, at, x, &sight)
            })
        })?;
        self.part(layer, at, (second, ""), state, |net, x| net.feed(layer, at, x))
    }

    /// What a function makes of the windows of an image, padded to whole ones.
    pub(super) fn in_windows(
        &mut self,
        at: &str,
        x: Flow,
        (grid, side): ([u64; 2], u64),
        of: impl FnOnce(&mut Self, Flow, u64) -> Result<Flow, Diagnostic>,
    ) -> Result<Flow, Diagnostic> {
        let [rows, columns] = grid.map(|n| n.div_ceil(side));
        let windows = rows.saturating_mul(columns);
        let padded = windows.saturating_mul(side * side);
        let size = (x.count, padded, x.width);
        let apart = self.moved((at, "windows", "Transpose"), &[x], size)?;
        let made = of(self, apart, windows)?;
        self.moved((at, "joined", "Transpose"), &[made], (x.count, x.rows, made.width))
    }
}
