//! What reaches the user: data to stdout, talk to stderr; colour only on a terminal.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::OnceLock;

use anstyle::{AnsiColor, Style};
use documents::diagnostic::DiagnosticDocument;
use ir::diagnostic::{Blame, Diagnostic, Severity, Value};
use serde_json::{Value as Json, json};

use crate::table::wrapped;
use crate::{screen, table};
use engine::answer::escape::{self, escape};
use engine::answer::page::{Column, Format, Page, Part};

/// Widest line, however wide the terminal is.
const WIDEST: usize = 88;
/// Narrowest line that is laid out for.
const NARROWEST: usize = 60;
/// List entries of a fact that are shown.
const LISTED: usize = 8;

/// Knows where the output goes and how wide it may be.
#[derive(Clone, Debug)]
pub(crate) struct Printer {
    /// Who reads stdout.
    pub(crate) format: Format,
    /// Columns that a line may take.
    pub(crate) width: usize,
    palette: Palette,
    /// Why stdout could not be written, once it could not.
    broken: OnceLock<String>,
    /// Set where each JSON document takes one line.
    one_line: OnceLock<()>,
}

#[derive(Clone, Copy, Debug)]
struct Palette {
    error: Style,
    warning: Style,
    hint: Style,
    strong: Style,
}

/// Whether a stream is a terminal, and its user wants colours there.
pub(crate) fn takes_colour(stream: &impl IsTerminal) -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
        && stream.is_terminal()
}

impl Palette {
    fn new(stream: &impl IsTerminal) -> Self {
        let plain = Style::new();
        if !takes_colour(stream) {
            return Self { error: plain, warning: plain, hint: plain, strong: plain };
        }
        let colour = |c: AnsiColor| c.on_default().bold();
        Self {
            error: colour(AnsiColor::Red),
            warning: colour(AnsiColor::Yellow),
            hint: colour(AnsiColor::Cyan),
            strong: plain.bold(),
        }
    }
}

impl Printer {
    /// A printer for this process's streams. The width is the terminal's (or `COLUMNS`), between
    /// 60 and 88.
    pub(crate) fn new(format: Format) -> Self {
        let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
        let terminal = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        let width = columns.or_else(terminal).unwrap_or(WIDEST).clamp(NARROWEST, WIDEST);
        Self {
            format,
            width,
            palette: Palette::new(&io::stderr()),
            broken: OnceLock::new(),
            one_line: OnceLock::new(),
        }
    }

    /// From now on each JSON document takes one line, because there are several.
    pub(crate) fn one_line_each(&self) {
        self.one_line.get_or_init(|| ());
    }

    /// What went wrong on stdout, if something did. A reader that went away (`| head`) is no
    /// error.
    pub(crate) fn broken(&self) -> Option<Diagnostic> {
        let reason = self.broken.get()?.clone();
        let message = "stdout can not be written";
        Some(Diagnostic::error(Blame::Internal, "stdout-failed", message).fact("reason", reason))
    }

    /// An error that stdout can't take any more, on stderr whoever reads stdout.
    pub(crate) fn last_words(&self, error: &Diagnostic) {
        talk(&self.diagnostic(error));
    }

    /// Writes to stdout as it is.
    pub(crate) fn raw(&self, text: &str) {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                self.broken.get_or_init(|| error.to_string());
            }
            _ => {}
        }
    }

    /// Shows a page that a function writes, and returns what it returns.
    pub(crate) fn page<T>(&self, write: impl FnOnce(&Page) -> T) -> T {
        let page = Page::new(self.format, self.one_line.get().is_some());
        let result = write(&page);
        for part in page.into_parts() {
            match part {
                Part::Text(text) => self.text(&text),
                Part::Line(line) => self.line(&line),
                Part::Table(table) => self.table(&table.columns, table.rows),
                Part::Talk(line) => self.talk(&line),
                Part::TalkTable(table) => {
                    talk(&table::render(&table.columns, table.rows, self.width))
                }
                Part::Screen(screen) => {
                    let short =
                        |diagnostic: &Diagnostic| self.diagnostic_of(diagnostic, screen.is_whole);
                    let (answer, beside) = screen::render(&screen, self.width, short);
                    self.text(&answer);
                    talk(&beside);
                }
                Part::Warnings(warnings) => self.warnings(&warnings),
                Part::Failure(error, exit) => self.failure(&error, exit),
                Part::Document(_, text) => self.raw(&escape::json(text)),
            }
        }
        result
    }

    /// Data for people; nothing in JSON. The text is laid out already and its names are escaped.
    pub(crate) fn text(&self, text: &str) {
        if self.format == Format::Text {
            self.raw(text);
        }
    }

    /// A sentence for people on stdout, escaped and wrapped.
    pub(crate) fn line(&self, line: &str) {
        self.text(&wrapped(&escape(line), "", "  ", self.width));
    }

    /// A table for people.
    pub(crate) fn table(&self, columns: &[Column], rows: Vec<Vec<String>>) {
        if self.format == Format::Text {
            self.text(&table::render(columns, rows, self.width));
        }
    }

    /// The one JSON document of a run; nothing for people.
    pub(crate) fn document(&self, document: &Json) {
        if self.format == Format::Json {
            let text = match self.one_line.get() {
                Some(()) => serde_json::to_string(document),
                None => serde_json::to_string_pretty(document),
            };
            self.raw(&escape::json(text.unwrap_or_default() + "\n"));
        }
    }

    /// Talk on stderr, such as `wrote plan.json`; silent in JSON.
    pub(crate) fn talk(&self, line: &str) {
        if self.format == Format::Text {
            talk(&wrapped(&escape(line), "", "  ", self.width));
        }
    }

    /// Warnings on stderr; in JSON they are part of the document.
    pub(crate) fn warnings(&self, warnings: &[Diagnostic]) {
        if self.format == Format::Text {
            for warning in warnings {
                talk(&self.diagnostic(warning));
            }
        }
    }

    /// An error that ends the run: on stderr, or a JSON document on stdout.
    pub(crate) fn failure(&self, error: &Diagnostic, exit: u8) {
        match self.format {
            Format::Text => talk(&self.diagnostic(error)),
            Format::Json => {
                // An interrupted run ends otherwise than its blame says.
                let error = DiagnosticDocument { exit_code: Some(exit), ..error.into() };
                self.document(&json!({ "error": error, "exit_code": exit }));
            }
        }
    }

    /// A diagnostic as text: `error[code]: message`, its facts, its hints.
    pub(crate) fn diagnostic(&self, diagnostic: &Diagnostic) -> String {
        self.diagnostic_of(diagnostic, true)
    }

    /// The same with or without its facts.
    fn diagnostic_of(&self, diagnostic: &Diagnostic, has_facts: bool) -> String {
        let (word, style, indent) = match diagnostic.severity {
            Severity::Error => ("error", self.palette.error, ""),
            Severity::Warning => ("warning", self.palette.warning, "  "),
        };
        let strong = match diagnostic.severity {
            Severity::Error => self.palette.strong,
            Severity::Warning => Style::new(),
        };
        let head = format!("{word}[{}]: ", diagnostic.code);
        let message = wrapped(&escape(&diagnostic.message), &head, "  ", self.width);
        // Styles go in after the wrapping, which counts characters.
        let message = message.strip_prefix(&head).unwrap_or(&message).trim_end().to_owned();
        let code = head.trim_end_matches(": ");
        let mut text = format!("{style}{code}{style:#}: {strong}{message}{strong:#}\n");
        let facts: Vec<String> = match has_facts {
            true => facts(diagnostic),
            false => Vec::new(),
        };
        if !facts.is_empty() {
            text.push_str(&wrapped(&facts.join("; "), "  ", "  ", self.width));
        }
        for hint in &diagnostic.hints {
            let label = format!("{indent}hint: ");
            let body = wrapped(&escape(hint), &label, "        ", self.width);
            let body = body.strip_prefix(&label).unwrap_or(&body);
            let style = self.palette.hint;
            text.push_str(&format!("{indent}{style}hint{style:#}: {body}"));
        }
        text
    }
}

/// Facts in words: no size twice, proof and what would help last.
fn facts(diagnostic: &Diagnostic) -> Vec<String> {
    const PROVED: &str = "certificate";
    const OF_PROGRAMS: [&str; 4] = ["shortfall_bytes", "binds", "resolved_by", "not_resolved_by"];
    const IN_USABLE: [&str; 4] = ["have", "capacity", "context", "margin"];
    let has_usable = diagnostic.facts.iter().any(|(name, _)| *name == "usable");
    let certificate = diagnostic.facts.iter().find(|(name, _)| *name == PROVED);
    let said = diagnostic.message.clone() + &certificate.map_or_else(String::new, fact);
    let is_said = |(name, value): &(&str, Value)| {
        let is_size = matches!(value, Value::Bytes(bytes) if said.contains(&bytes.to_string()));
        let is_nothing = matches!(value, Value::Bytes(ir::units::Bytes(0)));
        let is_in_usable = has_usable && IN_USABLE.contains(name);
        OF_PROGRAMS.contains(name) || is_size || is_nothing || is_in_usable
    };
    let named = |name: &str| {
        let fact = diagnostic.facts.iter().find(|(key, _)| *key == name);
        let list = fact.and_then(|(_, value)| match value {
            Value::List(names) => Some(names.iter().map(|name| change(name)).collect::<Vec<_>>()),
            _ => None,
        });
        list.map(|changes| changes.join(" or "))
    };
    let shown = diagnostic.facts.iter().filter(|fact| !is_said(fact) && fact.0 != PROVED);
    let proof = certificate.map(|proof| fact(proof).replacen(PROVED, "proof:", 1));
    let vain = named("not_resolved_by").map(|changes| format!("{changes} would not help"));
    let helps = named("resolved_by").map(|changes| format!("{changes} would help"));
    shown.map(fact).chain(proof).chain(vain).chain(helps).collect()
}

/// A constraint that is loosened, in words.
fn change(constraint: &str) -> String {
    match constraint {
        "offload" => "optimizer states on hosts".to_owned(),
        "devices" => "more devices".to_owned(),
        "memory" => "more memory per device".to_owned(),
        "dtype" => "a narrower type".to_owned(),
        "executor" => "another launcher".to_owned(),
        other => format!("another {}", escape(other)),
    }
}

/// `DP 8, TP 2, PP 4` of degrees that programs read with their names.
fn abbreviated(degrees: &str) -> String {
    let names = [("data ", "DP "), (" x tensor ", ", TP "), (" x pipeline ", ", PP ")];
    let others = [(" x context ", ", CP "), (", expert ", ", EP ")];
    names.iter().chain(&others).fold(degrees.to_owned(), |text, (from, to)| text.replace(from, to))
}

fn fact((name, value): &(&'static str, Value)) -> String {
    let value = match value {
        Value::Text(text) if name == &"plan" => abbreviated(&escape(text)),
        Value::Text(text) => escape(text),
        Value::Count(count) => count.to_string(),
        Value::Real(real) => format!("{real:.4}"),
        Value::Bytes(bytes) => bytes.to_string(),
        Value::Nanos(nanos) => nanos.to_string(),
        Value::List(names) => listed(names, |name| escape(name)),
        Value::Sizes(sizes) => listed(sizes, |(name, bytes)| format!("{}: {bytes}", escape(name))),
    };
    format!("{} {value}", name.replace('_', " "))
}

/// The first of them, and how many more there are.
fn listed<T>(all: &[T], text: impl Fn(&T) -> String) -> String {
    let mut shown: Vec<String> = all.iter().take(LISTED).map(text).collect();
    if all.len() > LISTED {
        shown.push(format!("... and {} more", all.len() - LISTED));
    }
    shown.join(", ")
}

/// Writes to stderr; there is nowhere left to say that it failed.
fn talk(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
