//! JSON text of documents.

use ir::diagnostic::{Blame, Diagnostic};
use serde::{Deserialize, Serialize};

/// Indented JSON with a final newline, hidden characters escaped.
///
/// # Errors
/// `internal` where a value has no JSON form; no document holds one.
pub fn pretty(document: &impl Serialize) -> Result<String, Diagnostic> {
    finished(serde_json::to_string_pretty(document))
}

/// As [`pretty`], on one line.
///
/// # Errors
/// As [`pretty`].
pub fn line(document: &impl Serialize) -> Result<String, Diagnostic> {
    finished(serde_json::to_string(document))
}

fn finished(text: serde_json::Result<String>) -> Result<String, Diagnostic> {
    text.map(|text| escaped(text + "\n")).map_err(|error| {
        Diagnostic::error(
            Blame::Internal,
            "internal",
            format!("a document has no JSON form: {error}"),
        )
    })
}

/// Reads a typed document; an error names the member, such as `edges[3].bytes`.
///
/// # Errors
/// The reader's error, converted by `tell`.
pub fn read<'de, T: Deserialize<'de>>(
    text: &'de [u8],
    tell: impl Fn(&serde_json::Error) -> Diagnostic,
) -> Result<T, Diagnostic> {
    serde_json::from_slice(text).map_err(|error| match member::<T>(text, &error) {
        Some(member) => tell(&error).fact("member", member),
        None => tell(&error),
    })
}

/// The member at which reading a type failed; `None` where that is the whole text, or the text no JSON.
fn member<'de, T: Deserialize<'de>>(text: &'de [u8], failed: &serde_json::Error) -> Option<String> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let error = serde_path_to_error::deserialize::<_, T>(&mut reader).err()?;
    let path = error.path().to_string();
    let is_told = failed.is_data() && error.inner().to_string() == failed.to_string();
    // A `?` stands for what that reader could not follow.
    Some(path).filter(|path| is_told && path != "." && !path.contains('?'))
}

/// What is wrong in words of JSON, without the position.
#[must_use]
pub fn reason(error: &serde_json::Error) -> String {
    let full = error.to_string();
    let what = full.rsplit_once(" at line ").map_or(full.as_str(), |parts| parts.0);
    if what == "expected value" || what.starts_with("data did not match any variant") {
        return "a value of another kind belongs here".to_owned();
    }
    let Some((found, expected)) = what.rsplit_once(", expected ") else {
        return what.to_owned();
    };
    let expected = match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" | "i32" | "i64" => "a whole number from 0 up",
        "f32" | "f64" => "a number",
        "a sequence" => "a list",
        kind if kind.starts_with("struct ") || kind == "a map" => "an object",
        other => other,
    };
    let found = match found {
        "invalid type: sequence" => "invalid type: list",
        "invalid type: map" => "invalid type: object",
        other => other,
    };
    format!("{found}, expected {expected}")
}

/// Whether a character is unseen where text is shown, or changes how text around it is shown:
/// control characters (of C0, with the line feed, and C1), marks and overrides of writing
/// direction, line and paragraph separators and the byte-order mark.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// JSON text with every hidden character written as `\u` and four hex digits. Outside of strings JSON has no
/// hidden characters but white space, which stays.
#[must_use]
pub fn escaped(text: String) -> String {
    let escapes = |c: char| is_hidden(c) && !matches!(c, '\n' | '\r' | '\t');
    if !text.contains(escapes) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 64);
    for c in text.chars() {
        if escapes(c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_in_words_of_json_and_by_member() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Own {
            #[serde(rename = "edges")]
            _edges: Vec<Vec<u64>>,
        }
        let fault = |text: &str| {
            let error = serde_json::from_str::<Own>(text).unwrap_err();
            (reason(&error), member::<Own>(text.as_bytes(), &error).unwrap_or_default())
        };
        let (why, at) = fault(r#"{"edges": [[], [1, {}]]}"#);
        assert_eq!(
            (why.as_str(), at.as_str()),
            ("invalid type: object, expected a whole number from 0 up", "edges[1][1]")
        );
        // Words of the text stay as they are.
        let (why, at) = fault(r#"{"edges": ["a sequence of map at line 3, expected u64"]}"#);
        assert_eq!(at, "edges[0]");
        let words = r#""a sequence of map at line 3, expected u64", expected a list"#;
        assert_eq!(why, format!("invalid type: string {words}"));
        assert!(fault(r#"{"bitmap": 1}"#).0.contains("`bitmap`"));
        // What is no JSON has no member.
        assert_eq!(fault(r#"{"edges": [[1, ?]]}"#).1, "");
        assert_eq!(fault("[").1, "");
    }

    #[test]
    fn hidden_characters_are_escaped_and_come_back() {
        let name = "a\u{202e}b\u{85}c\u{7f}\u{2066}\u{feff}\u{1}\n\u{e9}\u{4e2d}";
        let text = pretty(&[name]).unwrap();
        assert_eq!(text.chars().filter(|c| is_hidden(*c)).collect::<String>(), "\n\n\n");
        assert!(text.contains("\\u202e") && text.contains("\\u0085") && text.contains('\u{e9}'));
        assert_eq!(serde_json::from_str::<Vec<String>>(&text).unwrap(), [name]);
    }
}
