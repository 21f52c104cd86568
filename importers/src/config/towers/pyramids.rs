//! Networks of convolutions in stages: ResNet, ConvNeXt, and SegFormer, whose blocks attend to
//! positions that a convolution thinned out.

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;

use super::layer::{Layer, Names, Order, join, op_type};
use super::model::{Model, labels, written};
use super::net::{Conv, Core, Flow, Grid, Net, Norm};
use super::spec::{Spec, refused};
use super::vision::VIT;
use crate::config::request::{Request, Written};

pub(crate) const TYPES: &[&str] = &["convnext", "convnextv2", "resnet", "segformer"];

const NAMES: Names = VIT;

/// Reads a config of one of [`TYPES`].
pub(crate) fn read(request: &Request<'_>) -> Result<Written, Diagnostic> {
    written(request, write)
}

fn write(model: &mut Model<'_>, spec: &Spec) -> Result<Vec<TensorId>, Diagnostic> {
    match spec.text("model_type", "")? {
        "resnet" => resnet(model, spec),
        "segformer" => segformer(model, spec),
        kind => convnext(model, spec, kind),
    }
}

/// An image of any size.
fn pixels(model: &mut Model<'_>, spec: &Spec) -> Result<Grid, Diagnostic> {
    let channels = spec.n("num_channels", 3)?;
    let image = match spec.has("image_size") {
        true => {
            let own = spec.pair("image_size", 224)?;
            model.image(own)?
        }
        false => [model.dimension("image", (224, 1 << 15), "pixels")?; 2],
    };
    model.pixels((1, channels), image)
}

/// A convolution without a bias, of a square kernel, whose padding keeps the image.
fn square<'a>(kernel: &'a [u64; 2], stride: &'a [u64; 2], out: u64) -> Conv<'a> {
    let padding = kernel[0] / 2 * 2;
    Conv { out, kernel: &kernel[..], stride, padding, groups: 1, has_bias: false }
}

const STRIDES: [[u64; 2]; 2] = [[1, 1], [2, 2]];

impl Net {
    /// A convolution with a batch norm behind it.
    fn normed(&mut self, at: &str, x: &Grid, conv: Conv<'_>) -> Result<Grid, Diagnostic> {
        let made = self.conv(&format!("{at}.convolution"), x, conv)?;
        self.norm_grid(&format!("{at}.normalization"), Norm::Batch, &made)
    }

    /// A block of a ResNet: kernels, widths and strides of its convolutions by module.
    fn residual(
        &mut self,
        at: &str,
        x: &Grid,
        (widths, kernels): (&[u64], &[u64]),
        (stride, strided): (usize, usize),
    ) -> Result<Grid, Diagnostic> {
        let mut state = x.clone();
        for (i, (width, kernel)) in widths.iter().zip(kernels).enumerate() {
            let step = if i == strided { &STRIDES[stride] } else { &STRIDES[0] };
            let module = format!("{at}.layer.{i}");
            state = self.normed(&module, &state, square(&[*kernel; 2], step, *width))?;
            if i + 1 < widths.len() {
                state = self.act_grid(&module, "Relu", &state)?;
            }
        }
        let mut other = x.clone();
        if x.channels != state.channels || stride > 0 {
            let conv = square(&[1, 1], &STRIDES[stride], state.channels);
            other = self.normed(&format!("{at}.shortcut"), x, conv)?;
        }
        let sum = self.add(at, "add", [other.flow(), state.flow()])?;
        let id = self.plain(at, ("activation", "Relu"), &[sum])?.id;
        Ok(Grid { id, ..state })
    }
}

fn resnet(model: &mut Model<'_>, spec: &Spec) -> Result<Vec<TensorId>, Diagnostic> {
    let class = model.class(spec, &["ForImageClassification", "Model"])?;
    let prefix = if class == "Model" { "" } else { "resnet" };
    let depths = spec.list("depths", &[3, 4, 6, 3])?;
    let depths = spec.each("depths", &depths, depths.len())?;
    let widths = spec.each("hidden_sizes", &[256, 512, 1024, 2048], depths.len())?;
    let is_bottleneck = spec.text("layer_type", "bottleneck")? != "basic";
    let is_first_strided = spec.flag("downsample_in_first_stage", false)?;
    let strided = usize::from(is_bottleneck && !spec.flag("downsample_in_bottleneck", false)?);
    spec.text("hidden_act", "relu")?;
    let image = pixels(model, spec)?;
    let net = &mut model.net;
    let conv = square(&[7, 7], &STRIDES[1], spec.n("embedding_size", 64)?);
    let at = join(prefix, "embedder");
    let mut grid = net.normed(&format!("{at}.embedder"), &image, conv)?;
    grid = net.act_grid(&at, "Relu", &grid)?;
    grid = net.pool((&format!("{at}.pooler"), "MaxPool"), &grid, [3, 2, 2])?;
    for (i, (depth, width)) in depths.iter().zip(&widths).enumerate() {
        for layer in 0..*depth {
            let at = format!("{}.{i}.layers.{layer}", join(prefix, "encoder.stages"));
            let stride = usize::from(layer == 0 && (i > 0 || is_first_strided));
            let narrow = width / 4;
            grid = match is_bottleneck {
                true => {
                    let widths = (&[narrow, narrow, *width][..], &[1, 3, 1][..]);
                    net.residual(&at, &grid, widths, (stride, strided))?
                }
                false => net.residual(&at, &grid, (&[*width, *width], &[3, 3]), (stride, 0))?,
            };
        }
    }
    let mean = net.mean(&join(prefix, "pooler"), grid.flow())?;
    if class == "Model" {
        return Ok(vec![grid.id, mean.id]);
    }
    Ok(vec![net.linear("classifier.1", mean, labels(spec)?, true)?.id])
}

fn convnext(model: &mut Model<'_>, spec: &Spec, kind: &str) -> Result<Vec<TensorId>, Diagnostic> {
    let class = model.class(spec, &["ForImageClassification", "Model"])?;
    let prefix = if class == "Model" { "" } else { kind };
    let n = spec.n("num_stages", 4)?;
    let n = usize::try_from(n).unwrap_or(0);
    let depths = spec.each("depths", &[3, 3, 9, 3], n)?;
    let widths = spec.each("hidden_sizes", &[96, 192, 384, 768], n)?;
    let act = op_type(spec.text("hidden_act", "gelu")?);
    let is_scaled = kind == "convnext" && spec.real("layer_scale_init_value", 1e-6)? > 0.0;
    let image = pixels(model, spec)?;
    let patch = spec.pair("patch_size", 4)?;
    let net = &mut model.net;
    let at = join(prefix, "embeddings");
    let conv = Conv::patches(widths[0], &patch);
    let mut grid = net.conv(&format!("{at}.patch_embeddings"), &image, conv)?;
    grid = net.norm_grid(&format!("{at}.layernorm"), Norm::Layer, &grid)?;
    for (i, (depth, width)) in depths.iter().zip(&widths).enumerate() {
        let at = format!("{}.{i}", join(prefix, "encoder.stages"));
        if i > 0 {
            let module = format!("{at}.downsampling_layer");
            grid = net.norm_grid(&format!("{module}.0"), Norm::Layer, &grid)?;
            let conv = Conv::patches(*width, &[2, 2]);
            grid = net.conv(&format!("{module}.1"), &grid, conv)?;
        }
        for layer in 0..*depth {
            let at = format!("{at}.layers.{layer}");
            let id = net.inverted(&at, &grid, act, (is_scaled, kind == "convnextv2"))?.id;
            grid = Grid { id, ..grid };
        }
    }
    let mean = net.mean(prefix, grid.flow())?;
    let normed = net.norm(&join(prefix, "layernorm"), Norm::Layer, mean)?;
    if class == "Model" {
        return Ok(vec![grid.id, normed.id]);
    }
    Ok(vec![net.linear("classifier", normed, labels(spec)?, true)?.id])
}

impl Net {
    /// A block of ConvNeXt: a convolution per channel, and two products.
    fn inverted(
        &mut self,
        at: &str,
        x: &Grid,
        act: &str,
        (is_scaled, is_responsive): (bool, bool),
    ) -> Result<Flow, Diagnostic> {
        let (width, wide) = (x.channels, x.channels.saturating_mul(4));
        let conv = Conv {
            out: width,
            kernel: &[7, 7],
            stride: &[1, 1],
            padding: 6,
            groups: width,
            has_bias: true,
        };
        let made = self.conv(&format!("{at}.dwconv"), x, conv)?.flow();
        let normed = self.norm(&format!("{at}.layernorm"), Norm::Layer, made)?;
        let module = format!("{at}.pwconv1");
        let mut state = self.linear(&module, normed, wide, true)?;
        state = self.plain(&module, ("activation", act), &[state])?;
        if is_responsive {
            let module = format!("{at}.grn");
            let mut parameters = Vec::new();
            for part in ["weight", "bias"] {
                let name = format!("{module}.{part}");
                parameters.push(self.parameter(&name, &[1, 1, 1, wide])?);
            }
            state = self.apply((&module, "", "LpNormalization"), &[state], &parameters, wide)?;
        }
        state = self.linear(&format!("{at}.pwconv2"), state, width, true)?;
        if is_scaled {
            let name = format!("{at}.layer_scale_parameter");
            state = self.with((at, "layer_scale", "Mul"), state, (&name, &[width]))?;
        }
        self.add(at, "add", [x.flow(), state])
    }
}

/// What the blocks of a stage of SegFormer have in common.
struct Thinned {
    layer: Layer,
    ratio: u64,
    grid: Grid,
}

fn segformer(model: &mut Model<'_>, spec: &Spec) -> Result<Vec<TensorId>, Diagnostic> {
    let classes = &["ForImageClassification", "ForSemanticSegmentation", "Model"];
    let class = model.class(spec, classes)?;
    let prefix = if class == "Model" { "" } else { "segformer" };
    let n = usize::try_from(spec.n("num_encoder_blocks", 4)?).unwrap_or(0);
    let of = |name: &'static str, default: [u64; 4]| spec.each(name, &default, n);
    let depths = of("depths", [2; 4])?;
    let (ratios, widths) =
        (of("sr_ratios", [8, 4, 2, 1])?, of("hidden_sizes", [32, 64, 160, 256])?);
    let (kernels, strides) = (of("patch_sizes", [7, 3, 3, 3])?, of("strides", [4, 2, 2, 2])?);
    let (heads, inner) = (of("num_attention_heads", [1, 2, 5, 8])?, of("mlp_ratios", [4; 4])?);
    if !spec.flag("reshape_last_stage", true)? {
        return Err(refused("states of the last stage as they are"));
    }
    let act = op_type(spec.text("hidden_act", "gelu")?);
    let mut grid = pixels(model, spec)?;
    let mut stages = Vec::new();
    for i in 0..n {
        let at = format!("{}.{i}", join(prefix, "stages"));
        let module = format!("{at}.patch_embeddings");
        let (kernel, stride) = ([kernels[i]; 2], [strides[i]; 2]);
        let padding = kernels[i] / 2 * 2;
        let conv = Conv {
            out: widths[i],
            kernel: &kernel,
            stride: &stride,
            padding,
            groups: 1,
            has_bias: true,
        };
        grid = model.net.conv(&format!("{module}.proj"), &grid, conv)?;
        grid = model.net.norm_grid(&format!("{module}.layer_norm"), Norm::Layer, &grid)?;
        let wide = widths[i].saturating_mul(inner[i]);
        let layer = Layer::new(&NAMES, (widths[i], heads[i], wide), Order::Pre)?;
        for block in 0..depths[i] {
            let stage =
                Thinned { layer: Layer { act, ..layer }, ratio: ratios[i], grid: grid.clone() };
            let id = model.net.thinned(&stage, &format!("{at}.blocks.{block}"))?.id;
            grid = Grid { id, ..grid };
        }
        grid = model.net.norm_grid(&format!("{at}.layer_norm"), Norm::Layer, &grid)?;
        stages.push(grid.clone());
    }
    match class {
        "Model" => Ok(vec![grid.id]),
        "ForSemanticSegmentation" => segmented(model, spec, &stages),
        _ => {
            let mean = model.net.mean(prefix, grid.flow())?;
            Ok(vec![model.net.linear("classifier", mean, labels(spec)?, true)?.id])
        }
    }
}

impl Net {
    /// A block whose tokens attend to fewer, and whose feed-forward part sees its neighbours.
    fn thinned(&mut self, stage: &Thinned, at: &str) -> Result<Flow, Diagnostic> {
        let Thinned { layer, ratio, grid } = stage;
        let Names { qkv, out, norms: [first, second], ways, down, .. } = *layer.names;
        let state = self.part(layer, at, (first, ""), grid.flow(), |net, x| {
            let mut others = x;
            if *ratio > 1 {
                let module = format!("{at}.attention.sequence_reduction");
                let seen = Grid { id: x.id, ..grid.clone() };
                let kernel = [*ratio; 2];
                let conv = Conv::patches(x.width, &kernel);
                let fewer = net.conv(&format!("{module}.sequence_reduction"), &seen, conv)?;
                others = net.norm(&format!("{module}.layer_norm"), Norm::Layer, fewer.flow())?;
            }
            let q = net.linear(&join(at, qkv[0]), x, x.width, true)?;
            let k = net.linear(&join(at, qkv[1]), others, x.width, true)?;
            let v = net.linear(&join(at, qkv[2]), others, x.width, true)?;
            let spans = [others.rows; 2];
            let core = Core { heads: layer.heads, dim: layer.dim, spans, biases: &[] };
            let made = net.attend(&format!("{at}.attention"), q, (k.id, v.id), core)?;
            net.linear(&join(at, out), made, x.width, true)
        })?;
        self.part(layer, at, (second, ""), state, |net, x| {
            let wide = net.linear(&join(at, ways[0]), x, layer.inner, true)?;
            let seen = Grid { id: wide.id, channels: layer.inner, ..grid.clone() };
            let (kernel, stride) = (&[3, 3], &[1, 1]);
            let groups = layer.inner;
            let conv = Conv { out: groups, kernel, stride, padding: 2, groups, has_bias: true };
            let module = format!("{at}.mlp.dwconv.dwconv");
            let mixed = net.conv(&module, &seen, conv)?.flow();
            let active = net.plain(&module, ("activation", layer.act), &[mixed])?;
            net.linear(&join(at, down), active, x.width, true)
        })
    }
}

/// All stages at the size of the first, joined, and a product for each class.
fn segmented(
    model: &mut Model<'_>,
    spec: &Spec,
    stages: &[Grid],
) -> Result<Vec<TensorId>, Diagnostic> {
    let width = spec.n("decoder_hidden_size", 256)?;
    let n = labels(spec)?;
    let net = &mut model.net;
    let Some(first) = stages.first().map(Grid::flow) else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for (i, stage) in stages.iter().enumerate() {
        let module = format!("decode_head.linear_projections.{i}.proj");
        let made = net.linear(&module, stage.flow(), width, true)?;
        all.push(net.moved(
            (&module, "resize", "Resize"),
            &[made],
            (first.count, first.rows, width),
        )?);
    }
    let wide = width.saturating_mul(stages.len() as u64);
    let joined =
        net.moved(("decode_head", "concat", "Concat"), &all, (first.count, first.rows, wide))?;
    let fused = net.linear("decode_head.linear_fuse", joined, width, false)?;
    let normed = net.norm("decode_head.batch_norm", Norm::Batch, fused)?;
    let active = net.plain("decode_head", ("activation", "Relu"), &[normed])?;
    Ok(vec![net.linear("decode_head.classifier", active, n, true)?.id])
}
