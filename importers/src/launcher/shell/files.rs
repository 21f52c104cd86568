//! Files that a script writes.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::Shell;
use super::patterns::matches;
use super::values::{Doubt, OPEN, Piece, counted, is_known, pieces, unknown};
use super::words::program;

/// A file with what is written to it; `None` where that is unknown.
#[derive(Default)]
struct Written {
    text: Option<String>,
    is_run: bool,
    /// Whether a launcher may have changed it.
    is_changed: bool,
    /// A script that may have changed it.
    doubt: Option<String>,
}

#[derive(Default)]
pub(super) struct Files(BTreeMap<String, Written>);

/// Letters of a path at most that is looked at as a pattern.
const LONGEST: usize = 1_024;
/// Endings of files that are no scripts.
const OTHERS: [&str; 6] = [".json", ".yaml", ".yml", ".toml", ".py", ".cfg"];

impl Shell<'_> {
    /// The path of a file, from the folder in which the script begins.
    pub(super) fn path(&self, name: &str) -> String {
        let name = counted(name, false);
        let is_rooted = name.starts_with(['/', '~', OPEN]) || self.state.folder.is_empty();
        let all = if is_rooted { name } else { format!("{}/{name}", self.state.folder) };
        let mut parts: Vec<&str> = Vec::new();
        for part in all.split('/').filter(|part| !["", "."].contains(part)) {
            match parts.last() {
                Some(last) if part == ".." && *last != ".." && is_known(last) => drop(parts.pop()),
                _ => parts.push(part),
            }
        }
        let root = if all.starts_with('/') { "/" } else { "" };
        format!("{root}{}", parts.join("/"))
    }

    /// What is in a file, where that is known.
    pub(super) fn read_file(&mut self, name: &str) -> Option<String> {
        let file = self.files.0.get(&self.path(name))?;
        let text = file.text.clone().filter(|_| !file.is_changed)?;
        if let Some(command) = file.doubt.clone() {
            self.note(command);
        }
        Some(text)
    }

    /// `cd`, `pushd` and `popd`.
    pub(super) fn change_folder(&mut self, name: &str, arguments: &[String]) {
        let open = || unknown(Doubt::Name, "$PWD");
        let target = arguments.iter().find(|word| *word == "-" || !word.starts_with('-'));
        let next = match target.map(String::as_str) {
            _ if name == "popd" => Rc::make_mut(&mut self.state.folders).pop().unwrap_or_else(open),
            None if name == "pushd" => open(),
            None => "~".to_owned(),
            Some("-") => self.state.old_folder.clone(),
            Some(target) => self.path(target),
        };
        let next = if next.len() < LONGEST { next } else { open() };
        let old = std::mem::replace(&mut self.state.folder, next);
        if name == "pushd" {
            Rc::make_mut(&mut self.state.folders).push(old.clone());
        }
        self.state.old_folder = old;
    }
}

impl Files {
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Writes a text, behind the one before where it adds; `may` is whether it may not be written.
    pub(super) fn write(&mut self, path: &str, adds: bool, text: String, may: bool) {
        if path.starts_with("/dev/") {
            return;
        }
        let is_new = !self.0.contains_key(path);
        let file = self.0.entry(path.to_owned()).or_default();
        let before = file.text.take().filter(|_| !file.is_changed);
        let text = match (before, adds) {
            (Some(before), true) if !may => Some(before + &text),
            (Some(before), false) if may && before != text => None,
            (None, true) if !is_new => None,
            (Some(_), true) => None,
            _ => Some(text),
        };
        let doubt = file.doubt.take().filter(|_| adds || may);
        *file = Written { text, doubt, ..Written::default() };
    }

    /// A program with a word may have changed the files that the word names, and changes those of this path.
    pub(super) fn change(&mut self, path: &str, word: &str, forgets: bool) {
        let pattern = pattern(path).filter(|_| path.len() < LONGEST);
        let is_text = word.contains(['=', ' ', '(', '\'', '"']);
        for (own, file) in &mut self.0 {
            let is_below = own.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
            let is_matched =
                pattern.as_ref().is_some_and(|pattern| matches(pattern, own, false) != Some(false));
            if own == path || is_below || is_matched || is_text && word.contains(program(own)) {
                file.is_changed = true;
                file.text.take_if(|_| forgets);
            }
        }
    }

    /// A script that is not read may have changed every file.
    pub(super) fn doubt(&mut self, command: &str) {
        for file in self.0.values_mut() {
            file.doubt.get_or_insert_with(|| command.to_owned());
        }
    }

    pub(super) fn is_there(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// The script of a name, which runs.
    pub(super) fn run(&mut self, path: &str) -> Option<String> {
        let file = self.0.get_mut(path)?;
        file.is_run = true;
        file.text.clone().filter(|_| !file.is_changed)
    }

    /// Scripts that nobody is known to run.
    pub(super) fn rest(&self) -> Vec<String> {
        let is_left = |(name, file): &(&String, &Written)| {
            !file.is_run && !OTHERS.iter().any(|end| name.ends_with(end))
        };
        self.0.iter().filter(is_left).filter_map(|(_, file)| file.text.clone()).collect()
    }
}

/// The pattern that a path is with names of files in it; `None` for others.
fn pattern(path: &str) -> Option<String> {
    let mut has_names = false;
    let of = |piece: Piece<'_>| match piece {
        Piece::Unknown { doubt: Doubt::Name, shown, .. } if !shown.starts_with('$') => {
            has_names = true;
            Some(shown.to_owned())
        }
        Piece::Known(text) => Some(text.to_owned()),
        Piece::Unknown { .. } => None,
    };
    let all: Option<String> = pieces(path).into_iter().map(of).collect();
    all.filter(|_| has_names)
}
