//! `run-request`: one request from stdin, its events as JSON lines on stdout.

use std::io::{self, Read};

use engine::door::{self, Form};
use engine::escape;
use engine::exit::{CommandResult, Exit};
use ir::diagnostic::Diagnostic;

use crate::cli::VERSION;
use crate::interrupt;
use crate::printer::Printer;
use crate::service_flags::RequestArgs;

/// Longest request, in bytes.
const MOST_BYTES: u64 = 64 << 20;

pub(crate) fn run(args: &RequestArgs, printer: &Printer) -> CommandResult {
    if let Some(memory) = args.memory {
        web::confine(memory, args.parent);
    }
    let form = if args.as_text { Form::Text } else { Form::Document };
    let unreadable = |reason: String| {
        Diagnostic::input("unreadable-request", "the request on stdin can not be read")
            .fact("reason", reason)
            .hint("give one JSON object, such as {\"verb\": \"plan\", \"model\": \"model.onnx\"}")
    };
    let mut hear = |event| {
        // Every event has a JSON form.
        let line = serde_json::to_string(&event).unwrap_or_default();
        printer.raw(&(escape::json(line) + "\n"));
    };
    let mut request = Vec::new();
    let answer = match io::stdin().lock().take(MOST_BYTES + 1).read_to_end(&mut request) {
        Ok(n) if n as u64 <= MOST_BYTES => {
            door::answer(&request, &interrupt::flag(), (VERSION, form), &mut hear)
        }
        Ok(_) => {
            let reason = format!("it is longer than {MOST_BYTES} bytes");
            door::refused(unreadable(reason), form, &mut hear)
        }
        Err(error) => door::refused(unreadable(error.to_string()), form, &mut hear),
    };
    Ok(Exit(answer.exit_code))
}
