//! HEFT: ops by their way to the end, each where it ends first.
//!
//! # Decides
//! Placement, op orders, transfer orders and waits for memory.
//!
//! # Idea
//! Ops are taken by descending upward rank, the longest way to the end with mean times and mean
//! transfers. Each goes to the device where it ends first, into a gap between earlier ones if one
//! is long enough. Where an op fits nowhere once its turn comes, all is scheduled once more, with room
//! kept for what is still to be placed (`variant=room` of m-ETF).
//!
//! # Paper
//! Topcuoglu, Hariri and Wu, "Performance-effective and low-complexity task scheduling for
//! heterogeneous computing", IEEE TPDS 13(3), 2002. Transfers wait for their channels, and for
//! memory as M6 of `docs/conventions.md` says.
//!
//! # Guarantee
//! None.
//!
//! # Complexity
//! O(ops x devices x inputs) searches for a gap.
//!
//! # Limits
//! Sums of all durations and of all bytes below 2^61.
//!
//! # Example
//! `meshwright place model.onnx --algorithm heft`

use ir::diagnostic::Diagnostic;

use crate::draft::{Draft, Orders};
use crate::placement::list_schedule::heft::{Look, schedule};
use crate::placement::stopped_early;
use crate::run::Run;
use crate::run::algorithm::{Decide, Options, Row};
use crate::run::no_plan::NoPlan;

struct Heft;

/// Makes the row ready to run.
///
/// # Errors
/// None: it has no options.
pub fn build(_: &Options) -> Result<Row, Diagnostic> {
    Ok(Row::Decide(Box::new(Heft)))
}

impl Decide for Heft {
    fn decide(&self, run: &Run, draft: Draft) -> Result<Draft, NoPlan> {
        let listed = schedule(run.problem(), Look::Here, &mut || stopped_early(run))?;
        Ok(draft.placed(listed.placement).scheduled(Orders::Full(listed.schedule)))
    }
}
