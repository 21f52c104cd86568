//! `plan`: a model on a cluster.

use std::path::{Path, PathBuf};
use std::time::Instant;

use documents::plan::inputs::InputsDocument;
use engine::answer::exit::CommandResult;
use engine::answer::files::artifact::{self, Existing};
use engine::door;
use engine::plan::{self, Run};
use engine::request::PlanRequest;
use ir::diagnostic::Diagnostic;

use crate::interrupt;
use crate::plan_flags::PlanArgs;
use crate::plan_inputs;
use crate::printer::Printer;
use crate::publisher::Publisher;
use crate::sheet;
use crate::version::VERSION;

pub(crate) fn run(args: &PlanArgs, printer: &Printer) -> CommandResult {
    let start = Instant::now();
    let watch = door::watch(start, args.limits.time_limit, interrupt::flag());
    let prepared = Prepared::of(args)?;
    let page = prepared.page().cloned();
    let Prepared { request, files, existing, inputs, .. } = prepared;
    let mut follower = Publisher::new(files, existing, args.progress, printer);
    follower = follower.with_page(page.as_ref()).stating(inputs);
    printer.page(|page| {
        let version = VERSION;
        plan::plan(&request, &mut Run::new((start, &watch), &mut follower, page, version))
    })
}

/// What is asked, and where its files go.
pub(super) struct Prepared {
    pub(super) request: PlanRequest,
    /// The plan's, and the others in the order of the request, then the picture and the page.
    pub(super) files: (Option<PathBuf>, Vec<PathBuf>),
    pub(super) existing: Existing,
    /// What the plan file states beside the plan.
    pub(super) inputs: Option<InputsDocument>,
    has_page: bool,
}

impl Prepared {
    /// Refuses, before any work is done, files that can not be written.
    ///
    /// # Errors
    /// `bad-export`, and those of [`artifact::check`] and [`sheet::check`].
    pub(super) fn of(args: &PlanArgs) -> Result<Self, Diagnostic> {
        let mut request = args.request();
        let exports = exports(&args.export)?;
        request.exports = exports.iter().map(|(target, _)| target.clone()).collect();
        let exports = exports.into_iter().map(|(_, file)| file);
        let others: Vec<PathBuf> =
            exports.chain(args.plot.clone()).chain(args.html.clone()).collect();
        let existing = Existing::of(args.force);
        let outputs: Vec<&Path> = args.output.iter().chain(&others).map(PathBuf::as_path).collect();
        artifact::check(&outputs, &request.inputs(), existing)?;
        let has_page = args.html.is_some();
        if has_page {
            sheet::check(&request)?;
        }
        let inputs = plan_inputs::of(&request, args.output.as_deref());
        request.states_inputs = inputs.is_some();
        Ok(Self { request, files: (args.output.clone(), others), existing, inputs, has_page })
    }

    /// What is asked, where a page is among the files.
    pub(super) fn page(&self) -> Option<&PlanRequest> {
        self.has_page.then_some(&self.request)
    }
}

/// `TARGET=FILE` pairs.
fn exports(flags: &[String]) -> Result<Vec<(String, PathBuf)>, Diagnostic> {
    let pair = |flag: &String| match flag.split_once('=') {
        Some((target, file)) if !file.is_empty() => Ok((target.to_owned(), PathBuf::from(file))),
        _ => {
            let message = format!("`--export {flag}` does not have the form TARGET=FILE");
            Err(Diagnostic::usage("bad-export", message).hint("write --export trace=trace.json"))
        }
    };
    flags.iter().map(pair).collect()
}
