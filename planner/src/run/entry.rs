//! Rows of the registry: what everybody says about an algorithm, and what problems it takes.

use std::any::Any;

use cost_model::ops::objective;
use ir::diagnostic::Diagnostic;

use super::algorithm::{Field, Guarantee, Kind, OptionRow, Options, Row};

/// A row: everything that the command line, the service and the documentation say about it.
pub struct Entry {
    /// Name in recipes, kebab-case.
    pub name: &'static str,
    /// What it does.
    pub kind: Kind,
    /// Fields of the plan that it decides (or may decide anew).
    pub decides: &'static [Field],
    /// Its options.
    pub options: &'static [OptionRow],
    /// Source of the method.
    pub paper: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// What it plans.
    pub doors: &'static [&'static dyn Door],
}

/// All rows that a recipe may name, in the order of listings.
pub type Rows = &'static [Entry];

/// Kinds of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problems {
    /// Models, op by op.
    Models,
    /// Instances with given costs.
    Instances,
    /// Training runs.
    TrainingRuns,
    /// Experts of a model's layers.
    Experts,
    /// Pieces on streams inside a model's layers.
    Streams,
    /// Pipelines that serve a model.
    Serving,
}

impl Problems {
    /// Name in listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Models => "models",
            Self::Instances => "instances",
            Self::TrainingRuns => "training runs",
            Self::Experts => "experts",
            Self::Streams => "streams",
            Self::Serving => "serving",
        }
    }
}

/// How a row takes a kind of problem. Each kind has a type of its own, where its searches are.
pub trait Door: Any + Sync {
    /// What it takes.
    fn takes(&self) -> Problems;

    /// What the row promises there.
    fn guarantee(&self) -> Guarantee;

    /// Names of the objectives that it serves.
    fn objectives(&self) -> Vec<&'static str>;
}

/// Makes a row ready to plan a model.
pub type Build = fn(&Options) -> Result<Row, Diagnostic>;

/// Plans models op by op.
pub struct Model(pub Build, pub Guarantee);

impl Door for Model {
    fn takes(&self) -> Problems {
        Problems::Models
    }

    fn guarantee(&self) -> Guarantee {
        self.1
    }

    fn objectives(&self) -> Vec<&'static str> {
        objective::rows().iter().map(|row| row.objective.name()).collect()
    }
}

impl Entry {
    /// How it takes a kind of problem; `None` if it can't.
    #[must_use]
    pub fn door<D: Door>(&self) -> Option<&'static D> {
        self.doors.iter().find_map(|door| {
            let door: &'static dyn Any = *door;
            door.downcast_ref()
        })
    }

    /// Makes it ready to plan a model; `None` if it can't.
    #[must_use]
    pub fn build(&self) -> Option<Build> {
        self.door().map(|Model(build, _)| *build)
    }

    /// Whether it plans problems of a kind.
    #[must_use]
    pub fn takes(&self, problems: Problems) -> bool {
        self.doors.iter().any(|door| door.takes() == problems)
    }

    /// Whether it plans training runs.
    #[must_use]
    pub fn plans_training(&self) -> bool {
        self.takes(Problems::TrainingRuns)
    }

    /// Names of the objectives that it serves: of models first, then of instances.
    #[must_use]
    pub fn objectives(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        for name in self.doors.iter().flat_map(|door| door.objectives()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Where it can be used, on `models`, `instances`, `training runs`, `experts` or `streams`, and what it
    /// promises there.
    #[must_use]
    pub fn promises(&self) -> Vec<(&'static str, Guarantee)> {
        self.doors.iter().map(|door| (door.takes().name(), door.guarantee())).collect()
    }
}
