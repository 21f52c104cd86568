//! Words of a shell.

use crate::json::is_hidden;

/// A word that a shell reads as this text. One with characters that cannot be seen is written as `$'..'`, which
/// bash and zsh read.
#[must_use]
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./:=+-@%#".contains(c);
    if word.contains(is_hidden) {
        let written = |c: char| match c {
            '\'' | '\\' => format!("\\{c}"),
            c if is_hidden(c) => format!("\\U{:08x}", u32::from(c)),
            c => c.to_string(),
        };
        return format!("$'{}'", word.chars().map(written).collect::<String>());
    }
    if !word.is_empty() && !word.starts_with('#') && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Splits a command line that [`quoted`] wrote into words, quotes included.
#[must_use]
pub fn words(line: &str) -> Vec<&str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let separates = |c: char| {
        let is_literal = std::mem::take(&mut is_escaped);
        match c {
            '\\' if !is_literal => is_escaped = true,
            '\'' if !is_literal => is_quoted = !is_quoted,
            _ => {}
        }
        c == ' ' && !is_quoted && !is_literal
    };
    line.split(separates).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_what_was_quoted() {
        let paths = [
            "plan.json",
            "a b",
            "it's",
            "$HOME`id`",
            "a;b&c|d",
            "q\"uote",
            "back\\slash",
            "{a,b}",
            "$'x'",
            "",
            "#x",
            "a#b",
            "~",
            "\u{200b}zero",
            "new\nline",
            "tab\t'\\",
            "模型",
            "-o",
        ];
        for path in paths {
            let line = format!("printf %s {}", quoted(path));
            let said = Command::new("bash").args(["-c", &line]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&said.stdout), path, "{line}");
            assert_eq!(words(&line), ["printf", "%s", &quoted(path)]);
        }
    }
}
