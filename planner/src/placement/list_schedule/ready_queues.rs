//! Ready ops per device, by a lower bound of their start.
//!
//! Between two commits a start moves back only when memory is freed or copies arrive on its device,
//! and those entries are put in anew. So an old start is a lower bound, and only the front of a
//! queue has to be computed again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The ops of one device.
#[derive(Default)]
struct ReadyQueue {
    /// Lower bound not after the device's clock: nothing starts before the clock, so that only
    /// the position counts. (position, version)
    due: BinaryHeap<Reverse<(u32, u32)>>,
    /// (lower bound, position, version)
    waiting: BinaryHeap<Reverse<(u64, u32, u32)>>,
    /// Ops that memory delays or keeps out.
    blocked: Vec<u32>,
    /// Ops whose start may move forward at any commit.
    volatile: Vec<u32>,
    /// The commit after which `volatile` was last put in anew.
    seen: u64,
}

/// An op at the front of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Front {
    /// It can't start earlier.
    pub(super) bound: u64,
    /// Its position in topological order.
    pub(super) position: u32,
}

/// The queues of all devices.
pub(super) struct ReadyQueues {
    queues: Vec<ReadyQueue>,
    /// `position * n_devices + device`: version of the entry that counts; even: there is none.
    version: Vec<u32>,
    /// By position: the instant at which the op became ready.
    ready_at: Vec<u64>,
}

impl ReadyQueues {
    pub(super) fn new(n_devices: usize, n_ops: usize) -> Self {
        Self {
            queues: (0..n_devices).map(|_| ReadyQueue::default()).collect(),
            version: vec![0; n_devices * n_ops],
            ready_at: vec![0; n_ops],
        }
    }

    fn version(&mut self, device: usize, position: u32) -> &mut u32 {
        &mut self.version[position as usize * self.queues.len() + device]
    }

    fn counts(&self, device: usize, position: u32, version: u32) -> bool {
        self.version[position as usize * self.queues.len() + device] == version
    }

    /// Notes when an op became ready: before that it starts nowhere.
    pub(super) fn set_ready(&mut self, position: u32, at: u64) {
        self.ready_at[position as usize] = at;
    }

    /// Puts an op in, with a lower bound of its start; an older entry counts no more.
    pub(super) fn put(&mut self, device: usize, position: u32, bound: u64) {
        let version = self.version(device, position);
        *version = (*version | 1) + if *version & 1 == 1 { 2 } else { 0 };
        let version = *version;
        self.queues[device].waiting.push(Reverse((bound, position, version)));
    }

    /// Takes an op out; [`ReadyQueues::put`] or [`ReadyQueues::put_anew`] bring it back.
    pub(super) fn take(&mut self, device: usize, position: u32) {
        let version = self.version(device, position);
        *version += *version & 1;
    }

    /// Puts an op in again with the bound that holds always, if it is ready.
    pub(super) fn put_anew(&mut self, device: usize, position: u32) {
        self.put(device, position, self.ready_at[position as usize]);
    }

    /// Remembers that freed bytes may let an op start earlier.
    pub(super) fn block(&mut self, device: usize, position: u32) {
        self.queues[device].blocked.push(position);
    }

    /// Remembers that any commit may let an op start earlier.
    pub(super) fn mark_volatile(&mut self, device: usize, position: u32) {
        self.queues[device].volatile.push(position);
    }

    /// Bytes were freed: whatever memory held back is looked at again.
    pub(super) fn unblock(&mut self, device: usize, is_open: impl Fn(u32) -> bool) {
        let mut blocked = std::mem::take(&mut self.queues[device].blocked);
        blocked.sort_unstable();
        blocked.dedup();
        for position in blocked.drain(..).filter(|position| is_open(*position)) {
            self.put_anew(device, position);
        }
        self.queues[device].blocked = blocked;
    }

    /// The op with the least (lower bound, position), after commit number `commit`, on a device
    /// with this clock.
    pub(super) fn front(
        &mut self,
        device: usize,
        clock: u64,
        commit: u64,
        is_open: impl Fn(u32) -> bool,
    ) -> Option<Front> {
        if self.queues[device].seen != commit {
            self.queues[device].seen = commit;
            let mut volatile = std::mem::take(&mut self.queues[device].volatile);
            for position in volatile.drain(..).filter(|position| is_open(*position)) {
                self.put_anew(device, position);
            }
            self.queues[device].volatile = volatile;
        }
        while let Some(Reverse((bound, position, version))) =
            self.queues[device].waiting.peek().copied()
        {
            let counts = self.counts(device, position, version) && is_open(position);
            if counts && bound > clock {
                break;
            }
            self.queues[device].waiting.pop();
            if counts {
                self.queues[device].due.push(Reverse((position, version)));
            }
        }
        while let Some(Reverse((position, version))) = self.queues[device].due.peek().copied() {
            if self.counts(device, position, version) && is_open(position) {
                return Some(Front { bound: clock, position });
            }
            self.queues[device].due.pop();
        }
        let Reverse((bound, position, _)) = self.queues[device].waiting.peek()?;
        Some(Front { bound: *bound, position: *position })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_is_the_least_bound_and_then_the_least_position() {
        let mut queues = ReadyQueues::new(2, 4);
        queues.put(0, 3, 5);
        queues.put(0, 1, 9);
        queues.put(0, 2, 5);
        assert_eq!(queues.front(0, 0, 0, |_| true), Some(Front { bound: 5, position: 2 }));
        // Nothing starts before the clock: the position decides.
        assert_eq!(queues.front(0, 9, 0, |_| true), Some(Front { bound: 9, position: 1 }));
        assert_eq!(queues.front(0, 9, 0, |p| p != 1).unwrap().position, 2);
        assert_eq!(queues.front(1, 9, 0, |_| true), None);
    }

    #[test]
    fn what_was_taken_or_replaced_counts_no_more() {
        let mut queues = ReadyQueues::new(1, 2);
        queues.set_ready(0, 3);
        queues.put(0, 0, 7);
        queues.put(0, 0, 8);
        assert_eq!(queues.front(0, 0, 0, |_| true), Some(Front { bound: 8, position: 0 }));
        queues.take(0, 0);
        queues.block(0, 0);
        assert_eq!(queues.front(0, 0, 0, |_| true), None);
        queues.unblock(0, |_| true);
        assert_eq!(queues.front(0, 0, 0, |_| true), Some(Front { bound: 3, position: 0 }));
    }
}
