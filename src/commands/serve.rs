//! `serve` and `token`: the planning service.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use ir::diagnostic::Diagnostic;
use serde_json::json;
use web::{Options, Place};

use crate::cli::VERSION;
use crate::printer::Printer;
use crate::service_flags::{DatabaseFlags, ServeArgs, TokenArgs, WorkFlags};
use engine::exit::{CommandResult, Exit};

pub(crate) fn run(args: &ServeArgs, again: &[OsString], printer: &Printer) -> CommandResult {
    let options = options(args, again);
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    let mut listening = |address| {
        printer.talk(&format!("listening on {scheme}://{address}/docs, Ctrl-C ends it"));
    };
    web::server::serve(options, &mut listening).map_err(|reason| {
        Diagnostic::usage("serve-failed", format!("can not serve on `{}`", args.listen))
            .fact("reason", reason)
            .hint("choose a free port with --listen 127.0.0.1:PORT; port 0 takes any")
            .hint("to be reached by others make a token first: meshwright token NAME")
    })?;
    Ok(Exit::DONE)
}

fn options(args: &ServeArgs, again: &[OsString]) -> Options {
    let WorkFlags { workers, process, drain, work_folder } = args.work.clone();
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let tls = args.tls_certificate.clone().zip(args.tls_key.clone());
    Options {
        listen: args.listen,
        database: args.database.database.clone(),
        folder: work_folder.unwrap_or_else(|| beside(&args.database)),
        workers: workers.unwrap_or((cores / 2).max(1)),
        limits: process.limits(),
        most_upload: args.most_upload,
        connections: args.connections,
        keep_for: args.keep_for,
        most_stored: args.most_stored,
        requests_per_s: args.most_requests,
        logs_all: args.log_all,
        drain,
        allows_anonymous: args.allow_anonymous,
        anonymous: args.quota.quota(),
        tls,
        program: again.to_vec(),
        version: VERSION,
    }
}

/// Folder for files of a process that uses a database.
fn beside(database: &DatabaseFlags) -> PathBuf {
    match &database.database {
        Place::File(path) => path.with_extension("work"),
    }
}

pub(crate) fn token(args: &TokenArgs, printer: &Printer) -> CommandResult {
    let TokenArgs { name, scope, database, quota } = args;
    let made = web::tokens::make(database.database.clone(), name, *scope, quota.quota());
    let token = made.map_err(|reason| {
        Diagnostic::usage("token-failed", "the token can not be stored")
            .fact("reason", reason)
            .hint("name the database of the service with --database")
    })?;
    printer.text(&format!("{token}\n"));
    printer.document(&json!({ "name": name, "scope": scope.name(), "token": token }));
    Ok(Exit::DONE)
}
