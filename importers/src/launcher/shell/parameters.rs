//! Parameters of words with their values: `$name`, `${name:-word}`, `${name##pattern}`.

use std::collections::BTreeMap;

use super::patterns::{STEPS, lengths, reversed};
use super::tree::{Index, Operation, Parameter, Part};
use super::values::{
    Doubt, Value, counted, derived, derived_flags, is_empty, is_known, is_many, known, unknown,
};
use super::{Ran, Shell};

/// Letters of a text at most in which patterns are looked for.
const LONGEST: usize = 4_096;

/// Variables that a shell or its system sets.
const OF_SHELL: [&str; 26] = [
    "HOME",
    "USER",
    "LOGNAME",
    "PATH",
    "PWD",
    "OLDPWD",
    "SHELL",
    "SHLVL",
    "PPID",
    "UID",
    "EUID",
    "BASH",
    "BASHPID",
    "BASH_VERSION",
    "BASH_SOURCE",
    "BASH_VERSINFO",
    "FUNCNAME",
    "HOSTNAME",
    "HOSTTYPE",
    "MACHTYPE",
    "OSTYPE",
    "RANDOM",
    "SECONDS",
    "LINENO",
    "OPTIND",
    "EPOCHSECONDS",
];

/// Steps at most that a pattern is looked for.
const MOST_STEPS: usize = 1 << 24;

/// What a parameter is.
pub(super) enum Found {
    Text(String),
    List {
        all: Vec<String>,
        joins: bool,
    },
    /// The word of a default.
    Word,
}

/// What a name has.
pub(super) enum Base {
    /// Nothing that the script sets.
    Unset,
    /// Nothing, as the script takes it away.
    Empty,
    Text(String),
    List {
        all: Vec<String>,
        joins: bool,
    },
}

impl Shell<'_> {
    /// What a name has, with an index or without.
    pub(super) fn base(&mut self, name: &str, index: Option<&Index>) -> Ran<Base> {
        if let Some(base) = self.special(name) {
            return Ok(base);
        }
        let name = &self.state.referred(name);
        let key = match index {
            Some(Index::Key(word)) => Some(self.text(word)?),
            _ => None,
        };
        let Some(variable) = self.state.get(name) else { return Ok(Base::Unset) };
        let Some(value) = variable.value.clone() else { return Ok(Base::Empty) };
        Ok(match (index, key) {
            (Some(Index::All { joins }), _) => Base::List { all: value.elements(), joins: *joins },
            (_, Some(key)) => self.element(name, &value, &key)?,
            _ => match value.scalar() {
                Some(text) if is_many(text) && !matches!(value, Value::Text(_)) => {
                    Base::Text(derived(text, &format!("${name}")))
                }
                Some(text) => Base::Text(text.to_owned()),
                None => Base::Empty,
            },
        })
    }

    /// An element by its index or name.
    fn element(&mut self, name: &str, value: &Value, key: &str) -> Ran<Base> {
        let open =
            || Base::Text(unknown(Doubt::Plain, &format!("${{{name}[{}]}}", derived_flags(key))));
        if let Value::Map(all) = value {
            return Ok(match all.get(key) {
                _ if !is_known(key) => open(),
                Some(text) => Base::Text(text.clone()),
                None => Base::Empty,
            });
        }
        let Some(at) = self.sum(key)? else { return Ok(open()) };
        let all = match value {
            Value::List(all) => all.clone(),
            value => BTreeMap::from([(0, value.scalar().unwrap_or_default().to_owned())]),
        };
        let last = all.keys().next_back().map_or(0, |last| last + 1);
        let at = if at < 0 { last + at } else { at };
        let is_behind =
            all.iter().any(|(own, one)| is_many(one) && (*own <= at || key.starts_with('-')));
        Ok(match all.get(&at) {
            _ if is_behind => open(),
            Some(text) => Base::Text(text.clone()),
            None => Base::Empty,
        })
    }

    fn special(&self, name: &str) -> Option<Base> {
        let arguments = &self.state.arguments;
        let has_many = arguments.iter().any(|one| is_many(one));
        Some(match name {
            "@" | "*" => Base::List { all: arguments.to_vec(), joins: name == "*" },
            "#" if has_many => Base::Text(unknown(Doubt::Plain, "$#")),
            "#" => Base::Text(arguments.len().to_string()),
            "?" => match self.status {
                Some(true) => Base::Text("0".to_owned()),
                Some(false) => Base::Text(self.code.to_string()),
                None => Base::Text(unknown(Doubt::Plain, "$?")),
            },
            "0" | "$" | "!" | "-" => Base::Text(unknown(Doubt::Plain, &format!("${name}"))),
            _ if name.bytes().all(|byte| byte.is_ascii_digit()) => {
                let at: usize = name.parse().unwrap_or(usize::MAX);
                let is_behind = arguments.iter().take(at).any(|one| is_many(one));
                match arguments.get(at - 1) {
                    _ if is_behind => Base::Text(unknown(Doubt::Plain, &format!("${name}"))),
                    Some(text) => Base::Text(text.clone()),
                    None if self.state.is_bare => {
                        Base::Text(unknown(Doubt::Argument, &format!("${name}")))
                    }
                    None => Base::Empty,
                }
            }
            _ if OF_SHELL.contains(&name) && self.state.get(name).is_none() => {
                Base::Text(unknown(Doubt::Plain, &format!("${name}")))
            }
            _ => return None,
        })
    }

    pub(super) fn parameter(&mut self, parameter: &Parameter) -> Ran<Found> {
        let Parameter { name, index, is_indirect, operation, shown } = parameter;
        let mut base = self.base(name, index.as_ref())?;
        if *is_indirect {
            if let (Some(Index::All { joins }), Operation::None) = (index, operation) {
                return Ok(self.keys(name, *joins, shown));
            }
            base = match base {
                Base::Text(other) if is_known(&other) => {
                    let (other, key) =
                        other.split_once('[').map_or((other.as_str(), None), |(other, key)| {
                            (other, key.strip_suffix(']'))
                        });
                    let index = key.map(|key| match key {
                        "@" | "*" => Index::All { joins: key == "*" },
                        key => Index::Key(vec![Part::Quoted(key.to_owned())]),
                    });
                    self.base(other, index.as_ref())?
                }
                _ => return Ok(Found::Text(unknown(Doubt::Plain, shown))),
            };
        }
        if let Operation::Default { sign, has_colon, .. } = operation {
            return self.default(parameter, base, (*sign, *has_colon));
        }
        match (base, operation) {
            (Base::Unset, Operation::Length) => Ok(Found::Text(unknown(Doubt::Plain, shown))),
            (Base::Unset, _) => Ok(match index {
                // An array that nobody makes has no elements.
                Some(Index::All { joins }) if !self.state.is_open => {
                    Found::List { all: Vec::new(), joins: *joins }
                }
                _ => Found::Text(unknown(Doubt::Plain, shown)),
            }),
            (Base::Empty, Operation::Length) => Ok(Found::Text("0".to_owned())),
            (Base::Empty, _) => Ok(match index {
                Some(Index::All { joins }) => Found::List { all: Vec::new(), joins: *joins },
                _ => Found::Text(String::new()),
            }),
            (Base::Text(text), operation) => {
                Ok(Found::Text(self.operated(&text, operation, shown)?))
            }
            // Elements are counted by their indices.
            (Base::List { all, .. }, Operation::Slice { .. }) if self.has_gaps(name) => {
                Ok(Found::Text(counted(&derived(&all.join(" "), shown), true)))
            }
            (Base::List { all, joins }, operation) => {
                self.operated_list((name, all, joins), operation, shown)
            }
        }
    }

    /// Whether an array has an index without an element before its last.
    fn has_gaps(&self, name: &str) -> bool {
        match self.state.get(name).and_then(|variable| variable.value.as_ref()) {
            Some(Value::List(all)) => all.keys().zip(0..).any(|(own, at)| *own != at),
            Some(Value::Map(_)) => true,
            _ => false,
        }
    }

    fn keys(&self, name: &str, joins: bool, shown: &str) -> Found {
        let all = match self.state.get(name).and_then(|variable| variable.value.as_ref()) {
            Some(Value::Map(all)) => all.keys().cloned().collect(),
            Some(Value::List(all)) if all.values().any(|one| is_many(one)) => {
                vec![counted(&unknown(Doubt::Plain, shown), true)]
            }
            Some(Value::List(all)) => all.keys().map(ToString::to_string).collect(),
            _ => Vec::new(),
        };
        // Names have no order.
        let is_map = matches!(
            self.state.get(name).and_then(|variable| variable.value.as_ref()),
            Some(Value::Map(all)) if all.len() > 1
        );
        match is_map {
            true => Found::Text(counted(&unknown(Doubt::Plain, shown), true)),
            false => Found::List { all, joins },
        }
    }

    /// `${name:-word}` and its like.
    fn default(
        &mut self,
        parameter: &Parameter,
        base: Base,
        (sign, has_colon): (char, bool),
    ) -> Ran<Found> {
        let is_set = match &base {
            Base::Unset if self.state.is_open => None,
            // Whether the environment has it is unknown.
            Base::Unset if sign == '+' && parameter.index.is_none() => None,
            Base::Unset | Base::Empty => Some(false),
            Base::Text(text) => match (is_empty(text), has_colon) {
                (Some(true), false) => Some(is_known(text)),
                (Some(is_empty), _) => Some(!(is_empty && has_colon)),
                (None, _) => None,
            },
            Base::List { all, .. } => match all.as_slice() {
                [] => Some(false),
                [one] if has_colon => is_empty(one).map(|is_empty| !is_empty),
                all => Some(!all.iter().all(|one| is_many(one))).filter(|is_set| *is_set),
            },
        };
        let Operation::Default { word, .. } = &parameter.operation else { return Ok(Found::Word) };
        let open = |base: &Base, added: &str| {
            let text = match base {
                Base::Text(text) => text.clone(),
                Base::List { all, .. } => all.join(" "),
                _ => String::new(),
            };
            Found::Text(derived(&(text + added), &parameter.shown))
        };
        match (sign, is_set) {
            ('+', Some(true)) => Ok(Found::Word),
            ('+', Some(false)) => Ok(Found::Text(String::new())),
            (_, Some(true)) => Ok(match base {
                Base::Text(text) => Found::Text(text),
                Base::List { all, joins } => Found::List { all, joins },
                _ => Found::Text(String::new()),
            }),
            (_, None) => {
                // What may be added may be decisive.
                let added = if sign == '+' { self.text(word)? } else { String::new() };
                Ok(open(&base, &added))
            }
            ('?', Some(false)) => {
                Ok(Found::Text(unknown(Doubt::Plain, &format!("${}", parameter.name))))
            }
            ('=', Some(false)) => {
                let text = self.text(word)?;
                self.set_text(&parameter.name, text.clone());
                Ok(Found::Text(text))
            }
            _ => Ok(Found::Word),
        }
    }

    fn operated(&mut self, text: &str, operation: &Operation, shown: &str) -> Ran<String> {
        let open = || derived(text, shown);
        let of = |all: Option<String>| all.unwrap_or_else(open);
        let plain = Some(text).filter(|text| is_known(text) && text.len() <= LONGEST);
        Ok(match operation {
            Operation::None | Operation::Default { .. } => text.to_owned(),
            Operation::Length => of(plain.map(|text| text.chars().count().to_string())),
            Operation::Case { sign, is_all } => of(plain.map(|text| cased(text, *sign, *is_all))),
            Operation::Trim { sign, is_longest, pattern } => {
                let pattern = self.pattern(pattern)?;
                self.spend(text.len().min(LONGEST) * pattern.len() / STEPS)?;
                let pattern = Some(pattern).filter(|pattern| is_known(pattern));
                of(plain
                    .zip(pattern)
                    .and_then(|(text, pattern)| trimmed(text, *sign, *is_longest, &pattern)))
            }
            Operation::Replace { kind, pattern, by } => {
                let (pattern, by) = (self.pattern(pattern)?, self.text(by)?);
                let steps = text.len().min(LONGEST).pow(2) * pattern.len();
                let is_plain = is_known(&pattern) && is_known(&by) && steps < MOST_STEPS;
                self.spend(if is_plain { steps / STEPS } else { 0 })?;
                let text = plain.filter(|_| is_plain);
                of(text.and_then(|text| replaced(text, *kind, &pattern, &by)))
            }
            Operation::Slice { from, length } => {
                let from = self.sum_of(from)?;
                let length = match length {
                    Some(length) => Some(self.sum_of(length)?),
                    None => None,
                };
                let Some((text, from)) = plain.zip(from).filter(|_| length != Some(None)) else {
                    return Ok(open());
                };
                let letters: Vec<String> = text.chars().map(String::from).collect();
                let all = sliced(&letters, from, length.flatten());
                if all.is_none() {
                    self.fail(shown);
                }
                of(all.map(|all| all.concat()))
            }
            Operation::Other => open(),
        })
    }

    fn operated_list(
        &mut self,
        (name, all, joins): (&str, Vec<String>, bool),
        operation: &Operation,
        shown: &str,
    ) -> Ran<Found> {
        let is_open = all.iter().any(|one| is_many(one));
        let open = || Found::Text(counted(&derived(&all.join(" "), shown), true));
        Ok(match operation {
            Operation::Length if is_open => open(),
            Operation::Length => Found::Text(all.len().to_string()),
            Operation::Slice { from, length } => {
                let from = self.sum_of(from)?;
                let length = match length {
                    Some(length) => Some(self.sum_of(length)?),
                    None => None,
                };
                let is_unknown = from.is_none() || length == Some(None);
                // The first of the arguments is the name of the script.
                let is_rest = ["@", "*"].contains(&name);
                let own = if is_rest { vec![unknown(Doubt::Plain, "$0")] } else { Vec::new() };
                let list: Vec<String> = own.into_iter().chain(all.iter().cloned()).collect();
                let from_known = from.unwrap_or_default();
                let is_behind = is_open
                    && (length.is_some() || from_known < 0 || {
                        let n = usize::try_from(from_known).unwrap_or(usize::MAX);
                        list.iter().take(n).any(|one| is_many(one))
                    });
                match is_unknown || is_behind {
                    true => open(),
                    false => sliced(&list, from_known, length.flatten())
                        .map_or_else(open, |all| Found::List { all, joins }),
                }
            }
            operation => {
                let mut found = Vec::new();
                for one in &all {
                    found.push(match is_many(one) {
                        true if !matches!(operation, Operation::None) => {
                            counted(&derived(one, shown), true)
                        }
                        _ => self.operated(one, operation, shown)?,
                    });
                }
                Found::List { all: found, joins }
            }
        })
    }
}

pub(super) fn cased(text: &str, sign: char, is_all: bool) -> String {
    let of = |text: &str| if sign == '^' { text.to_uppercase() } else { text.to_lowercase() };
    let n = text.chars().next().filter(|_| !is_all).map_or(text.len(), char::len_utf8);
    of(&text[..n]) + &text[n..]
}

fn trimmed(text: &str, sign: char, is_longest: bool, pattern: &str) -> Option<String> {
    let letters: Vec<char> = text.chars().collect();
    let n = letters.len();
    let found = match sign {
        '#' => lengths(pattern, &letters)?,
        _ => lengths(&reversed(pattern)?, &letters.iter().rev().copied().collect::<Vec<_>>())?,
    };
    let length = if is_longest { found.last() } else { found.first() };
    let length = *length.unwrap_or(&0);
    let all = if sign == '#' { &letters[length..] } else { &letters[..n - length] };
    Some(all.iter().collect())
}

fn replaced(text: &str, kind: Option<char>, pattern: &str, by: &str) -> Option<String> {
    if pattern.is_empty() {
        // An empty pattern is found at an end that is stated, and nowhere else.
        return Some(match kind {
            Some('#') => format!("{by}{text}"),
            Some('%') => format!("{text}{by}"),
            _ => text.to_owned(),
        });
    }
    // `&` is what was found in newer versions.
    let letters: Vec<char> = text.chars().collect();
    let longest = |from: usize| Some(lengths(pattern, &letters[from..])?.last().copied());
    let (mut all, mut at, mut is_done) = (String::new(), 0, by.contains('&') && by.contains('\\'));
    if is_done {
        return None;
    }
    while at < letters.len() {
        let is_place = match kind {
            Some('#') => at == 0,
            _ => !is_done,
        };
        let found = if is_place { longest(at)? } else { None };
        let found = found.filter(|n| *n > 0 && (kind != Some('%') || at + n == letters.len()));
        match found {
            Some(n) => {
                all.push_str(by);
                at += n;
                is_done = kind != Some('/');
            }
            None => {
                all.push(letters[at]);
                at += 1;
            }
        }
    }
    Some(all)
}

/// A part of a list by its begin, from the end where that is negative, and its length.
fn sliced(all: &[String], from: i64, length: Option<i64>) -> Option<Vec<String>> {
    let n = i64::try_from(all.len()).ok()?;
    let from = if from < 0 { n + from } else { from };
    if from < 0 || from > n {
        return Some(Vec::new());
    }
    let to = match length {
        None => n,
        // An error.
        Some(length) if length < 0 && n + length < from => return None,
        Some(length) if length < 0 => n + length,
        Some(length) => (from.checked_add(length)?).min(n),
    };
    let (from, to) = (usize::try_from(from).ok()?, usize::try_from(to).ok()?);
    Some(all.get(from..to.max(from)).unwrap_or_default().to_vec())
}

/// The value of a name, if it is known.
pub(super) fn number_text(base: Base) -> Option<String> {
    match base {
        Base::Unset => None,
        Base::Empty => Some("0".to_owned()),
        Base::Text(text) => {
            known(&text).map(|text| if text.trim().is_empty() { "0".to_owned() } else { text })
        }
        Base::List { all, .. } => known(all.first().map_or("0", |one| one)),
    }
}
