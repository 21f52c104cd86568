//! Flags with values, as shells and files have them.

use std::cell::RefCell;
use std::collections::BTreeSet;

use ir::diagnostic::Diagnostic;
use ir::nearest::likeness;

use super::limits::{MOST_DEGREE, MOST_SAMPLES, bad};

/// From this likeness on a flag that is not read is a slip of one that is: of 1,500 flags of
/// Megatron-Core 9 come so near to one of ours, each listed there.
const LIKENESS: f64 = 0.7;

/// Flags by name, in order.
pub(super) struct Flags<'a> {
    words: Vec<&'a str>,
    /// Names that were asked for, whether they are there or not.
    asked: RefCell<BTreeSet<String>>,
}

impl<'a> Flags<'a> {
    /// Words between blanks and line ends; `--a=b` is `--a b`; quotes, line continuations and lines
    /// of comment go. What quotes hold is one word, unless it is flags that a variable takes.
    pub(super) fn new(text: &'a str) -> Self {
        let words = quoted(text).into_iter().flat_map(|word| match assigned(word) {
            Some(flags) => quoted(flags),
            None => vec![word],
        });
        let words = words.map(|word| word.trim_end_matches(';').trim_matches(QUOTES));
        let parts = words.flat_map(|word| match word.split_once('=') {
            Some((flag, value)) if flag.starts_with('-') => vec![flag, value.trim_matches(QUOTES)],
            _ => vec![word],
        });
        let words = parts.collect();
        Self { words, asked: RefCell::default() }
    }

    /// A flag with a value that only a switch could have, and the value.
    pub(super) fn stated_switch(&self, others: &[&str]) -> Option<(&'a str, &'a str)> {
        let is_switch = |value: &str| ["true", "false"].contains(&value.to_lowercase().as_str());
        let mut pairs = self.words.windows(2).filter(|pair| pair[0].starts_with("--"));
        let is_stated = |pair: &&[&str]| is_switch(pair[1]) && !others.contains(&pair[0]);
        pairs.find(is_stated).map(|pair| (pair[0], pair[1]))
    }

    /// The value after a flag, the last one where it is repeated.
    ///
    /// # Errors
    /// `bad-settings` for a flag without a value.
    pub(super) fn text(&self, flag: &str) -> Result<Option<&'a str>, Diagnostic> {
        self.asked.borrow_mut().insert(flag.to_owned());
        let Some(at) = self.place(flag) else { return Ok(None) };
        let value = self.words.get(at + 1).filter(|value| !value.starts_with("--"));
        value.map(|value| Some(*value)).ok_or_else(|| bad(flag, "", "give it a value"))
    }

    /// All words after a flag, up to the next flag or subcommand.
    pub(super) fn words(&self, flag: &str) -> Vec<&'a str> {
        self.asked.borrow_mut().insert(flag.to_owned());
        let Some(at) = self.place(flag) else { return Vec::new() };
        let later = self.words.iter().skip(at + 1);
        later.take_while(|word| !word.starts_with("--") && !word.contains(':')).copied().collect()
    }

    /// What stands behind the colon of a subcommand.
    pub(super) fn subcommand(&self, name: &str) -> Option<&'a str> {
        let of = |word: &&'a str| word.strip_prefix(name)?.strip_prefix(':');
        self.words.iter().rev().find_map(of)
    }

    /// Whether somebody asked for a flag.
    pub(super) fn was_read(&self, flag: &str) -> bool {
        self.asked.borrow().contains(flag)
    }

    /// Whether a flag is there; that it is read is not noted.
    pub(super) fn is_there(&self, flag: &str) -> bool {
        self.words.contains(&flag)
    }

    pub(super) fn has(&self, flag: &str) -> bool {
        self.asked.borrow_mut().insert(flag.to_owned());
        self.words.contains(&flag)
    }

    /// A degree or a number of layers, under the last of its names that is there.
    ///
    /// # Errors
    /// `bad-settings` for anything but 1 to [`MOST_DEGREE`].
    pub(super) fn degree(&self, names: &[&str]) -> Result<Option<u32>, Diagnostic> {
        let found = self.last(names, MOST_DEGREE)?;
        Ok(found.and_then(|n| u32::try_from(n).ok()))
    }

    /// A number of samples, or of tokens of one.
    ///
    /// # Errors
    /// `bad-settings` for anything but 1 to [`MOST_SAMPLES`].
    pub(super) fn count(&self, flag: &str) -> Result<Option<u64>, Diagnostic> {
        self.last(&[flag], MOST_SAMPLES)
    }

    /// A number of tokens, of a step at most.
    ///
    /// # Errors
    /// `bad-settings` for anything but 1 to the square of [`MOST_SAMPLES`].
    pub(super) fn tokens(&self, flag: &str) -> Result<Option<u64>, Diagnostic> {
        self.last(&[flag], MOST_SAMPLES * MOST_SAMPLES)
    }

    /// A number under the last of its names that is there, as parsers of arguments take it.
    fn last(&self, names: &[&str], most: u64) -> Result<Option<u64>, Diagnostic> {
        let mut found: Option<(usize, u64)> = None;
        for name in names {
            let Some(text) = self.text(name)? else { continue };
            let number = text.parse::<u64>().ok().filter(|n| (1..=most).contains(n));
            let hint = format!("give a whole number from 1 to {most}");
            let number = number.ok_or_else(|| bad(name, text, &hint))?;
            found = found.max(self.place(name).map(|at| (at, number)));
        }
        Ok(found.map(|(_, number)| number))
    }

    /// Where a flag is, the last one where it is repeated.
    fn place(&self, flag: &str) -> Option<usize> {
        self.words.iter().rposition(|word| *word == flag)
    }

    /// The last of several names that is there.
    pub(super) fn last_of<'n>(&self, names: &[&'n str]) -> Option<&'n str> {
        names.iter().copied().filter(|name| self.is_there(name)).max_by_key(|name| self.place(name))
    }

    /// The value of an environment variable that is set in the text.
    pub(super) fn variable(&self, name: &str) -> Option<&'a str> {
        let of = |word: &&'a str| word.strip_prefix(name)?.strip_prefix('=');
        self.words.iter().rev().find_map(of).map(|value| value.trim_matches(QUOTES))
    }

    /// Refuses flags that change what runs in a way that is not judged.
    ///
    /// # Errors
    /// `not-judged`.
    pub(super) fn refuse(&self, flags: &[(&str, &str)]) -> Result<(), Diagnostic> {
        match flags.iter().find(|(flag, _)| self.has(flag)) {
            None => Ok(()),
            Some((flag, why)) => Err(not_judged(flag, why)),
        }
    }

    /// Flags that nobody asked for, each with the word behind it where that is no flag.
    pub(super) fn unread(&self) -> Vec<(&'a str, Option<&'a str>)> {
        let known = self.asked.borrow();
        let is_flag = |word: &str| {
            let name = word.trim_start_matches('-');
            word.starts_with('-') && name.starts_with(|c: char| c.is_ascii_alphabetic())
        };
        let all = self.words.iter().enumerate().filter(|(_, word)| is_flag(word));
        let unread = all.filter(|(_, word)| !known.contains(**word));
        unread
            .map(|(at, word)| {
                (*word, self.words.get(at + 1).filter(|next| !is_flag(next)).copied())
            })
            .collect()
    }

    /// Names of the flags that nobody asked for. To be called when all flags were asked for.
    pub(super) fn not_planned(&self) -> BTreeSet<String> {
        let unread = self.unread().into_iter().map(|(flag, _)| flag);
        unread.filter(|flag| flag.starts_with("--")).map(shown).collect()
    }

    /// Refuses flags that nobody asked for and that look like one that somebody did, or that begin
    /// with `prefix`, where all such flags are known. Others say nothing about parallelism. To be
    /// called when all flags were asked for.
    ///
    /// # Errors
    /// `unknown-flag`.
    pub(super) fn finish(&self, prefix: &str, others: &[&str]) -> Result<(), Diagnostic> {
        let known = self.asked.borrow();
        for word in self.words.iter().filter(|word| word.starts_with("--") && word.len() > 2) {
            if known.contains(*word) || others.contains(word) {
                continue;
            }
            let shown = shown(word);
            let plain = shown.to_lowercase().replace('_', "-");
            let of = |name: &String| likeness(&plain, &name.replace('_', "-"));
            let scored = known.iter().map(|name| (of(name), name));
            let Some((score, nearest)) = scored.max_by(|a, b| a.0.total_cmp(&b.0)) else {
                continue;
            };
            if score < LIKENESS && (prefix.is_empty() || !word.starts_with(prefix)) {
                continue;
            }
            let message =
                format!("`{shown}` is not among the flags that are read of this launcher");
            let hint = match score < LIKENESS {
                true => "give the launcher's own flags alone".to_owned(),
                false => {
                    format!("the nearest that is read is `{nearest}`; correct it or leave it out")
                }
            };
            return Err(Diagnostic::input("unknown-flag", message).fact("flag", shown).hint(hint));
        }
        Ok(())
    }
}

/// A flag; no name is longer.
fn shown(flag: &str) -> String {
    flag.chars().take(120).collect()
}

/// Farthest that the end of a substitution is looked for, in bytes.
const FARTHEST: usize = 4_096;

pub(super) const QUOTES: [char; 2] = ['"', '\''];

/// A text with one letter replaced in all flag names.
pub(super) fn spelled(text: &str, from: char, to: &str) -> String {
    let word = |word: &str| {
        let begins = |at: &usize| *at == 0 || word[..*at].ends_with(QUOTES);
        let Some(at) = word.find("--").filter(begins) else { return word.to_owned() };
        let (before, flag) = word.split_at(at + 2);
        let end = flag.find('=').unwrap_or(flag.len());
        format!("{before}{}{}", flag[..end].replace(from, to), &flag[end..])
    };
    let line = |line: &str| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Words as a shell parts them, quotes and substitutions and all. A quote that nothing closes is a letter; a word that begins
/// with `#` begins a comment.
pub(super) fn quoted(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '#' {
            rest = rest.split_once('\n').map_or("", |(_, later)| later.trim_start());
            continue;
        }
        let (word, later) = rest.split_at(length(rest));
        words.extend((word != "\\").then_some(word));
        rest = later.trim_start();
    }
    words
}

/// Whether a line of a script ends between two of its words; one that ends with a backslash goes on.
pub(super) fn ends_line(text: &str, before: &str, word: &str) -> bool {
    let offset = |word: &str| (word.as_ptr() as usize).checked_sub(text.as_ptr() as usize);
    let between = offset(before).map(|at| at + before.len()).zip(offset(word));
    let between = between.and_then(|(from, to)| text.get(from..to)).unwrap_or_default();
    let mut lines = between.split('\n').peekable();
    while let Some(line) = lines.next() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let goes_on = line.ends_with('\\') && !line.trim_start().starts_with('#');
        if lines.peek().is_some() && !goes_on {
            return true;
        }
    }
    false
}

/// Bytes of the first word.
fn length(text: &str) -> usize {
    let mut at = 0;
    while let Some(next) = text[at..].chars().next().filter(|next| !next.is_whitespace()) {
        if let Some(length) = substitution(&text[at..]).filter(|_| next == '$') {
            at += length;
            continue;
        }
        let goes_on = text[at + next.len_utf8()..].trim_start_matches('\r').starts_with('\n');
        if next == '\\' && goes_on && at > 0 {
            break;
        }
        at += next.len_utf8();
        if next == ';' && !text[at..].starts_with(';') {
            break;
        }
        let escaped =
            text[at..].chars().next().filter(|after| next == '\\' && QUOTES.contains(after));
        if let Some(escaped) = escaped {
            at += escaped.len_utf8();
            continue;
        }
        let closes = QUOTES.contains(&next).then(|| closing(&text[at..], next)).flatten();
        at += closes.map_or(0, |closes| closes + next.len_utf8());
    }
    at
}

/// What the `#SBATCH` lines of a script say: `sbatch` reads those before its first command.
pub(super) fn batch_lines(script: &str) -> impl Iterator<Item = &str> {
    let is_head = |line: &&str| line.trim().is_empty() || line.trim_start().starts_with('#');
    let head = script.lines().take_while(is_head);
    head.filter_map(|line| line.strip_prefix("#SBATCH"))
}

/// A short flag and the number that sticks to it: `-N2`.
pub(super) fn parted(word: &str) -> Vec<&str> {
    let is_flag = |flag: &str| {
        flag.starts_with('-') && flag[1..].starts_with(|c: char| c.is_ascii_alphabetic())
    };
    match word.is_char_boundary(2) && word.len() > 2 {
        true if is_flag(&word[..2]) && word[2..].bytes().all(|byte| byte.is_ascii_digit()) => {
            vec![&word[..2], &word[2..]]
        }
        _ => vec![word],
    }
}

/// Where a quote closes, which a backslash before it keeps open if it is double.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    text.char_indices().find_map(|(at, letter)| {
        let closes = letter == quote && !is_escaped;
        is_escaped = letter == '\\' && quote == '"' && !is_escaped;
        closes.then_some(at)
    })
}

/// Bytes of the substitution that a text begins with, `$(..)`, `$((..))` or `${..}`; `None` for others.
pub(super) fn substitution(text: &str) -> Option<usize> {
    let (open, close) = match text.as_bytes().get(1)? {
        b'(' => (b'(', b')'),
        b'{' => (b'{', b'}'),
        _ => return None,
    };
    let mut depth = 0u32;
    for (at, byte) in text.bytes().enumerate().skip(1).take(FARTHEST) {
        depth += u32::from(byte == open);
        depth -= u32::from(byte == close);
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}

/// The flags in quotes that a variable of a script takes: `NAME="--a 1"`.
fn assigned(word: &str) -> Option<&str> {
    let (name, value) = word.split_once('=')?;
    let is_name = |c: char| c == '_' || c.is_ascii_alphanumeric();
    let flags = value.strip_prefix(QUOTES)?.strip_suffix(QUOTES)?;
    let is_flags = flags.trim_start_matches([' ', '\t', '\r', '\n', '\\']).starts_with('-');
    (!name.is_empty() && name.chars().all(is_name) && is_flags).then_some(flags)
}

/// A setting that changes what runs in a way that is not judged.
pub(super) fn not_judged(setting: &str, why: &str) -> Diagnostic {
    Diagnostic::input("not-judged", format!("`{setting}` is not judged: {why}"))
        .fact("setting", setting.to_owned())
        .hint("leave it out to judge the run without it")
}
