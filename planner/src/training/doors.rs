//! How rows of the registry plan training runs.

use cost_model::ops::problem::Objective;

use super::{per_layer, search_3d, unlike_nodes};
use crate::run::algorithm::Guarantee;
use crate::run::entry::{Door, Problems};

/// By the cost model.
pub struct Card(pub search_3d::Search, pub Guarantee);

/// By measurements of whole layers.
pub struct Layers(pub per_layer::Search, pub Guarantee);

/// By the cost model, on nodes of different kinds.
pub struct Unlike(pub unlike_nodes::Search, pub Guarantee);

impl Door for Unlike {
    fn takes(&self) -> Problems {
        Problems::TrainingRuns
    }

    fn guarantee(&self) -> Guarantee {
        self.1
    }

    fn objectives(&self) -> Vec<&'static str> {
        step_time()
    }
}

impl Door for Card {
    fn takes(&self) -> Problems {
        Problems::TrainingRuns
    }

    fn guarantee(&self) -> Guarantee {
        self.1
    }

    fn objectives(&self) -> Vec<&'static str> {
        step_time()
    }
}

impl Door for Layers {
    fn takes(&self) -> Problems {
        Problems::TrainingRuns
    }

    fn guarantee(&self) -> Guarantee {
        self.1
    }

    fn objectives(&self) -> Vec<&'static str> {
        step_time()
    }
}

fn step_time() -> Vec<&'static str> {
    vec![Objective::STEP_TIME.name()]
}
