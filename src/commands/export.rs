//! `export`: a plan in an executor's format.

use engine::artifact::{self, Existing};
use engine::exit::CommandResult;
use engine::verbs::{self, Files};
use ir::diagnostic::Diagnostic;

use crate::cli::ExportArgs;
use crate::interrupt;
use crate::printer::Printer;

pub(crate) fn run(args: &ExportArgs, printer: &Printer) -> CommandResult {
    let (request, existing) = (args.request(), Existing::of(args.force));
    let mut inputs = request.on.target.problem.inputs(&request.on.model);
    inputs.push(&request.on.plan);
    if let Some(output) = &args.output {
        artifact::check(&[output], &inputs, existing)?;
    }
    let mut keep = |mut files: Files| {
        let path = match (&args.to, &args.output) {
            (Some(folder), _) => {
                artifact::write_folder(folder, &files, existing)?;
                folder
            }
            (None, Some(output)) => {
                let bytes = files.pop().map(|(_, bytes)| bytes).unwrap_or_default();
                artifact::write_all(&[(output.clone(), bytes)], existing)?;
                output
            }
            (None, None) => return Err(Diagnostic::usage("no-output", "give -o FILE or --to DIR")),
        };
        Ok(path.display().to_string())
    };
    printer.page(|page| verbs::export(&request, &mut keep, (&interrupt::flag, page)))
}
