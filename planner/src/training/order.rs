//! The schedules that a search may choose from, as one list: their grids, what they need, where
//! their stages lie and what they keep.

use cost_model::runs::judge::fold::Steady;
use ir::diagnostic::Diagnostic;
use ir::grid::{Grid, Pass};
use ir::id::StageId;
use ir::plan::Parallelism;

use crate::training::schedule::early_recompute::{self, Early};
use crate::training::schedule::{
    breadth_first, dualpipe_v, gpipe, interleaved, one_f_one_b, shifted, zb_h1, zb_h2, zb_v,
};

/// A way to order the passes of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Order {
    /// 1F1B.
    OneFOneB,
    /// 1F1B, and what is computed again in the cool-down is computed before its gradient comes.
    EarlyRecompute,
    /// Shifted critical path: 1F1B with recompute off the way of the last stages.
    Shifted,
    /// Interleaved 1F1B.
    Interleaved,
    /// Breadth-first looped.
    BreadthFirst,
    /// GPipe.
    GPipe,
    /// Zero bubble, H1.
    ZbH1,
    /// Zero bubble, H2.
    ZbH2,
    /// Zero bubble, V.
    ZbV,
    /// DualPipeV.
    DualPipeV,
}

/// How many chunks a rank may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunks {
    /// So many.
    Exactly(u32),
    /// Two or more.
    Several,
}

impl Order {
    /// All, in the order in which equal plans are preferred.
    pub const ALL: [Self; 10] = [
        Self::OneFOneB,
        Self::EarlyRecompute,
        Self::Shifted,
        Self::Interleaved,
        Self::BreadthFirst,
        Self::GPipe,
        Self::ZbH1,
        Self::ZbH2,
        Self::ZbV,
        Self::DualPipeV,
    ];

    /// Its name in flags and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OneFOneB => "1f1b",
            Self::EarlyRecompute => "1f1b-early-recompute",
            Self::Shifted => "shifted",
            Self::Interleaved => "interleaved",
            Self::BreadthFirst => "breadth-first",
            Self::GPipe => "gpipe",
            Self::ZbH1 => "zb-h1",
            Self::ZbH2 => "zb-h2",
            Self::ZbV => "zb-v",
            Self::DualPipeV => "dualpipe-v",
        }
    }

    /// The schedule of a name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|order| order.name() == name)
    }

    /// Chunks of each rank.
    #[must_use]
    pub const fn chunks(self) -> Chunks {
        match self {
            Self::Interleaved | Self::BreadthFirst => Chunks::Several,
            Self::ZbV | Self::DualPipeV => Chunks::Exactly(2),
            _ => Chunks::Exactly(1),
        }
    }

    /// Whether every backward pass is whole.
    #[must_use]
    pub const fn is_whole(self) -> bool {
        !matches!(self, Self::ZbH1 | Self::ZbH2 | Self::ZbV | Self::DualPipeV)
    }

    /// Whether recompute may come before the gradient that asks for it.
    #[must_use]
    pub const fn recomputes_early(self) -> bool {
        matches!(self, Self::EarlyRecompute | Self::Shifted)
    }

    /// Whether one rank holds the first and the last stage.
    #[must_use]
    pub const fn ends_meet(self) -> bool {
        matches!(self, Self::ZbV | Self::DualPipeV)
    }

    /// Whether it takes so many micro-batches on so many ranks.
    #[must_use]
    pub const fn takes(self, n_ranks: u32, n_micro_batches: u64) -> bool {
        match self {
            Self::Interleaved => n_micro_batches.is_multiple_of(n_ranks as u64),
            Self::DualPipeV => n_micro_batches >= 2 * n_ranks as u64,
            // On one rank it is 1F1B.
            Self::Shifted => n_ranks > 1,
            _ => true,
        }
    }

    /// The rank of a stage.
    #[must_use]
    pub const fn rank_of(self, n_ranks: u32, stage: u32) -> u32 {
        match self {
            Self::ZbV | Self::DualPipeV if stage >= n_ranks => {
                (2 * n_ranks).saturating_sub(1).saturating_sub(stage)
            }
            Self::ZbV | Self::DualPipeV => stage,
            _ => stage % n_ranks,
        }
    }

    /// What each rank does, in order, with so many micro-batches under pipeline degrees that say whether
    /// passes run together.
    ///
    /// # Errors
    /// Those of the generators: too many cells, or counts that the schedule does not take.
    pub fn grid(
        self,
        degrees: &Parallelism,
        n_micro_batches: u32,
        recomputes: impl Fn(StageId) -> bool,
    ) -> Result<Grid, Diagnostic> {
        let (n_ranks, n_chunks) = (degrees.pipeline, degrees.virtual_stages);
        match self {
            Self::OneFOneB => one_f_one_b::grid(n_ranks, n_micro_batches),
            Self::EarlyRecompute => {
                let grid = one_f_one_b::grid(n_ranks, n_micro_batches)?;
                Ok(early_recompute::insert(&grid, Early::CoolDown, recomputes))
            }
            Self::Shifted => shifted::grid(n_ranks, n_micro_batches),
            Self::Interleaved if degrees.expert_overlap => {
                interleaved::together(n_ranks, n_chunks, n_micro_batches)
            }
            Self::Interleaved => interleaved::grid(n_ranks, n_chunks, n_micro_batches),
            Self::BreadthFirst => breadth_first::grid(n_ranks, n_chunks, n_micro_batches),
            Self::GPipe => gpipe::grid(n_ranks, n_micro_batches),
            Self::ZbH1 => zb_h1::grid(n_ranks, n_micro_batches),
            Self::ZbH2 => zb_h2::grid(n_ranks, n_micro_batches),
            Self::ZbV => zb_v::grid(n_ranks, n_micro_batches),
            Self::DualPipeV => dualpipe_v::grid(n_ranks, n_micro_batches),
        }
    }

    /// From how many micro-batches on the most that a rank keeps at once grows no more; `None`
    /// where it grows for ever.
    const fn saturates_at(self, n_ranks: u32, n_chunks: u32) -> Option<u32> {
        match self {
            Self::GPipe | Self::BreadthFirst => None,
            _ => Some(n_ranks * (2 * n_chunks + 4)),
        }
    }

    /// Backward passes of each of its stages that a rank has done at least before it begins the last
    /// one of any of them, all of its forward passes being done by then; `None` where they need not
    /// be.
    #[must_use]
    pub fn backwards_before_last(self, n_ranks: u32, n_chunks: u32, m: f64) -> Option<f64> {
        match self {
            Self::Interleaved => Some((m - f64::from(n_ranks)).max(0.0)),
            Self::BreadthFirst => Some(if n_chunks > 1 { 0.0 } else { m - 1.0 }),
            Self::ZbV | Self::DualPipeV => None,
            _ => Some(m - 1.0),
        }
    }

    /// How its grids repeat themselves, if they do.
    #[must_use]
    pub fn steady(self, n_ranks: u32, n_chunks: u32) -> Option<Steady> {
        let period = if self == Self::Interleaved { n_ranks } else { 1 };
        let span = self.saturates_at(n_ranks, n_chunks)?;
        Some(Steady { period, span })
    }
}

/// By rank, what it keeps at its fullest moments: how many micro-batches of each of its chunks; where
/// backward passes are split, behind them, how many of each are between their two parts.
pub type InFlight = Vec<Vec<Vec<u32>>>;

/// What ranks keep, from the order of their rows alone: moments that another one exceeds in every
/// chunk are left out.
///
/// # Errors
/// Those of the generators.
pub fn in_flight(
    order: Order,
    degrees: &Parallelism,
    n_micro_batches: u32,
) -> Result<InFlight, Diagnostic> {
    let (n_ranks, n_chunks) = (degrees.pipeline, degrees.virtual_stages);
    let planned = match order.saturates_at(n_ranks, n_chunks) {
        Some(most) => n_micro_batches.min(most),
        // All micro-batches of all chunks are there before the first backward pass.
        None => return Ok(vec![vec![vec![n_micro_batches; n_chunks as usize]]; n_ranks as usize]),
    };
    let grid = order.grid(degrees, planned, |_| false)?;
    Ok(grid.rows.iter().map(|row| fullest(row, n_ranks, n_chunks, order)).collect())
}

fn fullest(row: &[ir::grid::Cell], n_ranks: u32, n_chunks: u32, order: Order) -> Vec<Vec<u32>> {
    let n_chunks = n_chunks as usize;
    let n_parts = if order.is_whole() { 1 } else { 2 };
    let mut counts = vec![0_u32; n_parts * n_chunks];
    let mut moments: Vec<Vec<u32>> = Vec::new();
    let mut is_growing = false;
    for cell in row {
        // Stages of a rank in model order, whether looped or in the shape of a V.
        let chunk = (cell.stage.0 / n_ranks) as usize;
        debug_assert!(order.rank_of(n_ranks, cell.stage.0) < n_ranks);
        let frees = match cell.pass {
            Pass::Forward => {
                counts[chunk] += 1;
                is_growing = true;
                false
            }
            Pass::BackwardInput => {
                counts[n_chunks + chunk] += 1;
                is_growing = true;
                false
            }
            Pass::Recompute => false,
            Pass::Backward | Pass::BackwardWeight => true,
        };
        if frees {
            if is_growing {
                note(&mut moments, &counts);
                is_growing = false;
            }
            counts[chunk] = counts[chunk].saturating_sub(1);
            if let Some(between) = counts.get_mut(n_chunks + chunk) {
                *between = between.saturating_sub(1);
            }
        }
    }
    moments
}

/// Adds a moment unless one that is there exceeds it.
fn note(moments: &mut Vec<Vec<u32>>, counts: &[u32]) {
    let below = |a: &[u32], b: &[u32]| a.iter().zip(b).all(|(a, b)| a <= b);
    if moments.iter().any(|moment| below(counts, moment)) {
        return;
    }
    moments.retain(|moment| !below(moment, counts));
    moments.push(counts.to_vec());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looped(pipeline: u32, virtual_stages: u32) -> Parallelism {
        Parallelism { pipeline, virtual_stages, ..Parallelism::default() }
    }

    #[test]
    fn names_are_read_back() {
        for order in Order::ALL {
            assert_eq!(Order::of(order.name()), Some(order));
        }
        assert_eq!(Order::of("2f2b"), None);
    }

    /// Narayanan et al. 2021, sections 2.2 and 2.3.
    #[test]
    fn what_1f1b_keeps_is_its_closed_form() {
        for p in 1..=6_u32 {
            for v in 1..=3_u32 {
                for groups in 1..=4_u32 {
                    let m = p * groups;
                    let order = if v == 1 { Order::OneFOneB } else { Order::Interleaved };
                    let in_flight = in_flight(order, &looped(p, v), m).unwrap();
                    for rank in 0..p {
                        let most = match v {
                            1 => (p - rank).min(m),
                            _ => ((v - 1) * p + 2 * (p - 1 - rank) + 1).min(m * v),
                        };
                        let sums =
                            in_flight[rank as usize].iter().map(|moment| moment.iter().sum());
                        assert_eq!(sums.max(), Some(most), "{p} {v} {m} {rank}");
                    }
                }
            }
        }
    }

    #[test]
    fn backward_passes_before_the_last_ones_are_those_of_the_grids() {
        for order in Order::ALL {
            let v = match order.chunks() {
                Chunks::Exactly(v) => v,
                Chunks::Several => 3,
            };
            for (p, m) in (1..=4_u32).flat_map(|p| (1..=9_u32).map(move |m| (p, m))) {
                let least = order.backwards_before_last(p, v, f64::from(m));
                // Passes that run together are further ahead, so that no fewer are done.
                let degrees = Parallelism { expert_overlap: m % 2 == 0, ..looped(p, v) };
                let grid = order.grid(&degrees, m, |stage| stage.0 % 2 == 0);
                let (Some(least), Ok(grid), true) = (least, grid, order.takes(p, u64::from(m)))
                else {
                    continue;
                };
                for row in grid.rows {
                    let lasts = |stage| {
                        let is_weight =
                            |pass| matches!(pass, Pass::Backward | Pass::BackwardWeight);
                        row.iter().rposition(|cell| cell.stage == stage && is_weight(cell.pass))
                    };
                    let begun = row.iter().filter_map(|cell| lasts(cell.stage)).min().unwrap();
                    let done = &row[..begun];
                    for this in &row {
                        let of = |pass| {
                            move |cell: &&ir::grid::Cell| {
                                cell.stage == this.stage && cell.pass == pass
                            }
                        };
                        let n = |pass| done.iter().filter(of(pass)).count() as f64;
                        assert_eq!(n(Pass::Forward), f64::from(m), "{order:?} {p} {m}");
                        let backward = n(Pass::Backward) + n(Pass::BackwardWeight);
                        assert!(backward >= least, "{order:?} {p} {m}: {backward} {least}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_kept_stops_growing_where_it_is_said_to() {
        for order in Order::ALL {
            let v = match order.chunks() {
                Chunks::Exactly(v) => v,
                Chunks::Several => 3,
            };
            for (p, expert_overlap) in (1..=5_u32).flat_map(|p| [(p, false), (p, true)]) {
                let Some(most) = order.saturates_at(p, v) else { continue };
                let degrees = Parallelism { expert_overlap, ..looped(p, v) };
                let at = in_flight(order, &degrees, most).unwrap();
                let grid = order.grid(&degrees, 3 * most, |_| false).unwrap();
                let rows = grid.rows.iter().map(|row| fullest(row, p, v, order));
                for (rank, later) in rows.enumerate() {
                    let sorted = |list: &Vec<Vec<u32>>| {
                        let mut list = list.clone();
                        list.sort();
                        list
                    };
                    assert_eq!(sorted(&at[rank]), sorted(&later), "{} {p} {rank}", order.name());
                }
            }
        }
    }
}
