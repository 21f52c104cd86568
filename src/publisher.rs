//! What becomes of an incumbent: its file first, then its line.
//!
//! Whoever has read a line finds a plan in the file that is at least as good, however the run ends.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use ir::diagnostic::Diagnostic;
use ir::units::Nanos;
use planner::run::{Bound, Case, Event};
use serde_json::json;

use crate::printer::Printer;
use crate::progress::Progress;
use engine::artifact::{self, Existing};
use engine::page::Format;

/// How the search is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Follow {
    /// One line that changes, on a terminal.
    #[default]
    Bar,
    /// A line for each better plan: on stderr, or with `--json` as JSON on stdout.
    Lines,
    /// Nothing.
    None,
}

/// What is minimised, and how people read its values.
pub(crate) type Measure<'a> = (&'static str, &'a dyn Fn(Nanos) -> String);

/// A verified plan that is better than all before it.
struct Incumbent<'a> {
    algorithm: &'a str,
    objective: &'static str,
    value: Nanos,
    shown: &'a dyn Fn(Nanos) -> String,
    bound: Nanos,
    elapsed: Duration,
}

impl Incumbent<'_> {
    fn gap(&self) -> Option<f64> {
        let (value, bound) = (self.value.as_f64(), self.bound.as_f64());
        (bound > 0.0).then(|| value / bound - 1.0)
    }

    fn line(&self) -> String {
        let gap = self.gap().map_or("unknown".to_owned(), |gap| {
            // Rounded up, but for the last digits of the float: what is said is never less than it is.
            format!("{:.2} %", (gap * 10_000.0 - 1e-6).ceil() / 100.0)
        });
        format!(
            "{:.3} s  {} {}  bound {}  gap {gap}  {}",
            self.elapsed.as_secs_f64(),
            self.objective,
            (self.shown)(self.value),
            (self.shown)(self.bound),
            self.algorithm
        )
    }
}

/// Takes incumbents as they come.
pub(crate) struct Publisher<'a> {
    output: Option<&'a Path>,
    /// What may become of the plan file, which is this run's own once it was written.
    existing: Existing,
    /// What may become of the others.
    others: Existing,
    follow: Follow,
    printer: &'a Printer,
    progress: Progress,
    /// What this run has written to the file.
    written: Option<Vec<u8>>,
}

impl<'a> Publisher<'a> {
    /// Writes to `output`, if there is one.
    pub(crate) fn new(
        output: Option<&'a Path>,
        existing: Existing,
        follow: Follow,
        printer: &'a Printer,
    ) -> Self {
        let progress = match follow {
            Follow::Bar => Progress::new(printer),
            Follow::Lines | Follow::None => Progress::silent(),
        };
        Self { output, existing, others: existing, follow, printer, progress, written: None }
    }

    /// Takes an event of a run; `document` makes the plan file of what was found.
    pub(crate) fn hear<C: Case>(
        &mut self,
        event: &Event<C>,
        (objective, shown): Measure<'_>,
        document: impl FnOnce(&str, Nanos, Bound, &C::Solution) -> Result<Vec<u8>, Diagnostic>,
    ) {
        match event {
            Event::Started { algorithm } => self.progress.started(algorithm),
            Event::Bound { .. } => {}
            Event::Incumbent { algorithm, value, bound, solution, elapsed } => {
                let (value, elapsed) = (*value, *elapsed);
                let found =
                    Incumbent { algorithm, objective, value, shown, bound: bound.value, elapsed };
                self.publish(&found, || document(algorithm, value, *bound, solution));
            }
        }
    }

    /// Writes the file, then prints the line. Where the file can't be written there is no line,
    /// and the end of the run says why.
    fn publish(
        &mut self,
        found: &Incumbent,
        document: impl FnOnce() -> Result<Vec<u8>, Diagnostic>,
    ) {
        if self.output.is_some() {
            let written = document().and_then(|bytes| self.write(bytes));
            if written.is_err() {
                return;
            }
        }
        self.progress.incumbent(found.value, found.bound);
        match (self.follow, self.printer.format) {
            (Follow::Lines, Format::Text) => {
                let _ = writeln!(std::io::stderr(), "{}", found.line());
            }
            (Follow::Lines, Format::Json) => self.printer.document(&json!({
                "event": "incumbent",
                "algorithm": found.algorithm,
                "objective": found.objective,
                "value_ns": found.value.get(),
                "bound_ns": found.bound.get(),
                "gap": found.gap(),
                "elapsed_s": found.elapsed.as_secs_f64(),
            })),
            _ => {}
        }
    }

    fn write(&mut self, bytes: Vec<u8>) -> Result<(), Diagnostic> {
        let Some(path) = self.output else { return Ok(()) };
        if self.written.as_ref() == Some(&bytes) {
            return Ok(());
        }
        let files = [(path.to_owned(), bytes)];
        artifact::write_all(&files, self.existing)?;
        // From now on the file is this run's own.
        self.existing = Existing::Replace;
        let [(_, bytes)] = files;
        self.written = Some(bytes);
        Ok(())
    }

    /// Ends the line that changes; a search is over.
    pub(crate) fn rest(&mut self) {
        self.progress = Progress::silent();
    }

    /// The last word: the same plan with the final bound, and all other files of the run with it.
    ///
    /// # Errors
    /// Those of [`artifact::write_all`]; then none of the others has got its name.
    pub(crate) fn last(
        &mut self,
        bytes: Vec<u8>,
        others: &[(PathBuf, Vec<u8>)],
    ) -> Result<(), Diagnostic> {
        let mut files = Vec::new();
        if let Some(path) = self.output.filter(|_| self.written.as_ref() != Some(&bytes)) {
            files.push((path.to_owned(), bytes, self.existing));
        }
        files.extend(others.iter().map(|(path, bytes)| (path.clone(), bytes.clone(), self.others)));
        artifact::write_each(&files)
    }

    /// Where a run could not write all of its files, none stays: its plan is kept under another
    /// name, or printed to stderr where no file can be written.
    pub(crate) fn kept(
        &mut self,
        near: Option<&PathBuf>,
        bytes: &[u8],
        error: Diagnostic,
    ) -> Diagnostic {
        if let (Some(path), Some(_)) = (self.output, self.written.take()) {
            // It is this run's own.
            let _ = std::fs::remove_file(path);
        }
        match near.and_then(|near| artifact::kept(near, bytes)) {
            Some(path) => error.hint(format!("the plan itself is kept in {}", path.display())),
            None => {
                let _ = std::io::stderr().write_all(bytes);
                error.hint("the plan itself is printed above")
            }
        }
    }
}
