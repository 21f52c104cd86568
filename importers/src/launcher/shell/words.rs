//! Words of a script.

/// What flags are named by that a plan hangs on.
pub(crate) const DECISIVE: [&str; 14] = [
    "parallel",
    "batch",
    "recompute",
    "layer",
    "seq",
    "bf16",
    "fp16",
    "fp8",
    "offload",
    "zero",
    "shard",
    "optimizer",
    "hidden",
    "expert",
];

/// Commands that take assignments.
pub(super) const DECLARES: [&str; 5] = ["export", "local", "declare", "readonly", "typeset"];

/// Words behind which a command begins.
const BEFORE: [&str; 20] = [
    "&&", "||", "|", "|&", "&", ";", ";;", "then", "do", "else", "{", "(", "!", "time", "if",
    "elif", "while", "until", "}", ")",
];

/// Whether a word is `NAME=value`.
pub(crate) fn is_assignment(word: &str) -> bool {
    assignment(word).is_some()
}

/// `NAME=value`.
pub(super) fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let name = name.strip_suffix('+').unwrap_or(name);
    is_name(name).then_some((name, value))
}

pub(super) fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
        && !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether a script names a variable.
pub(super) fn is_named(text: &str, name: &str) -> bool {
    [format!("${name}"), format!("${{{name}")].iter().any(|mark| text.contains(mark))
}

/// A value as one word.
pub(super) fn requoted(value: &str) -> String {
    if value.contains(char::is_whitespace) { format!("\"{value}\"") } else { value.to_owned() }
}

/// Whether a command begins behind a word of the same line.
pub(super) fn is_before_command(word: &str) -> bool {
    word.ends_with(';')
        || BEFORE.contains(&word)
        || word.ends_with("(){")
        || word.ends_with(')') && !word.contains("$(")
}

/// The name of the program that a word is.
pub(super) fn program(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// Whether a text has flags that a plan hangs on.
pub(super) fn has_decisive(text: &str) -> bool {
    let is_decisive =
        |flag: &str| flag.starts_with("--") && DECISIVE.iter().any(|part| flag.contains(part));
    let is_end = |c: char| c.is_whitespace() || "\"'=(".contains(c);
    text.split(is_end).any(is_decisive)
}
