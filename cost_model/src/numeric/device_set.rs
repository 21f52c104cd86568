//! Sets of devices.

use ir::id::DeviceId;

/// A set of devices.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeviceSet {
    bits: Vec<u64>,
}

impl DeviceSet {
    /// All of `n` devices.
    #[must_use]
    pub fn all(n: usize) -> Self {
        let mut set = Self { bits: vec![0; n.div_ceil(64)] };
        (0..n).for_each(|d| set.insert(DeviceId::new(d)));
        set
    }

    /// None of `n` devices.
    #[must_use]
    pub fn none(n: usize) -> Self {
        Self { bits: vec![0; n.div_ceil(64)] }
    }

    /// Adds a device.
    pub fn insert(&mut self, device: DeviceId) {
        self.bits[device.index() / 64] |= 1 << (device.index() % 64);
    }

    /// Removes a device.
    pub fn remove(&mut self, device: DeviceId) {
        self.bits[device.index() / 64] &= !(1 << (device.index() % 64));
    }

    /// Whether the device is in it.
    #[must_use]
    pub fn contains(&self, device: DeviceId) -> bool {
        self.bits[device.index() / 64] >> (device.index() % 64) & 1 == 1
    }

    /// Whether no device is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bits.iter().all(|word| *word == 0)
    }

    /// Keeps only what is also in `other`.
    pub fn intersect(&mut self, other: &Self) {
        self.bits.iter_mut().zip(&other.bits).for_each(|(a, b)| *a &= b);
    }

    /// The devices in it, in increasing order.
    pub fn iter(&self) -> impl Iterator<Item = DeviceId> + '_ {
        (0..self.bits.len() * 64)
            .filter(|d| self.bits[d / 64] >> (d % 64) & 1 == 1)
            .map(DeviceId::new)
    }
}
