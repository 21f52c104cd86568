//! Words of a script that change variables otherwise than by `NAME=value` on a line of its own.

use std::collections::BTreeSet;

use super::super::flags::{QUOTES, ends_line};
use super::words::{DECLARES, assignment, is_name};

/// What becomes of variables.
#[derive(Debug, PartialEq)]
pub(super) enum Change<'a> {
    /// They have a value that is not followed.
    Unknown(Vec<&'a str>),
    /// They have none.
    Unset(Vec<&'a str>),
}

/// Words of arithmetic at most.
const LONGEST: usize = 64;

/// What the command that begins with the first of these words changes, and how many of the others are its own:
/// an element of a list, `unset`, arithmetic. `None` for any other command.
pub(super) fn changed<'a>(
    text: &str,
    (words, at): (&[&'a str], usize),
) -> Option<(Change<'a>, usize)> {
    let is_declared = at.checked_sub(1).is_some_and(|at| DECLARES.contains(&words[at]));
    let words = words.get(at..)?;
    let (first, rest) = words.split_first()?;
    if let Some((name, _)) = assignment(first.trim_matches(QUOTES))
        && is_declared
        && first.starts_with(QUOTES)
    {
        return Some((Change::Unknown(vec![name]), 0));
    }
    if let Some((name, index)) = first.split_once('[')
        && let Some((_, value)) = index.split_once(']')
        && is_name(name)
        && value.trim_start_matches('+').starts_with('=')
    {
        return Some((Change::Unknown(vec![name]), 0));
    }
    let on_line =
        |at: &usize| !ends_line(text, words[*at], words[at + 1]) && !words[*at].ends_with(';');
    let n_line = || (0..rest.len()).take_while(on_line).count();
    match *first {
        "unset" => Some((unset(&rest[..n_line()]), n_line())),
        "read" | "mapfile" | "readarray" => {
            let names = rest[..n_line()].iter().map(|word| word.trim_end_matches(';'));
            Some((Change::Unknown(names.filter(|name| is_name(name)).collect()), 0))
        }
        "printf" if rest.first() == Some(&"-v") => {
            Some((Change::Unknown(rest[1..].first().into_iter().copied().collect()), 0))
        }
        "declare" | "local" if rest.first() == Some(&"-n") => {
            let names =
                rest[1..n_line()].iter().flat_map(|word| word.trim_end_matches(';').split('='));
            Some((Change::Unknown(names.filter(|name| is_name(name)).collect()), 0))
        }
        word if word.contains("$((") => {
            let sum = word.split_once("$((").map_or("", |(_, sum)| sum);
            let sum = sum.split("))").next().unwrap_or(sum);
            let own = assignment(word).map(|(name, _)| name);
            arithmetic(&[sum])
                .map(|names| (Change::Unknown(own.into_iter().chain(names).collect()), 0))
        }
        "let" => arithmetic(&rest[..n_line()]).map(|names| (Change::Unknown(names), n_line())),
        word if word.starts_with("((") => {
            let closes = |word: &&str| word.trim_end_matches(';').ends_with("))");
            let n = words.iter().take(LONGEST).position(closes)?;
            arithmetic(&words[..=n]).map(|names| (Change::Unknown(names), n))
        }
        _ => None,
    }
}

/// What `unset` changes: elements of arrays, or whole variables.
fn unset<'a>(words: &[&'a str]) -> Change<'a> {
    let names = words.iter().map(|word| word.trim_end_matches(';'));
    let elements = names.clone().filter_map(|word| word.trim_matches(QUOTES).split_once('['));
    let elements: Vec<&str> = elements.map(|(name, _)| name).collect();
    match elements.is_empty() {
        true => Change::Unset(names.filter(|name| is_name(name)).collect()),
        false => Change::Unknown(elements),
    }
}

/// Whether a sum sets any name.
pub(super) fn sets(words: &[&str]) -> bool {
    let sets = |word: &&str| {
        let bytes = word.as_bytes();
        let is_assignment = |at: usize| {
            let before = at.checked_sub(1).map_or(b' ', |at| bytes[at]);
            bytes[at] == b'=' && !b"=<>!".contains(&before) && bytes.get(at + 1) != Some(&b'=')
        };
        (0..bytes.len()).any(is_assignment) || word.contains("++") || word.contains("--")
    };
    words.iter().any(sets)
}

/// Names in a sum that sets any.
fn arithmetic<'a>(words: &[&'a str]) -> Option<Vec<&'a str>> {
    sets(words).then(|| {
        let parts = words
            .iter()
            .flat_map(|word| word.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()));
        parts.map(|part| part.trim_matches(QUOTES)).filter(|part| is_name(part)).collect()
    })
}

/// Whether the word before one is an assignment, or begins one, of a command that goes on.
pub(super) fn goes_on(text: &str, words: &[&str], at: usize) -> bool {
    let word = words[at - 1];
    let ends = |next: &&str| ends_line(text, word, next);
    assignment(word).is_some()
        && !word.ends_with(';')
        && words.get(at).is_some_and(|next| !ends(next))
        || [":"].iter().chain(&DECLARES).any(|plain| *plain == word.trim_end_matches(';'))
}

/// Whether an assignment, from its word to the one before `next`, is of one command alone: `NAME=value a.py`.
pub(super) fn is_of_command(text: &str, words: &[&str], (at, next): (usize, usize)) -> bool {
    let Some(last) = words.get(next - 1).filter(|last| !last.ends_with(';')) else { return false };
    let mut later = words[next..].iter();
    let mut before = *last;
    let is_followed = loop {
        let Some(word) = later.next().filter(|word| !ends_line(text, before, word)) else {
            break false;
        };
        // In the background it is of a subshell.
        if *word == "&" {
            break true;
        }
        if assignment(word).is_none() {
            let ends = ["&&", "||", "|", "&", ";", ";;", "}", ")", "then", "do", "fi", "done"];
            break !ends.contains(word) && !word.starts_with('#');
        }
        before = word;
        // Elements of an array belong to its assignment.
        let after = |depth: usize, word: &str| {
            (depth + word.matches('(').count()).saturating_sub(word.matches(')').count())
        };
        let mut depth = after(0, word);
        while depth > 0
            && let Some(word) = later.next()
        {
            depth = after(depth, word);
            before = word;
        }
    };
    let earlier =
        (0..at).rev().take(LONGEST).take_while(|at| !ends_line(text, words[*at], words[at + 1]));
    let first = earlier.map(|at| words[at]).find(|word| assignment(word).is_none());
    let is_declared = first.is_some_and(|word| DECLARES.contains(&word) || word.starts_with('-'));
    is_followed && !is_declared
}

/// Whether words are those of a function, which may be called or not.
#[derive(Default)]
pub(super) struct Functions {
    is_due: bool,
    depth: usize,
    /// Their names.
    names: BTreeSet<String>,
    /// Whether the last word was `function`.
    is_named: bool,
}

impl Functions {
    /// Goes on by a word.
    pub(super) fn take(&mut self, word: &str) {
        let plain = word.trim_end_matches(';');
        let opens = plain == "{" || plain.ends_with("(){");
        let name = plain.trim_end_matches('{').trim_end_matches("()");
        let begins = plain.ends_with("()") || plain.ends_with("(){");
        if self.is_named || begins && !name.is_empty() {
            self.names.insert(name.to_owned());
        }
        self.is_named = plain == "function";
        self.is_due |= self.is_named || begins;
        if opens && (self.is_due || self.depth > 0) {
            (self.depth, self.is_due) = (self.depth + 1, false);
        } else if plain == "}" {
            self.depth = self.depth.saturating_sub(1);
        }
    }

    /// Whether a word is the name of one.
    pub(super) fn has(&self, word: &str) -> bool {
        self.names.contains(word)
    }

    pub(super) fn is_inside(&self) -> bool {
        self.depth > 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::flags::quoted;
    use super::*;

    #[test]
    fn changes_of_variables_are_known() {
        let of = |text: &'static str| changed(text, (&quoted(text), 0));
        let unknown = |names: &[&'static str], n| Some((Change::Unknown(names.to_vec()), n));
        for (text, change) in [
            ("P[1]=8", unknown(&["P"], 0)),
            ("P[i+1]+=(x)", unknown(&["P"], 0)),
            ("((TP/=2))", unknown(&["TP"], 0)),
            ("(( TP = PP * 2 )); x", unknown(&["TP", "PP"], 6)),
            ("let TP=2 PP=3\nx", unknown(&["TP", "PP"], 2)),
            ("unset TP PP; x", Some((Change::Unset(vec!["TP", "PP"]), 2))),
            ("read -r TP PP <<< x", unknown(&["TP", "PP", "x"], 0)),
            ("printf -v TP 4", unknown(&["TP"], 0)),
            ("(( TP == 2 ))", None),
            ("TP=2", None),
            ("a[1]", None),
        ] {
            assert_eq!(of(text), change, "{text}");
        }
    }

    #[test]
    fn assignments_before_a_command_are_its_own() {
        let of = |text: &str, at: usize| {
            let words = quoted(text);
            is_of_command(text, &words, (at, at + 1))
        };
        assert!(of("A=1 B=2 true", 0) && of("A=1 B=2 true", 1));
        for text in ["A=1", "A=1; true", "A=1\ntrue", "A=1 && true", "A=1 B=2\ntrue"] {
            assert!(!of(text, 0), "{text}");
        }
        assert!(!of("export A=1 b", 1));
    }
}
