//! `verify`: checks a plan (or the solution of an instance) against every rule, and all that it
//! states.

use crate::cli::ReplayArgs;
use crate::interrupt;
use crate::printer::Printer;
use engine::exit::CommandResult;
use engine::given;
use engine::ops::replay;
use engine::ops::verify::verify;
use engine::training;

pub(crate) fn run(args: &ReplayArgs, printer: &Printer) -> CommandResult {
    if let Some(instance) = importers::instance(&args.model)? {
        let cancel = &interrupt::flag;
        return printer.page(|page| given::verify::run(&args.request(), instance, (cancel, page)));
    }
    let document = replay::document(&args.plan)?;
    if document.training.is_some() {
        let cancel = &interrupt::flag;
        return printer
            .page(|page| training::replay::verify(&document, &args.request(), (cancel, page)));
    }
    let request = args.target.request();
    printer.page(|page| verify(&document, &args.model, &request, (&interrupt::flag, page)))
}
