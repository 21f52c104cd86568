//! Where the step time of a plan of ops goes, and why an op, a transfer or a device is as it is.

mod device;
mod formula;
mod op;
mod step;
mod transfer;

use std::sync::Arc;

use documents::plan::{CostDocument, PlanDocument};
use ir::diagnostic::Diagnostic;

use super::replay::{self, Replayed};
use super::verdict::verdict;
use crate::answer::exit::{Cancel, CommandResult, Exit};
use crate::answer::page::Page;
use crate::answer::rows::Rows;
use crate::answer::suggest;
use crate::request::PlanOnModel;
use crate::request::subject::Subject;

/// Explains a part of a plan.
///
/// # Errors
/// `unknown-op`, `unknown-tensor`, `unknown-device` and the like where the plan has none of that
/// name.
pub fn explain(
    replayed: &Replayed,
    subject: &Subject,
    cost: Option<&CostDocument>,
    rows: Rows,
    page: &Page,
) -> Result<(), Diagnostic> {
    match subject {
        Subject::Op(name) => op::explain(replayed, name, rows, page),
        Subject::Transfer(name) => transfer::explain(replayed, name, rows, page),
        Subject::Device(name) => device::explain(replayed, name, rows, page),
        Subject::Step { longest } => {
            step::explain(replayed, (cost, *longest), rows, page);
            Ok(())
        }
    }
}

/// The position of a name in a list, or what is nearest to it.
fn position_of<'a>(
    code: &'static str,
    what: &str,
    name: &str,
    names: impl Iterator<Item = &'a str> + Clone,
) -> Result<usize, Diagnostic> {
    names.clone().position(|other| other == name).ok_or_else(|| {
        Diagnostic::usage(code, format!("the {what} `{name}` does not exist"))
            .hint(suggest::hint(name, names))
    })
}

fn device_name(replayed: &Replayed, device: ir::id::DeviceId) -> &str {
    &replayed.on.loaded.problem.cluster.devices[device.index()].name
}

/// `explain` of a plan on its model.
///
/// # Errors
/// Those of reading, and of subjects that the plan does not have.
pub fn of_plan(
    document: &Arc<PlanDocument>,
    (on, subject): (&PlanOnModel, &Subject),
    (cancel, page): (Cancel<'_>, &Page),
) -> CommandResult {
    let rows = Rows::of(on.target.all);
    let problem = replay::on_problem(document, &on.model, &on.target)?;
    let broken = replay::broken_rules(&problem);
    if !broken.is_empty() {
        return Ok(verdict(&problem, broken, rows, (&cancel(), page)));
    }
    let replayed = replay::on(problem)?;
    explain(&replayed, subject, document.cost.as_ref(), rows, page)?;
    Ok(Exit::DONE)
}
