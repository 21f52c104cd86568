//! Commands that a script gives to another shell in quotes: `bash -c "..."`, `eval "..."`.

use std::borrow::Cow;

use super::super::flags::{QUOTES, quoted};
use super::DECISIVE;

/// Deepest nesting of such commands.
const DEEPEST: usize = 4;
/// Programs that give a command in quotes to a shell elsewhere.
const REMOTE: [&str; 5] = ["ssh", "pdsh", "clush", "tmux", "screen"];
/// Words of such a program before the command, at most.
const FARTHEST: usize = 8;
const SHELLS: [&str; 5] = ["sh", "bash", "dash", "zsh", "ksh"];

/// A script with the words of such commands in place of their quotes.
pub(super) fn unwrapped(text: &str) -> Cow<'_, str> {
    let mut all = Cow::Borrowed(text);
    for _ in 0..DEEPEST {
        match once(&all) {
            Some(next) => all = Cow::Owned(next),
            None => break,
        }
    }
    all
}

/// `None` where there is no such command.
fn once(text: &str) -> Option<String> {
    let words = quoted(text);
    let offset = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
    let (mut all, mut end) = (String::new(), 0);
    for (at, word) in words.iter().enumerate() {
        let start = offset(word);
        if let Some(inner) = substituted(word).filter(|_| start >= end) {
            all.extend([&text[end..start], inner]);
            end = start + word.len();
            continue;
        }
        if start < end || !word.starts_with(QUOTES) {
            continue;
        }
        let is_command = word.contains(char::is_whitespace);
        if !(is_given(&words[..at]) || is_command && is_remote(&words[..at])) {
            continue;
        }
        let (inner, length) = string(&text[start..]);
        all.push_str(&text[end..start]);
        all.push_str(&inner);
        end = start + length;
    }
    (end > 0).then(|| all + &text[end..])
}

/// The command whose output a word is, where it has flags that a plan hangs on: `OUT=$(a --b)`.
fn substituted(word: &str) -> Option<&str> {
    let (before, rest) = word.split_once("$(")?;
    let is_whole =
        before.trim_end_matches('"').is_empty() || before.trim_end_matches('"').ends_with('=');
    let inner = rest.trim_end_matches([';', '"']).strip_suffix(')')?;
    let is_decisive =
        |flag: &str| flag.starts_with("--") && DECISIVE.iter().any(|part| flag.contains(part));
    (is_whole && !inner.starts_with('(') && inner.split_whitespace().any(is_decisive))
        .then_some(inner)
}

/// Whether a word behind these, in quotes and of several words, is a command for a shell elsewhere.
fn is_remote(before: &[&str]) -> bool {
    let own = before.iter().rev().take(FARTHEST);
    let mut own =
        own.take_while(|word| !word.ends_with(';') && !["&&", "||", "|", "&"].contains(word));
    own.any(|word| REMOTE.contains(&word.rsplit('/').next().unwrap_or(word)))
}

/// Whether the word behind these is a command for another shell.
fn is_given(before: &[&str]) -> bool {
    let Some((last, before)) = before.split_last() else { return false };
    let is_option = |word: &&&str| word.starts_with('-') && !word.starts_with("--");
    let shell = before.iter().rev().find(|word| !is_option(word));
    let program = shell.map_or("", |word| word.rsplit('/').next().unwrap_or(word));
    *last == "eval" || is_option(&last) && last.ends_with('c') && SHELLS.contains(&program)
}

/// What a string in quotes holds, and its bytes with them; all of it where nothing closes it.
fn string(text: &str) -> (String, usize) {
    let mut letters = text.char_indices();
    let quote = letters.next().map_or('"', |(_, quote)| quote);
    let mut inner = String::new();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' if quote == '"' => match letters.next() {
                Some((_, next @ ('"' | '\\' | '`'))) => inner.push(next),
                Some((_, next)) => inner.extend(['\\', next]),
                None => inner.push('\\'),
            },
            _ if letter == quote => return (inner, at + letter.len_utf8()),
            _ => inner.push(letter),
        }
    }
    (inner, text.len())
}

#[cfg(test)]
mod tests {
    use super::unwrapped;

    #[test]
    fn commands_for_other_shells_are_commands() {
        for (text, inner) in [
            ("srun bash -c \"python a.py --b 1\" x", "srun bash -c python a.py --b 1 x"),
            ("eval 'a \"b c\"'", "eval a \"b c\""),
            ("bash -x -c 'a b'", "bash -x -c a b"),
            ("/bin/sh -lc \"sh -c \\\"a \\$B\\\"\"", "/bin/sh -lc sh -c a \\$B"),
            ("echo \"a --b\"", "echo \"a --b\""),
            ("bash -c \"a", "bash -c a"),
            ("ssh host \"a --b\"", "ssh host a --b"),
            ("OUT=$(a.py --bf16 --b 1); x", "a.py --bf16 --b 1 x"),
            ("OUT=\"$(date --utc)\"", "OUT=\"$(date --utc)\""),
            ("pdsh -w h[1-2] \"cd /w; a --b\"", "pdsh -w h[1-2] cd /w; a --b"),
            ("ssh host; echo \"a --b\"", "ssh host; echo \"a --b\""),
        ] {
            assert_eq!(unwrapped(text), inner);
        }
    }
}
