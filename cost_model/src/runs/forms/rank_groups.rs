//! Where the ranks of a training run lie: which hosts a group of them touches, which pipeline
//! neighbours leave their host, and which of them use the same network card.
//!
//! Devices are numbered through, host by host. Tensor ranks are neighbours, context ranks come
//! next; then replicas and pipeline ranks in the order of [`Mesh`]. Ranks that share out the
//! experts of a block are taken from the context ranks first, as far as their number divides, then
//! from the replicas; where fewer tensor ranks split an expert than all else, from the others of these
//! before.

use std::collections::{BTreeMap, BTreeSet};

use ir::plan::{Mesh, Parallelism};
use ir::units::Bytes;

use crate::runs::judge::costs::HostCosts;

/// Ranks that are so far apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Axis {
    size: u64,
    /// Devices from one rank to the next.
    stride: u64,
}

/// Ranks that take part in one collective; every device is in one group of the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    axes: [Axis; 2],
    n_devices: u64,
}

/// How a group lies on hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Ranks of the group.
    pub ranks: u64,
    /// Hosts that it touches, at most.
    pub hosts: u64,
    /// Its ranks in the host that has most of them.
    pub most: u64,
    /// Its ranks in the host that has fewest of them.
    pub least: u64,
}

impl Spread {
    /// A group of so many neighbours inside a host.
    #[must_use]
    pub const fn inside(ranks: u64) -> Self {
        Self { ranks, hosts: 1, most: ranks, least: ranks }
    }

    /// Whether something has to leave a host.
    #[must_use]
    pub const fn leaves_host(&self) -> bool {
        self.hosts > 1
    }
}

fn count(degree: u32) -> u64 {
    u64::from(degree.max(1))
}

fn inner(degrees: &Parallelism) -> u64 {
    count(degrees.tensor).saturating_mul(count(degrees.context))
}

/// Devices of a run.
pub(in crate::runs) fn n_devices(degrees: &Parallelism) -> u64 {
    [degrees.data, degrees.pipeline].iter().fold(inner(degrees), |n, d| n.saturating_mul(count(*d)))
}

/// Devices from one replica to the next.
fn data_stride(degrees: &Parallelism) -> u64 {
    match degrees.mesh {
        Mesh::TpCpDpPp => inner(degrees),
        Mesh::TpCpPpDp => inner(degrees).saturating_mul(count(degrees.pipeline)),
    }
}

fn divisor_of_both(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor_of_both(b, a % b) }
}

impl Group {
    fn of(degrees: &Parallelism, axes: [(u64, u64); 2]) -> Self {
        let axes = axes.map(|(size, stride)| Axis { size, stride });
        Self { axes, n_devices: n_devices(degrees) }
    }

    /// Ranks that split the products of a block.
    #[must_use]
    pub fn tensor(degrees: &Parallelism) -> Self {
        Self::of(degrees, [(count(degrees.tensor), 1), (1, 1)])
    }

    /// Ranks that split a sequence.
    #[must_use]
    pub fn context(degrees: &Parallelism) -> Self {
        Self::of(degrees, [(count(degrees.context), count(degrees.tensor)), (1, 1)])
    }

    /// Ranks that hold the same parameters: replicas and context ranks.
    #[must_use]
    pub fn replicas(degrees: &Parallelism) -> Self {
        let context = (count(degrees.context), count(degrees.tensor));
        Self::of(degrees, [context, (count(degrees.data), data_stride(degrees))])
    }

    /// Ranks of a replica that hold each product of an expert once, and devices from one to the next.
    fn whole_experts(degrees: &Parallelism) -> (u64, u64) {
        let split = u64::from(degrees.of_expert());
        ((inner(degrees) / split).max(1), split)
    }

    /// Expert ranks along tensor ranks, where context ranks and replicas are too few, inside a replica and
    /// along data.
    fn expert_split(degrees: &Parallelism) -> [u64; 3] {
        let (expert, data) = (count(degrees.expert), count(degrees.data));
        let along_inner = divisor_of_both(expert, Self::whole_experts(degrees).0);
        let others = expert / along_inner;
        let along_data = if others > data { divisor_of_both(others, data) } else { others };
        [others / along_data, along_inner, along_data]
    }

    /// Ranks that split the products of an expert.
    #[must_use]
    pub fn expert_tensor(degrees: &Parallelism) -> Self {
        Self::of(degrees, [(u64::from(degrees.of_expert()), 1), (1, 1)])
    }

    /// Ranks that share out the experts of a block.
    #[must_use]
    pub fn experts(degrees: &Parallelism) -> Self {
        let [along_tensor, along_inner, along_data] = Self::expert_split(degrees);
        let stride = if along_tensor > 1 { 1 } else { Self::whole_experts(degrees).1 };
        let inner = (along_tensor.saturating_mul(along_inner), stride);
        Self::of(degrees, [inner, (along_data, data_stride(degrees))])
    }

    /// Ranks that hold the same experts.
    #[must_use]
    pub fn expert_replicas(degrees: &Parallelism) -> Self {
        let [_, along_inner, along_data] = Self::expert_split(degrees);
        let (whole, each) = Self::whole_experts(degrees);
        let part = |all: u64, split: u64, stride: u64| {
            ((all / split.max(1)).max(1), stride.saturating_mul(split))
        };
        let inner = part(whole, along_inner, each);
        Self::of(degrees, [inner, part(count(degrees.data), along_data, data_stride(degrees))])
    }

    /// How the group lies on hosts of so many devices.
    #[must_use]
    pub fn spread(&self, per_host: u64) -> Spread {
        let per_host = per_host.max(1);
        self.aligned(per_host).unwrap_or_else(|| self.counted(per_host))
    }

    fn ranks(&self) -> u64 {
        self.axes.iter().fold(1, |n, axis| n.saturating_mul(axis.size))
    }

    /// The same for all groups of the kind, where hosts begin and end with ranks of each axis.
    fn aligned(&self, per_host: u64) -> Option<Spread> {
        let mut in_host = 1;
        for Axis { size, stride } in self.axes {
            let span = size.checked_mul(stride)?;
            if size == 1 {
                continue;
            }
            if stride.is_multiple_of(per_host) {
                continue;
            }
            let is_inside = per_host.is_multiple_of(span);
            if !(is_inside || per_host.is_multiple_of(stride) && span.is_multiple_of(per_host)) {
                return None;
            }
            in_host *= size.min(per_host / stride);
        }
        let ranks = self.ranks();
        Some(Spread { ranks, hosts: ranks / in_host, most: in_host, least: in_host })
    }

    /// The worst over all groups of the kind, one by one.
    fn counted(&self, per_host: u64) -> Spread {
        let ranks = self.ranks();
        let mut spread = Spread { ranks, hosts: 1, most: 1, least: ranks };
        let is_first =
            |device: u64| self.axes.iter().all(|a| (device / a.stride).is_multiple_of(a.size));
        let [inner, outer] = self.axes;
        for first in (0..self.n_devices).filter(|device| is_first(*device)) {
            let members = (0..outer.size).flat_map(|j| {
                (0..inner.size).map(move |i| first + i * inner.stride + j * outer.stride)
            });
            let mut hosts: Vec<u64> = members.map(|device| device / per_host).collect();
            hosts.sort_unstable();
            let in_hosts = hosts.chunk_by(|a, b| a == b).map(|chunk| chunk.len() as u64);
            let (n, most, least) = in_hosts.fold((0, 0, u64::MAX), |(n, most, least), here| {
                (n + 1, most.max(here), least.min(here))
            });
            spread.hosts = spread.hosts.max(n);
            spread.most = spread.most.max(most);
            spread.least = spread.least.min(least);
        }
        spread
    }
}

impl Group {
    /// Rings that leave a host through its busiest network card, where so many neighbours share one:
    /// each rank sends to the next one of its group, the last to the first. 0 where no ring leaves a
    /// host.
    #[must_use]
    pub fn rings_through_card(&self, per_host: u64, per_card: u64) -> u64 {
        let (per_host, per_card) = (per_host.max(1), per_card.max(1));
        let [inner, outer] = self.axes;
        match self.aligned(per_host) {
            Some(spread) if !spread.leaves_host() => 0,
            // The last devices of each host send to the first of the next one.
            Some(_) if outer.size == 1 => inner.stride.min(per_card).min(per_host),
            _ => self.counted_rings(per_host, per_card),
        }
    }

    /// The same, device by device.
    fn counted_rings(&self, per_host: u64, per_card: u64) -> u64 {
        let [inner, outer] = self.axes;
        let n_cards = per_host.div_ceil(per_card);
        let card =
            |device: u64| (device / per_host * n_cards + device % per_host / per_card) as usize;
        // Rings repeat themselves in every stretch that holds whole groups and whole hosts.
        let spans = [inner, outer].map(|axis| axis.stride.saturating_mul(axis.size).max(1));
        let stretch = spans.into_iter().fold(per_host, least_common_multiple);
        let n_devices = self.n_devices.min(stretch);
        let mut flows = vec![[0; 2]; card(n_devices) + 1];
        for device in 0..n_devices {
            let at = |axis: Axis| device / axis.stride % axis.size;
            let (i, j) = (at(inner), at(outer));
            let first = device - i * inner.stride - j * outer.stride;
            let next = (j * inner.size + i + 1) % (inner.size * outer.size);
            let next = first + next % inner.size * inner.stride + next / inner.size * outer.stride;
            if next / per_host != device / per_host {
                flows[card(device)][0] += 1;
                flows[card(next)][1] += 1;
            }
        }
        flows.into_iter().flatten().max().unwrap_or(0)
    }
}

fn least_common_multiple(a: u64, b: u64) -> u64 {
    let (mut divisor, mut rest) = (a, b);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    (a / divisor.max(1)).saturating_mul(b)
}

/// What tells apart where groups inside a block lie, for equal tensor, context and expert degrees:
/// how those that share out experts lie on hosts, where all groups lie alike; else their stride and
/// all devices.
#[must_use]
pub fn layout_of_blocks(degrees: &Parallelism, per_host: u64) -> [u64; 3] {
    let (inner, per_host) = (inner(degrees), per_host.max(1));
    let is_even = per_host.is_multiple_of(inner) || inner.is_multiple_of(per_host);
    match Group::experts(degrees).aligned(per_host).filter(|_| is_even) {
        Some(experts) => [experts.hosts, experts.most, 0],
        None => [data_stride(degrees), 0, n_devices(degrees)],
    }
}

/// Devices of one pipeline rank that stand together, and how often such a stretch repeats.
struct Stretch {
    block: u64,
    copies: u64,
    copy_stride: u64,
}

fn stretch(degrees: &Parallelism) -> Stretch {
    let (inner, data) = (inner(degrees), count(degrees.data));
    match degrees.mesh {
        Mesh::TpCpDpPp => Stretch {
            block: inner.saturating_mul(data),
            copies: 1,
            copy_stride: n_devices(degrees),
        },
        Mesh::TpCpPpDp => Stretch { block: inner, copies: data, copy_stride: data_stride(degrees) },
    }
}

/// Whether any device of a pipeline rank lies on another host than its counterpart on another rank.
#[must_use]
pub fn crosses(degrees: &Parallelism, per_host: u64, from: u32, to: u32) -> bool {
    let per_host = per_host.max(1);
    let Stretch { block, copies, copy_stride } = stretch(degrees);
    if from == to || per_host.is_multiple_of(copy_stride) {
        return false;
    }
    if block >= per_host {
        return true;
    }
    let period = per_host / divisor_of_both(per_host, copy_stride % per_host);
    let within = if per_host.is_multiple_of(block) { 1 } else { block };
    let host = |copy: u64, rank: u32, j: u64| {
        (copy * copy_stride + u64::from(rank) * block + j) / per_host
    };
    (0..copies.min(period))
        .any(|copy| (0..within).any(|j| host(copy, from, j) != host(copy, to, j)))
}

/// Pipeline ranks by network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cards {
    /// By rank, its card.
    pub of_rank: Vec<u32>,
    /// Devices of one rank that use one card.
    pub n_copies: u32,
}

/// Which pipeline ranks use the same network card, where so many neighbours in a host share one.
/// Where hosts or cards begin in the middle of a rank, each rank is taken to have cards of its own
/// that all their devices use.
#[must_use]
pub fn cards(degrees: &Parallelism, per_host: u64, per_card: u64) -> Cards {
    let n_ranks = degrees.pipeline.max(1);
    let (per_host, per_card) = (per_host.max(1), per_card.clamp(1, per_host.max(1)));
    let Stretch { block, copy_stride, copies } = stretch(degrees);
    let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let is_aligned =
        per_host.is_multiple_of(per_card) && (copies == 1 || copy_stride.is_multiple_of(per_host));
    if is_aligned && per_card.is_multiple_of(block) {
        let card = |rank: u32| narrow(u64::from(rank) * block / per_card);
        return Cards { of_rank: (0..n_ranks).map(card).collect(), n_copies: narrow(block) };
    }
    Cards { of_rank: (0..n_ranks).collect(), n_copies: narrow(per_card) }
}

/// The pipeline rank of a device, by its position in the cluster.
#[must_use]
pub fn rank_of(degrees: &Parallelism, device: u64) -> u32 {
    let block = stretch(degrees).block.max(1);
    u32::try_from(device / block % count(degrees.pipeline)).unwrap_or(u32::MAX)
}

/// Tensor rank and replica of a device by its position in the cluster, each of so many. Context ranks
/// hold what replicas hold.
#[must_use]
pub fn seat_of(degrees: &Parallelism, device: u64) -> [[u32; 2]; 2] {
    let [tensor, context, data] = [degrees.tensor, degrees.context, degrees.data].map(count);
    let replica = device / data_stride(degrees) % data * context + device / tensor % context;
    let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    [[device % tensor, tensor], [replica, context.saturating_mul(data)]]
        .map(|pair| pair.map(narrow))
}

/// By host its pipeline ranks with the devices of each; of hosts with equal ones and equal room the
/// first.
#[must_use]
pub fn hosts(degrees: &Parallelism, per_host: u64, room: &[Option<Bytes>]) -> Vec<HostCosts> {
    let per_host = per_host.max(1);
    let mut seen = BTreeSet::new();
    let n_hosts = n_devices(degrees).div_ceil(per_host);
    let of = |host: u64| {
        let mut devices: BTreeMap<u32, u32> = BTreeMap::new();
        for device in
            (host * per_host..(host + 1) * per_host).take_while(|d| *d < n_devices(degrees))
        {
            *devices.entry(rank_of(degrees, device)).or_default() += 1;
        }
        let limit = room.get(host as usize).copied().flatten();
        let devices = devices.into_iter().collect();
        HostCosts { host: u32::try_from(host).unwrap_or(u32::MAX), limit, devices }
    };
    (0..n_hosts).map(of).filter(|host| seen.insert((host.limit, host.devices.clone()))).collect()
}

#[cfg(test)]
mod tests;
