//! `simulate`: replays a plan and reports.

use crate::cli::ReplayArgs;
use crate::commands::{instance, training};
use crate::printer::Printer;
use engine::exit::CommandResult;
use engine::ops::replay;
use engine::ops::simulate::simulate;

pub(crate) fn run(args: &ReplayArgs, printer: &Printer) -> CommandResult {
    if let Some(instance) = importers::instance(&args.model)? {
        return instance::simulate(args, instance, printer);
    }
    let document = replay::document(&args.plan)?;
    if document.training.is_some() {
        return training::simulate(&document, args, printer);
    }
    printer.page(|page| simulate(&document, &args.model, &args.target.request(), page))
}
