//! Filters of lines in their usual forms: `cut`, `grep`, `sed` and their like.

use regex::{Captures, Regex};

use super::letters::unescaped;
use super::regular::{exact, regular};
use super::values::is_known;

/// Letters of a line at most, times those that replace a part.
const LONGEST: usize = 1 << 20;
/// Commands of `sed` at most.
const MOST_EDITS: usize = 64;
/// Filters, and which of their options take a value.
pub(super) const FILTERS: [(&str, &str); 15] = [
    ("cat", ""),
    ("wc", ""),
    ("tr", ""),
    ("cut", "dfc"),
    ("head", "n"),
    ("tail", "n"),
    ("sort", ""),
    ("uniq", ""),
    ("tac", ""),
    ("rev", ""),
    ("paste", "d"),
    ("grep", "em"),
    ("egrep", "em"),
    ("sed", "e"),
    ("awk", "F"),
];

/// What a filter prints, and whether it succeeds.
pub(super) struct Printed {
    pub(super) text: String,
    pub(super) is_true: bool,
}

/// A filter with its words.
pub(super) struct Filter<'w> {
    name: &'static str,
    options: Vec<(char, &'w str)>,
    /// Its program or its sets.
    own: Vec<&'w str>,
    /// None where it reads its input.
    pub(super) files: Vec<&'w str>,
}

impl<'w> Filter<'w> {
    /// The filter that words are; `None` for one that is not followed.
    pub(super) fn new(name: &str, words: &[&'w str]) -> Option<Self> {
        let (name, takes) = FILTERS.iter().find(|(own, _)| *own == name)?;
        let (mut options, mut own, mut at) = (Vec::new(), Vec::new(), 0);
        while let Some(word) = words.get(at) {
            at += 1;
            let Some(letters) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
                own.push(*word);
                continue;
            };
            if letters.bytes().all(|byte| byte.is_ascii_digit()) {
                options.push(('n', letters));
                continue;
            }
            for (from, letter) in letters.char_indices() {
                let rest = &letters[from + letter.len_utf8()..];
                if !takes.contains(letter) {
                    options.push((letter, ""));
                    continue;
                }
                at += usize::from(rest.is_empty());
                options.push((letter, if rest.is_empty() { *words.get(at - 1)? } else { rest }));
                break;
            }
        }
        let has_program = ["grep", "egrep", "sed", "awk"].contains(name);
        let is_given = options.iter().any(|(own, _)| *own == 'e');
        let n = match *name {
            "tr" => own.len(),
            _ => usize::from(has_program && !is_given),
        };
        let files = if n <= own.len() { own.split_off(n) } else { return None };
        Some(Self { name, options, own, files })
    }

    /// Whether it writes to the file that it reads.
    pub(super) fn changes(&self) -> bool {
        self.name == "sed" && self.has('i')
    }

    fn has(&self, letter: char) -> bool {
        self.options.iter().any(|(own, _)| *own == letter)
    }

    fn value(&self, letter: char) -> Option<&'w str> {
        self.options.iter().rfind(|(own, _)| *own == letter).map(|(_, value)| *value)
    }

    /// What it prints for a text; `None` where that is not followed.
    pub(super) fn run(&self, text: &str) -> Option<Printed> {
        let (known, n_files) = match self.name {
            "cat" => ("", usize::MAX),
            "wc" => ("lcw", 1),
            "tr" => ("dcCs", 0),
            "cut" => ("dfc", usize::MAX),
            "head" | "tail" => ("n", 1),
            "sort" => ("nru", usize::MAX),
            "uniq" => ("", 1),
            "tac" | "rev" => ("", 1),
            "paste" => ("sd", 1),
            "grep" | "egrep" => ("Eviqcoeh", if self.has('h') { usize::MAX } else { 1 }),
            "sed" => ("neErsi", if self.has('i') { 1 } else { usize::MAX }),
            _ => ("F", usize::MAX),
        };
        let is_followed = self.options.iter().all(|(own, _)| known.contains(*own));
        if !is_followed || self.files.len() > n_files || self.changes() && self.files.is_empty() {
            return None;
        }
        let is_grep = self.name.ends_with("grep");
        // Which lines begin so is known of unknown ones too.
        if !is_known(text) && self.name != "cat" && !(is_grep && self.own == ["^#"]) {
            return None;
        }
        let lines: Vec<&str> = text.lines().collect();
        let joined = |lines: Vec<String>| lines.iter().map(|line| format!("{line}\n")).collect();
        let all: String = match self.name {
            "cat" => text.to_owned(),
            "wc" => self.counts(text)?,
            "tr" => self.translated(text)?,
            "head" | "tail" => self.end(text)?,
            "sort" => joined(self.sorted(&lines)?),
            "uniq" => {
                let mut all: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
                all.dedup();
                joined(all)
            }
            "tac" => joined(lines.iter().rev().map(|line| (*line).to_owned()).collect()),
            "rev" => joined(lines.iter().map(|line| line.chars().rev().collect()).collect()),
            "paste" => {
                let separator = self.value('d').unwrap_or("\t");
                let is_plain = self.has('s') && separator.len() == 1 && separator != "\\";
                joined(is_plain.then(|| vec![lines.join(separator)])?)
            }
            "cut" => joined(lines.iter().map(|line| self.cut(line)).collect::<Option<_>>()?),
            "sed" => joined(self.edited(&lines)?),
            "awk" => joined(self.printed(&lines)?),
            _ => return self.found(&lines),
        };
        Some(Printed { text: all, is_true: true })
    }

    fn counts(&self, text: &str) -> Option<String> {
        let n = match self.options.as_slice() {
            [('l', _)] => text.matches('\n').count(),
            [('c', _)] => text.len(),
            [('w', _)] => text.split_whitespace().count(),
            _ => return None,
        };
        Some(self.files.first().map_or(format!("{n}\n"), |file| format!("{n} {file}\n")))
    }

    fn translated(&self, text: &str) -> Option<String> {
        let sets: Option<Vec<Vec<char>>> = self.own.iter().map(|set| letters_of(set)).collect();
        let (deletes, is_other) = (self.has('d'), self.has('c') || self.has('C'));
        let squeezes = self.has('s');
        if !text.is_ascii() {
            return None;
        }
        let (from, to) = match sets?.as_slice() {
            [from] if deletes != squeezes => (from.clone(), Vec::new()),
            [from, to] if !deletes && !squeezes && !is_other && !to.is_empty() => {
                (from.clone(), to.clone())
            }
            _ => return None,
        };
        let mut all = String::new();
        for letter in text.chars() {
            let at = from.iter().rposition(|own| *own == letter);
            let is_in = at.is_some() != is_other;
            match at.filter(|_| !to.is_empty()) {
                Some(at) => all.push(to[at.min(to.len() - 1)]),
                None if deletes && is_in || squeezes && is_in && all.ends_with(letter) => {}
                None => all.push(letter),
            }
        }
        Some(all)
    }

    /// `head` and `tail`.
    fn end(&self, text: &str) -> Option<String> {
        let n = self.value('n').unwrap_or("10");
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let number: usize = n.trim_start_matches(['-', '+']).parse().ok()?;
        let rest = lines.len().saturating_sub(number);
        let own = match (self.name, n.chars().next()?) {
            ("head", '-') => &lines[..rest],
            ("head", _) => &lines[..number.min(lines.len())],
            (_, '+') => &lines[number.saturating_sub(1).min(lines.len())..],
            _ => &lines[rest..],
        };
        Some(own.concat())
    }

    fn sorted(&self, lines: &[&str]) -> Option<Vec<String>> {
        let mut all: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        // In what order others are depends on the language.
        let is_plain = |line: &String| {
            line.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        let number = |line: &String| {
            let is_plain = !line.starts_with(['+', '0']) || line == "0";
            line.parse::<i64>().ok().filter(|_| is_plain)
        };
        match self.has('n') {
            true if all.iter().all(|line| number(line).is_some()) => all.sort_by_key(number),
            false if all.iter().all(is_plain) => all.sort(),
            _ => return None,
        }
        if self.has('u') {
            all.dedup();
        }
        if self.has('r') {
            all.reverse();
        }
        Some(all)
    }

    /// `cut -d, -f1,3-` and `cut -c1-2`.
    fn cut(&self, line: &str) -> Option<String> {
        let separator = self.value('d').map_or(Some('\t'), |text| text.parse().ok())?;
        let (list, parts): (&str, Vec<String>) = match (self.value('f'), self.value('c')) {
            (Some(list), None) if line.contains(separator) => {
                (list, line.split(separator).map(str::to_owned).collect())
            }
            (Some(_), None) => return Some(line.to_owned()),
            (None, Some(list)) if line.is_ascii() => {
                (list, line.chars().map(String::from).collect())
            }
            _ => return None,
        };
        let mut taken = vec![false; parts.len()];
        for range in list.split(',') {
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            let number = |text: &str, usual: usize| match text {
                "" => Some(usual),
                text => text.parse::<usize>().ok().filter(|n| *n > 0),
            };
            let (from, to) = (number(from, 1)?, number(to, parts.len())?.min(parts.len()));
            taken.iter_mut().take(to).skip(from - 1).for_each(|own| *own = true);
        }
        let all = parts.into_iter().zip(taken).filter(|(_, is_taken)| *is_taken);
        let all: Vec<String> = all.map(|(part, _)| part).collect();
        Some(all.join(&self.value('f').map_or(String::new(), |_| separator.to_string())))
    }

    fn found(&self, lines: &[&str]) -> Option<Printed> {
        let pattern = self.value('e').or(self.own.first().copied())?;
        let is_extended = self.name == "egrep" || self.has('E');
        let (ignores_case, shows) = (self.has('i'), self.has('o'));
        if shows && !exact(pattern) || ignores_case && (shows || pattern.contains("[:")) {
            return None;
        }
        let of = |text: &str| if ignores_case { text.to_lowercase() } else { text.to_owned() };
        let regex = regular(&of(pattern), is_extended)?;
        let mut all = Vec::new();
        for line in lines.iter().filter(|line| regex.is_match(&of(line)) != self.has('v')) {
            match shows {
                true => all.extend(regex.find_iter(line).map(|found| found.as_str())),
                false => all.push(*line),
            }
        }
        let is_true = !all.is_empty();
        let text = match () {
            () if self.has('q') => String::new(),
            () if self.has('c') && shows => return None,
            () if self.has('c') => format!("{}\n", all.len()),
            () => all
                .iter()
                .filter(|line| !shows || !line.is_empty())
                .map(|line| format!("{line}\n"))
                .collect(),
        };
        Some(Printed { text, is_true })
    }

    fn edited(&self, lines: &[&str]) -> Option<Vec<String>> {
        let is_extended = self.has('E') || self.has('r');
        let edits = self.options.iter().filter(|(own, _)| *own == 'e').map(|(_, text)| *text);
        let edits: Vec<&str> = edits.chain(self.own.iter().copied()).collect();
        let edits = Edit::all(&edits.join("\n"), is_extended)?;
        let mut all = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            let (mut line, mut is_there) = ((*line).to_owned(), true);
            for edit in &edits {
                if !edit.place.is(at, lines.len(), &line) {
                    continue;
                }
                match &edit.act {
                    Act::Delete => {
                        is_there = false;
                        break;
                    }
                    Act::Print => all.push(line.clone()),
                    Act::Replace { by, .. } if by.len() * (line.len() + 1) > LONGEST => {
                        return None;
                    }
                    Act::Replace { regex, by, is_global } => {
                        let n = usize::from(!is_global);
                        line = regex
                            .replacen(&line, n, |found: &Captures<'_>| filled(by, found))
                            .into_owned();
                    }
                }
            }
            if is_there && !self.has('n') {
                all.push(line);
            }
        }
        Some(all)
    }

    /// `awk '{print $1}'`.
    fn printed(&self, lines: &[&str]) -> Option<Vec<String>> {
        let program = self.own.first()?.trim();
        let (place, action) = program.split_once('{')?;
        let action = action.trim().strip_suffix('}')?.trim().trim_end_matches(';').trim();
        let (place, action) = (place.trim(), action.strip_prefix("print")?.trim());
        let place = match place.strip_prefix("NR==").or_else(|| place.strip_prefix("NR == ")) {
            Some(n) => Place::Line(n.parse().ok()?),
            None if place.is_empty() => Place::All,
            None => {
                let pattern = place.strip_prefix('/')?.strip_suffix('/')?;
                Place::Found(
                    Some(pattern)
                        .filter(|text| !text.contains('/'))
                        .and_then(|text| regular(text, true))?,
                )
            }
        };
        let separator = self.value('F');
        let is_plain =
            |text: &str| text.chars().all(|c| c.is_alphanumeric() || ":,=/-_ ".contains(c));
        if !separator.is_none_or(|text| is_plain(text) && !text.is_empty() && text != "t") {
            return None;
        }
        let mut all = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            if !place.is(at, lines.len(), line) {
                continue;
            }
            let parts: Vec<&str> = match separator {
                Some(" ") | None => {
                    line.split([' ', '\t']).filter(|part| !part.is_empty()).collect()
                }
                Some(_) if line.is_empty() => Vec::new(),
                Some(separator) => line.split(separator).collect(),
            };
            all.push(match action {
                "" | "$0" => (*line).to_owned(),
                "NF" => parts.len().to_string(),
                "NR" => (at + 1).to_string(),
                "$NF" => parts.last().copied().unwrap_or(line).to_owned(),
                action => {
                    let n: usize = action.strip_prefix('$')?.parse().ok()?;
                    parts.get(n.checked_sub(1)?).copied().unwrap_or_default().to_owned()
                }
            });
        }
        Some(all)
    }
}

/// The lines that a command is for.
enum Place {
    All,
    Line(usize),
    Last,
    Found(Regex),
}

impl Place {
    fn is(&self, at: usize, n: usize, line: &str) -> bool {
        match self {
            Self::All => true,
            Self::Line(own) => *own == at + 1,
            Self::Last => at + 1 == n,
            Self::Found(regex) => regex.is_match(line),
        }
    }
}

enum Act {
    Delete,
    Print,
    Replace { regex: Regex, by: String, is_global: bool },
}

/// A command of `sed`.
struct Edit {
    place: Place,
    act: Act,
}

impl Edit {
    fn all(text: &str, is_extended: bool) -> Option<Vec<Self>> {
        let (mut all, mut rest) = (Vec::new(), text);
        loop {
            rest = rest.trim_start_matches([' ', ';', '\n']);
            if rest.is_empty() {
                return Some(all);
            }
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let place = if digits > 0 {
                let n = rest[..digits].parse().ok()?;
                rest = &rest[digits..];
                Place::Line(n)
            } else if let Some(later) = rest.strip_prefix('$') {
                rest = later;
                Place::Last
            } else if let Some(later) = rest.strip_prefix('/') {
                let (pattern, later) = delimited(later, '/')?;
                rest = later;
                Place::Found(regular(&pattern, is_extended).filter(|_| !pattern.is_empty())?)
            } else {
                Place::All
            };
            let act = rest.chars().next()?;
            rest = &rest[act.len_utf8()..];
            let act = match act {
                'd' => Act::Delete,
                'p' => Act::Print,
                's' => {
                    let sign = rest.chars().next().filter(char::is_ascii_punctuation)?;
                    let (pattern, later) = delimited(&rest[1..], sign)?;
                    let (by, later) = delimited(later, sign)?;
                    let is_global = later.starts_with('g');
                    rest = &later[usize::from(is_global)..];
                    let is_plain = exact(&pattern) && !pattern.is_empty() && !by.contains('\n');
                    let regex = regular(&pattern, is_extended).filter(|_| is_plain)?;
                    Act::Replace { regex, by, is_global }
                }
                _ => return None,
            };
            if !(rest.is_empty()
                || rest.trim_start_matches(' ').starts_with([';', '\n'])
                || rest.trim().is_empty())
            {
                return None;
            }
            all.push(Self { place, act });
            if all.len() > MOST_EDITS {
                return None;
            }
        }
    }
}

/// The text up to a sign, which a backslash makes a letter, and the rest behind it.
fn delimited(text: &str, sign: char) -> Option<(String, &str)> {
    let (mut all, mut letters) = (String::new(), text.char_indices());
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => match letters.next()?.1 {
                next if next == sign => all.push(next),
                next => all.extend(['\\', next]),
            },
            letter if letter == sign => return Some((all, &text[at + sign.len_utf8()..])),
            letter => all.push(letter),
        }
    }
    None
}

/// What replaces something that `sed` found.
fn filled(by: &str, found: &Captures<'_>) -> String {
    let (mut all, mut letters) = (String::new(), by.chars());
    let group = |at: usize| found.get(at).map_or("", |group| group.as_str());
    while let Some(letter) = letters.next() {
        match letter {
            '&' => all.push_str(group(0)),
            '\\' => match letters.next() {
                Some(digit @ '0'..='9') => all.push_str(group(digit as usize - '0' as usize)),
                Some('n') => all.push('\n'),
                Some('t') => all.push('\t'),
                next => all.extend(next),
            },
            letter => all.push(letter),
        }
    }
    all
}

/// The letters of a set of `tr`; `None` for one that is not followed.
fn letters_of(set: &str) -> Option<Vec<char>> {
    let mut all = Vec::new();
    let text = unescaped(set, true);
    let mut rest = text.as_str();
    while let Some(letter) = rest.chars().next() {
        if let Some((class, later)) = rest.strip_prefix("[:").and_then(|rest| rest.split_once(":]"))
        {
            let is_in: fn(&char) -> bool = match class {
                "lower" => char::is_ascii_lowercase,
                "upper" => char::is_ascii_uppercase,
                "digit" => char::is_ascii_digit,
                "alpha" => char::is_ascii_alphabetic,
                "alnum" => char::is_ascii_alphanumeric,
                "punct" => char::is_ascii_punctuation,
                "blank" => |c| " \t".contains(*c),
                "space" => |c| " \t\n\r\u{b}\u{c}".contains(*c),
                _ => return None,
            };
            all.extend((0..128_u8).map(char::from).filter(is_in));
            rest = later;
            continue;
        }
        let behind = &rest[letter.len_utf8()..];
        let range = behind.strip_prefix('-').and_then(|rest| rest.chars().next());
        match range {
            Some(last) if last >= letter && last.is_ascii() => {
                all.extend(letter..=last);
                rest = &behind[2..];
            }
            Some(_) => return None,
            None => {
                all.push(letter);
                rest = behind;
            }
        }
    }
    Some(all)
}
