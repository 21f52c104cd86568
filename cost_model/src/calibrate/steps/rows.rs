//! Rows that a calibration takes: those that can be of a run, each once, and no more than help.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use ir::diagnostic::Diagnostic;
use ir::measured::StepRow;

use super::set::Set;

/// Most blocks of a model.
pub const MOST_BLOCKS: u64 = 4_096;
/// Most passes of one row's schedule.
const MOST_PASSES: u64 = 1 << 22;
/// Rows, chunks and passes of all rows together from which on an even sample is taken.
const BUDGET: [u64; 3] = [2_000, 20_000, 1 << 25];
/// Shortest and longest step that is believed, in seconds.
const TIMES: (f64, f64) = (1e-6, 1e6);

/// Passes and chunks of a row's schedule.
fn size(row: &StepRow) -> (u64, u64) {
    let chunks = u64::from(row.pipeline).saturating_mul(u64::from(row.virtual_stages));
    (chunks, chunks.saturating_mul(row.n_micro_batches()).saturating_mul(2))
}

/// Refuses a row that no run has.
///
/// # Errors
/// `step-out-of-range` with the row and the column, as the table calls it: counts that are beyond
/// any model or cluster, more pipeline chunks than blocks, schedules of too many passes, times
/// outside 1 us to 10^6 s.
pub fn check(row: &StepRow) -> Result<(), Diagnostic> {
    let (chunks, passes) = size(row);
    let counts = [
        ("layers", u64::from(row.layers.unwrap_or(1)), MOST_BLOCKS),
        ("hidden", row.hidden, 1 << 17),
        ("heads", row.heads.unwrap_or(1), row.hidden),
        ("seq", row.sequence, 1 << 22),
        ("vocab", row.vocabulary.unwrap_or(1), 1 << 24),
        ("gpus", row.gpus, 1 << 20),
        ("tp", u64::from(row.tensor), 1 << 16),
        ("cp", u64::from(row.context), 1 << 16),
        ("ep", u64::from(row.expert), 1 << 16),
        ("pp", chunks, row.layers.map_or(MOST_BLOCKS, u64::from)),
        ("micro_batch", row.micro_batch, 1 << 14),
        ("global_batch", passes, MOST_PASSES),
    ];
    if let Some((column, count, most)) = counts.into_iter().find(|(_, count, most)| count > most) {
        let what = match column {
            "pp" => "chunks of the pipeline, `pp` x `virtual_pp`,".to_owned(),
            "global_batch" => "passes of its schedule".to_owned(),
            _ => format!("`{column}`"),
        };
        let message = format!("{what} of {count} is more than {most}");
        return Err(out_of_range(message, row, column));
    }
    let (least, most) = TIMES;
    if !(least..=most).contains(&row.time_s) {
        let message = format!("a step of {} s is outside {least} to {most} s", row.time_s);
        return Err(out_of_range(message, row, "iter_s"));
    }
    Ok(())
}

fn out_of_range(message: String, row: &StepRow, column: &'static str) -> Diagnostic {
    Diagnostic::input("step-out-of-range", message).fact("row", row.line).fact("column", column)
}

/// Rows that take part: checked, each once, an even sample of very many.
pub(super) fn usable(
    measured: &[StepRow],
    warnings: &mut Vec<Diagnostic>,
) -> Result<Vec<StepRow>, Diagnostic> {
    let mut seen = HashSet::new();
    let mut rows = Vec::new();
    let mut repeated = Vec::new();
    for row in measured {
        check(row)?;
        if seen.insert(content(row)) { rows.push(row) } else { repeated.push(row.line) }
    }
    if let Some(first) = repeated.first() {
        let message = format!(
            "{} rows repeat another one and count once, the first is row {first}",
            repeated.len()
        );
        warnings.push(Diagnostic::warning("duplicate-row", message).fact("row", *first));
    }
    let mut needed = [rows.len() as u64, 0, 0];
    for (chunks, passes) in rows.iter().map(|row| size(row)) {
        needed[1] += chunks;
        needed[2] = needed[2].saturating_add(passes);
    }
    let share = BUDGET.iter().zip(needed).map(|(budget, need)| *budget as f64 / need.max(1) as f64);
    let share = share.fold(1.0, f64::min);
    let n_kept = ((rows.len() as f64 * share) as usize).max(1);
    if n_kept < rows.len() {
        let message = format!("an even sample of {n_kept} of {} rows takes part", rows.len());
        warnings.push(Diagnostic::warning("rows-thinned", message));
    }
    Ok(super::super::thinned(&rows, n_kept).map(|row| (*row).clone()).collect())
}

/// What tells rows apart: everything but the line.
fn content(row: &StepRow) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{:?}", StepRow { line: 0, ..row.clone() }).hash(&mut hasher);
    hasher.finish()
}

/// Warns of rows that were faster than the devices can be, and refuses what is left of none.
pub(super) fn check_set(set: &Set, warnings: &mut Vec<Diagnostic>) -> Result<(), Diagnostic> {
    if !set.refused.is_empty() {
        let message = "steps that are faster than the devices' peak rate allows were left out";
        let lines: Vec<String> = set.refused.iter().map(u64::to_string).collect();
        warnings.push(Diagnostic::warning("step-too-fast", message).fact("rows", lines));
    }
    if let Some(row) = set.rows.iter().find(|row| u64::from(row.run.model.n_blocks()) > MOST_BLOCKS)
    {
        let message = "the blocks that follow from the stated size are too many".to_owned();
        return Err(out_of_range(message, &row.measured, "model"));
    }
    if set.rows.is_empty() {
        let error = Diagnostic::input("nothing-calibrated", "no measured step is left to fit");
        return Err(match set.refused.first() {
            None => error,
            Some(line) => error
                .fact("row", *line)
                .fact("column", "iter_s")
                .hint("steps faster than the devices' peak rate allows count as slips"),
        });
    }
    Ok(())
}
