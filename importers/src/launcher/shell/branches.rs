//! Branches of a script: which run, as far as the file states what they are asked by. A script is read as
//! it runs without arguments.

use super::super::flags::QUOTES;
use super::effects;

/// Most words of a condition.
const LONGEST: usize = 64;
/// Most bytes of a pattern as a program.
const LARGEST: usize = 1 << 20;

/// What decides whether the words inside run; `None` where the file does not state it.
struct Frame {
    kind: Kind,
    now: Option<bool>,
    /// Whether an earlier branch of it ran.
    before: Option<bool>,
}

#[derive(PartialEq)]
enum Kind {
    If,
    Loop,
    Case(Case),
}

/// A `case`.
#[derive(Default, PartialEq)]
struct Case {
    /// The text that patterns have to match.
    subject: Option<String>,
    /// Whether a pattern is due, and the part of it that was read.
    is_due: bool,
    read: String,
    /// Whether the word before this one ends a command.
    is_end: bool,
    /// Whether the next words may run whatever their pattern is.
    falls: bool,
}

/// The branches around a word.
#[derive(Default)]
pub(super) struct Branches(Vec<Frame>);

impl Branches {
    /// Whether what stands here runs; `None` where it may.
    pub(super) fn runs(&self) -> Option<bool> {
        let skipped = self.0.iter().any(|frame| frame.now == Some(false));
        let sure = self.0.iter().all(|frame| frame.now == Some(true));
        if skipped { Some(false) } else { sure.then_some(true) }
    }

    /// Whether the innermost branch is one of an `if` or a `case`.
    pub(super) fn is_choice(&self) -> bool {
        self.0.last().is_some_and(|frame| frame.kind != Kind::Loop)
    }

    /// The same for everything around the innermost branch or loop.
    pub(super) fn parent_runs(&self) -> Option<bool> {
        let outer = &self.0[..self.0.len().saturating_sub(1)];
        outer.iter().all(|frame| frame.now == Some(true)).then_some(true)
    }

    /// The loop that begins here runs once, or not at all.
    pub(super) fn runs_once(&mut self, runs: Option<bool>) {
        if let Some(frame) = self.0.last_mut() {
            frame.now = runs;
        }
    }

    /// Takes a word that begins, parts or ends branches, with the words behind it; returns how many of
    /// those belong to it. `None` for any other word. `value` puts values in place of variables.
    pub(super) fn take(
        &mut self,
        word: &str,
        rest: &[&str],
        value: &dyn Fn(&str) -> String,
    ) -> Option<usize> {
        if let Some(taken) = self.pattern(word, value) {
            return Some(taken);
        }
        let skips = self.runs() == Some(false);
        match word.trim_end_matches(';') {
            "if" | "while" | "until" | "elif" => {
                let end = if word == "if" || word == "elif" { "then" } else { "do" };
                let condition = rest.iter().take(LONGEST).position(|word| *word == end);
                let found = condition.filter(|_| !skips || word == "elif").map(|n| &rest[..n]);
                let is_true = found.and_then(|words| truth(words, value));
                if word == "elif" {
                    self.next(is_true);
                } else {
                    // A loop that begins may run any number of times.
                    let runs = if word == "if" { is_true } else { is_true.filter(|is| !is) };
                    let kind = if word == "if" { Kind::If } else { Kind::Loop };
                    let now = if word == "until" { None } else { runs };
                    self.0.push(Frame { kind, now, before: is_true });
                }
                Some(condition.map_or(0, |n| n + 1))
            }
            "for" => {
                self.0.push(Frame { kind: Kind::Loop, now: None, before: None });
                Some(0)
            }
            "else" if self.0.last().is_some_and(|frame| frame.kind == Kind::If) => {
                self.next(Some(true));
                Some(0)
            }
            "case" if rest.get(1) == Some(&"in") => {
                let subject = value(rest[0]).trim_matches(QUOTES).to_owned();
                let subject = Some(subject).filter(|text| !text.contains('$') && !skips);
                let kind = Kind::Case(Case { subject, is_due: true, ..Case::default() });
                self.0.push(Frame { kind, now: None, before: Some(false) });
                Some(2)
            }
            "fi" | "done" | "esac" => {
                self.0.pop();
                Some(0)
            }
            _ => None,
        }
    }

    /// The next branch of an `if`: it runs where its condition holds and none before it ran.
    fn next(&mut self, is_true: Option<bool>) {
        let Some(frame) = self.0.last_mut() else { return };
        let (now, before) = match (frame.before, is_true) {
            (Some(true), _) => (Some(false), Some(true)),
            (before, Some(false)) => (Some(false), before),
            (Some(false), is_true) => (is_true, is_true),
            (None, is_true) => (None, is_true.filter(|is| *is)),
        };
        (frame.now, frame.before) = (now, before);
    }

    /// A pattern of a `case`, or the end of what stands behind one.
    fn pattern(&mut self, word: &str, value: &dyn Fn(&str) -> String) -> Option<usize> {
        let frame = self.0.last_mut()?;
        let Kind::Case(case) = &mut frame.kind else { return None };
        let was_end = std::mem::replace(&mut case.is_end, word.ends_with(';'));
        if word.ends_with(";;") {
            case.is_due = true;
            return (word == ";;").then_some(0);
        }
        if word == "&" && was_end {
            // Behind `;;&` patterns are tried again; behind `;&` the next words run without one.
            let tries = case.is_due;
            (case.is_due, case.falls) = (true, !tries);
            (frame.now, frame.before) = match (tries, frame.now) {
                (true, Some(true)) => (frame.now, Some(false)),
                (true, _) => (frame.now, frame.before),
                (false, _) => (None, None),
            };
            return Some(0);
        }
        if !case.is_due || word.trim_end_matches(';') == "esac" {
            return None;
        }
        // Blanks may be around `|`.
        case.read.push_str(word);
        let Some(pattern) = case.read.strip_suffix(')') else { return Some(0) };
        let found = case.subject.as_ref().and_then(|subject| {
            let parts = pattern.trim_start_matches('(').split('|');
            let each = parts.map(|part| matches(value(part).trim_matches(QUOTES), subject));
            each.fold(Some(false), |any, one| match (any, one) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(any), Some(one)) => Some(any || one),
                _ => None,
            })
        });
        let found = found.filter(|_| !std::mem::take(&mut case.falls));
        (case.is_due, case.read) = (false, String::new());
        self.next(found);
        Some(0)
    }
}

/// Whether a text matches a pattern of `case` with `*`, `?` and `[..]`; `None` for a pattern of another kind.
fn matches(pattern: &str, text: &str) -> Option<bool> {
    if pattern.contains(['(', '$', '`', '\\']) {
        return None;
    }
    let mut source = String::from("(?s)^");
    let mut rest = pattern;
    while let Some(next) = rest.chars().next() {
        let bracket = rest.find(']').filter(|end| next == '[' && *end > 1);
        let (one, length) = match (next, bracket) {
            ('*', _) => (".*".to_owned(), 1),
            ('?', _) => (".".to_owned(), 1),
            (_, Some(end)) => (rest[..=end].replacen("[!", "[^", 1), end + 1),
            _ => (regex::escape(&rest[..next.len_utf8()]), next.len_utf8()),
        };
        source.push_str(&one);
        rest = &rest[length..];
    }
    let built = regex::RegexBuilder::new(&format!("{source}$")).size_limit(LARGEST).build();
    built.ok().map(|pattern| pattern.is_match(text))
}

/// A test that decides whether the command behind it runs, `[ a ] && command`: the words of it behind the first one,
/// and whether that command runs; `None` for any other word.
pub(super) fn tested(
    word: &str,
    rest: &[&str],
    value: &dyn Fn(&str) -> String,
) -> Option<(usize, Option<bool>)> {
    let is_sum = word.starts_with("((");
    let closes = |other: &&str| match word {
        "[" => **other == *"]",
        "[[" => **other == *"]]",
        _ => is_sum && ends_sum(other),
    };
    let all = || std::iter::once(word).chain(rest.iter().copied()).take(LONGEST);
    let end = all().position(|word| closes(&word))?;
    let words: Vec<&str> = all().take(end + 1).collect();
    let joins = rest.get(end).filter(|word| ["&&", "||"].contains(word))?;
    // What a sum sets is not followed here.
    if is_sum && effects::sets(&words) {
        return None;
    }
    let is_true = truth(&words, value);
    Some((end + 1, is_true.map(|is_true| is_true == (*joins == "&&"))))
}

fn ends_sum(word: &str) -> bool {
    word.trim_end_matches(';').ends_with("))")
}

/// Whether a condition of tests holds: `[ a = b ]`, `[[ a == b && -n c ]]`, `(( a > b ))`, one by one from the left.
fn truth(words: &[&str], value: &dyn Fn(&str) -> String) -> Option<bool> {
    let is_bracket = |word: &&&str| ["[", "[[", "]", "]]"].contains(&word.trim_end_matches(';'));
    let has_patterns = words.contains(&"[[");
    let mut parts = vec![("&&", Vec::new())];
    let mut is_in_sum = false;
    for word in words.iter().filter(|word| !is_bracket(word)) {
        is_in_sum |= word.starts_with("((");
        match (is_in_sum, *word) {
            (false, "&&" | "||") => parts.push((word, Vec::new())),
            _ => parts.last_mut()?.1.push(*word),
        }
        is_in_sum &= !ends_sum(word);
    }
    let mut all = Some(true);
    for (joins, part) in parts {
        let is_true = test(&part, has_patterns, value);
        all = match (joins, all, is_true) {
            ("&&", Some(false), _) | ("&&", _, Some(false)) => Some(false),
            ("||", Some(true), _) | ("||", _, Some(true)) => Some(true),
            (_, Some(_), Some(is_true)) => Some(is_true),
            _ => None,
        };
    }
    all
}

/// `has_patterns` is whether `*` in it is one for a text, as in `[[`.
fn test(words: &[&str], has_patterns: bool, value: &dyn Fn(&str) -> String) -> Option<bool> {
    if let ["!", rest @ ..] = words {
        return test(rest, has_patterns, value).map(|is_true| !is_true);
    }
    if words.first().is_some_and(|word| word.starts_with("((")) {
        let all = words.join(" ");
        let sum = all.trim_end_matches(';').strip_prefix("((")?.strip_suffix("))")?;
        return value(&format!("$(({sum}))")).parse::<i64>().ok().map(|sum| sum != 0);
    }
    // Names without a value stay as they are.
    let known = |word: &str| {
        let text = value(word);
        let text = text.trim_end_matches(';').trim_matches(QUOTES);
        // Without quotes `[` parts a value at blanks, and `[[` does not.
        let is_parted = !word.starts_with(QUOTES) && text.trim() != text;
        (!text.contains('$') && !is_parted).then(|| text.to_owned())
    };
    match words {
        ["test", rest @ ..] => test(rest, false, value),
        [a, "=" | "==", b] if has_patterns && !b.starts_with(QUOTES) => {
            matches(&known(b)?, &known(a)?)
        }
        [a, "!=", b] if has_patterns && !b.starts_with(QUOTES) => {
            matches(&known(b)?, &known(a)?).map(|is_match| !is_match)
        }
        ["true" | "true;" | ":" | ":;"] => Some(true),
        ["false" | "false;"] => Some(false),
        ["-z", word] => known(word).map(|text| text.is_empty()),
        ["-n", word] => known(word).map(|text| !text.is_empty()),
        [a, "=" | "==", b] if !b.contains(['*', '?']) => Some(known(a)? == known(b)?),
        [a, "!=", b] if !b.contains(['*', '?']) => Some(known(a)? != known(b)?),
        [a, compares, b] => {
            let number = |word: &str| known(word)?.parse::<i64>().ok();
            let (a, b) = (number(a)?, number(b)?);
            Some(match *compares {
                "-eq" => a == b,
                "-ne" => a != b,
                "-gt" => a > b,
                "-ge" => a >= b,
                "-lt" => a < b,
                "-le" => a <= b,
                _ => return None,
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::launcher::shell::expanded;

    #[test]
    fn a_case_takes_the_first_pattern_that_matches() {
        // What bash 5.2 prints for each.
        for (patterns, tp) in [
            ("*70b) TP=4;; *) TP=1;;", "4"),
            ("llama-70?) TP=4;; *) TP=1;;", "4"),
            ("llama-[78]0b) TP=4;; *) TP=1;;", "4"),
            ("llama-[!7]0b) TP=4;; *) TP=1;;", "1"),
            ("8b | llama-70b ) TP=4;; *) TP=1;;", "4"),
            ("( *8b | *.70b ) TP=4 ;; llama* ) TP=2 ;;", "2"),
            ("LLAMA-70B) TP=1;; l*-*b) TP=4;;", "4"),
        ] {
            let script =
                format!("SIZE=llama-70b\ncase $SIZE in {patterns} esac\nrun a.py --tp $TP");
            let expanded = expanded(&script, &[]).unwrap();
            assert!(
                expanded.text.trim_end().ends_with(&format!("--tp {tp}")),
                "{patterns}: {}",
                expanded.text
            );
        }
    }
}
