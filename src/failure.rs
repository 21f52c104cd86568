//! How a run ends when it does not end well.

use std::any::Any;
use std::ffi::OsString;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, PoisonError};

use clap::error::ErrorKind;
use ir::diagnostic::{Blame, Diagnostic};

use crate::printer::{Printer, takes_colour};
use crate::{flag_hints, interrupt};
use engine::answer::exit::CommandResult;

/// Help and version are no failures; wrong flags are, in text or as a document.
pub(crate) fn of_flags(error: &clap::Error, words: &[OsString], printer: &Printer) -> u8 {
    let is_help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if is_help {
        let text = error.render();
        if takes_colour(&io::stdout()) {
            printer.raw(&text.ansi().to_string());
        } else {
            printer.raw(&text.to_string());
        }
        return ended(printer, 0);
    }
    let diagnostic =
        flag_hints::of(error, words).unwrap_or_else(|| diagnostic(&error.render().to_string()));
    let exit = diagnostic.blame.exit_code();
    printer.failure(&diagnostic, exit);
    ended(printer, exit)
}

/// The exit code of a run, unless what it had to say did not get out.
fn ended(printer: &Printer, exit: u8) -> u8 {
    let exit = match printer.broken() {
        Some(error) => {
            printer.last_words(&error);
            error.blame.exit_code()
        }
        None => exit,
    };
    interrupt::leave(exit);
    exit
}

/// What the flag parser says, in our form: its tips and its usage line become hints.
fn diagnostic(text: &str) -> Diagnostic {
    let mut message = String::new();
    let mut hints = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(tip) = line.strip_prefix("tip: ") {
            // How a word is passed that looks like a flag: nobody means that.
            if !tip.starts_with("to pass ") {
                hints.push(tip.to_owned());
            }
        } else if let Some(usage) = line.strip_prefix("Usage: ") {
            hints.push(format!("usage: {usage}"));
        } else if line.starts_with("For more information") {
            hints.push("--help says more".to_owned());
        } else {
            let separator = if message.is_empty() { "" } else { " " };
            message = message + separator + line.strip_prefix("error: ").unwrap_or(line);
        }
    }
    let diagnostic = Diagnostic::usage("usage", message);
    hints.into_iter().fold(diagnostic, Diagnostic::hint)
}

/// Runs a command; its error is printed, and a panic becomes `error[internal]`.
pub(crate) fn catch(printer: &Printer, run: impl FnOnce() -> CommandResult) -> u8 {
    let place = Arc::new(Mutex::new(String::new()));
    let noted = Arc::clone(&place);
    panic::set_hook(Box::new(move |info| {
        let at = info.location().map(|l| format!("{}:{}", l.file(), l.line()));
        *noted.lock().unwrap_or_else(PoisonError::into_inner) = at.unwrap_or_default();
    }));
    let diagnostic = match panic::catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(exit)) => return ended(printer, exit.0),
        Ok(Err(diagnostic)) => diagnostic,
        Err(payload) => internal(&*payload, &place.lock().unwrap_or_else(PoisonError::into_inner)),
    };
    let exit = diagnostic.blame.exit_code();
    printer.failure(&diagnostic, exit);
    ended(printer, exit)
}

/// How the standard library and the server's runtime say that the system refused a thread.
const NO_THREAD: [&str; 2] = ["failed to spawn thread", "can't spawn worker thread"];

fn internal(payload: &(dyn Any + Send), place: &str) -> Diagnostic {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic");
    // A library that can't go on without another thread says so by a panic.
    if NO_THREAD.iter().any(|part| text.contains(part)) {
        let message = "the system starts no more threads";
        return Diagnostic::usage("no-threads", message)
            .fact("reason", text)
            .hint("raise the limit of processes (ulimit -u, or pids of the container)");
    }
    Diagnostic::error(Blame::Internal, "internal", "meshwright has a bug and stopped")
        .fact("reason", text)
        .fact("at", place)
        .hint("please report it with the command line and, if you can share them, the input files")
}
