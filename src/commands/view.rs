//! `view`: a plan file in the pages of a service of its own.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use engine::answer::exit::{CommandResult, Exit};
use engine::answer::files::input_file;
use engine::request::OpenRequest;
use ir::diagnostic::Diagnostic;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use web::client::{Failure, Service, Status};

use super::serve;
use crate::cli::{Cli, Command};
use crate::plan_inputs;
use crate::printer::Printer;
use crate::service_flags::{ServeArgs, ViewArgs};

/// Longest plan file, in bytes.
const LONGEST: u64 = 1 << 30;
/// Longest that a plan may take to be opened.
const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) fn run(args: &ViewArgs, again: &[OsString], printer: &Printer) -> CommandResult {
    if !args.listen.ip().is_loopback() {
        let message = format!("others than this machine can reach {}", args.listen);
        return Err(Diagnostic::usage("not-for-others", message)
            .hint("leave --listen out, or open the file in the pages of `meshwright serve`"));
    }
    let failed = |reason: String, hint: &str| {
        Diagnostic::usage("view-failed", "the plan can not be shown")
            .fact("reason", reason)
            .hint(hint)
    };
    let plan = input_file::read(&args.plan, LONGEST).map_err(|reason| {
        let message = format!("`{}` can not be read", args.plan.display());
        Diagnostic::input("unreadable-file", message)
            .fact("reason", reason)
            .hint("give a plan that `-o plan.json` wrote")
    })?;
    let place = TempDir::with_prefix("meshwright-view-");
    let place = place.map_err(|error| failed(error.to_string(), "name a folder in TMPDIR"))?;
    let options = serve::options(&usual(args, place.path())?, again)?;
    let mut listening = |address: SocketAddr| {
        let (args, talk, plan) = (args.clone(), printer.clone(), plan.clone());
        let place = place.path().to_owned();
        std::thread::spawn(move || match opened(address, &args, &plan) {
            Ok(status) => told(address, &status, &talk),
            Err(error) => end(&error, &place, &talk),
        });
    };
    web::quiet();
    web::server::serve(options, &mut listening)
        .map_err(|failure| failed(failure.reason, failure.hint))?;
    Ok(Exit::DONE)
}

/// The flags of `serve` where nobody stated any.
fn usual(args: &ViewArgs, place: &Path) -> Result<ServeArgs, Diagnostic> {
    let (listen, database) = (args.listen.to_string(), place.join("plans.db"));
    let words = ["meshwright", "serve", "--listen", &listen, "--database"];
    let words = words.into_iter().map(OsString::from).chain([database.into_os_string()]);
    match Cli::try_parse_from(words).map(|cli| cli.command) {
        Ok(Some(Command::Serve(args))) => Ok(args),
        _ => Err(Diagnostic::usage("view-failed", "a folder's name is no text")
            .hint("name a folder in TMPDIR whose name is text")),
    }
}

/// Opens the plan there, on the inputs that it states unless these changed since.
fn opened(address: SocketAddr, args: &ViewArgs, plan: &[u8]) -> Result<Status, Diagnostic> {
    let service = Service::new(&format!("http://{address}"), None, PATIENCE, Arc::default())?;
    let name = args.plan.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let open =
        |on: &OpenRequest| service.open((&name, plan), fields(on)).map_err(Failure::diagnostic);
    let request = args.request();
    match plan_inputs::shown(&request).map(|found| open(&found)) {
        Some(Err(error)) if error.code == "digest-mismatch" && request.model.is_none() => {
            open(&request)
        }
        Some(done) => done,
        None => open(&request),
    }
}

/// What a plan is shown on, as fields.
fn fields(on: &OpenRequest) -> Map<String, Value> {
    let problem = &on.problem;
    let files =
        [("model", &on.model), ("cluster", &problem.cluster), ("profile", &problem.profile)];
    let named = files.into_iter().filter_map(|(field, file)| Some((field, file.as_ref()?)));
    let mut fields: Map<String, Value> =
        named.map(|(field, file)| (field.to_owned(), file.to_string_lossy().into())).collect();
    if !problem.scale.is_empty() {
        fields.insert("scale".to_owned(), problem.scale.join(",").into());
    }
    fields
}

fn told(address: SocketAddr, status: &Status, printer: &Printer) {
    let page = format!("http://{address}/#/plans/{}", status.id);
    printer.line(&page);
    printer.document(
        &json!({ "page": page, "service": format!("http://{address}"), "plan": status.id }),
    );
    printer.talk("open that page in a browser; Ctrl-C ends it, and nothing of it stays");
}

/// Ends the process of a plan that can not be shown.
#[allow(clippy::exit, reason = "the service has no other end than a signal")]
fn end(error: &Diagnostic, place: &Path, printer: &Printer) {
    let exit = error.blame.exit_code();
    printer.failure(error, exit);
    let _ = std::fs::remove_dir_all(place);
    std::process::exit(exit.into());
}
