//! How rows of the registry plan training runs.

use cost_model::ops::problem::Objective;

use super::{per_layer, search_3d, unlike_nodes};
use crate::run::algorithm::Guarantee;
use crate::run::entry::{TRAINING_RUNS, door};

/// By the cost model.
pub struct Card(pub search_3d::Search, pub Guarantee);

/// By measurements of whole layers.
pub struct Layers(pub per_layer::Search, pub Guarantee);

/// By the cost model, on nodes of different kinds.
pub struct Unlike(pub unlike_nodes::Search, pub Guarantee);

door!(Unlike, TRAINING_RUNS, vec![Objective::STEP_TIME.name()]);
door!(Card, TRAINING_RUNS, vec![Objective::STEP_TIME.name()]);
door!(Layers, TRAINING_RUNS, vec![Objective::STEP_TIME.name()]);
