//! Replays a grid: when each cell and each transfer starts and ends.
//!
//! A cell starts when the one before it in its row has ended and what it reads has arrived. A
//! transfer takes the send channel of its source and the receive channel of its destination over
//! one interval; channels serve in the order of production: again and again, of the next transfers
//! of all rows whose producers' ends are known, the one with the least (end of its producer,
//! position of its reader in the reader's row, source rank) is appended to its two channels, and
//! starts as soon as its producer has ended and both are free. Nothing is ever chosen.

use ir::grid::Cell;
use ir::units::Nanos;

use super::agenda::{Agenda, NEVER, instant, key, thing};
use super::lower::{Lowered, NO_PORT};
use super::timeline::{Timeline, UNKNOWN};
use super::violation::Violation;
use super::way::{Contention, LOCAL};
use super::{end_of_step, shared};

/// Times of a lowered grid. Memory limits are not looked at.
///
/// # Errors
/// `Deadlock` with the circle in which the rows get stuck, `OutOfRange` where sharing prolongs
/// transfers past what can be counted.
pub fn replay(lowered: &Lowered<'_>) -> Result<Timeline, Violation> {
    let mut timeline = match lowered.contention {
        Contention::Static => Player::new(lowered).play()?,
        Contention::Exact => shared::play(lowered)?,
    };
    end_of_step::append(lowered, &mut timeline);
    Ok(timeline)
}

struct Player<'a> {
    lowered: &'a Lowered<'a>,
    timeline: Timeline,
    /// By rank: the next cell, as a position among all.
    next: Vec<u32>,
    /// By rank: the port that the next cell waits for, [`NO_PORT`] if it does not.
    awaited: Vec<u32>,
    /// By rank: end of the cell before the next one.
    clock: Vec<u64>,
    /// By channel.
    send_free: Vec<u64>,
    receive_free: Vec<u64>,
    agenda: Agenda,
    last: u64,
}

impl<'a> Player<'a> {
    fn new(lowered: &'a Lowered<'a>) -> Self {
        let n_ranks = lowered.costs.ranks.len();
        Self {
            lowered,
            timeline: Timeline::new(lowered),
            next: lowered.row_start[..n_ranks].to_vec(),
            awaited: vec![NO_PORT; n_ranks],
            clock: vec![0; n_ranks],
            send_free: vec![0; lowered.n_channels as usize],
            receive_free: vec![0; lowered.n_channels as usize],
            agenda: Agenda::new(n_ranks),
            last: 0,
        }
    }

    fn play(mut self) -> Result<Timeline, Violation> {
        for rank in 0..self.clock.len() {
            self.advance(rank);
        }
        loop {
            let due = self.agenda.least();
            if due == NEVER {
                break;
            }
            self.take(thing(due), instant(due));
        }
        let is_done = |(rank, next): (usize, &u32)| *next == self.lowered.row_start[rank + 1];
        if !self.next.iter().enumerate().all(is_done) {
            return Err(circle(self.lowered, &self.next));
        }
        self.timeline.step_time = Nanos(self.last);
        Ok(self.timeline)
    }

    /// The next cell of a rank has ended at `end`: its output leaves, and the row goes on.
    #[inline]
    fn take(&mut self, rank: usize, end: u64) {
        let cell = self.next[rank] as usize;
        let port = self.lowered.output[cell] as usize;
        let way = &self.lowered.steps[self.lowered.step_of[cell] as usize].way;
        self.clock[rank] = end;
        self.next[rank] += 1;
        let (send, receive) = (way.send as usize, way.receive as usize);
        let start = end.max(self.send_free[send]).max(self.receive_free[receive]);
        let arrival = start + way.duration;
        self.send_free[send] = arrival;
        self.receive_free[receive] = arrival;
        self.timeline.sent[port] = start;
        self.timeline.arrived[port] = arrival;
        self.timeline.received[receive].push(port as u32);
        self.last = self.last.max(arrival);
        let to = way.to as usize;
        if self.awaited[to] == port as u32 {
            self.awaited[to] = NO_PORT;
            self.advance(to);
        }
        self.advance(rank);
    }

    /// Runs cells of a rank up to the first that sends something or waits.
    #[inline]
    fn advance(&mut self, rank: usize) {
        let row_end = self.lowered.row_start[rank + 1];
        while self.next[rank] < row_end {
            let cell = self.next[rank] as usize;
            let input = self.lowered.input[cell];
            let arrival = self.timeline.arrived[input as usize];
            if arrival == UNKNOWN {
                self.awaited[rank] = input;
                break;
            }
            let step = &self.lowered.steps[self.lowered.step_of[cell] as usize];
            let start = arrival.max(self.clock[rank]);
            let end = start + step.duration;
            self.timeline.start[cell] = start;
            let port = self.lowered.output[cell];
            if port != NO_PORT && step.way.send != LOCAL {
                let reader = self.lowered.reader[port as usize];
                return self.agenda.set(rank, key(end, reader, rank as u32));
            }
            if port != NO_PORT {
                self.timeline.sent[port as usize] = end;
                self.timeline.arrived[port as usize] = end;
            }
            self.clock[rank] = end;
            self.last = self.last.max(end);
            self.next[rank] += 1;
        }
        self.agenda.set(rank, NEVER);
    }
}

/// The circle in which rows are stuck, by the next cell of each.
#[cold]
pub(super) fn circle(lowered: &Lowered<'_>, next: &[u32]) -> Violation {
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
