//! What becomes of an incumbent: its file first, then its line.
//!
//! Whoever has read a line finds a plan in the file that is at least as good, however the run ends.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use ir::diagnostic::Diagnostic;
use ir::units::Nanos;
use serde_json::json;

use crate::artifact::{self, Existing};
use crate::printer::{Format, Printer};
use crate::progress::Progress;

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

/// A verified plan that is better than all before it.
pub(crate) struct Incumbent<'a> {
    /// What found it.
    pub(crate) algorithm: &'a str,
    /// What is minimised.
    pub(crate) objective: &'static str,
    /// Its value, and how people read such values.
    pub(crate) value: Nanos,
    pub(crate) shown: &'a dyn Fn(Nanos) -> String,
    /// The best bound so far.
    pub(crate) bound: Nanos,
    /// Since the start of the run.
    pub(crate) elapsed: Duration,
}

impl Incumbent<'_> {
    fn gap(&self) -> Option<f64> {
        let (value, bound) = (self.value.as_f64(), self.bound.as_f64());
        (bound > 0.0).then(|| value / bound - 1.0)
    }

    fn line(&self) -> String {
        let gap = self.gap().map_or("unknown".to_owned(), |gap| format!("{:.2} %", gap * 100.0));
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
    existing: Existing,
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
        Self { output, existing, follow, printer, progress, written: None }
    }

    /// Takes note of what is tried.
    pub(crate) fn started(&self, algorithm: &str) {
        self.progress.started(algorithm);
    }

    /// Writes the file, then prints the line. Where the file can't be written there is no line,
    /// and the end of the run says why.
    pub(crate) fn publish(
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

    /// The last word: the same plan with the final bound.
    ///
    /// # Errors
    /// Those of [`artifact::write_all`].
    pub(crate) fn last(mut self, bytes: Vec<u8>) -> Result<(), Diagnostic> {
        self.write(bytes)
    }
}
