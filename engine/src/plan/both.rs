//! A plan of a training run that may be parallelism settings or an operator placement: both are
//! looked at, at one price, and the better is returned with a bound on both.

use std::time::Duration;

use cost_model::runs::forms::model::counts::serial_flops;
use ir::diagnostic::Diagnostic;
use ir::plan_kind::PlanKind;
use ir::units::Nanos;
use ir::workload::Mode;
use planner::registry;
use planner::run::{Request, StopReason};
use planner::training::search_3d::space::Space as DegreesSpace;

use crate::answer::beside::{Beside, Space};
use crate::answer::exit::CommandResult;
use crate::answer::nothing_fits::too_early;
use crate::inputs::run::setting::Setting;
use crate::kinds::placement::plan as placement;
use crate::kinds::training::plan as training;
use crate::request::executor::Executor;
use crate::request::fields;
use crate::request::task::Task;
use crate::request::{AUTO, ObjectiveName, PlanRequest, TrainingRequest};
use crate::search::run::{Run, interrupted, usual_time};
use crate::search::within::Within;

/// A placement is taken where it is faster by more than this share: by so much the prices of the two
/// may differ on one device.
const MARGIN: f64 = 0.02;

/// Whether a request is for a training run and names nothing that only one kind of plan honours.
pub(crate) fn is_open(request: &PlanRequest) -> bool {
    let PlanRequest { problem, training, .. } = request;
    let is_sized = match (problem.model.batch, training.global_batch) {
        (Some(one), Some(other)) => one == other,
        (one, other) => one.or(other).is_some(),
    };
    let trains = match (problem.workload, request.task) {
        (_, Some(Task::Place)) => false,
        (Some(mode), _) => mode == Mode::Training,
        (None, task) => training.global_batch.is_some() || task == Some(Task::Train),
    };
    let is_plain = TrainingRequest { global_batch: None, ..training.clone() }.asks().is_none();
    let is_free = problem.pin.is_empty()
        && problem.forbid.is_empty()
        && problem.colocate.is_empty()
        && problem.constraints.is_none();
    let kinds = [PlanKind::Placement, PlanKind::Training];
    let is_either =
        |target: &String| kinds.iter().all(|kind| exporters::find(*kind, target).is_ok());
    trains
        && is_sized
        && is_plain
        && is_free
        && !request.is_on_layers()
        && request.recipe() == AUTO
        && request.executor.is_none_or(|executor| executor == Executor::ANY)
        && request.objective.unwrap_or_default() == ObjectiveName::default()
        && request.exports.iter().all(is_either)
}

/// The better of the two, with what is known of the other.
enum Better {
    Degrees(Box<training::Searched>, Beside),
    Placements(Box<placement::Searched>, Option<Beside>),
}

/// Plans both ways.
pub(crate) fn plan(request: &PlanRequest, run: &mut Run<'_>) -> CommandResult {
    // What only placements honour is not open; what neither honours is refused here.
    fields::check(&request.problem.given, &fields::DEGREES)?;
    let read = match training::read(request, run) {
        Ok(Some(read)) => read,
        Ok(None) => return Ok(interrupted(run.page)),
        Err(error) => return placements_alone(request, error, run),
    };
    let watch = run.ending(request);
    let run = &mut Run { watch: &watch, follower: run.follower, ..*run };
    let found = searched(request, read, run);
    run.follower.searched();
    match found? {
        None => Ok(interrupted(run.page)),
        Some(Better::Degrees(found, beside)) => found.answer(request, Some(beside), run),
        Some(Better::Placements(found, beside)) => found.answer(request, beside, run),
    }
}

/// Searches degrees, which take a fraction of the time, then placements as far as they may be
/// better; `None` where someone interrupted it before there was a plan.
fn searched(
    request: &PlanRequest,
    read: (Setting, DegreesSpace),
    run: &mut Run<'_>,
) -> Result<Option<Better>, Diagnostic> {
    let sequence = read.0.sequence;
    // What follows from a config's figures alone saves writing its ops out.
    let simple = simple_bound(request, &read.0);
    let opened = simple.is_none().then(|| open(request, sequence, run));
    let most =
        opened.as_ref().map_or(simple, |opened| opened.as_ref().ok().map(placement::Opened::bound));
    let follower = &mut Within { inner: run.follower, most, below: None };
    let inner = &mut Run { follower, ..*run };
    let Some(degrees) = training::search(request, read, most, inner)? else { return Ok(None) };
    let why = match (degrees.best(), simple) {
        (Some(best), Some(simple)) if simple >= best => Some(NONE_BETTER),
        _ if run.watch.is_cancelled() => Some("interrupted"),
        (None, _) if is_over(run) => return Err(too_early(StopReason::Deadline, 0)),
        _ if is_over(run) => Some("no time was left"),
        _ => None,
    };
    let opened = match why {
        Some(why) => Err(why.to_owned()),
        None => opened.unwrap_or_else(|| open(request, sequence, run)),
    };
    match opened {
        Ok(opened) => better(request, degrees, opened, run).map(Some),
        Err(why) => {
            let beside = Beside { bound: most, ..Beside::unknown(Space::Placements, why) };
            Ok(Some(Better::Degrees(degrees.into(), beside)))
        }
    }
}

/// Less than that is not worth a search.
fn is_over(run: &Run<'_>) -> bool {
    run.watch.left().is_some_and(|left| left < Duration::from_millis(20))
}

/// The better of what degrees gave and the best placement that is found.
fn better(
    request: &PlanRequest,
    degrees: training::Searched,
    opened: placement::Opened,
    run: &mut Run<'_>,
) -> Result<Better, Diagnostic> {
    let (best, simple) = (degrees.best(), opened.bound());
    let micro_batch = opened.micro_batch().unwrap_or(degrees.global_batch());
    let one = degrees.on_one_device(micro_batch).map(Nanos::as_f64);
    let ratio = one.map(|one| opened.on_one_device().as_f64() / one);
    let beside = |space| Beside { price_ratio: ratio, ..Beside::new(space) };
    // A dearer price is no fault of the plans.
    let least = simple.as_f64() / ratio.unwrap_or(1.0).max(1.0);
    if best.is_some_and(|best| least >= best.as_f64()) {
        let unsearched = Some(NONE_BETTER.to_owned());
        let beside = Beside { bound: Some(simple), unsearched, ..beside(Space::Placements) };
        return Ok(Better::Degrees(degrees.into(), beside));
    }
    let bound = best.map(|_| degrees.bound());
    let below = best.map(|best| faster(best, ratio));
    let follower = &mut Within { inner: run.follower, most: bound, below };
    let inner = &mut Run { follower, ..*run };
    let mut query = asked(request, inner)?;
    if best.is_none() && request.limits.time_limit.is_none() {
        // Where no degrees fit, placements rarely do.
        query.limits.time = query.limits.time.map(|left| left.min(SHORT_TIME));
    }
    let most = bound.unwrap_or(Nanos(u64::MAX));
    let placements = Box::new(placement::search(opened, query, most, (request, inner)));
    Ok(match (best, placements.best()) {
        (Some(_), Some(placed)) if Some(placed) < below => {
            Better::Placements(placements, Some(Beside { best, bound, ..beside(Space::Degrees) }))
        }
        (None, Some(_)) => Better::Placements(placements, Some(beside(Space::Degrees))),
        // Nobody knows yet whether a placement fits.
        (None, None) if placements.is_open() => Better::Placements(placements, None),
        (_, placed) => {
            let bound = placements.bound().or(Some(simple));
            let unsearched =
                placements.is_open().then(|| "stopped before one was found".to_owned());
            let beside = Beside { best: placed, bound, unsearched, ..beside(Space::Placements) };
            Better::Degrees(degrees.into(), beside)
        }
    })
}

/// The search for placements, in the time that is left.
fn asked(request: &PlanRequest, run: &Run<'_>) -> Result<Request, Diagnostic> {
    let limits = request.limits.within(run.watch, usual_time(request, run.start));
    Ok(Request { recipe: registry::recipe(AUTO)?, limits })
}

/// What no placement is below, from a config's figures alone, at the nominal peak of the devices.
fn simple_bound(request: &PlanRequest, setting: &Setting) -> Option<Nanos> {
    if setting.graph.is_some() || request.problem.profile.is_some() {
        return None;
    }
    let flops = serial_flops(&setting.model, setting.global_batch)?;
    Some(flops / setting.peak()).filter(|s| s.is_finite()).map(|s| Nanos((s * 1e9) as u64))
}

/// The search for placements where no degrees fit.
const SHORT_TIME: Duration = Duration::from_secs(2);

/// Why placements are not searched that can't be better than the degrees that were found.
const NONE_BETTER: &str = "none can be better";

/// What a placement has to be below, whose price of one device is `ratio` of that of degrees: where
/// it is the lower one, that is no merit of the plan.
fn faster(best: Nanos, ratio: Option<f64>) -> Nanos {
    Nanos((best.as_f64() * (1.0 - MARGIN) * ratio.unwrap_or(0.0).min(1.0)) as u64)
}

/// The ops of the model with their costs, or why there are none.
fn open(request: &PlanRequest, sequence: u64, run: &Run<'_>) -> Result<placement::Opened, String> {
    let mut for_training = request.clone();
    for_training.problem.workload = Some(Mode::Training);
    for_training.problem.model.batch =
        request.problem.model.batch.or(request.training.global_batch);
    let dims = &mut for_training.problem.model.dims;
    let is_bound = dims.iter().any(|(name, _)| name == "sequence");
    if sequence > 0 && !is_bound && importers::is_config(&for_training.model) {
        dims.push(("sequence".to_owned(), sequence));
    }
    match placement::read(&for_training, run.watch) {
        Ok(Some(opened)) => Ok(opened),
        Ok(None) => Err("interrupted".to_owned()),
        Err(error) => Err(error.message),
    }
}

/// Plans a placement where degrees can not be searched, and why.
fn placements_alone(request: &PlanRequest, error: Diagnostic, run: &mut Run<'_>) -> CommandResult {
    let Ok(opened) = open(request, 0, run) else { return Err(error) };
    let beside = Beside::unknown(Space::Degrees, error.message);
    let query = asked(request, run)?;
    placement::search(opened, query, Nanos(u64::MAX), (request, run)).answer(
        request,
        Some(beside),
        run,
    )
}
