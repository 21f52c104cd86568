//! Rules of a placement of a layer's experts, looked at without anything that places them.

use super::Shape;

/// A rule that a placement breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The placement is of another number of experts.
    OtherExperts {
        /// Of the placement.
        placed: usize,
        /// Of the layer.
        experts: usize,
    },
    /// An expert is nowhere.
    Nowhere {
        /// The expert.
        expert: usize,
    },
    /// A copy is on a device that there is none of.
    NoDevice {
        /// The expert.
        expert: usize,
        /// The device's number.
        device: usize,
    },
    /// A device holds more or fewer copies than it has slots.
    Slots {
        /// The device.
        device: usize,
        /// Copies on it.
        held: usize,
    },
    /// Experts of one group are on two hosts.
    TwoHosts {
        /// The group.
        group: usize,
        /// The hosts.
        hosts: [usize; 2],
    },
    /// A host has more or fewer groups than the others.
    GroupsOfHost {
        /// The host.
        host: usize,
        /// Its groups.
        held: usize,
    },
}

/// All rules that a placement of so many experts breaks.
#[must_use]
pub fn verify(copies: &[Vec<usize>], n_experts: usize, shape: &Shape) -> Vec<Violation> {
    if copies.len() != n_experts {
        return vec![Violation::OtherExperts { placed: copies.len(), experts: n_experts }];
    }
    let mut found = Vec::new();
    let mut counts = vec![0; shape.host.len()];
    let mut host_of_group: Vec<Option<usize>> = vec![None; shape.groups];
    for (expert, devices) in copies.iter().enumerate() {
        if devices.is_empty() {
            found.push(Violation::Nowhere { expert });
        }
        for device in devices {
            let (Some(count), Some(host)) = (counts.get_mut(*device), shape.host.get(*device))
            else {
                found.push(Violation::NoDevice { expert, device: *device });
                continue;
            };
            *count += 1;
            let group = shape.group(expert, n_experts);
            let Some(known) = host_of_group.get_mut(group).filter(|_| shape.groups > 1) else {
                continue;
            };
            let first = *known.get_or_insert(*host);
            let violation = Violation::TwoHosts { group, hosts: [first, *host] };
            if first != *host && !found.contains(&violation) {
                found.push(violation);
            }
        }
    }
    let full = counts.into_iter().enumerate().filter(|(_, count)| *count != shape.slots);
    found.extend(full.map(|(device, count)| Violation::Slots { device, held: count }));
    found.extend(uneven(&host_of_group, shape));
    found
}

/// Hosts that have not their part of the groups.
fn uneven(host_of_group: &[Option<usize>], shape: &Shape) -> Vec<Violation> {
    if shape.groups <= 1 {
        return Vec::new();
    }
    let n_hosts = shape.n_hosts();
    let groups_on = |host| host_of_group.iter().filter(|home| **home == Some(host)).count();
    let each = (0..n_hosts).map(|host| (host, groups_on(host)));
    let wrong = each.filter(|(_, n)| n * n_hosts != shape.groups);
    wrong.map(|(host, n)| Violation::GroupsOfHost { host, held: n }).collect()
}
