//! Which format a file has: by extension, else by its first bytes; JSON files by their keys.

use std::path::Path;

use ir::diagnostic::Diagnostic;

use crate::format::{Format, formats};
use crate::source::{Source, unreadable};
use crate::{foreign, json};

/// The format of a file.
///
/// # Errors
/// `unknown-format`, `unsupported-format`; for JSON files also what [`json::top_keys`] finds.
pub(crate) fn format(source: &dyn Source, name: &str) -> Result<&'static Format, Diagnostic> {
    let extension = Path::new(name)
        .extension()
        .map_or_else(String::new, |e| e.to_string_lossy().to_ascii_lowercase());
    // The reader of text profiles has a word of its own.
    if source.len() == 0 && extension != "txt" {
        return Err(Diagnostic::input("empty-file", "the file is empty"));
    }
    if let Some(error) = foreign::by_extension(&extension) {
        return Err(error);
    }
    let row = match extension.as_str() {
        "onnx" => "onnx",
        "txt" => "pipedream",
        "json" => json_format(source)?,
        _ => by_content(source)?,
    };
    formats().iter().find(|format| format.name == row).ok_or_else(unknown)
}

/// What stands between id and description of a layer in a PipeDream profile.
const BETWEEN: &[u8] = b" -- ";

fn by_content(source: &dyn Source) -> Result<&'static str, Diagnostic> {
    let mut head = [0; 64];
    let n = source.read_at(0, &mut head).map_err(|error| unreadable(&error))?;
    let head = &head[..n];
    if let Some(error) = foreign::by_head(head) {
        return Err(error);
    }
    let text = head.strip_prefix(json::BYTE_ORDER_MARK).unwrap_or(head);
    match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => json_format(source),
        _ if text.windows(BETWEEN.len()).any(|window| window == BETWEEN) => Ok("pipedream"),
        // Field 1 (the IR version), a varint: how every writer begins an ONNX model.
        _ if head.first() == Some(&0x08) => Ok("onnx"),
        _ => Err(unknown()),
    }
}

fn json_format(source: &dyn Source) -> Result<&'static str, Diagnostic> {
    let keys = json::top_keys(source)?;
    let has = |key: &str| keys.contains(key);
    if has("ops") && has("devices") {
        Ok("instance")
    } else if has("model_type") {
        Ok("config")
    } else if has("nodes") && has("maxFPGAs") {
        Ok("dnn-partitioning")
    } else if has("nodes") && has("maxDevices") {
        Ok("piper")
    } else if let Some(error) = foreign::by_keys(&keys) {
        Err(error)
    } else {
        Err(Diagnostic::input(
            "unknown-format",
            "this JSON file is no model config and no instance",
        )
        .hint("a config has `model_type`, an instance `ops` and `devices` (or `nodes` and `maxFPGAs` or `maxDevices`)"))
    }
}

fn unknown() -> Diagnostic {
    let names: Vec<String> = formats().iter().map(|format| format.name.to_owned()).collect();
    Diagnostic::input("unknown-format", "the file has none of the known formats")
        .hint(format!("give a file of one of these formats: {}", names.join(", ")))
        .fact("formats", names)
}
