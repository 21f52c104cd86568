//! Errors that say where in the text they are.

use ir::diagnostic::Diagnostic;

/// Where to get such a text from.
pub(super) const AGAIN: &str =
    "print the program again: jax.jit(f).lower(shapes).as_text(debug_info=True)";

/// An error at a byte of the text, with its line and column, both from 1.
pub(super) fn fault(
    text: &[u8],
    at: usize,
    code: &'static str,
    message: impl Into<String>,
) -> Diagnostic {
    let before = &text[..at.min(text.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
    Diagnostic::input(code, format!("line {line}, column {column}: {}", message.into()))
        .fact("line", line)
        .fact("column", column)
}

/// Text for a message: no control characters, and not too much of it.
pub(super) fn shown(text: &[u8]) -> String {
    const MOST: usize = 60;
    let text = String::from_utf8_lossy(text);
    let plain: String =
        text.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MOST).is_some() { format!("{plain}...") } else { plain }
}
