//! `simulate`: replays a plan and reports.

use crate::cli::ReplayArgs;
use crate::printer::Printer;
use engine::exit::CommandResult;
use engine::given;
use engine::ops::replay;
use engine::ops::simulate::simulate;
use engine::training;

pub(crate) fn run(args: &ReplayArgs, printer: &Printer) -> CommandResult {
    if let Some(instance) = importers::instance(&args.model)? {
        return printer.page(|page| given::explain::simulate(&args.request(), instance, page));
    }
    let document = replay::document(&args.plan)?;
    if document.training.is_some() {
        return printer.page(|page| training::replay::simulate(&document, &args.request(), page));
    }
    printer.page(|page| simulate(&document, &args.model, &args.target.request(), page))
}
