//! Recipes that a script gives to its launcher as flags.

use std::collections::BTreeMap;

use ir::diagnostic::Diagnostic;
use serde_json::Value;

use super::super::flags::{Flags, QUOTES, not_judged};
use super::super::keys::Keys;
use super::super::programs;
use super::super::shell;

/// Endings of settings files.
const FILES: [&str; 4] = [".yaml", ".yml", ".json", ".toml"];

/// Flags of a program at most that are named.
const MOST_SHOWN: usize = 64;

/// What a script says, with words without a value.
pub(super) struct Command {
    /// Words behind the command's verb.
    pub(super) words: Vec<String>,
    pub(super) unset: Vec<String>,
    /// Devices of `CUDA_VISIBLE_DEVICES`, each of which a launcher gives a process by default.
    pub(super) n_visible: Option<u64>,
}

/// The one command of a script that `starts` takes, by its words from the launcher on; `None` where there is none.
///
/// # Errors
/// `bad-settings` for several, and those of [`shell::expanded`].
pub(super) fn of(
    text: &str,
    (launcher, verb): (&str, &str),
    starts: &dyn Fn(&[&str]) -> bool,
) -> Result<Option<Command>, Diagnostic> {
    if !text.contains(launcher) {
        return Ok(None);
    }
    let expanded = shell::expanded(text, &[])?;
    expanded.check()?;
    let all = programs::commands(&expanded.text);
    let behind = |words: &Vec<&str>| {
        let at = words.iter().position(|word| {
            word.trim_matches(QUOTES).rsplit('/').next().is_some_and(|name| name == launcher)
        })?;
        let own: Vec<String> = words[at + 1..].iter().map(|word| (*word).to_owned()).collect();
        starts(&words[at + 1..]).then_some(own)
    };
    let mut runs: Vec<Vec<String>> = all.iter().filter_map(behind).collect();
    runs.dedup();
    if runs.len() > 1 {
        let message = format!("the script starts {} runs of `{launcher} {verb}`", runs.len());
        return Err(Diagnostic::input("bad-settings", message)
            .hint("give the command of one of them alone"));
    }
    let own = |words: Vec<String>| words.into_iter().skip_while(|word| word == verb).collect();
    let n_visible = Flags::new(&expanded.text).variable("CUDA_VISIBLE_DEVICES").map(|devices| {
        devices.split(',').filter(|device| !device.trim().is_empty()).count() as u64
    });
    let n_visible =
        n_visible.filter(|n| *n > 0 && !expanded.text.contains("CUDA_VISIBLE_DEVICES=$"));
    Ok(runs.pop().map(|words| Command { words: own(words), unset: expanded.unset, n_visible }))
}

/// Refuses settings that a command takes from another file.
pub(super) fn elsewhere(command: &str, word: &str) -> Diagnostic {
    let shown: String = word.chars().take(80).collect();
    let message = format!("`{command} {shown}` takes settings that are not in this file");
    Diagnostic::input("not-judged", message).hint("give that file")
}

/// Flags as the keys of a recipe, the last of equal ones, and the words from the first on that is neither a flag nor a
/// flag's value. `name` gives the key of a flag; `is_switch` is true for flags without a value.
pub(super) fn keys<'a>(
    words: &'a [String],
    name: &dyn Fn(&str) -> String,
    is_switch: &dyn Fn(&str) -> bool,
) -> (Keys, &'a [String]) {
    let (mut values, mut at) = (BTreeMap::new(), 0);
    while let Some(flag) = words.get(at).and_then(|word| word.strip_prefix("--")) {
        at += 1;
        let next = words.get(at).filter(|word| !is_switch(flag) && !word.starts_with("--"));
        let (key, value) = match (flag.split_once('='), next) {
            (Some(both), _) => both,
            (None, Some(next)) => {
                at += 1;
                (flag, next.as_str())
            }
            (None, None) => (flag, "true"),
        };
        values.insert(name(key), Value::from(value.trim_matches(QUOTES)));
    }
    (Keys::of_values(values), &words[at..])
}

/// Refuses unset variables before the program, which may add flags, and settings files among its arguments.
///
/// # Errors
/// `not-judged`.
pub(super) fn check_files(command: &str, words: &[String]) -> Result<(), Diagnostic> {
    let is_program = |word: &&String| word.trim_matches(QUOTES).ends_with(".py");
    let has_program = words.iter().any(|word| is_program(&word));
    let mut before = words.iter().take_while(|word| has_program && !is_program(word));
    if let Some(word) = before.find(|word| word.trim_matches(QUOTES).starts_with(['$', '`'])) {
        return Err(not_judged(&format!("{command} {word}"), "the file does not set it"));
    }
    let is_file = |word: &&String| {
        let word = word.trim_matches(QUOTES);
        FILES.iter().any(|ending| word.ends_with(ending))
    };
    words.iter().find(is_file).map_or(Ok(()), |word| Err(elsewhere(command, word)))
}

/// Notes what the script does not state, and the flags of the program that the command starts.
pub(super) fn not_read(
    (text, command): (&str, &Command),
    rest: &[String],
) -> [(&'static str, Vec<String>); 3] {
    let flags = rest.iter().filter(|word| word.starts_with("--"));
    let flags = flags.map(|word| word.split('=').next().unwrap_or(word).to_owned());
    [
        (shell::UNSET, command.unset.clone()),
        ("these flags go to the training program", flags.take(MOST_SHOWN).collect()),
        (shell::BEHIND_ENDS, shell::behind_ends(text)),
    ]
}
