//! m-SCT: m-ETF that keeps a device free for the favourite child of its last op.
//!
//! # Decides
//! Placement, op orders, transfer orders and waits for memory.
//!
//! # Idea
//! A linear program without memory and with unlimited devices says which consumer should follow
//! each op on the same device. When the op ends and nowhere is better for that favourite, its
//! device stays awake for it and takes only it, or ops that are late everywhere.
//!
//! # Paper
//! Hanen and Munier, "An approximation algorithm for scheduling dependent tasks on m processors
//! with small communication delays", ETFA 1995 (SCT); Jeon et al., "Baechi", SoCC 2020 (memory, and
//! the threshold). Rules: `docs/conventions.md`, S1-S5.
//!
//! # Guarantee
//! None with memory limits and busy channels.
//!
//! # Complexity
//! The linear program: ops + edges variables, 2 x ops + edges rows. Then as m-ETF, with all ready
//! ops looked at on awake devices.
//!
//! # Limits
//! Those of m-ETF. A program that is not solved in half of the time limit is replaced by "each
//! op's dearest edge", with a warning.
//!
//! # Example
//! `meshwright place model.onnx --algorithm 'm-sct(theta=0.2)'`

mod favourites;
mod program;

use std::time::Duration;

use cost_model::ops::problem::Problem;
use ir::diagnostic::Diagnostic;
use ir::id::OpId;

use self::favourites::{dearest, edges, match_greedily};
use self::program::{Limits, Relaxation, relax};
use crate::draft::{Draft, Orders};
use crate::placement::list_schedule::{Policy, Variant, schedule};
use crate::placement::{m_etf, stopped_early};
use crate::run::Run;
use crate::run::algorithm::{Decide, OptionRow, Options, Row};
use crate::run::no_plan::NoPlan;

/// `theta`.
pub const THETA: OptionRow = OptionRow {
    name: "theta",
    unit: "0 to 1",
    default: "0.1",
    summary: "an edge can be a favourite up to this value in the linear program",
};

/// Options of the row.
pub const OPTIONS: &[OptionRow] = &[THETA, m_etf::VARIANT];

struct MSct {
    /// See [`THETA`].
    theta: f64,
    /// See [`m_etf::VARIANT`].
    variant: Variant,
}

/// Makes the row ready to run.
///
/// # Errors
/// `bad-option`.
pub fn build(options: &Options) -> Result<Row, Diagnostic> {
    let theta = options.real(&THETA)?;
    if !(0.0..=1.0).contains(&theta) {
        return Err(crate::run::algorithm::bad_option(&THETA, options.text(&THETA)));
    }
    Ok(Row::Decide(Box::new(MSct { theta, variant: m_etf::variant(options)? })))
}

/// Nodes of a budget that a simplex iteration stands for: about the work of one on programs of a
/// few thousand rows.
const NODES_PER_ITERATION: u64 = 1_000;

impl Decide for MSct {
    fn decide(&self, run: &Run, draft: Draft) -> Result<Draft, NoPlan> {
        let problem = run.problem();
        let limits = Limits {
            // Half of what is left, so that the schedule itself is never short of time.
            time: run.time_left().map(|left| left / 2),
            iterations: run.nodes_left().map(|nodes| nodes.div_ceil(NODES_PER_ITERATION)),
        };
        let solved = solve_program(problem, self.theta, limits);
        run.note("program", solved.verdict);
        run.note("favourites", solved.favourite.iter().flatten().count());
        if let Some(warning) = solved.warning {
            run.warn(warning);
        }
        let policy = Policy { variant: self.variant, favourite: solved.favourite };
        let listed = schedule(problem, &policy, &mut || stopped_early(run))?;
        Ok(draft.placed(listed.placement).scheduled(Orders::Full(listed.schedule)))
    }
}

/// Favourites and how they came about.
struct Solved {
    favourite: Vec<Option<OpId>>,
    verdict: &'static str,
    warning: Option<Diagnostic>,
}

/// S1 to S3: the program, or what stands in for it, and the matching.
fn solve_program(problem: &Problem, theta: f64, limits: Limits) -> Solved {
    let edges = edges(problem);
    let (x, verdict, warning) = match relax(problem, &edges, limits) {
        Relaxation::Optimal(x) => (x, "optimal", None),
        Relaxation::NotSolved(why) => (dearest(problem, &edges), why, Some(fallback(why))),
    };
    let favourite = match_greedily(problem, &edges, &x, theta);
    Solved { favourite, verdict, warning }
}

fn fallback(why: &'static str) -> Diagnostic {
    Diagnostic::warning(
        "program-not-solved",
        "the linear program of `m-sct` was not solved; each op's dearest edge stands in for it",
    )
    .fact("verdict", why)
    .hint("raise the time limit, or use `m-etf`")
}

/// The favourite child of each op by id, for tests and explanations.
///
/// `theta` is the threshold of S2, `time` the limit of the linear program.
#[must_use]
pub fn solve(problem: &Problem, theta: f64, time: Option<Duration>) -> Vec<Option<OpId>> {
    solve_program(problem, theta, Limits { time, iterations: None }).favourite
}

#[cfg(test)]
mod tests;
