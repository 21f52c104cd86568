//! What lies in the memory of each rank, and when, in one pass over its row
//! (`docs/conventions.md`, P5).
//!
//! Everything lives over a half-open interval: at one instant frees come before allocations, and
//! what is freed at the instant of its allocation holds nothing. Cells of a row are in time order,
//! so nothing needs to be sorted.

use ir::id::StageId;

pub use super::holding::{Holding, HoldingKind};
use super::lower::{Lowered, VARIANT_BITS, Variant};
use super::timeline::Timeline;
use crate::ops::judge::memory::Peak;

/// Bytes over time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// By cell, row by row: bytes on its rank while it runs (while nothing frees, if it takes no
    /// time).
    pub during: Vec<u64>,
    /// By cell, row by row: bytes from its end to the start of the next one.
    pub after: Vec<u64>,
    /// By rank.
    pub peaks: Vec<Peak>,
    /// By rank: the cell at the start of which the peak is reached; `None` if it is there from the
    /// beginning.
    pub(super) peak_cell: Vec<Option<u32>>,
}

/// Memory of all ranks over time.
#[must_use]
pub fn trace(lowered: &Lowered<'_>, timeline: &Timeline) -> Trace {
    let n_ranks = lowered.costs.ranks.len();
    let mut trace = Trace {
        during: vec![0; lowered.n_cells()],
        after: vec![0; lowered.n_cells()],
        peaks: Vec::with_capacity(n_ranks),
        peak_cell: Vec::with_capacity(n_ranks),
    };
    for (rank, base) in persistent(lowered).into_iter().enumerate() {
        let (peak, cell) = row(lowered, timeline, rank, base, &mut trace);
        trace.peaks.push(peak);
        trace.peak_cell.push(cell);
    }
    trace
}

/// By rank: bytes that lie there for the whole step.
pub(super) fn persistent(lowered: &Lowered<'_>) -> Vec<u64> {
    let mut base: Vec<u64> = lowered.costs.ranks.iter().map(|rank| rank.persistent.0).collect();
    for stage in &lowered.costs.stages {
        base[stage.rank as usize] += stage.persistent.0;
    }
    base
}

fn row(
    lowered: &Lowered<'_>,
    timeline: &Timeline,
    rank: usize,
    base: u64,
    trace: &mut Trace,
) -> (Peak, Option<u32>) {
    let mut peak = Peak { bytes: base, at: 0 };
    let mut peak_cell = None;
    let mut level = base;
    let cells = lowered.cells_of(rank);
    let steps = &lowered.step_of[cells.clone()];
    let starts = &timeline.start[cells.clone()];
    let during = &mut trace.during[cells.clone()];
    let after = &mut trace.after[cells.clone()];
    for index in 0..steps.len() {
        let step = &lowered.steps[steps[index] as usize];
        level += step.allocated;
        let start = starts[index];
        // A cell without duration counts only if its instant is the last before time goes on.
        let lasts = step.duration > 0;
        let present = if lasts { level + step.temporary } else { level - step.freed };
        level -= step.freed;
        during[index] = present;
        after[index] = level;
        let counts = lasts || starts.get(index + 1).is_some_and(|next| *next > start);
        if counts && present > peak.bytes {
            peak = Peak { bytes: present, at: start };
            peak_cell = u32::try_from(cells.start + index).ok();
        }
    }
    (peak, peak_cell)
}

/// What lies on a rank at its peak, largest first.
#[must_use]
pub fn alive(lowered: &Lowered<'_>, trace: &Trace, rank: usize) -> Vec<Holding> {
    let mut holdings = Held::new(lowered, rank);
    if let Some(cell) = trace.peak_cell.get(rank).copied().flatten() {
        for earlier in lowered.cells_of(rank).start..cell as usize {
            holdings.run(lowered.step_of[earlier]);
        }
        let step = lowered.step_of[cell as usize];
        if lowered.steps[step as usize].duration > 0 {
            holdings.begin(step);
        } else {
            holdings.run(step);
        }
    }
    holdings.list()
}

/// Counts of what lies on a rank.
struct Held<'a> {
    lowered: &'a Lowered<'a>,
    rank: usize,
    running: Option<u32>,
    /// By stage: micro-batches whose stash is whole, whose recomputed part is there, and of which
    /// the weight part alone is kept.
    counts: Vec<[u32; 3]>,
}

impl<'a> Held<'a> {
    fn new(lowered: &'a Lowered<'a>, rank: usize) -> Self {
        let counts = vec![[0; 3]; lowered.costs.stages.len()];
        Self { lowered, rank, running: None, counts }
    }

    fn begin(&mut self, step: u32) {
        let [stash, recomputed, _] = &mut self.counts[(step >> VARIANT_BITS) as usize];
        match variant(step) {
            Variant::Forward => *stash += 1,
            Variant::Recompute | Variant::LateBackward | Variant::LateInput => *recomputed += 1,
            Variant::Backward | Variant::Input | Variant::Weight => {}
        }
        self.running = Some(step);
    }

    fn run(&mut self, step: u32) {
        self.begin(step);
        self.running = None;
        let [stash, recomputed, for_weight] = &mut self.counts[(step >> VARIANT_BITS) as usize];
        match variant(step) {
            Variant::Backward | Variant::LateBackward => {
                *stash -= 1;
                *recomputed -= 1;
            }
            Variant::Input | Variant::LateInput => {
                *stash -= 1;
                *recomputed -= 1;
                *for_weight += 1;
            }
            Variant::Weight => *for_weight -= 1,
            Variant::Forward | Variant::Recompute => {}
        }
    }

    fn list(self) -> Vec<Holding> {
        let mut list = Vec::new();
        let mut add = |what, stage, n_micro_batches: u32, bytes: u64| {
            if bytes > 0 {
                list.push(Holding { what, stage, n_micro_batches, bytes });
            }
        };
        add(HoldingKind::Persistent, None, 0, self.lowered.costs.ranks[self.rank].persistent.0);
        for (index, costs) in self.lowered.costs.stages.iter().enumerate() {
            if costs.rank as usize != self.rank {
                continue;
            }
            let stage = Some(StageId::new(index));
            let [stash, recomputed, for_weight] = self.counts[index];
            add(HoldingKind::Persistent, stage, 0, costs.persistent.0);
            let whole = u64::from(stash) * costs.stash.0;
            let part = costs.kept_for_weight.min(costs.stash + costs.recomputed);
            let made = match self.running {
                Some(step) if (step >> VARIANT_BITS) as usize == index => {
                    u32::from(matches!(variant(step), Variant::Input | Variant::LateInput))
                }
                _ => 0,
            };
            let left = u64::from(for_weight) * part.0
                + u64::from(for_weight + made) * costs.made_for_weight.0;
            add(HoldingKind::Stash, stage, stash + for_weight, whole + left);
            let again = u64::from(recomputed) * costs.recomputed.0;
            add(HoldingKind::Recomputed, stage, recomputed, again);
        }
        if let Some(step) = self.running {
            let stage = Some(StageId(step >> VARIANT_BITS));
            add(HoldingKind::Temporary, stage, 0, self.lowered.steps[step as usize].temporary);
        }
        list.sort_by_key(|holding| std::cmp::Reverse(holding.bytes));
        list
    }
}

/// How what lies on a rank changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// When, in nanoseconds; not before the change before it.
    pub at: u64,
    /// Of what.
    pub what: HoldingKind,
    /// Bytes that come; those that go are negative.
    pub bytes: i64,
}

/// All changes on a rank, in order of time, the persistent bytes first. The level at an instant is
/// the sum of all changes up to it and at it; the greatest one is the peak of [`Trace`].
#[must_use]
pub fn changes(lowered: &Lowered<'_>, timeline: &Timeline, rank: usize) -> Vec<Change> {
    let base = persistent(lowered).get(rank).copied().unwrap_or(0);
    let mut found = Vec::new();
    let mut add = |at, what, bytes: i64| {
        if bytes != 0 {
            found.push(Change { at, what, bytes });
        }
    };
    add(0, HoldingKind::Persistent, signed(base));
    for cell in lowered.cells_of(rank) {
        let number = lowered.step_of[cell];
        let (step, span) = (lowered.step(cell), timeline.span(lowered, cell));
        let costs = &lowered.costs.stages[(number >> VARIANT_BITS) as usize];
        let computed = match variant(number) {
            Variant::Recompute | Variant::LateBackward | Variant::LateInput => costs.recomputed.0,
            Variant::Forward | Variant::Backward | Variant::Input | Variant::Weight => 0,
        };
        // What is kept for the weight part counts with the activations.
        let dropped = match variant(number) {
            Variant::Forward | Variant::Recompute | Variant::Weight => 0,
            _ => costs.recomputed.0,
        };
        add(span.start, HoldingKind::Stash, signed(step.allocated - computed));
        add(span.start, HoldingKind::Recomputed, signed(computed));
        add(span.start, HoldingKind::Temporary, signed(step.temporary));
        add(span.end, HoldingKind::Temporary, -signed(step.temporary));
        add(span.end, HoldingKind::Recomputed, -signed(dropped));
        add(span.end, HoldingKind::Stash, signed(dropped) - signed(step.freed));
    }
    found
}

/// Checked sums of bytes stay far below the sign.
fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn variant(step: u32) -> Variant {
    Variant::ALL[(step & ((1 << VARIANT_BITS) - 1)) as usize]
}
