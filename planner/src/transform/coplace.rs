//! Co-placement: ops that are hardly worth separating share a device.
//!
//! # Decides
//! Nothing; it adds colocation groups for the rows after it.
//!
//! # Idea
//! An op whose results only one other op reads, or that reads the results of only one other op,
//! gains from another device at most its own time, and pays for the transfer. Where the transfer
//! takes at least as long as the shorter of the two ops, both join one group. With `rule=all` the
//! transfer is not looked at.
//!
//! # Paper
//! Jeon, Cai, Srivastava, Jiang, Ke, Meng, Xie and Gupta, "Baechi: fast device placement of machine
//! learning graphs", SoCC 2020: co-placement of an op with the only reader of its output (here
//! `rule=all`, and only in that direction there). The comparison of times is ours.
//!
//! # Guarantee
//! None: the best plan may separate such a pair.
//!
//! # Complexity
//! O(E log E) for E op pairs.
//!
//! # Limits
//! A group grows up to a share of the smallest memory limit and of the whole work.
//!
//! # Example
//! `meshwright plan model.onnx --cluster box.yaml --algorithm coplace,m-etf`

use std::sync::Arc;

use cost_model::ops::problem::Problem;
use ir::diagnostic::Diagnostic;
use ir::id::OpId;

use super::tie::{Allowance, Amount, Sets, Unchanged, edges, least_transfer, members, tied};
use crate::run::algorithm::{OptionRow, Options, Row, Transform, Transformed, bad_option};
use crate::run::no_plan::{NoPlan, Reason};

const RULE: OptionRow = OptionRow {
    name: "rule",
    unit: "costly|all",
    default: "costly",
    summary: "whether only pairs with a costly transfer share a device, or all with one reader",
};

const SHARE: OptionRow = OptionRow {
    name: "share",
    unit: "fraction of 0 to 1",
    default: "0.1",
    summary: "part of the smallest memory limit, and of the work, that one group amounts to at most",
};

/// Options of the row.
pub const OPTIONS: &[OptionRow] = &[RULE, SHARE];

/// Which pairs share a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Those whose transfer takes at least as long as the shorter op.
    Costly,
    /// All with an only reader or an only producer.
    All,
}

struct Coplace {
    rule: Rule,
    share: f64,
}

/// Makes the row ready.
///
/// # Errors
/// `bad-option`.
pub fn build(options: &Options) -> Result<Row, Diagnostic> {
    let rule = match options.word(&RULE)? {
        "all" => Rule::All,
        _ => Rule::Costly,
    };
    let share = options.real(&SHARE)?;
    if !(0.0..=1.0).contains(&share) {
        return Err(bad_option(&SHARE, options.text(&SHARE)));
    }
    Ok(Row::Transform(Box::new(Coplace { rule, share })))
}

impl Transform for Coplace {
    fn apply(&self, problem: &Arc<Problem>) -> Result<Transformed, NoPlan> {
        let sets = solve(problem, self.rule, self.share);
        let n_tied: usize = sets.iter().map(Vec::len).sum();
        let facts = vec![("groups", sets.len().into()), ("ops", n_tied.into())];
        let problem = tied(problem, sets).map_err(|error| NoPlan::new(Reason::NoDevice, error))?;
        Ok(Transformed { problem: Arc::new(problem), lift: Box::new(Unchanged), facts })
    }
}

/// Sets of ops that share a device, each of at least two, in order of their first members.
#[must_use]
pub fn solve(problem: &Problem, rule: Rule, share: f64) -> Vec<Vec<OpId>> {
    let order = problem.topological_order();
    let edges = edges(problem, &order);
    let mut n_out = vec![0usize; order.len()];
    let mut n_in = vec![0usize; order.len()];
    for edge in &edges {
        n_out[edge.from] += 1;
        n_in[edge.to] += 1;
    }
    let allowance = Allowance::new(problem, share);
    let mut amounts: Vec<Amount> = order.iter().map(|op| Amount::of(problem, *op)).collect();
    let mut sets = Sets::new(order.len());
    for edge in edges {
        let (producer, consumer) = (order[edge.from], order[edge.to]);
        let only = n_out[edge.from] == 1 || n_in[edge.to] == 1;
        let shorter = problem.least_time_ns(producer).min(problem.least_time_ns(consumer));
        let costly = least_transfer(problem, edge.tensor).is_some_and(|t| t >= shorter);
        let alike = problem.placeable(producer) == problem.placeable(consumer);
        let (a, b) = (sets.find(edge.from), sets.find(edge.to));
        let together = amounts[a].plus(amounts[b]);
        if only && alike && a != b && (costly || rule == Rule::All) && allowance.admits(&together) {
            sets.join(a, b);
            amounts[a.min(b)] = together;
        }
    }
    members(&order, &mut sets)
}
