//! One file per verb: parse, call the library, render. Nothing is computed here.

mod completions;
mod export;
mod jobs;
mod plan;
mod replan;
mod request;
mod serve;
mod submit;
mod view;

use std::ffi::OsString;

use ir::diagnostic::Diagnostic;
use serde_json::json;

use crate::cli::{Cli, Command};
use crate::interrupt;
use crate::listing_flags::DevicesArgs;
use crate::plan_inputs;
use crate::printer::Printer;
use engine::answer::exit::{CommandResult, Exit};
use engine::answer::page::Page;
use engine::inputs::devices;
use engine::request::CompareRequest;
use engine::verbs;

const WELCOME: &str = "\
meshwright plans how large models are trained, placed and served, and proves how far from optimal a plan can be.
Try:
  meshwright train config.json --cluster cluster.yaml --global-batch 512    a training run
  meshwright place model.onnx --cluster cluster.yaml                        operators on devices
  meshwright devices                                                        what a cluster file can name
All commands: meshwright --help
";

/// Runs one command line; `again` are the words that start the program.
pub(crate) fn run(cli: &mut Cli, again: &[OsString], printer: &Printer) -> CommandResult {
    match &mut cli.command {
        None => {
            printer.text(WELCOME);
            printer.document(&json!({ "welcome": WELCOME.lines().collect::<Vec<_>>() }));
            Ok(Exit::DONE)
        }
        Some(
            Command::Train(args)
            | Command::Place(args)
            | Command::Infer(args)
            | Command::Solve(args)
            | Command::Plan(args),
        ) => plan::run(args, printer),
        Some(Command::Submit(args)) => submit::run(args, printer),
        Some(Command::Jobs(args)) => jobs::run(args, printer),
        Some(Command::Import(args)) => {
            printer.page(|page| engine::tools::import::run(&args.request(), page))
        }
        Some(Command::Profile(args)) => {
            printer.page(|page| engine::tools::measure::run(&args.request(again), page))
        }
        Some(Command::Calibrate(args)) => {
            printer.page(|page| engine::tools::calibrate::run(&args.request(), page))
        }
        Some(Command::Validate(args)) => printer.page(|page| accuracy::run(&args.request(), page)),
        Some(Command::Support(args)) => {
            printer.page(|page| engine::tools::support::run(&args.request(), page))
        }
        Some(Command::Simulate(args)) => {
            printer.page(|page| verbs::simulate(&args.request()?, page))
        }
        Some(Command::Verify(args)) => {
            printer.page(|page| verbs::verify(&args.request()?, (&interrupt::flag, page)))
        }
        Some(Command::Explain(args)) => printer.page(|page| verbs::explain(&args.request()?, page)),
        Some(Command::Compare(args)) => printer.page(|page| compared(&args.request(), page)),
        Some(Command::Export(args)) => export::run(args, printer),
        Some(Command::Algorithms) => printer.page(|page| {
            engine::tools::algorithms::list(page);
            Ok(Exit::DONE)
        }),
        Some(Command::Devices(args)) => listed(args, printer),
        Some(Command::Cluster(args)) => {
            printer.page(|page| engine::tools::cluster::run(&args.from, page))
        }
        Some(Command::Serve(args)) => serve::run(args, again, printer),
        Some(Command::View(args)) => view::run(args, again, printer),
        Some(Command::Worker(args)) => serve::worker(args, again, printer),
        Some(Command::Token(args)) => serve::token(args, printer),
        Some(Command::Backup(args)) => serve::back_up(args, printer),
        Some(Command::Replan(args)) => replan::run(args, again, printer),
        Some(Command::Completions(args)) => completions::run(args, printer),
        Some(Command::RunRequest(args)) => request::run(args, printer),
        Some(Command::AnswerLoopback(args)) => {
            profiler::answer_loopback(args.port).map(|()| Exit::DONE)
        }
    }
}

/// Compares on the inputs that both plans state, unless these changed since.
fn compared(request: &CompareRequest, page: &Page) -> CommandResult {
    let found = plan_inputs::compared(request).map(|found| verbs::compare(&found, page));
    match found {
        Some(Err(error)) if error.code == "digest-mismatch" && request.model.is_none() => {
            verbs::compare(request, page)
        }
        Some(done) => done,
        None => verbs::compare(request, page),
    }
}

fn listed(args: &DevicesArgs, printer: &Printer) -> CommandResult {
    printer.page(|page| {
        match (args.here, args.links) {
            (true, _) => devices::here(page),
            (false, true) => devices::links(page)?,
            (false, false) => devices::kinds(page)?,
        }
        Ok(Exit::DONE)
    })
}

/// Ends a run that has nothing to keep.
fn interrupted(error: &Diagnostic, printer: &Printer) -> Exit {
    printer.failure(error, Exit::INTERRUPTED.0);
    Exit::INTERRUPTED
}
