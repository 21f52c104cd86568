//! Reads a plan back and puts it on its model and cluster again.

use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread;

use cost_model::ops::critical;
use cost_model::ops::judge::lower::TaskGraph;
use cost_model::ops::judge::replay::{Timeline, replay_tasks};
use cost_model::ops::judge::report::{Report, report};
use cost_model::ops::judge::verify::{Violation, verify};
use cost_model::ops::problem::Problem;
use documents::digest;
use documents::plan::{PlanDocument, Reference};
use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::plan::Plan;

use super::slips;
use super::trust::Trust;
use crate::answer::mismatch;
use crate::inputs::kept;
use crate::inputs::load::{self, Basis, Loaded};
use crate::inputs::plan_file;
use crate::inputs::plan_file::workload;
use crate::kinds::kind::Target;
use crate::request::ReplayRequest;

/// A plan on its problem.
pub struct OnProblem {
    /// The problem.
    pub loaded: Loaded,
    /// The plan, with names resolved.
    pub plan: Arc<Plan>,
    /// Where model, cluster or profile are others than it was made for, one each.
    pub others: Vec<Diagnostic>,
    resolved: Arc<Resolved>,
    timeline: OnceLock<Result<Arc<Timeline>, Violation>>,
    report: OnceLock<Arc<Report>>,
    trust: OnceLock<Trust>,
    broken: OnceLock<Vec<Diagnostic>>,
}

/// A plan on its problem, replayed.
#[derive(Clone)]
pub struct Replayed {
    /// The plan on its problem.
    pub on: Arc<OnProblem>,
    /// When everything happens.
    pub timeline: Arc<Timeline>,
    /// Where time and memory go.
    pub report: Arc<Report>,
}

impl Replayed {
    /// What its step time rests on.
    pub fn trust(&self) -> &Trust {
        trust(&self.on, &self.timeline)
    }
}

/// Puts a plan on a model and a cluster.
///
/// # Errors
/// Those of reading, and names that do not resolve.
pub fn on_problem(
    document: &Arc<PlanDocument>,
    target: Target<'_>,
) -> Result<Arc<OnProblem>, Diagnostic> {
    let Target { model, flags, .. } = target;
    // What is kept holds the document, so that no other can lie there.
    let name = format!("{:p} {model:?} {flags:?}", Arc::as_ptr(document));
    kept::made(&name, || put(document, model, flags))
}

fn put(
    document: &Arc<PlanDocument>,
    model: &Path,
    flags: &ReplayRequest,
) -> Result<OnProblem, Diagnostic> {
    let planned = (workload(&document.workload)?, &document.request);
    let goal = plan_file::objective(document)?;
    let loaded = load::problem_of_plan(model, &flags.problem, planned.clone(), goal)?;
    let problem = &loaded.problem;
    let (cluster, profile) = (&problem.cluster, &loaded.profile);
    let given = [
        digested(&problem.graph).reference.clone(),
        Reference::new(&cluster.name, digest::cluster(cluster)),
        Reference::new(&profile.name, digest::profile(profile)),
    ];
    let others = mismatch::others(document, &given, |what, stated, now| {
        let other = mismatched(what, stated, now);
        match (flags.allow_mismatch, what) {
            (true, _) => other,
            (false, "model") => {
                slips::named(advised(other, what), document, &planned.0, model, &flags.problem)
            }
            (false, _) => advised(other, what),
        }
    });
    let resolved = resolved(document, &loaded);
    let resolved =
        resolved.map_err(|error| mismatch::before(error, &others, flags.allow_mismatch))?;
    Ok(OnProblem {
        plan: Arc::clone(&resolved.plan),
        loaded,
        others,
        resolved,
        timeline: OnceLock::new(),
        report: OnceLock::new(),
        trust: OnceLock::new(),
        broken: OnceLock::new(),
    })
}

/// A graph's name and digest.
struct Digested {
    reference: Reference,
    /// Held so that no other graph can lie there.
    _graph: Arc<Graph>,
}

fn digested(graph: &Arc<Graph>) -> Arc<Digested> {
    let make = || -> Result<Digested, Infallible> {
        let reference = Reference::new(&graph.name, digest::graph(graph));
        Ok(Digested { reference, _graph: Arc::clone(graph) })
    };
    match kept::made(&format!("{:p}", Arc::as_ptr(graph)), make) {
        Ok(digested) => digested,
    }
}

/// What of a plan on its problem neither limits nor rates of a cluster have to do with.
struct Resolved {
    plan: Arc<Plan>,
    tasks: OnceLock<Result<TaskGraph, Violation>>,
    /// Held so that no others can lie there.
    _of: (Arc<PlanDocument>, Arc<Basis>),
}

fn resolved(document: &Arc<PlanDocument>, on: &Loaded) -> Result<Arc<Resolved>, Diagnostic> {
    let name = format!("{:?}", (Arc::as_ptr(document), Arc::as_ptr(&on.basis)));
    kept::made(&name, || {
        let plan = Arc::new(document.to_ir(&on.problem.graph, &on.problem.cluster)?);
        let of = (Arc::clone(document), Arc::clone(&on.basis));
        Ok(Resolved { plan, tasks: OnceLock::new(), _of: of })
    })
}

/// What a placement was made for and what is given, which are not the same.
fn mismatched(what: &'static str, planned: &Reference, given: &Reference) -> Diagnostic {
    let message = format!("the plan was made for another {what} than `{}`", given.name);
    Diagnostic::input("digest-mismatch", message)
        .fact("what", what)
        .fact("planned_for", planned.name.clone())
        .fact("name", given.name.clone())
        .fact("planned_digest", planned.digest.clone())
        .fact("digest", given.digest.clone())
        .hint(format!("give the {what} that the plan was made for, or plan again"))
}

/// With the flags that decide the part that differs.
fn advised(mismatch: Diagnostic, what: &str) -> Diagnostic {
    let flags = match what {
        "cluster" => "--cluster",
        "profile" => "--profile",
        _ => "--dim, --batch, --dtype and --workload",
    };
    mismatch.hint(format!(
        "give the same {flags} as when it was planned, or add --allow-mismatch to go on all the \
         same"
    ))
}

/// Replays a plan.
///
/// # Errors
/// A plan that can't be replayed is illegal.
pub fn on(on: Arc<OnProblem>) -> Result<Replayed, Diagnostic> {
    let timeline = Arc::clone(timeline(&on)?);
    let make = || Arc::new(report(&on.loaded.problem, &on.plan, &timeline));
    let report = Arc::clone(on.report.get_or_init(make));
    Ok(Replayed { on, timeline, report })
}

fn tasks(on: &OnProblem) -> Result<&TaskGraph, Violation> {
    let lower = || TaskGraph::lower(&on.loaded.problem, &on.plan);
    on.resolved.tasks.get_or_init(lower).as_ref().map_err(Clone::clone)
}

/// When everything happens.
///
/// # Errors
/// A plan that can't be replayed is illegal.
pub fn timeline(on: &OnProblem) -> Result<&Arc<Timeline>, Diagnostic> {
    let problem = &on.loaded.problem;
    let replay =
        || tasks(on).and_then(|tasks| replay_tasks(problem, &on.plan, tasks)).map(Arc::new);
    on.timeline.get_or_init(replay).as_ref().map_err(|violation| violation.diagnostic(problem))
}

fn trust<'o>(on: &'o OnProblem, timeline: &Timeline) -> &'o Trust {
    let path = || {
        let tasks = tasks(on).ok();
        tasks.map_or_else(Vec::new, |tasks| {
            critical::path_of_tasks(&on.loaded.problem, &on.plan, timeline, tasks)
        })
    };
    on.trust.get_or_init(|| Trust::of_path(&on.loaded.problem, path()))
}

/// Replays a plan, with what its step time rests on and the rules that it breaks: side by side, as
/// these share nothing but the times.
///
/// # Errors
/// As [`on`].
pub fn with_all(on: Arc<OnProblem>) -> Result<Replayed, Diagnostic> {
    thread::scope(|scope| {
        // Without a thread each is made when it is asked for.
        let shared = &on;
        let _ = thread::Builder::new().spawn_scoped(scope, || {
            broken_rules(shared);
        });
        let times = timeline(shared)?;
        let _ = thread::Builder::new().spawn_scoped(scope, || {
            trust(shared, times);
        });
        self::on(Arc::clone(shared))
    })
}

/// The rules that a plan breaks, at most [`MAX_VIOLATIONS`](cost_model::ops::judge::verify::MAX_VIOLATIONS).
pub fn broken_rules(on: &OnProblem) -> &[Diagnostic] {
    on.broken.get_or_init(|| broken(&on.loaded.problem, &on.plan))
}

/// The rules that a plan breaks on a problem.
pub fn broken(problem: &Problem, plan: &Plan) -> Vec<Diagnostic> {
    verify(problem, plan).iter().map(|v| v.diagnostic(problem)).collect()
}
