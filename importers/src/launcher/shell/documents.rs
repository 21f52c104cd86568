//! Here-documents of a script.

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};

use super::super::flags::QUOTES;

/// A here-document.
pub(super) struct Document {
    /// The place of its `<<` in the script without documents.
    pub(super) at: usize,
    /// Whether the shell of the script leaves its variables as they are.
    pub(super) is_quoted: bool,
    pub(super) body: String,
}

/// The `<<` of a line.
pub(super) struct Mark<'a> {
    at: usize,
    end: &'a str,
    is_quoted: bool,
}

/// A script without its here-documents, and those.
pub(super) fn parted(text: &str) -> (Cow<'_, str>, Vec<Document>) {
    if !text.contains("<<") {
        return (Cow::Borrowed(text), Vec::new());
    }
    let (all, found) = without(text, true).or_else(|| without(text, false)).unwrap_or_default();
    (Cow::Owned(all), found)
}

/// `None` where a quote that goes over lines is open at the end.
fn without(text: &str, has_long_quotes: bool) -> Option<(String, Vec<Document>)> {
    let lines: BTreeSet<&str> = text.lines().map(whole).collect();
    let (mut all, mut quote) = (String::new(), None);
    let mut open: VecDeque<(&str, Document)> = VecDeque::new();
    let mut found = Vec::new();
    for line in text.split_inclusive('\n') {
        if let Some((end, document)) = open.front_mut() {
            if whole(line) != *end {
                document.body.push_str(line);
            } else if let Some((_, document)) = open.pop_front() {
                found.push(document);
            }
            continue;
        }
        let start = all.len();
        all.push_str(line);
        if !has_long_quotes {
            quote = None;
        }
        // Without an end line it is no here-document.
        let marks = marks(line, &mut quote).into_iter().filter(|mark| lines.contains(mark.end));
        open.extend(marks.map(|Mark { at, end, is_quoted }| {
            (end, Document { at: start + at, is_quoted, body: String::new() })
        }));
    }
    found.extend(open.into_iter().map(|(_, document)| document));
    (quote.is_none() || !has_long_quotes).then_some((all, found))
}

/// A line that may end a here-document: behind tabs under `<<-`, but not behind spaces.
pub(super) fn whole(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n']).trim_start_matches('\t')
}

/// The here-documents that a line begins. `quote` is the quote that is open before it, and then behind it.
pub(super) fn marks<'a>(line: &'a str, quote: &mut Option<char>) -> Vec<Mark<'a>> {
    let mut found = Vec::new();
    let mut letters = line.char_indices();
    while let Some((at, letter)) = letters.next() {
        match (letter, *quote) {
            ('\\', None | Some('"')) => drop(letters.next()),
            (_, Some(open)) => *quote = Some(open).filter(|open| *open != letter),
            ('"' | '\'', None) => *quote = Some(letter),
            ('#', None) if line[..at].ends_with([' ', '\t']) || at == 0 => break,
            ('<', None) if line[at..].starts_with("<<<") => break,
            ('<', None) if line[at..].starts_with("<<") => {
                letters.next();
                found.extend(mark(line, at));
            }
            _ => {}
        }
    }
    found
}

/// A here-document by its line and the place of its `<<`.
fn mark(line: &str, at: usize) -> Option<Mark<'_>> {
    let rest = line[at + 2..].trim_start_matches('-').trim_start();
    let (end, is_quoted) = match rest.strip_prefix(QUOTES) {
        Some(inner) => (inner.split(QUOTES).next().unwrap_or(inner), true),
        None => {
            let is_end = |c: char| c.is_whitespace() || ";|&<>()".contains(c);
            let word = rest.split(is_end).next().unwrap_or(rest);
            (word.trim_start_matches('\\'), word.starts_with('\\'))
        }
    };
    let is_sum = line[..at].contains("((") || end.starts_with(|c: char| c.is_ascii_digit());
    (!end.is_empty() && !is_sum).then_some(Mark { at, end, is_quoted })
}

/// The end words of the here-documents of a line that no program of these names reads.
pub(super) fn ends<'a>(line: &'a str, readers: &dyn Fn(&str) -> bool) -> Vec<&'a str> {
    let is_read = |mark: &Mark<'_>| {
        line[..mark.at]
            .split_whitespace()
            .any(|word| readers(word.rsplit('/').next().unwrap_or(word)))
    };
    let found = marks(line, &mut None).into_iter().filter(|mark| !is_read(mark));
    found.map(|mark| mark.end).collect()
}
