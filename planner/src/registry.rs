//! The one table that knows all algorithms.

mod rows;

use cost_model::ops::objective;
use cost_model::ops::problem::Objective;
use ir::diagnostic::Diagnostic;

use crate::algorithm::{Field, Guarantee, Kind, OptionRow, Options, Row};
use crate::given::runner::Method;
use crate::training::per_layer;
use crate::training::search_3d;

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
    pub doors: &'static [Door],
}

/// A kind of problem that a row takes, with what it promises there.
pub enum Door {
    /// Models, op by op.
    Model(Build, Guarantee),
    /// Instances with given costs.
    Instance(Method),
    /// Training runs, by the cost model.
    Card(search_3d::Search, Guarantee),
    /// Training runs, by measurements of whole layers.
    Layers(per_layer::Search, Guarantee),
}

/// Makes a row ready to plan a model.
pub type Build = fn(&Options) -> Result<Row, Diagnostic>;

impl Door {
    /// What it plans, what it promises, and the names of the objectives.
    fn facts(&self) -> (&'static str, Guarantee, Vec<&'static str>) {
        let step_time = || vec![objective::row(Objective::StepTime).name];
        match self {
            Self::Model(_, promise) => {
                ("models", *promise, objective::rows().iter().map(|row| row.name).collect())
            }
            Self::Instance(method) => {
                let goals = method.goals.iter().map(|goal| cost_model::given::row(*goal).name);
                ("instances", method.guarantee, goals.collect())
            }
            Self::Card(_, promise) => ("training runs", *promise, step_time()),
            Self::Layers(_, promise) => ("training runs", *promise, step_time()),
        }
    }
}

impl Entry {
    /// Makes it ready to plan a model; `None` if it can't.
    #[must_use]
    pub fn build(&self) -> Option<Build> {
        self.doors.iter().find_map(|door| match door {
            Door::Model(build, _) => Some(*build),
            _ => None,
        })
    }

    /// How it solves instances with given costs; `None` if it can't.
    #[must_use]
    pub fn method(&self) -> Option<&'static Method> {
        self.doors.iter().find_map(|door| match door {
            Door::Instance(method) => Some(method),
            _ => None,
        })
    }

    /// Whether it plans training runs.
    #[must_use]
    pub fn plans_training(&self) -> bool {
        self.doors.iter().any(|door| matches!(door, Door::Card(..) | Door::Layers(..)))
    }

    /// How it plans training runs by the cost model; `None` if it can't.
    #[must_use]
    pub fn on_card(&self) -> Option<search_3d::Search> {
        self.doors.iter().find_map(|door| match door {
            Door::Card(solve, _) => Some(*solve),
            _ => None,
        })
    }

    /// How it plans training runs on measured layers; `None` if it can't.
    #[must_use]
    pub fn on_layers(&self) -> Option<per_layer::Search> {
        self.doors.iter().find_map(|door| match door {
            Door::Layers(solve, _) => Some(*solve),
            _ => None,
        })
    }

    /// Names of the objectives that it serves: of models first, then of instances.
    #[must_use]
    pub fn objectives(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        for name in self.doors.iter().flat_map(|door| door.facts().2) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Where it can be used, on `models`, `instances` or `training runs`, and what it promises
    /// there.
    #[must_use]
    pub fn promises(&self) -> Vec<(&'static str, Guarantee)> {
        let facts = self.doors.iter().map(Door::facts);
        facts.map(|(kind, promise, _)| (kind, promise)).collect()
    }
}

/// All rows, in the order of listings.
#[must_use]
pub fn entries() -> &'static [Entry] {
    rows::ENTRIES
}

/// The row with this name.
#[must_use]
pub fn entry(name: &str) -> Option<&'static Entry> {
    rows::ENTRIES.iter().find(|entry| entry.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_defaults_build() {
        for (position, entry) in entries().iter().enumerate() {
            assert!(entries()[..position].iter().all(|other| other.name != entry.name));
            assert!(!entry.doors.is_empty(), "{}", entry.name);
            assert!(entry.build().is_some() || entry.kind == Kind::Decide, "{}", entry.name);
            let kind = match entry.build().map(|build| build(&Options::default())) {
                Some(Ok(Row::Transform(_))) => Kind::Transform,
                None | Some(Ok(Row::Decide(_))) => Kind::Decide,
                Some(Ok(Row::Improve(_))) => Kind::Improve,
                Some(Err(error)) => panic!("{}: {error}", entry.name),
            };
            assert_eq!(kind, entry.kind, "{}", entry.name);
            assert_eq!(entry.decides.is_empty(), entry.kind == Kind::Transform, "{}", entry.name);
        }
    }
}
