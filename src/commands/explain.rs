//! `explain`: where the step time goes, and why an op, a transfer or a device is as it is.

use ir::diagnostic::Diagnostic;

use crate::cli::ExplainArgs;
use crate::interrupt;
use crate::printer::Printer;
use engine::exit::{CommandResult, Exit};
use engine::given;
use engine::ops::explain::{Subject, explain};
use engine::ops::replay;
use engine::ops::verdict::verdict;
use engine::rows::Rows;
use engine::training;

pub(crate) fn run(args: &ExplainArgs, printer: &Printer) -> CommandResult {
    let subject = match (&args.op, &args.transfer, &args.device) {
        (Some(name), _, _) => Subject::Op(name.clone()),
        (None, Some(name), _) => Subject::Transfer(name.clone()),
        (None, None, Some(name)) => Subject::Device(name.clone()),
        (None, None, None) => Subject::Step,
    };
    if let Some(instance) = importers::instance(&args.replay.model)? {
        let request = args.replay.request();
        return printer.page(|page| given::explain::explain(&request, &subject, instance, page));
    }
    let rows = Rows::of(args.replay.target.all);
    let document = replay::document(&args.replay.plan)?;
    if document.training.is_some() {
        if args.op.is_some() || args.transfer.is_some() {
            let message = "a training run has stages of blocks: `--op` and `--transfer` name none";
            return Err(Diagnostic::usage("not-for-training", message)
                .hint("leave them out, or name a device with --device"));
        }
        let (request, device) = (args.replay.request(), args.device.as_deref());
        return printer.page(|page| training::replay::explain(&document, &request, device, page));
    }
    let on = replay::on_problem(&document, &args.replay.model, &args.replay.target.request())?;
    let broken = replay::broken_rules(&on);
    if !broken.is_empty() {
        let cancel = interrupt::flag();
        return Ok(printer.page(|page| verdict(&on, &broken, rows, (&cancel, page))));
    }
    let replayed = replay::on(on)?;
    printer.page(|page| explain(&replayed, &subject, document.cost.as_ref(), rows, page))?;
    Ok(Exit::DONE)
}
