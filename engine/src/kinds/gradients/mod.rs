//! Plans of what the replicas of a model exchange together.

pub mod compare;
pub mod decided;
pub mod plan;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use cost_model::given::gradients::{Buckets, evaluate};
use cost_model::given::{Goal, gradients as given_gradients};
use cost_model::ops::gradients;
use documents::digest;
use documents::plan::request::RequestDocument;
use documents::plan::{PlanDocument, Reference};
use exporters::Export;
use ir::diagnostic::Diagnostic;
use ir::instance::{GradientInstance, Instance};
use ir::plan_kind::PlanKind;
use ir::units::Nanos;
use ir::workload::{Mode, Workload};
use planner::given::runner::{Method, Request, method, simple_bound, solve};
use planner::recipe::Ingredient;
use planner::registry::entries;
use serde_json::json;

use crate::answer::differences::{self, difference};
use crate::answer::exit::CommandResult;
use crate::answer::page::Page;
use crate::inputs::load::{self, Loaded};
use crate::inputs::plan_file;
use crate::kinds::buckets::{self, launchers};
use crate::kinds::frame;
use crate::kinds::kind::{
    ChecksSubject, Explains, IsRow, Kind, Legal, Pair, Plans, Read, Target, Told, illegal, refused,
};
use crate::request::PlanRequest;
use crate::request::fields::{self, Honours};
use crate::request::subject::Subject;
use crate::request::{ObjectiveName, ProblemRequest};
use crate::search;

/// Gradients that replicas exchange together.
pub struct Gradients;

impl Kind for Gradients {
    const KIND: PlanKind = PlanKind::Gradients;
    const ROWS: &'static str = "a row that plans gradients";
    const HONOURS: &'static Honours = &fields::OPS;
    const IS_ROW: IsRow = |recipe| row(recipe).map(|found| found.is_some());
    const CHECK_SUBJECT: ChecksSubject = check_subject;
    const PLAN: Plans = plan::plan;
    const EXPLAIN: Explains<Self> = |on, query| {
        let (buckets, value) = on.judged;
        buckets::explain(&on.setting.instance, (buckets, *value), (query.rows, query.page))
    };

    type Setting = Setting;
    /// Buckets, and the step with them.
    type Judged = (Buckets, Nanos);

    fn check(request: &PlanRequest) -> Result<(), Diagnostic> {
        plan::check(request)
    }

    fn read(plan: &Arc<PlanDocument>, target: Target<'_>) -> Result<Read<Setting>, Diagnostic> {
        let workload = plan_file::workload(&plan.workload)?;
        let planned = (workload, &plan.request, u64::from(plan.parallelism.data));
        let setting = Setting::planned(target.model, &target.flags.problem, planned)?;
        let cluster = &setting.loaded.problem.cluster;
        // Of other replicas each has other samples, and so another graph.
        let replicas = (plan.parallelism.data.to_string(), cluster.devices.len().to_string());
        if digest::cluster(cluster) == plan.cluster.digest && replicas.0 != replicas.1 {
            return Err(difference("parallelism.data", &replicas.0, &replicas.1));
        }
        let (problem, profile) = (&setting.loaded.problem, &setting.loaded.profile);
        let given = [
            Reference::new(&problem.graph.name, digest::graph(&problem.graph)),
            Reference::new(&cluster.name, digest::cluster(cluster)),
            Reference::new(&profile.name, digest::profile(profile)),
        ];
        let others = target.others(plan, &given);
        Ok(Read { warnings: setting.loaded.warnings.clone(), others, setting })
    }

    fn judge(setting: &mut Setting, plan: &PlanDocument) -> Result<Self::Judged, Vec<Diagnostic>> {
        let wrong = |why| vec![illegal("bad-buckets", why)];
        let stated = &plan.communication;
        buckets::allow(&mut setting.instance, &stated.lossy).map_err(wrong)?;
        let buckets = buckets::buckets(&setting.instance, stated).map_err(wrong)?;
        let value = evaluate(&setting.instance, &buckets).map_err(|why| vec![why])?;
        Ok((buckets, value))
    }

    fn warned(on: Legal<'_, Self>) -> Vec<Diagnostic> {
        buckets::warnings(&on.setting.instance, 0, &on.judged.0)
    }

    fn stated_wrong(on: Legal<'_, Self>, _: Option<&Arc<AtomicBool>>) -> Vec<Diagnostic> {
        let instance = &on.setting.instance;
        let stated = on.plan.cost.as_ref().map_or("", |cost| cost.bound_method.as_str());
        let gradients = Instance::Gradients(instance.clone());
        let best = (stated == method::GROUPS)
            .then(|| solve(&gradients, Goal::StepTime, None, &Request::new(entries())));
        let (bound, name) = match best {
            Some(Ok(answer)) => (answer.bound.value, method::GROUPS),
            _ => (
                given_gradients::bound(instance),
                simple_bound(&gradients, Goal::StepTime, 0).method,
            ),
        };
        match decided::document(on.setting, &on.judged.0, (&on.plan.algorithm, bound, name)) {
            Ok(derived) => differences::of_plans(on.plan, &derived),
            Err(why) => vec![why],
        }
    }

    fn told(on: Legal<'_, Self>) -> Told {
        let seconds = on.judged.1.seconds();
        Told {
            sentence: format!(
                "the plan is legal: {} buckets of {} gradients on {} replicas, step time {:.3} ms",
                on.plan.communication.buckets.len(),
                on.setting.instance.tensors.len(),
                on.setting.instance.replicas,
                seconds * 1e3
            ),
            figures: vec![("seconds", json!(seconds))],
        }
    }

    fn export(on: Legal<'_, Self>, target: &str) -> Result<Export, Diagnostic> {
        let bytes = launchers::exported(target, &on.setting.instance, &on.judged.0)?;
        Ok(Export { bytes, warnings: Vec::new() })
    }

    fn compare(pair: Pair<'_>, page: &Page) -> CommandResult {
        let compared = |_| compare::compare((pair.a, pair.b), page);
        frame::compare::<Self>(pair, None, compared, page)
    }
}

/// Refuses subjects that its plans have none of.
fn check_subject(subject: &Subject) -> Result<(), Diagnostic> {
    if subject.flag().is_none() {
        return Ok(());
    }
    let message = "a plan of gradients is explained as a whole: ops and devices name nothing";
    let hint = "leave --op, --transfer, --device and --longest out";
    Err(refused(PlanKind::Gradients, message, hint))
}

/// The row that a recipe is, with its options; `None` where it is none of gradients.
///
/// # Errors
/// Those of [`Ingredient::parse`].
pub fn row(recipe: &str) -> Result<Option<Ingredient>, Diagnostic> {
    let found = search::row::row::<Method>(recipe)?;
    Ok(found.filter(|(_, method)| method.goals == [Goal::StepTime]).map(|(used, _)| used))
}

/// A model on a cluster of replicas, and the gradients of its step.
pub struct Setting {
    /// Of a replica.
    pub loaded: Loaded,
    /// Its gradients.
    pub instance: GradientInstance,
    /// Samples of a step over all replicas, where they were stated.
    pub batch: Option<u64>,
}

/// Samples of one replica.
fn of_replica(batch: Option<u64>, replicas: u64) -> Result<Option<u64>, Diagnostic> {
    match batch {
        Some(batch) if !batch.is_multiple_of(replicas.max(1)) || batch == 0 => {
            let message =
                format!("{batch} samples of a step can't be shared out over {replicas} replicas");
            Err(Diagnostic::usage("uneven-batch", message)
                .hint("state a multiple of the cluster's devices with --batch"))
        }
        batch => Ok(batch.map(|batch| batch / replicas.max(1))),
    }
}

impl Setting {
    /// Reads what is asked for.
    ///
    /// # Errors
    /// Those of the readers; `no-cluster`, `not-for-gradients`, `uneven-batch`, and those of
    /// [`gradients::instance`].
    pub fn asked(model: &Path, flags: &ProblemRequest) -> Result<Self, Diagnostic> {
        if flags.workload == Some(Mode::Inference) {
            let message = "inference has no gradients that could be exchanged";
            return Err(Diagnostic::usage("not-for-gradients", message)
                .hint("leave --workload out, or make it training"));
        }
        let Some(path) = flags.cluster.as_deref() else {
            let message = "no cluster says which devices are replicas";
            return Err(Diagnostic::usage("no-cluster", message).hint("add --cluster FILE"));
        };
        let replicas = load::cluster(path)?.0.devices.len() as u64;
        let mut replica = flags.clone();
        replica.workload = Some(Mode::Training);
        replica.model.batch = of_replica(flags.model.batch, replicas)?;
        let loaded = load::problem(model, &replica, ObjectiveName::default(), None)?;
        Self::of(loaded, flags.model.batch)
    }

    /// Reads what a plan was made for.
    ///
    /// # Errors
    /// As [`Setting::asked`].
    pub fn planned(
        model: &Path,
        flags: &ProblemRequest,
        (workload, request, replicas): (Workload, &RequestDocument, u64),
    ) -> Result<Self, Diagnostic> {
        let batch = workload.batch;
        let workload =
            Workload { batch: of_replica(batch, replicas)?, micro_batch: None, ..workload };
        let objective = ObjectiveName::default().of_models().unwrap_or_default();
        Self::of(load::problem_of_plan(model, flags, (workload, request), objective)?, batch)
    }

    fn of(loaded: Loaded, batch: Option<u64>) -> Result<Self, Diagnostic> {
        let instance = gradients::instance(&loaded.problem, &loaded.profile)?;
        Ok(Self { loaded, instance, batch })
    }
}
