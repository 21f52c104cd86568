//! Repeated blocks: identical layers are found by structure, cut once, and all cut alike.
//!
//! # Decides
//! Nothing; it adds colocation groups for the rows after it.
//!
//! # Idea
//! In a depth-first line, identical layers stand as equal stretches one after the other. Each op
//! gets a fingerprint of its costs and of where its inputs stand relative to it; the most common
//! distance between equal contexts is the period; stretches in which every fingerprint comes again
//! one period later are the repeated blocks. Where one block ends and the next begins is the place
//! with the fewest bytes across it. One block is then cut into pieces with the fewest bytes between
//! them, no piece larger than its share; every other block is cut at the same places.
//!
//! # Paper
//! None. Fingerprints by neighbourhood are those of Weisfeiler and Lehman, 1968.
//!
//! # Guarantee
//! Ops keep their costs, so that a plan costs the same with the groups and without them.
//!
//! # Complexity
//! O(ops + edges), and O(period x ops of a piece) for the cuts.
//!
//! # Limits
//! Periods of up to 8,192 ops, the three most common of a model. A piece grows up to a share of the
//! smallest memory limit and of one device's share of the work.
//!
//! # Example
//! `meshwright place model.onnx --cluster pod.yaml --objective max-load --algorithm repeat,orders`

pub(crate) mod cut;
pub(crate) mod fingerprint;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use cost_model::ops::problem::Problem;
use ir::diagnostic::Diagnostic;
use ir::id::OpId;

use super::tie::{Allowance, share, tied};
use crate::line;
use crate::run::algorithm::{OptionRow, Options, Row, Transform, Transformed};
use crate::run::no_plan::NoPlan;

const SHARE: OptionRow = OptionRow {
    name: "share",
    unit: "fraction of 0 to 1",
    default: "0.02",
    summary: "part of the smallest memory limit, and of one device's share of the work, that one piece amounts to at most",
};

/// Options of the row.
pub const OPTIONS: &[OptionRow] = &[SHARE];

/// How many periods are looked for.
const N_PERIODS: usize = 3;
/// Least part of the line that a period has to account for: one in so many.
const LEAST_PART: usize = 20;

struct Repeat {
    share: f64,
}

/// Makes the row ready.
///
/// # Errors
/// `bad-option`.
pub fn build(options: &Options) -> Result<Row, Diagnostic> {
    let share = share(options, &SHARE)?;
    Ok(Row::Transform(Box::new(Repeat { share })))
}

impl Transform for Repeat {
    fn apply(&self, problem: &Arc<Problem>) -> Result<Transformed, NoPlan> {
        let found = solve(problem, self.share);
        let n_blocks: usize = found.stretches.iter().map(Stretch::n_blocks).sum();
        let facts = vec![
            ("stretches", found.stretches.len().into()),
            ("blocks", n_blocks.into()),
            ("pieces", found.sets.len().into()),
        ];
        tied(problem, found.sets, facts)
    }
}

/// A part of the line in which a block comes again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// First position.
    pub start: usize,
    /// Position after the last.
    pub end: usize,
    /// Ops of a block.
    pub period: usize,
}

impl Stretch {
    /// Whole blocks.
    #[must_use]
    pub fn n_blocks(&self) -> usize {
        (self.end - self.start) / self.period.max(1)
    }
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Repeated {
    /// Repeated blocks, from where the first one begins, in the order of the line.
    pub stretches: Vec<Stretch>,
    /// Pieces of at least two ops.
    pub sets: Vec<Vec<OpId>>,
}

/// Finds the repeated blocks and cuts them.
#[must_use]
pub fn solve(problem: &Problem, share: f64) -> Repeated {
    let line = line::depth_first(problem);
    let across = cut::bytes_across(problem, &line);
    let allowance = Allowance::per_device(problem, share);
    let hashes = fingerprint::own(problem, &line);
    let mut repeated = Repeated::default();
    let mut is_taken = vec![false; line.len()];
    for period in fingerprint::periods(&hashes, N_PERIODS, LEAST_PART) {
        let marks = fingerprint::in_context(problem, &line, &hashes, period);
        for stretch in fingerprint::stretches(&marks, period, &is_taken) {
            let Some(stretch) = cut::aligned(stretch, &across) else { continue };
            let pieces = cut::pieces(problem, &line, &stretch, &across, &allowance);
            for block in 0..stretch.n_blocks() {
                let base = stretch.start + block * period;
                for range in &pieces {
                    let ops = &line[base + range.start..base + range.end];
                    repeated.sets.extend(alike(problem, ops));
                }
            }
            is_taken[stretch.start..stretch.start + stretch.n_blocks() * period].fill(true);
            repeated.stretches.push(stretch);
        }
    }
    repeated.stretches.sort_unstable_by_key(|stretch| stretch.start);
    repeated.sets.sort_unstable();
    repeated
}

/// Ops of a piece that can go to the same devices, at least two together.
fn alike(problem: &Problem, ops: &[OpId]) -> Vec<Vec<OpId>> {
    let mut sets: Vec<Vec<OpId>> = Vec::new();
    for &op in ops {
        match sets.iter_mut().find(|set| problem.placeable(set[0]) == problem.placeable(op)) {
            Some(set) => set.push(op),
            None => sets.push(vec![op]),
        }
    }
    sets.retain(|set| set.len() > 1);
    sets.iter_mut().for_each(|set| set.sort_unstable());
    sets
}
