//! `completions`: a script for a shell.

use ir::diagnostic::Diagnostic;

use crate::given_flags;
use crate::listing_flags::CompletionsArgs;
use crate::printer::Printer;
use engine::answer::exit::{CommandResult, Exit};
use engine::answer::page::Format;

pub(crate) fn run(args: &CompletionsArgs, printer: &Printer) -> CommandResult {
    if printer.format == Format::Json {
        return Err(Diagnostic::usage("no-json", "a completion script is no JSON document")
            .hint("leave out --json"));
    }
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut given_flags::command(), "meshwright", &mut script);
    printer.text(&String::from_utf8_lossy(&script));
    Ok(Exit::DONE)
}
