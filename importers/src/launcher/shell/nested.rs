//! Shells that a script starts: `bash -c ".."`, `ssh host ".."`, here-documents, files that it writes. What double
//! quotes hold is expanded before such a shell starts, which then has the variables that it is given.

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;

use super::batch;
use super::environment::{Environment, Values, environment};
use super::unset::is_rest;
use super::words::requoted;
use super::{Expanded, MARK, MAX_DEPTH, Shell, too_long};

/// Deepest nesting of shells.
const DEEPEST: u32 = 4;
/// What a shell costs beside the bytes of its script, as bytes.
const COST: usize = 256;
/// What a variable costs that a shell gets.
const COST_OF_VALUE: usize = 64;
/// What all of them may cost.
const MOST_SPENT: usize = 8 * super::MAX_BYTES;

/// A script that another one writes.
pub(super) struct Written {
    pub(super) text: String,
    pub(super) is_run: bool,
}

/// Scripts that a script writes.
#[derive(Default)]
pub(super) struct Files {
    pub(super) all: Vec<Written>,
    /// The last of each name.
    by_name: BTreeMap<String, usize>,
}

impl Files {
    /// Takes a here-document; behind another one where it is added to a file.
    pub(super) fn write(&mut self, (name, adds): (Option<&str>, bool), text: String) {
        let before = name.and_then(|name| self.by_name.get(plain(name)).copied());
        if let Some(at) = before.filter(|_| adds) {
            self.all[at].text.push_str(&text);
            return;
        }
        if let Some(name) = name {
            self.by_name.insert(plain(name).to_owned(), self.all.len());
        }
        self.all.push(Written { text, is_run: false });
    }

    /// The script of a name, which runs.
    pub(super) fn run(&mut self, name: &str) -> Option<String> {
        let written = self.all.get_mut(*self.by_name.get(plain(name))?)?;
        written.is_run = true;
        Some(written.text.clone())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(plain(name))
    }
}

/// The name of a file without the folder in which the script runs.
fn plain(name: &str) -> &str {
    name.strip_prefix("./").unwrap_or(name)
}

/// A reference that nobody expands again.
fn marked(reference: &str) -> String {
    let opens = ["$((", "$(", "${", "$"].iter().find(|open| reference.starts_with(**open));
    let (open, rest) = reference.split_at(opens.map_or(0, |open| open.len()));
    format!("{open}{MARK}{rest}")
}

impl Shell {
    /// What a program gets of the word that a text begins with, and the word's bytes.
    pub(super) fn word(&self, text: &str) -> Result<(String, usize), Diagnostic> {
        self.passed(text, false)
    }

    /// The same of a here-document, all of it.
    pub(super) fn document(&self, text: &str) -> Result<String, Diagnostic> {
        Ok(self.passed(text, true)?.0)
    }

    fn passed(&self, text: &str, is_document: bool) -> Result<(String, usize), Diagnostic> {
        let (mut all, mut quote, mut at) = (String::new(), is_document.then_some('"'), 0);
        while let Some(letter) = text[at..].chars().next() {
            let rest = &text[at..];
            let mut length = letter.len_utf8();
            match (letter, quote) {
                ('\'', Some('\'')) => quote = None,
                ('"', Some('"')) if !is_document => quote = None,
                ('"' | '\'', None) => quote = Some(letter),
                ('\\', None | Some('"')) => {
                    let next = rest[1..].chars().next();
                    let is_special = |c: &char| "\\$`".contains(*c) || *c == '"' && !is_document;
                    let taken = next.filter(|c| quote.is_none() || is_special(c));
                    all.push(taken.unwrap_or(letter));
                    length += taken.map_or(0, char::len_utf8);
                }
                ('$', None) if rest.starts_with("$'") => {
                    let (literal, n) = literal(rest);
                    all.push_str(&literal);
                    length = n;
                }
                ('$', None | Some('"')) => {
                    length = self.length(rest);
                    let value = self.value(&rest[..length], MAX_DEPTH)?;
                    all.push_str(&value.unwrap_or_else(|| marked(&rest[..length])));
                }
                (_, None) if letter.is_whitespace() || ";)|&<>".contains(letter) => break,
                _ => all.push(letter),
            }
            at += length;
            if all.len() > super::MAX_BYTES {
                return Err(too_long());
            }
        }
        Ok((all, at))
    }

    /// The words of a command as it gets them.
    pub(super) fn words(&self, words: &[&str]) -> Result<Vec<String>, Diagnostic> {
        let mut all = Vec::new();
        for word in words {
            if word.starts_with('$') || word.contains("[@]") {
                let text = self.expand(word, MAX_DEPTH)?;
                for part in super::quoted(&text) {
                    all.push(part.trim_matches(super::QUOTES).to_owned());
                }
            } else {
                all.push(self.word(word)?.0);
            }
        }
        Ok(all)
    }

    /// What the shell gets that a command starts.
    pub(super) fn environment(&mut self, words: &[&str]) -> Result<Environment, Diagnostic> {
        self.spend(words.iter().map(|word| word.len()).sum())?;
        Ok(environment(self.exports(), &self.words(words)?))
    }

    fn exports(&self) -> Values {
        let of = |(name, is_sure): (&String, &bool)| {
            let value = self.values.get(name).filter(|_| !self.arrays.contains(name))?;
            Some((name.clone(), value.clone().filter(|_| *is_sure)))
        };
        self.exported.iter().filter_map(of).collect()
    }

    /// Runs scripts that nobody is known to run, with what they may get.
    pub(super) fn run_rest(&mut self, expanded: &mut Expanded) -> Result<(), Diagnostic> {
        let all = std::mem::take(&mut self.files.all);
        for written in all.into_iter().filter(|written| !written.is_run) {
            let values = self.exports().into_keys().map(|name| (name, None)).collect();
            let environment = Environment { values, is_open: false };
            self.nested((&written.text, &[]), environment, expanded)?;
        }
        Ok(())
    }

    /// Sets what Slurm sets for a script.
    pub(super) fn begin_batch(&mut self, text: &str) {
        for (name, value) in batch::variables(text) {
            self.exported.insert(name.clone(), true);
            self.values.insert(name, value);
        }
    }

    /// Reads a script in this shell.
    pub(super) fn nested_walk(
        &mut self,
        text: &str,
        runs: Option<bool>,
        expanded: &mut Expanded,
    ) -> Result<(), Diagnostic> {
        self.spend(text.len())?;
        if self.n_nested == DEEPEST {
            return expanded.push(&requoted(text), false);
        }
        self.n_nested += 1;
        let declared = self.declared.take();
        let result = self.walk(text, runs, expanded);
        self.declared = declared;
        self.n_nested -= 1;
        result
    }

    fn spend(&mut self, n_bytes: usize) -> Result<(), Diagnostic> {
        self.spent += COST + n_bytes;
        if self.spent > MOST_SPENT { Err(too_long()) } else { Ok(()) }
    }

    /// Runs a script with arguments in a shell of its own.
    pub(super) fn nested(
        &mut self,
        (text, arguments): (&str, &[&str]),
        environment: Environment,
        expanded: &mut Expanded,
    ) -> Result<(), Diagnostic> {
        let n_values = environment.values.len() + self.maybe.len();
        self.spend(text.len() + COST_OF_VALUE * n_values)?;
        if self.n_nested == DEEPEST {
            return expanded.push(&requoted(text), false);
        }
        let mut inner = Shell {
            exported: environment.values.keys().map(|name| (name.clone(), true)).collect(),
            values: environment.values,
            has_open_values: environment.is_open,
            maybe: self.maybe.clone(),
            files: std::mem::take(&mut self.files),
            n_nested: self.n_nested + 1,
            spent: self.spent,
            ..Shell::default()
        };
        inner.begin_batch(text);
        self.pass_arguments(arguments, &mut inner)?;
        let result = inner.walk(text, Some(true), expanded);
        (self.files, self.spent) = (inner.files, inner.spent);
        result
    }

    /// Gives arguments to another shell, of which the first is its name.
    fn pass_arguments(&self, arguments: &[&str], inner: &mut Shell) -> Result<(), Diagnostic> {
        let is_left = |word: &&str| {
            let is_own = self.has_arguments || self.functions.is_inside() || self.knows("@");
            is_rest(word.trim_matches(super::QUOTES)) && !is_own
        };
        let words: Vec<&str> = arguments.iter().filter(|word| !is_left(word)).copied().collect();
        let words = self.words(&words)?;
        let is_open = words.iter().any(|word| word.contains(['$', '`']));
        inner.has_arguments = words.len() > 1 || is_open;
        let n = words.len().saturating_sub(1);
        let own: Vec<String> = words.iter().skip(1).map(|word| requoted(word)).collect();
        let known = |text: String| Some(text).filter(|_| !is_open);
        inner.set("#", known(n.to_string()));
        for name in ["@", "*"] {
            inner.set(name, known(own.join(" ")));
        }
        let unknown = if is_open { 9 } else { 0 };
        (1..=unknown).for_each(|at: u32| inner.set(&at.to_string(), None));
        for (at, word) in words.iter().enumerate() {
            inner.set(&at.to_string(), known(word.clone()));
        }
        Ok(())
    }
}

/// What `$'..'` means, and its bytes.
fn literal(text: &str) -> (String, usize) {
    let mut letters = text.char_indices().skip(2);
    let mut all = String::new();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\'' => return (all, at + 1),
            '\\' => match letters.next() {
                Some((_, 'n')) => all.push('\n'),
                Some((_, 't')) => all.push('\t'),
                Some((_, other)) => all.push(other),
                None => {}
            },
            _ => all.push(letter),
        }
    }
    (all, text.len())
}
