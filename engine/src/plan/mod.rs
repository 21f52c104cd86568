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
use planner::experts as door;
use planner::experts::expertflow::Cached;
use planner::recipe::Ingredient;
use planner::run::watch::Tell;

use crate::answer::exit::{CommandResult, Exit};
use crate::inputs::assumed;
use crate::kinds::given::with_accelerators;
use crate::kinds::training::plan_unlike;
use crate::kinds::training::replaced::{self, Keeps};
use crate::kinds::{
    experts, given, gradients, groups, inference, nano_batches, placement, slots, streams, training,
};
use crate::request::PlanRequest;
use crate::request::fields::{self, Mode};
use crate::request::task::Task;
use crate::search::row::row;
use crate::search::run::interrupted;

pub use crate::search::run::Run;

/// Plans what is asked for. The follower gets the plan and all files together, and the page the
/// answer.
///
/// # Errors
/// Those of reading and planning: flags that mean nothing there are refused by name, and where there
/// is no plan, why.
pub fn plan(request: &PlanRequest, run: &mut Run<'_>) -> CommandResult {
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
    if is_least && (is_served(request) || mode(request) == Mode::Degrees) {
        return least::plan(request, run);
    }
    if let Some(answer) = by_row(request, run)? {
        return Ok(answer);
    }
    let trains = both::is_open(request) || mode(request) == Mode::Degrees;
    let asked = match trains {
        true => run.read(request, |own| Ok(plan_unlike::asked(own)))?,
        false => Some(plan_unlike::Asked::Nothing),
    };
    let Some(asked) = asked else { return Ok(interrupted(run.page)) };
    if trains && asked == plan_unlike::Asked::Nothing && !request.allow_lossy.is_empty() {
        fields::check(&request.problem.given, mode(request))?;
        return plan_unlike::no_edges(request);
    }
    if asked != plan_unlike::Asked::Nothing {
        fields::check(&request.problem.given, Mode::Degrees)?;
        training::plan::check(request)?;
        return match asked {
            plan_unlike::Asked::Better => plan_unlike::better(request, run),
            _ => plan_unlike::plan(request, run),
        };
    }
    if both::is_open(request) {
        return both::plan(request, run);
    }
    let mode = mode(request);
    fields::check(&request.problem.given, mode)?;
    match mode {
        Mode::Ops | Mode::Instance | Mode::Experts | Mode::Streams | Mode::Serving => {
            placement::plan::plan(request, run)
        }
        Mode::Degrees | Mode::Layers => training::plan::plan(request, run),
    }
}

/// The kind of plan that a request's recipe, or its phase, asks for by itself; `None` where it is of ops or of a
/// training run.
///
/// # Errors
/// Those of the recipe; `not-for-serving`.
pub fn kind_of(request: &PlanRequest) -> Result<Option<PlanKind>, Diagnostic> {
    let recipe = request.recipe();
    Ok(match () {
        () if gradients::row(recipe)?.is_some() => Some(PlanKind::Gradients),
        () if row::<door::Experts>(recipe)?.is_some() => Some(PlanKind::Experts),
        () if row::<Cached>(recipe)?.is_some() => Some(PlanKind::Slots),
        () if row::<door::NanoBatches>(recipe)?.is_some() => Some(PlanKind::NanoBatches),
        () if row::<door::Streams>(recipe)?.is_some() => Some(PlanKind::Streams),
        () if row::<door::Groups>(recipe)?.is_some() => Some(PlanKind::Groups),
        () if inference::plan::asked(request)?.is_some() => Some(PlanKind::Inference),
        () => None,
    })
}

/// Plans what a row decides that stands alone; nothing where the recipe is of ops or of training runs.
fn by_row(request: &PlanRequest, run: &mut Run<'_>) -> Result<Option<Exit>, Diagnostic> {
    let Some(kind) = kind_of(request)? else { return Ok(None) };
    let mode = match kind {
        PlanKind::Experts | PlanKind::Slots => Some(Mode::Experts),
        PlanKind::Streams | PlanKind::Groups | PlanKind::NanoBatches => Some(Mode::Streams),
        PlanKind::Inference => Some(Mode::Serving),
        // Gradients are those of ops, and honour some of their flags.
        _ => None,
    };
    mode.map_or(Ok(()), |mode| fields::check(&request.problem.given, mode))?;
    check_nano_batches(request, kind)?;
    match kind {
        PlanKind::Gradients => gradients::plan::plan(request, run),
        PlanKind::Experts => experts::plan::plan(request, run),
        PlanKind::Slots => slots::plan::plan(request, run),
        PlanKind::NanoBatches => nano_batches::plan::plan(request, run),
        PlanKind::Streams => streams::plan::plan(request, run),
        PlanKind::Groups => groups::plan::plan(request, run),
        PlanKind::Inference => inference::plan::plan(request, run),
        PlanKind::Placement | PlanKind::Training | PlanKind::Given => return Ok(None),
    }
    .map(Some)
}

/// Whether a pipeline that serves is asked for.
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

/// Refuses what says something of nano-batches alone.
fn check_nano_batches(request: &PlanRequest, kind: PlanKind) -> Result<(), Diagnostic> {
    let has_cache = kind == PlanKind::Groups;
    if !has_cache && kind != PlanKind::Streams {
        return Ok(());
    }
    let given = [
        ("--kv-dtype", request.kv_dtype.is_some() && !has_cache),
        ("--cached", request.cached_tokens.is_some()),
        ("--interference", request.interference.is_some()),
    ];
    match given.into_iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((flag, _)) => {
            let message = format!("`{flag}` has no effect on this plan of streams");
            Err(Diagnostic::usage("not-for-streams", message)
                .hint("leave it out, or plan a serving step with --algorithm dynaflow"))
        }
    }
}

/// What a request for a model asks for.
fn mode(request: &PlanRequest) -> Mode {
    let asks =
        || request.training.asks().is_some() || training::plan::plans_training(request.recipe());
    let trains = match request.task {
        Some(Task::Train) => true,
        Some(Task::Place) => false,
        _ => asks(),
    };
    let is_folder = || request.problem.profile.as_deref().is_some_and(importers::layers::is_folder);
    match trains {
        true if is_folder() => Mode::Layers,
        true => Mode::Degrees,
        false => Mode::Ops,
    }
}
