//! Encoders and decoders that attend to them, of text and of speech: BART and what came from it.

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;

use super::layer::{Layer, Names, Sight};
use super::model::{Model, labels, written};
use super::net::{Conv, Core, Flow, Grid, Net, Norm};
pub(crate) use super::seq2seq_forms::TYPES;
use super::seq2seq_forms::{Form, Front, Positions, form};
use super::spec::Spec;
use super::text;
use crate::config::builder::NewOp;
use crate::config::request::{Request, Written};

/// Names of the fields of both sides: layers, heads, feed-forward part, positions.
const SIDES: [[&[&str]; 4]; 2] = [
    [
        &["encoder_layers", "num_encoder_layers"],
        &["encoder_attention_heads", "num_encoder_attention_heads"],
        &["encoder_ffn_dim"],
        &["max_encoder_position_embeddings", "max_source_positions", "max_position_embeddings"],
    ],
    [
        &["decoder_layers", "num_decoder_layers"],
        &["decoder_attention_heads", "num_decoder_attention_heads"],
        &["decoder_ffn_dim"],
        &["max_decoder_position_embeddings", "max_target_positions", "max_position_embeddings"],
    ],
];

/// One side.
#[derive(Clone, Copy, Debug)]
struct Side {
    name: &'static str,
    vocabulary: u64,
    n_layers: u64,
    layer: Layer,
    reach: u64,
}

/// Both sides as the config says.
struct Both {
    form: Form,
    kind: String,
    hidden: u64,
    sides: [Side; 2],
    is_tied: bool,
    /// Whether both sides have one table of words.
    is_shared: bool,
    /// Tokens that each position predicts at once, and buckets of their distances (ProphetNet).
    streams: Option<(u64, u64)>,
}

impl Both {
    fn read(spec: &Spec) -> Result<Self, Diagnostic> {
        let kind = spec.text("model_type", "")?.to_owned();
        let form = form(&kind);
        let [vocabulary, hidden, layers, decoder_layers, heads, inner] = form.sizes;
        let hidden = spec.any(&["d_model", "hidden_size"], hidden)?;
        let act = spec.text("activation_function", form.act)?;
        let vocabularies = match kind.as_str() {
            "fsmt" => {
                [spec.n("src_vocab_size", vocabulary)?, spec.n("tgt_vocab_size", vocabulary)?]
            }
            "marian" => {
                let first = spec.n("vocab_size", vocabulary)?;
                [first, spec.n("decoder_vocab_size", first)?]
            }
            _ => [spec.n("vocab_size", vocabulary)?; 2],
        };
        let side = |i: usize| {
            let names = SIDES[i];
            let heads = spec.any(names[1], heads)?;
            let inner = spec.any(names[2], inner)?;
            let sizes = (hidden, heads, inner);
            let layer = Layer::new(form.names[i], sizes, form.order)?;
            Ok(Side {
                name: ["encoder", "decoder"][i],
                vocabulary: vocabularies[i],
                n_layers: spec.any(names[0], [layers, decoder_layers][i])?,
                layer: Layer { biases: form.biases, ..layer.acting(act) },
                reach: spec.any(names[3], form.reach[i])?,
            })
        };
        let is_tied = spec.flag("tie_word_embeddings", kind != "fsmt")?;
        Ok(Self {
            sides: [side(0)?, side(1)?],
            is_shared: spec.flag("share_encoder_decoder_embeddings", true)?,
            streams: match kind.as_str() {
                "prophetnet" => Some((spec.n("ngram", 2)?, spec.n("num_buckets", 32)?)),
                _ => None,
            },
            form,
            hidden,
            is_tied,
            kind,
        })
    }

    /// The table of words of a side, and whether it is the one of both.
    fn table(&self, prefix: &str, side: &str) -> String {
        let [own, shared, _] = self.form.tables;
        match self.is_tied && self.is_shared && self.form.front == Front::Tokens {
            true => format!("{prefix}{shared}"),
            false => format!("{prefix}{side}.{own}"),
        }
    }
}

/// Classes of a task, longest names first.
const CLASSES: &[&str] = &[
    "ForConditionalGeneration",
    "MTModel",
    "ForCausalLM",
    "ForSequenceClassification",
    "ForQuestionAnswering",
    "ForAudioClassification",
    "Model",
];

/// Reads a config of one of [`TYPES`].
pub(crate) fn read(request: &Request<'_>) -> Result<Written, Diagnostic> {
    written(request, write)
}

fn write(model: &mut Model<'_>, spec: &Spec) -> Result<Vec<TensorId>, Diagnostic> {
    let both = Both::read(spec)?;
    let class = match model.class(spec, CLASSES)? {
        "MTModel" => "ForConditionalGeneration",
        class => class,
    };
    let prefix = match class {
        "Model" | "ForAudioClassification" => "",
        _ => both.form.prefix,
    };
    if class == "ForCausalLM" {
        return alone(model, &both, prefix);
    }
    let encoded = encoder(model, spec, &both, prefix)?;
    if class == "ForAudioClassification" {
        spec.only("use_weighted_layer_sum", &serde_json::json!(false))?;
        let n = spec.n("classifier_proj_size", 256)?;
        let projected = model.net.linear("projector", encoded, n, true)?;
        let one =
            model.net.moved(("", "mean", "ReduceMean"), &[projected], (encoded.count, 1, n))?;
        return Ok(vec![model.net.linear("classifier", one, labels(spec)?, true)?.id]);
    }
    if both.is_shared && !both.is_tied && both.form.front == Front::Tokens && both.kind != "fsmt" {
        // The library keeps the shared table where nothing is tied, though nothing reads it.
        let shape = [both.sides[0].vocabulary, both.hidden];
        model.net.parameter(&format!("{prefix}{}.weight", both.form.tables[1]), &shape)?;
    }
    let sequence = model.sequence(both.sides[1].reach)?;
    let ids = model.net.ids("decoder_input_ids", &[model.batch, sequence])?;
    let table = both.table(prefix, "decoder");
    let state = decoder(model, &both, (prefix, &table), (ids, sequence), encoded)?;
    ended(model, spec, &both, (class, &table), state)
}

/// A decoder by itself, which attends to states that another model feeds.
fn alone(model: &mut Model<'_>, both: &Both, prefix: &str) -> Result<Vec<TensorId>, Diagnostic> {
    let side = both.sides[1];
    let sequence = model.sequence(side.reach)?;
    let ids = model.net.ids("input_ids", &[model.batch, sequence])?;
    let rows = if both.form.front == Front::Tokens { sequence } else { both.sides[0].reach };
    let id = model.net.fed("encoder_hidden_states", &[model.batch, rows, both.hidden])?;
    let encoded = Flow { id, count: model.batch, rows, width: both.hidden };
    let table = match both.streams {
        // The table of both sides is there, whether or not there is an encoder.
        Some(_) if both.is_tied => both.table(prefix, "decoder"),
        _ => format!("{prefix}decoder.{}", both.form.tables[0]),
    };
    let state = decoder(model, both, (prefix, &table), (ids, sequence), encoded)?;
    let head = if both.is_tied { &table } else { both.form.head };
    let weight = model.net.parameter(&format!("{head}.weight"), &[side.vocabulary, both.hidden])?;
    Ok(vec![model.net.product(both.form.head, state, side.vocabulary, &[weight])?.id])
}

/// What the class of a task puts behind the decoder.
fn ended(
    model: &mut Model<'_>,
    spec: &Spec,
    both: &Both,
    (class, table): (&str, &str),
    state: Flow,
) -> Result<Vec<TensorId>, Diagnostic> {
    let v = both.sides[1].vocabulary;
    match class {
        "Model" => Ok(vec![state.id]),
        "ForSequenceClassification" => {
            let size = (state.count, 1, state.width);
            let one = model.net.moved(("", "last_token", "Slice"), &[state], size)?;
            let dense = text::pooled(model, "classification_head.dense", one)?;
            // BART counts three labels where the config says nothing.
            let n = match spec.has("id2label") || spec.has("num_labels") {
                true => labels(spec)?,
                false => 3,
            };
            Ok(vec![model.net.linear("classification_head.out_proj", dense, n, true)?.id])
        }
        "ForQuestionAnswering" => {
            Ok(vec![model.net.linear("qa_outputs", state, labels(spec)?, true)?.id])
        }
        _ => {
            let (owner, module) = match both.kind.as_str() {
                "fsmt" => ("model.decoder.output_projection", "model.decoder.output_projection"),
                _ => (both.form.head, both.form.head),
            };
            let owner = if both.is_tied { table } else { owner };
            let weight = model.net.parameter(&format!("{owner}.weight"), &[v, both.hidden])?;
            Ok(vec![model.net.product(module, state, v, &[weight])?.id])
        }
    }
}

fn encoder(
    model: &mut Model<'_>,
    spec: &Spec,
    both: &Both,
    prefix: &str,
) -> Result<Flow, Diagnostic> {
    let side = both.sides[0];
    let at = format!("{prefix}encoder");
    let mut state = match both.form.front {
        Front::Tokens => {
            let sequence = model.sequence(side.reach.min(both.sides[1].reach))?;
            let ids = model.net.ids("input_ids", &[model.batch, sequence])?;
            let size = (side.vocabulary, both.hidden);
            let table = both.table(prefix, "encoder");
            model.net.table(&table, &[ids], size, (model.batch, sequence))?
        }
        Front::Mel => heard(model, spec, both, &at)?,
        Front::Subsampled => subsampled(model, spec, both, &at)?,
    };
    state = positioned(&mut model.net, both, &side, &at, state)?;
    if both.kind == "led" {
        state = windowed(model, spec, both, &at, state)?;
    } else {
        for i in 0..side.n_layers {
            state = model.net.layer(
                &side.layer,
                &format!("{at}.layers.{i}"),
                state,
                &Sight::default(),
            )?;
        }
    }
    match both.form.has_last_norm {
        true => model.net.norm(&format!("{at}.layer_norm"), Norm::Layer, state),
        false => Ok(state),
    }
}

/// Positions and the norm of the embeddings.
fn positioned(
    net: &mut Net,
    both: &Both,
    side: &Side,
    at: &str,
    state: Flow,
) -> Result<Flow, Diagnostic> {
    let mut state = state;
    let module = format!("{at}.{}", both.form.tables[2]);
    state = match both.form.positions {
        Positions::Table(more) => {
            let size = (side.reach.saturating_add(more), state.width);
            let own = net.table(&module, &[], size, (1, state.rows))?;
            net.add(&module, "add", [state, own])?
        }
        Positions::Waves => net.plain(&module, ("add", "Add"), &[state])?,
    };
    if let Some((n, _)) = both.streams.filter(|_| side.name == "decoder") {
        // A stream for each token that is predicted, behind that of the tokens themselves.
        let table = net.parameter(&format!("{at}.ngram_embeddings.weight"), &[n, state.width])?;
        let rows = state.rows.saturating_mul(n.saturating_add(1));
        let (module, part) = (format!("{at}.ngram_embeddings"), "concat");
        let shape = &[state.count, rows, state.width];
        let (op_type, inputs, parameters, products) = ("Concat", &[state.id], &[table], &[]);
        let (module, parameters) = (&module, &parameters[..]);
        let id = net.op(&NewOp { module, part, op_type, inputs, parameters, shape, products })?;
        state = Flow { id, rows, ..state };
    }
    match both.form.embedding_norm {
        "" => Ok(state),
        norm => net.norm(&format!("{at}.{norm}"), Norm::Layer, state),
    }
}

fn decoder(
    model: &mut Model<'_>,
    both: &Both,
    (prefix, table): (&str, &str),
    (ids, sequence): (TensorId, u64),
    encoded: Flow,
) -> Result<Flow, Diagnostic> {
    let side = both.sides[1];
    let at = format!("{prefix}{}", side.name);
    let net = &mut model.net;
    let size = (side.vocabulary, both.hidden);
    let mut state = net.table(table, &[ids], size, (model.batch, sequence))?;
    state = positioned(net, both, &side, &at, state)?;
    let sight = Sight { encoded: Some(encoded), ..Sight::default() };
    for i in 0..side.n_layers {
        let at = format!("{at}.layers.{i}");
        state = match both.streams {
            Some(streams) => streamed(net, &side.layer, &at, (state, encoded), streams)?,
            None => net.layer(&side.layer, &at, state, &sight)?,
        };
    }
    if let Some((n, _)) = both.streams {
        let size = (state.count, sequence.saturating_mul(n), state.width);
        return net.moved((&at, "predicted", "Slice"), &[state], size);
    }
    match both.form.has_last_norm {
        true => net.norm(&format!("{at}.layer_norm"), Norm::Layer, state),
        false => Ok(state),
    }
}

/// A block of several streams: that of the tokens attends to itself, each of the others to it and to
/// itself, with biases that each token makes of its state (Qi et al. 2020, arXiv:2001.04063).
fn streamed(
    net: &mut Net,
    layer: &Layer,
    at: &str,
    (state, encoded): (Flow, Flow),
    (n, buckets): (u64, u64),
) -> Result<Flow, Diagnostic> {
    let Names { norms: [first, second], cross, .. } = *layer.names;
    let rows = state.rows / n.saturating_add(1);
    let state = net.part(layer, at, (first, ""), state, |net, x| {
        let [q, k, v] = net.projected(layer, at, [x; 3])?;
        let module = format!("{at}.self_attn");
        let relative = format!("{module}.relative_pos_embeddings");
        let biases = net.linear(&relative, x, buckets.saturating_mul(layer.heads), true)?;
        let core =
            Core { heads: layer.heads, dim: layer.dim, spans: [rows; 2], biases: &[biases.id] };
        let main = net.attend(&module, q.seen(x.count, rows), (k.id, v.id), core)?;
        let core = Core { spans: [rows.saturating_mul(2); 2], ..core };
        let queries = q.seen(x.count.saturating_mul(n), rows);
        let others = net.attend(&format!("{module}.predicted"), queries, (k.id, v.id), core)?;
        let size = (x.count, x.rows, main.width);
        let all = net.moved((&module, "concat", "Concat"), &[main, others], size)?;
        net.linear(&format!("{at}.{}", layer.names.out), all, x.width, true)
    })?;
    let state = net.part(layer, at, (cross[4], ""), state, |net, x| {
        net.other_attention(layer, at, x, encoded)
    })?;
    net.part(layer, at, (second, ""), state, |net, x| net.feed(layer, at, x))
}

/// A spectrogram through two convolutions, the second of stride 2.
fn heard(model: &mut Model<'_>, spec: &Spec, both: &Both, at: &str) -> Result<Flow, Diagnostic> {
    let (n_mels, rows) = (spec.n("num_mel_bins", 80)?, both.sides[0].reach);
    let frames = rows.saturating_mul(2);
    let id = model.net.fed("input_features", &[model.batch, n_mels, frames])?;
    let mut grid = Grid { id, count: model.batch, channels: n_mels, space: vec![frames] };
    for (i, stride) in [1, 2].into_iter().enumerate() {
        let module = format!("{at}.conv{}", i + 1);
        let conv = Conv {
            out: both.hidden,
            kernel: &[3],
            stride: &[stride],
            padding: 2,
            groups: 1,
            has_bias: true,
        };
        grid = model.net.conv(&module, &grid, conv)?;
        grid = model.net.act_grid(&module, "Gelu", &grid)?;
    }
    Ok(grid.flow())
}

/// Frames of features through convolutions of stride 2 that gate themselves.
fn subsampled(
    model: &mut Model<'_>,
    spec: &Spec,
    both: &Both,
    at: &str,
) -> Result<Flow, Diagnostic> {
    let n = spec.n("num_conv_layers", 2)?;
    let kernels = spec.each("conv_kernel_sizes", &[5, 5], usize::try_from(n).unwrap_or(0))?;
    let bins = spec.n("input_feat_per_channel", 80)?.saturating_mul(spec.n("input_channels", 1)?);
    let middle = spec.n("conv_channels", 1024)?;
    let most = both.sides[0].reach;
    let frames = model.dimension("audio", (most.min(1_000), most), "frames of features")?;
    let id = model.net.fed("input_features", &[model.batch, frames, bins])?;
    let mut grid = Grid { id, count: model.batch, channels: bins, space: vec![frames] };
    for (i, kernel) in kernels.iter().enumerate() {
        let module = format!("{at}.conv.conv_layers.{i}");
        let is_last = i + 1 == kernels.len();
        let out = if is_last { both.hidden.saturating_mul(2) } else { middle };
        let padding = kernel / 2 * 2;
        let conv =
            Conv { out, kernel: &[*kernel], stride: &[2], padding, groups: 1, has_bias: true };
        grid = model.net.conv(&module, &grid, conv)?;
        let flow = grid.flow();
        let gated =
            model.net.moved((&module, "gate", "Mul"), &[flow], (flow.count, flow.rows, out / 2))?;
        grid = Grid { id: gated.id, channels: out / 2, ..grid };
    }
    Ok(grid.flow())
}

/// Layers whose tokens attend to a window, in chunks that overlap, padded to whole windows.
fn windowed(
    model: &mut Model<'_>,
    spec: &Spec,
    both: &Both,
    at: &str,
    state: Flow,
) -> Result<Flow, Diagnostic> {
    let side = both.sides[0];
    let n = usize::try_from(side.n_layers).unwrap_or(0);
    let windows = spec.per_layer("attention_window", 512, n)?;
    let rows = state.rows;
    let widest = windows.iter().copied().max().unwrap_or(1);
    let padded = rows.div_ceil(widest).saturating_mul(widest);
    let mut state = state;
    if padded != rows {
        state =
            model.net.moved((at, "pad", "Pad"), &[state], (state.count, padded, state.width))?;
    }
    for (i, window) in windows.iter().enumerate() {
        let layer = format!("{at}.layers.{i}");
        global(&mut model.net, &side.layer, &layer, state.width)?;
        let sight = Sight { spans: Some(chunked(*window, padded)), ..Sight::default() };
        state = model.net.layer(&side.layer, &layer, state, &sight)?;
    }
    match padded == rows {
        true => Ok(state),
        false => model.net.moved((at, "cut", "Slice"), &[state], (state.count, rows, state.width)),
    }
}

/// Tokens that a token is multiplied with where windows overlap by half: chunks of twice half a
/// window for the scores, of three halves for the values.
pub(super) fn chunked(window: u64, rows: u64) -> [u64; 2] {
    let half = (window / 2).max(1);
    let chunks = (rows / half).saturating_sub(1).max(1);
    let scores = chunks.saturating_mul(4 * half).saturating_mul(half);
    [scores / rows.max(1), 3 * half]
}

/// Projections for tokens that attend to all, which none does unless the caller says so.
pub(super) fn global(net: &mut Net, layer: &Layer, at: &str, width: u64) -> Result<(), Diagnostic> {
    for name in layer.names.qkv {
        net.parameter(&format!("{at}.{name}_global.weight"), &[layer.width(), width])?;
        net.parameter(&format!("{at}.{name}_global.bias"), &[layer.width()])?;
    }
    Ok(())
}
