//! A plan of what the replicas of a model exchange together.

use std::time::Instant;

use cost_model::given::Goal;
use cost_model::given::gradients::Buckets;
use cost_model::kernels::selection;
use documents::plan::buckets::GradientsFigures;
use ir::diagnostic::{Blame, Diagnostic};
use ir::id::DeviceId;
use ir::instance::Instance;
use planner::given::runner::{Method, Request, Solution, solve};
use planner::registry::entries;

use crate::answer::exit::CommandResult;
use crate::answer::rows::Rows;
use crate::answer::screen::Screen;
use crate::inputs::load;
use crate::inputs::run::edges;
use crate::kinds::buckets as told;
use crate::kinds::frame;
use crate::kinds::gradients::{Gradients, Setting, decided};
use crate::request::PlanRequest;
use crate::request::fields;
use crate::search::row;
use crate::search::run::{Run, interrupted};
use crate::search::solved;

/// What single ops honour, and gradients do not.
const OF_OPS: [&str; 9] = [
    "micro_batch",
    "qdq_as_written",
    "pin",
    "forbid",
    "colocate",
    "constraints",
    "executor",
    "plot",
    "html",
];

/// Plans the gradients of a model by a row of the registry.
pub(crate) fn plan(request: &PlanRequest, run: &mut Run<'_>) -> CommandResult {
    let (used, _) = row::known::<Method>(request.recipe())?;
    let read = |request: &PlanRequest| Setting::asked(&request.model, &request.problem);
    let Some(mut setting) = run.read(request, read)? else { return Ok(interrupted(run.page)) };
    told::allow_asked(&mut setting.instance, (&request.allow_lossy, used.entry.name))?;
    let start = Instant::now();
    run.follower.started(used.entry.name);
    let instance = Instance::Gradients(setting.instance.clone());
    let limits = request.limits.within(run.watch, None);
    let search = Request { limits, ..Request::new(entries()) };
    let answer = solve(&instance, Goal::StepTime, Some(&used.to_string()), &search);
    run.follower.searched();
    let answer = answer?;
    let Some((value, Solution::Buckets(buckets))) = &answer.best else {
        return match run.watch.is_cancelled() {
            true => Ok(interrupted(run.page)),
            false => {
                Err(Diagnostic::error(Blame::NotFound, "no-plan", "no plan was found in time")
                    .hint("raise --time-limit"))
            }
        };
    };
    let elapsed_s = (!request.limits.deterministic).then(|| start.elapsed().as_secs_f64());
    let bound = (answer.bound.value, answer.bound.method);
    let plan = decided::document(&setting, buckets, (&used.to_string(), bound.0, bound.1))?;
    let warnings = warnings(request, &mut setting, buckets);
    let judged = (buckets.clone(), *value);
    let figures = GradientsFigures {
        replicas: setting.instance.replicas,
        seconds: value.seconds(),
        bound_seconds: bound.0.seconds(),
        passes_seconds: setting.instance.forward_s + setting.instance.backward_s,
        samples_per_s: told::samples_per_s(&setting.instance, *value),
    };
    let (on, made) = ((&setting, &judged), (plan, figures, answer.stop.name(), elapsed_s));
    frame::found::<Gradients, _>((request, run), on, made, warnings, |report, page| {
        let cluster = &setting.loaded.problem.cluster;
        let step = format!("gradient exchange of {} replicas", setting.instance.replicas);
        let mut screen = Screen::of_step(&report.plan, &step, &load::describe(cluster));
        let n = buckets.lengths.len();
        screen.fact("plan", format!("{n} gradient buckets, by {}", report.plan.algorithm));
        screen.fact("step", solved::value(&instance, Goal::StepTime, *value));
        screen.fact("", told::sentence(&setting.instance, *value));
        screen.fact("proof", solved::proof(&instance, Goal::StepTime, *value, &answer));
        screen.take(page, |page| told::table(&setting.instance, buckets, Rows::All, page));
        screen
    })
}

/// What is said of the plan and of what it is made from.
fn warnings(request: &PlanRequest, setting: &mut Setting, buckets: &Buckets) -> Vec<Diagnostic> {
    let mut warnings = std::mem::take(&mut setting.loaded.warnings);
    warnings.extend(told::warnings(&setting.instance, 0, buckets));
    let kind = setting.loaded.problem.cluster.kind_of(DeviceId(0));
    if !request.allow_lossy.is_empty() && !selection::is_measured(kind, &setting.loaded.profile) {
        warnings.push(edges::selection_is_nominal());
    }
    warnings
}

/// Refuses what says something of single ops.
pub(super) fn check(request: &PlanRequest) -> Result<(), Diagnostic> {
    let given = &request.problem.given;
    let of_ops: Vec<String> = given.iter().filter(|name| *name != "allow_lossy").cloned().collect();
    fields::check(&of_ops, &fields::OPS)?;
    let listed = fields::FIELDS.iter().filter(|field| OF_OPS.contains(&field.name));
    let refused = listed
        .map(|field| (field.name, field.flag()))
        .find(|pair| given.iter().any(|g| g == pair.0));
    if let Some((_, flag)) = refused {
        let message = format!("`{flag}` has no effect on a plan of gradients");
        return Err(Diagnostic::usage("not-for-gradients", message)
            .hint("leave it out: every device runs all ops, on samples of its own"));
    }
    match request.objective.filter(|objective| objective.name() != decided::OBJECTIVE) {
        None => Ok(()),
        Some(other) => {
            let message = format!("gradients are exchanged for no `{}`", other.name());
            Err(Diagnostic::usage("no-objective", message).hint("use --objective step-time"))
        }
    }
}
