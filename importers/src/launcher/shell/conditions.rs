//! Tests: `[ ]` and `[[ ]]`.

use std::collections::BTreeMap;

use super::patterns::matches;
use super::tree::{Part, Test};
use super::values::{Value, derived_flags, is_empty, is_known, known};
use super::{Ran, Shell};

/// Most bytes of a pattern as a program.
const LARGEST: usize = 1 << 20;
/// Words of a test at most.
const MOST_WORDS: usize = 64;
/// Tests of two words.
const UNARY: &str = "abcdefghknoprstuvwxzGLNORS";

fn negated(is_true: Option<bool>) -> Option<bool> {
    is_true.map(|is_true| !is_true)
}

fn both(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn either(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    negated(both(negated(a), negated(b)))
}

impl Shell<'_> {
    /// Whether what `[[ ]]` encloses is true.
    pub(super) fn tested(&mut self, test: &Test) -> Ran<Option<bool>> {
        self.enter()?;
        let is_true = match test {
            Test::Not(test) => negated(self.tested(test)?),
            Test::And(a, b) => match self.tested(a)? {
                Some(false) => Some(false),
                is_true => both(is_true, self.tested(b)?),
            },
            Test::Or(a, b) => match self.tested(a)? {
                Some(true) => Some(true),
                is_true => either(is_true, self.tested(b)?),
            },
            Test::Word(word) => {
                let text = self.text(word)?;
                negated(is_empty(&text))
            }
            Test::Unary(sign, word) => {
                let text = self.text(word)?;
                self.unary(sign, &text)
            }
            Test::Binary(a, sign, b) => {
                let text = self.text(a)?;
                self.binary(&text, sign, b)?
            }
        };
        self.depth -= 1;
        Ok(is_true)
    }

    fn binary(&mut self, a: &str, sign: &str, b: &[Part]) -> Ran<Option<bool>> {
        let ignores_case = self.state.has("nocasematch");
        match sign {
            "=" | "==" | "!=" => {
                let pattern = self.pattern(b)?;
                let both = known(a).zip(known(&pattern));
                let is_match = match both {
                    Some((a, pattern)) => matches(&pattern, &a, ignores_case),
                    // Something, whatever it is, is not empty.
                    None if pattern.is_empty() => is_empty(a),
                    None if a.is_empty() && is_empty(&pattern) == Some(false) => None,
                    None => None,
                };
                Ok(if sign == "!=" { negated(is_match) } else { is_match })
            }
            "=~" => {
                let pattern = self.pattern(b)?;
                Ok(known(a).zip(known(&pattern)).and_then(|(a, pattern)| self.regex(&a, &pattern)))
            }
            "<" | ">" => {
                let b = self.text(b)?;
                Ok(known(a).zip(known(&b)).map(|(a, b)| if sign == "<" { a < b } else { a > b }))
            }
            _ => {
                let b = self.text(b)?;
                let (a, b) = (self.sum(a)?, self.sum(&b)?);
                Ok(a.zip(b).and_then(|(a, b)| compared(a, sign, b)))
            }
        }
    }

    /// Whether a pattern of `=~` is in a text; its groups are set.
    fn regex(&mut self, text: &str, pattern: &str) -> Option<bool> {
        let built = regex::RegexBuilder::new(pattern).size_limit(LARGEST).build().ok()?;
        let found = built.captures(text);
        // Which of several is taken may differ.
        let is_plain = !pattern.contains(['|', '?']) || !pattern.contains('(');
        let groups = found.as_ref().filter(|_| is_plain).map(|found| {
            let group = |at: usize| found.get(at).map_or("", |group| group.as_str()).to_owned();
            (0..found.len()).filter_map(|at| Some((i64::try_from(at).ok()?, group(at)))).collect()
        });
        match (&found, groups) {
            (Some(_), Some(groups)) => self.set("BASH_REMATCH", Value::List(groups)),
            (Some(_), None) => self.forget("BASH_REMATCH"),
            _ => self.set("BASH_REMATCH", Value::List(BTreeMap::new())),
        }
        Some(found.is_some())
    }

    fn unary(&mut self, sign: &str, text: &str) -> Option<bool> {
        match sign {
            "-z" => is_empty(text),
            "-n" => negated(is_empty(text)),
            "-v" => {
                let name = text.split('[').next().unwrap_or(text);
                let is_set = self.state.get(name).map(|variable| variable.value.is_some());
                is_set.filter(|_| is_known(text) && !text.contains('['))
            }
            "-e" | "-f" | "-r" | "-s" if is_known(text) && self.read_file(text).is_some() => {
                Some(true)
            }
            "-e" | "-f" | "-d" | "-r" | "-s" | "-x" | "-w" | "-L" if text.is_empty() => Some(false),
            _ => None,
        }
    }

    /// Whether the words of `[ ]` are true; what is no test is false.
    pub(super) fn test_words(&mut self, words: &[String]) -> Ran<Option<bool>> {
        // A word that is any number of them.
        let is_open =
            words.iter().any(|word| super::values::is_many(word) && known(word).is_none());
        let dropped =
            |word: &&String| !(super::values::is_many(word) && known(word).as_deref() == Some(""));
        let words: Vec<String> = words.iter().filter(dropped).cloned().collect();
        if words.len() > MOST_WORDS {
            return Ok(None);
        }
        self.enter()?;
        let is_true = self.test_parts(&words, is_open)?;
        self.depth -= 1;
        Ok(is_true)
    }

    fn test_parts(&mut self, words: &[String], is_open: bool) -> Ran<Option<bool>> {
        let texts: Vec<&str> = words.iter().map(String::as_str).collect();
        Ok(match texts.as_slice() {
            [] => Some(false),
            // Of four words at most the first decides.
            ["!", second, ..] if texts.len() == 4 || texts.len() == 3 && !is_operator(second) => {
                negated(self.test_parts(&words[1..], is_open)?)
            }
            _ => {
                let mut rest = texts.as_slice();
                let is_true = self.test_any(&mut rest, is_open)?;
                if rest.is_empty() { is_true } else { Some(false).filter(|_| !is_open) }
            }
        })
    }

    /// Tests up to one that is behind no `-o`.
    fn test_any(&mut self, words: &mut &[&str], is_open: bool) -> Ran<Option<bool>> {
        let mut is_true = self.test_all(words, is_open)?;
        while let ["-o", rest @ ..] = *words {
            *words = rest;
            is_true = either(is_true, self.test_all(words, is_open)?);
        }
        Ok(is_true)
    }

    fn test_all(&mut self, words: &mut &[&str], is_open: bool) -> Ran<Option<bool>> {
        let mut is_true = self.test_one(words, is_open)?;
        while let ["-a", rest @ ..] = *words {
            *words = rest;
            is_true = both(is_true, self.test_one(words, is_open)?);
        }
        Ok(is_true)
    }

    fn test_one(&mut self, words: &mut &[&str], is_open: bool) -> Ran<Option<bool>> {
        let is_unary =
            |sign: &str| sign.len() == 2 && sign.starts_with('-') && UNARY.contains(&sign[1..]);
        Ok(match *words {
            [a, sign, b, rest @ ..] if is_operator(sign) => {
                *words = rest;
                // Nothing, or several words, compare in no way.
                if is_open { None } else { self.compare(a, sign, b)? }
            }
            ["!", rest @ ..] if !rest.is_empty() => {
                *words = rest;
                negated(self.test_one(words, is_open)?)
            }
            ["(", rest @ ..] if !rest.is_empty() => {
                *words = rest;
                let is_true = self.test_any(words, is_open)?;
                let [")", rest @ ..] = *words else { return Ok(Some(false)) };
                *words = rest;
                is_true
            }
            [sign, text, rest @ ..] if is_unary(sign) => {
                *words = rest;
                if is_open && *sign == "-n" { None } else { self.unary(sign, text) }
            }
            [text, rest @ ..] => {
                *words = rest;
                negated(is_empty(text)).filter(|is_true| *is_true || !is_open)
            }
            [] => Some(false),
        })
    }

    fn compare(&mut self, a: &str, sign: &str, b: &str) -> Ran<Option<bool>> {
        let texts = known(a).zip(known(b));
        Ok(match sign {
            "=" | "==" | "!=" => {
                let is_same = match texts {
                    Some((a, b)) => Some(a == b),
                    None if a.is_empty() => is_empty(b).filter(|is_empty| !is_empty),
                    None if b.is_empty() => is_empty(a).filter(|is_empty| !is_empty),
                    None => None,
                };
                if sign == "!=" { negated(is_same) } else { is_same }
            }
            "<" | ">" => texts.map(|(a, b)| if sign == "<" { a < b } else { a > b }),
            "-nt" | "-ot" | "-ef" => None,
            _ => texts.and_then(|(a, b)| {
                let number = |text: &str| text.trim().parse::<i64>().ok();
                match (number(&a), number(&b)) {
                    (Some(a), Some(b)) => compared(a, sign, b),
                    // An error.
                    _ => Some(false),
                }
            }),
        })
    }

    /// Has no value for a name from now on.
    pub(super) fn forget(&mut self, name: &str) {
        let text = match self.state.get(name).and_then(|variable| variable.value.clone()) {
            Some(value) => value.elements().join(" "),
            None => String::new(),
        };
        let shown = format!("${}", derived_flags(name));
        self.set_text(name, super::values::derived(&text, &shown));
    }
}

fn is_operator(word: &str) -> bool {
    let signs =
        ["=", "==", "!=", "<", ">", "-eq", "-ne", "-gt", "-ge", "-lt", "-le", "-nt", "-ot", "-ef"];
    signs.contains(&word)
}

fn compared(a: i64, sign: &str, b: i64) -> Option<bool> {
    Some(match sign {
        "-eq" => a == b,
        "-ne" => a != b,
        "-gt" => a > b,
        "-ge" => a >= b,
        "-lt" => a < b,
        "-le" => a <= b,
        _ => return None,
    })
}
