//! The first screen of an answer: what is planned, its figures and how sure they are, what else was close
//! and the next command. All else is behind `--all` and `explain`.

use documents::plan::PlanDocument;
use documents::shell;
use ir::diagnostic::Diagnostic;

use crate::answer::page::{Column, Page, Part, Table};

/// What a person reads first. It takes 24 lines of 88 columns at most: rows of the table and warnings that
/// have no room are counted.
#[derive(Clone, Debug, Default)]
pub struct Screen {
    /// Model, work of a step, devices.
    pub title: String,
    /// What the plan is and its figures, each after a label of at most eight letters.
    pub facts: Vec<(&'static str, String)>,
    /// What each device does, or the plans that were close.
    pub table: Option<Table>,
    /// What to know before the plan is run; without `--all` those that the reader can act on.
    pub warnings: Vec<Diagnostic>,
    /// Files that were written.
    pub written: Vec<String>,
    /// The flags by which other verbs find model and cluster of the plan.
    pub on: String,
    /// Command lines to type next, their words quoted for a shell, and what for.
    pub next: Vec<(String, &'static str)>,
    /// What runs the plan, where nobody named a launcher.
    pub target: Option<&'static str>,
    /// `--all`: nothing is left out.
    pub is_whole: bool,
}

impl Screen {
    /// A screen with a title alone.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// Adds a fact; none where there is no text.
    pub fn fact(&mut self, label: &'static str, text: impl Into<Option<String>>) {
        let text = text.into().map(|text| text.trim_end().to_owned());
        self.facts.extend(text.filter(|text| !text.is_empty()).map(|text| (label, text)));
    }

    /// Adds the table, where it has rows.
    pub fn table(&mut self, columns: &[Column], rows: Vec<Vec<String>>) {
        let table = Table { columns: columns.to_vec(), rows };
        self.table = Some(table).filter(|table| !table.rows.is_empty());
    }

    /// A screen of a step of a model.
    pub fn of_step(plan: &PlanDocument, step: &str, devices: &str) -> Self {
        Self::new(format!("{}, {step}, on {devices}", plan.model.name))
    }

    /// Takes what is printed to a page: its first table, and its lines as facts without a label.
    pub fn take(&mut self, page: &Page, print: impl FnOnce(&Page)) {
        let inner = page.like();
        print(&inner);
        for part in inner.into_parts() {
            match part {
                Part::Line(line) => self.fact("", line),
                Part::Table(table) if self.table.is_none() => {
                    self.table(&table.columns, table.rows)
                }
                _ => {}
            }
        }
    }

    /// How to write what a launcher reads, where the plan was written to a file and is one of a launcher.
    pub fn export(&mut self, target: &str) {
        let Some(row) = exporters::row(target) else { return };
        let output = match exporters::runs::find(target) {
            Ok((row, _)) if row.has_folder() => "--to run".to_owned(),
            _ => format!("-o {}", row.file_name),
        };
        let command = |plan: &str| format!("meshwright export {plan} --target {target} {output}");
        self.next(command, "what the launcher reads");
    }

    /// What to type next, where the plan was written to a file.
    pub fn next(&mut self, words: impl Fn(&str) -> String, what_for: &'static str) {
        if let Some(plan) = self.written.first() {
            self.next.push((words(&shell::quoted(plan)) + &self.on, what_for));
        }
    }
}

/// A figure with its interval and what follows from it, in columns.
pub fn figure(value: impl ToString, interval: Option<String>, rest: &str) -> String {
    let value = value.to_string();
    match interval {
        Some(interval) => format!("{value:<9} {:<24} {rest}", format!("80 %: {interval}")),
        None => format!("{value:<9} {rest}"),
    }
}
