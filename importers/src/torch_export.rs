//! `torch.export` archives (`.pt2`): a zip file with the graph as JSON. A valid one is recognised
//! and refused.

mod archive;

use ir::diagnostic::Diagnostic;

use crate::source::Source;
use crate::{Import, ImportOptions, foreign, json};

/// Largest graph document, in bytes, unpacked.
const MAX_MODEL_BYTES: u64 = 64 << 20;

/// The graph document of older versions of torch.
const OLD_MODEL: &str = "serialized_exported_program.json";

/// Checks an archive.
///
/// # Errors
/// `invalid-zip`, `unsafe-entry`, `size-budget`, `missing-model`, those of the JSON reader; and
/// `unsupported-format` for a valid one.
pub(crate) fn read(source: &dyn Source, _: &str, _: &ImportOptions) -> Result<Import, Diagnostic> {
    check(source)?;
    Err(Diagnostic::input(
        "unsupported-format",
        "a torch.export archive is recognised, but cannot be planned yet",
    )
    .hint("export the model to ONNX: torch.onnx.export(model, inputs, dynamo=True)"))
}

fn check(source: &dyn Source) -> Result<(), Diagnostic> {
    if source.len() == 0 {
        return Err(Diagnostic::input("empty-file", "the file is empty"));
    }
    let entries = archive::entries(source)?;
    let names = entries.iter().map(|entry| entry.name.as_str());
    let model = entries.iter().find(|entry| is_model(&entry.name)).ok_or_else(|| {
        foreign::by_entries(names).unwrap_or_else(|| {
            Diagnostic::input("missing-model", "the archive holds no models/*.json")
                .fact("entries", entries.len())
        })
    })?;
    let content = model.read(source, MAX_MODEL_BYTES)?;
    let named = |error: Diagnostic| error.fact("entry", model.name.clone());
    let keys = json::top_keys(&content.as_slice()).map_err(named)?;
    for key in ["graph_module", "schema_version"] {
        if !keys.contains(key) {
            return Err(named(Diagnostic::input(
                "invalid-document",
                format!("the graph document has no `{key}`"),
            )));
        }
    }
    Ok(())
}

/// `STEM/models/NAME.json`, or the name of older versions.
fn is_model(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    match parts.as_slice() {
        [.., "models", file] => file.ends_with(".json"),
        [.., file] => *file == OLD_MODEL,
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    /// A zip file with one stored entry.
    fn zip(name: &str, content: &[u8]) -> Vec<u8> {
        let name_length = (name.len() as u16).to_le_bytes();
        let length = (content.len() as u32).to_le_bytes();
        let mut bytes = b"PK\x03\x04".to_vec();
        bytes.extend([0; 14]);
        bytes.extend(length);
        bytes.extend(length);
        bytes.extend(name_length);
        bytes.extend([0; 2]);
        bytes.extend(name.as_bytes());
        bytes.extend(content);
        let start = bytes.len() as u32;
        bytes.extend(b"PK\x01\x02");
        bytes.extend([0; 16]);
        bytes.extend(length);
        bytes.extend(length);
        bytes.extend(name_length);
        bytes.extend([0; 16]);
        bytes.extend(name.as_bytes());
        let size = bytes.len() as u32 - start;
        bytes.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
        bytes.extend(size.to_le_bytes());
        bytes.extend(start.to_le_bytes());
        bytes.extend([0; 2]);
        bytes
    }

    #[test]
    fn archives_are_checked_entry_by_entry() {
        let code = |name: &str, content: &str| {
            check(&zip(name, content.as_bytes()).as_slice()).unwrap_err().code
        };
        let model = r#"{"graph_module":{},"schema_version":{}}"#;
        check(&zip("m/models/model.json", model.as_bytes()).as_slice()).unwrap();
        check(&zip(OLD_MODEL, model.as_bytes()).as_slice()).unwrap();
        assert_eq!(code("m/models/model.json", "{}"), "invalid-document");
        assert_eq!(code("m/models/model.json", "{"), "truncated-json");
        assert_eq!(code("m/weights", ""), "missing-model");
        assert_eq!(code("m/data.pkl", ""), "unsupported-format");
        assert_eq!(code("../models/model.json", model), "unsafe-entry");
        let whole = zip("m/models/model.json", model.as_bytes());
        for length in 0..whole.len() {
            assert!(check(&&whole[..length]).is_err(), "{length}");
        }
    }
}
