//! The portfolio: what to run when nobody says.
//!
//! # Decides
//! Placement, op orders, transfer orders and waits.
//!
//! # Idea
//! Run the other rows, the fast ones first, each with and without the transforms, until one plan
//! meets the lower bound; of the verified plans within 0.5 % of the best keep the one with the
//! fewest devices, then the fewest transfers. Where none fits into memory, cuts by
//! memory alone follow. Tiny problems also get the exhaustive search. What is left of the time is
//! for local search on the best plan.
//!
//! # Paper
//! None.
//!
//! # Guarantee
//! At most 0.5 % worse than any recipe that it ran, and than the optimum where brute force ran to
//! its end.
//!
//! # Complexity
//! The sum of the recipes, 30 s unless a limit is given.
//!
//! # Limits
//! Those of the recipes.
//!
//! # Example
//! `meshwright place model.onnx`

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use cost_model::ops::problem::Objective;
use ir::diagnostic::Diagnostic;
use ir::plan::Plan;
use ir::units::Nanos;

use crate::draft::Draft;
use crate::placement::{brute_force, stopped_early};
use crate::run::algorithm::{Decide, Kind, OptionRow, Options, Row};
use crate::run::no_plan::{NoPlan, Reason};
use crate::run::recipe::Recipe;
use crate::run::{Run, Scored};

/// Options of the row.
pub const OPTIONS: &[OptionRow] = &[];

/// Limit where the request has none.
pub const DEFAULT_TIME: Duration = Duration::from_secs(30);

/// When a recipe has its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// In the order of the list: each may be the last for which there is time.
    Quick,
    /// Where none of the quick ones found a plan.
    Fallback,
    /// After them, each for at most [`PART_OF_TIME`].
    Slow,
    /// Where [`brute_force::applies`].
    Tiny,
}

/// A recipe, its turn, and what it is there for.
pub(crate) type Line = (&'static str, Turn, &'static str);

use Turn::{Fallback, Quick, Slow, Tiny};

/// For step time.
const STEP_TIME: &[Line] = &[
    ("single", Quick, "no transfer at all; it meets the bound of chains"),
    ("orders", Quick, "each device a piece of a line: the first plan of a model of any size"),
    ("m-topo", Quick, "as quick, and even in memory"),
    ("m-etf", Quick, "the earliest end of each op, within memory"),
    ("blocks,m-topo", Quick, "whole blocks: few transfers, and what executors can move"),
    ("blocks,m-etf", Quick, "the same by the earliest end"),
    ("coplace,m-topo", Quick, "an op's parameters, gradients and updates in one place"),
    ("coplace,m-etf", Quick, "the same by the earliest end"),
    ("fuse,m-topo", Quick, "no transfers inside chains"),
    ("fuse,m-etf", Quick, "the same by the earliest end; best where ops are small"),
    ("fuse,coplace,m-topo", Quick, "Baechi's own combination"),
    ("fuse,coplace,m-etf", Quick, "the same by the earliest end"),
    ("blocks,fuse,m-topo", Quick, "whole blocks of whole chains: fewest units of all"),
    ("blocks,fuse,m-etf", Quick, "the same by the earliest end"),
    ("m-etf(variant=reserve)", Quick, "tight memory: keeps room for what members of a group need"),
    ("m-etf(variant=room)", Quick, "tighter still: leaves room for what is still to come"),
    ("contiguous", Quick, "cuts of more lines than `orders`, by time and by memory"),
    ("m-topo(cap=limit)", Fallback, "memory alone: fills a device to its limit"),
    ("blocks,m-topo(cap=limit)", Fallback, "the same with whole blocks"),
    ("heft", Slow, "the baseline of list scheduling, with insertion into gaps"),
    ("heft-lookahead", Slow, "a look at each op's children; best after `multilevel`"),
    ("multilevel", Slow, "best of all most often: merges what is dear to part"),
    ("m-sct", Slow, "favourite children by a linear program"),
    ("fuse,coplace,m-sct", Slow, "the same on fewer units, for which the program is small enough"),
    ("fuse,m-sct", Slow, "the same without co-placement"),
    ("blocks,m-sct", Slow, "the same with whole blocks"),
    ("brute-force", Tiny, "the optimum"),
];

/// For max-load.
const MAX_LOAD: &[Line] = &[
    ("single", Quick, "the only plan where nothing may be parted"),
    ("orders", Quick, "each device a piece of a line: the first plan of a model of any size"),
    ("orders,refine-load", Quick, "takes from the busiest device"),
    ("ideals", Quick, "the best contiguous split, where devices are alike"),
    ("m-topo,refine-load", Quick, "starts from even memory"),
    ("coplace,orders,refine-load", Quick, "parameters and updates in one place"),
    ("m-etf,refine-load", Quick, "starts from a plan that is quick as well"),
    ("repeat,orders,refine-load", Quick, "repeated layers cut alike"),
    ("fuse,coplace,m-etf,refine-load", Quick, "starts from few units"),
    ("blocks,orders,refine-load", Quick, "whole blocks"),
    ("columns", Quick, "any split with a proof, where devices are alike"),
    ("m-topo(cap=limit)", Fallback, "memory alone: fills a device to its limit"),
    ("blocks,m-topo(cap=limit)", Fallback, "the same with whole blocks"),
    ("brute-force", Tiny, "the optimum"),
];

/// Each of the slow ones may take this part of the whole time.
const PART_OF_TIME: u32 = 8;

/// What runs on the best plan to the end: of the limit that was asked for, or until little is
/// gained.
const IMPROVER: &str = "local-search";
const QUICK_IMPROVER: &str = "local-search(patience=4)";

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
        let (found, recipe, best) = searched(run, run.time_left().unwrap_or(DEFAULT_TIME))?;
        let (recipe, simplest) = found.simplest(recipe, best);
        run.settle(&recipe, simplest.plan.clone())?;
        Ok(Draft::from_plan(simplest.plan))
    }
}

/// The best plan of the portfolio within `whole`, whether a simpler one is as good or not.
///
/// # Errors
/// The failure that says most.
pub(crate) fn best(run: &Run, whole: Duration) -> Result<Scored, NoPlan> {
    searched(run, whole).map(|(_, _, best)| best)
}

fn searched(run: &Run, whole: Duration) -> Result<(Found, Recipe, Scored), NoPlan> {
    let started = Instant::now();
    // Where choices must not depend on the clock, only the run's own limit counts.
    let left = || {
        let left = whole.saturating_sub(started.elapsed());
        (!run.is_deterministic()).then_some(left)
    };
    let mut found = Found::default();
    for (text, turn, _) in lines(run.problem().objective) {
        if run.stopped().is_some() || run.is_optimal() {
            break;
        }
        let has_turn = match turn {
            Quick | Slow => true,
            Fallback => found.best.is_none(),
            Tiny => brute_force::applies(run.problem()),
        };
        let Some(recipe) = Recipe::parse(text, run.rows()).ok().filter(|_| has_turn) else {
            continue;
        };
        let most = if *turn == Slow { whole / PART_OF_TIME } else { whole };
        found.take(&recipe, run.child(&recipe, left().map(|left| left.min(most))))?;
    }
    match found.best.take() {
        Some((recipe, best)) => {
            let best = improved(run, &recipe, best, left());
            Ok((found, recipe, best))
        }
        None => Err(found
            .failure
            .map(|(_, no_plan)| no_plan)
            .or_else(|| stopped_early(run))
            .unwrap_or_else(nothing)),
    }
}

/// What runs, in order.
pub(crate) fn lines(objective: Objective) -> &'static [Line] {
    match objective {
        Objective::MAX_LOAD => MAX_LOAD,
        // Plans that take long are seldom good for anything else.
        _ => STEP_TIME,
    }
}

/// Local search on the best plan, unless nothing is left to find.
fn improved(run: &Run, recipe: &Recipe, best: Scored, left: Option<Duration>) -> Scored {
    // It searches for step time; max-load has its own in each recipe.
    let is_meant = run.problem().objective == Objective::STEP_TIME;
    if !is_meant || run.stopped().is_some() || run.is_optimal() {
        return best;
    }
    let improver = if run.has_deadline() { IMPROVER } else { QUICK_IMPROVER };
    match Recipe::parse(&format!("{recipe},{improver}"), run.rows()) {
        Ok(recipe) => run.child_from(&recipe, best.clone(), left).unwrap_or(best),
        Err(_) => best,
    }
}

/// The best plan so far with its recipe, and the failure that says most.
#[derive(Default)]
struct Found {
    best: Option<(Recipe, Scored)>,
    /// Plans that are near the best and simpler.
    simple: Vec<(Recipe, Scored)>,
    failure: Option<(u8, NoPlan)>,
}

impl Found {
    /// Takes what a recipe achieved.
    ///
    /// # Errors
    /// A proof that there is no plan.
    fn take(&mut self, recipe: &Recipe, result: Result<Scored, NoPlan>) -> Result<(), NoPlan> {
        match result {
            Ok(scored) => {
                let value = scored.figures.value;
                self.simple.push((recipe.clone(), scored.clone()));
                self.forget_far(value);
                if self.best.as_ref().is_none_or(|(_, best)| value < best.figures.value) {
                    self.best = Some((recipe.clone(), scored));
                }
            }
            Err(no_plan) if no_plan.proved => return Err(no_plan),
            Err(no_plan) => {
                let worth = worth(recipe, &no_plan);
                // The later recipes are the ones that try harder.
                if self.failure.as_ref().is_none_or(|(most, _)| worth >= *most) {
                    self.failure = Some((worth, no_plan));
                }
            }
        }
        Ok(())
    }
}

/// Plans at most this far above the best, in thousandths, are as good: no cost model is as exact.
const AS_GOOD: u64 = 5;

fn is_near(value: Nanos, best: Nanos) -> bool {
    let (value, best) = (u128::from(value.get()), u128::from(best.get()));
    value * 1000 <= best * u128::from(1000 + AS_GOOD)
}

/// Devices that a plan uses, then its transfers, each on its two channels.
fn size(plan: &Plan) -> (usize, usize) {
    let devices: BTreeSet<_> = plan.placement.device.iter().flatten().collect();
    (devices.len(), plan.schedule.channels.values().map(Vec::len).sum())
}

impl Found {
    /// Drops plans that are too far above this value, and those that are no simpler than another.
    fn forget_far(&mut self, value: Nanos) {
        self.simple.retain(|(_, scored)| is_near(scored.figures.value, value));
        self.simple.sort_by_key(|(_, scored)| (size(&scored.plan), scored.figures.value));
        let mut least = None;
        self.simple.retain(|(_, scored)| {
            let value = scored.figures.value;
            let is_new = least.is_none_or(|least| value < least);
            least = least.min(Some(value)).or(Some(value));
            is_new
        });
    }

    /// Of the plans that are as good as the best, the one with the fewest devices and transfers.
    fn simplest(mut self, recipe: Recipe, best: Scored) -> (Recipe, Scored) {
        let value = best.figures.value;
        self.simple.retain(|(_, scored)| is_near(scored.figures.value, value));
        let key = |scored: &Scored| (size(&scored.plan), scored.figures.value);
        let other = self.simple.into_iter().min_by_key(|(_, scored)| key(scored));
        match other {
            Some(other) if key(&other.1) < key(&best) => other,
            _ => (recipe, best),
        }
    }
}

/// How much a failure says about the model and the cluster, and not about the recipe: all on one
/// device is no demand of anybody's, and a transform may rule out devices of its own accord.
fn worth(recipe: &Recipe, no_plan: &NoPlan) -> u8 {
    let mut rows = recipe.ingredients().iter().map(|used| used.entry);
    let alone = rows.clone().any(|entry| entry.name == "single");
    let plain = rows.all(|entry| entry.kind != Kind::Transform);
    match no_plan.reason {
        _ if alone => 0,
        Reason::Budget => 1,
        _ if !plain => 2,
        Reason::Unsupported => 3,
        Reason::MemoryExceeded => 4,
        Reason::NoDevice | Reason::Unreachable => 5,
    }
}

pub(crate) fn nothing() -> NoPlan {
    NoPlan::not_found(Reason::Budget, "no-plan", "no recipe found a plan")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_recipe_and_stands_where_it_runs() {
        for objective in [Objective::STEP_TIME, Objective::MAX_LOAD] {
            let rank = |turn: Turn| [Quick, Fallback, Slow, Tiny].iter().position(|t| *t == turn);
            let all = lines(objective);
            assert!(all.is_sorted_by_key(|(_, turn, _)| rank(*turn)), "{objective:?}");
            assert!(
                all.iter().all(|(text, ..)| crate::registry::recipe(text).is_ok()),
                "{objective:?}"
            );
        }
    }
}
