//! When everything of a training run happens.

use ir::grid::Cell;
use ir::id::StageId;
use ir::units::{Bytes, Nanos};

use super::lower::{Lowered, NO_PORT, VARIANT_BITS, Variant};
use super::way::LOCAL;
use crate::ops::judge::replay::Span;

/// Not known yet.
pub(super) const UNKNOWN: u64 = u64::MAX;

/// When everything happens, in flat arrays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// By cell: its start.
    pub(super) start: Vec<u64>,
    /// By port: when its transfer starts.
    pub(super) sent: Vec<u64>,
    /// By port: when its transfer ends.
    pub(super) arrived: Vec<u64>,
    /// By receiving channel, ports in the order of their transfers.
    pub(super) received: Vec<Vec<u32>>,
    /// By rank: what follows its last cell.
    pub ends: Vec<EndOfStep>,
    /// End of the last cell, transfer or end-of-step task.
    pub step_time: Nanos,
}

/// What a rank does beside and after its last cells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndOfStep {
    /// Parts of the gradient exchange that may run beside passes, in time order.
    pub overlapped: Vec<(StageId, Span)>,
    /// The rest of the gradient exchange, of all stages of the rank.
    pub exposed: Span,
    /// Adding up gradients of parameters that other ranks hold too.
    pub tied: Span,
    /// Optimizer.
    pub optimizer: Span,
}

/// A tensor on its way from one rank to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PipelineTransfer {
    /// The cell whose output it is.
    pub of: Cell,
    /// Source rank.
    pub from: u32,
    /// Destination rank.
    pub to: u32,
    /// Size.
    pub bytes: Bytes,
    /// When it occupies its channels.
    pub span: Span,
}

impl Timeline {
    pub(super) fn new(lowered: &Lowered<'_>) -> Self {
        let n_ports = lowered.reader.len();
        let mut arrived = vec![UNKNOWN; n_ports];
        let mut sent = arrived.clone();
        arrived[NO_PORT as usize] = 0;
        sent[NO_PORT as usize] = 0;
        let mut n_received = vec![0usize; lowered.n_channels as usize];
        let m = lowered.costs.n_micro_batches as usize;
        for variants in lowered.steps.chunks_exact(1 << VARIANT_BITS) {
            for sending in [Variant::Forward, Variant::Backward] {
                let way = &variants[sending as usize].way;
                if way.receive != LOCAL {
                    n_received[way.receive as usize] += m;
                }
            }
        }
        Self {
            start: vec![UNKNOWN; lowered.n_cells()],
            sent,
            arrived,
            received: n_received.into_iter().map(Vec::with_capacity).collect(),
            ends: Vec::new(),
            step_time: Nanos::ZERO,
        }
    }

    /// When a cell runs, by its place in the grid.
    ///
    /// # Panics
    /// If the grid has no such cell.
    #[must_use]
    pub fn cell(&self, lowered: &Lowered<'_>, rank: usize, position: usize) -> Span {
        self.span(lowered, lowered.cells_of(rank).start + position)
    }

    #[inline]
    pub(super) fn span(&self, lowered: &Lowered<'_>, cell: usize) -> Span {
        let start = self.start[cell];
        Span { start, end: start + lowered.step(cell).duration }
    }

    /// All transfers between ranks, by source rank, in the order of their production.
    pub fn transfers<'a>(
        &'a self,
        lowered: &'a Lowered<'_>,
    ) -> impl Iterator<Item = PipelineTransfer> + 'a {
        let rows = lowered.grid.rows.iter().zip(0u32..);
        let cells = rows.flat_map(|(row, rank)| row.iter().map(move |cell| (*cell, rank)));
        cells.enumerate().filter_map(|(index, (of, from))| {
            let port = lowered.output[index] as usize;
            let way = &lowered.step(index).way;
            (port != NO_PORT as usize && way.send != LOCAL).then(|| PipelineTransfer {
                of,
                from,
                to: way.to,
                bytes: Bytes(way.bytes),
                span: Span { start: self.sent[port], end: self.arrived[port] },
            })
        })
    }
}
