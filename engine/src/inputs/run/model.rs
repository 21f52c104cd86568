//! The model of a training run: a card from a config, or one that is read off a graph.

use std::path::Path;

use cost_model::kernels::precision::beside;
use cost_model::ops::workload::passes::Passes;
use cost_model::runs::forms::model::counts::n_parameters;
use importers::Import;
use importers::config::card::NO_CARD;
use ir::card::stored::{CacheType, Stored};
use ir::card::{Attention, BlockGroup, ModelCard};
use ir::diagnostic::{Blame, Diagnostic, Value};
use ir::graph::Graph;
use ir::hyperparameters::Hyperparameters;
use ir::tensor::DType;
use planner::training::structure::{self, Line, figures, parts, starts, template};

use super::layered;
use crate::inputs::load;
use crate::request::ModelRequest;

/// The code of a config of which no reader knows the type.
const UNKNOWN_TYPE: &str = "unknown-model-type";
/// The dimension of a config that is the length of a sample in tokens.
const SEQUENCE: &str = "sequence";

/// A model card and what it was read off.
#[derive(Clone)]
pub struct Model {
    /// Its blocks and ends.
    pub card: ModelCard,
    /// Where it is from a graph.
    pub graph: Option<GraphFacts>,
    /// How it is built beyond its card, where a config says so.
    pub hyperparameters: Option<Hyperparameters>,
    /// Tokens of a sample; `None` where the model has none that could be set.
    pub tokens: Option<u64>,
    /// Degrees that it is sharded by, as pins.
    pub pins: Vec<String>,
    /// Of reading it.
    pub warnings: Vec<Diagnostic>,
}

/// What a graph holds, so that nothing is lost on the way to a plan.
#[derive(Clone)]
pub struct GraphFacts {
    /// Ops, views included.
    pub n_ops: usize,
    /// Elements of all trained parameters, each once.
    pub n_parameters: u64,
    /// By block of the card, the module or op at which it begins.
    pub starts: Vec<String>,
    /// Last extent of the first of its inputs.
    pub first_extent: Option<u64>,
    /// What the blocks are, or why they are no transformer's.
    pub kind: String,
}

/// Reads a model; `sequence` as far as the user states one.
///
/// # Errors
/// Those of the readers; `sequence-fixed` where a graph has another length; `training-twice` and
/// others of [`Passes::of`].
pub fn read(path: &Path, sequence: Option<u64>, flags: &ModelRequest) -> Result<Model, Diagnostic> {
    let layers = is_plain(path, flags).then(|| layered::trained((path, sequence), true));
    layers.flatten().map_or_else(|| read_by_ops(path, sequence, flags), Ok)
}

/// Whether a model is the one that its config states, without sizes of a graph.
fn is_plain(path: &Path, flags: &ModelRequest) -> bool {
    importers::is_config(path) && flags.dims.is_empty() && flags.batch_axis.is_empty()
}

/// The same, of models without a card by their ops.
fn read_by_ops(
    path: &Path,
    sequence: Option<u64>,
    flags: &ModelRequest,
) -> Result<Model, Diagnostic> {
    // One sample, in the 16 bits that training computes in.
    let dtype = flags.dtype.or(Some(DType::Bf16));
    let mut one = ModelRequest { batch: Some(1), micro_batch: None, dtype, ..flags.clone() };
    let mut fixed = sequence;
    let mut is_written_out = false;
    if importers::is_config(path) {
        if let Some(model) = by_card(path, sequence, flags)? {
            return Ok(model);
        }
        bind(&mut one, sequence)?;
        (fixed, is_written_out) = (None, true);
    }
    let mut import = imported(path, &one, sequence)?;
    load::check_work(&import.graph)?;
    if is_written_out {
        without_tokens(&mut import, sequence)?;
    }
    let mut warnings = import.warnings;
    let graph = &*import.graph.forward_part();
    warnings.extend(without_backward(&import.graph));
    let (passes, noted) = Passes::of(graph.clone())?;
    warnings.extend(noted);
    let line = Line::of(graph);
    let found = structure::find(&line);
    let sums = figures::of(graph, &found, Some(&passes));
    let template = template::model(&line, &found, &sums);
    if template.is_err() && is_written_out && is_plain(path, flags) {
        let layers = layered::trained((path, sequence), false);
        if let Some(model) = layers {
            return Ok(model);
        }
    }
    let (card, blocks, kind) = match template {
        Ok((card, blocks)) => (card.clone(), blocks, template::sentence(&card)),
        Err(mismatch) => {
            let fused = Passes::fused(graph.clone())?;
            let card = parts::model(graph, &found, &sums, [&passes, &fused]);
            (card, 0..found.segments.len(), format!("no transformer template: {}", mismatch.0))
        }
    };
    let facts = GraphFacts {
        n_ops: graph.ops.len(),
        n_parameters: sums.n_parameters(),
        starts: starts(graph, &found, blocks),
        first_extent: graph.inputs.first().and_then(|id| graph.tensor(*id).shape.last().copied()),
        kind,
    };
    check(&card, &facts, fixed)?;
    let tokens = if is_written_out { import.summary.tokens } else { tokens(&card) };
    let pins = import.summary.pins;
    Ok(Model { card, graph: Some(facts), hyperparameters: None, tokens, pins, warnings })
}

/// A config by its card; `None` for what is no card, which may be written out op by op, of any length.
fn by_card(
    path: &Path,
    sequence: Option<u64>,
    flags: &ModelRequest,
) -> Result<Option<Model>, Diagnostic> {
    let (card, warnings) = match importers::config::card::card(path, sequence) {
        Err(error) if [UNKNOWN_TYPE, NO_CARD].contains(&error.code) => return Ok(None),
        read => read?,
    };
    without_dimensions(flags)?;
    let (tokens, hyperparameters) = (tokens(&card), built(path)?);
    Ok(Some(Model { card, graph: None, hyperparameters, tokens, pins: Vec::new(), warnings }))
}

/// Refuses dimensions of a graph where there is none.
fn without_dimensions(flags: &ModelRequest) -> Result<(), Diagnostic> {
    if flags.dims.is_empty() && flags.batch_axis.is_empty() {
        return Ok(());
    }
    let message = "`--dim` and `--batch-axis` have no effect on this config";
    Err(Diagnostic::usage("not-for-configs", message)
        .hint("state the length of a sample with --sequence-length"))
}

/// How a config's model is built; nothing of a type of which the card alone is known.
fn built(path: &Path) -> Result<Option<Hyperparameters>, Diagnostic> {
    match importers::config::hyperparameters::read(path) {
        Err(error) if error.code == UNKNOWN_TYPE => Ok(None),
        read => read.map(Some),
    }
}

/// Binds the length of a sample, which `--dim` may state as well.
fn bind(flags: &mut ModelRequest, sequence: Option<u64>) -> Result<(), Diagnostic> {
    let Some(length) = sequence else { return Ok(()) };
    let mut stated = flags.dims.iter().filter(|(name, _)| name == SEQUENCE);
    if let Some((_, other)) = stated.find(|(_, extent)| *extent != length) {
        let message = format!(
            "`--dim {SEQUENCE}={other}` contradicts samples of {length} tokens, --sequence-length"
        );
        return Err(Diagnostic::usage("sequence-fixed", message).hint("leave out --dim"));
    }
    flags.dims.push((SEQUENCE.to_owned(), length));
    Ok(())
}

/// Refuses a length of samples that are a picture or sound alone. Plans state it as 1.
fn without_tokens(import: &mut Import, sequence: Option<u64>) -> Result<(), Diagnostic> {
    if import.summary.tokens.is_some() {
        return Ok(());
    }
    if sequence.is_some_and(|length| length != 1) {
        let message = "samples of this model have no tokens: they are pictures or sound";
        return Err(Diagnostic::usage("sequence-fixed", message)
            .hint("leave out --sequence-length; --dim image=N or audio=N states their size"));
    }
    let is_length = |warning: &Diagnostic| {
        let names = |(name, value): &(&str, Value)| {
            *name == "dimension" && *value == Value::Text(SEQUENCE.to_owned())
        };
        warning.facts.iter().any(names)
    };
    import.warnings.retain(|warning| !is_length(warning));
    Ok(())
}

/// As [`read`], of a model that serves, in a type where its config states none: what its checkpoint holds is
/// priced as it is, and keys and values are cached in a type, or as the checkpoint says.
///
/// # Errors
/// Those of [`read`]; `quantized-blocks` where weights are quantised and the card has other blocks.
pub fn served(
    on: (&Path, Option<u64>),
    flags: &ModelRequest,
    kv_dtype: Option<CacheType>,
) -> Result<Model, Diagnostic> {
    quantized(on, flags, kv_dtype, None)
}

/// A model by its card, or by the layers of its text decoder where it has none and may be read so.
fn read_served(
    (path, sequence): (&Path, Option<u64>),
    flags: &ModelRequest,
    may_be_layered: bool,
) -> Result<Model, Diagnostic> {
    let is_tried = may_be_layered && importers::is_config(path);
    let layered = if is_tried { layered::read(path, sequence)? } else { None };
    let Some(model) = layered else { return read_by_ops(path, sequence, flags) };
    without_dimensions(flags)?;
    Ok(model)
}

/// That a checkpoint is served in fp32: `--dtype auto` of vLLM and SGLang casts fp32 checkpoints to 16 bits.
fn whole_precision() -> Diagnostic {
    let message = "the checkpoint is fp32, and so is the plan; vLLM and SGLang serve it in 16 bits by default";
    Diagnostic::warning("fp32-checkpoint", message)
        .hint("state --dtype bf16 for half the memory of weights")
}

/// The same with weights quantised to a llama.cpp mixture, such as `Q4_K_M`.
///
/// # Errors
/// Those of [`served`]; `quantization` for other mixtures, and for models whose file states its types.
pub fn quantized(
    (path, sequence): (&Path, Option<u64>),
    flags: &ModelRequest,
    kv_dtype: Option<CacheType>,
    quantization: Option<&str>,
) -> Result<Model, Diagnostic> {
    let mixture = quantization.map(mixture).transpose()?;
    let mut model = read_served((path, sequence), flags, mixture.is_none())?;
    if !importers::is_config(path) || model.graph.is_some() {
        if mixture.is_some() {
            return Err(no_mixture("`--quantization` is for a config.json"));
        }
        model.card.stored = kv_dtype.map(|dtype| Box::new(cached_as(dtype)));
        return Ok(model);
    }
    let (mut weight_dtype, assumed) = importers::config::stored::held(path)?;
    if let Some(mixture) = mixture {
        weight_dtype = DType::float_named(&mixture.to_lowercase()).unwrap_or(DType::F16);
    }
    model.card.dtype = Some(weight_dtype);
    if flags.dtype.is_none() && mixture.is_none() {
        let is_stated = assumed.is_empty() && weight_dtype == DType::F32;
        model.warnings.extend(assumed);
        model.warnings.extend(is_stated.then(whole_precision));
    }
    let dtype = flags.dtype.unwrap_or(weight_dtype);
    if dtype == DType::F64 {
        let message = format!("steps that serve are not priced in {dtype}");
        return Err(Diagnostic::usage("dtype", message)
            .hint("state `torch_dtype` in the config, such as float32, or --dtype fp32"));
    }
    let (mut stored, unknown) = held((path, dtype), (&model.card, mixture))?;
    model.warnings.extend(unknown);
    model.warnings.retain(|warning| warning.code != "quantized-weights");
    let later = model.card.n_predictions.saturating_sub(1);
    let n_own = model.card.n_blocks().saturating_sub(later) as usize;
    if let Some(method) = &stored.method {
        if stored.blocks.len() != n_own {
            let message = format!("bytes of weights quantised by {method} are not known by block");
            return Err(Diagnostic::input("quantized-blocks", message).hint(
                "place the operators of the model instead, without --phase and --algorithm",
            ));
        }
        let maker = if mixture.is_some() { "llama-quantize makes" } else { "the checkpoint has" };
        let message = format!("weights are held as {maker} them ({method})");
        model.warnings.push(Diagnostic::warning("quantized-weights", message));
    }
    let note = stored.cache.filter(|_| kv_dtype.is_none()).map(|dtype| {
        let message = format!("keys and values are cached in {dtype}, as the checkpoint states");
        Diagnostic::warning("stated-kv-dtype", message).hint("state another type with --kv-dtype")
    });
    model.warnings.extend(note);
    stored.cache = kv_dtype.or(stored.cache);
    let is_plain = stored.cache.is_none() && stored.blocks.is_empty();
    model.card.stored = (!is_plain).then(|| Box::new(stored));
    Ok(model)
}

/// What a file holds, or would in a mixture of llama.cpp's types, and what is worth knowing of it.
fn held(
    (path, dtype): (&Path, DType),
    (card, mixture): (&ModelCard, Option<&'static str>),
) -> Result<(Stored, Vec<Diagnostic>), Diagnostic> {
    let (stored, warnings) = match importers::gguf::is_file(path) {
        true => importers::gguf::stored(path)?,
        false => importers::config::stored::read(path, beside(dtype))?,
    };
    let Some(mixture) = mixture else { return Ok((stored, warnings)) };
    if let Some(method) = &stored.method {
        return Err(no_mixture(&format!("the weights of this model are quantised ({method})")));
    }
    let cache = stored.cache;
    Ok((Stored { cache, ..importers::gguf::recipe::stored(card, mixture)? }, warnings))
}

/// A mixture of llama.cpp's types by its name.
fn mixture(name: &str) -> Result<&'static str, Diagnostic> {
    use importers::gguf::recipe::{MIXTURES, named};
    named(name).ok_or_else(|| {
        let shown: String = name.chars().take(40).collect();
        let names = MIXTURES.map(|row| row.0);
        Diagnostic::usage("quantization", format!("there is no mixture `{shown}`"))
            .hint(format!("known are {}; for others give the GGUF file", names.join(", ")))
    })
}

fn no_mixture(message: &str) -> Diagnostic {
    Diagnostic::usage("quantization", message).hint("leave --quantization out")
}

/// The type of keys and values that a plan names.
///
/// # Errors
/// `bad-plan`.
pub fn cache_type(name: Option<&str>) -> Result<Option<CacheType>, Diagnostic> {
    let Some(name) = name else { return Ok(None) };
    CacheType::named(name).map(Some).ok_or_else(|| {
        let shown: String = name.chars().take(40).collect();
        let message = format!("member `request.kv_dtype` of the plan is `{shown}`");
        let known = CacheType::ROWS.map(|row| row.1);
        Diagnostic::input("bad-plan", message).hint(format!("known are {}", known.join(", ")))
    })
}

fn cached_as(cache: CacheType) -> Stored {
    Stored { cache: Some(cache), ..Stored::default() }
}

/// Says that a recorded backward pass is left aside.
fn without_backward(graph: &Graph) -> Option<Diagnostic> {
    let message = "the graph's own backward pass is not read: runs are priced by the forms of its forward pass";
    (!graph.gradients.is_empty()).then(|| Diagnostic::warning("backward-by-forms", message))
}

fn tokens(card: &ModelCard) -> Option<u64> {
    let sequence = card.groups.first().map(|group| group.card.sequence);
    sequence.filter(|_| !card.is_of_parts())
}

/// Reads a graph; where it leaves one dimension open besides the batch, that is the length of a
/// sample.
///
/// # Errors
/// Those of the reader.
pub(crate) fn imported(
    path: &Path,
    flags: &ModelRequest,
    sequence: Option<u64>,
) -> Result<Import, Diagnostic> {
    let error = match load::trained(path, flags) {
        Err(error) if error.code == "unbound-dimension" => error,
        other => return other,
    };
    let open = error.facts.iter().find_map(|(name, value)| match value {
        Value::List(dimensions) if *name == "dimensions" => Some(dimensions.as_slice()),
        _ => None,
    });
    match (open, sequence) {
        (Some([dimension]), Some(length)) => {
            let mut bound = flags.clone();
            bound.dims.push((dimension.clone(), length));
            load::trained(path, &bound)
        }
        (Some([_]), None) => {
            Err(error.hint("or state the length of a sample with --sequence-length"))
        }
        _ => Err(error),
    }
}

/// Parameters before and after, and the length of a sample.
fn check(card: &ModelCard, facts: &GraphFacts, sequence: Option<u64>) -> Result<(), Diagnostic> {
    let counted = n_parameters(card);
    if counted != facts.n_parameters {
        let message = "the parts of the model do not have all of its parameters";
        return Err(Diagnostic::error(Blame::Internal, "internal", message)
            .fact("graph", facts.n_parameters)
            .fact("parts", counted));
    }
    let length = card.groups.first().map_or(0, |group| group.card.sequence);
    match sequence {
        Some(stated) if stated != length && card.is_of_parts() => {
            let message = "the blocks of this graph have no sequence that could be set";
            Err(Diagnostic::usage("sequence-fixed", message).hint("leave out --sequence-length"))
        }
        Some(stated) if stated != length => {
            let message = format!("the graph has samples of {length} tokens, not of {stated}");
            Err(Diagnostic::usage("sequence-fixed", message)
                .hint("leave out --sequence-length, or bind the graph's dimension with --dim"))
        }
        _ => Ok(()),
    }
}

/// Takes on the windows of attention that servers keep to: what is behind them is neither read nor cached.
pub fn with_windows(model: &mut Model) {
    let window = model.hyperparameters.as_ref().and_then(|stated| stated.window.as_ref());
    let Some((tokens, has_window)) = window else { return };
    let blocks: Vec<BlockGroup> = model
        .card
        .kinds()
        .zip(has_window.iter().copied().chain(std::iter::repeat(false)))
        .filter_map(|(kind, has_window)| {
            let mut group = BlockGroup { n_blocks: 1, ..model.card.groups.get(kind)?.clone() };
            if let (true, Attention::Even | Attention::Heads { .. }) =
                (has_window, group.card.attention)
            {
                let dim = group.card.head_dims().0;
                group.card.attention = Attention::Window { dim, tokens: *tokens };
            }
            Some(group)
        })
        .collect();
    model.card.groups.clear();
    for group in blocks {
        match model.card.groups.last_mut().filter(|last| last.card == group.card) {
            Some(last) => last.n_blocks += 1,
            None => model.card.groups.push(group),
        }
    }
    model.warnings.retain(|warning| warning.code != "sliding-window");
}
