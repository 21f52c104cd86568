//! Ready ops per device, by a lower bound of their start.
//!
//! Between two commits a start moves back only when memory is freed or copies arrive on its device,
//! and those entries are put in anew. So an old start is a lower bound, and only the front of a
//! lane has to be computed again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The ops of one device.
#[derive(Default)]
struct Lane {
    /// Lower bound not after the device's clock: nothing starts before the clock, so that only
    /// the position counts. (position, version)
    due: BinaryHeap<Reverse<(u32, u32)>>,
    /// (lower bound, position, version)
    waiting: BinaryHeap<Reverse<(u64, u32, u32)>>,
    /// Ops that memory delays or keeps out.
    blocked: Vec<u32>,
    /// Ops whose start may move forward at any commit.
    fickle: Vec<u32>,
    /// The commit after which `fickle` was last put in anew.
    seen: u64,
}

/// An op at the front of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Front {
    /// It can't start earlier.
    pub(super) bound: u64,
    /// Its position in topological order.
    pub(super) position: u32,
}

/// The lanes of all devices.
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    /// `position * n_devices + device`: version of the entry that counts; even: there is none.
    version: Vec<u32>,
    /// By position: the instant at which the op became ready.
    ready_at: Vec<u64>,
}

impl Lanes {
    pub(super) fn new(n_devices: usize, n_ops: usize) -> Self {
        Self {
            lanes: (0..n_devices).map(|_| Lane::default()).collect(),
            version: vec![0; n_devices * n_ops],
            ready_at: vec![0; n_ops],
        }
    }

    fn version(&mut self, device: usize, position: u32) -> &mut u32 {
        &mut self.version[position as usize * self.lanes.len() + device]
    }

    fn counts(&self, device: usize, position: u32, version: u32) -> bool {
        self.version[position as usize * self.lanes.len() + device] == version
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
        self.lanes[device].waiting.push(Reverse((bound, position, version)));
    }

    /// Takes an op out; [`Lanes::put`] or [`Lanes::put_anew`] bring it back.
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
        self.lanes[device].blocked.push(position);
    }

    /// Remembers that any commit may let an op start earlier.
    pub(super) fn mark_fickle(&mut self, device: usize, position: u32) {
        self.lanes[device].fickle.push(position);
    }

    /// Bytes were freed: whatever memory held back is looked at again.
    pub(super) fn unblock(&mut self, device: usize, is_open: impl Fn(u32) -> bool) {
        let mut blocked = std::mem::take(&mut self.lanes[device].blocked);
        blocked.sort_unstable();
        blocked.dedup();
        for position in blocked.drain(..).filter(|position| is_open(*position)) {
            self.put_anew(device, position);
        }
        self.lanes[device].blocked = blocked;
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
        if self.lanes[device].seen != commit {
            self.lanes[device].seen = commit;
            let mut fickle = std::mem::take(&mut self.lanes[device].fickle);
            for position in fickle.drain(..).filter(|position| is_open(*position)) {
                self.put_anew(device, position);
            }
            self.lanes[device].fickle = fickle;
        }
        while let Some(Reverse((bound, position, version))) =
            self.lanes[device].waiting.peek().copied()
        {
            let counts = self.counts(device, position, version) && is_open(position);
            if counts && bound > clock {
                break;
            }
            self.lanes[device].waiting.pop();
            if counts {
                self.lanes[device].due.push(Reverse((position, version)));
            }
        }
        while let Some(Reverse((position, version))) = self.lanes[device].due.peek().copied() {
            if self.counts(device, position, version) && is_open(position) {
                return Some(Front { bound: clock, position });
            }
            self.lanes[device].due.pop();
        }
        let Reverse((bound, position, _)) = self.lanes[device].waiting.peek()?;
        Some(Front { bound: *bound, position: *position })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_is_the_least_bound_and_then_the_least_position() {
        let mut lanes = Lanes::new(2, 4);
        lanes.put(0, 3, 5);
        lanes.put(0, 1, 9);
        lanes.put(0, 2, 5);
        assert_eq!(lanes.front(0, 0, 0, |_| true), Some(Front { bound: 5, position: 2 }));
        // Nothing starts before the clock: the position decides.
        assert_eq!(lanes.front(0, 9, 0, |_| true), Some(Front { bound: 9, position: 1 }));
        assert_eq!(lanes.front(0, 9, 0, |p| p != 1).unwrap().position, 2);
        assert_eq!(lanes.front(1, 9, 0, |_| true), None);
    }

    #[test]
    fn what_was_taken_or_replaced_counts_no_more() {
        let mut lanes = Lanes::new(1, 2);
        lanes.set_ready(0, 3);
        lanes.put(0, 0, 7);
        lanes.put(0, 0, 8);
        assert_eq!(lanes.front(0, 0, 0, |_| true), Some(Front { bound: 8, position: 0 }));
        lanes.take(0, 0);
        lanes.block(0, 0);
        assert_eq!(lanes.front(0, 0, 0, |_| true), None);
        lanes.unblock(0, |_| true);
        assert_eq!(lanes.front(0, 0, 0, |_| true), Some(Front { bound: 3, position: 0 }));
    }
}
