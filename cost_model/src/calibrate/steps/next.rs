//! Which runs would tell most of what measured steps leave open.
//!
//! Candidates are measured rows with a column changed, where memory holds them. As in
//! [`super::identified`], the logarithm of a step is linear in those of the constants; one after the other
//! that run is chosen whose step narrows their joint distribution most (D-optimal designs: Fedorov,
//! *Theory of Optimal Experiments*, 1972).

use std::collections::BTreeSet;

use ir::card::BlockGroup;
use ir::measured::StepRow;
use nalgebra::DMatrix;

use super::identified::{information, noise, slopes};
use super::rows::check;
use super::set::{Row, Set};
use super::{Context, strange};
use crate::calibrate::thinned;
use crate::runs::forms::constants::{Constant, Constants};

/// Runs that are proposed.
const RUNS: usize = 3;
/// Measured rows of which others are made.
const ORIGINS: usize = 16;
/// Share of a constant's standard error that a run has to take away to be worth measuring.
const GAIN: f64 = 0.1;
/// Seconds of a row that is not measured yet.
const UNMEASURED_S: f64 = 1e6;

/// A run worth measuring.
#[derive(Clone, Debug, PartialEq)]
pub struct NextRun {
    /// Line of the measured row that it changes.
    pub line: u64,
    /// The column that differs, as the table calls it.
    pub column: &'static str,
    /// Its value.
    pub value: u64,
    /// The constant that it tells most of.
    pub constant: Constant,
    /// Standard errors of the logarithm of that constant before and after it.
    pub log_errors: [f64; 2],
}

/// Of a candidate the measured row, the column and its value.
type Change = (u64, &'static str, u64);

/// The runs, the most worth first; fewer where nothing else would tell more.
pub(super) fn next(set: &Set, context: &Context, constants: &Constants) -> Vec<NextRun> {
    let mut seen = BTreeSet::new();
    let mut is_new = |row: &StepRow| seen.insert(strange::configuration(row));
    let rows: Vec<&StepRow> =
        set.rows.iter().map(|row| &row.measured).filter(|row| is_new(row)).collect();
    let origins = thinned(&rows, ORIGINS);
    let all = origins.flat_map(|row| changed(row, set.system.per_host));
    let candidates: Vec<(Change, StepRow)> = all.filter(|(_, row)| is_new(row)).collect();
    // Lines tell candidates apart.
    let number =
        |(at, (_, row)): (usize, &(Change, StepRow))| StepRow { line: at as u64, ..row.clone() };
    let table: Vec<StepRow> = candidates.iter().enumerate().map(number).collect();
    let system = (context.system.clone(), context.stack.clone());
    let others = Set::new("next", &table, context.gradients, system, context.grid_of);
    let fitting: Vec<u64> = others
        .rows
        .iter()
        .filter(|row| others.fits(row, constants))
        .map(|row| row.measured.line)
        .collect();
    let unmeasured = others.samples(|row: &Row| fitting.contains(&row.measured.line));
    let stack = &context.stack;
    let samples = set.samples(|_| true);
    let noise = noise(&samples, stack, constants);
    let all = slopes(&samples, stack, constants, &Constant::ALL) / noise;
    let mut known = information(&all, &Constant::ALL);
    let steps = slopes(&unmeasured, stack, constants, &Constant::ALL) / noise;
    let mut runs: Vec<NextRun> = Vec::new();
    while runs.len() < RUNS {
        let Some(factors) = known.clone().cholesky() else { break };
        let now = factors.inverse();
        let gain = |at: &usize| (steps.row(*at) * &now * steps.row(*at).transpose())[(0, 0)];
        let best = (0..steps.nrows()).max_by(|a, b| gain(a).total_cmp(&gain(b)).then(b.cmp(a)));
        let Some(best) = best else { break };
        known += steps.row(best).transpose() * steps.row(best);
        let Some(factors) = known.clone().cholesky() else { break };
        let of = fitting.get(best).and_then(|at| candidates.get(usize::try_from(*at).ok()?));
        let told = most_told(&now, &factors.inverse());
        let (Some(((line, column, value), _)), Some((constant, log_errors))) = (of, told) else {
            break;
        };
        runs.push(NextRun { line: *line, column, value: *value, constant, log_errors });
    }
    runs
}

/// The constant whose standard error falls most, with it before and after; `None` where none falls by [`GAIN`].
fn most_told(before: &DMatrix<f64>, after: &DMatrix<f64>) -> Option<(Constant, [f64; 2])> {
    let errors = |at: usize| [before, after].map(|variances| variances[(at, at)].max(0.0).sqrt());
    let told = Constant::ALL.into_iter().enumerate().map(|(at, constant)| (constant, errors(at)));
    let left = |[before, after]: [f64; 2]| after / before.max(f64::MIN_POSITIVE);
    let most = told.min_by(|a, b| left(a.1).total_cmp(&left(b.1)))?;
    (left(most.1) < 1.0 - GAIN).then_some(most)
}

/// A row with one column changed in each way that a run of it can have.
fn changed(row: &StepRow, per_host: u64) -> Vec<(Change, StepRow)> {
    let doubled = |value: u64, by: u64| value.saturating_mul(by);
    let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let mut rows = Vec::new();
    for by in [2, 4, 8] {
        let tensor = doubled(u64::from(row.tensor), by);
        let pipeline = doubled(u64::from(row.pipeline), by);
        let micro_batch = doubled(row.micro_batch, by);
        let sequence = doubled(row.sequence, by);
        let gpus = doubled(row.gpus, by);
        let like = || StepRow { time_s: UNMEASURED_S, ..row.clone() };
        rows.extend([
            ("tp", tensor, StepRow { tensor: narrow(tensor), ..like() }),
            ("pp", pipeline, StepRow { pipeline: narrow(pipeline), virtual_stages: 1, ..like() }),
            ("micro_batch", micro_batch, StepRow { micro_batch, ..like() }),
            ("seq", sequence, of_sequence(like(), sequence)),
            ("gpus", gpus, StepRow { gpus, global_batch: doubled(row.global_batch, by), ..like() }),
        ]);
    }
    let settled = rows.into_iter().filter_map(|(column, value, changed)| {
        Some(((row.line, column, value), settled(changed, per_host)?))
    });
    settled.collect()
}

fn of_sequence(mut row: StepRow, sequence: u64) -> StepRow {
    row.sequence = sequence;
    if let Some(model) = &mut row.card {
        model.groups.iter_mut().for_each(|group| group.card.sequence = sequence);
    }
    row
}

/// The row with as many replicas as its devices leave; `None` where its degrees don't divide what they split.
fn settled(row: StepRow, per_host: u64) -> Option<StepRow> {
    let divides = |what: u64, by: u64| by > 0 && what % by == 0;
    let (tensor, pipeline) = (u64::from(row.tensor), u64::from(row.pipeline));
    let of_replica = tensor.saturating_mul(pipeline).saturating_mul(u64::from(row.context));
    let groups: &[BlockGroup] = row.card.as_ref().map_or(&[], |model| &model.groups);
    let heads = groups.first().map(|group| group.card.n_heads).or(row.heads).unwrap_or(tensor);
    let layers = row.card.as_ref().map(|model| u64::from(model.n_blocks()));
    let layers = layers.or(row.layers.map(u64::from)).unwrap_or(pipeline);
    let is_whole = divides(row.gpus, of_replica)
        && divides(heads, tensor)
        && divides(layers, pipeline)
        && tensor <= per_host;
    let data = u32::try_from(row.gpus / of_replica.max(1)).ok()?;
    let expert = u64::from(row.expert.max(1));
    let per_round = u64::from(data).saturating_mul(row.micro_batch);
    let is_whole = is_whole
        && divides(row.global_batch, per_round)
        && divides(u64::from(data).saturating_mul(tensor), expert);
    let row = StepRow { data, ..row };
    (is_whole && check(&row).is_ok()).then_some(row)
}
