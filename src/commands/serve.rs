//! `serve`: the listings over HTTP.

use std::net::TcpListener;

use ir::diagnostic::Diagnostic;

use crate::cli::ServeArgs;
use crate::printer::Printer;
use engine::exit::{CommandResult, Exit};

pub(crate) fn run(args: &ServeArgs, printer: &Printer) -> CommandResult {
    let failed = |e: std::io::Error| {
        Diagnostic::usage("listen-failed", format!("can not listen on `{}`", args.listen))
            .fact("reason", e.to_string())
            .hint("choose a free port with --listen 127.0.0.1:PORT; port 0 takes any")
    };
    let listener = TcpListener::bind(args.listen).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    printer.talk(&format!("listening on http://{address}/api/health, Ctrl-C ends it"));
    web::server::serve(listener).map_err(failed)?;
    Ok(Exit::DONE)
}
