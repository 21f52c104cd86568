//! Plans of what the replicas of a model exchange together: planned, read back, judged, explained.

pub mod compare;
pub mod decided;
pub mod plan;
pub mod verify;

use std::path::Path;

use cost_model::given::Goal;
use cost_model::ops::gradients;
use documents::plan::request::RequestDocument;
use ir::diagnostic::Diagnostic;
use ir::instance::GradientInstance;
use ir::workload::{Mode, Workload};
use planner::given::runner::Method;
use planner::recipe::Ingredient;
use planner::registry::{entries, entry};

use crate::inputs::load::{self, Loaded};
use crate::request::{ObjectiveName, ProblemRequest};

/// The row that a recipe is, with its options; `None` where it is none of gradients.
///
/// # Errors
/// Those of [`Ingredient::parse`].
pub fn row(recipe: &str) -> Result<Option<Ingredient>, Diagnostic> {
    let name = recipe.split('(').next().unwrap_or_default().trim();
    let door = entry(name).and_then(|entry| entry.door::<Method>());
    match door.is_some_and(|method| method.goals == [Goal::StepTime]) {
        true => Ingredient::parse(recipe.trim(), entries()).map(Some),
        false => Ok(None),
    }
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
        let mut own = flags.clone();
        own.workload = Some(Mode::Training);
        own.model.batch = of_replica(flags.model.batch, replicas)?;
        let loaded = load::problem(model, &own, ObjectiveName::default(), None)?;
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
        let own = Workload { batch: of_replica(batch, replicas)?, micro_batch: None, ..workload };
        let objective = ObjectiveName::default().of_models().unwrap_or_default();
        Self::of(load::problem_of_plan(model, flags, (own, request), objective)?, batch)
    }

    fn of(loaded: Loaded, batch: Option<u64>) -> Result<Self, Diagnostic> {
        let instance = gradients::instance(&loaded.problem, &loaded.profile)?;
        Ok(Self { loaded, instance, batch })
    }
}
