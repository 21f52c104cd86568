//! Chains: ops that only follow one another share a device.
//!
//! # Decides
//! Nothing; it adds colocation groups for the rows after it.
//!
//! # Idea
//! Where an op's results go to one other op alone, and that op reads from it alone, nothing runs
//! beside the two: to part them costs a transfer and gains only balance. Such pairs are joined
//! along the chain until a chain amounts to its share.
//!
//! # Paper
//! Karypis and Kumar, "A fast and high quality multilevel scheme for partitioning irregular
//! graphs", SIAM J. Sci. Comput. 20(1), 1998: coarsening by contraction. The choice of pairs is
//! ours.
//!
//! # Guarantee
//! Ops keep their costs, so that a plan costs the same with the groups and without them.
//!
//! # Complexity
//! O(E log E) for E op pairs.
//!
//! # Limits
//! A chain grows up to a share of the smallest memory limit and of an even share of the work.
//!
//! # Example
//! `meshwright place model.onnx --cluster box.yaml --algorithm chains,m-etf`

use std::sync::Arc;

use cost_model::ops::problem::Problem;
use ir::diagnostic::Diagnostic;
use ir::id::OpId;

use super::tie::{Allowance, joined, share, tied};
use crate::run::algorithm::{OptionRow, Options, Row, Transform, Transformed};
use crate::run::no_plan::NoPlan;

const SHARE: OptionRow = OptionRow {
    name: "share",
    unit: "fraction of 0 to 1",
    default: "0.1",
    summary: "part of the smallest memory limit, and of one device's share of the work, that one chain amounts to at most",
};

/// Options of the row.
pub const OPTIONS: &[OptionRow] = &[SHARE];

struct Chains {
    share: f64,
}

/// Makes the row ready.
///
/// # Errors
/// `bad-option`.
pub fn build(options: &Options) -> Result<Row, Diagnostic> {
    let share = share(options, &SHARE)?;
    Ok(Row::Transform(Box::new(Chains { share })))
}

impl Transform for Chains {
    fn apply(&self, problem: &Arc<Problem>) -> Result<Transformed, NoPlan> {
        let sets = solve(problem, self.share);
        let n_tied: usize = sets.iter().map(Vec::len).sum();
        let facts = vec![("chains", sets.len().into()), ("ops", n_tied.into())];
        tied(problem, sets, facts)
    }
}

/// The chains of at least two ops, in order of their first members.
#[must_use]
pub fn solve(problem: &Problem, share: f64) -> Vec<Vec<OpId>> {
    let allowance = Allowance::per_device(problem, share);
    joined(problem, &allowance, |_, _, [reads, writes]| reads && writes)
}
