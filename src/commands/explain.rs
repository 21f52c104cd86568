//! `explain`: where the step time goes, and why an op, a transfer or a device is as it is.

mod device;
mod formula;
mod op;
mod step;
mod transfer;

use ir::diagnostic::Diagnostic;

use crate::cli::ExplainArgs;
use crate::commands::report::Rows;
use crate::commands::{instance, training, violations};
use crate::exit::{CommandResult, Exit};
use crate::printer::Printer;
use engine::ops::replay::{self, Replayed};
use engine::suggest;

pub(crate) fn run(args: &ExplainArgs, printer: &Printer) -> CommandResult {
    if let Some(instance) = importers::instance(&args.replay.model)? {
        return instance::explain(args, instance, printer);
    }
    let rows = Rows::of(args.replay.target.all);
    let document = replay::document(&args.replay.plan)?;
    if document.training.is_some() {
        if args.op.is_some() || args.transfer.is_some() {
            let message = "a training run has stages of blocks: `--op` and `--transfer` name none";
            return Err(Diagnostic::usage("not-for-training", message)
                .hint("leave them out, or name a device with --device"));
        }
        return training::explain(&document, &args.replay, args.device.as_deref(), printer);
    }
    let on = replay::on_problem(&document, &args.replay.model, &args.replay.target.request())?;
    let broken = engine::ops::replay::broken_rules(&on);
    if !broken.is_empty() {
        return Ok(violations::verdict(&on, &broken, rows, printer));
    }
    let replayed = replay::on(on)?;
    match (&args.op, &args.transfer, &args.device) {
        (Some(name), _, _) => op::explain(&replayed, name, rows, printer)?,
        (None, Some(name), _) => transfer::explain(&replayed, name, rows, printer)?,
        (None, None, Some(name)) => device::explain(&replayed, name, rows, printer)?,
        (None, None, None) => step::explain(&replayed, document.cost.as_ref(), rows, printer),
    }
    Ok(Exit::DONE)
}

/// The position of a name in a list, or what is nearest to it.
fn position_of<'a>(
    code: &'static str,
    what: &str,
    name: &str,
    names: impl Iterator<Item = &'a str> + Clone,
) -> Result<usize, Diagnostic> {
    names.clone().position(|other| other == name).ok_or_else(|| {
        Diagnostic::usage(code, format!("the {what} `{name}` does not exist"))
            .hint(suggest::hint(name, names))
    })
}

fn device_name(replayed: &Replayed, device: ir::id::DeviceId) -> &str {
    &replayed.on.loaded.problem.cluster.devices[device.index()].name
}
