//! What an answer says: sentences and tables for people, or one JSON document for programs.

use std::cell::RefCell;

use documents::diagnostic::DiagnosticDocument;
use ir::diagnostic::Diagnostic;
use serde::Serialize;
use serde_json::{Value, json};

use crate::answer::screen::Screen;

/// Who reads the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A person.
    Text,
    /// A program: one JSON document.
    Json,
}

/// How a column of a table is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Words: left, wrapped where the line is too short.
    Text(&'static str),
    /// Names that are pasted back: left, wrapped only where one is longer than half a line.
    Name(&'static str),
    /// What is worth seeing where there is room: takes what is left of the line, cut in the middle
    /// to fit, and left out where too little is left.
    Rest(&'static str),
    /// As [`Column::Rest`], but its last word is a name, and only the name's start is cut.
    RestName(&'static str),
    /// Numbers with units: right, never wrapped.
    Number(&'static str),
}

impl Column {
    /// Columns by their heads, between ` | `: words, `#` numbers, `@` names, `~` what takes the rest.
    #[must_use]
    pub fn row(heads: &'static str) -> Vec<Self> {
        let column = |head: &'static str| match head.as_bytes().first() {
            Some(b'#') => Self::Number(&head[1..]),
            Some(b'@') => Self::Name(&head[1..]),
            Some(b'~') => Self::Rest(&head[1..]),
            _ => Self::Text(head),
        };
        heads.split(" | ").map(column).collect()
    }

    /// The head of the column.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Text(title)
            | Self::Name(title)
            | Self::Rest(title)
            | Self::RestName(title)
            | Self::Number(title) => title,
        }
    }
}

/// Columns and rows of cells, not escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The columns.
    pub columns: Vec<Column>,
    /// By row, a cell per column.
    pub rows: Vec<Vec<String>>,
}

/// A part of a page.
#[derive(Clone, Debug)]
pub enum Part {
    /// Text that is laid out and escaped already.
    Text(String),
    /// A sentence.
    Line(String),
    /// A table.
    Table(Table),
    /// A sentence beside the answer, such as what was written.
    Talk(String),
    /// A table beside the answer.
    TalkTable(Table),
    /// The first screen: the answer, and beside it what to know before the plan is run.
    Screen(Box<Screen>),
    /// Warnings, beside the answer.
    Warnings(Vec<Diagnostic>),
    /// The error that ends the run, and its exit code.
    Failure(Diagnostic, u8),
    /// A document, and its JSON text: no number is read back from text.
    Document(Value, String),
}

/// The parts of an answer, in order.
#[derive(Debug)]
pub struct Page {
    /// Who reads it.
    pub format: Format,
    /// Whether a document takes one line.
    one_line: bool,
    parts: RefCell<Vec<Part>>,
}

impl Page {
    /// An empty page.
    #[must_use]
    pub const fn new(format: Format, one_line: bool) -> Self {
        Self { format, one_line, parts: RefCell::new(Vec::new()) }
    }

    /// An empty page for the same reader.
    pub(crate) const fn like(&self) -> Self {
        Self::new(self.format, self.one_line)
    }

    /// Takes on the parts of another page; what is said beside it is put into its document or its screen.
    pub(crate) fn append(
        &self,
        other: &Self,
        beside: impl Fn(&mut Value),
        on_screen: impl Fn(&mut Screen),
    ) {
        for part in other.parts.borrow().iter() {
            match part.clone() {
                Part::Screen(mut screen) => {
                    on_screen(&mut screen);
                    self.screen(*screen);
                }
                Part::Document(mut document, _) => {
                    beside(&mut document);
                    self.document(&document);
                }
                part => self.parts.borrow_mut().push(part),
            }
        }
    }

    /// Takes on the parts of another page as they are.
    pub(crate) fn take(&self, other: Self) {
        self.parts.borrow_mut().extend(other.into_parts());
    }

    /// All parts.
    #[must_use]
    pub fn into_parts(self) -> Vec<Part> {
        self.parts.into_inner()
    }

    fn add(&self, format: Format, part: impl FnOnce() -> Part) {
        if self.format == format {
            self.parts.borrow_mut().push(part());
        }
    }

    /// Text that is laid out and escaped already.
    pub fn text(&self, text: &str) {
        self.add(Format::Text, || Part::Text(text.to_owned()));
    }

    /// A sentence.
    pub fn line(&self, line: &str) {
        self.add(Format::Text, || Part::Line(line.to_owned()));
    }

    /// A table.
    pub fn table(&self, columns: &[Column], rows: Vec<Vec<String>>) {
        self.add(Format::Text, || Part::Table(Table { columns: columns.to_vec(), rows }));
    }

    /// A sentence beside the answer.
    pub fn talk(&self, line: &str) {
        self.add(Format::Text, || Part::Talk(line.to_owned()));
    }

    /// A table beside the answer.
    pub fn talk_table(&self, columns: &[Column], rows: Vec<Vec<String>>) {
        self.add(Format::Text, || Part::TalkTable(Table { columns: columns.to_vec(), rows }));
    }

    /// The first screen of an answer.
    pub fn screen(&self, screen: Screen) {
        self.add(Format::Text, || Part::Screen(Box::new(screen)));
    }

    /// Warnings; a document has them as a member.
    pub fn warnings(&self, warnings: &[Diagnostic]) {
        self.add(Format::Text, || Part::Warnings(warnings.to_vec()));
    }

    /// The document for programs.
    pub fn document(&self, document: &Value) {
        self.document_of(|| document.clone());
    }

    /// The same of a document that is made for programs only.
    pub(crate) fn document_of(&self, make: impl FnOnce() -> Value) {
        self.add(Format::Json, || {
            let document = make();
            let text = match self.one_line {
                true => serde_json::to_string(&document),
                false => serde_json::to_string_pretty(&document),
            };
            Part::Document(document, text.unwrap_or_default() + "\n")
        });
    }

    /// As [`Page::document`], for a document type, in the order of its fields.
    ///
    /// # Errors
    /// `internal` where it has no JSON form, which no document type is without.
    pub fn serialized(&self, document: &impl Serialize) -> Result<(), Diagnostic> {
        if self.format != Format::Json {
            return Ok(());
        }
        let text = match self.one_line {
            true => documents::json::line(document)?,
            false => documents::json::pretty(document)?,
        };
        let value = || serde_json::to_value(document).unwrap_or_default();
        self.add(Format::Json, || Part::Document(value(), text));
        Ok(())
    }

    /// The error that ends the run.
    pub fn failure(&self, error: &Diagnostic, exit: u8) {
        self.add(Format::Text, || Part::Failure(error.clone(), exit));
        // An interrupted run ends otherwise than its blame says.
        let error = DiagnosticDocument { exit_code: Some(exit), ..error.into() };
        self.document(&json!({ "error": error, "exit_code": exit }));
    }
}
