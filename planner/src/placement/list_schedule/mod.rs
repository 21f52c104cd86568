//! Memory-constrained list scheduling: the engine of m-ETF and m-SCT.
//!
//! The rules are E1 to E6, M6 and S4 of `docs/conventions.md`. [`schedule`] gives exactly what
//! they define, but computes a start only when it may be the next to be committed; the tests
//! compare it with a literal transcription.

mod awake;
mod dry_run;
mod engine;
mod headroom;
pub(crate) mod heft;
mod ledger;
#[cfg(test)]
#[path = "tests/naive/mod.rs"]
mod naive;
mod ready_queues;
#[cfg(test)]
#[path = "../../../tests/worked/sketch.rs"]
pub(crate) mod sketch;
mod slots;
#[cfg(test)]
pub(crate) mod tests;
mod usage;

use cost_model::ops::problem::Problem;
use ir::id::OpId;
use ir::plan::Placement;
use ir::schedule::Schedule;

use crate::run::no_plan::{NoPlan, Reason};
use crate::run::size;

/// What a group holds back for its members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Variant {
    /// Its parameters.
    #[default]
    Plain,
    /// Its parameters, and what its members need while they run.
    Reserve,
    /// Its parameters; but nothing goes where it leaves no room for what is still to be placed.
    Room,
}

/// How ops are chosen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    /// What groups hold back.
    pub(crate) variant: Variant,
    /// The favourite child by op id, or nothing for plain ETF.
    pub(crate) favourite: Vec<Option<OpId>>,
}

/// A finished schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) placement: Placement,
    pub(crate) schedule: Schedule,
}

/// Schedules a problem. `stopped` is asked now and then; its answer ends the run.
///
/// # Errors
/// [`NoPlan`] without proof, if memory keeps every ready op out, or if stopped.
pub(crate) fn schedule(
    problem: &Problem,
    policy: &Policy,
    stopped: &mut dyn FnMut() -> Option<NoPlan>,
) -> Result<Listed, NoPlan> {
    size::check(problem)?;
    with_headroom(problem, policy.variant, |headroom| {
        Ok(engine::Engine::new(problem, policy, headroom).run(stopped)?.close())
    })
}

/// Runs a scheduler once, or with ever less room kept for outputs until it finds a plan.
fn with_headroom<T>(
    problem: &Problem,
    variant: Variant,
    mut run: impl FnMut(Option<headroom::Headroom>) -> Result<T, NoPlan>,
) -> Result<T, NoPlan> {
    if variant != Variant::Room {
        return run(None);
    }
    let mut last = None;
    for count in headroom::counts() {
        let Some(headroom) = headroom::Headroom::new(problem, count) else { continue };
        match run(Some(headroom)) {
            Err(no_plan) if no_plan.reason == Reason::MemoryExceeded => last = Some(no_plan),
            result => return result,
        }
    }
    // Where not even the parameters can be packed, the plain schedule says what does not fit.
    last.map_or_else(|| run(None), Err)
}

/// As [`schedule`], with the (start, end) of each op.
#[cfg(test)]
fn schedule_with_times(
    problem: &Problem,
    policy: &Policy,
) -> Result<(Listed, Vec<(u64, u64)>), NoPlan> {
    let ledger = engine::Engine::new(problem, policy, None).run(&mut || None)?;
    let times = ledger.start.iter().copied().zip(ledger.end.iter().copied()).collect();
    Ok((ledger.close(), times))
}
