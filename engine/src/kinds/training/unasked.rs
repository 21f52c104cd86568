//! Flags beside a plan: they may not ask for another run than the one that was planned.

use documents::plan::PlanDocument;
use ir::diagnostic::Diagnostic;
use ir::workload::Mode;

use crate::request::ProblemRequest;

/// Refuses flags that ask for another run than the one that was planned, or for none that trains.
///
/// # Errors
/// `not-as-planned`.
pub fn unasked(problem: &ProblemRequest, document: &PlanDocument) -> Result<(), Diagnostic> {
    let refused = |flag: String, why: String| {
        let message = format!("`{flag}` {why}");
        Err(Diagnostic::usage("not-as-planned", message).hint("leave it out, or plan with it"))
    };
    let run = document.parallelism.training.as_ref();
    let sizes = [
        ("--batch", problem.model.batch, document.training.as_ref().map(|run| run.global_batch)),
        ("--micro-batch", problem.model.micro_batch, run.map(|run| run.micro_batch)),
    ];
    for (flag, requested, planned) in sizes {
        if let (Some(requested), Some(planned)) =
            (requested, planned.filter(|planned| Some(*planned) != requested))
        {
            return refused(
                format!("{flag} {requested}"),
                format!("asks for another run: {planned} were planned"),
            );
        }
    }
    if problem.workload == Some(Mode::Inference) {
        return refused("--workload inference".to_owned(), "contradicts a training run".to_owned());
    }
    let of_ops = [
        ("--forbid", !problem.forbid.is_empty()),
        ("--colocate", !problem.colocate.is_empty()),
        ("--constraints", problem.constraints.is_some()),
    ];
    match of_ops.into_iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((flag, _)) => refused(flag.to_owned(), "has no effect on a training run".to_owned()),
    }
}
