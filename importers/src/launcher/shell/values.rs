//! Values of variables, of which some or all may be unknown. In a text an unknown part is a mark with what is shown
//! for it, whether it is one word or any number of them, and what is known of it.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::tree::Command;
use super::words::{is_decisive, is_flags};

pub(super) const OPEN: char = '\u{1}';
pub(super) const CLOSE: char = '\u{2}';
/// `*`, `?` and `[` without quotes, in what may be names of files.
const SIGNS: [char; 3] = ['\u{3}', '\u{4}', '\u{5}'];
const LETTERS: [char; 3] = ['*', '?', '['];
/// What a copy of a variable costs, as bytes.
const COST_OF_VARIABLE: usize = 16;
/// Names at most that stand for another.
const MOST_REFERENCES: usize = 8;
/// Letters at most that show an addition.
const LONGEST_SHOWN: usize = 200;

/// What is known of an unknown part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Doubt {
    /// Nothing.
    Plain,
    /// It may have flags that a plan hangs on, as the script sets them in a branch.
    Decisive,
    /// Flags that may be added and on which no plan hangs.
    Idle,
    /// An argument of the script, which it is read without.
    Argument,
    /// It is a name or names, as of files: neither empty nor flags.
    Name,
}

impl Doubt {
    const fn letter(self) -> char {
        match self {
            Self::Plain => 'u',
            Self::Decisive => 'd',
            Self::Idle => 'i',
            Self::Argument => 'a',
            Self::Name => 'n',
        }
    }
}

/// A text that is unknown.
pub(super) fn unknown(doubt: Doubt, shown: &str) -> String {
    let shown: String = shown.chars().filter(|c| !"\"'`\\".contains(*c)).collect();
    let shown = shown.replace(['\n', '\t', OPEN, CLOSE], " ");
    format!("{OPEN}{}1{shown}{CLOSE}", doubt.letter())
}

pub(super) fn is_known(text: &str) -> bool {
    !text.contains(OPEN)
}

/// A text without quotes, with signs for letters of patterns.
pub(super) fn with_signs(text: String) -> String {
    if !text.contains(LETTERS) {
        return text;
    }
    let sign = |c: char| LETTERS.iter().position(|own| *own == c).map_or(c, |at| SIGNS[at]);
    let of = |piece: Piece<'_>| match piece {
        Piece::Known(text) => text.chars().map(sign).collect(),
        Piece::Unknown { whole, .. } => whole.to_owned(),
    };
    pieces(&text).into_iter().map(of).collect()
}

/// A word with signs: of a pattern, any number of names of files.
pub(super) fn with_names(word: String, doubt: Option<Doubt>) -> String {
    if !word.contains(SIGNS) {
        return word;
    }
    let letter = |c: char| SIGNS.iter().position(|own| *own == c).map_or(c, |at| LETTERS[at]);
    let text: String = word.chars().map(letter).collect();
    let is_set = word.split_once(SIGNS[2]).is_some_and(|(_, rest)| rest.contains(']'));
    let is_pattern = is_set || word.contains(&SIGNS[..2]);
    let doubt = doubt.filter(|_| is_pattern && derived_doubt(&text).is_empty());
    doubt.map_or(text.clone(), |doubt| counted(&unknown(doubt, &derived_flags(&text)), true))
}

/// The letters of a pattern that may be names of files.
pub(super) fn pattern_of(word: &str) -> Option<&str> {
    match pieces(word).as_slice() {
        [Piece::Unknown { doubt: Doubt::Name, is_many: true, shown, .. }] => Some(shown),
        _ => None,
    }
}

/// The text without marks that may come from outside.
pub(super) fn plain(text: &str) -> String {
    text.replace([OPEN, CLOSE, SIGNS[0], SIGNS[1], SIGNS[2]], "").replace("\r\n", "\n")
}

/// A part of a text: letters, or how an unknown part is shown with what is known of it.
#[derive(Debug, PartialEq)]
pub(super) enum Piece<'t> {
    Known(&'t str),
    Unknown { doubt: Doubt, is_many: bool, shown: &'t str, whole: &'t str },
}

pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let (mut all, mut rest) = (Vec::new(), text);
    while let Some((before, later)) = rest.split_once(OPEN) {
        if !before.is_empty() {
            all.push(Piece::Known(before));
        }
        let (inner, after) = later.split_once(CLOSE).unwrap_or((later, ""));
        let doubt = match inner.chars().next() {
            Some('d') => Doubt::Decisive,
            Some('i') => Doubt::Idle,
            Some('a') => Doubt::Argument,
            Some('n') => Doubt::Name,
            _ => Doubt::Plain,
        };
        let whole = &rest[before.len()..rest.len() - after.len()];
        let (is_many, shown) = (inner.get(1..2) == Some("*"), inner.get(2..).unwrap_or_default());
        all.push(Piece::Unknown { doubt, is_many, shown, whole });
        rest = after;
    }
    if !rest.is_empty() {
        all.push(Piece::Known(rest));
    }
    all
}

/// A text with unknown parts: each is one word, or any number of words.
pub(super) fn counted(text: &str, is_many: bool) -> String {
    if is_known(text) {
        return text.to_owned();
    }
    let of = |piece: Piece<'_>| match piece {
        Piece::Known(text) => text.to_owned(),
        Piece::Unknown { doubt, shown, .. } => {
            let sign = if is_many { '*' } else { '1' };
            format!("{OPEN}{}{sign}{shown}{CLOSE}", doubt.letter())
        }
    };
    pieces(text).into_iter().map(of).collect()
}

/// Whether an element may be any number of them.
pub(super) fn is_many(text: &str) -> bool {
    let of = |piece: &Piece<'_>| matches!(piece, Piece::Unknown { is_many: true, .. });
    !is_known(text) && pieces(text).iter().any(of)
}

/// What is made of a text in a way that is not known; flags that it may have stay decisive.
pub(super) fn derived(text: &str, shown: &str) -> String {
    let of = |piece: &Piece<'_>| {
        matches!(piece, Piece::Unknown { doubt: Doubt::Decisive, .. })
            || matches!(piece, Piece::Known(text) if is_decisive(text))
    };
    let is_bad = pieces(text).iter().any(of);
    unknown(if is_bad { Doubt::Decisive } else { Doubt::Plain }, shown)
}

/// Whether a text is empty: `None` where that is unknown. Arguments are left out.
pub(super) fn is_empty(text: &str) -> Option<bool> {
    let all = pieces(text);
    let is_argument =
        |piece: &Piece<'_>| matches!(piece, Piece::Unknown { doubt: Doubt::Argument, .. });
    let is_sure = |piece: &Piece<'_>| {
        matches!(piece, Piece::Known(_) | Piece::Unknown { doubt: Doubt::Name, .. })
    };
    match () {
        () if all.iter().any(is_sure) => Some(false),
        () => all.iter().all(is_argument).then_some(true),
    }
}

/// A text without the arguments of the script; `None` where more is unknown.
pub(super) fn known(text: &str) -> Option<String> {
    if is_known(text) {
        return Some(text.to_owned());
    }
    let of = |piece: Piece<'_>| match piece {
        Piece::Known(text) => Some(text.to_owned()),
        Piece::Unknown { doubt: Doubt::Argument, .. } => Some(String::new()),
        Piece::Unknown { .. } => None,
    };
    pieces(text).into_iter().map(of).collect()
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    List(BTreeMap<i64, String>),
    /// By names.
    Map(BTreeMap<String, String>),
}

impl Value {
    /// Of a list the first element.
    pub(super) fn scalar(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::List(all) => {
                let first = all.get(&0).map(String::as_str);
                // Behind what may be any number of elements.
                first.or_else(|| all.values().find(|one| is_many(one)).map(String::as_str))
            }
            Self::Map(all) => all.get("0").map(String::as_str),
        }
    }

    pub(super) fn elements(&self) -> Vec<String> {
        match self {
            Self::Text(text) => vec![text.clone()],
            Self::List(all) => all.values().cloned().collect(),
            Self::Map(all) => all.values().cloned().collect(),
        }
    }

    fn size(&self) -> usize {
        self.elements().iter().map(String::len).sum()
    }

    fn has_decisive(&self) -> bool {
        self.elements().iter().any(|one| is_decisive(&derived_flags(one)))
    }
}

/// The letters of a text, with what is shown for unknown parts.
pub(super) fn derived_flags(text: &str) -> String {
    let of = |piece: Piece<'_>| match piece {
        Piece::Known(text) | Piece::Unknown { shown: text, .. } => text.to_owned(),
    };
    pieces(text).into_iter().map(of).collect()
}

/// A variable; without a value it is not set.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Variable {
    pub(super) value: Option<Value>,
    /// Whether other programs get it; `None` where that is unknown.
    pub(super) exported: Option<bool>,
    pub(super) is_integer: bool,
    pub(super) is_locked: bool,
    /// Of `declare -u` and `-l`: `^` or `,`.
    pub(super) case: Option<char>,
    /// The variable that it names (`declare -n`).
    pub(super) refers: Option<String>,
}

/// A shell as it is at one place of a script.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct State {
    pub(super) variables: Rc<BTreeMap<String, Rc<Variable>>>,
    /// Functions; `None` for what may be one of several.
    pub(super) functions: Rc<BTreeMap<String, Option<Shared>>>,
    /// Variables that are exported when they are set.
    pub(super) pending: Rc<BTreeSet<String>>,
    /// Arguments of the script or function.
    pub(super) arguments: Rc<Vec<String>>,
    /// Whether the arguments are those of the script, which it is read without.
    pub(super) is_bare: bool,
    /// Whether names without a value may have one.
    pub(super) is_open: bool,
    /// Options of `set` and `shopt` that are on.
    pub(super) options: Rc<BTreeSet<String>>,
    /// The folder of the script, from where it begins, and the one before.
    pub(super) folder: String,
    pub(super) old_folder: String,
    /// Those of `pushd`.
    pub(super) folders: Rc<Vec<String>>,
    /// Commands of `trap`, by what starts them.
    pub(super) traps: Rc<BTreeMap<String, String>>,
    /// What is printed, where it is taken.
    pub(super) output: Option<String>,
    /// What is read, where it is known.
    pub(super) input: Option<String>,
}

/// A function.
#[derive(Clone, Debug)]
pub(super) struct Shared(pub(super) Rc<Command>);

impl PartialEq for Shared {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl State {
    pub(super) fn has(&self, option: &str) -> bool {
        self.options.contains(option)
    }

    pub(super) fn switch(&mut self, option: &str, is_on: bool) {
        let all = Rc::make_mut(&mut self.options);
        match is_on {
            true => all.insert(option.to_owned()),
            false => all.remove(option),
        };
    }

    pub(super) fn get(&self, name: &str) -> Option<&Variable> {
        self.variables.get(name).map(Rc::as_ref)
    }

    /// The variable that a name is one of.
    pub(super) fn referred(&self, name: &str) -> String {
        let mut name = name;
        for _ in 0..MOST_REFERENCES {
            match self.get(name).and_then(|variable| variable.refers.as_ref()) {
                Some(other) => name = other,
                None => break,
            }
        }
        name.to_owned()
    }

    pub(super) fn change(&mut self, name: &str) -> &mut Variable {
        let all = Rc::make_mut(&mut self.variables);
        Rc::make_mut(
            all.entry(name.to_owned()).or_insert_with(|| {
                Rc::new(Variable { exported: Some(false), ..Variable::default() })
            }),
        )
    }

    /// What either of two states may be; variables that differ are unknown, of values without flags all of it.
    pub(super) fn merged(self, other: Self) -> Self {
        let mut all = self;
        if !Rc::ptr_eq(&all.variables, &other.variables) {
            let mut names: Vec<String> = other.variables.keys().cloned().collect();
            names.extend(all.variables.keys().cloned());
            names.sort_unstable();
            names.dedup();
            for name in names {
                let pair = (all.variables.get(&name), other.variables.get(&name));
                if pair.0 != pair.1 {
                    let merged = merged_variable(&name, pair.0, pair.1);
                    Rc::make_mut(&mut all.variables).insert(name, Rc::new(merged));
                }
            }
        }
        if all.functions != other.functions {
            let functions = Rc::make_mut(&mut all.functions);
            for (name, function) in other.functions.iter() {
                let own = functions.entry(name.clone()).or_insert(None);
                if own != function {
                    *own = None;
                }
            }
            for (name, own) in functions.iter_mut() {
                if !other.functions.contains_key(name) {
                    *own = None;
                }
            }
        }
        if all.arguments != other.arguments {
            all.arguments = Rc::new(vec![counted(&unknown(Doubt::Plain, "$@"), true)]);
        }
        if all.output != other.output {
            let [a, b] = [&all.output, &other.output].map(|text| text.clone().unwrap_or_default());
            let text = merged_text("(..)", &a, &b);
            all.output = Some(text);
        }
        if all.input != other.input {
            all.input = None;
        }
        all.is_bare &= other.is_bare;
        all.is_open |= other.is_open;
        all.take_settings(&other);
        all
    }

    /// Folders, options and traps that may be those of another state too.
    fn take_settings(&mut self, other: &Self) {
        for (own, other) in
            [(&mut self.folder, &other.folder), (&mut self.old_folder, &other.old_folder)]
        {
            if own != other {
                *own = unknown(Doubt::Name, "$PWD");
            }
        }
        if self.folders != other.folders {
            self.folders = Rc::default();
        }
        if self.options != other.options {
            Rc::make_mut(&mut self.options).extend(other.options.iter().cloned());
        }
        if self.traps != other.traps {
            Rc::make_mut(&mut self.traps)
                .extend(other.traps.iter().map(|(name, text)| (name.clone(), text.clone())));
        }
    }

    /// Whatever this state and an earlier one have in different ways is unknown, all of it.
    pub(super) fn widened(mut self, before: &Self) -> Self {
        let names: Vec<String> = self.variables.keys().cloned().collect();
        for name in names {
            let (own, old) = (self.variables.get(&name), before.variables.get(&name));
            if own != old {
                let values = [own, old].map(|one| one.and_then(|one| one.value.as_ref()));
                let is_bad = values.iter().flatten().any(|value| value.has_decisive());
                let doubt = if is_bad { Doubt::Decisive } else { Doubt::Plain };
                let text = counted(&unknown(doubt, &format!("${name}")), true);
                let is_list = values.iter().flatten().any(|one| !matches!(one, Value::Text(_)));
                let value = match is_list {
                    true => Value::List(BTreeMap::from([(0, text)])),
                    false => Value::Text(text),
                };
                self.change(&name).value = Some(value);
            }
        }
        if self.output != before.output {
            self.output = Some(unknown(Doubt::Plain, "$(..)"));
        }
        if self.arguments != before.arguments {
            self.arguments = Rc::new(vec![counted(&unknown(Doubt::Plain, "$@"), true)]);
        }
        self
    }

    /// What a copy of it costs, in bytes.
    pub(super) fn size(&self) -> usize {
        COST_OF_VARIABLE * self.variables.len() + self.output.as_ref().map_or(0, String::len)
    }
}

fn merged_variable(name: &str, a: Option<&Rc<Variable>>, b: Option<&Rc<Variable>>) -> Variable {
    let empty = Rc::new(Variable { exported: Some(false), ..Variable::default() });
    // One that only one branch sets may be set elsewhere: its value otherwise is unknown.
    let [a_is_there, b_is_there] = [a.is_some(), b.is_some()];
    let (a, b) = (a.unwrap_or(&empty), b.unwrap_or(&empty));
    let value = match (&a.value, &b.value) {
        (x, y) if x == y && a_is_there == b_is_there => x.clone(),
        (Some(Value::List(x)), Some(Value::List(y))) => Some(Value::List(merged_list(name, x, y))),
        (Some(Value::Map(x)), Some(Value::Map(y))) => {
            let mut all = x.clone();
            for (key, other) in y {
                let own = all.entry(key.clone()).or_default();
                if own != other {
                    *own = unknown(Doubt::Plain, &format!("${{{name}[{key}]}}"));
                }
            }
            let missing = x.keys().filter(|key| !y.contains_key(*key));
            for key in missing {
                let shown = format!("${{{name}[{key}]}}");
                all.insert(key.clone(), unknown(Doubt::Plain, &shown));
            }
            Some(Value::Map(all))
        }
        (x, y) => {
            let is_list =
                |value: &Option<Value>| matches!(value, Some(Value::List(_) | Value::Map(_)));
            if is_list(x) || is_list(y) {
                let of = |value: &Option<Value>| match value {
                    Some(Value::List(all)) => all.clone(),
                    Some(value) => {
                        value.elements().into_iter().zip(0..).map(|(one, at)| (at, one)).collect()
                    }
                    None => BTreeMap::new(),
                };
                Some(Value::List(merged_list(name, &of(x), &of(y))))
            } else {
                let text = |value: &Option<Value>| {
                    value.as_ref().and_then(Value::scalar).unwrap_or_default().to_owned()
                };
                Some(Value::Text(merged_text(name, &text(x), &text(y))))
            }
        }
    };
    Variable {
        value,
        exported: if a.exported == b.exported { a.exported } else { None },
        is_integer: a.is_integer || b.is_integer,
        is_locked: a.is_locked || b.is_locked,
        case: a.case.or(b.case),
        refers: a.refers.clone().or_else(|| b.refers.clone()),
    }
}

/// Two texts of which one or the other is the value: what flags they begin with is known.
fn merged_text(name: &str, a: &str, b: &str) -> String {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let more = long.strip_prefix(short).filter(|more| is_flags(more));
    if let Some(more) = more.filter(|more| {
        is_flags(short) || short.trim().is_empty() || more.starts_with(char::is_whitespace)
    }) {
        return format!("{short} {}", counted(&added(name, more), true));
    }
    let is_bad =
        [a, b].iter().any(|one| is_decisive(&derived_flags(one)) || !is_known(&derived_doubt(one)));
    unknown(if is_bad { Doubt::Decisive } else { Doubt::Plain }, &format!("${name}"))
}

/// The text where a part of it is decisive and unknown; nothing otherwise.
fn derived_doubt(text: &str) -> String {
    let is_bad = |piece: &Piece<'_>| matches!(piece, Piece::Unknown { doubt: Doubt::Decisive, .. });
    if pieces(text).iter().any(is_bad) { text.to_owned() } else { String::new() }
}

fn merged_list(
    name: &str,
    a: &BTreeMap<i64, String>,
    b: &BTreeMap<i64, String>,
) -> BTreeMap<i64, String> {
    let n = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let mut all: BTreeMap<i64, String> =
        a.iter().take(n).map(|(at, one)| (*at, one.clone())).collect();
    let at = all.keys().next_back().map_or(0, |last| last + 1);
    let tail = |list: &BTreeMap<i64, String>| {
        let rest: Vec<String> = list.values().skip(n).cloned().collect();
        rest.join(" ")
    };
    let (x, y) = (tail(a), tail(b));
    let more = match (x.is_empty(), y.is_empty()) {
        (true, _) => added(name, &y),
        (_, true) => added(name, &x),
        _ => {
            let is_bad = |text: &String| {
                is_decisive(&derived_flags(text)) || !derived_doubt(text).is_empty()
            };
            let doubt = if is_bad(&x) || is_bad(&y) { Doubt::Decisive } else { Doubt::Plain };
            unknown(doubt, &format!("${{{name}[@]}}"))
        }
    };
    all.insert(at, counted(&more, true));
    all
}

/// Flags that may be added to a variable.
fn added(name: &str, more: &str) -> String {
    let is_bad = is_decisive(&derived_flags(more)) || !derived_doubt(more).is_empty();
    let text: String = derived_flags(more).trim().chars().take(LONGEST_SHOWN).collect();
    let text = text.replace(['\n', '\t'], " ");
    let doubt = if is_bad { Doubt::Decisive } else { Doubt::Idle };
    unknown(doubt, &format!("{name}+=({text})"))
}

impl Value {
    /// What a copy costs.
    pub(super) fn cost(&self) -> usize {
        self.size()
    }
}
