//! One file per verb: parse, call the library, render. Nothing is computed here.

mod algorithms;
mod compare;
mod completions;
mod devices;
mod explain;
mod export;
mod instance;
mod plan;
mod plot;
mod profile;
mod serve;
mod simulate;
pub(crate) mod training;
mod verify;

use serde_json::json;

use crate::cli::{Cli, Command};
use crate::printer::Printer;
use engine::exit::{CommandResult, Exit};

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
        Some(Command::Import(args)) => {
            printer.page(|page| engine::import::run(&args.request(), page))
        }
        Some(Command::Profile(args)) => profile::run(args, printer),
        Some(Command::Calibrate(args)) => {
            printer.page(|page| engine::calibrate::run(&args.request(), page))
        }
        Some(Command::Validate(args)) => {
            printer.page(|page| engine::validate::run(&args.request(), page))
        }
        Some(Command::Support(args)) => {
            printer.page(|page| engine::support::run(&args.request(), page))
        }
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
