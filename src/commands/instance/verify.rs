//! `verify` on instances: is the solution legal, and worth what it states?

use cost_model::instance::rows;
use documents::diagnostic::DiagnosticDocument;
use documents::solution::SolutionDocument;
use ir::diagnostic::{Blame, Diagnostic};
use ir::instance::Instance;
use ir::units::Nanos;
use planner::instance::{goals, judge};
use serde_json::json;

use super::{STRAIGHT_DEVICES, only_flags, solution};
use crate::cli::ReplayArgs;
use crate::commands::{CommandResult, Exit, violations};
use crate::input_file;
use crate::printer::Printer;

/// Longest solution that is read, in bytes.
const LONGEST_FILE: u64 = 1 << 30;

pub(crate) fn run(args: &ReplayArgs, instance: &Instance, printer: &Printer) -> CommandResult {
    only_flags(&args.target.problem, &[])?;
    let file = args.plan.display().to_string();
    let unreadable = |why: String| {
        Diagnostic::input("unreadable-file", format!("`{file}` can not be read"))
            .fact("reason", why)
            .hint("give a file that `meshwright plan INSTANCE -o FILE` wrote")
    };
    let text = input_file::read(&args.plan, LONGEST_FILE).map_err(unreadable)?;
    let document = SolutionDocument::parse(&text).map_err(|e| e.fact("file", file.clone()))?;
    let broken = broken(instance, &document)?;
    printer.warnings(&broken);
    printer.line(&match broken.len() {
        0 => format!("legal: {} {:.9}", document.objective, Nanos(document.value_ns).seconds()),
        n => format!("illegal: {}", violations::count(n)),
    });
    let list: Vec<_> = broken.iter().map(DiagnosticDocument::from).collect();
    printer.document(&json!({
        "legal": broken.is_empty(),
        "violations": list,
        "truncated": false,
        "warnings": [],
    }));
    Ok(if broken.is_empty() { Exit::DONE } else { Exit(Blame::IllegalPlan.exit_code()) })
}

/// The rule that the solution breaks, or what it states in vain.
fn broken(instance: &Instance, document: &SolutionDocument) -> Result<Vec<Diagnostic>, Diagnostic> {
    let is_meant = |row: &&cost_model::instance::Row| row.name == document.objective;
    let goal = rows().iter().find(is_meant).map(|row| row.goal);
    let goal = goal.filter(|goal| goals(instance).contains(goal)).ok_or_else(|| {
        let message = format!("`{}` is no objective of this instance", document.objective);
        Diagnostic::input("other-instance", message)
            .hint("give the instance that the solution was made for")
    })?;
    let found = solution::solution(instance, document)
        .and_then(|solution| judge(instance, goal, STRAIGHT_DEVICES, &solution));
    let value = match found {
        Ok(value) => value,
        Err(error) => return Ok(vec![error]),
    };
    let wrong = |message: String| Diagnostic::error(Blame::IllegalPlan, "stated-cost", message);
    let mut broken = Vec::new();
    if document.value_ns != value.get() {
        let message = "the solution is not worth what it states";
        broken.push(
            wrong(message.to_owned())
                .fact("stated_ns", document.value_ns)
                .fact("judged_ns", value.get()),
        );
    }
    if document.bound_ns > value.get() {
        let message = "the solution is below the bound that it states";
        broken.push(
            wrong(message.to_owned())
                .fact("stated_ns", document.bound_ns)
                .fact("judged_ns", value.get()),
        );
    }
    Ok(broken)
}
