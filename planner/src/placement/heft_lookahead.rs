//! HEFT that looks at the children of an op before it chooses a device.
//!
//! # Decides
//! Placement, op orders, transfer orders and waits for memory.
//!
//! # Idea
//! As HEFT, but an op goes to the device from which the last of its children could end first, each
//! child where that is soonest; ties are broken by the end of the op itself.
//!
//! # Paper
//! Bittencourt, Sakellariou and Madeira, "DAG scheduling using a lookahead variant of the
//! heterogeneous earliest finish time algorithm", PDP 2010. Transfers wait for their channels, and
//! for memory as M6 of `docs/conventions.md` says.
//!
//! # Guarantee
//! None.
//!
//! # Complexity
//! That of HEFT, and for each op and device a look at up to 16 children on all devices.
//!
//! # Limits
//! Those of HEFT. Children are looked at without memory, without their other producers that have no
//! place yet, and without clashes among their own inputs.
//!
//! # Example
//! `meshwright place model.onnx --algorithm heft-lookahead`

use ir::diagnostic::Diagnostic;

use crate::draft::{Draft, Orders};
use crate::placement::list_schedule::heft::{Look, schedule};
use crate::placement::stopped_early;
use crate::run::Run;
use crate::run::algorithm::{Decide, Options, Row};
use crate::run::no_plan::NoPlan;

struct HeftLookahead;

/// Makes the row ready to run.
///
/// # Errors
/// None: it has no options.
pub fn build(_: &Options) -> Result<Row, Diagnostic> {
    Ok(Row::Decide(Box::new(HeftLookahead)))
}

impl Decide for HeftLookahead {
    fn decide(&self, run: &Run, draft: Draft) -> Result<Draft, NoPlan> {
        let listed = schedule(run.problem(), Look::Ahead, &mut || stopped_early(run))?;
        Ok(draft.placed(listed.placement).scheduled(Orders::Full(listed.schedule)))
    }
}
