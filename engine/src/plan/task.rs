//! The question of a request: stated by its verb, or guessed from its other fields.

use std::borrow::Cow;

use ir::diagnostic::Diagnostic;
use ir::plan_kind::PlanKind;
use ir::workload::{Mode as Workload, StepPhase};

use super::{both, kind_of, plans_training};
use crate::request::task::Task;
use crate::request::{AUTO, PlanRequest};

/// The question that the fields of a request about a model ask by themselves.
///
/// # Errors
/// Those of its recipe.
pub(super) fn guessed(request: &PlanRequest) -> Result<Task, Diagnostic> {
    Ok(match kind_of(request)? {
        Some(PlanKind::Gradients | PlanKind::Sharding) => Task::Train,
        Some(_) if request.phase == Some(StepPhase::Training) => Task::Train,
        Some(_) => Task::Infer,
        None if both::is_open(request) || plans_training(request) => Task::Train,
        None => Task::Place,
    })
}

/// A request about a model with what its verb says: a step of training where nothing else is stated.
///
/// # Errors
/// `other-task` where its fields ask another question; those of its recipe.
pub(super) fn stated(request: &PlanRequest) -> Result<Cow<'_, PlanRequest>, Diagnostic> {
    let Some(task) = request.task else { return Ok(Cow::Borrowed(request)) };
    let kind = kind_of(request)?;
    if let Some(other) = other(request, task, kind) {
        return Err(other);
    }
    let trains = task == Task::Train && kind.is_some() && request.phase.is_none();
    Ok(match trains {
        true => Cow::Owned(PlanRequest { phase: Some(StepPhase::Training), ..request.clone() }),
        false => Cow::Borrowed(request),
    })
}

/// Where recipe, phase or workload belong to the verb of another question.
fn other(request: &PlanRequest, task: Task, kind: Option<PlanKind>) -> Option<Diagnostic> {
    let refused = |what: String, does: &str, meant: Task| {
        let message = format!("{what} {does}, and `{}` plans {}", task.name(), task.words());
        Diagnostic::usage("other-task", message)
            .hint(format!("use `meshwright {}`, or leave it out", meant.name()))
    };
    let recipe = || match (request.recipe(), request.serving.asks()) {
        (AUTO, Some(flag)) => format!("`{flag}`"),
        (recipe, _) => format!("`--algorithm {recipe}`"),
    };
    if task == Task::Solve {
        let message =
            format!("`{}` is a model, and `solve` plans {}", request.model.display(), task.words());
        return Some(
            Diagnostic::usage("other-task", message)
                .hint("use `meshwright train`, `meshwright place` or `meshwright infer`"),
        );
    }
    match (task, request.phase) {
        (Task::Train | Task::Place, Some(phase @ (StepPhase::Prefill | StepPhase::Decode))) => {
            return Some(refused(
                format!("`--phase {}`", phase.name()),
                "is inference",
                Task::Infer,
            ));
        }
        (Task::Place | Task::Infer, Some(StepPhase::Training)) => {
            return Some(refused(
                "`--phase training`".to_owned(),
                "is a training step",
                Task::Train,
            ));
        }
        _ => {}
    }
    if task == Task::Infer && request.problem.workload == Some(Workload::Training) {
        return Some(refused(
            "`--workload training`".to_owned(),
            "is a training step",
            Task::Train,
        ));
    }
    match (task, kind) {
        (Task::Place | Task::Infer, Some(PlanKind::Gradients | PlanKind::Sharding)) => {
            Some(refused(recipe(), "plans training steps", Task::Train))
        }
        (
            Task::Train,
            Some(PlanKind::Slots | PlanKind::NanoBatches | PlanKind::Inference | PlanKind::Fleet),
        )
        | (Task::Place, Some(_)) => Some(refused(recipe(), "plans inference", Task::Infer)),
        (Task::Infer, None) if request.recipe() != AUTO => {
            let meant = if plans_training(request) { Task::Train } else { Task::Place };
            Some(refused(recipe(), "plans no inference", meant))
        }
        _ => None,
    }
}

/// Refuses an instance under the verb of a model.
///
/// # Errors
/// `other-task`.
pub(super) fn check_instance(request: &PlanRequest) -> Result<(), Diagnostic> {
    match request.task {
        None | Some(Task::Solve) => Ok(()),
        Some(task) => {
            let file = request.model.display();
            let message = format!(
                "`{file}` is an instance with given costs, and `{}` plans {}",
                task.name(),
                task.words()
            );
            Err(Diagnostic::usage("other-task", message)
                .hint(format!("use `meshwright solve {file}`")))
        }
    }
}

/// Names the verb that was meant, where a request was guessed.
pub(super) fn note(request: &PlanRequest, meant: Task, page: &crate::answer::page::Page) {
    if request.task.is_none() {
        page.talk(&format!("`plan` is deprecated: `meshwright {}` asks the same", meant.name()));
    }
}
