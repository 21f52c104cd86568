//! Favourite children: devices that stay awake for one (`docs/conventions.md`, S4).

use ir::id::{DeviceId, OpId};

use super::engine::{Engine, Proposal, is_open};

/// Who is awake for whom.
pub(super) struct Awake {
    /// By device: the position of the op that it waits for.
    favourite: Vec<Option<u32>>,
    /// By position: the device that waits for the op.
    device: Vec<Option<DeviceId>>,
    n_awake: usize,
    /// By position: (commits, time, verdict) of the last test for urgency.
    urgent: Vec<(u64, u64, bool)>,
}

impl Awake {
    pub(super) fn new(n_devices: usize, n_ops: usize) -> Self {
        Self {
            favourite: vec![None; n_devices],
            device: vec![None; n_ops],
            n_awake: 0,
            urgent: vec![(u64::MAX, 0, false); n_ops],
        }
    }

    fn begin(&mut self, device: DeviceId, position: u32) {
        self.end(device);
        self.favourite[device.index()] = Some(position);
        self.device[position as usize] = Some(device);
        self.n_awake += 1;
    }

    fn end(&mut self, device: DeviceId) {
        if let Some(position) = self.favourite[device.index()].take() {
            self.device[position as usize] = None;
            self.n_awake -= 1;
        }
    }

    /// An op was committed on a device: that device's wait ends, and the wait for that op.
    pub(super) fn committed(&mut self, position: u32, device: DeviceId) {
        self.end(device);
        if let Some(waiting) = self.device[position as usize] {
            self.end(waiting);
        }
    }
}

impl Engine<'_> {
    /// The op that a device is awake for, if that op still fits.
    pub(super) fn awake_for(&mut self, device: DeviceId) -> Option<u32> {
        let position = self.awake.favourite[device.index()]?;
        let fits = is_open(&self.ledger, self.order[position as usize], device)
            && self.start(position, device).is_ok();
        if !fits {
            self.awake.end(device);
            return None;
        }
        Some(position)
    }

    /// At the end of `op`: its device becomes awake for its favourite, if that is ready, fits,
    /// and nowhere starts earlier.
    pub(super) fn wake(&mut self, op: OpId, favourite: u32) {
        let Some(device) = self.ledger.device[op.index()] else { return };
        if !self.ready.contains(&favourite) || !self.may_go(favourite, device) {
            return;
        }
        let Ok(here) = self.start(favourite, device) else { return };
        let earlier = self
            .devices_of(favourite)
            .into_iter()
            .any(|other| self.start(favourite, other).is_ok_and(|start| start.at < here.at));
        if !earlier {
            self.awake.begin(device, favourite);
        }
    }

    /// Whether another device is awake for an op that is not urgent.
    pub(super) fn is_kept_for_another(&mut self, position: u32, device: DeviceId) -> bool {
        self.awake.n_awake > 0
            && self.awake.device[position as usize].is_some_and(|awake| awake != device)
            && !self.is_urgent(position)
    }

    /// An awake device proposes only its favourite or an urgent op.
    pub(super) fn propose_awake(
        &mut self,
        device: DeviceId,
        favourite: u32,
    ) -> (Option<Proposal>, Option<u64>) {
        let mut best: Option<Proposal> = None;
        let mut next: Option<u64> = None;
        let ready: Vec<u32> = self.ready.iter().copied().collect();
        for position in ready {
            if !self.may_go(position, device) {
                continue;
            }
            let Ok(start) = self.start(position, device) else { continue };
            if start.at > self.time {
                next = Some(next.map_or(start.at, |next| next.min(start.at)));
                continue;
            }
            let proposal = (start.at, position, device);
            if best.is_none_or(|best| proposal < best)
                && (position == favourite || self.is_urgent(position))
            {
                best = Some(proposal);
            }
        }
        (best, next)
    }

    /// Whether an op could have started by now on every device on which it fits.
    fn is_urgent(&mut self, position: u32) -> bool {
        let (commits, time, verdict) = self.awake.urgent[position as usize];
        if (commits, time) == (self.commits, self.time) {
            return verdict;
        }
        let mut devices = self.devices_of(position);
        // A busy device settles it at once.
        devices.sort_by_key(|device| self.ledger.clock[device.index()] <= self.time);
        let mut fits = false;
        let mut late = false;
        for device in devices {
            if let Ok(start) = self.start(position, device) {
                fits = true;
                late |= start.at > self.time;
            }
            if late {
                break;
            }
        }
        let verdict = fits && !late;
        self.awake.urgent[position as usize] = (self.commits, self.time, verdict);
        verdict
    }

    fn may_go(&self, position: u32, device: DeviceId) -> bool {
        let op = self.order[position as usize];
        is_open(&self.ledger, op, device)
    }

    fn devices_of(&self, position: u32) -> Vec<DeviceId> {
        let op = self.order[position as usize];
        let set = self.problem.placeable(op);
        set.iter().filter(|device| is_open(&self.ledger, op, *device)).collect()
    }
}
