//! The members of an archive that matter, parsed and checked.

use std::collections::HashMap;

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
    let own = archive.find(|path| is_model(path) || path == "serialized_exported_program.json")?;
    let Some(model) = own.map(str::to_owned) else { return Err(no_program(&archive)) };
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

fn member<T: DeserializeOwned>(archive: &mut Archive<'_>, name: &str) -> Result<T, Diagnostic> {
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
    /// where the archive does not tell, because several weights of unlike sizes have one path, as
    /// all have that were exported without values.
    pub(super) fn ties(&self) -> Option<HashMap<&str, &str>> {
        let config = &self.weights.as_ref()?.config;
        let mut first: HashMap<&str, (&str, &Payload)> = HashMap::new();
        let mut ties = HashMap::new();
        for (name, payload) in config {
            let (owner, other) =
                *first.entry(payload.path_name.as_str()).or_insert((name.as_str(), payload));
            if sizes(payload) != sizes(other) {
                return None;
            }
            ties.insert(name.as_str(), owner);
        }
        Some(ties)
    }
}

fn sizes(payload: &Payload) -> Option<Vec<String>> {
    let meta = payload.tensor_meta.as_ref()?;
    let sizes = meta.sizes.iter().map(|extent| format!("{extent:?}"));
    Some(sizes.chain([meta.dtype.to_string()]).collect())
}
