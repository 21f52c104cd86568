//! Which format a file has: by extension, else by its first bytes; JSON files by their keys.

use std::path::Path;

use ir::diagnostic::Diagnostic;

use crate::format::{Format, Signs, formats};
use crate::source::{self, Source, unreadable};
use crate::{foreign, items, json};

/// Bytes of a text that are looked at for what it is.
const LOOKED_AT: usize = 64 << 10;

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
    let by_extension =
        |format: &&Format| matches!(format.signs, Signs::Head(of, _) if of == extension);
    match formats().iter().find(by_extension) {
        // Text is called `.txt` whatever it holds.
        Some(format) if extension == "txt" => Ok(by_head(source, format)?.unwrap_or(format)),
        Some(format) => Ok(format),
        None if extension == "json" => json_format(source),
        None => by_content(source, name),
    }
}

/// The format of a file, packed or not, that is read item by item.
///
/// # Errors
/// `unreadable-file`.
pub(crate) fn streamed(source: &dyn Source) -> Result<Option<&'static Format>, Diagnostic> {
    let head = source::head(source, items::HEAD)?;
    let text = head.strip_prefix(json::BYTE_ORDER_MARK).unwrap_or(&head);
    if text.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Ok(None);
    }
    let keys = items::keys_of_head(text);
    Ok(formats().iter().find(|format| match format.signs {
        Signs::Stream(all) => all.iter().all(|key| keys.contains(*key)),
        _ => false,
    }))
}

/// The format that a file begins as, where that is another than its extension says.
fn by_head(source: &dyn Source, named: &Format) -> Result<Option<&'static Format>, Diagnostic> {
    let mut head = [0; 64];
    let n = source.read_at(0, &mut head).map_err(|error| unreadable(&error))?;
    let is = |format: &Format| matches!(format.signs, Signs::Head(_, is) if is(&head[..n]));
    Ok(if is(named) { None } else { formats().iter().find(|format| is(format)) })
}

fn by_content(source: &dyn Source, name: &str) -> Result<&'static Format, Diagnostic> {
    let mut head = [0; 64];
    let n = source.read_at(0, &mut head).map_err(|error| unreadable(&error))?;
    let head = &head[..n];
    if let Some(error) = foreign::by_head(head) {
        return Err(error);
    }
    let text = head.strip_prefix(json::BYTE_ORDER_MARK).unwrap_or(head);
    if text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') {
        return json_format(source);
    }
    let by_head = |format: &&Format| matches!(format.signs, Signs::Head(_, is) if is(head));
    if let Some(format) = formats().iter().find(by_head) {
        return Ok(format);
    }
    let mut text = vec![0; LOOKED_AT];
    let n = source.read_at(0, &mut text).map_err(|error| unreadable(&error))?;
    let text = String::from_utf8_lossy(&text[..n]);
    Err(foreign::by_text(name, &text).unwrap_or_else(unknown))
}

fn json_format(source: &dyn Source) -> Result<&'static Format, Diagnostic> {
    let keys = json::top_keys(source)?;
    let named = |format: &Format| match format.signs {
        Signs::Keys(all) | Signs::Stream(all) if all.iter().all(|key| keys.contains(*key)) => {
            all.len()
        }
        _ => 0,
    };
    // Of equal ones the last wins, so they are looked at backwards.
    let best = formats().iter().rev().max_by_key(|format| named(format));
    if let Some(format) = best.filter(|format| named(format) > 0) {
        Ok(format)
    } else if let Some(error) = foreign::by_keys(&keys) {
        Err(error)
    } else {
        let keys: Vec<String> = formats().iter().filter_map(Format::keys).collect();
        let message = "this JSON file has the keys of none of the known formats";
        Err(Diagnostic::input("unknown-format", message)
            .hint(format!("among formats in JSON, {}", keys.join(", "))))
    }
}

fn unknown() -> Diagnostic {
    let names: Vec<String> = formats().iter().map(|format| format.name.to_owned()).collect();
    Diagnostic::input("unknown-format", "the file has none of the known formats")
        .hint(format!("give a file of one of these formats: {}", names.join(", ")))
        .fact("formats", names)
}
