//! A model while it is written: its dimensions, its class, and what of its config was read.

use ir::diagnostic::Diagnostic;
use ir::id::TensorId;
use serde_json::Value;

use super::net::{Done, Flow, Net, join};
use super::spec::Spec;
use crate::config::fields::invalid;
use crate::config::quantization::Quantization;
use crate::config::request::{MAX_EXTENT, Request, Written};
use crate::import::ImportOptions;

/// Most tokens of a sample that are planned where nobody states them.
pub(super) const MAX_DEFAULT_SEQUENCE: u64 = 4_096;

/// What comes out of a model.
pub(super) type Outputs = Done<Vec<TensorId>>;

/// Reads a config by what writes it.
///
/// # Errors
/// `invalid-field`, `layer-budget`, `size-budget`, `heads-do-not-divide`, `unsupported-trait`.
pub(super) fn written(
    request: &Request<'_>,
    write: impl FnOnce(&mut Model<'_>, &Spec) -> Outputs,
) -> Done<Written> {
    let Request { fields, name, dtype, options, .. } = *request;
    let spec = Spec::new(fields.0);
    let (quantization, unknown) = Quantization::read(fields)?;
    let quantization = quantization.filter(|_| !options.trains);
    let mut model = Model {
        net: Net::new(name, dtype, quantization),
        options,
        prefix: "",
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
    /// Module of the model within the class of a task.
    pub(super) prefix: &'static str,
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
    /// The module `name` of the model.
    pub(super) fn at(&self, name: &str) -> String {
        join(self.prefix, name)
    }

    /// Tokens of each sample that the caller feeds.
    pub(super) fn ids(&mut self, name: &str, n: u64) -> Done<TensorId> {
        self.net.ids(name, &[self.batch, n])
    }

    /// The dimension `name`, from 1 to `most`, as the caller states it.
    pub(super) fn dimension(
        &mut self,
        name: &'static str,
        (default, most): (u64, u64),
        what: &str,
    ) -> Done<u64> {
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
    pub(super) fn sequence(&mut self, positions: u64) -> Done<u64> {
        let default = positions.min(MAX_DEFAULT_SEQUENCE);
        self.dimension("sequence", (default, positions.min(MAX_EXTENT)), "tokens")
    }

    /// The class that the config names, behind which the model has a module of its own in all but
    /// `Model`; a suffix of those in `known`, else the first with a warning.
    pub(super) fn task<'s>(
        &mut self,
        spec: &'s Spec,
        prefix: &'static str,
        known: &[&'s str],
    ) -> Done<&'s str> {
        let class = self.class(spec, known)?;
        self.prefix = if class == "Model" { "" } else { prefix };
        Ok(class)
    }

    /// The class that the config names; a suffix of those in `known`, else the first with a warning.
    pub(super) fn class<'s>(&mut self, spec: &'s Spec, known: &[&'s str]) -> Done<&'s str> {
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
        let mut warnings = Vec::new();
        for name in self.options.dims.keys().filter(|name| !known(name)) {
            let mut names: Vec<String> = self.used.iter().map(|name| format!("`{name}`")).collect();
            names.sort_unstable();
            names.dedup();
            let message = format!("no dimension is named `{name}`");
            let hint = format!("this model has the dimensions {}", names.join(", "));
            let warning = Diagnostic::warning("unused-dimension", message).hint(hint);
            warnings.push(warning.fact("dimension", name.clone()));
        }
        if !self.unread.is_empty() {
            let names: Vec<String> = self.unread.iter().take(8).cloned().collect();
            let message = format!("{} fields of the config are not read", self.unread.len());
            warnings.push(Diagnostic::warning("unread-fields", message).fact("fields", names));
        }
        self.warnings.extend(warnings);
        self
    }
}

pub(super) fn outside(name: &str, extent: u64, most: u64) -> Diagnostic {
    let message = format!("the {name} is {extent}: out of range, this model takes 1 to {most}");
    Diagnostic::input("invalid-field", message)
}

/// Labels of a classifier: as stated, else as many as there are names for, else 2.
pub(super) fn labels(spec: &Spec) -> Done<u64> {
    let names = spec.fields("id2label").get("id2label").and_then(Value::as_object);
    let n = names.map_or(2, |names| names.len().max(1) as u64);
    spec.n("num_labels", n)
}

impl Model<'_> {
    /// A product with a column for each label.
    pub(super) fn labelled(&mut self, spec: &Spec, module: &str, x: Flow) -> Outputs {
        Ok(vec![self.net.linear(module, x, labels(spec)?, true)?.id])
    }

    /// A dense layer and the hyperbolic tangent.
    pub(super) fn pooled(&mut self, module: &str, x: Flow) -> Done {
        self.net.dense(module, "Tanh", x, x.width)
    }

    /// Rows of the table of words.
    pub(super) fn words(&mut self, table: &str, ids: TensorId, size: (u64, u64), n: u64) -> Done {
        self.net.table(table, &[ids], size, (self.batch, n))
    }
}
