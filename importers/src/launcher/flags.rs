//! Flags with values, as shells and files have them.

use std::str::FromStr;

use ir::diagnostic::Diagnostic;

use super::bad;

/// Flags by name, in order.
pub(super) struct Flags<'a> {
    words: Vec<&'a str>,
}

impl<'a> Flags<'a> {
    /// Words between blanks and line ends; `--a=b` is `--a b`; quotes and line continuations go.
    pub(super) fn new(text: &'a str) -> Self {
        let words = text.split_whitespace().filter(|word| *word != "\\");
        let parts = words.flat_map(|word| match word.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => vec![flag, value],
            _ => vec![word],
        });
        Self { words: parts.map(|word| word.trim_matches(['"', '\''])).collect() }
    }

    /// The value after a flag, the last one where it is repeated.
    pub(super) fn text(&self, flag: &str) -> Option<&'a str> {
        let at = self.words.iter().rposition(|word| *word == flag)?;
        self.words.get(at + 1).copied()
    }

    pub(super) fn has(&self, flag: &str) -> bool {
        self.words.contains(&flag)
    }

    /// A number that is at least 1.
    pub(super) fn count<T: FromStr + PartialOrd + From<u8>>(
        &self,
        flag: &str,
    ) -> Result<Option<T>, Diagnostic> {
        let Some(text) = self.text(flag) else { return Ok(None) };
        match text.parse::<T>() {
            Ok(value) if value >= T::from(1) => Ok(Some(value)),
            _ => Err(bad(flag, text, "give a whole number of at least 1")),
        }
    }

    /// The value of an environment variable that is set in the text.
    pub(super) fn variable(&self, name: &str) -> Option<&'a str> {
        let of = |word: &&'a str| word.strip_prefix(name)?.strip_prefix('=');
        self.words.iter().rev().find_map(of)
    }
}
