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

/// Whether a value begins with a flag.
pub(super) fn is_flags(value: &str) -> bool {
    value.trim_start_matches([' ', '\t', '\r', '\n', '\\']).starts_with('-')
}

/// Whether a value has flags that change the plan.
pub(super) fn is_decisive(value: &str) -> bool {
    // Servers have short names of degrees: `-tp`, `--dp-size`.
    let is_short = |word: &str| {
        let name = word.trim_start_matches('-').split(['-', '=']).next().unwrap_or_default();
        word.starts_with('-') && ["tp", "pp", "dp", "ep"].contains(&name)
    };
    let is_long = |value: &str| DECISIVE.iter().any(|part| value.contains(part));
    is_flags(value) && (is_long(value) || value.split_whitespace().any(is_short))
        || has_decisive(value)
}

/// Commands that take assignments.
pub(super) const DECLARES: [&str; 5] = ["export", "local", "declare", "readonly", "typeset"];

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

/// How deep substitutions are nested, those that nothing closes included.
pub(crate) fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let after = at.checked_sub(1).map(|at| bytes[at]);
        match byte {
            b'{' | b'(' if after == Some(b'$') || after == Some(b'(') => depth += 1,
            b'}' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}
