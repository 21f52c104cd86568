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
//! `meshwright plan model.onnx --cluster box.yaml --algorithm chains,m-etf`

use std::sync::Arc;

use cost_model::ops::problem::Problem;
use ir::diagnostic::Diagnostic;
use ir::id::OpId;

use super::tie::{Allowance, Amount, Sets, Unchanged, edges, members, tied};
use crate::run::algorithm::{OptionRow, Options, Row, Transform, Transformed, bad_option};
use crate::run::no_plan::{NoPlan, Reason};

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
    let share = options.real(&SHARE)?;
    if !(0.0..=1.0).contains(&share) {
        return Err(bad_option(&SHARE, options.text(&SHARE)));
    }
    Ok(Row::Transform(Box::new(Chains { share })))
}

impl Transform for Chains {
    fn apply(&self, problem: &Arc<Problem>) -> Result<Transformed, NoPlan> {
        let sets = solve(problem, self.share);
        let n_tied: usize = sets.iter().map(Vec::len).sum();
        let facts = vec![("chains", sets.len().into()), ("ops", n_tied.into())];
        let problem = tied(problem, sets).map_err(|error| NoPlan::new(Reason::NoDevice, error))?;
        Ok(Transformed { problem: Arc::new(problem), lift: Box::new(Unchanged), facts })
    }
}

/// The chains of at least two ops, in order of their first members.
#[must_use]
pub fn solve(problem: &Problem, share: f64) -> Vec<Vec<OpId>> {
    let order = problem.topological_order();
    let edges = edges(problem, &order);
    let mut n_out = vec![0usize; order.len()];
    let mut n_in = vec![0usize; order.len()];
    for edge in &edges {
        n_out[edge.from] += 1;
        n_in[edge.to] += 1;
    }
    let allowance = Allowance::per_device(problem, share);
    let mut amounts: Vec<Amount> = order.iter().map(|op| Amount::of(problem, *op)).collect();
    let mut sets = Sets::new(order.len());
    for edge in edges {
        let (producer, consumer) = (order[edge.from], order[edge.to]);
        let follows = n_out[edge.from] == 1 && n_in[edge.to] == 1;
        let alike = problem.placeable(producer) == problem.placeable(consumer);
        let (a, b) = (sets.find(edge.from), sets.find(edge.to));
        let together = amounts[a].plus(amounts[b]);
        if follows && alike && a != b && allowance.admits(&together) {
            sets.join(a, b);
            amounts[a.min(b)] = together;
        }
    }
    members(&order, &mut sets)
}
