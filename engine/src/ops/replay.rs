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
use cost_model::ops::objective;
use cost_model::ops::problem::{Objective, Problem};
use documents::digest;
use documents::plan::{ModeDocument, OptimizerDocument, PlanDocument, Reference, WorkloadDocument};
use importers::launcher::{Launcher, device_map};
use ir::diagnostic::{Diagnostic, Severity, Value};
use ir::graph::Graph;
use ir::launch::DeviceMap;
use ir::plan::Plan;
use ir::workload::{Mode, Optimizer, Workload};
use planner::recipe::Ingredient;
use planner::registry;

use super::slips;
use super::trust::Trust;
use crate::element_type;
use crate::energy::{COST, ENERGY};
use crate::input_file;
use crate::kept;
use crate::load::{self, Basis, Loaded};
use crate::request::ReplayRequest;

/// Longest plan file that is read, in bytes.
pub const LONGEST_FILE: u64 = 1 << 30;

/// What the solution of an instance with given costs holds, and no plan.
const SOLUTION: &[u8] = b"\"meshwright.solution/";

/// What exports hold that nobody reads back, and no plan: whose they are.
const UNREAD: [(&[u8], &str); 5] = [
    (b"fsdp_config:", "configs of Hugging Face Accelerate"),
    (b"distributed_type:", "configs of Hugging Face Accelerate"),
    (b"model.tensor_model_parallel_size=", "overrides of Megatron Bridge"),
    (b"\"training_arguments\"", "files of Hugging Face's Trainer"),
    (b"\"meshwright.jax/", "files for JAX"),
];

/// Longest file of a launcher's settings that is looked at, in bytes.
const LONGEST_SETTINGS: u64 = 1 << 20;

/// What stands for the recipe in a plan that a person wrote.
pub const BY_HAND: &str = "by-hand";

/// A plan on its problem.
pub struct OnProblem {
    /// The problem.
    pub loaded: Loaded,
    /// The plan, with names resolved.
    pub plan: Arc<Plan>,
    /// Of the problem, and of digests that differ.
    pub warnings: Vec<Diagnostic>,
    /// Whether digests differ, and may.
    pub is_mismatched: bool,
    /// Digests that differ and may not, of a model, a cluster or a profile of the same name.
    pub mismatches: Vec<Diagnostic>,
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

/// Reads a plan file.
///
/// # Errors
/// `unreadable-file` and those of [`PlanDocument::parse`], with the file named.
pub fn document(path: &Path) -> Result<Arc<PlanDocument>, Diagnostic> {
    kept::made(&path.to_string_lossy(), || read(path))
}

fn read(path: &Path) -> Result<PlanDocument, Diagnostic> {
    let file = path.display().to_string();
    let unreadable = |why: String| {
        Diagnostic::input("unreadable-file", format!("`{file}` can not be read"))
            .fact("reason", why)
            .hint("give a plan that `meshwright plan -o plan.json` wrote")
    };
    let text = input_file::read(path, LONGEST_FILE).map_err(unreadable)?;
    let document = PlanDocument::parse(&text).and_then(|mut document| {
        check(&document)?;
        // One spelling of each type, so that two of the same are equal.
        let dtype = workload(&document.workload)?.dtype;
        document.workload.dtype = dtype.map(|dtype| dtype.name().to_owned());
        Ok(document)
    });
    document.map_err(|error| {
        let error = error.fact("file", file.clone());
        let holds = |mark: &[u8]| text.windows(mark.len()).any(|window| window == mark);
        if holds(SOLUTION) {
            return error.hint("this is a solution of an instance: add --model INSTANCE");
        }
        match UNREAD.iter().find(|(mark, _)| holds(mark)) {
            None => error,
            Some((_, whose)) => {
                let message = format!("`{file}` is no plan: {whose} are not read back");
                Diagnostic::input("not-read-back", message)
                    .hint("compare the plan itself, or the settings of another launcher")
            }
        }
    })
}

/// The text of a file that holds a launcher's settings and no plan; whatever can't be read is left
/// to [`document`].
pub fn settings(path: &Path) -> Option<(Launcher, String)> {
    let text = String::from_utf8(input_file::read(path, LONGEST_SETTINGS).ok()?).ok()?;
    let is_plan = text.contains("\"format\"") && text.contains("\"parallelism\"");
    let launcher = Launcher::guess(&text).filter(|_| !is_plan)?;
    Some((launcher, text))
}

/// The device map that a file holds; whatever is no map is left to [`document`].
///
/// # Errors
/// Those of reading a map.
pub fn map(path: &Path) -> Option<Result<DeviceMap, Diagnostic>> {
    let text = String::from_utf8(input_file::read(path, LONGEST_SETTINGS).ok()?).ok()?;
    device_map::is_device_map(&text).then(|| {
        device_map::read(&text).map_err(|error| error.fact("file", path.display().to_string()))
    })
}

/// What the form of the document does not rule out and no plan has.
fn check(document: &PlanDocument) -> Result<(), Diagnostic> {
    // Who verifies a placement of experts looks at its objective.
    if document.experts.layers.is_empty() && document.served.is_none() {
        objective(document)?;
    }
    let WorkloadDocument { batch, micro_batch, .. } = &document.workload;
    if [batch, micro_batch].contains(&&Some(0)) {
        return Err(Diagnostic::input("bad-plan", "the plan states a batch of 0 samples"));
    }
    // Who made a plan can't be derived from it, but it is a recipe that exists.
    if document.training.is_none() && document.algorithm != BY_HAND {
        let is_alone = !document.experts.layers.is_empty()
            || document.has_buckets()
            || document.served.is_some();
        let read = match is_alone {
            false => registry::recipe(&document.algorithm).map(|_| ()),
            true => Ingredient::parse(&document.algorithm, registry::entries()).map(|_| ()),
        };
        read.map_err(|error| {
            let message = format!("member `algorithm` of the plan: {}", error.message);
            Diagnostic::input("bad-plan", message)
                .fact("member", "algorithm")
                .hint(format!("a plan that no recipe made says `{BY_HAND}`"))
        })?;
    }
    Ok(())
}

/// What the plan minimises.
fn objective(document: &PlanDocument) -> Result<Objective, Diagnostic> {
    // Energy and cost are looked for beside the search, which has a step time.
    if document.request.least.as_ref() == Some(&document.objective)
        && [ENERGY, COST].contains(&document.objective.as_str())
    {
        return Ok(Objective::default());
    }
    let name = &document.objective;
    objective::named(name).map(|row| row.objective).ok_or_else(|| {
        let known: Vec<&str> = objective::rows().iter().map(|row| row.objective.name()).collect();
        let shown: String = name.chars().take(80).collect();
        let known = known.join(" and ");
        let message =
            format!("member `objective` of the plan is `{shown}`; this version knows {known}");
        Diagnostic::input("bad-plan", message)
            .fact("member", "objective")
            .hint("plan again, or correct the member")
    })
}

/// Puts a plan on its model and cluster. What it was made for is checked by digest.
///
/// # Errors
/// Those of [`examined`], `digest-mismatch` unless `--allow-mismatch`.
pub fn on_problem(
    document: &Arc<PlanDocument>,
    model: &Path,
    flags: &ReplayRequest,
) -> Result<Arc<OnProblem>, Diagnostic> {
    let on = examined(document, model, flags)?;
    on.mismatches.first().map_or(Ok(()), |other| Err(other.clone()))?;
    Ok(on)
}

/// Puts a plan on a model and a cluster of the names that it was made for, whatever their digests.
///
/// # Errors
/// Those of reading, `digest-mismatch` where names differ unless `--allow-mismatch`, and names that
/// do not resolve.
pub fn examined(
    document: &Arc<PlanDocument>,
    model: &Path,
    flags: &ReplayRequest,
) -> Result<Arc<OnProblem>, Diagnostic> {
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
    let goal = objective(document)?;
    let mut loaded = load::problem_of_plan(model, &flags.problem, planned.clone(), goal)?;
    let mut warnings = std::mem::take(&mut loaded.warnings);
    let problem = &loaded.problem;
    let named = digested(&problem.graph);
    let found = document.mismatches(&named.reference, &problem.cluster, &loaded.profile);
    let told = |mismatch: Diagnostic| match (flags.allow_mismatch, is_of(&mismatch, "model")) {
        (true, _) => mismatch,
        (_, true) => slips::named(advised(mismatch), document, &planned.0, model, &flags.problem),
        (_, false) => advised(mismatch),
    };
    let (allowed, mismatches) = sorted(found.into_iter().map(told), flags.allow_mismatch)?;
    let is_mismatched = !allowed.is_empty();
    warnings.extend(allowed);
    let resolved = resolved(document, &loaded);
    let resolved = resolved.map_err(|error| mismatches.first().cloned().unwrap_or(error))?;
    Ok(OnProblem {
        plan: Arc::clone(&resolved.plan),
        loaded,
        warnings,
        is_mismatched,
        mismatches,
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

/// What a plan was made for and what is given, which are not the same; `may_differ` where that is
/// allowed.
pub fn mismatch(
    what: &str,
    planned: &Reference,
    given: &Reference,
    may_differ: bool,
) -> Diagnostic {
    let named = |own: &Reference| own.name.clone();
    let is_profile = what == "profile";
    let message = match is_profile {
        true if planned.name.is_empty() => {
            format!("the plan was made without a profile, and `{}` is given", given.name)
        }
        true if given.name.is_empty() => {
            format!("the plan was made with the profile `{}`, and none is given", planned.name)
        }
        _ => format!("the plan was made for another {what} than this one"),
    };
    let hint = match is_profile {
        _ if may_differ => format!("its figures are those of another {what}: plan again"),
        true if planned.name.is_empty() => {
            "leave out --profile, or add --allow-mismatch to price the plan with it".to_owned()
        }
        true if given.name.is_empty() => format!(
            "add --profile with the file of `{}`, or --allow-mismatch to price the plan without",
            planned.name
        ),
        _ => format!("give the {what} that it was made for, or add --allow-mismatch"),
    };
    Diagnostic::input("digest-mismatch", message)
        .fact("what", what.to_owned())
        .fact("field", format!("{what}.digest"))
        .fact("stated", planned.digest.clone())
        .fact("derived", given.digest.clone())
        .fact("planned_for", named(planned))
        .fact("name", named(given))
        .hint(hint)
}

/// Digests that differ: as warnings where they may, and else as errors.
///
/// # Errors
/// The first one of what has another name as well: the wrong file was given, and what of the plan
/// does not hold there says nothing of the plan.
pub fn sorted(
    found: impl Iterator<Item = Diagnostic>,
    may_differ: bool,
) -> Result<(Vec<Diagnostic>, Vec<Diagnostic>), Diagnostic> {
    if may_differ {
        let warning = |own| Diagnostic { severity: Severity::Warning, ..own };
        return Ok((found.map(warning).collect(), Vec::new()));
    }
    let found: Vec<Diagnostic> = found.collect();
    let name = |own: &Diagnostic, fact: &str| {
        own.facts.iter().find(|(name, _)| *name == fact).map(|(_, value)| value.clone())
    };
    match found.iter().find(|own| name(own, "planned_for") != name(own, "name")) {
        Some(other) => Err(other.clone()),
        None => Ok((Vec::new(), found)),
    }
}

/// Whether a mismatch is of this part.
fn is_of(mismatch: &Diagnostic, part: &str) -> bool {
    mismatch.facts.iter().any(|(name, value)| *name == "what" && *value == Value::from(part))
}

/// With the flags that decide the part that differs.
fn advised(mismatch: Diagnostic) -> Diagnostic {
    let part = mismatch.facts.iter().find(|(name, _)| *name == "what").map(|(_, value)| value);
    let flags = match part {
        Some(Value::Text(part)) if part == "cluster" => "--cluster",
        Some(Value::Text(part)) if part == "profile" => "--profile",
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

fn timeline(on: &OnProblem) -> Result<&Arc<Timeline>, Diagnostic> {
    let problem = &on.loaded.problem;
    let replay = || tasks(on).and_then(|own| replay_tasks(problem, &on.plan, own)).map(Arc::new);
    on.timeline.get_or_init(replay).as_ref().map_err(|violation| violation.diagnostic(problem))
}

fn trust<'o>(on: &'o OnProblem, timeline: &Timeline) -> &'o Trust {
    let path = || {
        let tasks = tasks(on).ok();
        tasks.map_or_else(Vec::new, |own| {
            critical::path_of_tasks(&on.loaded.problem, &on.plan, timeline, own)
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
        let own = &on;
        let _ = thread::Builder::new().spawn_scoped(scope, || {
            broken_rules(own);
        });
        let times = timeline(own)?;
        let _ = thread::Builder::new().spawn_scoped(scope, || {
            trust(own, times);
        });
        self::on(Arc::clone(own))
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

/// What a plan was made for.
///
/// # Errors
/// `bad-plan` for an element type that does not exist.
pub fn workload(document: &WorkloadDocument) -> Result<Workload, Diagnostic> {
    let dtype = |name: &String| {
        element_type::named(name).map_err(|needs| {
            let message = format!("the plan names an unknown float type `{name}`: it {needs}");
            Diagnostic::input("bad-plan", message).fact("member", "workload.dtype")
        })
    };
    Ok(Workload {
        mode: match document.mode {
            ModeDocument::Inference => Mode::Inference,
            ModeDocument::Training => Mode::Training,
        },
        optimizer: match document.optimizer {
            Some(OptimizerDocument::AdamW) | None => Optimizer::AdamW,
            Some(OptimizerDocument::Sgd) => Optimizer::Sgd,
            Some(OptimizerDocument::Adafactor) => Optimizer::Adafactor,
        },
        dtype: document.dtype.as_ref().map(dtype).transpose()?,
        batch: document.batch,
        micro_batch: document.micro_batch,
    })
}
