//! The words of Bash, letter by letter.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use super::super::limits::MAX_NESTING;
use super::grammar::{Fault, Parsed};
use super::tree::{Index, Operation, Parameter, Part, Word, printed};
use super::values::{CLOSE, OPEN};

/// Letters at most that show an expansion.
const LONGEST_SHOWN: usize = 60;

/// Letters that part words.
const META: &str = " \t\n;&|<>()";

/// How letters are read.
#[derive(Clone, Copy)]
pub(super) struct Mode {
    stops: &'static str,
    /// Whether a backslash and single quotes are letters, as in double quotes.
    is_quoted: bool,
    /// Whether double quotes are letters.
    is_document: bool,
    /// Whether parentheses belong to it in pairs.
    has_pairs: bool,
}

impl Mode {
    const WORD: Self = Self { stops: META, is_quoted: false, is_document: false, has_pairs: false };
    const DOUBLE: Self = Self { stops: "\"", is_quoted: true, ..Self::WORD };
    const DOCUMENT: Self = Self { stops: "", is_quoted: true, is_document: true, ..Self::WORD };

    pub(super) const fn sum(stops: &'static str) -> Self {
        Self { stops, is_quoted: true, is_document: false, has_pairs: true }
    }

    pub(super) const fn key() -> Self {
        Self { stops: "]\n", ..Self::WORD }
    }

    pub(super) const fn regex() -> Self {
        Self { stops: " \t\n", ..Self::WORD }
    }

    /// The word of a `${..}`.
    const fn operand(stops: &'static str, is_quoted: bool) -> Self {
        Self { stops, is_quoted, ..Self::WORD }
    }
}

/// A here-document that begins behind the line.
struct Pending {
    end: String,
    is_quoted: bool,
    strips: bool,
    body: Rc<OnceCell<Word>>,
}

pub(super) struct Reader<'t> {
    text: &'t str,
    pub(super) at: usize,
    depth: usize,
    pending: Vec<Pending>,
    /// Places where two parentheses begin no sum.
    no_sums: BTreeSet<usize>,
}

impl<'t> Reader<'t> {
    pub(super) const fn new(text: &'t str) -> Self {
        Self { text, at: 0, depth: 0, pending: Vec::new(), no_sums: BTreeSet::new() }
    }

    pub(super) fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn starts_with(&self, sign: &str) -> bool {
        self.rest().starts_with(sign)
    }

    pub(super) fn takes(&mut self, sign: &str) -> bool {
        let is_there = !sign.is_empty() && self.starts_with(sign);
        self.at += if is_there { sign.len() } else { 0 };
        is_there
    }

    pub(super) fn expect(&mut self, sign: &str) -> Parsed<()> {
        if self.takes(sign) { Ok(()) } else { Err(Fault::Syntax) }
    }

    pub(super) fn enter(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > MAX_NESTING { Err(Fault::Deep) } else { Ok(()) }
    }

    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Whether a word can't begin here.
    pub(super) fn is_end(&self) -> bool {
        let is_file = self.starts_with("<(") || self.starts_with(">(");
        self.peek().is_none_or(|letter| META.contains(letter)) && !is_file
    }

    /// Steps over blanks, lines that go on, and a comment.
    pub(super) fn blanks(&mut self) {
        loop {
            let rest = self.rest();
            let n = rest.len() - rest.trim_start_matches([' ', '\t']).len();
            self.at += n;
            if self.takes("\\\n") {
                continue;
            }
            if self.starts_with("#") {
                self.at += self.rest().find('\n').unwrap_or(self.rest().len());
            }
            return;
        }
    }

    /// The same and over ends of lines, behind which here-documents begin.
    pub(super) fn lines(&mut self) -> Parsed<()> {
        loop {
            self.blanks();
            if !self.takes("\n") {
                return Ok(());
            }
            self.documents()?;
        }
    }

    /// The letters without quotes up to the end of a word; none where quotes are behind them.
    pub(super) fn run(&self) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|c: char| META.contains(c) || "\"'`$\\\u{1}".contains(c));
        &rest[..end.unwrap_or(rest.len())]
    }

    /// The word that may be one of the grammar.
    pub(super) fn keyword(&self) -> &'t str {
        let run = self.run();
        let next = self.rest()[run.len()..].chars().next();
        if next.is_some_and(|next| "\"'`$\\\u{1}".contains(next)) { "" } else { run }
    }

    pub(super) fn name(&self) -> &'t str {
        let rest = self.rest();
        let is_name = |c: char| c == '_' || c.is_ascii_alphanumeric();
        let name = &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())];
        if name.starts_with(|c: char| c.is_ascii_digit()) { "" } else { name }
    }

    /// Notes a here-document by the word that ends it.
    pub(super) fn document(&mut self, strips: bool, body: &Rc<OnceCell<Word>>) -> Parsed<()> {
        let start = self.at;
        let mut end = String::new();
        for part in self.word()? {
            match part {
                Part::Text(text) | Part::Quoted(text) => end.push_str(&text),
                Part::Double(parts) => {
                    for part in parts {
                        let Part::Text(text) = part else { return Err(Fault::Syntax) };
                        end.push_str(&text);
                    }
                }
                _ => return Err(Fault::Syntax),
            }
        }
        let is_quoted = self.text[start..self.at].contains(['"', '\'', '\\']);
        self.pending.push(Pending { end, is_quoted, strips, body: body.clone() });
        Ok(())
    }

    /// Reads the here-documents that begin here.
    fn documents(&mut self) -> Parsed<()> {
        for Pending { end, is_quoted, strips, body } in std::mem::take(&mut self.pending) {
            let mut text = String::new();
            while self.peek().is_some() {
                let rest = self.rest();
                let line = &rest[..rest.find('\n').map_or(rest.len(), |n| n + 1)];
                self.at += line.len();
                let line = if strips { line.trim_start_matches('\t') } else { line };
                if line.strip_suffix('\n').unwrap_or(line) == end {
                    break;
                }
                text.push_str(line);
            }
            let word = match is_quoted {
                true => vec![Part::Quoted(text)],
                false => self.inner(&text, |reader| reader.parts(Mode::DOCUMENT))?,
            };
            body.set(word).map_err(|_| Fault::Syntax)?;
        }
        Ok(())
    }

    /// Reads another text, as deep as this one.
    fn inner<T>(&self, text: &str, read: impl FnOnce(&mut Reader<'_>) -> Parsed<T>) -> Parsed<T> {
        let mut reader = Reader::new(text);
        reader.depth = self.depth;
        reader.enter()?;
        let found = read(&mut reader)?;
        reader.lines()?;
        reader.documents()?;
        if reader.peek().is_none() { Ok(found) } else { Err(Fault::Syntax) }
    }

    pub(super) fn word(&mut self) -> Parsed<Word> {
        self.parts(Mode::WORD)
    }

    /// Parts up to a letter that stops them, or the end where nothing has to.
    pub(super) fn parts(&mut self, mode: Mode) -> Parsed<Word> {
        self.enter()?;
        let (mut all, mut pairs) = (Word::new(), 0_usize);
        loop {
            let Some(letter) = self.peek() else {
                let may_end = mode.stops.contains('\n') || mode.is_document;
                self.leave();
                return if may_end { Ok(all) } else { Err(Fault::Syntax) };
            };
            let is_pair = mode.has_pairs && (letter == '(' || letter == ')' && pairs > 0);
            let is_stop = mode.stops.contains(letter) && pairs == 0;
            if is_stop || mode.has_pairs && letter == ')' && !is_pair {
                let is_process = "<>".contains(letter) && self.rest()[1..].starts_with('(');
                let is_pattern = letter == '(' && ends_extended(&all);
                if !(is_process || is_pattern) {
                    self.leave();
                    return Ok(all);
                }
            }
            if is_pair {
                pairs = if letter == '(' { pairs + 1 } else { pairs - 1 };
            }
            self.part(letter, mode, &mut all)?;
        }
    }

    fn part(&mut self, letter: char, mode: Mode, all: &mut Word) -> Parsed<()> {
        let from = self.at;
        self.at += letter.len_utf8();
        match letter {
            OPEN => {
                self.at += self.rest().find(CLOSE).map_or(0, |n| n + 1);
                push(all, &self.text[from..self.at]);
            }
            '\\' if self.takes("\n") => {}
            '\\' => self.escaped(mode, all),
            '\'' if !mode.is_quoted => {
                let n = self.rest().find('\'').ok_or(Fault::Syntax)?;
                all.push(Part::Quoted(self.rest()[..n].to_owned()));
                self.at += n + 1;
            }
            '"' if !mode.is_document => {
                let parts = self.parts(Mode::DOUBLE)?;
                self.at += 1;
                all.push(Part::Double(parts));
            }
            '`' => {
                let text = self.backquoted(mode)?;
                let list = self.inner(&text, |reader| reader.list_to_end())?;
                all.push(Part::Output(Rc::new(printed(list)), self.shown(from)));
            }
            '$' => self.dollar(from, mode, all)?,
            '<' | '>' if mode.stops == META => {
                self.at += 1;
                let list = self.list(&[")"])?;
                self.at += 1;
                all.push(Part::Process(Rc::new(list)));
            }
            '(' if mode.stops == META => {
                let parts = self.parts(Mode::sum(""))?;
                self.expect(")")?;
                let is_plain = |part: &Part| matches!(part, Part::Text(_) | Part::Quoted(_));
                if !parts.iter().all(is_plain) {
                    return Err(Fault::Syntax);
                }
                push(all, &self.text[from..self.at]);
            }
            _ => push(all, &self.text[from..self.at]),
        }
        Ok(())
    }

    /// Takes the letter behind a backslash.
    fn escaped(&mut self, mode: Mode, all: &mut Word) {
        let next = self.peek();
        let is_special = |c: &char| {
            "$`\\".contains(*c) || *c == '"' && !mode.is_document || mode.stops.contains(*c)
        };
        match next.filter(|next| !mode.is_quoted || is_special(next)) {
            Some(next) => {
                all.push(Part::Quoted(next.to_string()));
                self.at += next.len_utf8();
            }
            None => push(all, "\\"),
        }
    }

    fn backquoted(&mut self, mode: Mode) -> Parsed<String> {
        let mut text = String::new();
        loop {
            let letter = self.peek().ok_or(Fault::Syntax)?;
            self.at += letter.len_utf8();
            match letter {
                '`' => return Ok(text),
                '\\' => {
                    let next = self.peek().ok_or(Fault::Syntax)?;
                    let is_special = "$`\\".contains(next) || next == '"' && mode.is_quoted;
                    if !is_special {
                        text.push('\\');
                    }
                    text.push(next);
                    self.at += next.len_utf8();
                }
                _ => text.push(letter),
            }
        }
    }

    /// What is behind a `$`.
    fn dollar(&mut self, from: usize, mode: Mode, all: &mut Word) -> Parsed<()> {
        let next = self.peek();
        match next {
            Some('\'') if !mode.is_quoted => {
                self.at += 1;
                let text = self.ansi()?;
                all.push(Part::Quoted(text));
            }
            Some('"') if !mode.is_quoted => {}
            Some('(') => {
                if self.starts_with("((")
                    && let Some(sum) = self.sum("((")?
                {
                    all.push(Part::Sum(sum, self.shown(from)));
                    return Ok(());
                }
                self.at += 1;
                let list = self.list(&[")"])?;
                self.at += 1;
                all.push(Part::Output(Rc::new(printed(list)), self.shown(from)));
            }
            Some('[') => {
                self.at += 1;
                let sum = self.parts(Mode { stops: "]", ..Mode::sum("") })?;
                self.expect("]")?;
                all.push(Part::Sum(sum, self.shown(from)));
            }
            Some('{') => {
                self.at += 1;
                let mut parameter = self.braced(mode)?;
                self.expect("}")?;
                parameter.shown = self.shown(from);
                all.push(Part::Parameter(Box::new(parameter)));
            }
            _ => self.plain_parameter(from, all),
        }
        Ok(())
    }

    /// Takes a name behind a `$`, which is a letter without one.
    fn plain_parameter(&mut self, from: usize, all: &mut Word) {
        let name = self.name();
        let special = self.peek().filter(|c| "@*#?!-$".contains(*c) || c.is_ascii_digit());
        let length = name.len().max(special.map_or(0, char::len_utf8));
        if length == 0 {
            push(all, "$");
            return;
        }
        let mut name = self.rest()[..length].to_owned();
        self.at += length;
        // A name may go on in the next line.
        while special.is_none() && self.takes("\\\n") {
            let is_name = |c: char| c == '_' || c.is_ascii_alphanumeric();
            let rest = self.rest();
            let more = &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())];
            name.push_str(more);
            self.at += more.len();
        }
        all.push(Part::Parameter(Box::new(Parameter {
            name,
            index: None,
            is_indirect: false,
            operation: Operation::None,
            shown: self.shown(from),
        })));
    }

    /// What is between the parentheses of `((..))`; `None` where they are none of a sum.
    pub(super) fn sum(&mut self, open: &str) -> Parsed<Option<Word>> {
        let (start, depth) = (self.at, self.depth);
        if self.no_sums.contains(&start) {
            return Ok(None);
        }
        self.at += open.len();
        match self.parts(Mode::sum("")) {
            Ok(word) if self.takes("))") => return Ok(Some(word)),
            Err(Fault::Deep) => return Err(Fault::Deep),
            // What is open at the end is neither.
            Err(Fault::Syntax) if self.peek().is_none() => return Err(Fault::Syntax),
            _ => {}
        }
        self.no_sums.insert(start);
        (self.at, self.depth) = (start, depth);
        Ok(None)
    }

    /// The inside of `${..}`.
    fn braced(&mut self, mode: Mode) -> Parsed<Parameter> {
        self.enter()?;
        let is_length = self.starts_with("#")
            && !self.starts_with("#}")
            && !["#-", "#:", "#=", "#?", "##", "#%"].iter().any(|sign| self.starts_with(sign));
        self.at += usize::from(is_length);
        let is_indirect = !is_length && self.starts_with("!") && !self.starts_with("!}");
        self.at += usize::from(is_indirect);
        let mut name = self.name();
        if name.is_empty() {
            let rest = self.rest();
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let special = self.peek().filter(|c| "@*#?!-$".contains(*c));
            name = &rest[..digits.max(special.map_or(0, char::len_utf8))];
        }
        self.at += name.len();
        let name = name.to_owned();
        let mut index = None;
        if self.takes("[") {
            let key = self.parts(Mode { stops: "]", is_quoted: false, ..Mode::sum("") })?;
            self.expect("]")?;
            index = Some(match key.as_slice() {
                [Part::Text(all)] if all == "@" => Index::All { joins: false },
                [Part::Text(all)] if all == "*" => Index::All { joins: true },
                _ => Index::Key(key),
            });
        }
        let operation = match is_length {
            true => Operation::Length,
            false if name.is_empty() => return Err(Fault::Syntax),
            false => self.operation(mode)?,
        };
        self.leave();
        Ok(Parameter { name, index, is_indirect, operation, shown: String::new() })
    }

    fn operation(&mut self, mode: Mode) -> Parsed<Operation> {
        let is_quoted = mode.is_quoted;
        let pattern = Mode::operand("}", false);
        let sign = match self.peek() {
            None => return Err(Fault::Syntax),
            Some('}') => return Ok(Operation::None),
            Some(sign) => sign,
        };
        self.at += sign.len_utf8();
        let next = self.peek();
        Ok(match sign {
            ':' if next.is_some_and(|next| "-=+?".contains(next)) => {
                self.at += 1;
                let word = self.parts(Mode::operand("}", is_quoted))?;
                Operation::Default { sign: next.unwrap_or('-'), has_colon: true, word }
            }
            '-' | '=' | '+' | '?' => {
                let word = self.parts(Mode::operand("}", is_quoted))?;
                Operation::Default { sign, has_colon: false, word }
            }
            ':' => {
                let from = self.parts(Mode { stops: ":}", ..Mode::sum("") })?;
                let length = match self.takes(":") {
                    true => Some(self.parts(Mode { stops: "}", ..Mode::sum("") })?),
                    false => None,
                };
                Operation::Slice { from, length }
            }
            '#' | '%' => {
                let is_longest = self.takes(if sign == '#' { "#" } else { "%" });
                Operation::Trim { sign, is_longest, pattern: self.parts(pattern)? }
            }
            '/' => {
                let kind = next.filter(|c| "/#%".contains(*c));
                self.at += usize::from(kind.is_some());
                let pattern = self.parts(Mode::operand("/}", false))?;
                let by = match self.takes("/") {
                    true => self.parts(Mode::operand("}", is_quoted))?,
                    false => Word::new(),
                };
                Operation::Replace { kind, pattern, by }
            }
            '^' | ',' => {
                let is_all = self.takes(if sign == '^' { "^" } else { "," });
                match self.parts(pattern)?.is_empty() {
                    true => Operation::Case { sign, is_all },
                    false => Operation::Other,
                }
            }
            _ => {
                self.parts(pattern)?;
                Operation::Other
            }
        })
    }

    /// What `$'..'` means.
    fn ansi(&mut self) -> Parsed<String> {
        let start = self.at;
        loop {
            match self.peek().ok_or(Fault::Syntax)? {
                '\'' => break,
                '\\' => self.at += 1,
                _ => {}
            }
            self.at += self.peek().ok_or(Fault::Syntax)?.len_utf8();
        }
        let text = unescaped(&self.text[start..self.at], true);
        self.at += 1;
        Ok(text)
    }

    /// How the text from a place on is shown.
    fn shown(&self, from: usize) -> String {
        let text = &self.text[from..self.at];
        let is_output = text.starts_with("$(") && !text.starts_with("$((") || text.starts_with('`');
        let letter = |c: char| if c.is_whitespace() { ' ' } else { c };
        if !is_output && text.len() <= LONGEST_SHOWN && !text.contains(['"', '\'', '`']) {
            return text.chars().map(letter).collect();
        }
        // Without quotes and parentheses, so that it is one word.
        let inner = text.trim_start_matches(['$', '`', '(', '{']);
        let plain = inner.chars().filter(|c| !"\"'`(){}\\".contains(*c)).map(letter);
        let plain: String = plain.take(LONGEST_SHOWN).collect();
        format!("$({})", plain.trim())
    }
}

fn push(all: &mut Word, text: &str) {
    match all.last_mut() {
        Some(Part::Text(last)) => last.push_str(text),
        _ => all.push(Part::Text(text.to_owned())),
    }
}

/// Whether a pattern such as `@(a|b)` goes on.
fn ends_extended(all: &Word) -> bool {
    matches!(all.last(), Some(Part::Text(text)) if text.ends_with(['?', '*', '+', '@', '!']))
}

/// A text with its backslashes resolved, as `$'..'` and `printf` have them, or `echo -e`.
pub(super) fn unescaped(text: &str, has_quotes: bool) -> String {
    let (mut all, mut letters) = (String::new(), text.chars().peekable());
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            all.push(letter);
            continue;
        }
        let Some(next) = letters.next() else {
            all.push('\\');
            break;
        };
        let mut number = |radix: u32, most: usize, first: Option<char>| {
            let mut value = first.and_then(|first| first.to_digit(radix)).unwrap_or(0);
            for _ in 0..most {
                let Some(digit) = letters.peek().and_then(|c| c.to_digit(radix)) else { break };
                value = value * radix + digit;
                letters.next();
            }
            char::from_u32(value).unwrap_or('?')
        };
        match next {
            'n' => all.push('\n'),
            't' => all.push('\t'),
            'r' => all.push('\r'),
            'a' | 'b' | 'f' | 'v' | 'e' | 'E' => {}
            '\\' => all.push('\\'),
            '\'' | '"' | '?' if has_quotes => all.push(next),
            'x' => all.push(number(16, 2, None)),
            'u' => all.push(number(16, 4, None)),
            '0'..='7' => all.push(number(8, if next == '0' { 3 } else { 2 }, Some(next))),
            other => all.extend(['\\', other]),
        }
    }
    all
}
