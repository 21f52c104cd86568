//! Long runs, judged by their beginning and their end.
//!
//! Between filling and draining most schedules repeat themselves: with some micro-batches more, each
//! row has the same cells once more in the middle. If in the middle every cell and every transfer
//! comes by one and the same time later than its equal one period before, over as many micro-batches
//! as anything reaches, then so does all that follows, and each further period prolongs the step by
//! that time and adds to all sums what the first one added. Where no such middle is found, the whole
//! grid is judged. Either way the report is that of the whole grid.

use ir::grid::Grid;
use ir::units::Nanos;

use super::costs::PipelineCosts;
use super::lower::Lowered;
use super::report::{self, Report};
use super::timeline::{Timeline, UNKNOWN};
use super::violation::Violation;
use super::{memory, replay, structure};

/// Times that the part before the middle is doubled until the middle repeats itself.
const DOUBLINGS: u32 = 5;
/// Periods after which the middle may repeat itself, at most.
const MOST_TURNS: u32 = 6;
/// Kinds of passes.
const PASSES: usize = 5;

/// How the grids of a schedule repeat themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steady {
    /// Micro-batches with which each row has the same cells once more.
    pub period: u32,
    /// Micro-batches that are under way at once, at most.
    pub span: u32,
}

impl Steady {
    /// The fewest micro-batches, as many as `m` modulo the period, that have a middle behind so many
    /// others; `m` itself where it has none to spare.
    #[must_use]
    pub fn shortest(&self, m: u32, head: u32) -> u32 {
        let least = u64::from(head) + 2 * u64::from(self.span) + u64::from(self.period);
        match u64::from(m).checked_sub(least) {
            Some(rest) if self.period > 0 => {
                u32::try_from(least + rest % u64::from(self.period)).unwrap_or(m)
            }
            _ => m,
        }
    }
}

/// When everything of a grid happens.
fn replayed<'a>(
    costs: &'a PipelineCosts,
    grid: &'a Grid,
) -> Result<(Lowered<'a>, Timeline), Violation> {
    let lowered = Lowered::new(costs, grid)?;
    let timeline = replay::replay(&lowered)?;
    Ok((lowered, timeline))
}

fn told((lowered, timeline): &(Lowered<'_>, Timeline)) -> Report {
    report::report(lowered, timeline, &memory::trace(lowered, timeline))
}

/// The report of a run whose grid a generator makes for any number of micro-batches; `None` where it
/// makes none, and where the step is not below `most`.
///
/// # Errors
/// Those of [`super::judge`].
pub fn report(
    costs: &PipelineCosts,
    steady: Option<Steady>,
    most: Nanos,
    grid: impl Fn(u32) -> Option<Grid>,
) -> Result<Option<Report>, Violation> {
    let m = costs.n_micro_batches;
    if let Some(steady) = steady {
        for doubling in 0..DOUBLINGS {
            let head = steady.span.saturating_mul(1 << doubling);
            // Ranks may take turns, so that only every few periods are alike.
            let longest = Steady { period: steady.period.saturating_mul(MOST_TURNS), ..steady };
            let fewest = longest.shortest(m, head);
            // Three short runs must be less work than the whole.
            if 3 * u64::from(fewest) + u64::from(longest.period) >= u64::from(m) {
                break;
            }
            let Some(short_grid) = grid(fewest) else { return Ok(None) };
            let costs_of = |n_micro_batches| PipelineCosts { n_micro_batches, ..costs.clone() };
            let short = costs_of(fewest);
            let (lowered, timeline) = replayed(&short, &short_grid)?;
            structure::range(costs, &lowered.steps)?;
            let turns = (1..=MOST_TURNS)
                .map(|turns| Steady { period: steady.period.saturating_mul(turns), ..steady });
            let found =
                turns.into_iter().find(|candidate| repeats(&lowered, &timeline, head, *candidate));
            let Some(found) = found else { continue };
            let fewest = found.shortest(m, head);
            let (Some(first), Some(second)) = (grid(fewest), grid(fewest + found.period)) else {
                return Ok(None);
            };
            let (shorter, longer) = (costs_of(fewest), costs_of(fewest + found.period));
            let first = replayed(&shorter, &first)?;
            if !repeats(&first.0, &first.1, head, found) {
                continue;
            }
            let second = replayed(&longer, &second)?;
            let n = u64::from((m - fewest) / found.period - 1);
            let step = further(first.1.step_time.0, second.1.step_time.0, n);
            if step.is_some_and(|step| step >= most.0) {
                return Ok(None);
            }
            if let Some(report) = prolonged(&told(&first), told(&second), n) {
                return Ok(Some(report));
            }
        }
    }
    let Some(grid) = grid(m) else { return Ok(None) };
    let whole = replayed(costs, &grid)?;
    Ok((whole.1.step_time < most).then(|| told(&whole)))
}

/// The second of two figures, prolonged `n` times by what it has beyond the first one.
fn further(first: u64, second: u64, n: u64) -> Option<u64> {
    second.checked_sub(first)?.checked_mul(n)?.checked_add(second)
}

/// Whether all that happens to `span` micro-batches from `from` on happens to those one period later
/// just so, later by the same time.
fn repeats(lowered: &Lowered<'_>, timeline: &Timeline, from: u32, steady: Steady) -> bool {
    let (span, period) = (steady.span as usize, steady.period as usize);
    let width = span + period;
    let m = lowered.costs.n_micro_batches as usize;
    let n_stages = lowered.costs.stages.len();
    let mut starts = vec![UNKNOWN; n_stages * PASSES * width];
    for (cell, start) in lowered.grid.rows.iter().flatten().zip(&timeline.start) {
        let Some(k) = cell.micro_batch.checked_sub(from).map(|k| k as usize) else { continue };
        if k < width {
            starts[(cell.stage.index() * PASSES + cell.pass as usize) * width + k] = *start;
        }
    }
    let ports = (0..2 * n_stages).map(|port| 1 + port * m + from as usize);
    let transfers = ports.flat_map(|first| {
        [&timeline.sent[first..first + width], &timeline.arrived[first..first + width]]
    });
    let mut shift = None;
    starts.chunks_exact(width).chain(transfers).all(|times| {
        times.iter().zip(&times[period..]).all(|(earlier, later)| match (*earlier, *later) {
            (UNKNOWN, UNKNOWN) => true,
            (UNKNOWN, _) | (_, UNKNOWN) => false,
            (earlier, later) => {
                later.checked_sub(earlier).is_some_and(|by| *shift.get_or_insert(by) == by)
            }
        })
    })
}

/// The second of two reports, prolonged `n` times by what it has beyond the first one.
fn prolonged(first: &Report, second: Report, n: u64) -> Option<Report> {
    let further = |first: u64, second: u64| further(first, second, n);
    let mut report = second;
    report.step_time = Nanos(further(first.step_time.0, report.step_time.0)?);
    for (rank, before) in report.ranks.iter_mut().zip(&first.ranks) {
        if rank.peak != before.peak {
            return None;
        }
        rank.compute_ns = further(before.compute_ns, rank.compute_ns)?;
        rank.communication_ns = further(before.communication_ns, rank.communication_ns)?;
        rank.gradients_ns = further(before.gradients_ns, rank.gradients_ns)?;
        rank.idle_ns = further(before.idle_ns, rank.idle_ns)?;
    }
    for (link, before) in report.links.iter_mut().zip(&first.links) {
        link.busy_ns = further(before.busy_ns, link.busy_ns)?;
        link.bytes = further(before.bytes, link.bytes)?;
        link.n_transfers = further(before.n_transfers, link.n_transfers)?;
    }
    Some(report)
}
