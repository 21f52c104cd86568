//! A plan for a request: of single ops, of a training run, of experts, of an instance with given
//! costs.

mod both;
mod energy_front;
mod least;
mod margin;
mod task;

use std::sync::Arc;

use ir::diagnostic::{Blame, Diagnostic};
use ir::plan_kind::PlanKind;
use planner::recipe::Ingredient;
use planner::run::watch::Tell;

use crate::answer::exit::{CommandResult, Exit};
use crate::inputs::assumed;
use crate::kinds::fleet::worker_set;
use crate::kinds::given::with_accelerators;
use crate::kinds::kind::Kind;
use crate::kinds::placement::Placement;
use crate::kinds::training::Training;
use crate::kinds::training::plan_unlike;
use crate::kinds::training::replaced::{self, Keeps};
use crate::kinds::{frame, given, training};
use crate::request::PlanRequest;
use crate::request::fields::{self, Honours};
use crate::request::task::Task;
use crate::search::run::interrupted;

pub use crate::search::run::Run;

/// What is done with a kind of plan.
macro_rules! with_kind {
    ($kind:expr, $K:ident => $framed:expr) => {
        $crate::plan::with_kind!(
            [
                experts::Experts, slots::Slots, streams::Streams, groups::Groups, nano_batches::NanoBatches,
                inference::Inference, gradients::Gradients, training::Training, fleet::Fleet, sharding::Sharding
            ]
            $kind, $K => $framed
        )
    };
    ([$($room:ident::$name:ident),*] $kind:expr, $K:ident => $framed:expr) => {
        match $kind {
            $(PlanKind::$name => {
                type $K = $crate::kinds::$room::$name;
                $framed
            })*
            // Solutions of instances are no plan documents.
            PlanKind::Placement | PlanKind::Given => {
                type $K = $crate::kinds::placement::Placement;
                $framed
            }
        }
    };
}
pub(crate) use with_kind;

/// Plans what is asked for. The follower gets the plan and all files together, and the page the
/// answer.
///
/// # Errors
/// Those of reading and planning: flags that mean nothing there are refused by name, and where there
/// is no plan, why.
pub fn plan(request: &PlanRequest, run: &mut Run<'_>) -> CommandResult {
    if let Some(text) = worker_set::text(&request.model) {
        task::check_instance(request)?;
        let exit = worker_set::plan(request, &text, run)?;
        task::note(request, Task::Solve, run.page);
        return Ok(exit);
    }
    let path = request.model.clone();
    let read = move |_: Tell<()>| importers::instance(&path);
    match run.watch.run(read, &mut |()| {}).done().transpose()? {
        Some(Some(instance)) => {
            task::check_instance(request)?;
            let instance = with_accelerators(instance, request.accelerators);
            let exit = given::plan::plan(request, Arc::new(instance), run)?;
            task::note(request, Task::Solve, run.page);
            return Ok(exit);
        }
        Some(None) => {}
        None if run.watch.is_cancelled() => return Ok(interrupted(run.page)),
        None => {
            return Err(Diagnostic::error(Blame::NotFound, "no-plan", "no plan was found")
                .fact("reason", "the time limit ended while the model file was read")
                .hint("raise --time-limit"));
        }
    }
    let request = &*task::stated(request)?;
    let filled = replaced::filled(request, Keeps::Pins)?;
    let exit = match margin::planned(&filled, run) {
        Err(error) if replaced::may_be_freed(request, (&filled, &error)) => {
            margin::planned(&*replaced::filled(request, Keeps::Neither)?, run)
        }
        answer => answer,
    }
    .map_err(|error| assumed::unproved(request, error))?;
    task::note(request, task::guessed(request)?, run.page);
    Ok(exit)
}

fn planned(request: &PlanRequest, run: &mut Run<'_>) -> CommandResult {
    check_name(request.recipe())?;
    let is_least = least::is_asked(request) && !run.is_tried;
    if is_least && !request.allow_lossy.is_empty() {
        let message =
            "`--allow-lossy` has no effect where energy is least, or under a cap of power";
        return Err(Diagnostic::usage("not-for-training", message).hint("leave one out"));
    }
    if is_least && (is_served(request) || is_over_degrees(request)) {
        return least::plan(request, run);
    }
    if let Some(answer) = by_row(request, run)? {
        return Ok(answer);
    }
    let trains = both::is_open(request) || is_over_degrees(request);
    let unlike = match trains {
        true => run.read(request, |request| Ok(plan_unlike::asked(request)))?,
        false => Some(plan_unlike::Asked::Nothing),
    };
    let Some(unlike) = unlike else { return Ok(interrupted(run.page)) };
    if trains && unlike == plan_unlike::Asked::Nothing && !request.allow_lossy.is_empty() {
        let honoured = if plans_training(request) { Training::HONOURS } else { Placement::HONOURS };
        fields::check(&request.problem.given, honoured)?;
        return plan_unlike::no_edges(request);
    }
    if unlike != plan_unlike::Asked::Nothing {
        fields::check(&request.problem.given, Training::HONOURS)?;
        training::plan::check(request)?;
        return match unlike {
            plan_unlike::Asked::Better => plan_unlike::better(request, run),
            _ => plan_unlike::plan(request, run),
        };
    }
    if both::is_open(request) {
        return both::plan(request, run);
    }
    match plans_training(request) {
        true => frame::plan::<Training>(request, run),
        false => frame::plan::<Placement>(request, run),
    }
}

/// The kind of plan that a request's recipe, or its phase, asks for by itself; `None` where it is of ops or of a
/// training run.
///
/// # Errors
/// Those of the recipe; `not-for-serving`.
pub fn kind_of(request: &PlanRequest) -> Result<Option<PlanKind>, Diagnostic> {
    for kind in PlanKind::ALL {
        if with_kind!(kind, K => K::is_asked(request)?) {
            return Ok(Some(kind));
        }
    }
    Ok(None)
}

/// Fields that kinds of plans honour, one for each column of the page of flags.
#[must_use]
pub fn honours() -> Vec<&'static Honours> {
    let mut all = vec![&fields::OPS, &fields::DEGREES, &fields::LAYERS, &fields::INSTANCE];
    for kind in PlanKind::ALL {
        let honours = with_kind!(kind, K => K::HONOURS);
        if all.iter().all(|other| other.column != honours.column) {
            all.push(honours);
        }
    }
    all
}

/// Fields that plans for a question honour, by kind.
#[must_use]
pub fn honours_of(task: Task) -> Vec<&'static Honours> {
    let task_of = |honours: &Honours| match honours.kind {
        PlanKind::Training | PlanKind::Sharding => Task::Train,
        PlanKind::Placement => Task::Place,
        PlanKind::Given => Task::Solve,
        _ => Task::Infer,
    };
    honours().into_iter().filter(|honours| task_of(honours) == task).collect()
}

/// Plans what a row decides that stands alone; nothing where the recipe is of ops or of training runs.
fn by_row(request: &PlanRequest, run: &mut Run<'_>) -> Result<Option<Exit>, Diagnostic> {
    let Some(kind) = kind_of(request)? else { return Ok(None) };
    with_kind!(kind, K => frame::plan::<K>(request, run).map(Some))
}

/// Whether an inference pipeline is asked for.
#[must_use]
pub fn is_served(request: &PlanRequest) -> bool {
    kind_of(request).is_ok_and(|kind| kind == Some(PlanKind::Inference))
}

/// Refuses a recipe that begins with no row, before flags are looked at for what it plans.
fn check_name(recipe: &str) -> Result<(), Diagnostic> {
    let first = recipe.split(',').next().unwrap_or_default().trim();
    let name = first.split('(').next().unwrap_or_default().trim();
    match planner::registry::entry(name) {
        // An option may hold commas: only a name that is unknown is looked at closely.
        Some(_) => Ok(()),
        None => Ingredient::parse(first, planner::registry::entries()).map(|_| ()),
    }
}

fn plans_training(request: &PlanRequest) -> bool {
    match request.task {
        Some(Task::Train) => true,
        Some(Task::Place) => false,
        _ => request.training.asks().is_some() || training::plan::plans_training(request.recipe()),
    }
}

/// Whether degrees of a training run are searched by the cost model.
fn is_over_degrees(request: &PlanRequest) -> bool {
    plans_training(request) && !request.is_on_layers()
}
