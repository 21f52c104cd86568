//! Words with values in place of variables, as commands get them.

use super::braces::{Found as Braced, braces};
use super::parameters::Found;
use super::tree::{List, Operation, Part, Word};
use super::values::{
    Doubt, Piece, counted, derived, is_known, pieces, unknown, with_names, with_signs,
};
use super::{Ran, Shell};

/// What a word costs beside its letters, as bytes.
const COST_OF_WORD: usize = 32;

/// A part of a word with its value.
enum Chunk {
    /// Letters as they are.
    Plain(String),
    /// A value that is not parted.
    Quoted(String),
    /// A value that is parted at blanks.
    Parted(String),
    /// Here the next word begins.
    Next,
}

impl Shell<'_> {
    /// The words that a word is for a command.
    pub(super) fn fields(&mut self, word: &Word) -> Ran<Vec<String>> {
        let mut all = Vec::new();
        match braces(word) {
            Some(words) => {
                for word in words {
                    self.spend(1)?;
                    self.add_fields(word.iter().map(Braced::part), &mut all)?;
                }
            }
            None => self.add_fields(word.iter(), &mut all)?,
        }
        Ok(all)
    }

    fn add_fields<'w>(
        &mut self,
        word: impl Iterator<Item = &'w Part>,
        all: &mut Vec<String>,
    ) -> Ran<()> {
        let mut chunks = Vec::new();
        for part in word {
            self.chunk(part, false, false, &mut chunks)?;
        }
        let separators = self.separators();
        let doubt = if self.state.has("nullglob") { Doubt::Plain } else { Doubt::Name };
        let doubt = Some(doubt).filter(|_| !self.state.has("noglob"));
        let (mut open, from): (Option<String>, _) = (None, all.len());
        for chunk in chunks {
            match chunk {
                Chunk::Plain(text) => {
                    open.get_or_insert_default().push_str(&with_signs(text));
                }
                Chunk::Quoted(text) => {
                    open.get_or_insert_default().push_str(&text);
                }
                Chunk::Next => all.extend(open.take()),
                Chunk::Parted(text) => {
                    let Some(separators) = &separators else {
                        open.get_or_insert_default().push_str(&derived(&text, "$IFS"));
                        continue;
                    };
                    self.spend(text.len())?;
                    part_at(&with_signs(text), separators, &mut open, all);
                }
            }
        }
        all.extend(open);
        for word in &mut all[from..] {
            *word = with_names(std::mem::take(word), doubt);
        }
        Ok(())
    }

    /// The letters that part values; `None` where they are unknown.
    fn separators(&self) -> Option<String> {
        match self.state.get("IFS").and_then(|ifs| ifs.value.as_ref()) {
            None => Some(" \t\n".to_owned()),
            Some(value) => value.scalar().filter(|text| is_known(text)).map(str::to_owned),
        }
    }

    /// A word as one text.
    pub(super) fn text(&mut self, word: &[Part]) -> Ran<String> {
        let mut chunks = Vec::new();
        for part in word {
            self.chunk(part, false, false, &mut chunks)?;
        }
        let mut all = String::new();
        for chunk in chunks {
            match chunk {
                Chunk::Plain(text) | Chunk::Quoted(text) | Chunk::Parted(text) => {
                    all.push_str(&text);
                }
                Chunk::Next => all.push(' '),
            }
        }
        self.spend(all.len())?;
        Ok(all)
    }

    /// A word as a pattern, in which a backslash is before letters that mean themselves.
    pub(super) fn pattern(&mut self, word: &[Part]) -> Ran<String> {
        let mut chunks = Vec::new();
        for part in word {
            self.chunk(part, false, false, &mut chunks)?;
        }
        let mut all = String::new();
        for chunk in chunks {
            match chunk {
                Chunk::Plain(text) | Chunk::Parted(text) => all.push_str(&text),
                Chunk::Next => all.push(' '),
                Chunk::Quoted(text) => {
                    for piece in pieces(&text) {
                        match piece {
                            Piece::Unknown { whole, .. } => all.push_str(whole),
                            Piece::Known(text) => {
                                for letter in text.chars() {
                                    all.extend((!letter.is_alphanumeric()).then_some('\\'));
                                    all.push(letter);
                                }
                            }
                        }
                    }
                }
            }
        }
        Ok(all)
    }

    fn chunk(
        &mut self,
        part: &Part,
        is_quoted: bool,
        is_operand: bool,
        all: &mut Vec<Chunk>,
    ) -> Ran<()> {
        let of_value = |text: String| match is_quoted {
            true => Chunk::Quoted(counted(&text, false)),
            false => Chunk::Parted(counted(&text, true)),
        };
        match part {
            Part::Text(text) if is_quoted => all.push(Chunk::Quoted(text.clone())),
            Part::Text(text) if is_operand => all.push(Chunk::Parted(text.clone())),
            Part::Text(text) => all.push(Chunk::Plain(text.clone())),
            Part::Quoted(text) => all.push(Chunk::Quoted(text.clone())),
            Part::Double(parts) => {
                all.extend(parts.is_empty().then(|| Chunk::Quoted(String::new())));
                for part in parts {
                    self.chunk(part, true, false, all)?;
                }
            }
            Part::Output(list, shown) => {
                let text = self.output_of(list, shown)?;
                all.push(of_value(text));
            }
            Part::Sum(word, shown) => {
                let value = self.sum_of(word)?;
                let text = value.map_or_else(
                    || counted(&unknown(Doubt::Plain, shown), false),
                    |value| value.to_string(),
                );
                all.push(Chunk::Quoted(text));
            }
            Part::Process(list) => {
                let name = self.file_of(list)?;
                all.push(Chunk::Quoted(name));
            }
            Part::Parameter(parameter) => match self.parameter(parameter)? {
                Found::Text(text) => all.push(of_value(text)),
                Found::List { all: list, joins } => {
                    self.listed(list, (joins, is_quoted), all)?;
                }
                Found::Word => {
                    if let Operation::Default { word, .. } = &parameter.operation {
                        self.enter()?;
                        if word.is_empty() && is_quoted {
                            all.push(Chunk::Quoted(String::new()));
                        }
                        for part in word {
                            self.chunk(part, is_quoted, true, all)?;
                        }
                        self.depth -= 1;
                    }
                }
            },
        }
        Ok(())
    }

    /// Adds the elements of a list, in quotes or not.
    fn listed(
        &mut self,
        list: Vec<String>,
        (joins, is_quoted): (bool, bool),
        all: &mut Vec<Chunk>,
    ) -> Ran<()> {
        let n = list.len();
        if joins && is_quoted {
            let separator = self.separators().unwrap_or_default();
            let separator: String = separator.chars().take(1).collect();
            all.push(Chunk::Quoted(list.join(&separator)));
            return Ok(());
        }
        for (at, one) in list.into_iter().enumerate() {
            self.spend(one.len() + COST_OF_WORD)?;
            all.push(if is_quoted { Chunk::Quoted(one) } else { Chunk::Parted(one) });
            all.extend((at + 1 < n).then_some(Chunk::Next));
        }
        Ok(())
    }

    /// The name of a file of what commands print.
    fn file_of(&mut self, list: &List) -> Ran<String> {
        let text = self.output_of(list, "$(file)")?;
        if !is_known(&text) {
            return Ok(unknown(Doubt::Plain, "$(file)"));
        }
        self.n_processes += 1;
        let name = format!("/proc/self/fd/{}", self.n_processes);
        self.files.write(&name, false, text + "\n", false);
        Ok(name)
    }
}

/// Adds a value that is parted at letters.
fn part_at(text: &str, separators: &str, open: &mut Option<String>, all: &mut Vec<String>) {
    for piece in pieces(text) {
        let text = match piece {
            Piece::Unknown { whole, .. } => {
                open.get_or_insert_default().push_str(whole);
                continue;
            }
            Piece::Known(text) => text,
        };
        let mut was_part = false;
        for letter in text.chars() {
            if !separators.contains(letter) {
                open.get_or_insert_default().push(letter);
                was_part = false;
            } else if letter.is_whitespace() {
                was_part |= open.is_some();
                all.extend(open.take());
            } else {
                if open.is_none() && !was_part {
                    all.push(String::new());
                }
                all.extend(open.take());
                was_part = false;
            }
        }
    }
}
