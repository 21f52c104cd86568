//! The portfolio: what to run when nobody says.
//!
//! # Decides
//! Placement, op orders, transfer orders and waits.
//!
//! # Idea
//! Run the other rows, the fast ones first, each with and without the transforms, and keep the
//! best verified plan. Tiny problems also get the exhaustive search.
//!
//! # Paper
//! None.
//!
//! # Guarantee
//! Never worse than any recipe that it ran. Optimal where brute force ran to its end, or where the
//! plan meets the lower bound.
//!
//! # Complexity
//! The sum of the recipes, 30 s unless a limit is given.
//!
//! # Limits
//! Those of the recipes.
//!
//! # Example
//! `meshwright plan model.onnx`

use std::time::{Duration, Instant};

use cost_model::problem::Problem;
use ir::diagnostic::Diagnostic;

use crate::algorithm::{Decide, OptionRow, Options, Row};
use crate::draft::Draft;
use crate::no_plan::{NoPlan, Reason};
use crate::placement::{brute_force, stopped_early};
use crate::recipe::Recipe;
use crate::run::{Run, Scored};

/// Options of the row.
pub const OPTIONS: &[OptionRow] = &[];

/// Limit where the request has none.
const DEFAULT_TIME: Duration = Duration::from_secs(30);

/// Recipes in the order in which they run: each may be the last for which there is time.
const RECIPES: &[&str] = &[
    "single",
    "m-topo",
    "m-etf",
    "fuse,coplace,m-topo",
    "fuse,coplace,m-etf",
    "m-etf(variant=reserve)",
    "m-sct",
    "fuse,coplace,m-sct",
];

/// Recipes for problems that are small enough.
const TINY_RECIPES: &[&str] = &["brute-force"];

struct Auto;

/// Makes the row ready to run.
///
/// # Errors
/// None: it has no options.
pub fn build(_: &Options) -> Result<Row, Diagnostic> {
    Ok(Row::Decide(Box::new(Auto)))
}

impl Decide for Auto {
    fn decide(&self, run: &Run, _: Draft) -> Result<Draft, NoPlan> {
        let started = Instant::now();
        let mut best: Option<Scored> = None;
        let mut first_failure = None;
        for text in recipes(run.problem()) {
            if run.stopped().is_some() {
                break;
            }
            // Where choices must not depend on the clock, only the run's own limit counts.
            let left = DEFAULT_TIME.saturating_sub(started.elapsed());
            let left = (!run.is_deterministic() && !run.has_deadline()).then_some(left);
            let Ok(recipe) = Recipe::parse(text) else { continue };
            match run.child(&recipe, left) {
                Ok(scored) => best = better(best, scored),
                Err(no_plan) if no_plan.proved => return Err(no_plan),
                Err(no_plan) => first_failure = informative(first_failure, no_plan),
            }
        }
        match best {
            Some(best) => Ok(Draft::from_plan(best.plan)),
            None => Err(first_failure.or_else(|| stopped_early(run)).unwrap_or_else(nothing)),
        }
    }
}

/// The recipes that suit a problem.
fn recipes(problem: &Problem) -> Vec<&'static str> {
    let mut recipes = RECIPES.to_vec();
    if brute_force::applies(problem) {
        recipes.extend(TINY_RECIPES);
    }
    recipes
}

fn better(best: Option<Scored>, scored: Scored) -> Option<Scored> {
    match best {
        Some(best) if best.figures.step_time <= scored.figures.step_time => Some(best),
        _ => Some(scored),
    }
}

/// The failure to report when all recipes fail: the last one about memory says most, since the
/// later recipes are the ones that try harder.
fn informative(old: Option<NoPlan>, new: NoPlan) -> Option<NoPlan> {
    match old {
        Some(old) if new.reason != Reason::MemoryExceeded => Some(old),
        _ => Some(new),
    }
}

fn nothing() -> NoPlan {
    NoPlan::not_found(Reason::Budget, "no-plan", "no recipe found a plan")
}
