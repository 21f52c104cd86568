//! `run-request`: a request from stdin, its events as JSON lines on stdout; or a request a line.

use std::io::{self, BufRead, Read};

use engine::answer::escape;
use engine::answer::exit::{CommandResult, Exit};
use engine::door::{self, Form};
use engine::inputs::kept;
use ir::diagnostic::Diagnostic;

use crate::interrupt;
use crate::printer::Printer;
use crate::service_flags::RequestArgs;
use crate::version::VERSION;

/// Longest request, in bytes.
const MOST_BYTES: u64 = 64 << 20;

pub(crate) fn run(args: &RequestArgs, printer: &Printer) -> CommandResult {
    if let Some(memory) = args.memory {
        // Somebody waits for what is asked line by line, while plans are made beside it.
        web::confine(memory, args.parent, if args.lines { 5 } else { 10 });
    }
    if args.lines {
        kept::keep();
    }
    let mut stdin = io::stdin().lock().take(0);
    loop {
        let mut request = Vec::new();
        stdin.set_limit(MOST_BYTES + 1);
        let read = if args.lines {
            stdin.read_until(b'\n', &mut request)
        } else {
            stdin.read_to_end(&mut request)
        };
        if args.lines && read.as_ref().is_ok_and(|n| *n == 0) {
            return Ok(Exit::DONE);
        }
        let is_whole = read.as_ref().is_ok_and(|n| *n as u64 <= MOST_BYTES);
        let exit = answered(args, read.map(|_| request), printer);
        // After what is no line there is no next one.
        if !args.lines || !is_whole {
            return Ok(exit);
        }
    }
}

/// Answers a request.
fn answered(args: &RequestArgs, request: io::Result<Vec<u8>>, printer: &Printer) -> Exit {
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
    let answer = match request {
        Ok(request) if request.len() as u64 <= MOST_BYTES => {
            door::answer(&request, &interrupt::flag(), (VERSION, form), &mut hear)
        }
        Ok(_) => {
            let reason = format!("it is longer than {MOST_BYTES} bytes");
            door::refused(unreadable(reason), form, &mut hear)
        }
        Err(error) => door::refused(unreadable(error.to_string()), form, &mut hear),
    };
    Exit(answer.exit_code)
}
