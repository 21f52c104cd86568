//! Files that a script writes.

use std::collections::BTreeMap;

/// A file with what is written to it; `None` where that is unknown.
#[derive(Default)]
struct Written {
    text: Option<String>,
    is_run: bool,
}

#[derive(Default)]
pub(super) struct Files(BTreeMap<String, Written>);

/// Endings of files that are no scripts.
const OTHERS: [&str; 6] = [".json", ".yaml", ".yml", ".toml", ".py", ".cfg"];

/// The name of a file without the folder in which the script runs.
fn plain(name: &str) -> &str {
    name.strip_prefix("./").unwrap_or(name)
}

impl Files {
    /// Writes a text, behind the one before where it adds; `may` is whether it may not be written.
    pub(super) fn write(&mut self, name: &str, adds: bool, text: String, may: bool) {
        if name.starts_with("/dev/") {
            return;
        }
        let is_new = !self.0.contains_key(plain(name));
        let file = self.0.entry(plain(name).to_owned()).or_default();
        let before = file.text.take();
        file.text = match (before, adds) {
            (Some(before), true) if !may => Some(before + &text),
            (Some(before), false) if may && before != text => None,
            (None, true) if !is_new => None,
            (Some(_), true) => None,
            _ => Some(text),
        };
        file.is_run = false;
    }

    /// What is in a file is unknown from now on.
    pub(super) fn change(&mut self, name: &str) {
        if let Some(file) = self.0.get_mut(plain(name)) {
            file.text = None;
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.0.get(plain(name)).and_then(|file| file.text.clone())
    }

    pub(super) fn is_there(&self, name: &str) -> bool {
        self.0.contains_key(plain(name))
    }

    /// The script of a name, which runs.
    pub(super) fn run(&mut self, name: &str) -> Option<String> {
        let file = self.0.get_mut(plain(name))?;
        file.is_run = true;
        file.text.clone()
    }

    /// Scripts that nobody is known to run.
    pub(super) fn rest(&self) -> Vec<String> {
        let is_left = |(name, file): &(&String, &Written)| {
            !file.is_run && !OTHERS.iter().any(|end| name.ends_with(end))
        };
        self.0.iter().filter(is_left).filter_map(|(_, file)| file.text.clone()).collect()
    }
}
