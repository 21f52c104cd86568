//! Recipes that a script gives to its launcher as flags.

use std::fmt::Write as _;

use ir::diagnostic::Diagnostic;
use serde_json::Value;

use super::super::flags::{QUOTES, not_judged};
use super::super::programs;
use super::super::shell;

/// Endings of files that hold settings.
const FILES: [&str; 4] = [".yaml", ".yml", ".json", ".toml"];

/// Flags of a program at most that are named.
const MOST_SHOWN: usize = 64;

/// What a script says, with words without a value.
pub(super) struct Command {
    /// Words behind the command's verb.
    pub(super) words: Vec<String>,
    pub(super) unset: Vec<String>,
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
    let expanded = shell::expanded(&shell::unwrapped(text), &[])?;
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
    Ok(runs.pop().map(|words| Command { words: own(words), unset: expanded.unset }))
}

/// Refuses settings that a command takes from another file.
pub(super) fn elsewhere(command: &str, word: &str) -> Diagnostic {
    let shown: String = word.chars().take(80).collect();
    let message = format!("`{command} {shown}` takes settings that are not in this file");
    Diagnostic::input("not-judged", message).hint("give that file")
}

/// Flags as the keys of a recipe, up to the first word that is neither a flag nor its value, and what stands from
/// there on. `name` gives a flag's key, `is_switch` says that a flag takes no word.
pub(super) fn keys<'a>(
    words: &'a [String],
    name: &dyn Fn(&str) -> String,
    is_switch: &dyn Fn(&str) -> bool,
) -> (String, &'a [String]) {
    let (mut keys, mut at) = (String::new(), 0);
    while let Some(flag) = words.get(at).and_then(|word| word.strip_prefix("--")) {
        at += 1;
        let (key, value) = match flag.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None if is_switch(flag) => (flag, None),
            None => {
                (flag, words.get(at).map(String::as_str).filter(|word| !word.starts_with("--")))
            }
        };
        at += usize::from(value.is_some() && !flag.contains('='));
        let value = value.map_or("true", |value| value.trim_matches(QUOTES));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
        // Words that YAML takes as switches are words here, but for `true` and `false`.
        let is_word = !value.is_empty()
            && value.chars().all(is_plain)
            && !["no", "yes", "on", "off", "n", "y"].contains(&value.to_lowercase().as_str());
        let value = if is_word { value.to_owned() } else { Value::from(value).to_string() };
        // Writing to a string can't fail.
        let _ = writeln!(keys, "{}: {value}", Value::from(name(key)));
    }
    (keys, &words[at..])
}

/// Refuses words without a value before a program, which may be flags, and files of settings among its own words.
///
/// # Errors
/// `not-judged`.
pub(super) fn check_files(command: &str, words: &[String]) -> Result<(), Diagnostic> {
    let is_program = |word: &&String| word.trim_matches(QUOTES).ends_with(".py");
    let has_program = words.iter().any(|word| is_program(&word));
    let mut before = words.iter().take_while(|word| has_program && !is_program(word));
    if let Some(word) = before.find(|word| word.trim_matches(QUOTES).starts_with(['$', '`'])) {
        return Err(not_judged(
            &format!("{command} {word}"),
            "the file does not state what it holds",
        ));
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
        ("the file does not state what they hold", command.unset.clone()),
        ("they are flags of the program that it starts", flags.take(MOST_SHOWN).collect()),
        (shell::BEHIND_ENDS, shell::behind_ends(text)),
    ]
}
