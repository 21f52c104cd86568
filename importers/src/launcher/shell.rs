//! Variables of shell scripts, put in place of their names: `NAME=value`, arrays, defaults and sums.
//! Branches that the file decides are taken or left; what a script sets in others, or asks of other
//! programs, has no value here.

mod arithmetic;
mod batch;
mod branches;
mod choices;
mod declared;
mod documents;
mod effects;
mod environment;
mod flow;
mod inner;
mod nested;
mod unset;
mod walk;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use ir::diagnostic::Diagnostic;

pub(super) use choices::choices;
use declared::Declared;
use effects::{Change, Functions};
pub(super) use inner::{nesting, unwrapped};
use nested::Files;
pub(super) use unset::{BEHIND_ENDS, UNSET, behind_ends};
use unset::{is_decisive, is_flags};
pub(super) use words::{DECISIVE, is_assignment};
use words::{has_decisive, is_named, requoted};

use super::flags::{QUOTES, quoted, substitution};
use super::limits::MAX_BYTES;

/// Deepest nesting of defaults.
const MAX_DEPTH: u32 = 16;

/// Longest array, in bytes, that may be indexed.
const LONGEST: usize = 4_096;

/// Letters of an array in which its first element mostly ends.
const FEW: usize = 64;

/// Marks a name that no shell expands again.
const MARK: char = '\u{1}';

/// A script with its variables in place.
#[derive(Default)]
pub(super) struct Expanded {
    /// Its words.
    pub(super) text: String,
    /// Variables that stand where flags may, and that it does not set.
    pub(super) unset: Vec<String>,
    /// Variables with decisive flags, set in an undecided branch.
    pub(super) undecided: Vec<String>,
    /// Whether a server is started in an undecided branch.
    pub(super) undecided_servers: bool,
}

impl Expanded {
    /// Adds a word, behind which a line may end; what variables hold is one line.
    fn push(&mut self, word: &str, ends_line: bool) -> Result<(), Diagnostic> {
        let line = word.replace('\n', " ");
        // In a value it begins no comment.
        match word.contains(QUOTES) {
            true => self.text.push_str(&line),
            false => self.text.push_str(&line.replace(" #", " \\#").replace("\t#", "\t\\#")),
        }
        self.text.push(if ends_line { '\n' } else { ' ' });
        if self.text.len() > MAX_BYTES { Err(too_long()) } else { Ok(()) }
    }

    /// Refuses a script with decisive flags in an undecided branch.
    ///
    /// # Errors
    /// `bad-settings`.
    pub(super) fn check(&self) -> Result<(), Diagnostic> {
        let Some(name) = self.undecided.first() else { return Ok(()) };
        let shown: String = name.chars().take(60).collect();
        let message = format!(
            "the script sets the flags of `{shown}` in a branch that the file does not decide"
        );
        Err(Diagnostic::input("bad-settings", message)
            .hint("give the flags as the program gets them, such as `bash -x` prints them"))
    }
}

/// Puts values in place of variables, of which `arguments` are given by their names. Scripts that the script writes
/// and that nobody runs are left out, unless all decisive flags are in them.
///
/// # Errors
/// `file-too-large` where the values are longer than a file of settings may be.
pub(super) fn expanded(text: &str, arguments: &[(String, String)]) -> Result<Expanded, Diagnostic> {
    run(text, arguments, false)
}

/// The same with all scripts that it writes.
///
/// # Errors
/// Those of [`expanded`].
pub(super) fn with_written(text: &str) -> Result<Expanded, Diagnostic> {
    run(text, &[], true)
}

fn run(text: &str, arguments: &[(String, String)], has_all: bool) -> Result<Expanded, Diagnostic> {
    let is_plain = !text.contains(['$', '`'])
        && !["if ", "xargs ", "<<"].iter().any(|word| text.contains(word))
        && !inner::may_nest(text);
    let mut expanded = Expanded::default();
    if is_plain {
        text.clone_into(&mut expanded.text);
        return Ok(expanded);
    }
    let given = arguments.iter().map(|(name, value)| (name.clone(), Some(value.clone())));
    let mut shell = Shell { values: given.collect(), ..Shell::default() };
    shell.begin_batch(text);
    shell.walk(text, Some(true), &mut expanded)?;
    if has_all || !has_decisive(&expanded.text) {
        shell.run_rest(&mut expanded)?;
    }
    expanded.text.retain(|letter| letter != MARK);
    let names = expanded.unset.iter_mut().chain(&mut expanded.undecided);
    names.for_each(|name| name.retain(|letter| letter != MARK));
    Ok(expanded)
}

/// `NAME=value`, or `NAME+=value`.
struct Assigned<'a> {
    name: &'a str,
    value: String,
    adds: bool,
    is_array: bool,
    /// Whether it is known to run.
    is_sure: bool,
    /// Whether it is of one command alone.
    is_own: bool,
}

fn too_long() -> Diagnostic {
    let message = format!("settings whose variables hold more than {MAX_BYTES} bytes");
    Diagnostic::input("file-too-large", message).hint("give the flags alone")
}

#[derive(Default)]
struct Shell {
    /// Values by name; none where what is set is not known.
    values: BTreeMap<String, Option<String>>,
    /// Names of what holds flags which a plan hangs on, in branches that may run.
    maybe: BTreeSet<String>,
    /// Names that functions set.
    of_functions: BTreeSet<String>,
    functions: Functions,
    /// Variables that flags inside functions use.
    used: BTreeSet<String>,
    /// Those of them that get another value after the function, which may be called with it.
    changed_later: Vec<String>,
    /// Whether the script sets its own arguments.
    has_arguments: bool,
    /// Variables that each open subshell `( .. )` sets, with their earlier values.
    of_subshells: Vec<BTreeMap<String, Option<Option<String>>>>,
    /// Names that other programs get, and whether they are known to.
    exported: BTreeMap<String, bool>,
    exports_all: bool,
    /// The `export` or its like around a word.
    declared: Option<Declared>,
    /// Names that get no other value.
    locked: BTreeSet<String>,
    /// Whether patterns match letters of the other case.
    ignores_case: bool,
    /// Names that hold arrays.
    arrays: BTreeSet<String>,
    /// Those of them that `declare -A` makes.
    maps: BTreeSet<String>,
    /// Whether names without a value may have one.
    has_open_values: bool,
    files: Files,
    /// Shells around this one.
    n_nested: u32,
    /// What nested shells cost, in bytes.
    spent: usize,
}

impl Shell {
    fn set(&mut self, name: &str, value: Option<String>) {
        if let Some(declared) = &mut self.declared {
            let before = || self.values.get(name).cloned();
            declared.before.entry(name.to_owned()).or_insert_with(before);
        }
        self.values.insert(name.to_owned(), value);
    }

    /// Takes a value; returns what stays of the words.
    fn assign(&mut self, text: &str, assigned: Assigned<'_>, expanded: &mut Expanded) -> String {
        let Assigned { name, mut value, mut adds, is_array, is_sure, is_own } = assigned;
        self.note_before(name);
        if self.takes_none(name, is_array, adds) {
            return String::new();
        }
        if self.used.contains(name)
            && !self.functions.is_inside()
            && self.value_of(name) != Some(&value)
        {
            self.changed_later.push(name.to_owned());
        }
        if is_named(&value, name) && self.knows(name) {
            // What is made of the old value is not followed.
            if value.contains("--") && DECISIVE.iter().any(|part| value.contains(part)) {
                self.maybe.insert(name.to_owned());
            }
            self.forget(name);
            return String::new();
        }
        let is_other = self.knows(name) && self.value_of(name) != Some(value.as_str());
        let is_in_function = self.functions.is_inside();
        // Functions may be called before or after what stands outside of them, or not.
        let is_elsewhere = is_in_function != self.of_functions.contains(name);
        let is_unsure = is_other && (is_elsewhere || is_in_function);
        if (is_own && is_named(text, name) || is_unsure) && !adds {
            self.forget(name);
            return format!("{name}={}", requoted(&value));
        }
        if is_in_function {
            self.of_functions.insert(name.to_owned());
        }
        // A list that begins with what it was is added to.
        if let Some(more) = self.value_of(name).and_then(|old| value.strip_prefix(old))
            && !(adds || is_sure)
        {
            (value, adds) = (more.to_owned(), true);
        }
        let before = if adds { self.value_of(name).map(str::to_owned) } else { None };
        let is_named = is_named(text, name);
        let is_maybe = !is_sure && is_flags(&value) && is_named;
        let is_decisive = is_maybe && is_decisive(&value);
        if is_maybe && before.is_some() {
            // What may be added is left out, and named.
            let of = if is_decisive { &mut expanded.undecided } else { &mut expanded.unset };
            of.push(format!("{name}+=({})", value.trim()));
            return String::new();
        }
        if is_decisive || is_maybe && self.value_of(name).is_some_and(unset::is_decisive) {
            self.maybe.insert(name.to_owned());
        }
        // What is added to what the file does not state is not stated.
        let is_sure = is_sure && (!adds || before.is_some() || !self.knows(name));
        let value = before.unwrap_or_default() + &value;
        let is_used = is_flags(&value) && is_named;
        let left = (!is_used).then(|| format!("{name}={}", requoted(&value)));
        self.set(name, is_sure.then_some(value));
        left.unwrap_or_default()
    }

    /// Has no value for a name from now on; flags that a plan hangs on and that it had are undecided.
    fn forget(&mut self, name: &str) {
        if self.value_of(name).is_some_and(is_decisive) {
            self.maybe.insert(name.to_owned());
        }
        if self.used.contains(name) && !self.functions.is_inside() {
            self.changed_later.push(name.to_owned());
        }
        self.set(name, None);
    }

    /// Takes a command that changes variables otherwise than by values; returns how many more words it has.
    fn changed(&mut self, text: &str, (words, at): (&[&str], usize), runs: bool) -> Option<usize> {
        self.functions.take(words[at]);
        let is_sure = runs && !self.functions.is_inside();
        let (change, n) = effects::changed(text, (words, at))?;
        match change {
            Change::Unset(names) if is_sure => {
                names.iter().for_each(|name| drop(self.values.remove(*name)));
            }
            Change::Unset(names) | Change::Unknown(names) => {
                names.iter().for_each(|name| self.forget(name));
            }
        }
        Some(n)
    }

    /// Whether a name may have another value than its default.
    fn is_open(&self, name: &str) -> bool {
        let is_argument = name.bytes().all(|byte| byte.is_ascii_digit());
        self.knows(name) || self.has_open_values || is_argument && self.functions.is_inside()
    }

    fn entry(&self, name: &str) -> Option<&Option<String>> {
        let before = self.declared.as_ref().and_then(|declared| declared.before.get(name));
        before.map_or_else(|| self.values.get(name), Option::as_ref)
    }

    fn knows(&self, name: &str) -> bool {
        self.entry(name).is_some()
    }

    fn value_of(&self, name: &str) -> Option<&str> {
        // A script is read as it runs without arguments.
        match self.entry(name) {
            Some(value) => value.as_deref(),
            None => (name == "#").then_some("0"),
        }
    }

    /// A word of a condition with values, empty for an argument of the script.
    fn condition(&self, word: &str) -> String {
        let word = self.expand(word, MAX_DEPTH).unwrap_or_else(|_| word.to_owned());
        let name = word.trim_matches(QUOTES).trim_start_matches(['$', '{']).trim_end_matches('}');
        let is_argument = word.contains('$') && name.parse::<u32>().is_ok_and(|at| at > 0);
        let is_own = self.has_arguments || self.functions.is_inside() || self.knows(name);
        if is_argument && !is_own { "\"\"".to_owned() } else { word }
    }

    /// The value of an assignment, with the elements of an array that stand behind it.
    fn assigned_value(
        &self,
        value: &str,
        words: &[&str],
        at: &mut usize,
    ) -> Result<String, Diagnostic> {
        let Some(first) = value.strip_prefix('(') else {
            let value = self.expand(value, MAX_DEPTH)?;
            return Ok(value.trim_matches(QUOTES).to_owned());
        };
        let closes = |word: &str| word.matches(')').count() > word.matches('(').count();
        let mut all = String::new();
        let mut element = first;
        loop {
            let is_last = closes(element);
            let part = if is_last { element.trim_end_matches([')', ';']) } else { element };
            let value = self.expand(part, MAX_DEPTH)?;
            // What is used without quotes is parted at blanks; quotes may also be around a part of it.
            let quote = value.chars().next().filter(|first| QUOTES.contains(first));
            let inner = quote.and_then(|quote| value[1..].strip_suffix(quote));
            let bare = inner.unwrap_or(&value);
            all.push_str(if is_flags(bare) { bare } else { &value });
            all.push(' ');
            if all.len() > MAX_BYTES {
                return Err(too_long());
            }
            if is_last {
                return Ok(all);
            }
            let Some(next) = words.get(*at) else { return Ok(all) };
            (element, *at) = (next, *at + 1);
        }
    }

    /// A word with values in place of names; names without a value stay.
    fn expand(&self, word: &str, depth: u32) -> Result<String, Diagnostic> {
        let mut all = String::new();
        // A list in quotes is its elements, with or without the end of a command behind it.
        let body = word.trim_end_matches([';', ')']);
        let inner = body.trim_matches('"');
        let is_list = inner == "$@"
            || inner.starts_with("${") && inner.ends_with('}') && inner.contains("[@]");
        let behind = if is_list { &word[body.len()..] } else { "" };
        let mut rest = if is_list { inner } else { word };
        if rest.starts_with('\'') {
            return Ok(rest.to_owned());
        }
        while let Some(at) = rest.find('$') {
            all.push_str(&rest[..at]);
            if rest[..at].ends_with('\\') {
                all.push('$');
                rest = &rest[at + 1..];
                continue;
            }
            let tail = &rest[at..];
            // `$'..'`: what has no escapes stands for itself.
            let literal = tail.strip_prefix("$'").filter(|_| !word.starts_with('"'));
            let literal = literal.and_then(|rest| rest.split_once('\''));
            if let Some((literal, later)) = literal.filter(|(literal, _)| !literal.contains('\\')) {
                all.push_str(&format!("'{literal}'"));
                rest = later;
                continue;
            }
            let length = self.length(tail);
            match self.value(&tail[..length], depth)? {
                Some(value) => all.push_str(&value),
                None => all.push_str(&tail[..length]),
            }
            if all.len() > MAX_BYTES {
                return Err(too_long());
            }
            rest = &tail[length..];
        }
        all.push_str(rest);
        if !behind.is_empty() {
            all.truncate(all.trim_end().len());
        }
        all.push_str(behind);
        Ok(all)
    }

    /// Bytes of the name or substitution that a text begins with.
    fn length(&self, text: &str) -> usize {
        if let Some(length) = substitution(text) {
            return length;
        }
        let is_name = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
        let name = text.bytes().skip(1).take_while(|byte| is_name(*byte)).count();
        let special = text[1..].chars().next().filter(|c| "@*#?!-".contains(*c));
        1 + name.max(special.map_or(0, char::len_utf8))
    }

    /// The value of `$NAME`, `${NAME}`, `${NAME[@]}`, `${NAME:-default}` or `$((sum))`.
    fn value(&self, reference: &str, depth: u32) -> Result<Option<String>, Diagnostic> {
        if let Some(sum) = reference.strip_prefix("$((").and_then(|rest| rest.strip_suffix("))")) {
            if depth == 0 {
                return Ok(None);
            }
            let sum = self.expand(sum, depth - 1)?;
            let of = |name: &str| self.value_of(name).and_then(arithmetic::number);
            return Ok(arithmetic::value(&sum, &of).map(|value| value.to_string()));
        }
        let Some(inner) = reference.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'))
        else {
            return Ok(self.scalar(&reference[1..]));
        };
        let end = inner.find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
        let (name, rest) = inner.split_at(end.unwrap_or(inner.len()));
        if let Some((index, rest)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'))
            && !["@", "*"].contains(&index)
        {
            let element = self.element(name, index, depth)?;
            return match (rest, element) {
                ("", element) => Ok(element.flatten()),
                (_, Some(Some(element))) if !element.is_empty() => Ok(Some(element)),
                (_, Some(None)) if rest.starts_with(":-") && depth > 0 => {
                    Ok(Some(self.expand(&rest[2..], depth - 1)?))
                }
                _ => Ok(None),
            };
        }
        self.substituted((name, rest), depth)
    }

    /// The value of a name; of an array that of its first element.
    fn scalar(&self, name: &str) -> Option<String> {
        let value = self.value_of(name)?;
        if !self.arrays.contains(name) {
            return Some(value.to_owned());
        }
        let words = |n: usize| {
            let end = value.char_indices().nth(n).map_or(value.len(), |(at, _)| at);
            quoted(&value[..end])
        };
        // A word that ends early is whole.
        let few = Some(words(FEW)).filter(|few| few.len() > 1);
        let first = few.unwrap_or_else(|| words(LONGEST)).first().map_or("", |first| *first);
        let first = first.trim_matches(QUOTES);
        // It may be several elements, or have an index.
        (!first.starts_with(['$', '`', '['])).then(|| first.to_owned())
    }

    /// The element of an array by its index or name: `None` where it is not known, `Some(None)` where there is none.
    fn element(
        &self,
        name: &str,
        index: &str,
        depth: u32,
    ) -> Result<Option<Option<String>>, Diagnostic> {
        // Outputs of programs may be several elements.
        let list = self.value_of(name).filter(|list| !list.contains(['$', '`']));
        let Some(list) = list.filter(|list| list.len() < LONGEST && depth > 0) else {
            return Ok(None);
        };
        let words = quoted(list);
        let key = self.expand(index, depth - 1)?;
        let key = key.trim_matches(QUOTES);
        let named = |word: &&&str| word.starts_with('[');
        if words.iter().any(|word| named(&word)) || words.is_empty() {
            let of = |word: &&str| {
                let (own, value) = word.strip_prefix('[')?.split_once("]=")?;
                (own.trim_matches(QUOTES) == key).then(|| value.trim_matches(QUOTES).to_owned())
            };
            let is_known = words.iter().all(|word| named(&word)) && !key.contains('$');
            return Ok(is_known.then(|| words.iter().rev().find_map(of)));
        }
        let of = |name: &str| self.value_of(name).and_then(arithmetic::number);
        let at = arithmetic::value(key, &of).and_then(|at| usize::try_from(at).ok());
        Ok(at.map(|at| words.get(at).map(|word| (*word).to_owned())))
    }

    /// The value of `${NAME}`, `${NAME[@]}`, `${NAME:-default}` and their like, by the name and what is behind it.
    fn substituted(
        &self,
        (name, rest): (&str, &str),
        depth: u32,
    ) -> Result<Option<String>, Diagnostic> {
        let is_whole = rest.starts_with("[@]") || rest.starts_with("[*]");
        let known = match is_whole {
            true => self.value_of(name).map(str::to_owned),
            false => self.scalar(name),
        };
        let rest = if is_whole { &rest[3..] } else { rest };
        if let Some(other) = [":+", "+"].iter().find_map(|mark| rest.strip_prefix(mark)) {
            let is_set = match self.entry(name) {
                Some(value) => {
                    value.as_ref().map(|value| !rest.starts_with(':') || !value.is_empty())
                }
                None => Some(false).filter(|_| !self.has_open_values),
            };
            return Ok(match is_set {
                Some(true) if depth > 0 => Some(self.expand(other, depth - 1)?),
                Some(false) => Some(String::new()),
                _ => None,
            });
        }
        let is_empty = rest.starts_with(':') && known.as_deref() == Some("");
        if rest.starts_with(":?") || rest.starts_with('?') {
            return Ok(known.filter(|_| !is_empty));
        }
        let default = [":-", ":=", "-", "="].iter().find_map(|mark| rest.strip_prefix(mark));
        Ok(match (rest, default) {
            ("", _) => known,
            // What is set in a branch may be set or not.
            (_, Some(default)) if depth > 0 && (!self.is_open(name) || is_empty) => {
                Some(self.expand(default, depth - 1)?.trim_matches(QUOTES).to_owned())
            }
            (_, Some(_)) => known,
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_octal_numbers_and_empty_values_are_read_as_bash_does() {
        // What bash 5.2 prints for each.
        for (script, last) in [
            ("TP=$'4'\na.py --tp $TP", "--tp 4"),
            ("TP=010\na.py --tp $((TP/2))", "--tp 4"),
            ("TP=\"\"\na.py --tp ${TP:-4}", "--tp 4"),
            ("TP=\na.py --tp 2${TP-4}", "--tp 2"),
            ("SP=\na.py ${SP+--tp 4}", "--tp 4"),
            ("SP=\na.py --tp 2${SP:+4}", "--tp 2"),
        ] {
            let text = expanded(script, &[]).unwrap().text;
            assert!(text.trim_end().ends_with(last), "{script}: {text}");
        }
        let parted = expanded("N=\"8 \"\n[ $N = 8 ] && TP=4\na.py --tp $TP", &[]).unwrap();
        assert!(parted.text.trim_end().ends_with("--tp $TP"), "{}", parted.text);
        let added = expanded("echo --tp 4 | xargs torchrun a.py --b 1", &[]).unwrap();
        assert_eq!(added.unset, ["xargs torchrun"]);
        assert!(expanded("ps x | xargs kill", &[]).unwrap().unset.is_empty());
    }

    #[test]
    fn a_value_has_no_comments() {
        let script = "A=\"--b 1 # two\n#--c 3\n--d 4\"\nrun a.py $A # --e 5";
        let expanded = expanded(script, &[]).unwrap();
        assert_eq!(quoted(&expanded.text).last(), Some(&"4"), "{}", expanded.text);
        assert!(!expanded.text.contains("--e"));
    }

    #[test]
    fn what_a_test_decides_is_added_or_left() {
        for (test, more) in [
            ("[ $PP -gt 1 ] &&", true),
            ("[ $PP -gt 4 ] &&", false),
            ("[[ $PP = 1 ]] ||", true),
            ("[ -n \"$PP\" ] && [ $PP -eq 2 ] &&", true),
            ("[ $PP -gt 4 ] && export", false),
        ] {
            let script = format!(
                "PP=2\nA=(--b 1)\n{test} A+=(--layers-per-chunk 4);\nrun a.py \"${{A[@]}}\""
            );
            let expanded = expanded(&script, &[]).unwrap();
            assert_eq!(expanded.text.contains("--layers-per-chunk"), more, "{test}");
            assert!(expanded.text.contains("--b 1") && expanded.check().is_ok(), "{test}");
        }
    }

    #[test]
    fn flags_of_an_undecided_branch_are_named_or_refused() {
        let script = |flags: &str| {
            format!(
                "A=(--b 1)\nif [ -n \"$KEY\" ]; then A=(\"${{A[@]}}\" {flags}); fi\nrun a.py ${{A[@]}}"
            )
        };
        let idle = expanded(&script("--wandb-project x"), &[]).unwrap();
        assert_eq!(idle.unset, ["A+=(--wandb-project x)"]);
        assert!(idle.text.contains("--b 1") && idle.check().is_ok());
        let decisive = expanded(&script("--micro-batch-size 4"), &[]).unwrap();
        assert_eq!(decisive.check().unwrap_err().code, "bad-settings");
        let either = "if [ $K ]; then A=(--fp8 x); else A=(--bf16); fi\nrun a.py ${A[@]}";
        assert_eq!(expanded(either, &[]).unwrap().check().unwrap_err().code, "bad-settings");
    }
}
