//! Copies of the experts of a layer on devices: the load of each device, rules and bounds.
//!
//! Loads are shares of a layer's visits (pairs of a token and an expert that it goes to), so that all
//! devices together have 1. Visits of an expert are shared out equally over its copies: so do EPLB's
//! own packing, vLLM's and SGLang's choice of a copy by token. Where a server takes the nearest copy
//! instead, loads are these only if the tokens of all devices visit experts alike.

pub mod bound;
pub mod cache;
pub mod verify;

use ir::card::Skew;

use crate::kernels::moe;

/// Devices with slots for experts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// By device the number of its host; devices of a host stand side by side.
    pub host: Vec<usize>,
    /// Experts of a layer that a device holds; each slot holds one.
    pub slots: usize,
    /// Groups of as many experts each, in order, whose copies stay on one host; as many on each host.
    /// With 1, experts may be anywhere.
    pub groups: usize,
}

impl Shape {
    /// Slots of all devices.
    #[must_use]
    pub fn n_slots(&self) -> usize {
        self.slots.saturating_mul(self.host.len())
    }

    /// Hosts.
    #[must_use]
    pub fn n_hosts(&self) -> usize {
        self.host.iter().max().map_or(0, |last| last + 1)
    }

    /// The group of an expert of so many.
    #[must_use]
    pub fn group(&self, expert: usize, n_experts: usize) -> usize {
        expert / n_experts.div_ceil(self.groups.max(1)).max(1)
    }
}

/// By expert the devices of its copies, each as often as it holds one.
pub type Copies = Vec<Vec<usize>>;

/// Visits of each expert as shares of all; `None` where there are none, or one is no number from 0 up.
#[must_use]
pub fn shares(visits: &[f64]) -> Option<Vec<f64>> {
    let is_count = |count: &f64| count.is_finite() && *count >= 0.0;
    let sum: f64 = visits.iter().sum();
    let is_sound = visits.iter().all(is_count) && sum.is_finite() && sum > 0.0;
    is_sound.then(|| visits.iter().map(|count| count / sum).collect())
}

/// Shares by a law, the most visited expert first. A token visits an expert once at most, so that none
/// has more than one visit in `per_token`.
#[must_use]
pub fn skewed(skew: Skew, n_experts: usize, per_token: u64) -> Vec<f64> {
    let power = match skew {
        Skew::Balanced => 0.0,
        Skew::Zipf { thousandths } => f64::from(thousandths) / 1e3,
    };
    let mut shares: Vec<f64> = (1..=n_experts).map(|i| (i as f64).powf(-power)).collect();
    let most = (1.0 / per_token.max(1) as f64).max(1.0 / n_experts.max(1) as f64);
    moe::scale(&mut shares, 1.0, most);
    shares
}

/// The load of each of so many devices; devices that are none have no load.
#[must_use]
pub fn loads(shares: &[f64], copies: &[Vec<usize>], n_devices: usize) -> Vec<f64> {
    let mut loads = vec![0.0; n_devices];
    for (share, devices) in shares.iter().zip(copies) {
        let each = share / devices.len().max(1) as f64;
        for device in devices {
            if let Some(load) = loads.get_mut(*device) {
                *load += each;
            }
        }
    }
    loads
}

/// The greatest load of a device.
#[must_use]
pub fn greatest(shares: &[f64], copies: &[Vec<usize>], n_devices: usize) -> f64 {
    loads(shares, copies, n_devices).into_iter().fold(0.0, f64::max)
}

#[cfg(test)]
mod tests;
