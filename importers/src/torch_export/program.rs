//! The members of an archive that matter, parsed and checked.

use std::collections::{HashMap, HashSet};

use ir::diagnostic::Diagnostic;
use serde::de::DeserializeOwned;

use super::archive::Archive;
use super::document::{Payload, Payloads, Program};
use crate::json;
use crate::source::Source;

/// Schema that is read; minor versions add members only.
const MAJOR: i64 = 8;

/// A program and where the values of its weights and constants lie.
pub(super) struct Loaded {
    pub(super) program: Program,
    /// `None` in archives of torch 2.7 and older, which do not say.
    pub(super) weights: Option<Payloads>,
}

/// Reads the members.
///
/// # Errors
/// As [`super::read`], up to `unsupported-schema`.
pub(super) fn load(source: &dyn Source) -> Result<Loaded, Diagnostic> {
    let mut archive = Archive::open(source)?;
    let is_model =
        |path: &str| path.strip_prefix("models/").is_some_and(|name| name.ends_with(".json"));
    let path = archive.find(|path| is_model(path) || path == "serialized_exported_program.json")?;
    let Some(model) = path.map(str::to_owned) else { return Err(no_program(&archive)) };
    let program: Program = member(&mut archive, &model)?;
    if program.schema_version.major != MAJOR {
        return Err(Diagnostic::input(
            "unsupported-schema",
            format!(
                "the program has schema version {}, and only version {MAJOR} is read",
                program.schema_version.major
            ),
        )
        .fact("member", model)
        .hint("export the model again with torch 2.6 or later"));
    }
    let config = archive.find(|path| path == "data/weights/model_weights_config.json");
    // Of a program that is not called `model` the file is called after it.
    let config = match config? {
        Some(name) => Some(name.to_owned()),
        None => archive
            .find(|path| {
                let file = path.strip_prefix("data/weights/");
                file.is_some_and(|file| file.ends_with("_weights_config.json"))
            })?
            .map(str::to_owned),
    };
    let weights = config.map(|name| member(&mut archive, &name)).transpose()?;
    Ok(Loaded { program, weights })
}

fn member<T: DeserializeOwned + Send>(
    archive: &mut Archive<'_>,
    name: &str,
) -> Result<T, Diagnostic> {
    let bytes = archive.read(name)?;
    let (document, _) = json::object(&bytes).map_err(|error: Diagnostic| {
        error
            .fact("member", name.to_owned())
            .hint("save the program again: torch.export.save(program, \"model.pt2\")")
    })?;
    Ok(document)
}

/// Other archives begin as this one does.
fn no_program(archive: &Archive<'_>) -> Diagnostic {
    let names = archive.names();
    let has = |end: &str| names.iter().any(|name| name.ends_with(end));
    let (what, hint) = if has("constants.pkl") {
        ("a TorchScript archive", "export the model: torch.export.export(model, args)")
    } else if has("data.pkl") {
        (
            "a file of torch.save: weights by name, without the operators between them",
            "give the model's `config.json`, or the checkpoint folder that holds it",
        )
    } else if has(".so") {
        ("a compiled package without its graph", "save the program with torch.export.save as well")
    } else {
        return Diagnostic::input(
            "no-program",
            "the archive has no member `models/*.json`: it is no exported program",
        )
        .hint("save one: torch.export.save(torch.export.export(model, args), \"model.pt2\")");
    };
    Diagnostic::input(crate::foreign::CODE, format!("this is {what}, and cannot be planned"))
        .hint(hint)
}

impl Loaded {
    /// For each weight the name of the first that has its values: the tied ones share them. `None`
    /// where the archive does not tell: it does not hold values, or one path stands for all weights
    /// of a type, as `torch.export.save` writes those without values.
    pub(super) fn ties(&self) -> Option<HashMap<&str, &str>> {
        let config = &self.weights.as_ref()?.config;
        let metas = || config.values().filter_map(|payload| payload.tensor_meta.as_ref());
        let types: HashSet<i64> = metas().map(|meta| meta.dtype).collect();
        let paths: HashSet<&str> =
            config.values().map(|payload| payload.path_name.as_str()).collect();
        let on_meta =
            metas().any(|meta| meta.device.as_ref().is_some_and(|device| device.kind == "meta"));
        let is_own = paths.len() == config.len();
        if !is_own && config.len() > 2 && paths.len() <= types.len() {
            return None;
        }
        if on_meta && paths.len() <= types.len() && !is_own {
            return None;
        }
        // Of tensors in one storage those are tied that lie in the same place in the same form.
        let mut first: HashMap<(&str, String), &str> = HashMap::new();
        let place = |payload: &Payload| {
            let meta = payload.tensor_meta.as_ref();
            let form =
                meta.map(|meta| (&meta.sizes, &meta.strides, &meta.storage_offset, meta.dtype));
            format!("{form:?}")
        };
        let owners = config.iter().map(|(name, payload)| {
            let key = (payload.path_name.as_str(), place(payload));
            (name.as_str(), *first.entry(key).or_insert(name.as_str()))
        });
        Some(owners.collect())
    }
}
