//! Encoders and decoders that attend to them, of text and of speech: BART and what came from it.

use serde_json::json;

use super::layer::{Layer, Names, Order, Sight};
use super::model::{Model, Outputs, labels};
use super::names::BART;
use super::net::{Conv, Core, Done, Flow, Grid, Net, Norm, join};
use super::spec::Spec;

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

/// What an encoder reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Front {
    Tokens,
    /// Frames of a spectrogram through two convolutions.
    Mel,
    /// Frames through gated convolutions of stride 2.
    Subsampled,
}

/// A family: traits, and numbers where the config says nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    /// Module of the model within the class of a task.
    pub prefix: &'static str,
    pub front: Front,
    pub order: Order,
    /// Rows of the table of positions beyond those that there are; of waves there is no table.
    pub positions: Option<u64>,
    /// Norm behind the embeddings; empty without one.
    pub embedding_norm: &'static str,
    pub has_last_norm: bool,
    /// Whether keys have a bias.
    pub has_key_bias: bool,
    pub act: &'static str,
    pub head: &'static str,
    /// Tables of words of a side and of both, and of positions.
    pub tables: [&'static str; 3],
    /// Fields of the vocabularies of both sides.
    pub vocabularies: [&'static str; 2],
    /// Whether the head is the table of words where the config says nothing, and the table of both
    /// sides is there where it is not.
    pub is_tied: bool,
    /// Names within the blocks of both sides.
    pub names: [&'static Names; 2],
    /// Whether each position predicts several tokens (ProphetNet).
    pub has_streams: bool,
    /// Whether the encoder's tokens attend to a window (LED).
    pub has_windows: bool,
    /// Vocabulary, columns, layers of both sides, heads, columns of the feed-forward part.
    pub sizes: [u64; 6],
    /// Positions of both sides.
    pub reach: [u64; 2],
}

pub(super) const BART_FORM: Family = Family {
    prefix: "model",
    front: Front::Tokens,
    order: Order::Post,
    positions: Some(2),
    embedding_norm: "layernorm_embedding",
    has_last_norm: false,
    has_key_bias: true,
    act: "gelu",
    head: "lm_head",
    tables: ["embed_tokens", "shared", "embed_positions"],
    vocabularies: ["vocab_size"; 2],
    is_tied: true,
    names: [&BART, &BART],
    has_streams: false,
    has_windows: false,
    sizes: [50_265, 1024, 12, 12, 16, 4096],
    reach: [1024, 1024],
};

/// With norms before each part.
pub(super) const MBART: Family = Family { order: Order::Pre, has_last_norm: true, ..BART_FORM };

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
    form: Family,
    hidden: u64,
    sides: [Side; 2],
    is_tied: bool,
    /// Whether both sides have one table of words.
    is_shared: bool,
    /// Tokens that each position predicts at once, and buckets of their distances.
    streams: Option<(u64, u64)>,
}

impl Both {
    fn read(form: &Family, spec: &Spec) -> Done<Self> {
        let [vocabulary, hidden, layers, decoder_layers, heads, inner] = form.sizes;
        let hidden = spec.any(&["d_model", "hidden_size"], hidden)?;
        let act = spec.text("activation_function", form.act)?;
        let first = spec.n(form.vocabularies[0], vocabulary)?;
        // Marian's decoder has as many words as its encoder where nobody says.
        let other = if form.is_tied { first } else { vocabulary };
        let vocabularies = [first, spec.n(form.vocabularies[1], other)?];
        let side = |i: usize| {
            let names = SIDES[i];
            let sizes = (hidden, spec.any(names[1], heads)?, spec.any(names[2], inner)?);
            let layer = Layer::new(form.names[i], sizes, form.order)?.acting(act);
            Done::Ok(Side {
                name: ["encoder", "decoder"][i],
                vocabulary: vocabularies[i],
                n_layers: spec.any(names[0], [layers, decoder_layers][i])?,
                layer: layer.qkv([true, form.has_key_bias, true]),
                reach: spec.any(names[3], form.reach[i])?,
            })
        };
        let is_tied = spec.flag("tie_word_embeddings", form.is_tied)?;
        let sides = [side(0)?, side(1)?];
        let is_shared = spec.flag("share_encoder_decoder_embeddings", true)?;
        let streams = match form.has_streams {
            true => Some((spec.n("ngram", 2)?, spec.n("num_buckets", 32)?)),
            false => None,
        };
        Ok(Self { form: *form, hidden, sides, is_tied, is_shared, streams })
    }

    /// The table of words of a side, which may be the one of both.
    fn table(&self, model: &Model<'_>, side: &str) -> String {
        let [table, shared, _] = self.form.tables;
        match self.is_tied && self.is_shared && self.form.front == Front::Tokens {
            true => model.at(shared),
            false => model.at(&join(side, table)),
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

/// Writes both sides, or one of them, and a head.
pub(super) fn write(model: &mut Model<'_>, spec: &Spec, form: &Family) -> Outputs {
    let both = &Both::read(form, spec)?;
    let class = model.task(spec, form.prefix, CLASSES)?;
    if class == "ForCausalLM" {
        return alone(model, both);
    }
    if class == "ForAudioClassification" {
        model.prefix = "";
        let encoded = encoder(model, spec, both)?;
        spec.only("use_weighted_layer_sum", &json!(false))?;
        let n = spec.n("classifier_proj_size", 256)?;
        let projected = model.net.linear("projector", encoded, n, true)?;
        let one = model.net.mean("", projected)?;
        return model.labelled(spec, "classifier", one);
    }
    let encoded = encoder(model, spec, both)?;
    if both.is_shared && !both.is_tied && form.front == Front::Tokens && form.is_tied {
        // The library keeps the shared table where nothing is tied, though nothing reads it.
        let shape = [both.sides[0].vocabulary, both.hidden];
        model.net.parameter(&format!("{}.weight", model.at(form.tables[1])), &shape)?;
    }
    let table = both.table(model, "decoder");
    let state = decoder(model, both, ("decoder_input_ids", &table), |_, _| Ok(encoded))?;
    ended(model, spec, both, (class, &table), state)
}

/// A decoder by itself, which attends to states that another model feeds.
fn alone(model: &mut Model<'_>, both: &Both) -> Outputs {
    let side = both.sides[1];
    let table = match both.streams {
        // The table of both sides is there, whether or not there is an encoder.
        Some(_) if both.is_tied => both.table(model, "decoder"),
        _ => model.at(&join("decoder", both.form.tables[0])),
    };
    let state = decoder(model, both, ("input_ids", &table), |model, sequence| {
        let is_text = both.form.front == Front::Tokens;
        let rows = if is_text { sequence } else { both.sides[0].reach };
        let id = model.net.fed("encoder_hidden_states", &[model.batch, rows, both.hidden])?;
        Ok(Flow { id, count: model.batch, rows, width: both.hidden })
    })?;
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
) -> Outputs {
    let v = both.sides[1].vocabulary;
    match class {
        "Model" => Ok(vec![state.id]),
        "ForSequenceClassification" => {
            let one = model.net.one("", "last_token", state)?;
            let dense = model.pooled("classification_head.dense", one)?;
            // BART counts three labels where the config says nothing.
            let n = match spec.has("id2label") || spec.has("num_labels") {
                true => labels(spec)?,
                false => 3,
            };
            Ok(vec![model.net.linear("classification_head.out_proj", dense, n, true)?.id])
        }
        "ForQuestionAnswering" => model.labelled(spec, "qa_outputs", state),
        _ => {
            let owner = if both.is_tied { table } else { both.form.head };
            let weight = model.net.parameter(&format!("{owner}.weight"), &[v, both.hidden])?;
            Ok(vec![model.net.product(both.form.head, state, v, &[weight])?.id])
        }
    }
}

fn encoder(model: &mut Model<'_>, spec: &Spec, both: &Both) -> Done {
    let (side, at) = (both.sides[0], model.at("encoder"));
    let mut state = match both.form.front {
        Front::Tokens => {
            let sequence = model.sequence(side.reach.min(both.sides[1].reach))?;
            let ids = model.ids("input_ids", sequence)?;
            let table = both.table(model, "encoder");
            model.words(&table, ids, (side.vocabulary, both.hidden), sequence)?
        }
        Front::Mel => heard(model, spec, both, &at)?,
        Front::Subsampled => subsampled(model, spec, both, &at)?,
    };
    state = positioned(&mut model.net, both, &side, &at, state)?;
    state = match both.form.has_windows {
        true => windowed(model, spec, &side, &at, state)?,
        false => {
            let layers = format!("{at}.layers");
            model.net.stack(&side.layer, (&layers, side.n_layers), state, &Sight::default())?
        }
    };
    last(&mut model.net, both, &at, state)
}

fn last(net: &mut Net, both: &Both, at: &str, state: Flow) -> Done {
    match both.form.has_last_norm {
        true => net.norm(&format!("{at}.layer_norm"), Norm::Layer, state),
        false => Ok(state),
    }
}

/// Positions and the norm of the embeddings.
fn positioned(net: &mut Net, both: &Both, side: &Side, at: &str, mut state: Flow) -> Done {
    let module = format!("{at}.{}", both.form.tables[2]);
    state = match both.form.positions {
        Some(more) => net.placed(&module, side.reach.saturating_add(more), state)?,
        None => net.plain(&module, ("add", "Add"), &[state])?,
    };
    if let Some((n, _)) = both.streams.filter(|_| side.name == "decoder") {
        // A stream for each token that is predicted, behind that of the tokens themselves.
        let module = format!("{at}.ngram_embeddings");
        let table = net.parameter(&format!("{module}.weight"), &[n, state.width])?;
        let size = (state.count, state.rows.saturating_mul(n.saturating_add(1)), state.width);
        state = net.made((&module, "concat", "Concat"), (&[state], &[table]), size, &[])?;
    }
    match both.form.embedding_norm {
        "" => Ok(state),
        norm => net.norm(&format!("{at}.{norm}"), Norm::Layer, state),
    }
}

fn decoder(
    model: &mut Model<'_>,
    both: &Both,
    (ids, table): (&str, &str),
    encoded: impl FnOnce(&mut Model<'_>, u64) -> Done,
) -> Done {
    let (side, at) = (both.sides[1], model.at("decoder"));
    let sequence = model.sequence(side.reach)?;
    let ids = model.ids(ids, sequence)?;
    let encoded = encoded(model, sequence)?;
    let mut state = model.words(table, ids, (side.vocabulary, both.hidden), sequence)?;
    let net = &mut model.net;
    state = positioned(net, both, &side, &at, state)?;
    let layers = format!("{at}.layers");
    let Some((n, buckets)) = both.streams else {
        let sight = Sight { encoded: Some(encoded), ..Sight::default() };
        state = net.stack(&side.layer, (&layers, side.n_layers), state, &sight)?;
        return last(net, both, &at, state);
    };
    for i in 0..side.n_layers {
        let at = format!("{layers}.{i}");
        state = streamed(net, &side.layer, &at, (state, encoded), (n, buckets))?;
    }
    let size = (state.count, sequence.saturating_mul(n), state.width);
    net.moved((&at, "predicted", "Slice"), &[state], size)
}

/// A block of several streams: that of the tokens attends to itself, each of the others to it and to
/// itself, with biases that each token makes of its state (Qi et al. 2020, arXiv:2001.04063).
fn streamed(
    net: &mut Net,
    layer: &Layer,
    at: &str,
    (state, encoded): (Flow, Flow),
    (n, buckets): (u64, u64),
) -> Done {
    let Names { own: attention, feed, .. } = layer.names;
    let rows = state.rows / n.saturating_add(1);
    let state = net.part(layer, at, (attention.norm, ""), state, |net, x| {
        let [q, k, v] = net.projected(layer, at, attention, [x; 3])?;
        let module = format!("{at}.self_attn");
        let relative = format!("{module}.relative_pos_embeddings");
        let biases = net.linear(&relative, x, buckets.saturating_mul(layer.heads), true)?;
        let biases = [biases.id];
        let core = layer.core(rows, &biases);
        let main = net.attend(&module, q.seen(x.count, rows), (k.id, v.id), core)?;
        let core = Core { spans: [rows.saturating_mul(2); 2], ..core };
        let queries = q.seen(x.count.saturating_mul(n), rows);
        let others = net.attend(&format!("{module}.predicted"), queries, (k.id, v.id), core)?;
        let size = (x.count, x.rows, main.width);
        let all = net.moved((&module, "concat", "Concat"), &[main, others], size)?;
        net.linear(&format!("{at}.{}", attention.out), all, x.width, true)
    })?;
    let state = net.other_attention(layer, at, state, Some(encoded))?;
    net.part(layer, at, (feed.norm, ""), state, |net, x| net.feed(layer, at, x))
}

/// A spectrogram through two convolutions, the second of stride 2.
fn heard(model: &mut Model<'_>, spec: &Spec, both: &Both, at: &str) -> Done {
    let (channels, rows) = (spec.n("num_mel_bins", 80)?, both.sides[0].reach);
    let (count, frames) = (model.batch, rows.saturating_mul(2));
    let id = model.net.fed("input_features", &[count, channels, frames])?;
    let mut grid = Grid { id, count, channels, space: vec![frames] };
    for (i, stride) in [1, 2].into_iter().enumerate() {
        let module = format!("{at}.conv{}", i + 1);
        grid = model.net.conv(&module, &grid, Conv::same(both.hidden, &[3], &[stride]))?;
        grid = model.net.act_grid(&module, "Gelu", &grid)?;
    }
    Ok(grid.flow())
}

/// Frames of features through convolutions of stride 2 that gate themselves.
fn subsampled(model: &mut Model<'_>, spec: &Spec, both: &Both, at: &str) -> Done {
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
        grid = model.net.conv(&module, &grid, Conv::same(out, &[*kernel], &[2]))?;
        let (flow, channels) = (grid.flow(), out / 2);
        let size = (flow.count, flow.rows, channels);
        let gated = model.net.moved((&module, "gate", "Mul"), &[flow], size)?;
        grid = Grid { channels, ..grid.of(gated.id) };
    }
    Ok(grid.flow())
}

/// Layers whose tokens attend to a window, in chunks that overlap, padded to whole windows.
fn windowed(model: &mut Model<'_>, spec: &Spec, side: &Side, at: &str, x: Flow) -> Done {
    let n = usize::try_from(side.n_layers).unwrap_or(0);
    let windows = spec.per_layer("attention_window", 512, n)?;
    let Layer { names, .. } = side.layer;
    let widest = windows.iter().copied().max().unwrap_or(1);
    let padded = x.rows.div_ceil(widest).saturating_mul(widest);
    let (net, is_whole) = (&mut model.net, padded == x.rows);
    let mut state = x;
    if !is_whole {
        state = net.moved((at, "pad", "Pad"), &[state], (x.count, padded, x.width))?;
    }
    for (i, window) in windows.iter().enumerate() {
        let at = format!("{at}.layers.{i}");
        // Projections for tokens that attend to all, which none does unless the caller says so.
        for name in names.own.parts {
            let (module, width) =
                (format!("{at}.{}.{name}_global", names.own.module), side.layer.width());
            net.parameter(&format!("{module}.weight"), &[width, x.width])?;
            net.parameter(&format!("{module}.bias"), &[width])?;
        }
        let sight = Sight { spans: Some(chunked(*window, padded)), ..Sight::default() };
        state = net.layer(&side.layer, &at, state, &sight)?;
    }
    match is_whole {
        true => Ok(state),
        false => net.moved((at, "cut", "Slice"), &[state], (x.count, x.rows, x.width)),
    }
}

/// Tokens that a token is multiplied with where windows overlap by half: chunks of twice half a
/// window for the scores, of three halves for the values.
fn chunked(window: u64, rows: u64) -> [u64; 2] {
    let half = (window / 2).max(1);
    let chunks = (rows / half).saturating_sub(1).max(1);
    let scores = chunks.saturating_mul(4 * half).saturating_mul(half);
    [scores / rows.max(1), 3 * half]
}
