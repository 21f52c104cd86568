//! Networks of convolutions whose blocks add to what they read (He et al. 2016, arXiv:1512.03385).

use super::model::{Model, Outputs};
use super::net::{Conv, Done, Grid, Net, Norm};
use super::pyramids::pixels;
use super::spec::Spec;

/// How a network is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resnet {
    /// Whether blocks have a narrow middle, and which of its convolutions has the block's stride.
    pub narrow: Option<usize>,
    /// Whether names are those of timm, and norms are not trained.
    pub is_timm: bool,
}

impl Resnet {
    /// A convolution without a bias, and its norm.
    pub(super) fn conv(
        self,
        net: &mut Net,
        [conv, norm]: [&str; 2],
        x: &Grid,
        [out, kernel, stride]: [u64; 3],
    ) -> Done<Grid> {
        let (kernel, stride) = ([kernel; 2], [stride; 2]);
        let without_bias = Conv { has_bias: false, ..Conv::same(out, &kernel, &stride) };
        let made = net.conv(conv, x, without_bias)?;
        net.norm_grid(norm, if self.is_timm { Norm::Frozen } else { Norm::Batch }, &made)
    }

    /// A block whose output has so many channels.
    pub(super) fn block(
        self,
        net: &mut Net,
        at: &str,
        x: &Grid,
        (width, stride): (u64, u64),
    ) -> Done<Grid> {
        let convs = match self.narrow {
            Some(0) => vec![[width / 4, 1, stride], [width / 4, 3, 1], [width, 1, 1]],
            Some(_) => vec![[width / 4, 1, 1], [width / 4, 3, stride], [width, 1, 1]],
            None => vec![[width, 3, stride], [width, 3, 1]],
        };
        let mut state = x.clone();
        for (i, conv) in convs.iter().enumerate() {
            let names = match self.is_timm {
                true => ["conv", "bn", "act"].map(|name| format!("{at}.{name}{}", i + 1)),
                false => [".convolution", ".normalization", ""]
                    .map(|name| format!("{at}.layer.{i}{name}")),
            };
            state = self.conv(net, [&names[0], &names[1]], &state, *conv)?;
            if i + 1 < convs.len() {
                state = net.act_grid(&names[2], "Relu", &state)?;
            }
        }
        let mut other = x.clone();
        if x.channels != state.channels || stride > 1 {
            let names = match self.is_timm {
                true => ["downsample.0", "downsample.1"],
                false => ["shortcut.convolution", "shortcut.normalization"],
            };
            let [conv, norm] = names.map(|name| format!("{at}.{name}"));
            other = self.conv(net, [&conv, &norm], x, [state.channels, 1, stride])?;
        }
        let sum = net.add(at, "add", [other.flow(), state.flow()])?;
        Ok(state.of(net.act(at, "Relu", sum)?.id))
    }
}

/// Writes a ResNet and its head.
pub(super) fn write(model: &mut Model<'_>, spec: &Spec) -> Outputs {
    let class = model.task(spec, "resnet", &["ForImageClassification", "Model"])?;
    let depths = spec.list("depths", &[3, 4, 6, 3])?;
    let depths = spec.each("depths", &depths, depths.len())?;
    let widths = spec.each("hidden_sizes", &[256, 512, 1024, 2048], depths.len())?;
    let is_narrow = spec.text("layer_type", "bottleneck")? != "basic";
    let is_first_strided = spec.flag("downsample_in_first_stage", false)?;
    let strided = usize::from(is_narrow && !spec.flag("downsample_in_bottleneck", false)?);
    let form = Resnet { narrow: is_narrow.then_some(strided), is_timm: false };
    spec.text("hidden_act", "relu")?;
    let image = pixels(model, spec)?;
    let (at, stages) = (model.at("embedder"), model.at("encoder.stages"));
    let net = &mut model.net;
    let names = ["convolution", "normalization"].map(|name| format!("{at}.embedder.{name}"));
    let conv = [spec.n("embedding_size", 64)?, 7, 2];
    let mut grid = form.conv(net, [&names[0], &names[1]], &image, conv)?;
    grid = net.act_grid(&at, "Relu", &grid)?;
    grid = net.pool((&format!("{at}.pooler"), "MaxPool"), &grid, [3, 2, 2])?;
    for (i, (depth, width)) in depths.iter().zip(&widths).enumerate() {
        for layer in 0..*depth {
            let at = format!("{stages}.{i}.layers.{layer}");
            let stride = if layer == 0 && (i > 0 || is_first_strided) { 2 } else { 1 };
            grid = form.block(net, &at, &grid, (*width, stride))?;
        }
    }
    let mean = model.net.mean(&model.at("pooler"), grid.flow())?;
    if class == "Model" {
        return Ok(vec![grid.id, mean.id]);
    }
    model.labelled(spec, "classifier.1", mean)
}
