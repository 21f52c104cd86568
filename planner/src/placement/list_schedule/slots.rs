//! When a device or a channel is busy, and where a gap is long enough.

use ir::id::ChannelId;

/// Busy intervals of one resource, apart from each other, by start.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots {
    busy: Vec<(u64, u64)>,
}

impl Slots {
    /// Marks an interval in which the resource was free. One of no length stays, too: nothing may
    /// be put over it.
    pub(super) fn occupy(&mut self, start: u64, end: u64) {
        let at = self.busy.partition_point(|(_, other)| *other <= start);
        // Neighbours that touch are one interval.
        let joins_next = self.busy.get(at).is_some_and(|next| next.0 == end);
        let joins_last = at > 0 && self.busy[at - 1].1 == start;
        match (joins_last, joins_next) {
            (true, true) => {
                self.busy[at - 1].1 = self.busy[at].1;
                self.busy.remove(at);
            }
            (true, false) => self.busy[at - 1].1 = end,
            (false, true) => self.busy[at].0 = start,
            (false, false) => self.busy.insert(at, (start, end)),
        }
    }

    /// The first instant from `ready` on from which the resource is free for `duration`. What takes
    /// no time fits between two intervals, never inside one.
    pub(super) fn first_gap(&self, ready: u64, duration: u64) -> u64 {
        let mut at = ready;
        let first = self.busy.partition_point(|(_, end)| *end <= ready);
        for &(start, end) in &self.busy[first..] {
            if at.saturating_add(duration) <= start {
                break;
            }
            at = at.max(end);
        }
        at
    }
}

/// Slots of all devices and channels.
#[derive(Clone, Debug)]
pub(super) struct Gaps {
    pub(super) devices: Vec<Slots>,
    /// Empty = transfers never wait for each other, as in the paper of HEFT.
    pub(super) channels: Vec<Slots>,
}

impl Gaps {
    pub(super) fn new(n_devices: usize, n_channels: usize) -> Self {
        Self {
            devices: vec![Slots::default(); n_devices],
            channels: vec![Slots::default(); n_channels],
        }
    }

    /// The first instant from `ready` on at which both channels are free for `duration`, beside
    /// the intervals of `also`.
    pub(super) fn first_on_both(
        &self,
        (send, receive): (ChannelId, ChannelId),
        also: &[(ChannelId, u64, u64)],
        ready: u64,
        duration: u64,
    ) -> u64 {
        let mut at = ready;
        loop {
            let before = at;
            for channel in [send, receive] {
                if let Some(slots) = self.channels.get(channel.index()) {
                    at = slots.first_gap(at, duration);
                }
            }
            if !self.channels.is_empty() {
                for (channel, start, end) in also {
                    let clashes = at < *end && *start < at.saturating_add(duration);
                    if (*channel == send || *channel == receive) && clashes {
                        at = *end;
                    }
                }
            }
            if at == before {
                return at;
            }
        }
    }

    pub(super) fn occupy_channels(&mut self, channels: [ChannelId; 2], start: u64, end: u64) {
        let [send, receive] = channels;
        let both = [Some(send), (receive != send).then_some(receive)];
        for channel in both.into_iter().flatten() {
            if let Some(slots) = self.channels.get_mut(channel.index()) {
                slots.occupy(start, end);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_gap_that_is_long_enough() {
        let mut slots = Slots::default();
        slots.occupy(10, 20);
        slots.occupy(23, 30);
        assert_eq!(slots.first_gap(0, 10), 0);
        assert_eq!(slots.first_gap(1, 10), 30);
        assert_eq!(slots.first_gap(12, 3), 20);
        assert_eq!(slots.first_gap(12, 4), 30);
        // What takes no time waits for the end of what runs.
        assert_eq!(slots.first_gap(10, 0), 10);
        assert_eq!(slots.first_gap(11, 0), 20);
        slots.occupy(20, 23);
        assert_eq!(slots.first_gap(3, 6), 3);
        slots.occupy(4, 4);
        assert_eq!(slots.first_gap(3, 6), 4, "not over what takes no time");
        assert_eq!(slots.first_gap(5, 6), 30);
        assert_eq!(slots.busy, [(4, 4), (10, 30)]);
    }

    #[test]
    fn a_transfer_needs_a_gap_at_both_ends() {
        let mut gaps = Gaps::new(0, 2);
        let (a, b) = (ChannelId(0), ChannelId(1));
        gaps.occupy_channels([a, a], 0, 5);
        gaps.occupy_channels([b, b], 7, 9);
        assert_eq!(gaps.first_on_both((a, b), &[], 0, 2), 5);
        assert_eq!(gaps.first_on_both((a, b), &[], 0, 3), 9);
        assert_eq!(gaps.first_on_both((a, b), &[(a, 6, 11)], 0, 2), 11);
        assert_eq!(gaps.first_on_both((a, b), &[(ChannelId(7), 6, 11)], 0, 2), 5);
    }
}
