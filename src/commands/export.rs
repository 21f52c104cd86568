//! `export`: a plan in an executor's format.

use engine::artifact::{self, Existing};
use engine::exit::CommandResult;
use engine::verbs;

use crate::cli::ExportArgs;
use crate::interrupt;
use crate::printer::Printer;

pub(crate) fn run(args: &ExportArgs, printer: &Printer) -> CommandResult {
    let (request, existing) = (args.request(), Existing::of(args.force));
    let mut inputs = request.on.target.problem.inputs(&request.on.model);
    inputs.push(&request.on.plan);
    artifact::check(&[&args.output], &inputs, existing)?;
    let mut keep = |bytes: Vec<u8>| {
        artifact::write_all(&[(args.output.clone(), bytes)], existing)?;
        Ok(args.output.display().to_string())
    };
    printer.page(|page| verbs::export(&request, &mut keep, (&interrupt::flag, page)))
}
