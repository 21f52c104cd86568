//! Copies of experts as the load balancer of DeepSeek places them: the baseline.
//!
//! # Decides
//! The devices of every copy of every expert, layer by layer.
//!
//! # Idea
//! A further copy goes to the expert with most load per copy until slots are full; loads are split
//! equally over copies. Copies go in order of their load, each to the least loaded device that has a
//! free slot. With groups, these go to hosts in the same way first, then the experts of a host to its
//! devices.
//!
//! # Paper
//! DeepSeek-AI, "DeepSeek-V3 Technical Report", arXiv:2412.19437, section 3.4; its program EPLB.
//! Packing: Graham, SIAM J. Appl. Math. 17(2), 1969.
//!
//! # Guarantee
//! None. The copies of each expert are as many as make the greatest load of a copy least.
//!
//! # Complexity
//! O(slots x (experts + devices)) for a layer.
//!
//! # Limits
//! All devices alike. Ties go to the first expert, copy, device or host, so that one histogram gives
//! one placement.
//!
//! # Example
//! Visits 4, 2, 1, 1 on two devices of three slots: the first expert gets a second and a third copy
//! (2, 2, then 4/3 each); devices hold {0, 0, 2} and {1, 0, 3}, loads 11/3 and 13/3 of 8.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use cost_model::experts::bound::{bound, counts};
use cost_model::experts::{Copies, Shape, greatest};

use super::Placed;
use crate::run::Control;

/// Places each layer.
pub fn solve(layers: &[Vec<f64>], shape: &Shape, _: &Control) -> Vec<Placed> {
    let placed = |shares: &Vec<f64>| {
        let copies = place(shares, shape);
        let load = greatest(shares, &copies, shape.host.len());
        Placed { copies, load, bound: bound(shares, shape) }
    };
    layers.iter().map(placed).collect()
}

/// Places a layer.
#[must_use]
pub fn place(shares: &[f64], shape: &Shape) -> Copies {
    let mut copies = vec![Vec::new(); shares.len()];
    for part in parts(shares, shape) {
        let part_shares: Vec<f64> = part.experts.iter().map(|expert| shares[*expert]).collect();
        let n_slots = part.devices.len() * shape.slots;
        let packed =
            pack(&part_shares, &counts(&part_shares, n_slots), (part.devices.len(), shape.slots));
        for (device, experts) in part.devices.iter().zip(packed) {
            experts.into_iter().for_each(|expert| copies[part.experts[expert]].push(*device));
        }
    }
    copies
}

/// Experts that lie on some devices and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) experts: Vec<usize>,
    pub(super) devices: Vec<usize>,
}

/// Groups to hosts, the heaviest first; one part without groups.
pub(super) fn parts(shares: &[f64], shape: &Shape) -> Vec<Part> {
    if shape.groups <= 1 {
        let (experts, devices) = ((0..shares.len()).collect(), (0..shape.host.len()).collect());
        return vec![Part { experts, devices }];
    }
    let mut groups = vec![0.0; shape.groups];
    let group = |expert: usize| shape.group(expert, shares.len());
    shares.iter().enumerate().for_each(|(expert, share)| groups[group(expert)] += share);
    let n_hosts = shape.n_hosts();
    let packed = pack(&groups, &vec![1; shape.groups], (n_hosts, shape.groups / n_hosts));
    let part = |(host, on_host): (usize, Vec<usize>)| Part {
        experts: (0..shares.len()).filter(|expert| on_host.contains(&group(*expert))).collect(),
        devices: (0..shape.host.len()).filter(|device| shape.host[*device] == host).collect(),
    };
    packed.into_iter().enumerate().map(part).collect()
}

/// By device what it holds: copies in order of their loads, each to the least loaded device with a free
/// slot.
pub(super) fn pack(
    shares: &[f64],
    counts: &[usize],
    (n_devices, slots): (usize, usize),
) -> Vec<Vec<usize>> {
    let each = |expert: usize| shares[expert] / counts[expert] as f64;
    let mut copies: Vec<usize> =
        (0..shares.len()).flat_map(|expert| std::iter::repeat_n(expert, counts[expert])).collect();
    copies.sort_by(|a, b| each(*b).total_cmp(&each(*a)));
    let mut packed = vec![Vec::new(); n_devices];
    // Numbers from 0 up are in the order of their bits.
    let mut free: BinaryHeap<Reverse<(u64, usize)>> =
        (0..n_devices).filter(|_| slots > 0).map(|device| Reverse((0, device))).collect();
    for expert in copies {
        let Some(Reverse((load, device))) = free.pop() else { break };
        packed[device].push(expert);
        if packed[device].len() < slots {
            free.push(Reverse(((f64::from_bits(load) + each(expert)).to_bits(), device)));
        }
    }
    packed
}
