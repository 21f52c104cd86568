//! A model while it is written: its dimensions, its class, and what of its config was read.

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;
use serde_json::Value;

use super::net::Net;
use super::spec::Spec;
use crate::config::fields::invalid;
use crate::config::quantization::Quantization;
use crate::config::request::{MAX_EXTENT, Request, Written};
use crate::import::ImportOptions;

/// Most tokens of a sample that are planned where nobody states them.
pub(super) const MAX_DEFAULT_SEQUENCE: u64 = 4_096;

/// Writes a model; returns what comes out of it.
pub(super) type Writer = fn(&mut Model<'_>, &Spec) -> Result<Vec<TensorId>, Diagnostic>;

/// Reads a config by what writes it.
///
/// # Errors
/// `invalid-field`, `layer-budget`, `size-budget`, `heads-do-not-divide`, `unsupported-trait`.
pub(super) fn written(request: &Request<'_>, write: Writer) -> Result<Written, Diagnostic> {
    let Request { fields, name, dtype, options, .. } = *request;
    let spec = Spec::new(fields.0);
    let (quantization, unknown) = Quantization::read(fields)?;
    let quantization = quantization.filter(|_| !options.trains);
    let mut model = Model {
        net: Net::new(name, dtype, quantization),
        options,
        batch: options.batch.or(options.dims.get("batch").copied()).unwrap_or(1),
        used: vec!["batch"],
        tokens: None,
        warnings: unknown.into_iter().collect(),
        unread: Vec::new(),
    };
    if model.batch == 0 || model.batch > MAX_EXTENT {
        return Err(outside("batch", model.batch, MAX_EXTENT));
    }
    let outputs = write(&mut model, &spec)?;
    model.done(&spec);
    let Model { net, tokens, warnings, .. } = model.warned();
    Ok(Written { graph: net.finish(&outputs), tokens, sequence: None, positions: None, warnings })
}

/// A model while it is written.
pub(super) struct Model<'a> {
    pub(super) net: Net,
    pub(super) options: &'a ImportOptions,
    pub(super) batch: u64,
    /// Dimensions that the model has.
    pub(super) used: Vec<&'static str>,
    /// Tokens of a sample, where it has any.
    tokens: Option<u64>,
    pub(super) warnings: Vec<Diagnostic>,
    /// Fields that nothing read.
    pub(super) unread: Vec<String>,
}

impl Model<'_> {
    /// The dimension `name`, from 1 to `most`, as the caller states it.
    pub(super) fn dimension(
        &mut self,
        name: &'static str,
        (default, most): (u64, u64),
        what: &str,
    ) -> Result<u64, Diagnostic> {
        let is_first = !self.used.contains(&name);
        self.used.push(name);
        let stated = self.options.dims.get(name).copied();
        let extent = stated.unwrap_or(default);
        if name == "sequence" {
            self.tokens = Some(extent);
        }
        if stated.is_some_and(|stated| !(1..=most).contains(&stated)) {
            return Err(outside(name, extent, most));
        }
        if is_first && stated.is_none() {
            let code = match name {
                "sequence" => "default-sequence",
                "image" => "default-image",
                _ => "default-audio",
            };
            let message = format!("no `{name}` was given: {default} {what} are assumed");
            self.warnings.push(
                Diagnostic::warning(code, message)
                    .fact(name, default)
                    .hint(format!("state another with `--dim {name}=N`")),
            );
        }
        Ok(extent)
    }

    /// Tokens of a sample, at most as many as there are positions.
    pub(super) fn sequence(&mut self, positions: u64) -> Result<u64, Diagnostic> {
        let default = positions.min(MAX_DEFAULT_SEQUENCE);
        self.dimension("sequence", (default, positions.min(MAX_EXTENT)), "tokens")
    }

    /// The class that the config names; a suffix of those in `known`, else the first with a warning.
    pub(super) fn class<'s>(
        &mut self,
        spec: &'s Spec,
        known: &[&'s str],
    ) -> Result<&'s str, Diagnostic> {
        let default = known.first().copied().unwrap_or_default();
        let Some(value) = spec.fields("architectures").list("architectures")?.first() else {
            return Ok(default);
        };
        let class = value
            .as_str()
            .ok_or_else(|| invalid("architectures", value, "names of classes are needed"))?;
        if let Some(suffix) = known.iter().find(|suffix| class.ends_with(**suffix)) {
            return Ok(suffix);
        }
        let shown: String = class.chars().take(60).collect();
        let message =
            format!("class `{shown}` is not understood: the model is planned as `{default}`");
        self.warnings
            .push(Diagnostic::warning("unknown-architecture", message).fact("class", shown));
        Ok(default)
    }

    /// A part that was read.
    pub(super) fn done(&mut self, spec: &Spec) {
        self.unread.extend(spec.unread());
    }

    /// With warnings about what had no effect.
    pub(super) fn warned(mut self) -> Self {
        let known = |name: &str| self.used.contains(&name);
        let mut own = Vec::new();
        for name in self.options.dims.keys().filter(|name| !known(name)) {
            let mut names: Vec<String> = self.used.iter().map(|name| format!("`{name}`")).collect();
            names.sort_unstable();
            names.dedup();
            let message = format!("no dimension is named `{name}`");
            let hint = format!("this model has the dimensions {}", names.join(", "));
            let warning = Diagnostic::warning("unused-dimension", message).hint(hint);
            own.push(warning.fact("dimension", name.clone()));
        }
        if !self.unread.is_empty() {
            let names: Vec<String> = self.unread.iter().take(8).cloned().collect();
            let message = format!("{} fields of the config are not read", self.unread.len());
            own.push(Diagnostic::warning("unread-fields", message).fact("fields", names));
        }
        self.warnings.extend(own);
        self
    }
}

pub(super) fn outside(name: &str, extent: u64, most: u64) -> Diagnostic {
    let message = format!("the {name} is {extent}: out of range, this model takes 1 to {most}");
    Diagnostic::input("invalid-field", message)
}

/// Labels of a classifier: as stated, else as many as there are names for, else 2.
pub(super) fn labels(spec: &Spec) -> Result<u64, Diagnostic> {
    let names = spec.fields("id2label").get("id2label").and_then(Value::as_object);
    let n = names.map_or(2, |names| names.len().max(1) as u64);
    spec.n("num_labels", n)
}
