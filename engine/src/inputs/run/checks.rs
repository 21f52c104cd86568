//! Requests that are no training runs.

use ir::diagnostic::Diagnostic;
use ir::workload::Mode;

use crate::request::PlanRequest;

/// Refuses a step that does not train.
///
/// # Errors
/// `not-for-training`.
pub fn check_workload(request: &PlanRequest) -> Result<(), Diagnostic> {
    if request.problem.workload != Some(Mode::Inference) {
        return Ok(());
    }
    let message = "`--workload inference` contradicts the flags of a training run";
    Err(Diagnostic::usage("not-for-training", message)
        .hint("leave one out; a placement of ops is planned without --global-batch"))
}
