//! Contiguous stages whose slowest one is as fast as can be.
//!
//! # Decides
//! Which blocks each stage holds.
//!
//! # Idea
//! The best rest of the chain from a block on depends on nothing before it.
//!
//! # Paper
//! Bokhari, IEEE TC 37(1), 1988, chains on chains; Pinar and Aykanat, JPDC 64, 2004.
//!
//! # Guarantee
//! Optimal: the greatest time of forward and backward pass of a stage, in the order of the slots,
//! within the memory of each under 1F1B. Ties go to the earlier ends.
//!
//! # Complexity
//! O(N^2 p).
//!
//! # Limits
//! The order of the slots is given.
//!
//! # Example
//! Blocks of 3, 1, 1 and 3 ns on two stages: 4 and 4.

use ir::diagnostic::Diagnostic;
use ir::units::Nanos;

use super::{Chain, Ends};

/// The ends of the stages and the time of the slowest; `None` if no cut fits into the memory.
///
/// # Errors
/// As [`Chain::check`].
pub fn solve(chain: &Chain) -> Result<Option<(Nanos, Ends)>, Diagnostic> {
    chain.check()?;
    let table =
        chain.table(|_, _, _, costs| (costs.forward.get()).saturating_add(costs.backward.get()));
    let rest = table.rest();
    Ok(table.cut(&rest).map(|ends| (Nanos(rest[0][0]), ends)))
}
