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
//! `meshwright place model.onnx --cluster box.yaml --algorithm coplace,m-etf`

use std::sync::Arc;

use cost_model::ops::problem::Problem;
use ir::diagnostic::Diagnostic;
use ir::id::OpId;

use super::tie::{Allowance, joined, least_transfer, share, tied};
use crate::run::algorithm::{OptionRow, Options, Row, Transform, Transformed};
use crate::run::no_plan::NoPlan;

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
    let share = share(options, &SHARE)?;
    Ok(Row::Transform(Box::new(Coplace { rule, share })))
}

impl Transform for Coplace {
    fn apply(&self, problem: &Arc<Problem>) -> Result<Transformed, NoPlan> {
        let sets = solve(problem, self.rule, self.share);
        let n_tied: usize = sets.iter().map(Vec::len).sum();
        let facts = vec![("groups", sets.len().into()), ("ops", n_tied.into())];
        tied(problem, sets, facts)
    }
}

/// Sets of ops that share a device, each of at least two, in order of their first members.
#[must_use]
pub fn solve(problem: &Problem, rule: Rule, share: f64) -> Vec<Vec<OpId>> {
    joined(
        problem,
        &Allowance::new(problem, share),
        |edge, [producer, consumer], [reads, writes]| {
            let shorter = problem.least_time_ns(producer).min(problem.least_time_ns(consumer));
            let is_costly = || least_transfer(problem, edge.tensor).is_some_and(|t| t >= shorter);
            (reads || writes) && (rule == Rule::All || is_costly())
        },
    )
}
