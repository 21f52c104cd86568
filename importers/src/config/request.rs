//! What readers of configs are asked, and what they answer.

use std::ffi::OsStr;
use std::path::Path;

use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::tensor::{DType, Role};
use serde_json::{Map, Value};

use super::builder::Builder;
use super::fields::{Fields, invalid};
use super::parts;
use super::quantization::Quantization;
use crate::import::ImportOptions;
use crate::source::Source;
use crate::{gguf, json, located, source};

/// The code of the warning that a type of weights was assumed.
pub(super) const ASSUMED: &str = "assumed-dtype";
/// The code of the warning that a part of a model states a type of its own.
pub(super) const OF_PART: &str = "part-dtype";
/// The file beside a config that states how ModelOpt quantised it.
const MODELOPT: &str = "hf_quant_config.json";
/// Largest file, in bytes.
pub(super) const MAX_BYTES: u64 = 16 << 20;

/// The text of a config, and what its file is called; of a GGUF file the config that it stands for.
///
/// # Errors
/// Those of the files.
pub(super) fn text(path: &Path) -> Result<(Vec<u8>, String), Diagnostic> {
    let (source, name) = located::open(path)?;
    let bytes = match gguf::as_config(&source)? {
        Some(bytes) => bytes,
        None => with_modelopt(source::read_all(&source, MAX_BYTES)?, source.path())?,
    };
    Ok((bytes, name))
}

/// A config with the quantisation that ModelOpt before 0.31 writes into a file beside it, as engines read both
/// (vLLM `get_config`).
///
/// # Errors
/// `unreadable-file` and those of the JSON reader, of the file beside it.
pub(super) fn with_modelopt(config: Vec<u8>, path: Option<&Path>) -> Result<Vec<u8>, Diagnostic> {
    let holds = |mark: &str| config.windows(mark.len()).any(|window| window == mark.as_bytes());
    let name = path.and_then(Path::file_name).and_then(OsStr::to_str);
    let beside = path.zip(name.and_then(|name| name.strip_suffix("config.json")));
    let beside = beside.map(|(path, name)| path.with_file_name(format!("{name}{MODELOPT}")));
    let is_stated = holds("\"quantization_config\"") || holds("\"compression_config\"");
    let Some(beside) = beside.filter(|beside| !is_stated && beside.is_file()) else {
        return Ok(config);
    };
    let named = |error: Diagnostic| error.fact("file", beside.display().to_string());
    let (source, _) = located::open(&beside)?;
    let text = source::read_all(&source, MAX_BYTES).map_err(named)?;
    let mut members: Map<String, Value> = json::parse(&text).map_err(named)?;
    members.entry("quant_method").or_insert_with(|| "modelopt".into());
    let Some(end) = config.iter().rposition(|byte| *byte == b'}') else { return Ok(config) };
    let members = Value::Object(members).to_string();
    let mut all = config[..end].to_vec();
    all.extend_from_slice(format!(",\"quantization_config\":{members}}}").as_bytes());
    Ok(all)
}

/// A config that is to be written out as a graph.
pub(super) struct Request<'a> {
    pub fields: Fields<'a>,
    pub model_type: &'a str,
    /// What the graph is called.
    pub name: &'a str,
    /// Type of weights and activations.
    pub dtype: DType,
    pub options: &'a ImportOptions,
}

/// What a reader makes of a config.
pub(super) struct Written {
    pub graph: Graph,
    /// Tokens of a sample; `None` where it is a picture or sound alone.
    pub tokens: Option<u64>,
    /// Tokens of a sample, where the caller stated none; `None` where the reader has told of all of
    /// its dimensions.
    pub sequence: Option<u64>,
    /// Positions that the model was made for, where it says.
    pub positions: Option<u64>,
    /// What of the config is not understood or has no effect.
    pub warnings: Vec<Diagnostic>,
}

/// Writes a config out.
pub(super) type Reader = fn(&Request<'_>) -> Result<Written, Diagnostic>;

/// Largest extent of batch and sequence.
pub(super) const MAX_EXTENT: u64 = 1 << 24;

impl Request<'_> {
    /// An empty graph of as many samples and tokens as the options say, of samples of `usual` tokens
    /// where they say nothing and of `longest` at most.
    ///
    /// # Errors
    /// `invalid-field`.
    pub(super) fn builder(&self, usual: u64, longest: Option<u64>) -> Result<Builder, Diagnostic> {
        let of = |dimension: &str| self.options.dims.get(dimension).copied();
        let sequence = of("sequence").unwrap_or(usual);
        let batch = self.options.batch.or(of("batch")).unwrap_or(1);
        let longest = longest.unwrap_or(MAX_EXTENT);
        for (what, extent, most) in [("sequence", sequence, longest), ("batch", batch, MAX_EXTENT)]
        {
            if extent == 0 || extent > most {
                let message =
                    format!("the {what} is {extent}: out of range, this model takes 1 to {most}");
                return Err(Diagnostic::input("invalid-field", message));
            }
        }
        Ok(Builder::new(self.name, self.dtype, (batch, sequence)))
    }
}

/// Whether any weight is held in fewer bits than those of the model's type.
pub(super) fn is_packed(graph: &Graph) -> bool {
    graph
        .tensors
        .iter()
        .any(|tensor| tensor.role == Role::Parameter && !tensor.dtype.is_wide_float())
}

/// That a method packs no weight that the model has.
pub(super) fn unused(method: &str, dtype: &str) -> Diagnostic {
    let message = format!(
        "`quantization_config` ({method}) covers no weight of this model: all are counted in {dtype}"
    );
    Diagnostic::warning("quantization-unused", message)
}

/// In what weights are held that are not of the model's type; without a graph, those of a run that trains.
pub(super) fn quantized(
    fields: Fields<'_>,
    dtype: &str,
    graph: Option<&Graph>,
) -> Result<Option<Diagnostic>, Diagnostic> {
    let (Some(quantization), _) = Quantization::read(fields)? else { return Ok(None) };
    let (bits, method) = (quantization.bits(), quantization.method);
    if graph.is_some_and(|graph| !is_packed(graph)) {
        return Ok(Some(unused(&method, dtype)));
    }
    let message = match graph {
        None => format!(
            "`quantization_config` ({method}, {bits} bits) is for inference: weights are trained in \
             {dtype}"
        ),
        Some(_) => format!(
            "weights of products are held in {bits} bits ({method}, scales included); products are \
             computed in {dtype}"
        ),
    };
    Ok(Some(Diagnostic::warning("quantized-weights", message).fact("method", method)))
}

/// Types that configs state for their weights.
const STATED: [&str; 2] = ["torch_dtype", "dtype"];

/// Type of the weights that a config states for the whole or its text part, under either of its two names,
/// and a warning about one that is not understood.
pub(super) fn stated_dtype(
    fields: Fields<'_>,
) -> Result<(Option<DType>, Option<Diagnostic>), Diagnostic> {
    let Some(value) = parts::stated(fields, &STATED) else { return Ok((None, None)) };
    let name = value.as_str().ok_or_else(|| invalid("torch_dtype", value, "a text is needed"))?;
    // A type of 8 bits says nothing without its scales.
    let known = DType::float_named(name).filter(|known| known.is_wide_float());
    let shown: String = name.chars().take(40).collect();
    let unknown = known.is_none().then(|| {
        let message = format!("the type `{shown}` of the weights is not understood, and not used");
        Diagnostic::warning("unknown-dtype", message).hint("state one with --dtype")
    });
    Ok((known, unknown))
}

/// Type of the weights that are not quantised: as it is asked for, as the config states it, or an assumed
/// one, and what is warned of it. Quantised checkpoints are of 16 bits, whatever their method.
///
/// # Errors
/// `invalid-field`.
pub(super) fn held_dtype(
    fields: Fields<'_>,
    requested: Option<DType>,
) -> Result<(DType, Vec<Diagnostic>), Diagnostic> {
    let (stated, unknown) = stated_dtype(fields)?;
    let mut warnings: Vec<Diagnostic> = unknown.into_iter().collect();
    if let Some(dtype) = requested {
        return Ok((dtype, warnings));
    }
    if let Some(dtype) = stated {
        warnings.extend(other_parts(fields, dtype));
        return Ok((dtype, warnings));
    }
    let is_quantized = Quantization::read(fields)?.0.is_some();
    let (of, assumed) = match is_quantized {
        true => ("compute type", DType::Bf16),
        false => ("type of its weights", DType::F32),
    };
    let message = format!("the config states no {of}: assumed {assumed}");
    let warning = Diagnostic::warning(ASSUMED, message).fact("assumed", assumed.name());
    warnings.push(warning.hint("state it with --dtype, such as --dtype bf16"));
    Ok((assumed, warnings))
}

/// A part that states another type than the one that all weights are counted in.
fn other_parts(fields: Fields<'_>, dtype: DType) -> Option<Diagnostic> {
    let dtype_of = |part: &Value| {
        let stated = STATED.iter().find_map(|name| part.get(name)?.as_str());
        stated.and_then(DType::float_named).filter(|found| found.is_wide_float() && *found != dtype)
    };
    let (name, other) = fields.0.iter().find_map(|(name, part)| Some((name, dtype_of(part)?)))?;
    let message =
        format!("`{name}` states {other}: its weights are counted in {dtype}, as all are");
    Some(Diagnostic::warning(OF_PART, message).hint("state one type for all with --dtype"))
}
