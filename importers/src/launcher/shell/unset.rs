//! Unset variables that may add flags.

use super::super::flags::{QUOTES, ends_line, quoted};
use super::words::{DECISIVE, is_named};
use super::{Expanded, MARK, Shell};

/// The words before the present one.
#[derive(Default)]
pub(super) struct Behind {
    /// Whether a program or a flag does.
    is_command: bool,
    last: String,
}

impl Behind {
    /// Notes the variables of a word, as written in the script and with values.
    pub(super) fn take(
        &mut self,
        shell: &mut Shell,
        (word, written): (&str, &str),
        expanded: &mut Expanded,
    ) {
        if self.is_command {
            shell.note_used(word);
            // A server's first argument is its model.
            let is_value = takes_value(&self.last) || self.last == "serve";
            if !is_value || is_of_flags(written) {
                shell.name_unset(written, expanded);
            }
        }
        self.is_command |= written.ends_with(".py") || written.starts_with("--") || serves(written);
        if !written.is_empty() {
            written.clone_into(&mut self.last);
        }
    }
}

/// Whether a flag may take the word behind it. Switches are known by how they begin.
fn takes_value(word: &str) -> bool {
    const SWITCHES: [&str; 9] = [
        "--use-",
        "--no-",
        "--overlap-",
        "--disable-",
        "--enable-",
        "--bf16",
        "--fp16",
        "--sequence-parallel",
        "--swiglu",
    ];
    let is_switch = SWITCHES.iter().any(|start| word.starts_with(start));
    word.starts_with("--") && !word.contains('=') && !is_switch
}

/// Whether a variable is named after flags: `$EXTRA_ARGS`.
fn is_of_flags(word: &str) -> bool {
    let name = word.to_uppercase();
    ["ARG", "OPT", "FLAG"].iter().any(|part| name.contains(part))
}

pub(super) fn is_flags(value: &str) -> bool {
    value.trim_start_matches([' ', '\t', '\r', '\n', '\\']).starts_with('-')
}

/// Whether a value has flags that change the plan.
pub(super) fn is_decisive(value: &str) -> bool {
    // Servers have short names of degrees: `-tp`, `--dp-size`.
    let is_short = |word: &str| {
        let name = word.trim_start_matches('-').split(['-', '=']).next().unwrap_or_default();
        word.starts_with('-') && ["tp", "pp", "dp", "ep"].contains(&name)
    };
    let is_long = |value: &str| DECISIVE.iter().any(|part| value.contains(part));
    is_flags(value) && (is_long(value) || value.split_whitespace().any(is_short))
}

/// Whether a word is `"$@"` or a slice of it.
pub(super) fn is_rest(word: &str) -> bool {
    ["$@", "$*"].contains(&word) || word.starts_with("${@")
}

impl Shell {
    /// Lists an unset variable that may add flags.
    fn name_unset(&self, word: &str, expanded: &mut Expanded) {
        let name = word.replace(MARK, "");
        let name = name.trim_matches(QUOTES);
        let has_rest = self.has_arguments || self.functions.is_inside();
        // `$!` and its like hold numbers.
        let is_state = name.starts_with("$!") || name.starts_with("$?") || name.starts_with("$$");
        if name.starts_with(['$', '`']) && !is_state && (has_rest || !is_rest(name)) {
            let known =
                self.values.iter().filter(|(_, value)| value.as_deref().is_some_and(is_decisive));
            let mut decisive = self.maybe.iter().chain(known.map(|(known, _)| known));
            let is_maybe = decisive.any(|maybe| is_named(name, maybe));
            let of = if is_maybe { &mut expanded.undecided } else { &mut expanded.unset };
            of.push(name.to_owned());
        }
    }

    /// Notes the variables of a word inside a function.
    pub(super) fn note_used(&mut self, word: &str) {
        if self.functions.is_inside() {
            let parts = word.split('$').skip(1);
            let names = parts.map(|part| {
                let part = part.trim_start_matches('{');
                part.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).next().unwrap_or("")
            });
            self.used.extend(names.filter(|name| !name.is_empty()).map(str::to_owned));
        }
    }
}

/// Programs, beside scripts of Python, that take flags of a launcher.
const PROGRAMS: [&str; 6] = [
    "launch",
    "train",
    "serve",
    "sglang.launch_server",
    "vllm.entrypoints.openai.api_server",
    "torchtitan.train",
];

/// Whether a word is a program that serves.
pub(super) fn serves(word: &str) -> bool {
    PROGRAMS[2..5].contains(&word.trim_matches(QUOTES))
}

/// The warning on words without a value.
pub(crate) const UNSET: &str = "the file does not state what they hold";

/// The warning on flags that [`behind_ends`] finds.
pub(crate) const BEHIND_ENDS: &str = "the shell ends the command before these lines";

/// Flags that begin a line after the end of the program's command, so the shell does not pass them to it.
pub(crate) fn behind_ends(text: &str) -> Vec<String> {
    let words = quoted(text);
    let (mut is_command, mut depth, mut found) = (false, 0_usize, Vec::new());
    for (at, word) in words.iter().enumerate() {
        let begins = at > 0 && ends_line(text, words[at - 1], word);
        let is_flag = word.starts_with("--");
        if begins && is_flag && is_command && depth == 0 {
            found.push(word.split('=').next().unwrap_or(word).chars().take(120).collect());
        }
        is_command &= !begins || is_flag;
        let plain = word.trim_matches(QUOTES);
        is_command |= plain.ends_with(".py") || PROGRAMS.contains(&plain);
        depth = (depth + word.matches('(').count()).saturating_sub(word.matches(')').count());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::behind_ends;

    #[test]
    fn lines_behind_the_end_of_a_command_are_named() {
        for (text, flags) in [
            ("a.py \\\n --b 1 \\\n --c", &[][..]),
            ("a.py \\\n --b 1\n --c=2", &["--c"]),
            ("a.py \\ \n --b 1", &["--b"]),
            ("a.py \\\n #--b 1 \\\n --c", &["--c"]),
            ("a.py \\\n\n --c", &["--c"]),
            ("A=(\n --b 1\n --c\n)\na.py ${A[@]} \\\r\n --d", &[]),
            ("--a 1\n--b 2", &[]),
        ] {
            assert_eq!(behind_ends(text), flags, "{text}");
        }
    }
}
