//! Names from files, made safe for a terminal.

/// The text with everything that could move the cursor, change colours or reorder what is shown
/// written as `\u{..}`. Everything else stays.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) { safe.extend(c.escape_unicode()) } else { safe.push(c) }
    }
    safe
}

/// JSON text with the same characters written as `\u` and four hex digits: equal JSON, and safe on a terminal.
///
/// A serializer escapes the control characters of ASCII itself; what is left of them in its text
/// is the layout. Everything past ASCII stands within strings.
pub fn json(text: String) -> String {
    const LAST_OF_ASCII: char = '\u{7e}';
    let is_raw = |c: char| c > LAST_OF_ASCII && is_unsafe(c);
    if !text.contains(is_raw) {
        return text;
    }
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_raw(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Control characters, and the invisible ones that reorder or hide text.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::{escape, json};

    #[test]
    fn no_control_character_survives() {
        assert_eq!(escape("a\u{1b}[31mb\n"), "a\\u{1b}[31mb\\u{a}");
        assert_eq!(escape("x\u{202e}y"), "x\\u{202e}y");
        assert_eq!(escape("\u{9b}2J"), "\\u{9b}2J", "the one-byte form of ESC [");
    }

    #[test]
    fn readable_text_stays() {
        assert_eq!(escape("décoder.0/µ 层"), "décoder.0/µ 层");
    }

    #[test]
    fn json_stays_equal() {
        let name = "a\u{9b}b\u{202e}c\u{7f}d\u{e0001}é\n\u{1b}\\u009b";
        let raw = serde_json::to_string_pretty(&[name]).unwrap();
        let safe = json(raw.clone());
        assert!(raw.contains('\u{9b}') && !safe.contains(['\u{9b}', '\u{202e}', '\u{7f}']));
        assert!(safe.contains("\\udb40\\udc01"), "a pair for what has more than 16 bits: {safe}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&safe).unwrap(), [name]);
    }
}
