//! Cuts a line of items into one piece per device so that the fullest device is least full.

use crate::placement::clusters::Units;
use crate::placement::dispatch::Network;

/// What fills a device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Weights {
    /// Part of the work in the load.
    pub(crate) time: f64,
    /// Part of the bytes in the load.
    pub(crate) bytes: f64,
}

/// Items in a line; an item is a list of units that stay together.
pub(crate) struct Line<'a> {
    units: &'a Units<'a>,
    items: Vec<&'a [u32]>,
    /// `item * n_devices + device`: its part of an even share of all work, infinite where it can't
    /// be.
    time: Vec<f64>,
    /// The same of all bytes, shares in proportion to the memory limits.
    bytes: Vec<f64>,
    n_devices: usize,
}

/// Halvings of the interval that holds the least bottleneck.
const N_HALVINGS: usize = 40;

impl<'a> Line<'a> {
    pub(crate) fn new(network: &Network, units: &'a Units<'a>, items: Vec<&'a [u32]>) -> Self {
        let n_devices = network.n_devices;
        let total_time: f64 = units.time.iter().map(|t| *t as f64).sum();
        let total_bytes: f64 = units.bytes.iter().map(|b| *b as f64).sum();
        let limit = |device| match network.limit_of(device) {
            u64::MAX => total_bytes,
            limit => limit as f64,
        };
        let all_limits: f64 = (0..n_devices).map(limit).sum();
        let mut time = Vec::with_capacity(items.len() * n_devices);
        let mut bytes = Vec::with_capacity(items.len() * n_devices);
        for item in &items {
            let item_bytes: f64 = item.iter().map(|unit| units.bytes[*unit as usize] as f64).sum();
            for device in 0..n_devices {
                time.push(
                    part(item_time(network, units, item, device), total_time) * n_devices as f64,
                );
                bytes.push(part(item_bytes, total_bytes) * part(all_limits, limit(device)));
            }
        }
        Self { units, items, time, bytes, n_devices }
    }

    /// Device by unit for the given devices in this order, some of which may stay empty; `None`
    /// where an item can't be on any device that is left. The bottleneck is the least for the line
    /// where all devices are alike: the greedy filling under a trial bottleneck then is optimal.
    pub(crate) fn cut(&self, devices: &[usize], weights: Weights) -> Option<Vec<u16>> {
        let load = |item: usize, device: usize| {
            let slot = item * self.n_devices + device;
            // 0 x infinity is no number: an item that can't be there must stay infinite.
            let time = self.time[slot];
            let time = if time.is_finite() { weights.time * time } else { time };
            time + weights.bytes * self.bytes[slot]
        };
        let mut high = 1.0;
        while self.fill(devices, high, &load).is_none() {
            high *= 2.0;
            if high > 1e6 {
                return None;
            }
        }
        let mut low = 0.0;
        for _ in 0..N_HALVINGS {
            let middle = 0.5 * (low + high);
            if self.fill(devices, middle, &load).is_some() {
                high = middle;
            } else {
                low = middle;
            }
        }
        self.fill(devices, high, &load)
    }

    fn fill(
        &self,
        devices: &[usize],
        most: f64,
        load: &impl Fn(usize, usize) -> f64,
    ) -> Option<Vec<u16>> {
        let mut home = vec![0u16; self.units.n()];
        let mut at = 0;
        let mut used = 0.0;
        for (position, item) in self.items.iter().enumerate() {
            while used + load(position, *devices.get(at)?) > most {
                at += 1;
                used = 0.0;
            }
            used += load(position, devices[at]);
            item.iter().for_each(|unit| home[*unit as usize] = devices[at] as u16);
        }
        Some(home)
    }
}

fn part(value: f64, all: f64) -> f64 {
    if all > 0.0 { value / all } else { 0.0 }
}

fn item_time(network: &Network, units: &Units, item: &[u32], device: usize) -> f64 {
    let mut sum = 0.0;
    for &unit in item {
        let place = ir::id::DeviceId::new(device);
        if !units.placeable[unit as usize].contains(place) {
            return f64::INFINITY;
        }
        sum += units.time_on(network.problem, unit as usize, device) as f64;
    }
    sum
}
