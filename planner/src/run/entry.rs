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

/// Kinds of problems; each stands beside the door that takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problems {
    /// Name in listings.
    pub name: &'static str,
    /// What rows do with them that plan no models op by op.
    pub planned: &'static str,
}

/// Models, op by op.
pub const MODELS: Problems = Problems { name: "models", planned: "plans models op by op" };

/// Training runs.
pub const TRAINING_RUNS: Problems =
    Problems { name: "training runs", planned: "plans training runs (--global-batch)" };

/// How a row takes a kind of problem. Each kind has a type of its own, where its searches are.
pub trait Door: Any + Sync {
    /// What it takes.
    fn takes(&self) -> Problems;

    /// What the row promises there.
    fn guarantee(&self) -> Guarantee;

    /// Names of the objectives that it serves.
    fn objectives(&self) -> Vec<&'static str>;
}

/// What a door takes and minimises; its guarantee is its second member.
macro_rules! door {
    ($door:ty, $problems:expr, $objectives:expr) => {
        impl $crate::run::entry::Door for $door {
            fn takes(&self) -> $crate::run::entry::Problems {
                $problems
            }

            fn guarantee(&self) -> $crate::run::algorithm::Guarantee {
                self.1
            }

            fn objectives(&self) -> Vec<&'static str> {
                $objectives
            }
        }
    };
}
pub(crate) use door;

/// Makes a row ready to plan a model.
pub type Build = fn(&Options) -> Result<Row, Diagnostic>;

/// Plans models op by op.
pub struct Model(pub Build, pub Guarantee);

door!(Model, MODELS, objective::rows().iter().map(|row| row.objective.name()).collect());

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
        self.takes(TRAINING_RUNS)
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

    /// Where it can be used, by the names of [`Problems`], and what it promises there.
    #[must_use]
    pub fn promises(&self) -> Vec<(&'static str, Guarantee)> {
        self.doors.iter().map(|door| (door.takes().name, door.guarantee())).collect()
    }
}
