//! The one table that knows all algorithms.

mod rows;

use cost_model::ops::objective;
use cost_model::ops::problem::{Objective, Problem};
use cost_model::runs::forms::model::Pricing;
use cost_model::runs::measured::LayerPricing;
use ir::diagnostic::Diagnostic;

use crate::algorithm::{Field, Guarantee, Kind, OptionRow, Options, Row};
use crate::given::runner::Method;
use crate::training::per_layer;
use crate::training::search_3d::{self, space::Space};

/// A row: everything that the command line, the service and the documentation say about it.
pub struct Entry {
    /// Name in recipes, kebab-case.
    pub name: &'static str,
    /// What it does.
    pub kind: Kind,
    /// Fields of the plan that it decides (or may decide anew).
    pub decides: &'static [Field],
    /// What it promises on a problem.
    pub guarantee: fn(&Problem) -> Guarantee,
    /// Its options.
    pub options: &'static [OptionRow],
    /// Source of the method.
    pub paper: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// How it plans training runs on a model card; `None` if it can't.
    pub training: Option<Training>,
    /// Makes it ready to plan a model; `None` if it can't.
    pub build: Option<Build>,
    /// How it solves instances with given costs; `None` if it can't.
    pub method: Option<Method>,
}

/// Makes a row ready to plan a model.
pub type Build = fn(&Options) -> Result<Row, Diagnostic>;

/// Plans a training run: the best plans of a space under given prices.
#[derive(Clone, Copy)]
pub enum Training {
    /// By the cost model.
    Card(fn(&Pricing<'_>, &Space, &search_3d::Options) -> search_3d::Found),
    /// By measurements of whole layers.
    Layers(OnLayers),
}

/// Plans a training run on measured layers.
pub type OnLayers =
    fn(&LayerPricing<'_>, &Space, &per_layer::Options) -> Result<per_layer::Found, Diagnostic>;

impl Entry {
    /// Names of the objectives that it serves: of models first, then of instances.
    #[must_use]
    pub fn objectives(&self) -> Vec<&'static str> {
        let models = self.build.map_or(&[][..], |_| objective::rows());
        let training = self.training.map(|_| objective::row(Objective::StepTime).name);
        let goals = self.method.as_ref().map_or(&[][..], |method| method.goals);
        let goals = goals.iter().map(|goal| cost_model::given::row(*goal).name);
        let mut names: Vec<&str> = models.iter().map(|row| row.name).chain(training).collect();
        for name in goals {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Where it can be used: on `models`, `instances` or `training runs`.
    #[must_use]
    pub fn runs_on(&self) -> Vec<&'static str> {
        let models = self.build.map(|_| "models");
        let instances = self.method.as_ref().map(|_| "instances");
        let training = self.training.map(|_| "training runs");
        models.into_iter().chain(instances).chain(training).collect()
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
            assert!(!entry.runs_on().is_empty(), "{}", entry.name);
            assert!(entry.build.is_some() || entry.kind == Kind::Decide, "{}", entry.name);
            let kind = match entry.build.map(|build| build(&Options::default())) {
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
