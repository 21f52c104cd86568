//! Encoders of a waveform: convolutions, positions by a convolution, and blocks (wav2vec 2.0, Baevski
//! et al. 2020, and what came from it).

use ir::id::TensorId;
use ir::op::Product;
use serde_json::{Value, json};

use super::layer::{Layer, Order, Sight, op_type};
use super::model::{Model, Outputs};
use super::names::WAV2VEC2;
use super::net::{Conv, Done, Flow, Grid, Net, Norm};
use super::spec::Spec;
use crate::config::builder::NewOp;
use crate::config::request::MAX_EXTENT;

/// A family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    /// Module of the model within the class of a task.
    pub prefix: &'static str,
    /// Whether positions are several convolutions, and each of those of the waveform has a norm.
    pub is_stacked: bool,
    /// Whether scores have biases by distance that each token gates.
    pub is_gated: bool,
    /// Whether the config may leave out the norm behind the convolutions.
    pub may_skip_norm: bool,
}

pub(super) const UNSTACKED: Family =
    Family { prefix: "", is_stacked: false, is_gated: false, may_skip_norm: false };

/// Samples of a waveform where nobody states them: ten seconds at 16 kHz.
const DEFAULT_AUDIO: u64 = 160_000;

/// Classes of a task, the usual one first.
const CLASSES: &[&str] = &[
    "ForCTC",
    "ForPreTraining",
    "ForSequenceClassification",
    "ForAudioFrameClassification",
    "Model",
];

/// Writes an encoder of sound and its head.
pub(super) fn write(model: &mut Model<'_>, spec: &Spec, family: &Family) -> Outputs {
    let class = match spec.has("architectures") {
        true => model.task(spec, family.prefix, CLASSES)?,
        false => "Model",
    };
    let hidden = spec.n("hidden_size", 768)?;
    if spec.real("mask_time_prob", 0.05)? > 0.0 || spec.real("mask_feature_prob", 0.0)? > 0.0 {
        // Only masked samples read it.
        model.net.parameter(&model.at("masked_spec_embed"), &[hidden])?;
    }
    spec.only("add_adapter", &json!(false))?;
    spec.only("adapter_attn_dim", &Value::Null)?;
    let features = extracted(model, spec, family)?;
    let at = model.at("feature_projection");
    let mut state = features;
    if !family.may_skip_norm || spec.flag("feat_proj_layer_norm", true)? {
        state = model.net.norm(&format!("{at}.layer_norm"), Norm::Layer, state)?;
    }
    state = model.net.linear(&format!("{at}.projection"), state, hidden, true)?;
    state = encoded(model, spec, family, state)?;
    ended(model, spec, class, (state, features))
}

/// Convolutions over the waveform.
fn extracted(model: &mut Model<'_>, spec: &Spec, family: &Family) -> Done {
    let widths = spec.list("conv_dim", &[512; 7])?;
    let n = widths.len();
    let widths = spec.each("conv_dim", &widths, n)?;
    let kernels = spec.each("conv_kernel", &[10, 3, 3, 3, 3, 2, 2], n)?;
    let strides = spec.each("conv_stride", &[5, 2, 2, 2, 2, 2, 2], n)?;
    let has_bias = spec.flag("conv_bias", false)?;
    let is_each = family.is_stacked || spec.text("feat_extract_norm", "group")? == "layer";
    let act = op_type(spec.text("feat_extract_activation", "gelu")?);
    spec.n("num_feat_extract_layers", n.max(1) as u64)?;
    let samples = model.dimension("audio", (DEFAULT_AUDIO, MAX_EXTENT), "samples of a waveform")?;
    let id = model.net.fed("input_values", &[model.batch, samples])?;
    let mut grid = Grid { id, count: model.batch, channels: 1, space: vec![samples] };
    for (i, ((out, kernel), stride)) in widths.iter().zip(&kernels).zip(&strides).enumerate() {
        let at = format!("{}.{i}", model.at("feature_extractor.conv_layers"));
        let (kernel, stride) = (&[*kernel], &[*stride]);
        let conv = Conv { stride, has_bias, ..Conv::patches(*out, kernel) };
        grid = model.net.conv(&format!("{at}.conv"), &grid, conv)?;
        if is_each || i == 0 {
            let kind = if is_each { Norm::Layer } else { Norm::Group };
            grid = model.net.norm_grid(&format!("{at}.layer_norm"), kind, &grid)?;
        }
        grid = model.net.act_grid(&at, act, &grid)?;
    }
    Ok(grid.flow())
}

/// Positions and blocks.
fn encoded(model: &mut Model<'_>, spec: &Spec, family: &Family, x: Flow) -> Done {
    let is_stable = spec.flag("do_stable_layer_norm", false)?;
    let heads = spec.n("num_attention_heads", 12)?;
    let inner = spec.n("intermediate_size", 3072)?;
    let order = if is_stable { Order::Pre } else { Order::Post };
    let layer = Layer::new(&WAV2VEC2, (x.width, heads, inner), order)?;
    let layer = layer.acting(spec.text("hidden_act", "gelu")?);
    let (at, net) = (model.at("encoder"), &mut model.net);
    let norm = format!("{at}.layer_norm");
    let moved = positions(net, spec, (&at, family.is_stacked), x)?;
    let mut state = net.add(&format!("{at}.pos_conv_embed"), "add", [x, moved])?;
    if !is_stable {
        state = net.norm(&norm, Norm::Layer, state)?;
    }
    let n_buckets = if family.is_gated { spec.n("num_buckets", 320)? } else { 0 };
    for i in 0..spec.n("num_hidden_layers", 12)? {
        let at = format!("{at}.layers.{i}");
        let biases = match family.is_gated {
            true => vec![biases(net, &layer, &at, state, (i == 0).then_some(n_buckets))?],
            false => Vec::new(),
        };
        let sight = Sight { biases: &biases, ..Sight::default() };
        state = net.layer(&layer, &at, state, &sight)?;
    }
    if is_stable { net.norm(&norm, Norm::Layer, state) } else { Ok(state) }
}

/// Biases by distance that each token gates by its state (Chen et al. 2021, arXiv:2110.13900).
fn biases(net: &mut Net, layer: &Layer, at: &str, x: Flow, buckets: Option<u64>) -> Done<TensorId> {
    let (module, heads) = (format!("{at}.attention"), layer.heads);
    let linear = &format!("{module}.gru_rel_pos_linear");
    let mut parameters = Vec::new();
    if let Some(n) = buckets {
        parameters.push(net.parameter(&format!("{module}.rel_attn_embed.weight"), &[n, heads])?);
    }
    for (name, shape) in [
        (format!("{module}.gru_rel_pos_const"), &[1, heads, 1, 1][..]),
        (format!("{linear}.weight"), &[8, layer.dim]),
        (format!("{linear}.bias"), &[8]),
    ] {
        parameters.push(net.parameter(&name, shape)?);
    }
    let m = x.count.saturating_mul(heads).saturating_mul(x.rows);
    let (inputs, shape) = (&[x.id], &[x.count, heads, x.rows, x.rows]);
    let products = &[Product { count: 1, m, k: layer.dim, n: 8 }];
    let (module, part, op_type, parameters) = (linear, "", "Gemm", &parameters);
    net.op(&NewOp { module, part, op_type, inputs, parameters, shape, products })
}

/// A convolution over all tokens in place of positions, or several.
fn positions(net: &mut Net, spec: &Spec, (at, is_stacked): (&str, bool), x: Flow) -> Done {
    let groups = spec.n("num_conv_pos_embedding_groups", 16)?;
    let grid = |x: Flow| Grid { id: x.id, count: x.count, channels: x.width, space: vec![x.rows] };
    let size = (x.count, x.rows, x.width);
    if is_stacked {
        let (kernel, mut state) = ([spec.n("conv_pos_kernel_size", 19)?], x);
        for i in 0..spec.n("num_conv_pos_embeddings", 5)? {
            let module = format!("{at}.pos_conv_embed.layers.{i}");
            let conv = Conv { groups, ..Conv::same(x.width, &kernel, &[1]) };
            let made = net.conv(&format!("{module}.conv"), &grid(state), conv)?.flow();
            let normed = net.plain(&module, ("norm", "LayerNormalization"), &[made])?;
            state = net.act(&module, "Gelu", normed)?;
        }
        return net.moved((at, "positions", "Slice"), &[state], size);
    }
    spec.only("conv_pos_batch_norm", &json!(false))?;
    let kernel = [spec.n("num_conv_pos_embeddings", 128)?];
    let module = format!("{at}.pos_conv_embed.conv");
    let weight = format!("{module}.parametrizations.weight");
    // Length and direction of the weight are parameters of their own.
    let parameters = [
        net.parameter(&format!("{weight}.original1"), &[x.width, x.width / groups, kernel[0]])?,
        net.parameter(&format!("{weight}.original0"), &[1, 1, kernel[0]])?,
        net.parameter(&format!("{module}.bias"), &[x.width])?,
    ];
    let conv = Conv { groups, ..Conv::same(x.width, &kernel, &[1]) };
    let made = net.conv_with(&module, &grid(x), conv, &parameters)?.flow();
    let cut = net.moved((&module, "cut", "Slice"), &[made], size)?;
    net.act(&module, "Gelu", cut)
}

fn ended(
    model: &mut Model<'_>,
    spec: &Spec,
    class: &str,
    (state, features): (Flow, Flow),
) -> Outputs {
    let sums = |spec: &Spec| spec.only("use_weighted_layer_sum", &json!(false));
    let net = &mut model.net;
    match class {
        "ForCTC" => Ok(vec![net.linear("lm_head", state, spec.n("vocab_size", 32)?, true)?.id]),
        "ForAudioFrameClassification" => {
            sums(spec)?;
            model.labelled(spec, "classifier", state)
        }
        "ForSequenceClassification" => {
            sums(spec)?;
            let n = spec.n("classifier_proj_size", 256)?;
            let projected = net.linear("projector", state, n, true)?;
            let mean = net.mean("projector", projected)?;
            model.labelled(spec, "classifier", mean)
        }
        "ForPreTraining" => {
            spec.only("model_type", &json!("wav2vec2"))?;
            let (groups, each) =
                (spec.n("num_codevector_groups", 2)?, spec.n("num_codevectors_per_group", 320)?);
            let dim = spec.n("codevector_dim", 256)?;
            let (n, width) = (groups.saturating_mul(each), spec.n("proj_codevector_dim", 256)?);
            let hidden = net.linear("project_hid", state, width, true)?;
            let codes = net.linear("quantizer.weight_proj", features, n, true)?;
            let table = net.parameter("quantizer.codevectors", &[1, n, dim / groups])?;
            let chosen =
                net.apply(("quantizer", "codevectors", "Gather"), &[codes], &[table], dim)?;
            let quantized = net.linear("project_q", chosen, width, true)?;
            Ok(vec![hidden.id, quantized.id])
        }
        _ => Ok(vec![state.id]),
    }
}
