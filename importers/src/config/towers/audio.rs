//! Encoders of a waveform: convolutions, positions by a convolution, and blocks (wav2vec 2.0, Baevski
//! et al. 2020, and what came from it).

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;
use ir::op::Product;
use serde_json::json;

use super::layer::{Layer, Names, Order, Sight, join};
use super::model::{Model, labels, written};
use super::net::{Conv, Flow, Grid, Net, Norm};
use super::spec::Spec;
use crate::config::builder::NewOp;
use crate::config::request::MAX_EXTENT;
use crate::config::request::{Request, Written};

pub(crate) const TYPES: &[&str] =
    &["data2vec-audio", "hubert", "unispeech", "unispeech-sat", "wav2vec2", "wavlm"];

/// Samples of a waveform where nobody states them: ten seconds at 16 kHz.
const DEFAULT_AUDIO: u64 = 160_000;

const NAMES: Names = Names {
    qkv: &["attention.q_proj", "attention.k_proj", "attention.v_proj"],
    out: "attention.out_proj",
    norms: ["layer_norm", "final_layer_norm"],
    ways: &["feed_forward.intermediate_dense"],
    down: "feed_forward.output_dense",
    cross: [""; 5],
    scales: ["", ""],
};

/// Classes of a task, the usual one first.
const CLASSES: &[&str] = &[
    "ForCTC",
    "ForPreTraining",
    "ForSequenceClassification",
    "ForAudioFrameClassification",
    "Model",
];

/// Reads a config of one of [`TYPES`].
pub(crate) fn read(request: &Request<'_>) -> Result<Written, Diagnostic> {
    written(request, write)
}

fn write(model: &mut Model<'_>, spec: &Spec) -> Result<Vec<TensorId>, Diagnostic> {
    let kind = spec.text("model_type", "")?.to_owned();
    let class = match spec.has("architectures") {
        true => model.class(spec, CLASSES)?,
        false => "Model",
    };
    let prefix = match (class, kind.as_str()) {
        ("Model", _) => "",
        (_, "data2vec-audio") => "data2vec_audio",
        (_, "unispeech-sat") => "unispeech_sat",
        (_, kind) => kind,
    };
    let hidden = spec.n("hidden_size", 768)?;
    if spec.real("mask_time_prob", 0.05)? > 0.0 || spec.real("mask_feature_prob", 0.0)? > 0.0 {
        // Only masked samples read it.
        model.net.parameter(&join(prefix, "masked_spec_embed"), &[hidden])?;
    }
    spec.only("add_adapter", &json!(false))?;
    spec.only("adapter_attn_dim", &serde_json::Value::Null)?;
    let features = extracted(model, spec, prefix, &kind)?;
    let state = projected(model, spec, (prefix, &kind), (features.flow(), hidden))?;
    let state = encoded(model, spec, (prefix, &kind), state)?;
    ended(model, spec, class, (state, features.flow()))
}

/// Convolutions over the waveform.
fn extracted(
    model: &mut Model<'_>,
    spec: &Spec,
    prefix: &str,
    kind: &str,
) -> Result<Grid, Diagnostic> {
    let widths = spec.list("conv_dim", &[512; 7])?;
    let n = widths.len();
    let widths = spec.each("conv_dim", &widths, n)?;
    let kernels = spec.each("conv_kernel", &[10, 3, 3, 3, 3, 2, 2], n)?;
    let strides = spec.each("conv_stride", &[5, 2, 2, 2, 2, 2, 2], n)?;
    let has_bias = spec.flag("conv_bias", false)?;
    let is_each = kind == "data2vec-audio" || spec.text("feat_extract_norm", "group")? == "layer";
    let act = super::layer::op_type(spec.text("feat_extract_activation", "gelu")?);
    spec.n("num_feat_extract_layers", n.max(1) as u64)?;
    let samples = model.dimension("audio", (DEFAULT_AUDIO, MAX_EXTENT), "samples of a waveform")?;
    let id = model.net.fed("input_values", &[model.batch, samples])?;
    let mut grid = Grid { id, count: model.batch, channels: 1, space: vec![samples] };
    for (i, ((out, kernel), stride)) in widths.iter().zip(&kernels).zip(&strides).enumerate() {
        let at = format!("{}.{i}", join(prefix, "feature_extractor.conv_layers"));
        let (kernel, stride) = (&[*kernel], &[*stride]);
        let conv = Conv { out: *out, kernel, stride, padding: 0, groups: 1, has_bias };
        grid = model.net.conv(&format!("{at}.conv"), &grid, conv)?;
        if is_each || i == 0 {
            let kind = if is_each { Norm::Layer } else { Norm::Group };
            grid = model.net.norm_grid(&format!("{at}.layer_norm"), kind, &grid)?;
        }
        grid = model.net.act_grid(&at, act, &grid)?;
    }
    Ok(grid)
}

fn projected(
    model: &mut Model<'_>,
    spec: &Spec,
    (prefix, kind): (&str, &str),
    (x, hidden): (Flow, u64),
) -> Result<Flow, Diagnostic> {
    let at = join(prefix, "feature_projection");
    let mut state = x;
    if kind != "hubert" || spec.flag("feat_proj_layer_norm", true)? {
        state = model.net.norm(&format!("{at}.layer_norm"), Norm::Layer, state)?;
    }
    model.net.linear(&format!("{at}.projection"), state, hidden, true)
}

/// Positions and blocks.
fn encoded(
    model: &mut Model<'_>,
    spec: &Spec,
    (prefix, kind): (&str, &str),
    x: Flow,
) -> Result<Flow, Diagnostic> {
    let is_stable = spec.flag("do_stable_layer_norm", false)?;
    let heads = spec.n("num_attention_heads", 12)?;
    let inner = spec.n("intermediate_size", 3072)?;
    let order = if is_stable { Order::Pre } else { Order::Post };
    let layer = Layer::new(&NAMES, (x.width, heads, inner), order)?;
    let layer = layer.acting(spec.text("hidden_act", "gelu")?);
    let at = join(prefix, "encoder");
    let moved = positions(model, spec, (&at, kind), x)?;
    let net = &mut model.net;
    let mut state = net.add(&format!("{at}.pos_conv_embed"), "add", [x, moved])?;
    if !is_stable {
        state = net.norm(&format!("{at}.layer_norm"), Norm::Layer, state)?;
    }
    let n_buckets = if kind == "wavlm" { spec.n("num_buckets", 320)? } else { 0 };
    for i in 0..spec.n("num_hidden_layers", 12)? {
        let at = format!("{at}.layers.{i}");
        state = match kind {
            "wavlm" => {
                let biased = biases(net, &layer, &at, state, (i == 0).then_some(n_buckets))?;
                let sight = Sight { biases: &[biased], ..Sight::default() };
                net.layer(&layer, &at, state, &sight)?
            }
            _ => net.layer(&layer, &at, state, &Sight::default())?,
        };
    }
    match is_stable {
        true => net.norm(&format!("{at}.layer_norm"), Norm::Layer, state),
        false => Ok(state),
    }
}

/// Biases by distance that each token gates by its state (Chen et al. 2021, arXiv:2110.13900).
fn biases(
    net: &mut Net,
    layer: &Layer,
    at: &str,
    x: Flow,
    buckets: Option<u64>,
) -> Result<TensorId, Diagnostic> {
    let module = format!("{at}.attention");
    let square = [x.count, layer.heads, x.rows, x.rows];
    let mut parameters = Vec::new();
    if let Some(n) = buckets {
        let name = format!("{module}.rel_attn_embed.weight");
        parameters.push(net.parameter(&name, &[n, layer.heads])?);
    }
    parameters
        .push(net.parameter(&format!("{module}.gru_rel_pos_const"), &[1, layer.heads, 1, 1])?);
    let linear = format!("{module}.gru_rel_pos_linear");
    parameters.push(net.parameter(&format!("{linear}.weight"), &[8, layer.dim])?);
    parameters.push(net.parameter(&format!("{linear}.bias"), &[8])?);
    let m = x.count.saturating_mul(layer.heads).saturating_mul(x.rows);
    net.op(&NewOp {
        module: &linear,
        part: "",
        op_type: "Gemm",
        inputs: &[x.id],
        parameters: &parameters,
        shape: &square,
        products: &[Product { count: 1, m, k: layer.dim, n: 8 }],
    })
}

/// A convolution over all tokens in place of positions.
fn positions(
    model: &mut Model<'_>,
    spec: &Spec,
    (at, kind): (&str, &str),
    x: Flow,
) -> Result<Flow, Diagnostic> {
    let groups = spec.n("num_conv_pos_embedding_groups", 16)?;
    let grid = |x: Flow| Grid { id: x.id, count: x.count, channels: x.width, space: vec![x.rows] };
    let net = &mut model.net;
    let mut state = x;
    if kind == "data2vec-audio" {
        let kernel = spec.n("conv_pos_kernel_size", 19)?;
        for i in 0..spec.n("num_conv_pos_embeddings", 5)? {
            let module = format!("{at}.pos_conv_embed.layers.{i}");
            let (kernel, padding) = (&[kernel], kernel / 2 * 2);
            let conv = Conv { out: x.width, kernel, stride: &[1], padding, groups, has_bias: true };
            let made = net.conv(&format!("{module}.conv"), &grid(state), conv)?;
            let normed = net.plain(&module, ("norm", "LayerNormalization"), &[made.flow()])?;
            state = net.plain(&module, ("activation", "Gelu"), &[normed])?;
        }
        let size = (x.count, x.rows, x.width);
        return net.moved((at, "positions", "Slice"), &[state], size);
    }
    spec.only("conv_pos_batch_norm", &json!(false))?;
    let kernel = spec.n("num_conv_pos_embeddings", 128)?;
    let module = format!("{at}.pos_conv_embed.conv");
    let weight = format!("{module}.parametrizations.weight");
    // Length and direction of the weight are parameters of their own.
    let shape = [x.width, x.width / groups, kernel];
    let parameters = [
        net.parameter(&format!("{weight}.original1"), &shape)?,
        net.parameter(&format!("{weight}.original0"), &[1, 1, kernel])?,
        net.parameter(&format!("{module}.bias"), &[x.width])?,
    ];
    let (kernel, padding) = (&[kernel], kernel / 2 * 2);
    let conv = Conv { out: x.width, kernel, stride: &[1], padding, groups, has_bias: true };
    let made = net.conv_with(&module, &grid(x), conv, &parameters)?.flow();
    let size = (x.count, x.rows, x.width);
    let cut = net.moved((&module, "cut", "Slice"), &[made], size)?;
    net.plain(&module, ("activation", "Gelu"), &[cut])
}

fn ended(
    model: &mut Model<'_>,
    spec: &Spec,
    class: &str,
    (state, features): (Flow, Flow),
) -> Result<Vec<TensorId>, Diagnostic> {
    let net = &mut model.net;
    let sums = |spec: &Spec| spec.only("use_weighted_layer_sum", &json!(false));
    match class {
        "ForCTC" => Ok(vec![net.linear("lm_head", state, spec.n("vocab_size", 32)?, true)?.id]),
        "ForAudioFrameClassification" => {
            sums(spec)?;
            Ok(vec![net.linear("classifier", state, labels(spec)?, true)?.id])
        }
        "ForSequenceClassification" => {
            sums(spec)?;
            let n = spec.n("classifier_proj_size", 256)?;
            let projected = net.linear("projector", state, n, true)?;
            let mean = net.mean("projector", projected)?;
            Ok(vec![net.linear("classifier", mean, labels(spec)?, true)?.id])
        }
        "ForPreTraining" => {
            spec.only("model_type", &json!("wav2vec2"))?;
            let (groups, each) =
                (spec.n("num_codevector_groups", 2)?, spec.n("num_codevectors_per_group", 320)?);
            let dim = spec.n("codevector_dim", 256)?;
            let (n, width) = (groups.saturating_mul(each), spec.n("proj_codevector_dim", 256)?);
            let hidden = net.linear("project_hid", state, width, true)?;
            let codes = net.linear("quantizer.weight_proj", features, n, true)?;
            let name = "quantizer.codevectors";
            let shape = [1, n, dim / groups];
            let at = ("quantizer", "codevectors", "Gather");
            let table = net.parameter(name, &shape)?;
            let chosen = net.apply(at, &[codes], &[table], dim)?;
            let quantized = net.linear("project_q", chosen, width, true)?;
            Ok(vec![hidden.id, quantized.id])
        }
        _ => Ok(vec![state.id]),
    }
}
