//! Rows that plan fleets of serving workers.

use super::fleet::Objective;
use super::serving_fleet::{Answer, Price, Question, Refused};
use crate::run::Control;
use crate::run::algorithm::Guarantee;
use crate::run::entry::{Problems, door};

/// Searches the fleets of a question at a price of iterations.
pub type FleetSearch = for<'q> fn(&Question<'q>, &Price<'_>, &Control) -> Result<Answer, Refused>;

/// How a row plans fleets of workers.
pub struct Fleets(pub FleetSearch, pub Guarantee);

/// Fleets of workers that serve a model.
pub const FLEETS: Problems =
    Problems { name: "fleets", planned: "plans fleets of serving workers" };

door!(Fleets, FLEETS, Objective::ALL.map(Objective::name).to_vec());
