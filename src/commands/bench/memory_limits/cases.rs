//! Which models, on which devices, under which limits.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use cost_model::ops::bound::memory_certificate;
use cost_model::ops::problem::{Constraints, Objective, Problem};
use importers::ImportOptions;
use ir::cluster::Cluster;
use ir::diagnostic::{Blame, Diagnostic};
use ir::profile::Profile;
use ir::tensor::DType;
use ir::units::Bytes;
use ir::workload::{Mode, Workload};
use planner::recipe::Recipe;
use planner::run::{Request, solve};

/// A model with a workload under a limit.
pub(super) struct Case {
    /// Such as `gnmt, training, 30 %`.
    pub(super) name: String,
    /// The limit of each device.
    pub(super) limit: String,
    pub(super) problem: Arc<Problem>,
}

/// Files of the corpus.
const MODELS: [&str; 3] = ["inception_v3", "gnmt", "gpt2_small"];
const MODES: [(Mode, &str); 2] = [(Mode::Inference, "inference"), (Mode::Training, "training")];
/// Limits of a device, in percent of what everything on one device takes.
const PERCENTS: [u64; 2] = [30, 40];

/// The devices, in the words of a cluster file and of the page. Nominal figures of the catalogue.
const CLUSTER: &str =
    "name: four\nnodes: [{device: a100_sxm4_80gb, devices: 4, scaleup: nvlink3}]\n";
pub(super) const CLUSTER_WORDS: &str =
    "`a100_sxm4_80gb` linked by `nvlink3` (nominal figures of the catalogue)";

/// The corpus beside a folder of instances, laid out as in docs/data.md.
pub(in crate::commands::bench) fn folder(instances: &Path) -> Option<PathBuf> {
    let root = instances.canonicalize().ok()?;
    root.ancestors().map(|above| above.join("models/onnx")).find(|models| models.is_dir())
}

/// All cases whose names hold `only`.
///
/// # Errors
/// Those of reading a model, and of planning it on one device.
pub(super) fn read(models: &Path, only: &str) -> Result<Vec<Case>, Diagnostic> {
    let mut cases = Vec::new();
    for model in MODELS {
        let path = models.join(format!("{model}.onnx"));
        for (mode, word) in MODES {
            let name = |percent: u64| format!("models/{model}, {word}, {percent} %");
            let wanted: Vec<u64> =
                PERCENTS.into_iter().filter(|percent| name(*percent).contains(only)).collect();
            if wanted.is_empty() || !path.is_file() {
                continue;
            }
            let problem = problem(&path, mode)?;
            let whole = peak_of_one(&problem)?;
            for percent in wanted {
                let limit = Bytes(whole * percent / 100);
                cases.push(case(name(percent), &problem, limit)?);
            }
            add_least(&format!("models/{model}, {word}"), &problem, whole, &mut cases)?;
        }
    }
    Ok(cases)
}

fn case(name: String, problem: &Problem, limit: Bytes) -> Result<Case, Diagnostic> {
    let cluster = limited(&problem.cluster, limit);
    let problem = Arc::new(problem.on_cluster(Arc::new(cluster))?);
    Ok(Case { name, limit: limit.to_string(), problem })
}

/// Where even the greatest of the limits is proved to be too small: the least limit that no
/// counting argument rules out, and 10 % more than that.
fn add_least(
    name: &str,
    problem: &Problem,
    whole: u64,
    cases: &mut Vec<Case>,
) -> Result<(), Diagnostic> {
    let greatest = PERCENTS.into_iter().max().unwrap_or(0);
    let Case { problem: tight, .. } = case(String::new(), problem, Bytes(whole * greatest / 100))?;
    let least = memory_certificate(&tight).and_then(|certificate| certificate.enough_each);
    if let Some(least) = least {
        let percent = |limit: u64| format!("{name}, {:.1} %", 100.0 * limit as f64 / whole as f64);
        for limit in [least, least + least / 10] {
            cases.push(case(percent(limit), problem, Bytes(limit))?);
        }
    }
    Ok(())
}

/// The walk of `plan` with its defaults.
fn problem(path: &Path, mode: Mode) -> Result<Problem, Diagnostic> {
    let dtype = (mode == Mode::Training).then_some(DType::Bf16);
    let workload = Workload { mode, dtype, ..Workload::default() };
    let import = importers::read(path, &ImportOptions { dtype, ..ImportOptions::default() })?;
    let (graph, _) = cost_model::ops::workload::apply(import.graph, &workload)?;
    let cluster = importers::cluster::parse(CLUSTER, "benchmark", None)?;
    cost_model::ops::annotate::annotate(
        Arc::new(graph),
        Arc::new(limited(&cluster, None)),
        &Profile::default(),
        workload,
        Objective::StepTime,
        Constraints::default(),
    )
    .map(|annotated| annotated.problem)
}

/// The cluster with this much memory for a plan on each device.
fn limited(cluster: &Cluster, limit: impl Into<Option<Bytes>>) -> Cluster {
    let limit = limit.into();
    let mut cluster = cluster.clone();
    for device in &mut cluster.devices {
        device.capacity = limit;
        device.context = Bytes::ZERO;
        device.reserve = Bytes::ZERO;
    }
    cluster
}

/// Peak bytes of the whole step on one device.
fn peak_of_one(problem: &Problem) -> Result<u64, Diagnostic> {
    let recipe = Recipe::parse("single")?;
    let outcome = solve(Arc::new(problem.clone()), &Request::new(recipe), &mut |_| {});
    let outcome = outcome.map_err(|no_plan| no_plan.diagnostic)?;
    let peak = outcome.report.devices.iter().map(|device| device.peak.bytes).max();
    peak.ok_or_else(|| Diagnostic::error(Blame::Internal, "no-device", "no device was reported"))
}
