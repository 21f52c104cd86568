//! From the command line to a planning problem: the same walk for every verb that needs one.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use cost_model::ops::objective::rows;
use cost_model::ops::problem::{Constraints, Objective, Problem};
use documents::plan::request::RequestDocument;
use exporters::Writer;
use importers::{Import, ImportOptions, Summary};
use ir::cluster::Cluster;
use ir::diagnostic::Diagnostic;
use ir::graph::Graph;
use ir::id::{DeviceId, NodeId};
use ir::op::Work;
use ir::plan_kind::PlanKind;
use ir::profile::Profile;
use ir::workload::{Mode, Workload};

use crate::answer::files::input_file;
use crate::answer::suggest;
use crate::inputs::{asked, constraints, costs, kept, model_options, one_host, scale};
use crate::request::element_type;
use crate::request::executor::{self, Executor};
use crate::request::{ModelRequest, ObjectiveName, ProblemRequest};

/// A problem with what was learned on the way to it.
pub struct Loaded {
    /// The problem.
    pub problem: Arc<Problem>,
    /// What the model file holds.
    pub summary: Summary,
    /// Constants that durations were computed with.
    pub profile: Profile,
    /// What was asked for.
    pub request: RequestDocument,
    /// Of import, workload and costs, in this order.
    pub warnings: Vec<Diagnostic>,
    /// The same for all factors of `--scale`.
    pub basis: Arc<Basis>,
}

/// Reads a model file, or standard input where it is called `-`.
///
/// # Errors
/// Those of `importers::read`, and `batch-sizes`, `batch-axis` for flags that contradict each
/// other.
pub fn model(path: &Path, flags: &ModelRequest) -> Result<Import, Diagnostic> {
    let options = model_options::options(flags)?;
    if path.as_os_str() != "-" {
        return import(path, &options);
    }
    checked(&options, importers::read_standard_input)
}

/// As [`model`], for training.
///
/// # Errors
/// As [`model`].
pub fn trained(path: &Path, flags: &ModelRequest) -> Result<Import, Diagnostic> {
    import(path, &ImportOptions { trains: true, ..model_options::options(flags)? })
}

fn import(path: &Path, options: &ImportOptions) -> Result<Import, Diagnostic> {
    checked(options, |options| importers::read(path, options))
}

fn checked(
    options: &ImportOptions,
    read: impl FnOnce(&ImportOptions) -> Result<Import, Diagnostic>,
) -> Result<Import, Diagnostic> {
    if options.batch.is_none() && !options.batch_axis.is_empty() {
        return Err(Diagnostic::usage("batch-axis", "--batch-axis without a batch has no effect")
            .hint("add --batch or --micro-batch"));
    }
    let import = read(options)?;
    model_options::check_batch(&import.graph, options)?;
    Ok(import)
}

/// Refuses a graph that computes nothing.
///
/// # Errors
/// `nothing-to-plan`.
pub fn check_work(graph: &Graph) -> Result<(), Diagnostic> {
    if graph.ops.iter().any(|op| op.work != Work::View) {
        return Ok(());
    }
    let message = "no op of the graph runs: what is not known before renames its input";
    Err(Diagnostic::input("nothing-to-plan", message)
        .hint("give a graph with ops that compute, or check what the exporter left out"))
}

/// Reads model and cluster, and puts costs and constraints on them, those of an executor included.
///
/// # Errors
/// Those of every step; `no-cluster` where neither a flag nor the model file gives one.
pub fn problem(
    model: &Path,
    flags: &ProblemRequest,
    objective: ObjectiveName,
    executor: Option<Executor>,
) -> Result<Loaded, Diagnostic> {
    let workload = workload(flags);
    let request = asked::of_problem(flags, executor)?;
    // What nobody has named may be replaced by what the devices have.
    let is_free = workload.mode == Mode::Training && flags.model.dtype.is_none();
    let request = Asked { request, is_free };
    annotated(model, flags, self::objective(objective)?, request, workload)
}

/// As [`problem`], where flags that were not given are taken from what a plan was made for.
///
/// # Errors
/// As [`problem`].
pub fn problem_of_plan(
    model: &Path,
    flags: &ProblemRequest,
    (planned, request): (Workload, &RequestDocument),
    objective: Objective,
) -> Result<Loaded, Diagnostic> {
    let workload = Workload {
        mode: flags.workload.unwrap_or(planned.mode),
        optimizer: flags.optimizer.unwrap_or(planned.optimizer),
        dtype: flags.model.dtype.or(planned.dtype),
        batch: flags.model.batch.or(planned.batch),
        micro_batch: flags.model.micro_batch.or(planned.micro_batch),
    };
    let flags = ProblemRequest { margin: flags.margin.or(request.kept_free), ..flags.clone() };
    let request = Asked { request: asked::merged(&flags, request)?, is_free: false };
    annotated(model, &flags, objective, request, workload)
}

/// A request, and whether the element type is free.
struct Asked {
    request: RequestDocument,
    is_free: bool,
}

fn annotated(
    model: &Path,
    flags: &ProblemRequest,
    objective: Objective,
    Asked { request, is_free }: Asked,
    workload: Workload,
) -> Result<Loaded, Diagnostic> {
    // Which host an executor gets depends on its memory.
    let hangs_on_rates = request.executor.is_some();
    let mut problem = ProblemRequest { given: Vec::new(), ..flags.clone() };
    let later = if hangs_on_rates { Vec::new() } else { std::mem::take(&mut problem.scale) };
    let name = format!("{model:?} {problem:?} {objective:?} {request:?} {is_free} {workload:?}");
    let request = Asked { request, is_free };
    let basis =
        kept::made(&name, || basis(model, (&problem, &later), objective, request, workload))?;
    basis.scaled(&later)
}

/// All of a problem that does not hang on how many times as large its cluster is.
pub struct Basis {
    /// On the cluster as its files say.
    problem: Problem,
    summary: Summary,
    profile: Profile,
    request: RequestDocument,
    /// Warnings before and after those of the factors.
    warnings: [Vec<Diagnostic>; 2],
}

impl Basis {
    /// On a cluster that is so many times as large.
    fn scaled(self: &Arc<Self>, factors: &[String]) -> Result<Loaded, Diagnostic> {
        let [before, after] = &self.warnings;
        let cluster = Cluster::clone(&self.problem.cluster);
        let (cluster, note) = scale::scaled(cluster, &self.profile, factors)?;
        Ok(Loaded {
            problem: Arc::new(self.problem.at_other_rates(Arc::new(cluster))?),
            summary: self.summary.clone(),
            profile: self.profile.clone(),
            request: self.request.clone(),
            warnings: before.iter().cloned().chain(note).chain(after.iter().cloned()).collect(),
            basis: Arc::clone(self),
        })
    }
}

fn basis(
    model: &Path,
    (flags, later): (&ProblemRequest, &[String]),
    objective: Objective,
    Asked { request, is_free }: Asked,
    mut workload: Workload,
) -> Result<Basis, Diagnostic> {
    check_optimizer(flags, &workload)?;
    let mut options = model_options::options(&asked::model(&flags.model, &request))?;
    options.batch = workload.micro_batch.or(workload.batch);
    options.trains = workload.mode == Mode::Training;
    // The cluster is small: a slip in it is found before a large model is read.
    let (given, mut strange) = match flags.cluster.as_deref().map(cluster).transpose()? {
        Some((given, strange)) => (Some(given), strange),
        None => (None, Vec::new()),
    };
    if let Some(cluster) = given.as_ref().filter(|_| is_free) {
        let (dtype, replaced) = element_type::usual(cluster);
        workload.dtype = Some(dtype);
        strange.extend(replaced);
    }
    options.dtype = workload.dtype;
    let Import { graph, cluster, summary, mut warnings } = import(model, &options)?;
    warnings.extend(strange);
    check_work(&graph)?;
    let cluster = given.or(cluster).ok_or_else(no_cluster)?;
    warnings.extend(untaken(&summary, &cluster));
    let (profile, cluster, unused) = rated(flags.profile.as_deref(), &flags.scale, cluster)?;
    warnings.extend(unused);
    let cluster = cluster.with_margin(flags.margin);
    // A slip in the factors is found before the work.
    scale::scaled(cluster.clone(), &profile, later)?;
    let before = std::mem::take(&mut warnings);
    let (mut graph, noted) = cost_model::ops::workload::apply(graph, &workload)?;
    warnings.extend(noted);
    warnings.extend(costs::apply(&request.costs, &mut graph, &cluster)?);
    warnings.extend(element_type::check(&graph, &cluster, flags.model.dtype)?);
    let mut constraints = constraints::resolve(&request, flags, &graph, &cluster)?;
    let executor = request.executor.as_deref().and_then(Executor::named);
    if let Some(executor) = executor.filter(|executor| *executor != Executor::ANY) {
        warnings.extend(restrict(executor, &workload, (&graph, &cluster), &mut constraints)?);
    }
    let annotated = cost_model::ops::annotate::costed(
        Arc::new(graph),
        Arc::new(cluster),
        &profile,
        workload,
        objective,
        constraints,
    )?;
    warnings.extend(annotated.warnings);
    let problem = annotated.problem;
    if problem.actions.is_empty() {
        let message = "the model has no op that runs anywhere, so there is nothing to plan";
        return Err(Diagnostic::input("no-ops", message)
            .fact("ops", problem.graph.ops.len())
            .hint("give the graph of a model; `meshwright import` says what a file holds"));
    }
    Ok(Basis { problem, summary, profile, request, warnings: [before, warnings] })
}

/// A warning of durations that a trace recorded on a kind of device that the cluster has not.
fn untaken(summary: &Summary, cluster: &Cluster) -> Option<Diagnostic> {
    let has = |name: &str| cluster.kinds.iter().any(|kind| kind.name == name);
    let other = summary.recorded.iter().find(|recorded| !has(&recorded.kind))?;
    let what = format!(
        "the trace was recorded on `{}`, which the cluster has not: its durations are not used",
        other.kind
    );
    Some(
        Diagnostic::warning("unused-trace", what)
            .fact("kind", other.kind.clone())
            .hint("name a kind of the cluster file so, or leave out --cluster"),
    )
}

/// A profile, the cluster at the rates that it measured and as many times as large as was asked, and
/// what nobody uses of it.
///
/// # Errors
/// Those of the reader and of [`scale::scaled`].
pub fn rated(
    profile: Option<&Path>,
    factors: &[String],
    cluster: Cluster,
) -> Result<(Profile, Cluster, Vec<Diagnostic>), Diagnostic> {
    let (profile, cluster, mut notes) = match profile {
        None => (Profile::default(), cluster, Vec::new()),
        Some(path) => {
            let profile = importers::profile::read(path)?;
            let (cluster, unused) = importers::profile::rated(&profile, cluster)?;
            (profile, cluster, unused)
        }
    };
    let (cluster, note) = scale::scaled(cluster, &profile, factors)?;
    notes.extend(note);
    notes.extend(measured_limit(&profile, &cluster));
    Ok((profile, cluster, notes))
}

/// Warns of limits of boards whose rates were measured, and stay.
fn measured_limit(profile: &Profile, cluster: &Cluster) -> Option<Diagnostic> {
    let kinds = cluster.kinds.iter().filter(|kind| kind.full_power.is_some());
    let kinds = kinds.map(|kind| kind.name.clone()).filter(|name| profile.has_measured_rates(name));
    let kinds: Vec<String> = kinds.collect();
    let message = "boards are limited whose rates the profile holds: it keeps them";
    (!kinds.is_empty()).then(|| {
        Diagnostic::warning("measured-limit", message)
            .fact("kinds", kinds)
            .hint("profile the boards at that limit, or leave --profile out")
    })
}

/// Adds what an executor of placements can run; warnings of what that leaves out.
fn restrict(
    executor: Executor,
    workload: &Workload,
    (graph, cluster): (&Graph, &Cluster),
    constraints: &mut Constraints,
) -> Result<Vec<Diagnostic>, Diagnostic> {
    let target = executor.target();
    let Writer::Ops(placed) = exporters::find(PlanKind::Placement, target)?.writer else {
        return Ok(Vec::new());
    };
    executor::check_workload(target, workload)?;
    constraints.colocate.extend((placed.colocation)(graph)?);
    let is_barred = |device: &DeviceId| !(placed.computes)(cluster, *device);
    let barred: Vec<DeviceId> = cluster.device_ids().filter(is_barred).collect();
    if !barred.is_empty() {
        let ops = graph.op_ids().filter(|op| graph.op(*op).work != Work::View);
        constraints.forbids.extend(ops.map(|op| (op, barred.clone())));
    }
    let host = one_host::restrict(executor, graph, cluster, constraints);
    Ok(host.into_iter().chain(executor::without_cache(target, workload, graph)).collect())
}

/// Refuses an optimizer where nothing is trained.
fn check_optimizer(flags: &ProblemRequest, workload: &Workload) -> Result<(), Diagnostic> {
    if flags.optimizer.is_none() || workload.mode == Mode::Training {
        return Ok(());
    }
    Err(Diagnostic::usage("not-for-inference", "`--optimizer` has no effect on inference")
        .hint("leave it out, or add --workload training"))
}

/// Reads a cluster file, with warnings of what is strange about it.
///
/// # Errors
/// Those of the reader.
pub fn cluster(path: &Path) -> Result<(Cluster, Vec<Diagnostic>), Diagnostic> {
    machines(path, (&[], &[])).map(|machines| (machines.cluster, machines.warnings))
}

fn whole(path: &Path) -> Result<importers::cluster::Whole, Diagnostic> {
    let unreadable = |why: String| {
        let message = format!("the cluster file `{}` cannot be read", path.display());
        let error = Diagnostic::input("cluster-unreadable", message).fact("reason", why);
        match path.exists() {
            true => error.hint("check its permissions, and that it is a file"),
            false => error.hint(importers::cluster::example(input_file::plain(path))),
        }
    };
    input_file::check(input_file::plain(path)).map_err(unreadable)?;
    importers::cluster::read_whole(path)
}

/// A cluster that is planned on.
pub struct Machines {
    /// What is planned on.
    pub cluster: Cluster,
    /// With its spares, where it has some.
    pub whole: Option<Cluster>,
    /// With those that are left out, where others were lost.
    pub left: Option<Cluster>,
    /// What is strange about its file.
    pub warnings: Vec<Diagnostic>,
}

/// Reads a cluster file of which some devices were lost; the spares then take part. Some are left out.
///
/// # Errors
/// As [`cluster`]; `unknown-device`, `no-devices`.
pub fn machines(
    path: &Path,
    (lost, without): (&[String], &[String]),
) -> Result<Machines, Diagnostic> {
    let importers::cluster::Whole { cluster, spares, warnings } = whole(path)?;
    let cluster = scale::limited(cluster);
    let used = |cluster: Cluster| match without.is_empty() {
        true => Ok(cluster),
        false => left(&cluster, without),
    };
    if !lost.is_empty() {
        let left = left(&cluster, lost)?;
        let cluster = used(left.clone())?;
        let left = (!without.is_empty()).then_some(left);
        return Ok(Machines { cluster, whole: None, left, warnings });
    }
    if spares.is_empty() {
        return Ok(Machines { cluster: used(cluster)?, whole: None, left: None, warnings });
    }
    let without_spares = cluster.keeping(|device| spares.binary_search(&device).is_err());
    Ok(Machines {
        cluster: used(without_spares)?,
        whole: Some(used(cluster)?),
        left: None,
        warnings,
    })
}

/// The devices that still work.
///
/// # Errors
/// `unknown-device` for one that the cluster does not have, `no-devices` where none is left.
fn left(cluster: &Cluster, lost: &[String]) -> Result<Cluster, Diagnostic> {
    let name_of = |node: NodeId| cluster.nodes.get(node.index()).map(|node| node.name.as_str());
    let names = |device: DeviceId| {
        let kind = cluster.kind_of(device).name.as_str();
        let device = &cluster.devices[device.index()];
        [Some(device.name.as_str()), device.node.and_then(name_of), Some(kind)]
    };
    let named: HashSet<&str> = lost.iter().map(String::as_str).collect();
    let is_lost =
        |device: DeviceId| names(device).into_iter().flatten().any(|name| named.contains(name));
    let known = || cluster.device_ids().flat_map(names).flatten();
    let all: HashSet<&str> = known().collect();
    if let Some(name) = lost.iter().find(|name| !all.contains(name.as_str())) {
        let message = format!("`--lost {name}`: the cluster has no such device, host or kind");
        return Err(Diagnostic::usage("unknown-device", message).hint(suggest::hint(name, known())));
    }
    if cluster.device_ids().all(is_lost) {
        return Err(Diagnostic::usage("no-devices", "all devices of the cluster are lost")
            .hint("name those that are, or another cluster"));
    }
    Ok(cluster.keeping(|device| !is_lost(device)))
}

/// The cluster in one line: how many devices of which kinds.
pub fn describe(cluster: &Cluster) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for device in cluster.device_ids() {
        *counts.entry(&cluster.kind_of(device).name).or_default() += 1;
    }
    let kinds: Vec<String> = counts.iter().map(|(kind, n)| format!("{n} x {kind}")).collect();
    kinds.join(", ")
}

fn objective(name: ObjectiveName) -> Result<Objective, Diagnostic> {
    name.of_models().ok_or_else(|| {
        let names: Vec<&str> = rows().iter().map(|row| row.objective.name()).collect();
        let names = names.join(" or ");
        let message = format!("models are planned for {}", names.replace("step-time", "step time"));
        Diagnostic::usage("no-objective", message)
            .hint(format!("use --objective {names}, or an instance whose costs are given"))
    })
}

/// Training computes in bf16 unless told otherwise; inference keeps the types of the file.
fn workload(flags: &ProblemRequest) -> Workload {
    let mode = flags.workload.unwrap_or(Mode::Inference);
    let usual = match mode {
        Mode::Training => Some(element_type::USUAL),
        Mode::Inference => None,
    };
    Workload {
        mode,
        optimizer: flags.optimizer.unwrap_or_default(),
        dtype: flags.model.dtype.or(usual),
        batch: flags.model.batch,
        micro_batch: flags.model.micro_batch,
    }
}

fn no_cluster() -> Diagnostic {
    Diagnostic::usage("no-cluster", "this model file carries no cluster of its own")
        .hint("add --cluster cluster.yaml")
        .hint(importers::cluster::example(Path::new("cluster.yaml")))
}
