//! One file per verb: parse, call the library, render. Nothing is computed here.

mod algorithms;
mod alternatives;
mod calibrate;
mod compare;
mod completions;
mod devices;
mod explain;
mod export;
mod import;
mod instance;
mod outcome;
mod plan;
mod plot;
mod profile;
mod report;
mod serve;
mod simulate;
mod structure;
mod support;
pub(crate) mod training;
mod trust;
mod validate;
mod verify;
mod violations;

use serde_json::json;

use crate::cli::{Cli, Command};
use crate::exit::{CommandResult, Exit};
use crate::printer::Printer;

const WELCOME: &str = "\
meshwright plans where and how large models run, and proves how far from optimal a plan can be.
Try:
  meshwright import model.onnx                          what is understood of a model
  meshwright plan model.onnx --cluster cluster.yaml     a placement, its time and memory
  meshwright devices                                    what a cluster file can name
All commands: meshwright --help
";

/// Runs one command line.
pub(crate) fn run(cli: &Cli, printer: &Printer) -> CommandResult {
    match &cli.command {
        None => {
            printer.text(WELCOME);
            printer.document(&json!({ "welcome": WELCOME.lines().collect::<Vec<_>>() }));
            Ok(Exit::DONE)
        }
        Some(Command::Plan(args)) => plan::run(args, printer),
        Some(Command::Import(args)) => import::run(args, printer),
        Some(Command::Profile(args)) => profile::run(args, printer),
        Some(Command::Calibrate(args)) => calibrate::run(args, printer),
        Some(Command::Validate(args)) => validate::run(args, printer),
        Some(Command::Support(args)) => support::run(args, printer),
        Some(Command::Simulate(args)) => simulate::run(args, printer),
        Some(Command::Verify(args)) => verify::run(args, printer),
        Some(Command::Explain(args)) => explain::run(args, printer),
        Some(Command::Compare(args)) => compare::run(args, printer),
        Some(Command::Export(args)) => export::run(args, printer),
        Some(Command::Algorithms) => algorithms::run(printer),
        Some(Command::Devices(args)) => devices::run(args, printer),
        Some(Command::Serve(args)) => serve::run(args, printer),
        Some(Command::Completions(args)) => completions::run(args, printer),
        Some(Command::AnswerLoopback(args)) => {
            profiler::answer_loopback(args.port).map(|()| Exit::DONE)
        }
    }
}
