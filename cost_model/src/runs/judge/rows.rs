//! The rows of a grid while they are replayed: what each rank did, and what it waits for.

use super::agenda::{Agenda, NEVER, key};
use super::lower::{Lowered, NO_PORT};
use super::timeline::{Timeline, UNKNOWN};
use super::way::LOCAL;

/// Where each rank stands.
pub(super) struct Rows<'a> {
    lowered: &'a Lowered<'a>,
    /// By rank: the next cell, as a position among all.
    pub(super) next: Vec<u32>,
    /// By rank: the port that the next cell waits for, [`NO_PORT`] if it does not.
    awaited: Vec<u32>,
    /// By rank: end of the cell before the next one.
    pub(super) clock: Vec<u64>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(lowered: &'a Lowered<'a>) -> Self {
        let n_ranks = lowered.costs.ranks.len();
        Self {
            lowered,
            next: lowered.row_start[..n_ranks].to_vec(),
            awaited: vec![NO_PORT; n_ranks],
            clock: vec![0; n_ranks],
        }
    }

    /// Runs cells of a rank up to the first that sends something, whose end enters the agenda, or
    /// that waits. Ends of producers at one instant are taken by the position of the reader.
    #[inline]
    pub(super) fn advance(&mut self, rank: usize, timeline: &mut Timeline, agenda: &mut Agenda) {
        let lowered = self.lowered;
        let row_end = lowered.row_start[rank + 1];
        while self.next[rank] < row_end {
            let cell = self.next[rank] as usize;
            let input = lowered.input[cell];
            let arrival = timeline.arrived[input as usize];
            if arrival == UNKNOWN {
                self.awaited[rank] = input;
                break;
            }
            let step = lowered.step(cell);
            let start = arrival.max(self.clock[rank]);
            let end = start + step.duration;
            timeline.start[cell] = start;
            let port = lowered.output[cell];
            if port != NO_PORT && step.way.send != LOCAL {
                // Urgency 0 is left to what comes before all cells of an instant.
                let urgency = lowered.reader[port as usize].saturating_add(1);
                return agenda.set(rank, key(end, urgency, rank as u32));
            }
            if port != NO_PORT {
                timeline.sent[port as usize] = end;
                timeline.arrived[port as usize] = end;
            }
            self.clock[rank] = end;
            self.next[rank] += 1;
        }
        agenda.set(rank, NEVER);
    }

    /// The cell of a rank that stands in the agenda has ended: the cell.
    #[inline]
    pub(super) fn end(&mut self, rank: usize, now: u64) -> usize {
        let cell = self.next[rank] as usize;
        self.clock[rank] = now;
        self.next[rank] += 1;
        cell
    }

    /// A port has arrived at a rank, which goes on if it waited for it.
    #[inline]
    pub(super) fn arrive(
        &mut self,
        rank: usize,
        port: u32,
        timeline: &mut Timeline,
        agenda: &mut Agenda,
    ) {
        if self.awaited[rank] == port {
            self.awaited[rank] = NO_PORT;
            self.advance(rank, timeline, agenda);
        }
    }

    /// Whether all rows have been run.
    pub(super) fn is_done(&self) -> bool {
        self.next.iter().eq(&self.lowered.row_start[1..])
    }

    /// End of the last cell.
    pub(super) fn last(&self) -> u64 {
        self.clock.iter().copied().max().unwrap_or(0)
    }
}
