//! `plan`: a model on a cluster.

use std::path::{Path, PathBuf};
use std::time::Instant;

use engine::artifact::{self, Existing};
use engine::door;
use engine::exit::CommandResult;
use engine::plan::{self, Run};
use ir::diagnostic::Diagnostic;

use crate::cli::{PlanArgs, VERSION};
use crate::interrupt;
use crate::printer::Printer;
use crate::publisher::{Follow, Publisher};

pub(crate) fn run(args: &PlanArgs, printer: &Printer) -> CommandResult {
    let start = Instant::now();
    if args.progress == Follow::Lines {
        printer.one_line_each();
    }
    let watch = door::watch(start, args.limits.time_limit, interrupt::flag());
    let mut request = args.request();
    let exports = exports(&args.export)?;
    request.exports = exports.iter().map(|(target, _)| target.clone()).collect();
    let others: Vec<PathBuf> =
        exports.into_iter().map(|(_, file)| file).chain(args.plot.clone()).collect();
    let existing = Existing::of(args.force);
    let outputs: Vec<&Path> = args.output.iter().chain(&others).map(PathBuf::as_path).collect();
    artifact::check(&outputs, &request.problem.inputs(&args.model), existing)?;
    let files = (args.output.clone(), others);
    let mut follower = Publisher::new(files, existing, args.progress, printer);
    printer.page(|page| {
        let version = VERSION;
        plan::plan(
            &request,
            &mut Run { start, watch: &watch, follower: &mut follower, page, version },
        )
    })
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
