//! What becomes of an incumbent: its file first, then its line.
//!
//! Whoever has read a line finds a plan in the file that is at least as good, however the run ends.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use ir::diagnostic::Diagnostic;
use ir::units::Nanos;
use serde_json::{Value, json};

use crate::printer::Printer;
use crate::progress::Progress;
use crate::sheet;
use documents::plan::inputs::InputsDocument;
use engine::answer::files::artifact::{self, Existing};
use engine::answer::follow::{File, Files, Follower, Incumbent};
use engine::answer::page::Format;
use engine::request::PlanRequest;

/// How the search is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Follow {
    /// One line that changes, on a terminal.
    #[default]
    Bar,
    /// A line for each better plan on stderr, with `--json` as JSON.
    Lines,
    /// A document for each better plan on stdout: what is followed is the answer.
    #[value(skip)]
    Documents,
    /// Nothing.
    None,
}

/// A better plan in one line.
pub(crate) fn line(found: &Incumbent<'_>) -> String {
    let gap = found.gap().map_or("unknown".to_owned(), |gap| {
        // Rounded up, but for the last digits of the float: what is said is never less than it is.
        format!("{:.2} %", (gap * 10_000.0 - 1e-6).ceil() / 100.0)
    });
    format!(
        "{:.3} s  {} {}  bound {}  gap {gap}  {}",
        found.elapsed.as_secs_f64(),
        found.objective,
        (found.shown)(found.value),
        (found.shown)(found.bound),
        found.algorithm
    )
}

/// The same for programs.
fn event(found: &Incumbent<'_>) -> Value {
    json!({
        "event": "incumbent",
        "algorithm": found.algorithm,
        "objective": found.objective,
        "value_ns": found.value.get(),
        "bound_ns": found.bound.get(),
        "gap": found.gap(),
        "elapsed_s": found.elapsed.as_secs_f64(),
    })
}

/// Takes plans as they come.
pub(crate) struct Publisher<'a> {
    output: Option<PathBuf>,
    /// Where the other files go.
    others: Vec<PathBuf>,
    /// What may become of the plan file, which is this run's own once it was written.
    existing: Existing,
    /// What may become of the others.
    others_existing: Existing,
    follow: Follow,
    printer: &'a Printer,
    progress: Progress,
    /// What this run has written to the file.
    written: Option<Vec<u8>>,
    /// What was asked for, where a page is the last of the others.
    page: Option<PlanRequest>,
    /// What the plan file states beside the plan.
    inputs: Option<InputsDocument>,
    start: Instant,
    /// Whether a plan was told.
    has_told: bool,
}

impl<'a> Publisher<'a> {
    /// Writes the plan to `output`, if there is one, and other files to `others`.
    pub(crate) fn new(
        (output, others): (Option<PathBuf>, Vec<PathBuf>),
        existing: Existing,
        follow: Follow,
        printer: &'a Printer,
    ) -> Self {
        let progress = match follow {
            Follow::Bar => Progress::new(printer),
            Follow::Lines | Follow::Documents | Follow::None => Progress::silent(),
        };
        let (others_existing, written) = (existing, None);
        let (page, inputs, start, has_told) = (None, None, Instant::now(), false);
        Self {
            output,
            others,
            existing,
            others_existing,
            follow,
            printer,
            progress,
            written,
            page,
            inputs,
            start,
            has_told,
        }
    }

    /// States in the plan file where its inputs are.
    pub(crate) fn stating(mut self, inputs: Option<InputsDocument>) -> Self {
        self.inputs = inputs;
        self
    }

    /// The text of the plan file.
    fn file(&self, plan: Vec<u8>) -> Vec<u8> {
        match &self.inputs {
            Some(inputs) => inputs.stated_in(plan),
            None => plan,
        }
    }

    /// Writes a page of the plan of a request to the last of the other files.
    pub(crate) fn with_page(mut self, request: Option<&PlanRequest>) -> Self {
        self.page = request.cloned();
        self
    }

    fn write(&mut self, bytes: Vec<u8>) -> Result<(), Diagnostic> {
        let Some(path) = &self.output else { return Ok(()) };
        if self.written.as_ref() == Some(&bytes) {
            return Ok(());
        }
        let files = [(path.clone(), bytes)];
        artifact::write_all(&files, self.existing)?;
        // From now on the file is this run's own.
        self.existing = Existing::Replace;
        let [(_, bytes)] = files;
        self.written = Some(bytes);
        Ok(())
    }

    /// The last word: the same plan with the final bound, and all other files of the run with it.
    ///
    /// # Errors
    /// Those of [`artifact::write_all`]; then none of the others has got its name.
    fn last(&self, plan: &[u8], files: Files) -> Result<(), Diagnostic> {
        let mut all = Vec::new();
        let is_new = |_: &&PathBuf| self.written.as_deref() != Some(plan);
        if let Some(path) = self.output.as_ref().filter(is_new) {
            all.push((path.clone(), plan.to_vec(), self.existing));
        }
        let others = self.others.iter().zip(files?);
        all.extend(others.map(|(path, file)| (path.clone(), file.bytes, self.others_existing)));
        artifact::write_each(&all)
    }

    /// Where a run could not write all of its files, none stays: its plan is kept under another
    /// name, or printed to stderr where no file can be written.
    fn kept(&mut self, plan: &[u8], error: Diagnostic) -> Diagnostic {
        if let (Some(path), Some(_)) = (&self.output, self.written.take()) {
            // It is this run's own.
            let _ = std::fs::remove_file(path);
        }
        let near = self.output.as_ref().or(self.others.first());
        match near.and_then(|near| artifact::kept(near, plan)) {
            Some(path) => error.hint(format!("the plan itself is kept in {}", path.display())),
            None => {
                let _ = std::io::stderr().write_all(plan);
                error.hint("the plan itself is printed above")
            }
        }
    }
}

impl Follower for Publisher<'_> {
    fn started(&mut self, algorithm: &str) {
        self.progress.started(algorithm);
    }

    /// Writes the file, then prints the line. Where the file can't be written there is no line,
    /// and the end of the run says why.
    fn incumbent(&mut self, found: &Incumbent<'_>) {
        if self.output.is_some() {
            let written = (found.document)().and_then(|plan| self.write(self.file(plan)));
            if written.is_err() {
                return;
            }
        }
        self.has_told = true;
        self.progress.incumbent(found.value, found.bound);
        match (self.follow, self.printer.format) {
            (Follow::Lines | Follow::Documents, Format::Text) => {
                let _ = writeln!(std::io::stderr(), "{}", line(found));
            }
            // stdout holds the answer alone.
            (Follow::Lines, Format::Json) => {
                let _ = writeln!(std::io::stderr(), "{}", event(found));
            }
            (Follow::Documents, Format::Json) => self.printer.document(&event(found)),
            (Follow::Bar | Follow::None, _) => {}
        }
    }

    fn bound(&mut self, value: Nanos, _method: &str, _elapsed: Duration) {
        self.progress.bound(value);
    }

    fn takes_plan(&self) -> bool {
        self.output.is_some() || !self.others.is_empty()
    }

    /// Ends the line that changes.
    fn searched(&mut self) {
        self.progress = Progress::silent();
    }

    fn planned(&mut self, plan: Vec<u8>, files: Files) -> Result<Vec<String>, Diagnostic> {
        let plan = self.file(plan);
        let files = files.and_then(|mut files| {
            let page = self.page.as_ref().map(|request| sheet::of(&plan, request)).transpose()?;
            files.extend(page.map(|bytes| File { target: sheet::TARGET.to_owned(), bytes }));
            Ok(files)
        });
        self.last(&plan, files).map_err(|error| self.kept(&plan, error))?;
        if self.follow == Follow::Lines && !self.has_told {
            // What is decided has loads and no time.
            let elapsed_s = self.start.elapsed().as_secs_f64();
            let line = match self.printer.format {
                Format::Text => format!("{elapsed_s:.3} s  planned"),
                Format::Json => json!({ "event": "planned", "elapsed_s": elapsed_s }).to_string(),
            };
            let _ = writeln!(std::io::stderr(), "{line}");
        }
        Ok(self.output.iter().chain(&self.others).map(|path| path.display().to_string()).collect())
    }
}
