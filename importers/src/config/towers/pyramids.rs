//! Networks in stages: ConvNeXt, of convolutions alone, and SegFormer, whose blocks attend to positions
//! that a convolution thinned out.

use super::layer::{Layer, Names, Order, op_type};
use super::model::{Model, Outputs, labels};
use super::names::VIT;
use super::net::{Conv, Done, Flow, Grid, Net, Norm};
use super::spec::{Spec, refused};

/// A family of ConvNeXts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    /// Module of the model within the class of a task.
    pub prefix: &'static str,
    /// Whether the middle of a block is normalised over all positions (Woo et al. 2023), in place of a
    /// parameter that scales its output.
    pub is_responsive: bool,
}

/// An image of any size.
pub(super) fn pixels(model: &mut Model<'_>, spec: &Spec) -> Done<Grid> {
    let channels = spec.n("num_channels", 3)?;
    let image = match spec.has("image_size") {
        true => {
            let size = spec.pair("image_size", [224; 2])?;
            model.image(size)?
        }
        false => [model.dimension("image", (224, 1 << 15), "pixels")?; 2],
    };
    model.pixels((1, channels), image)
}

/// Writes a ConvNeXt and its head.
pub(super) fn convnext(model: &mut Model<'_>, spec: &Spec, family: &Family) -> Outputs {
    let class = model.task(spec, family.prefix, &["ForImageClassification", "Model"])?;
    let n = usize::try_from(spec.n("num_stages", 4)?).unwrap_or(0);
    let depths = spec.each("depths", &[3, 3, 9, 3], n)?;
    let widths = spec.each("hidden_sizes", &[96, 192, 384, 768], n)?;
    let act = op_type(spec.text("hidden_act", "gelu")?);
    let is_scaled = !family.is_responsive && spec.real("layer_scale_init_value", 1e-6)? > 0.0;
    let image = pixels(model, spec)?;
    let patch = spec.pair("patch_size", [4; 2])?;
    let (at, stages) = (model.at("embeddings"), model.at("encoder.stages"));
    let net = &mut model.net;
    let conv = Conv::patches(widths[0], &patch);
    let mut grid = net.conv(&format!("{at}.patch_embeddings"), &image, conv)?;
    grid = net.norm_grid(&format!("{at}.layernorm"), Norm::Layer, &grid)?;
    for (i, (depth, width)) in depths.iter().zip(&widths).enumerate() {
        let at = format!("{stages}.{i}");
        if i > 0 {
            let module = format!("{at}.downsampling_layer");
            grid = net.norm_grid(&format!("{module}.0"), Norm::Layer, &grid)?;
            grid = net.conv(&format!("{module}.1"), &grid, Conv::patches(*width, &[2, 2]))?;
        }
        for layer in 0..*depth {
            let at = format!("{at}.layers.{layer}");
            let made = net.inverted(&at, &grid, act, (is_scaled, family.is_responsive))?;
            grid = grid.of(made.id);
        }
    }
    let mean = net.mean(model.prefix, grid.flow())?;
    let normed = model.net.norm(&model.at("layernorm"), Norm::Layer, mean)?;
    if class == "Model" {
        return Ok(vec![grid.id, normed.id]);
    }
    model.labelled(spec, "classifier", normed)
}

impl Net {
    /// A block of ConvNeXt: a convolution per channel, and two products.
    fn inverted(
        &mut self,
        at: &str,
        x: &Grid,
        act: &str,
        (is_scaled, is_responsive): (bool, bool),
    ) -> Done {
        let (width, wide) = (x.channels, x.channels.saturating_mul(4));
        let conv = Conv { groups: width, ..Conv::same(width, &[7, 7], &[1, 1]) };
        let made = self.conv(&format!("{at}.dwconv"), x, conv)?.flow();
        let normed = self.norm(&format!("{at}.layernorm"), Norm::Layer, made)?;
        let mut state = self.dense(&format!("{at}.pwconv1"), act, normed, wide)?;
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

/// Writes a SegFormer and its head.
pub(super) fn segformer(model: &mut Model<'_>, spec: &Spec) -> Outputs {
    let classes = &["ForImageClassification", "ForSemanticSegmentation", "Model"];
    let class = model.task(spec, "segformer", classes)?;
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
    let act = spec.text("hidden_act", "gelu")?;
    let mut grid = pixels(model, spec)?;
    let (names, net) = (model.at("stages"), &mut model.net);
    let mut stages = Vec::new();
    for i in 0..n {
        let at = format!("{names}.{i}");
        let module = format!("{at}.patch_embeddings");
        let (kernel, stride) = ([kernels[i]; 2], [strides[i]; 2]);
        let conv = Conv::same(widths[i], &kernel, &stride);
        grid = net.conv(&format!("{module}.proj"), &grid, conv)?;
        grid = net.norm_grid(&format!("{module}.layer_norm"), Norm::Layer, &grid)?;
        let sizes = (widths[i], heads[i], widths[i].saturating_mul(inner[i]));
        let layer = Layer::new(&VIT, sizes, Order::Pre)?.acting(act);
        for block in 0..depths[i] {
            let made = net.thinned(&layer, ratios[i], &grid, &format!("{at}.blocks.{block}"))?;
            grid = grid.of(made.id);
        }
        grid = net.norm_grid(&format!("{at}.layer_norm"), Norm::Layer, &grid)?;
        stages.push(grid.flow());
    }
    match class {
        "Model" => Ok(vec![grid.id]),
        "ForSemanticSegmentation" => segmented(model, spec, &stages),
        _ => {
            let mean = net.mean(model.prefix, grid.flow())?;
            model.labelled(spec, "classifier", mean)
        }
    }
}

impl Net {
    /// A block whose tokens attend to fewer, and whose feed-forward part sees its neighbours.
    fn thinned(&mut self, layer: &Layer, ratio: u64, grid: &Grid, at: &str) -> Done {
        let Names { own: attention, feed, .. } = layer.names;
        let state = self.part(layer, at, (attention.norm, ""), grid.flow(), |net, x| {
            let mut others = x;
            if ratio > 1 {
                let module = format!("{at}.attention.sequence_reduction");
                let (name, kernel) = (format!("{module}.sequence_reduction"), [ratio; 2]);
                let fewer = net.conv(&name, &grid.of(x.id), Conv::patches(x.width, &kernel))?;
                others = net.norm(&format!("{module}.layer_norm"), Norm::Layer, fewer.flow())?;
            }
            let [q, k, v] = net.projected(layer, at, attention, [x, others, others])?;
            let core = layer.core(others.rows, &[]);
            let made = net.attend(&format!("{at}.attention"), q, (k.id, v.id), core)?;
            net.linear(&format!("{at}.{}", attention.out), made, x.width, true)
        })?;
        self.part(layer, at, (feed.norm, ""), state, |net, x| {
            let groups = layer.inner;
            let wide = net.linear(&format!("{at}.{}", feed.ways[0]), x, groups, true)?;
            let seen = Grid { channels: groups, ..grid.of(wide.id) };
            let conv = Conv { groups, ..Conv::same(groups, &[3, 3], &[1, 1]) };
            let module = format!("{at}.mlp.dwconv.dwconv");
            let mixed = net.conv(&module, &seen, conv)?.flow();
            let active = net.act(&module, layer.act, mixed)?;
            net.linear(&format!("{at}.{}", feed.down), active, x.width, true)
        })
    }
}

/// All stages at the size of the first, joined, and a product for each class.
fn segmented(model: &mut Model<'_>, spec: &Spec, stages: &[Flow]) -> Outputs {
    let width = spec.n("decoder_hidden_size", 256)?;
    let n = labels(spec)?;
    let (net, at) = (&mut model.net, "decode_head");
    let Some(Flow { count, rows, .. }) = stages.first().copied() else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for (i, stage) in stages.iter().enumerate() {
        let module = format!("{at}.linear_projections.{i}.proj");
        let made = net.linear(&module, *stage, width, true)?;
        all.push(net.moved((&module, "resize", "Resize"), &[made], (count, rows, width))?);
    }
    let wide = width.saturating_mul(stages.len() as u64);
    let joined = net.moved((at, "concat", "Concat"), &all, (count, rows, wide))?;
    let fused = net.linear("decode_head.linear_fuse", joined, width, false)?;
    let normed = net.norm("decode_head.batch_norm", Norm::Batch, fused)?;
    let active = net.act(at, "Relu", normed)?;
    Ok(vec![net.linear("decode_head.classifier", active, n, true)?.id])
}
