//! Objectives by name.

use cost_model::given::{Goal, rows as goals};
use cost_model::ops::objective;
use cost_model::ops::problem::Objective;
use cost_model::runs::served::Goal as Served;
use planner::serving::fleet::Objective as Fleets;

use crate::answer::energy::{COST, ENERGY};

/// An objective of models, of instances, of inference pipelines or fleets, or of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectiveName(&'static str);

impl Default for ObjectiveName {
    fn default() -> Self {
        Self(Objective::default().name())
    }
}

impl ObjectiveName {
    /// All, those of models first, then those of inference pipelines, energy and cost last.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let models = objective::rows().iter().map(|row| row.objective.name());
        let given = goals().iter().map(|row| row.name);
        let given = given.filter(|name| objective::named(name).is_none());
        let known: Vec<&'static str> = models.chain(given).collect();
        let serving =
            Served::ALL.map(Served::name).into_iter().filter(|name| !known.contains(name));
        let fleets = Fleets::ALL.map(Fleets::name).into_iter();
        let fleets = fleets.filter(|name| !Served::ALL.map(Served::name).contains(name));
        let all = known.iter().copied().chain(serving).chain(fleets);
        all.chain([ENERGY, COST]).map(Self).collect()
    }

    /// What plans draw or cost, by its name.
    #[must_use]
    pub fn of_energy(name: &str) -> Option<Self> {
        [ENERGY, COST].into_iter().find(|known| *known == name).map(Self)
    }

    /// Whether it is what plans draw or cost.
    #[must_use]
    pub fn is_of_energy(self) -> bool {
        [ENERGY, COST].contains(&self.0)
    }

    /// Its name, kebab-case.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0
    }

    /// What it is of models; `None` = it is of instances alone.
    #[must_use]
    pub fn of_models(self) -> Option<Objective> {
        objective::named(self.0).map(|row| row.objective)
    }

    /// What it is of instances; `None` = it is of models alone.
    #[must_use]
    pub fn of_instances(self) -> Option<Goal> {
        goals().iter().find(|row| row.name == self.0).map(|row| row.goal)
    }
}
