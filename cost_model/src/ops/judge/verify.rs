//! Whether a plan is legal, found out without the replay: its own derivation of what is needed,
//! its own clock (an event simulation) and its own account of memory (a sweep over intervals).

mod clock;
mod storage;
mod structure;

use ir::plan::Plan;

use super::violation::Findings;
use crate::ops::problem::Problem;

pub use super::violation::{MAX_VIOLATIONS, Violation};

/// Everything that is wrong with a plan, at most [`MAX_VIOLATIONS`]; empty = legal.
///
/// Times and memory are looked at only where the structure is sound, because neither is defined
/// otherwise.
#[must_use]
pub fn verify(problem: &Problem, plan: &Plan) -> Vec<Violation> {
    let mut findings = Findings::default();
    let Some(needed) = structure::check(problem, plan, &mut findings) else {
        return findings.list;
    };
    match clock::run(problem, plan, &needed) {
        Ok(times) => storage::check(problem, plan, &needed, &times, &mut findings),
        Err(cycle) => findings.push(Violation::Deadlock { cycle }),
    }
    findings.list
}

/// Step time in nanoseconds by the verifier's own clock; `None` where the structure is unsound or
/// the orders form a circle. For checks of the replay against it.
#[must_use]
pub fn step_time_ns(problem: &Problem, plan: &Plan) -> Option<u64> {
    let needed = structure::check(problem, plan, &mut Findings::default())?;
    clock::run(problem, plan, &needed).ok().map(|times| times.step_time)
}
