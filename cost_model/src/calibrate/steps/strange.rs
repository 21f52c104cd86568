//! Measured steps that say little of others: rows far off all the rest, and rows that are all alike.

use std::collections::BTreeSet;

use ir::diagnostic::Diagnostic;
use ir::measured::StepRow;
use ir::stack::Stack;

use super::{DANGEROUS, NORMAL};
use crate::runs::forms::constants::Constants;
use crate::runs::forms::corrections::Corrections;
use crate::runs::forms::fit::Sample;
use crate::runs::forms::step::closed_forms;

/// A row is an outlier from this factor off the median row on, ...
const FAR: f64 = 2.0;
/// of fewer rows than make a calibration from this one on, ...
const FAR_OF_FEW: f64 = 4.0;
/// with at least two others that agree, ...
const LEAST: usize = 3;
/// ... and from so many standard deviations of the rows.
const DEVIATIONS: f64 = 5.0;
/// Rows are of one kind where there are no more configurations than this.
const ALIKE: usize = 2;

/// Positions of the rows that are far off what all the others say together. The fit is robust, so a
/// few of them barely move what it finds. Of a few rows only those that no run explains, where others agree.
pub(super) fn outliers(samples: &[Sample<'_>], stack: &Stack, constants: &Constants) -> Vec<usize> {
    let far = match samples.len() {
        0..LEAST => return Vec::new(),
        LEAST..DANGEROUS => FAR_OF_FEW,
        _ => FAR,
    };
    let times = closed_forms(samples, stack, constants, &Corrections::default());
    let off: Vec<f64> =
        samples.iter().zip(&times).map(|(sample, time)| (sample.time_s / time).ln()).collect();
    let middle = median(&off);
    let apart: Vec<f64> = off.iter().map(|ratio| (ratio - middle).abs()).collect();
    let least = far.ln().max(DEVIATIONS * NORMAL * median(&apart));
    (0..apart.len()).filter(|at| apart[*at] > least).collect()
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// A warning of rows that are left out of the fit.
pub(super) fn left_out(lines: &[u64]) -> Option<Diagnostic> {
    let (n, shown) = (lines.len(), lines.iter().take(8).map(u64::to_string));
    let message = format!(
        "{n} rows are more than {FAR} times off what the others say, and are left out of the fit: {}{}",
        shown.collect::<Vec<_>>().join(", "),
        if n > 8 { ", .." } else { "" }
    );
    (n > 0).then(|| {
        Diagnostic::warning("outlier-steps", message)
            .fact("rows", lines.iter().map(u64::to_string).collect::<Vec<_>>())
            .hint("measure these rows again, or take them out of the table")
    })
}

/// Configurations among rows: what is repeated tells no more constants than one row.
pub(super) fn n_configurations<'r>(rows: impl Iterator<Item = &'r StepRow>) -> usize {
    rows.map(configuration).collect::<BTreeSet<_>>().len()
}

/// What tells the configuration of a row.
pub(super) fn configuration(row: &StepRow) -> impl Ord + use<> {
    (kind(row), row.sequence, row.layers, row.gpus, row.global_batch)
}

type Kind = (u64, u32, u32, u64);

fn kind(row: &StepRow) -> Kind {
    (row.hidden, row.tensor, row.pipeline, row.micro_batch)
}

/// A warning of rows of one or two kinds: nothing says how steps of others differ.
pub(super) fn of_one_kind(rows: &[&StepRow]) -> Option<Diagnostic> {
    let kinds: BTreeSet<Kind> = rows.iter().map(|row| kind(row)).collect();
    let words = |(hidden, tensor, pipeline, micro_batch): &Kind| {
        format!("hidden {hidden}, tensor {tensor}, pipeline {pipeline}, micro-batch {micro_batch}")
    };
    let named: Vec<String> = kinds.iter().take(ALIKE).map(words).collect();
    let message = format!(
        "all {} rows have {}: steps of other kinds may be predicted worse than before",
        rows.len(),
        named.join(", or ")
    );
    let is_alike = kinds.len() <= ALIKE && rows.len() >= DANGEROUS;
    is_alike.then(|| {
        Diagnostic::warning("one-kind", message)
            .fact("kinds", kinds.len())
            .hint("measure other hidden sizes, degrees and micro-batches as well")
    })
}
