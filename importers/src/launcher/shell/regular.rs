//! Regular expressions of `grep` and `sed`.

use regex::{Regex, RegexBuilder};

/// Most bytes of a pattern as a program.
const LARGEST: usize = 1 << 20;

/// Whether the longest of what a pattern may find is what it finds.
pub(super) fn exact(pattern: &str) -> bool {
    !(pattern.contains('|') || pattern.contains('?') && pattern.contains('('))
}

/// A pattern of `grep`, or of `grep -E`; `None` for one that is not followed.
pub(super) fn regular(pattern: &str, is_extended: bool) -> Option<Regex> {
    let (mut all, mut rest) = (String::new(), pattern);
    // Whether what is before can be repeated, and whether it is.
    let (mut is_atom, mut is_repeated) = (false, false);
    while let Some(letter) = rest.chars().next() {
        let is_first = all.is_empty() || all.ends_with('(') && !all.ends_with("\\(");
        rest = &rest[letter.len_utf8()..];
        let (sign, is_escaped) = match letter {
            '\\' => {
                let next = rest.chars().next()?;
                rest = &rest[next.len_utf8()..];
                (next, true)
            }
            letter => (letter, false),
        };
        let is_own = "(){}+?|".contains(sign);
        if is_own && is_extended != is_escaped || !is_escaped && sign == '*' {
            match sign {
                '(' => (is_atom, is_repeated) = (false, false),
                ')' => (is_atom, is_repeated) = (true, false),
                '|' => is_atom = false,
                '{' | '}' => return None,
                _ if is_atom && !is_repeated => is_repeated = true,
                '*' if is_first && !is_extended => {
                    all.push_str("\\*");
                    (is_atom, is_repeated) = (true, false);
                    continue;
                }
                _ => return None,
            }
            all.push(sign);
            continue;
        }
        let is_end = rest.is_empty() || rest.starts_with("\\)");
        match sign {
            '^' if !is_escaped && (is_first || is_extended) => all.push('^'),
            '$' if !is_escaped && (is_end || is_extended) => all.push('$'),
            '.' if !is_escaped => all.push('.'),
            '[' if !is_escaped => {
                let (set, later) = set(rest)?;
                all.push_str(&set);
                rest = later;
            }
            sign if is_escaped && sign.is_alphanumeric() => return None,
            sign => all.push_str(&regex::escape(&sign.to_string())),
        }
        (is_atom, is_repeated) = (!all.ends_with('^') && !all.ends_with('$') || is_escaped, false);
    }
    RegexBuilder::new(&all).size_limit(LARGEST).build().ok()
}

/// What is between brackets, and the text behind them.
fn set(text: &str) -> Option<(String, &str)> {
    let (mut all, mut rest) = ("[".to_owned(), text);
    if let Some(later) = rest.strip_prefix('^') {
        all.push('^');
        rest = later;
    }
    let mut is_first = true;
    loop {
        let letter = rest.chars().next()?;
        if letter == ']' && !is_first {
            all.push(']');
            return Some((all, &rest[1..]));
        }
        is_first = false;
        if rest.starts_with("[:") {
            let n = rest.find(":]")? + 2;
            all.push_str(&rest[..n]);
            rest = &rest[n..];
            continue;
        }
        let is_range = letter == '-' && !all.ends_with('[') && !rest[1..].starts_with(']');
        match letter {
            '-' if is_range => all.push('-'),
            letter if letter.is_alphanumeric() => all.push(letter),
            letter => all.extend(['\\', letter]),
        }
        rest = &rest[letter.len_utf8()..];
    }
}
