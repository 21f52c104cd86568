//! `export`: a plan in an executor's format.

use std::path::Path;

use engine::answer::exit::{CommandResult, Exit};
use engine::answer::files::artifact::{self, Existing};
use engine::answer::violations;
use engine::request::ExportRequest;
use engine::verbs::{self, Files};
use engine::views::opened;
use ir::diagnostic::Diagnostic;
use serde_json::json;

use crate::cli::ExportArgs;
use crate::printer::Printer;
use crate::sheet;
use crate::version::VERSION;

pub(crate) fn run(args: &ExportArgs, printer: &Printer) -> CommandResult {
    let (request, existing) = (args.request()?, Existing::of(args.force));
    let mut inputs = request.on.target.problem.inputs(&request.on.model);
    inputs.push(&request.on.plan);
    if let Some(output) = &args.output {
        artifact::check(&[output], &inputs, existing)?;
    }
    if request.target == sheet::TARGET {
        return page(&request, args.output.as_deref(), existing, printer);
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
    printer.page(|page| verbs::export(&request, &mut keep, page))
}

/// The plan as a page, which is one file.
fn page(
    request: &ExportRequest,
    output: Option<&Path>,
    existing: Existing,
    printer: &Printer,
) -> CommandResult {
    let Some(output) = output else {
        return Err(Diagnostic::usage("not-a-folder", "a page is one file")
            .hint("write it with -o page.html"));
    };
    web::sheet::shell()?;
    let opened = opened::of(&request.on, true)?;
    if !opened.broken.is_empty() {
        printer.warnings(&opened.broken);
        let broken = engine::kinds::frame::documents(&opened.broken);
        printer.document(&json!({ "violations": broken }));
        return Ok(violations::exit(&opened.broken));
    }
    let bytes = web::sheet::made(&opened.answer, &opened.view, VERSION)?;
    let (length, file) = (bytes.len(), output.display().to_string());
    artifact::write_all(&[(output.to_owned(), bytes)], existing)?;
    printer.talk(&format!("wrote {file}"));
    printer.document(&json!({ "target": request.target, "file": file, "bytes": length }));
    Ok(Exit::DONE)
}
