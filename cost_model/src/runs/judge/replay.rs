//! Replays a grid: when each cell and each transfer starts and ends
//! (`docs/conventions.md`, P1 to P3).
//!
//! A cell starts when the one before it in its row has ended and what it reads has arrived. A
//! transfer takes the send channel of its source and the receive channel of its destination over
//! one interval; channels serve in the order of production: again and again, of the next transfers
//! of all rows whose producers' ends are known, the one with the least (end of its producer,
//! position of its reader in the reader's row, source rank) is appended to its two channels, and
//! starts as soon as its producer has ended and both are free. Nothing is ever chosen.

use ir::grid::Cell;
use ir::units::Nanos;

use super::agenda::{Agenda, NEVER, instant, thing};
use super::end_of_step;
use super::lower::Lowered;
use super::rows::Rows;
use super::timeline::Timeline;
use super::violation::Violation;

/// Times of a lowered grid. Memory limits are not looked at.
///
/// # Errors
/// `Deadlock` with the circle in which the rows get stuck.
pub fn replay(lowered: &Lowered<'_>) -> Result<Timeline, Violation> {
    let mut timeline = Player::new(lowered).play()?;
    end_of_step::append(lowered, &mut timeline);
    Ok(timeline)
}

struct Player<'a> {
    lowered: &'a Lowered<'a>,
    timeline: Timeline,
    rows: Rows<'a>,
    agenda: Agenda,
    /// By channel.
    send_free: Vec<u64>,
    receive_free: Vec<u64>,
}

impl<'a> Player<'a> {
    fn new(lowered: &'a Lowered<'a>) -> Self {
        Self {
            lowered,
            timeline: Timeline::new(lowered),
            rows: Rows::new(lowered),
            agenda: Agenda::new(lowered.costs.ranks.len()),
            send_free: vec![0; lowered.n_channels as usize],
            receive_free: vec![0; lowered.n_channels as usize],
        }
    }

    fn play(mut self) -> Result<Timeline, Violation> {
        for rank in 0..self.lowered.costs.ranks.len() {
            self.rows.advance(rank, &mut self.timeline, &mut self.agenda);
        }
        loop {
            let due = self.agenda.least();
            if due == NEVER {
                break;
            }
            self.take(thing(due), instant(due));
        }
        if !self.rows.is_done() {
            return Err(circle(self.lowered, &self.rows.next));
        }
        let last = self.send_free.iter().copied().max().unwrap_or(0).max(self.rows.last());
        self.timeline.step_time = Nanos(last);
        Ok(self.timeline)
    }

    /// The next cell of a rank has ended at `end`: its output leaves, and the row goes on.
    #[inline]
    fn take(&mut self, rank: usize, end: u64) {
        let cell = self.rows.end(rank, end);
        let port = self.lowered.output[cell];
        let way = &self.lowered.step(cell).way;
        let send_free = &mut self.send_free[way.send as usize];
        let receive_free = &mut self.receive_free[way.receive as usize];
        let start = end.max(*send_free).max(*receive_free);
        let arrival = start + way.duration;
        *send_free = arrival;
        *receive_free = arrival;
        self.timeline.sent[port as usize] = start;
        self.timeline.arrived[port as usize] = arrival;
        self.timeline.received[way.receive as usize].push(port);
        self.rows.arrive(way.to as usize, port, &mut self.timeline, &mut self.agenda);
        self.rows.advance(rank, &mut self.timeline, &mut self.agenda);
    }
}

/// The circle in which rows are stuck, by the next cell of each.
#[cold]
fn circle(lowered: &Lowered<'_>, next: &[u32]) -> Violation {
    let rows = &lowered.grid.rows;
    let place = |cell: u32| {
        let rank = lowered.row_start.partition_point(|start| *start <= cell) - 1;
        (rank, rows[rank][(cell - lowered.row_start[rank]) as usize])
    };
    let mut maker = vec![u32::MAX; lowered.reader.len()];
    for (cell, port) in (0u32..).zip(&lowered.output) {
        maker[*port as usize] = cell;
    }
    // From a stuck cell to the producer of what it reads, then to the next cell of that one's rank.
    let mut order = vec![usize::MAX; rows.len()];
    let mut steps: Vec<[Cell; 2]> = Vec::new();
    let mut rank = (0..rows.len()).find(|rank| next[*rank] < lowered.row_start[*rank + 1]);
    while let Some(here) = rank {
        if order[here] != usize::MAX {
            break;
        }
        order[here] = steps.len();
        let (_, blocked) = place(next[here]);
        let producer = maker[lowered.input[next[here] as usize] as usize];
        if producer == u32::MAX {
            return Violation::Deadlock { cycle: vec![blocked] };
        }
        let (there, needed) = place(producer);
        steps.push([blocked, needed]);
        rank = Some(there);
    }
    let first = rank.map_or(0, |rank| order[rank]);
    let mut cycle: Vec<Cell> = steps.drain(..).skip(first).flatten().collect();
    cycle.dedup();
    if cycle.len() > 1 && cycle.first() == cycle.last() {
        cycle.pop();
    }
    cycle.reverse();
    Violation::Deadlock { cycle }
}
