//! `verify`: checks a plan (or the solution of an instance) against every rule, and all that it
//! states.

use crate::cli::ReplayArgs;
use crate::commands::{instance, training};
use crate::interrupt;
use crate::printer::Printer;
use engine::exit::CommandResult;
use engine::ops::replay;
use engine::ops::verify::verify;

pub(crate) fn run(args: &ReplayArgs, printer: &Printer) -> CommandResult {
    if let Some(instance) = importers::instance(&args.model)? {
        return instance::verify(args, instance, printer);
    }
    let document = replay::document(&args.plan)?;
    if document.training.is_some() {
        return training::verify(&document, args, printer);
    }
    let (request, cancel) = (args.target.request(), interrupt::flag());
    printer.page(|page| verify(&document, &args.model, &request, (&cancel, page)))
}
