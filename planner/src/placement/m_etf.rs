//! m-ETF: the op that can start earliest goes first, to the device where it can.
//!
//! # Decides
//! Placement, op orders, transfer orders and waits for memory.
//!
//! # Idea
//! A clock runs through the step. At each instant, every idle device proposes the ready op with
//! the earliest start there, counting transfers over busy channels and memory that is not free yet;
//! the earliest proposal is committed.
//!
//! # Paper
//! Hwang, Chow, Anger and Lee, "Scheduling precedence graphs in systems with interprocessor
//! communication times", SIAM J. Comput. 18(2), 1989 (ETF); Jeon et al., "Baechi", SoCC 2020
//! (memory). Rules: `docs/conventions.md`, E1-E6 and M6.
//!
//! # Guarantee
//! None with memory limits and busy channels.
//!
//! # Complexity
//! O(ops x devices x log ops) where memory does not bind and inputs arrive in time; at worst a dry
//! run per commit, ready op and idle device.
//!
//! # Limits
//! Sums of all durations and of all bytes below 2^61.
//!
//! # Example
//! `meshwright place model.onnx --algorithm 'm-etf(variant=reserve)'`

use cost_model::ops::problem::Problem;
use ir::diagnostic::Diagnostic;
use ir::plan::Placement;
use ir::schedule::Schedule;

use crate::draft::{Draft, Orders};
use crate::placement::list_schedule::{Policy, Variant, schedule};
use crate::placement::stopped_early;
use crate::run::Run;
use crate::run::algorithm::{Decide, OptionRow, Options, Row};
use crate::run::no_plan::NoPlan;

/// `variant`.
pub const VARIANT: OptionRow = OptionRow {
    name: "variant",
    unit: "plain|reserve|room",
    default: "plain",
    summary: "reserve: a placed group also keeps room for what its members need while they run; room: nothing goes where it leaves no room for what is still to be placed",
};

/// Options of the row.
pub const OPTIONS: &[OptionRow] = &[VARIANT];

struct MEtf {
    /// See [`VARIANT`].
    variant: Variant,
}

/// Makes the row ready to run.
///
/// # Errors
/// `bad-option`.
pub fn build(options: &Options) -> Result<Row, Diagnostic> {
    Ok(Row::Decide(Box::new(MEtf { variant: variant(options)? })))
}

/// Reads [`VARIANT`].
pub(crate) fn variant(options: &Options) -> Result<Variant, Diagnostic> {
    Ok(match options.word(&VARIANT)? {
        "reserve" => Variant::Reserve,
        "room" => Variant::Room,
        _ => Variant::Plain,
    })
}

impl Decide for MEtf {
    fn decide(&self, run: &Run, draft: Draft) -> Result<Draft, NoPlan> {
        let policy = Policy { variant: self.variant, favourite: Vec::new() };
        let listed = schedule(run.problem(), &policy, &mut || stopped_early(run))?;
        Ok(draft.placed(listed.placement).scheduled(Orders::Full(listed.schedule)))
    }
}

/// m-ETF without a run: for rows that want a first plan.
///
/// # Errors
/// [`NoPlan`] without proof, where memory keeps every ready op out.
pub fn solve(problem: &Problem) -> Result<(Placement, Schedule), NoPlan> {
    let listed = schedule(problem, &Policy::default(), &mut || None)?;
    Ok((listed.placement, listed.schedule))
}
