//! `jobs`: the plans of a service.

use std::time::Duration;

use engine::answer::exit::{CommandResult, Exit};
use engine::answer::files::artifact::Existing;
use engine::answer::page::Column::{Name, Number, Rest, Text};
use ir::diagnostic::Diagnostic;
use serde_json::{Value, json};
use web::client::{Failure, Service, Status};

use super::interrupted;
use crate::client_flags::JobsArgs;
use crate::printer::Printer;
use crate::publisher::{Follow, Publisher};

/// Longest that a listing takes, and longest that a plan is followed.
const LISTED: Duration = Duration::from_secs(30);
const FOLLOWED: Duration = Duration::from_secs(3600);

pub(crate) fn run(args: &JobsArgs, printer: &Printer) -> CommandResult {
    let usual = if args.follow.is_some() { FOLLOWED } else { LISTED };
    let service = args.server.service(args.wait.unwrap_or(usual))?;
    if args.check {
        service.ready().map_err(Failure::diagnostic)?;
        printer.line(&format!("{} takes plans", service.server()));
        printer.document(&json!({ "ready": true }));
        return Ok(Exit::DONE);
    }
    let ran = match (&args.follow, &args.cancel) {
        (Some(id), _) => followed(&service, id, printer),
        (None, Some(id)) => service.cancel(id).map(|status| stands(&status, printer)),
        (None, None) => listed(&service, args, printer),
    };
    match ran {
        Err(Failure::Interrupted(error)) => Ok(interrupted(&error, printer)),
        Err(failure) => Err(failure.diagnostic()),
        Ok(()) => Ok(Exit::DONE),
    }
}

fn listed(service: &Service, args: &JobsArgs, printer: &Printer) -> Result<(), Failure> {
    let document = service.list(args.state.as_deref(), args.limit)?;
    let plans = document["plans"].as_array().into_iter().flatten();
    let plans: Vec<Status> =
        plans.filter_map(|plan| serde_json::from_value(plan.clone()).ok()).collect();
    let columns = [
        Name("plan"),
        Text("state"),
        Number("place"),
        Number("priority"),
        Number("value"),
        Number("gap"),
        Rest("model"),
    ];
    let number = |n: Option<u64>| n.map_or_else(String::new, |n| n.to_string());
    let row = |status: &Status| {
        vec![
            status.id.clone(),
            match status.opened["is_judged"] == false {
                true => format!("{}, as stated", status.state),
                false => status.state.clone(),
            },
            number(status.queue_position),
            status.priority.to_string(),
            status.value().unwrap_or_default(),
            status.gap.map_or_else(String::new, |gap| format!("{:.2} %", gap * 100.0)),
            status.request["model"].as_str().unwrap_or_default().to_owned(),
        ]
    };
    match plans.is_empty() {
        true => printer.line("no plans"),
        false => printer.table(&columns, plans.iter().map(row).collect()),
    }
    if document["next"] != Value::Null {
        printer.talk(&format!("there are more; --limit lists up to 500, here {}", args.limit));
    }
    printer.document(&document);
    Ok(())
}

fn followed(service: &Service, id: &str, printer: &Printer) -> Result<(), Failure> {
    printer.one_line_each();
    let nowhere = (None, Vec::new());
    let mut publisher = Publisher::new(nowhere, Existing::Keep, Follow::Documents, printer);
    let status = service.watch(id, &mut |event| event.tell(&mut publisher))?;
    stands(&status, printer);
    status.failure().map_or(Ok(()), |error| Err(Failure::Answer(error)))
}

/// Says how a plan stands.
fn stands(status: &Status, printer: &Printer) {
    let value = status.value().map_or_else(String::new, |value| format!(", {value}"));
    printer.line(&format!("{}: {}{value}", status.id, status.state));
    let message = status.failure().map(|error: Diagnostic| error.message);
    printer.document(&json!({
        "plan": status.id,
        "state": status.state,
        "value_ns": status.value_ns,
        "bound_ns": status.bound_ns,
        "exit_code": status.exit_code,
        "error": message,
    }));
}
