//! serving-pipeline: a model that serves as one forward pipeline over devices of any kinds.
//!
//! # Decides
//! Which devices are used, in which order, which contiguous blocks each has, and how many batches are in
//! flight: up to as many as stages, as memory allows.
//!
//! # Idea
//! First some orders of devices, by speed, by memory and along ways, with their best cuts, and exchanges
//! between them. Then every set of devices in every order, class by class of devices that may change places:
//! for each number of stages and of batches in flight, the least sum of stages and boundaries of which none is
//! longer than a limit, block by block (a dynamic program over the devices used, the last of them and the
//! blocks done), with the limit halved down to the least that a plan keeps.
//!
//! # Paper
//! None for the search; cuts of one order as Pinar and Aykanat, JPDC 64(8), 2004.
//!
//! # Guarantee
//! Where the program fits, no pipeline of one device per stage has more tokens per second (or less latency)
//! under the judge, unless transfers of several stages share a channel, which the bound leaves aside. Else
//! [`Found::bound`] is by formula.
//!
//! # Complexity
//! Products of (devices of a class + 1) x classes x blocks states, each with as many moves as classes x blocks;
//! [`MOST_STATES`] at most.
//!
//! # Limits
//! One device per stage: no tensor or data parallelism. Dense blocks.
//!
//! # Example
//! `meshwright infer config.json --cluster room.yaml --workload inference --phase decode --batch 1`

mod exact;
#[cfg(test)]
mod laws;
mod orders;

use std::sync::Arc;

use cost_model::runs::served::bound::{EVERY, SPREAD, spread};
use cost_model::runs::served::{Costs, Goal};
use ir::units::Nanos;

use super::{Found, Plan};
use crate::run::{Control, StopReason};

/// Most states of the dynamic program.
pub const MOST_STATES: usize = 1 << 22;

/// Searches.
#[must_use]
pub fn solve(costs: &Costs, goal: Goal, control: &Arc<Control>) -> Found {
    let formula = spread(costs, goal);
    control.set_bound(Nanos(formula));
    let mut best = orders::best(costs, goal, control);
    if let Some(plan) = &best {
        control.lower_value(Nanos(plan.judged.period));
    }
    let is_enough = |plan: &Plan| plan.judged.period <= formula;
    if best.as_ref().is_some_and(is_enough) {
        return Found {
            best,
            bound: formula,
            bound_method: SPREAD,
            stop: StopReason::ProvedOptimal,
        };
    }
    let known = best.as_ref().map(|plan| plan.judged.period);
    let exact = match control.stop() {
        Some(stop) => Err(stop),
        None => exact::search(costs, goal, (known, control)),
    };
    let (pieces, period) = match exact {
        Ok(found) => found,
        Err(stop) => return Found { best, bound: formula, bound_method: SPREAD, stop },
    };
    let judged = pieces.and_then(|pieces| {
        let judged = costs.judge(&pieces, goal).ok()?;
        Some(Plan { pieces, judged })
    });
    if let Some(plan) = judged
        && best.as_ref().is_none_or(|best| plan.judged.period <= best.judged.period)
    {
        best = Some(plan);
    }
    let proved = best.as_ref().is_some_and(|plan| plan.judged.period <= period);
    let stop = if proved { StopReason::ProvedOptimal } else { StopReason::Finished };
    Found { best, bound: period, bound_method: EVERY, stop }
}
