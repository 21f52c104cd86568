//! Control flow of a script: groups, loops, subshells, calls of functions and other files.

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;

use super::super::flags::{QUOTES, ends_line};
use super::branches::Branches;
use super::effects::{self, Change};
use super::unset::is_rest;
use super::words::assignment;
use super::{Expanded, MAX_DEPTH, Shell};

/// Programs that start a launcher with the arguments that `xargs` adds.
const STARTS: [&str; 7] =
    ["torchrun", "python", "python3", "deepspeed", "accelerate", "srun", "vllm"];

/// Options of one `shopt` at most that are looked at.
const MOST_OPTIONS: usize = 8;

impl Shell {
    /// Skips a group `{ .. }` after a test that fails or is undecided; variables that an undecided group sets are
    /// unknown.
    pub(super) fn group(&mut self, words: &[&str], runs: Option<bool>) -> usize {
        if runs == Some(true) || words.first() != Some(&"{") {
            return 0;
        }
        let Some(end) = words.iter().position(|word| word.trim_end_matches(';') == "}") else {
            return 0;
        };
        if runs.is_none() {
            let set = words[..end].iter().filter_map(|word| assignment(word.trim_end_matches(';')));
            set.for_each(|(name, _)| self.forget(name));
        }
        end + 1
    }

    /// Takes the first words of a branch or loop. Variables that a condition sets are unknown, and the variable of a
    /// loop, unless the loop runs at most once.
    pub(super) fn note_branch(
        &mut self,
        (word, n): (&str, usize),
        words: &[&str],
        branches: &mut Branches,
    ) -> Result<(), Diagnostic> {
        let set = words[..n].iter().filter_map(|word| assignment(word.trim_end_matches(';')));
        let sums = (0..n).filter(|at| words[*at].starts_with("(("));
        for change in sums.filter_map(|at| effects::changed("", (&words[..n], at))) {
            if let (Change::Unknown(names), _) = change {
                names.iter().for_each(|name| self.forget(name));
            }
        }
        let of_loop = words.first().filter(|_| word == "for");
        set.map(|(name, _)| name).chain(of_loop.copied()).for_each(|name| self.forget(name));
        if of_loop.is_some() && branches.parent_runs() == Some(true) {
            branches.runs_once(self.single(words)?);
        }
        Ok(())
    }

    /// Whether a loop over a single word runs: once, with its variable set, or never; `None` for other loops.
    fn single(&mut self, words: &[&str]) -> Result<Option<bool>, Diagnostic> {
        let [name, "in", list @ ..] = words else { return Ok(None) };
        let n = list.iter().position(|word| word.ends_with(';') || *word == "do");
        let first = list.first().map_or("", |word| word.trim_end_matches(';'));
        let is_one = n == Some(0) || list.get(1).is_some_and(|next| *next == "do");
        let is_left = |word: &&str| ["break", "continue"].contains(&word.trim_end_matches(';'));
        let mut body = list.iter().take_while(|word| word.trim_end_matches(';') != "done");
        if !is_one || body.any(|word| is_left(&word)) {
            return Ok(None);
        }
        if is_rest(first.trim_matches(QUOTES)) && !self.has_arguments && !self.functions.is_inside()
        {
            return Ok(Some(false));
        }
        let value = self.expand(first, MAX_DEPTH)?;
        let value = value.trim_matches(QUOTES);
        let is_word = |c: char| c.is_ascii_alphanumeric() || "._-/+=:,".contains(c);
        if value.is_empty() || !value.chars().all(is_word) || self.functions.is_inside() {
            return Ok(None);
        }
        self.set(name, Some(value.to_owned()));
        Ok(Some(true))
    }

    /// Takes the value of `${NAME:=value}`.
    pub(super) fn take_default(&mut self, word: &str, is_sure: bool) -> Result<(), Diagnostic> {
        let inner = word.trim_end_matches(';').trim_matches(QUOTES);
        let Some(inner) = inner.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else {
            return Ok(());
        };
        let Some((name, value)) = inner.split_once(":=").or_else(|| inner.split_once('=')) else {
            return Ok(());
        };
        let is_name = assignment(&format!("{name}=")).is_some() && !word.starts_with('\'');
        if is_name && !self.is_open(name) {
            self.note_before(name);
            let value = self.expand(value, MAX_DEPTH)?.trim_matches(QUOTES).to_owned();
            self.set(name, Some(value).filter(|_| is_sure && !self.functions.is_inside()));
        }
        Ok(())
    }

    /// Saves the value of a variable that the innermost subshell sets.
    pub(super) fn note_before(&mut self, name: &str) {
        if let Some(before) = self.of_subshells.last_mut() {
            before.entry(name.to_owned()).or_insert_with(|| self.values.get(name).cloned());
        }
    }

    /// Variables that functions set are unknown after a call that may not run.
    pub(super) fn note_call(&mut self, word: &str, runs: bool) {
        if !runs && self.functions.has(word) {
            for name in std::mem::take(&mut self.of_functions) {
                self.forget(&name);
            }
        }
    }

    /// Begins or ends a subshell; at its end its variables get their earlier values again.
    pub(super) fn note_subshell(&mut self, word: &str) {
        if word == "(" {
            self.of_subshells.push(BTreeMap::new());
        } else if word.matches(')').count() > word.matches('(').count()
            && let Some(before) = self.of_subshells.pop()
        {
            for (name, value) in before {
                match value {
                    Some(value) => self.values.insert(name, value),
                    None => self.values.remove(&name),
                };
            }
        }
    }

    /// The arguments of the script are others from now on.
    fn change_arguments(&mut self) {
        let is_of_arguments = |name: &&String| {
            ["@", "*", "#"].contains(&name.as_str()) || name.parse::<u32>().is_ok()
        };
        let names: Vec<String> = self.values.keys().filter(is_of_arguments).cloned().collect();
        names.iter().for_each(|name| self.set(name, None));
        self.has_arguments = true;
    }

    /// Notes a file that the script reads, and that it sets its own arguments.
    pub(super) fn note_source(
        &mut self,
        text: &str,
        (words, at): (&[&str], usize),
        expanded: &mut Expanded,
    ) -> Result<(), Diagnostic> {
        let starts = at == 0
            || ends_line(text, words[at - 1], words[at])
            || ["then", "do", "else", "&&", "||", "{"].contains(&words[at - 1])
            || words[at - 1].ends_with(';');
        let is_all = |option: &&str| option.trim_end_matches(';') == "allexport";
        match (words[at], words.get(at + 1)) {
            ("set", Some(&"--")) => self.change_arguments(),
            ("shift" | "shift;", _) if starts => self.change_arguments(),
            ("shopt", Some(&sign)) => {
                let names = words[at + 1..].iter().take(MOST_OPTIONS);
                if names.into_iter().any(|name| name.trim_end_matches(';') == "nocasematch") {
                    self.ignores_case = sign == "-s";
                }
            }
            ("set", Some(&"-a" | &"-a;" | &"-aeuo")) => self.exports_all = true,
            ("set", Some(&"+a" | &"+a;")) => self.exports_all = false,
            ("set", Some(&sign @ ("-o" | "+o"))) if words.get(at + 2).is_some_and(is_all) => {
                self.exports_all = sign == "-o";
            }
            ("source", Some(file)) | (".", Some(file)) if starts || words[at] != "." => {
                let file = self.expand(file.trim_end_matches(';'), MAX_DEPTH)?;
                expanded.unset.push(format!("source {file}"));
            }
            ("xargs", Some(command)) if STARTS.contains(command) => {
                expanded.unset.push(format!("xargs {command}"));
            }
            (word @ ("eval" | "export" | "declare"), Some(output))
                if output.trim_matches(QUOTES).starts_with(['`', '$']) =>
            {
                let output = self.expand(output, MAX_DEPTH)?;
                if output.trim_matches(QUOTES).starts_with(['`', '$']) {
                    expanded.unset.push(format!("{word} {output}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
