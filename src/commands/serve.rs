//! `serve`, `worker`, `token` and `backup`: the planning service.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use ir::diagnostic::Diagnostic;
use serde_json::json;
use web::{Options, Place, Quota, Token, Webhook, Work};

use crate::printer::Printer;
use crate::service_flags::{BackupArgs, ServeArgs, TokenArgs, WorkFlags, WorkerArgs};
use crate::version::VERSION;
use engine::answer::exit::{CommandResult, Exit};
use engine::answer::page::Column::{Name, Number, Text};

/// Keeps the secret out of the list of processes.
const WEBHOOK_SECRET: &str = "MESHWRIGHT_WEBHOOK_SECRET";

pub(crate) fn run(args: &ServeArgs, again: &[OsString], printer: &Printer) -> CommandResult {
    let options = options(args, again)?;
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    let mut listening = |address| {
        printer.talk(&format!("listening on {scheme}://{address}/docs, Ctrl-C ends it"));
    };
    web::server::serve(options, &mut listening).map_err(|failure| {
        Diagnostic::usage("serve-failed", format!("can not serve on `{}`", args.listen))
            .fact("reason", failure.reason)
            .hint(failure.hint)
    })?;
    Ok(Exit::DONE)
}

pub(super) fn options(args: &ServeArgs, again: &[OsString]) -> Result<Options, Diagnostic> {
    if args.webhook.is_none() && std::env::var_os(WEBHOOK_SECRET).is_some() {
        let message = format!("{WEBHOOK_SECRET} is set, but nobody is to be told");
        return Err(Diagnostic::usage("bad-webhook", message)
            .hint("say whom with --webhook URL, or unset the variable"));
    }
    let tls = args.tls_certificate.clone().zip(args.tls_key.clone());
    let webhook = args.webhook.as_deref().map(|url| {
        let secret = std::env::var(WEBHOOK_SECRET).unwrap_or_default();
        Webhook::new(url, &secret).map_err(|reason| {
            Diagnostic::usage("bad-webhook", "nobody can be told of plans that ended")
                .fact("reason", reason)
                .hint(format!(
                    "--webhook http://HOST:PORT/PATH or https://..., and \
                     export {WEBHOOK_SECRET}=whsec_$(openssl rand -base64 32)"
                ))
        })
    });
    Ok(Options {
        work: work(args.database.place()?, &args.work, again),
        listen: args.listen,
        most_upload: args.most_upload,
        connections: args.connections,
        keep_for: args.keep_for,
        most_stored: args.most_stored,
        requests_per_s: args.most_requests,
        logs_all: args.log_all,
        allows_anonymous: args.allow_anonymous,
        anonymous: args.quota.quota(),
        tls,
        webhook: webhook.transpose()?,
        version: VERSION,
    })
}

fn work(database: Place, flags: &WorkFlags, again: &[OsString]) -> Work {
    let WorkFlags { workers, process, drain, work_folder } = flags.clone();
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let beside = || match &database {
        Place::File(path) => path.with_extension("work"),
        Place::Url(_) => PathBuf::from("meshwright.work"),
    };
    Work {
        folder: work_folder.unwrap_or_else(beside),
        workers: workers.unwrap_or((cores / 2).max(1)),
        limits: process.limits(),
        drain,
        program: again.to_vec(),
        database,
    }
}

pub(crate) fn worker(args: &WorkerArgs, again: &[OsString], printer: &Printer) -> CommandResult {
    if args.work.workers == Some(0) {
        return Err(Diagnostic::usage("bad-workers", "a worker makes at least one plan at once")
            .hint("leave --workers out, or give it 1 or more"));
    }
    let options = work(args.database.place()?, &args.work, again);
    let (n, place) = (options.workers, options.database.to_string());
    let mut working = || printer.talk(&format!("working on {place}, {n} at once, Ctrl-C ends it"));
    web::server::work(options, &mut working).map_err(|failure| {
        Diagnostic::usage("worker-failed", "can not work for a service")
            .fact("reason", failure.reason)
            .hint(failure.hint)
    })?;
    Ok(Exit::DONE)
}

pub(crate) fn token(args: &TokenArgs, printer: &Printer) -> CommandResult {
    let TokenArgs { name, list, revoke, scope, database, quota } = args;
    let database = database.place()?;
    match (revoke, name) {
        _ if *list => listed(database, printer),
        (Some(which), _) => revoked(database, which, printer),
        (None, name) => {
            let name = name.as_deref().unwrap_or_default();
            let made = web::tokens::make(database, name, *scope, quota.quota());
            let token = made.map_err(failed("the token cannot be stored"))?;
            printer.text(&format!("{token}\n"));
            printer.document(&json!({ "name": name, "scope": scope.name(), "token": token }));
            Ok(Exit::DONE)
        }
    }
}

fn failed(message: &'static str) -> impl Fn(String) -> Diagnostic {
    move |reason| {
        Diagnostic::usage("token-failed", message)
            .fact("reason", reason)
            .hint("name the database of the service with --database")
    }
}

fn listed(database: Place, printer: &Printer) -> CommandResult {
    let tokens = web::tokens::list(database).map_err(failed("the tokens cannot be listed"))?;
    let hours = |ms: i64| format!("{:.1}", ms as f64 / 3_600_000.0);
    let gib = |bytes: i64| format!("{:.1}", bytes as f64 / (1u64 << 30) as f64);
    let row = |token: &Token| {
        let (used, most) = (token.used, token.quota);
        vec![
            token.id.clone(),
            token.name.clone(),
            token.scope.clone(),
            format!("{} of {}", used.jobs, most.jobs),
            format!("{} of {} h", hours(used.cpu_ms), hours(most.cpu_ms)),
            format!("{} of {} GiB", gib(used.bytes), gib(most.bytes)),
        ]
    };
    let columns = [
        Name("id"),
        Name("name"),
        Text("scope"),
        Number("plans"),
        Number("CPU this hour"),
        Number("uploads"),
    ];
    match tokens.is_empty() {
        true => printer.line("no tokens"),
        false => printer.table(&columns, tokens.iter().map(row).collect()),
    }
    let member = |quota: &Quota| {
        json!({
            "plans": quota.jobs, "cpu_ms": quota.cpu_ms, "bytes": quota.bytes,
        })
    };
    let document = |token: &Token| {
        json!({
            "id": token.id, "name": token.name, "scope": token.scope,
            "created_ms": token.created_ms,
            "used": member(&token.used), "quota": member(&token.quota),
        })
    };
    printer.document(&json!({ "tokens": tokens.iter().map(document).collect::<Vec<_>>() }));
    Ok(Exit::DONE)
}

fn revoked(database: Place, which: &str, printer: &Printer) -> CommandResult {
    let revoked = web::tokens::revoke(database, which);
    match revoked.map_err(failed("the token cannot be revoked"))? {
        None => {
            let message = "the last token cannot be revoked: without one, everybody is admin";
            Err(Diagnostic::usage("last-token", message)
                .hint("make another first: meshwright token NAME"))
        }
        Some(0) => Err(Diagnostic::usage("unknown-token", format!("no token is called `{which}`"))
            .hint("meshwright token --list")),
        Some(n) => {
            printer.line(&format!("{n} {} revoked", if n == 1 { "token" } else { "tokens" }));
            printer.document(&json!({ "revoked": n }));
            Ok(Exit::DONE)
        }
    }
}

pub(crate) fn back_up(args: &BackupArgs, printer: &Printer) -> CommandResult {
    let BackupArgs { copy, database, force } = args;
    let refused = |reason: String| {
        Diagnostic::usage("backup-failed", format!("no copy was written to `{}`", copy.display()))
            .fact("reason", reason)
    };
    let folder = copy.parent().filter(|folder| !folder.as_os_str().is_empty());
    // It appears whole or not at all; its owner alone can read it.
    let part = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")));
    let part = part.map_err(|error| refused(error.to_string()))?;
    web::tokens::back_up(&database.place()?, part.path()).map_err(|reason| {
        refused(reason).hint("name the database of the service with --database")
    })?;
    let synced = part.as_file().sync_all();
    synced.map_err(|error| refused(error.to_string()))?;
    let persisted = if *force { part.persist(copy) } else { part.persist_noclobber(copy) };
    let persisted =
        persisted.map_err(|error| refused(error.error.to_string()).hint("--force replaces it"))?;
    let bytes = persisted.metadata().map_err(|error| refused(error.to_string()))?.len();
    printer.talk(&format!("{bytes} bytes written to {}", copy.display()));
    printer.document(&json!({ "copy": copy, "bytes": bytes }));
    Ok(Exit::DONE)
}
