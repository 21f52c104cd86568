//! Decoders of text, op by op: each family is a [`style::Style`], each config its numbers.

mod attention;
mod bases;
mod changes;
mod defaults;
mod entries;
mod families;
mod feed_forward;
mod layers;
mod served;
mod shared;
mod sizes;
mod space;
mod stated;
mod streams;
mod style;

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;
use ir::op::Origin;

use super::architecture::{self, Bias, MAX_DEFAULT_SEQUENCE};
use super::builder::{Builder, Done};
use super::fields::{Fields, invalid, within_budget};
use super::quantization::Quantization;
use super::request::{Request, Written};
use super::task::{End, Task, class};
use crate::json::Object;
use attention::Reach;
use families::{FAMILIES, Family};
use layers::{Fed, Kind};
use sizes::{Index, Sizes};
use style::{Join, Mixer, Norm, Positions, Style, When};

/// Longest sample where nobody states one, of models without a number of positions.
const DEFAULT_SEQUENCE: u64 = 2_048;

/// All model types of these families.
pub(super) fn types() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().flat_map(|family| family.types.iter().copied())
}

/// A decoder that is to be written.
pub(super) struct Decoder {
    style: Style,
    sizes: Sizes,
    layers: Vec<Kind>,
    fields: Object,
    task: Task,
    is_tied: bool,
    quantization: Option<Quantization>,
    /// What of the config is not understood or has no effect.
    pub warnings: Vec<Diagnostic>,
}

/// Where a decoder stands in a larger model.
#[derive(Clone, Copy, Default)]
pub(super) struct Place<'a> {
    /// The module of all but the head; the family's own if there is none.
    pub root: Option<&'a str>,
    /// Whether the head is the embedding, where the larger model's config says so.
    pub is_tied: Option<bool>,
    /// States that take the place of some embedded tokens.
    pub features: Option<TensorId>,
    /// States of another model that some layers attend to, and how many of each sample.
    pub encoded: Option<(TensorId, u64)>,
}

/// Reads a config.
///
/// # Errors
/// See [`super::read`].
pub(super) fn read(request: &Request<'_>) -> Done<Written> {
    let decoder = Decoder::read(request.fields, request.model_type, true)?;
    decoder.written(request, Origin::Rule)
}

/// Reads a config of an unknown family by the fields that most decoders share.
///
/// # Errors
/// See [`super::read`]; `unknown-model-type`, with what is missing, for what is no such decoder.
pub(super) fn guessed(request: &Request<'_>) -> Done<Written> {
    let (fields, model_type) = (request.fields, request.model_type);
    let unknown = architecture::unknown_type(model_type);
    let is_decoder = class(fields)?.is_some_and(|class| class.ends_with("ForCausalLM"));
    if model_type.is_empty() || !is_decoder || fields.flag("is_encoder_decoder")? == Some(true) {
        return Err(unknown);
    }
    let missing: Vec<String> = families::SHARED_FIELDS
        .iter()
        .filter(|name| fields.get(name).is_none())
        .map(|name| format!("`{name}`"))
        .collect();
    if !missing.is_empty() {
        let message = format!("it can't be guessed without {}", missing.join(", "));
        let message = format!("{}: {message}", unknown.message);
        return Err(Diagnostic { message, ..unknown }.fact("missing", missing));
    }
    let mut decoder = Decoder::of(&families::guess(fields)?, fields, (model_type, true))?;
    let shown: String = model_type.chars().take(60).collect();
    let message = format!(
        "model_type `{shown}` is not known: it is read as Llama with the fields that most decoders \
         share, and every figure is a guess"
    );
    decoder.warnings.push(Diagnostic::warning("guessed-family", message).hint("export it to ONNX"));
    decoder.written(request, Origin::Guessed)
}

impl Decoder {
    /// Reads the fields of a config, or of a part of one, which may leave sizes out.
    ///
    /// # Errors
    /// `unknown-model-type`, `missing-field`, `invalid-field`, `layer-budget`,
    /// `heads-do-not-divide`.
    pub(super) fn read(fields: Fields<'_>, model_type: &str, is_whole: bool) -> Done<Self> {
        let found = FAMILIES.iter().find(|family| family.types.contains(&model_type));
        let family = found.ok_or_else(|| architecture::unknown_type(model_type))?;
        Self::of(family, fields, (model_type, is_whole))
    }

    /// The graph of a whole model.
    fn written(self, request: &Request<'_>, origin: Origin) -> Done<Written> {
        let usual = self.sizes.positions.unwrap_or(DEFAULT_SEQUENCE).min(MAX_DEFAULT_SEQUENCE);
        let has_table = matches!(self.style.positions, Positions::Table { .. });
        let mut builder = request.builder(usual, self.sizes.positions.filter(|_| has_table))?;
        builder.origin = origin;
        let outputs = self.write(&mut builder, request.options.trains, Place::default())?;
        let tokens = Some(builder.sequence);
        let (graph, positions) = (builder.finish(&outputs), self.sizes.positions);
        Ok(Written { graph, tokens, sequence: Some(usual), positions, warnings: self.warnings })
    }

    fn of(family: &Family, fields: Fields<'_>, (model_type, is_whole): (&str, bool)) -> Done<Self> {
        fields.check()?;
        let (object, mut warnings) = defaults::filled(fields, model_type, is_whole)?;
        let fields = Fields(&object);
        let style = styled(family, fields)?;
        // Of a part of a larger model the class is not its own.
        let (task, untold) = match is_whole {
            true => Task::read(fields, architecture::Family::Llama)?,
            false => (Task::WORDS, None),
        };
        let (quantization, unknown) = Quantization::read(fields)?;
        warnings.extend(untold.into_iter().chain(unknown));
        if fields.flag("add_cross_attention")? == Some(true) {
            let why = "decoders of this family that attend to an encoder cannot be planned";
            return Err(invalid("add_cross_attention", &true.into(), why));
        }
        let wants_tied = fields.flag("tie_word_embeddings")? == Some(true);
        if wants_tied && !style.ties {
            warnings.push(architecture::without_effect("tie_word_embeddings"));
        }
        let sizes = Sizes::read(&style, fields)?;
        warnings
            .extend(sizes.experts.filter(|experts| experts.is_open).map(|experts| open(experts.n)));
        Ok(Self {
            sizes,
            layers: layers::kinds(&style, fields)?,
            is_tied: wants_tied && style.ties,
            style,
            task,
            quantization,
            warnings,
            fields: object,
        })
    }

    /// Writes its ops; what comes out of it.
    ///
    /// # Errors
    /// `invalid-field`, `missing-field`, `size-budget`.
    pub(super) fn write(
        &self,
        builder: &mut Builder,
        trains: bool,
        place: Place<'_>,
    ) -> Done<Vec<TensorId>> {
        let root = place.root.unwrap_or(self.style.root);
        let bare = root.split_once('.').map_or("", |(_, inner)| inner);
        let root = if self.task.is_bare && place.root.is_none() { bare } else { root };
        let prefix = if root.is_empty() { String::new() } else { format!("{root}.") };
        let quantization = self.quantization.as_ref().filter(|_| !trains);
        let is_tied = place.is_tied.unwrap_or(self.is_tied);
        let (d, s, n) = (self, &self.style, self.sizes);
        let (embedded, owners, n_sharing) = (None, Vec::new(), 0);
        let mut writer = Writer {
            d,
            s,
            n,
            is_tied,
            embedded,
            owners,
            n_sharing,
            at: 0,
            left: None,
            place,
            prefix,
            quantization,
            builder,
        };
        let outputs = writer.model()?;
        within_budget(builder.n_weights())?;
        Ok(outputs)
    }
}

/// That nobody says how many experts a token goes to.
pub(super) fn open(n_experts: u64) -> Diagnostic {
    let message =
        format!("no `num_experts_per_tok`: each token is taken to go to 1 of {n_experts} experts");
    Diagnostic::warning("default-experts", message)
        .hint("state `num_experts_per_tok` in the config")
}

fn styled(family: &Family, fields: Fields<'_>) -> Done<Style> {
    let mut style = family.style;
    if let Some(adjust) = family.adjust {
        adjust(&mut style, fields)?;
    }
    Ok(style)
}

struct Writer<'a> {
    d: &'a Decoder,
    s: &'a Style,
    n: Sizes,
    is_tied: bool,
    place: Place<'a>,
    /// Of the names of all modules but the head's.
    prefix: String,
    /// The embedded tokens, and the layers that own the blocks which several of them share.
    embedded: Option<TensorId>,
    owners: Vec<String>,
    n_sharing: u64,
    /// The layer that is written, and the states that blocks of layers before it left.
    at: u64,
    left: Option<TensorId>,
    /// Of products whose weights are held in fewer bits.
    quantization: Option<&'a Quantization>,
    builder: &'a mut Builder,
}

impl Writer<'_> {
    fn fields(&self) -> Fields<'_> {
        Fields(&self.d.fields)
    }

    /// Whether a part is there.
    fn has(&self, when: When) -> Done<bool> {
        Ok(match when {
            When::Never => false,
            When::Always => true,
            When::If(flag) => self.fields().flag(flag)? == Some(true),
        })
    }

    fn model(&mut self) -> Done<Vec<TensorId>> {
        let mut state = self.embedding()?;
        self.embedded = Some(state);
        let layers = format!("{}{}", self.prefix, self.s.layers);
        if self.s.join == Join::Streams {
            state = self.spread(state)?;
        }
        for (index, kind) in (0..).zip(&self.d.layers) {
            self.at = index;
            state = self.sized_layer(state, &format!("{layers}.{index}"), *kind)?;
        }
        state = match self.s.join {
            Join::Streams => self.gathered(state)?,
            Join::Recalled => self.recalled(state, &format!("{}output_attn", self.prefix))?,
            _ => state,
        };
        if !self.s.last_norm.is_empty() {
            let name = format!("{}{}", self.prefix, self.s.last_norm);
            state = self.norm(&name, state, self.n.hidden)?;
        }
        if self.n.embedded != self.n.hidden {
            let name = format!("{}project_out", self.prefix);
            state = self.linear(&name, state, (self.n.hidden, self.n.embedded), false)?;
        }
        self.head(state)
    }

    /// `x W (+ b)` over the last axis.
    fn linear(
        &mut self,
        module: &str,
        input: TensorId,
        (k, n): (u64, u64),
        has_bias: bool,
    ) -> Done {
        let mut parameters = vec![self.builder.weight(self.quantization, module, [n, k])?];
        if has_bias {
            parameters.push(self.builder.parameter(&format!("{module}.bias"), &[n])?);
        }
        self.builder.linear((module, input), &parameters, (self.builder.sequence, k, n))
    }

    /// An op without parameters or products over `[batch, sequence, width]`.
    fn plain(
        &mut self,
        (module, part): (&str, &str),
        op_type: &str,
        inputs: &[TensorId],
        width: u64,
    ) -> Done {
        self.builder.plain((module, part), op_type, inputs, &self.builder.shape(width))
    }

    /// The family's norm over `[batch, sequence, width]`.
    fn norm(&mut self, module: &str, input: TensorId, width: u64) -> Done {
        self.norm_of(module, input, (width, width), self.s.norm)
    }

    /// A norm whose weight has so many elements.
    fn norm_of(
        &mut self,
        module: &str,
        input: TensorId,
        (weight, width): (u64, u64),
        kind: Norm,
    ) -> Done {
        let (op_type, parts): (&str, &[&str]) = match kind {
            Norm::Rms => ("RMSNorm", &["weight"]),
            Norm::RmsBare => ("RMSNorm", &[]),
            Norm::Layer => ("LayerNorm", &["weight", "bias"]),
            Norm::LayerWeight => ("LayerNorm", &["weight"]),
            Norm::LayerBare => ("LayerNorm", &[]),
        };
        let mut parameters = Vec::new();
        for part in parts {
            parameters.push(self.builder.parameter(&format!("{module}.{part}"), &[weight])?);
        }
        self.builder.norm((module, op_type), input, &parameters, width)
    }

    fn table(&mut self, module: &str, inputs: &[TensorId], (rows, width): (u64, u64)) -> Done {
        let table = self.builder.parameter(&format!("{module}.weight"), &[rows, width])?;
        self.builder.embedding(module, inputs, table, &self.builder.shape(width))
    }

    fn embedding(&mut self) -> Done {
        let ids = self.builder.input("input_ids", &[self.builder.batch, self.builder.sequence])?;
        let (h, e) = (self.n.hidden, self.n.embedded);
        let module = format!("{}{}", self.prefix, self.s.tokens);
        let mut state = self.table(&module, &[ids], (self.n.vocabulary + self.s.more_tokens, e))?;
        if let Some(features) = self.place.features {
            state = self.plain((&module, "merge"), "ScatterND", &[state, features], e)?;
        }
        if e != h {
            state = self.linear(&format!("{}project_in", self.prefix), state, (e, h), false)?;
        }
        if !self.s.tokens_norm.is_empty() {
            state = self.norm(&format!("{}{}", self.prefix, self.s.tokens_norm), state, h)?;
        }
        if let Positions::Table { module, more } = self.s.positions {
            let module = format!("{}{module}", self.prefix);
            let rows = self.n.positions.unwrap_or(self.builder.sequence).saturating_add(more);
            let positions = self.table(&module, &[], (rows, h))?;
            state = self.plain((&module, "add"), "Add", &[state, positions], h)?;
        }
        Ok(state)
    }

    /// The norm of that place in a layer, where the family has one.
    fn placed(&mut self, place: usize, layer: &str, state: TensorId) -> Done {
        match self.s.norms[place] {
            "" => Ok(state),
            name => self.norm(&format!("{layer}.{name}"), state, self.n.hidden),
        }
    }

    /// A layer of the sizes that it has for itself.
    fn sized_layer(&mut self, state: TensorId, layer: &str, kind: Kind) -> Done {
        let whole = self.n;
        self.n.kv_heads = kind.own.kv_heads.unwrap_or(whole.kv_heads);
        self.n.inner = kind.own.inner.unwrap_or(whole.inner);
        let done = match self.s.join {
            Join::Streams => self.streamed(state, layer, kind),
            Join::Recalled => self.recalling(state, layer, kind),
            _ => self.layer(state, layer, kind),
        };
        self.n = whole;
        done
    }

    fn layer(&mut self, state: TensorId, layer: &str, kind: Kind) -> Done {
        let h = self.n.hidden;
        if self.s.join == Join::Beside {
            let normed = self.placed(0, layer, state)?;
            let mixed = self.mixed(normed, layer, kind)?;
            let norm = self.s.norms[2];
            let normed = if norm.is_empty() { normed } else { self.placed(2, layer, state)? };
            let fed = self.fed(normed, layer, kind.fed)?;
            return self.plain((layer, "add"), "Add", &[state, mixed, fed], h);
        }
        if kind.mixer == Mixer::Shared {
            return self.sharing(state, layer);
        }
        let mut state = state;
        if kind.mixer != Mixer::None {
            let normed = self.placed(0, layer, state)?;
            let mixed = self.mixed(normed, layer, kind)?;
            let mixed = self.opened(mixed, layer, (kind.mixer, "cross_attn_attn_gate"))?;
            state = self.summed((state, mixed), layer, 1)?;
        }
        if kind.fed != Fed::Absent {
            let normed = self.placed(2, layer, state)?;
            let fed = match self.s.mixture.filter(|of| !of.beside[0].is_empty()) {
                Some(mixture) if kind.fed == Fed::Experts => {
                    self.both((state, normed), layer, mixture)?
                }
                _ => self.fed(normed, layer, kind.fed)?,
            };
            let fed = self.opened(fed, layer, (kind.mixer, "cross_attn_mlp_gate"))?;
            state = self.summed((state, fed), layer, 3)?;
        }
        Ok(state)
    }

    /// The state and what a part adds to it, with a norm behind either.
    fn summed(&mut self, (state, part): (TensorId, TensorId), layer: &str, place: usize) -> Done {
        let (h, name) = (self.n.hidden, if place == 1 { "add_1" } else { "add_2" });
        if self.s.join == Join::Sums {
            let sum = self.plain((layer, name), "Add", &[state, part], h)?;
            return self.placed(place, layer, sum);
        }
        let part = self.placed(place, layer, part)?;
        let mut state = state;
        let scale = self.s.scales[place / 2];
        if !scale.is_empty() {
            let module = format!("{layer}.{scale}");
            let scale = self.builder.parameter(&module, &[h])?;
            state = self.builder.norm((&module, "Mul"), state, &[scale], h)?;
        }
        self.plain((layer, name), "Add", &[state, part], h)
    }

    fn mixed(&mut self, state: TensorId, layer: &str, kind: Kind) -> Done {
        let module = format!("{layer}.{}", self.s.space_module);
        let sequence = self.builder.sequence;
        let (is_turned, index) = (kind.is_turned, None);
        let whole = Reach { span: sequence, is_window: false, is_turned, index };
        match kind.mixer {
            Mixer::Full | Mixer::None | Mixer::Shared => self.attention(state, layer, whole),
            Mixer::Window(tokens) if self.s.attention.is_entries => {
                self.entries(state, layer, (tokens.min(sequence), None))
            }
            Mixer::Compressed(is_picked) => {
                let window = self.fields().count(&["sliding_window"], None)?.min(sequence);
                self.entries(state, layer, (window, Some(is_picked)))
            }
            Mixer::Linear => {
                let h = self.n.hidden;
                self.linear(&format!("{layer}.self_attn.linear_attn"), state, (h, h), false)
            }
            Mixer::Blocks => {
                let index = Index::of_blocks(self.fields())?;
                let (span, index) = (index.top.min(sequence), Some(index));
                self.attention(state, layer, Reach { span, index, ..whole })
            }
            Mixer::Window(tokens) => {
                let span = tokens.min(sequence);
                self.attention(state, layer, Reach { span, is_window: true, ..whole })
            }
            Mixer::Picked(is_own) => {
                let index = Index::read(self.fields())?;
                let (span, index) = (index.top.min(sequence), is_own.then_some(index));
                self.attention(state, layer, Reach { span, index, ..whole })
            }
            Mixer::Routed => self.routed(state, &format!("{layer}.self_attention")),
            Mixer::Cross => self.crossed(state, &format!("{layer}.cross_attn")),
            Mixer::Space(space) => self.space(state, &module, space),
            Mixer::Delta(delta) => self.delta(state, &module, delta),
            Mixer::Lightning => self.lightning(state, &format!("{layer}.self_attn")),
            Mixer::Convolution => self.short_convolution(state, &module),
            Mixer::Recurrence => self.recurrence(state, &module),
            Mixer::Both(space) => {
                let first = self.space(state, &module, space)?;
                let second = self.attention(state, layer, whole)?;
                self.plain((layer, "add_mixed"), "Add", &[first, second], self.n.hidden)
            }
        }
    }

    /// What is behind the last norm; what comes out of the model.
    fn head(&mut self, state: TensorId) -> Done<Vec<TensorId>> {
        let (width, sequence) = (self.n.embedded, self.builder.sequence);
        let (module, n, has_bias, weight) = match self.d.task.end {
            End::States => return Ok(vec![state]),
            End::Labels { module, n, bias } => {
                (module, n, bias == Bias::Added, format!("{module}.weight"))
            }
            End::Words => {
                let tokens = format!("{}{}.weight", self.prefix, self.s.tokens);
                let head = format!("{}.weight", self.s.head);
                let weight = if self.is_tied { tokens } else { head };
                (self.s.head, self.n.vocabulary, self.has(self.s.head_bias)?, weight)
            }
        };
        let is_table = self.is_tied && self.d.task.end == End::Words;
        let rows = if is_table { n + self.s.more_tokens } else { n };
        let quantization = self.quantization.filter(|_| !is_table && self.d.task.end == End::Words);
        let mut parameters = vec![match quantization.and_then(Quantization::of_head) {
            Some(quantization) => self.builder.weight(Some(quantization), module, [rows, width])?,
            None => self.builder.parameter(&weight, &[rows, width])?,
        }];
        if has_bias {
            parameters.push(self.builder.parameter(&format!("{module}.bias"), &[n])?);
        }
        Ok(vec![self.builder.linear((module, state), &parameters, (sequence, width, n))?])
    }
}
