//! Commands that a script runs, as text, with names in place of what is unknown: what may add flags is listed.

use super::super::flags::{QUOTES, ends_line, quoted};
use super::super::limits::MAX_BYTES;
use super::values::{Doubt, Piece, Value, derived_flags, is_known, pieces};
use super::words::has_decisive;
use super::{Ran, Shell, too_long};

/// Variables of programs that are read.
const VARIABLES: [&str; 5] = [
    "CUDA_VISIBLE_DEVICES",
    "VLLM_PP_LAYER_PARTITION",
    "SGLANG_PP_LAYER_PARTITION",
    "NNODES",
    "NPROC_PER_NODE",
];
/// Words that part commands of a text.
const GRAMMAR: [&str; 13] =
    ["then", "do", "else", "fi", "done", "if", "elif", "while", "until", "{", "}", "case", "esac"];
/// The image that starts a server.
const IMAGE: &str = "vllm/vllm-openai";

/// The words before the present one.
#[derive(Default)]
struct Behind {
    /// Whether a program or a flag does.
    is_command: bool,
    last: String,
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

/// A value as one word.
fn requoted(value: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "_-./=:,@%+[]~^{}*?!".contains(c);
    let is_bare = value.chars().all(is_plain) && !value.is_empty() && !GRAMMAR.contains(&value);
    let value = value.replace('\n', " ");
    // Quotes at its ends are letters of it.
    let is_in_quotes = value.starts_with(QUOTES) || value.ends_with(QUOTES);
    let value = if is_in_quotes { value.replace(QUOTES, "\\'") } else { value };
    match (is_bare, value.contains('\''), value.contains('"')) {
        (true, ..) => value,
        (_, false, _) => format!("'{value}'"),
        (_, true, false) => format!("\"{value}\""),
        _ => format!("\"{}\"", value.replace('"', "\\\"")),
    }
}

/// A word with names in place of what is unknown.
fn written(word: &str) -> String {
    if is_known(word) {
        return requoted(word);
    }
    let all = derived_flags(word);
    let has_blanks = |piece: &Piece<'_>| matches!(piece, Piece::Known(text) | Piece::Unknown { doubt: Doubt::Name, shown: text, .. } if text.contains(|c: char| c.is_whitespace() || "'#;|&<>()".contains(c)));
    match pieces(word).iter().any(has_blanks) {
        true => format!("\"{}\"", all.replace(['\n', '"'], " ")),
        false => all,
    }
}

impl Shell<'_> {
    /// Adds a command that runs.
    pub(super) fn emit(&mut self, words: &[String]) -> Ran<()> {
        let shown = derived_flags(&words.join(" "));
        let is_launch =
            has_decisive(&shown) || words.iter().any(|word| serves(word) || word.ends_with(".py"));
        if self.n_substituted > 0 && !has_decisive(&shown) {
            return Ok(());
        }
        // Lines behind the end of a command that has flags are none of it.
        let is_behind =
            words[0].starts_with('-') && self.out.text.lines().last().is_some_and(has_decisive);
        if is_behind && !self.out.text.starts_with('-') {
            return Ok(());
        }
        let wrappers = if is_launch { self.wrappers.clone() } else { Vec::new() };
        let own = VARIABLES.iter().filter_map(|name| {
            let variable = self.state.get(name).filter(|one| one.exported != Some(false))?;
            let Some(Value::Text(value)) = &variable.value else { return None };
            let is_given = words
                .iter()
                .any(|word| word.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')));
            (!is_given).then(|| format!("{name}={value}"))
        });
        let own: Vec<String> = own.collect();
        let mut behind = Behind::default();
        let mut line = Vec::new();
        for word in wrappers.iter().chain(&own).chain(words) {
            let word = self.named(word, &mut behind);
            line.extend(word);
        }
        let servers = words.iter().any(|word| serves(word) || word.starts_with(IMAGE));
        self.out.undecided_servers |= servers && self.n_choices > 0;
        self.out.looped_servers |= servers && self.n_loops > 0;
        self.out.text.push_str(&line.join(" "));
        self.out.text.push('\n');
        if self.out.text.len() > MAX_BYTES { Err(too_long()) } else { Ok(()) }
    }

    /// A word as it is written, with what is unknown of it listed; none where it may be left out.
    fn named(&mut self, word: &str, behind: &mut Behind) -> Option<String> {
        let (mut rest, mut all) = (String::new(), Vec::new());
        for piece in pieces(word) {
            match piece {
                Piece::Unknown { doubt: Doubt::Idle, shown, .. } => {
                    all.push((false, shown.to_owned()));
                }
                Piece::Unknown { doubt, shown, whole, .. } => {
                    let is_decisive = doubt == Doubt::Decisive;
                    if is_decisive {
                        all.push((true, shown.to_owned()));
                    }
                    if !(is_decisive && shown.contains("+=(")) {
                        rest.push_str(whole);
                    }
                }
                Piece::Known(text) => rest.push_str(text),
            }
        }
        let is_left = !is_known(word) && rest.trim().is_empty();
        let text = written(if is_left { "" } else { &rest });
        let name = derived_flags(&rest);
        // A server's first argument is its model.
        let is_value = takes_value(&behind.last) || behind.last == "serve";
        let is_state = ["$!", "$?", "$$"].iter().any(|state| name.starts_with(state));
        if behind.is_command && !is_state && (!is_value || is_of_flags(&name)) {
            let first = pieces(&rest).into_iter().next();
            if matches!(first, Some(Piece::Unknown { doubt: Doubt::Plain | Doubt::Argument, .. })) {
                all.push((false, name.clone()));
            }
        }
        for (is_decisive, shown) in all {
            let list = if is_decisive { &mut self.out.undecided } else { &mut self.out.unset };
            if !list.contains(&shown) {
                list.push(shown);
            }
        }
        behind.is_command |= word.ends_with(".py") || word.starts_with("--") || serves(word);
        if is_left {
            return None;
        }
        behind.last = name;
        Some(text)
    }

    /// Assignments of flags, where a script has nothing else.
    pub(super) fn excerpt(&self) -> String {
        let mut all = String::new();
        for (name, variable) in self.state.variables.iter() {
            let elements = variable.value.as_ref().map(Value::elements).unwrap_or_default();
            let words: Vec<String> = elements.iter().map(|one| derived_flags(one)).collect();
            let text = words.join(" ").replace(['\n', '"'], " ");
            all.push_str(&format!("{name}=\"{text}\"\n"));
        }
        all
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
