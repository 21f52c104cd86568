//! Meshes of devices, placements of tensors on them, and what resharding costs.

use std::collections::{BTreeMap, BTreeSet};

/// An axis of a mesh: groups of devices that a dimension of a tensor is split over.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Such as `tensor`.
    pub name: String,
    /// Devices of a group.
    pub size: u64,
}

/// Axes, the outermost first.
#[derive(Clone, Debug, PartialEq)]
pub struct Mesh {
    /// The outermost first.
    pub axes: Vec<Axis>,
    /// Whether the order counts in which axes split the same dimension; else any order is taken for any other.
    pub is_ordered: bool,
}

/// What an axis does to a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Each device has all of it.
    Replicated,
    /// Each device has a part of this dimension, of what axes before this one have split.
    Split(u8),
    /// The same, and axes behind this one, of so many devices, split the dimension before it does (PyTorch's
    /// `_StridedShard(dim, split_factor)`).
    Strided(u8, u32),
    /// Each device has a summand of it.
    Partial,
}

impl Part {
    /// The dimension that is split.
    #[must_use]
    pub const fn split(self) -> Option<u8> {
        match self {
            Self::Split(dim) | Self::Strided(dim, _) => Some(dim),
            Self::Replicated | Self::Partial => None,
        }
    }

    /// The same where the order of axes does not count.
    #[must_use]
    pub const fn unordered(self) -> Self {
        match self {
            Self::Strided(dim, _) => Self::Split(dim),
            part => part,
        }
    }
}

/// By axis what it does to a tensor.
pub type Placement = Vec<Part>;

/// A collective over the devices of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Collective {
    /// Summands to sums.
    AllReduce,
    /// Summands to parts of sums.
    ReduceScatter,
    /// Parts to all of it.
    AllGather,
    /// Parts of one dimension to parts of another.
    AllToAll,
}

/// What an op does on a device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// FLOPs.
    pub flops: f64,
    /// Bytes of inputs and outputs.
    pub bytes: f64,
    /// The kernel that does it.
    pub kernel: Kernel,
}

/// A kernel of an op.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kernel {
    /// Reads inputs and writes outputs.
    Pointwise,
    /// So many products of rows x depth by depth x columns: number, rows, columns, depth.
    Product([u64; 4]),
    /// Fused attention.
    Attention {
        /// Tokens that a query sees at most.
        tokens: u64,
        /// Elements of a head.
        head: u64,
        /// Whether it is the backward pass.
        is_backward: bool,
    },
}

/// Prices of work on a device and of collectives.
pub trait Prices {
    /// Seconds of an op on each device.
    fn op_s(&self, load: &Load) -> f64;
    /// Seconds of a collective over an axis, by number; `bytes` is the tensor before that axis splits it.
    fn collective_s(&self, axis: usize, of: Collective, bytes: f64) -> f64;
}

impl Mesh {
    /// Elements of a device's part of a tensor; none where a dimension does not divide.
    #[must_use]
    pub fn local(&self, dims: &[u64], placement: &[Part]) -> Option<f64> {
        let mut local = dims.to_vec();
        for (axis, part) in self.axes.iter().zip(placement) {
            if let Some(dim) = part.split() {
                let of = local.get_mut(usize::from(dim))?;
                if *of % axis.size != 0 {
                    return None;
                }
                *of /= axis.size;
            }
        }
        Some(local.iter().map(|n| *n as f64).product())
    }

    /// Axes that split a dimension, the first one that does so first; none of a stride that no axes have.
    #[must_use]
    pub fn order(&self, placement: &[Part], dim: u8) -> Option<Vec<usize>> {
        let mut order: Vec<usize> = Vec::new();
        for (axis, part) in placement.iter().enumerate().rev() {
            if part.split() != Some(dim) {
                continue;
            }
            let before = if let Part::Strided(_, before) = part { u64::from(*before) } else { 1 };
            let product =
                |n: usize| order[..n].iter().map(|of| self.axes[*of].size).product::<u64>();
            let at = (0..=order.len()).find(|n| product(*n) == before)?;
            order.insert(at, axis);
        }
        Some(order)
    }

    /// The part of an axis that splits a dimension when some others do.
    fn part(&self, dim: u8, behind: impl Iterator<Item = usize>) -> Part {
        match behind.map(|axis| self.axes[axis].size).product::<u64>() {
            1 => Part::Split(dim),
            before => Part::Strided(dim, u32::try_from(before).unwrap_or(u32::MAX)),
        }
    }

    /// Placements whose parts have no order, of the operands of an op, in each order of the axes in which all of them
    /// may be. Where one axis splits more operands than another one that splits a dimension with it, it comes first:
    /// heads of keys are split before those of queries alone.
    #[must_use]
    pub fn orders(&self, placements: &[Placement]) -> Vec<Vec<Placement>> {
        let n = self.axes.len();
        let splits = |axis: usize| placements.iter().map(move |of| of[axis].split());
        let n_split = |axis: usize| splits(axis).flatten().count();
        let share = |one: usize, other: usize| {
            splits(one).zip(splits(other)).any(|(one, other)| one.is_some() && one == other)
        };
        let is_before = |one: usize, other: usize| {
            !share(one, other) || splits(one).eq(splits(other)) || n_split(one) >= n_split(other)
        };
        let mut all: Vec<Vec<Placement>> = Vec::new();
        for order in permutations(n) {
            let mut pairs = (0..n).flat_map(|at| (at + 1..n).map(move |behind| (at, behind)));
            if !pairs.all(|(at, behind)| is_before(order[at], order[behind])) {
                continue;
            }
            let place = |axis: usize| order.iter().position(|of| *of == axis);
            let ordered = |of: &Placement| -> Placement {
                let of_axis = |axis: usize| match of[axis] {
                    Part::Split(dim) => {
                        let earlier = (axis + 1..n).filter(|other| of[*other] == of[axis]);
                        self.part(dim, earlier.filter(|other| place(*other) < place(axis)))
                    }
                    part => part,
                };
                (0..n).map(of_axis).collect()
            };
            let ordered: Vec<Placement> = placements.iter().map(ordered).collect();
            if !all.contains(&ordered) {
                all.push(ordered);
            }
        }
        all
    }

    /// What one axis may make of a placement: a part of another dimension, or the whole, of what it alone has split
    /// last.
    pub(super) fn moves(&self, dims: &[u64], from: &[Part]) -> Vec<Move> {
        let mut all = Vec::new();
        for (axis, part) in from.iter().enumerate() {
            let is_last = |dim| self.order(from, dim).is_some_and(|of| of.last() == Some(&axis));
            if self.is_ordered && part.split().is_some_and(|dim| !is_last(dim)) {
                continue;
            }
            let mut whole = from.to_vec();
            whole[axis] = Part::Replicated;
            let Some(elements) = self.local(dims, &whole) else { continue };
            let split = |dim: u8| {
                let others = (axis + 1..from.len()).filter(|of| whole[*of].split() == Some(dim));
                if self.is_ordered { self.part(dim, others) } else { Part::Split(dim) }
            };
            let splits = (0..dims.len() as u8).filter(|dim| part.split() != Some(*dim)).map(split);
            for next in splits.chain((*part != Part::Replicated).then_some(Part::Replicated)) {
                let mut to = whole.clone();
                to[axis] = next;
                if self.local(dims, &to).is_some() {
                    all.push(Move { axis, collective: collective(*part, next), elements, to });
                }
            }
        }
        all
    }

    /// The cheapest way from one placement to another, one axis after another, and its collectives; none where
    /// there is none, or one with collectives that are left out. A summand is made by no collective.
    #[must_use]
    pub fn resharding(
        &self,
        prices: &dyn Prices,
        (dims, element_bytes): (&[u64], f64),
        (from, to): (&[Part], &[Part]),
        without: &[Collective],
    ) -> Option<(f64, Vec<(usize, Collective)>)> {
        let mut open = BTreeMap::from([(from.to_vec(), (0.0_f64, Vec::new()))]);
        let mut closed = BTreeSet::new();
        loop {
            let least = open.iter().min_by(|one, other| {
                (one.1.0).total_cmp(&other.1.0).then(one.1.1.len().cmp(&other.1.1.len()))
            });
            let next = least?.0.clone();
            let (seconds, steps) = open.remove(&next)?;
            if next == to {
                let is_allowed = steps.iter().all(|(_, of)| !without.contains(of));
                return is_allowed.then_some((seconds, steps));
            }
            for Move { axis, collective, elements, to } in self.moves(dims, &next) {
                if closed.contains(&to) {
                    continue;
                }
                let price = |of| prices.collective_s(axis, of, elements * element_bytes);
                let seconds = seconds + collective.map_or(0.0, price);
                let steps = steps.iter().copied().chain(collective.map(|of| (axis, of)));
                let found = (seconds, steps.collect::<Vec<_>>());
                let known = open.entry(to).or_insert_with(|| found.clone());
                if (found.0, found.1.len()) < (known.0, known.1.len()) {
                    *known = found;
                }
            }
            closed.insert(next);
        }
    }

    /// All placements of the products of `parts` per axis that divide a tensor.
    #[must_use]
    pub fn placements(&self, dims: &[u64], parts: &[Part]) -> Vec<Placement> {
        let mut all = vec![Vec::new()];
        for _ in &self.axes {
            let with = |placement: &Placement| {
                let placement = placement.clone();
                parts.iter().map(move |part| {
                    let mut next = placement.clone();
                    next.push(*part);
                    next
                })
            };
            all = all.iter().flat_map(with).collect();
        }
        all.retain(|placement| self.local(dims, placement).is_some());
        all
    }
}

/// What one axis makes of a placement.
pub(super) struct Move {
    pub axis: usize,
    /// None where each device takes its part of what it has.
    pub collective: Option<Collective>,
    /// Elements of a device before the axis splits them.
    pub elements: f64,
    pub to: Placement,
}

/// What makes one part of another that no device sums.
const fn collective(from: Part, to: Part) -> Option<Collective> {
    match (from, to) {
        (Part::Replicated, _) | (_, Part::Partial) => None,
        (Part::Partial, Part::Replicated) => Some(Collective::AllReduce),
        (Part::Partial, _) => Some(Collective::ReduceScatter),
        (_, Part::Replicated) => Some(Collective::AllGather),
        _ => Some(Collective::AllToAll),
    }
}

/// All orders of so many numbers, that of themselves first.
fn permutations(n: usize) -> Vec<Vec<usize>> {
    let Some(last) = n.checked_sub(1) else { return vec![Vec::new()] };
    let with = |at: usize, of: &Vec<usize>| {
        let mut of = of.clone();
        of.insert(at, last);
        of
    };
    let before = permutations(last);
    (0..n).rev().flat_map(|at| before.iter().map(move |of| with(at, of))).collect()
}

/// The usual prices of published programs: work at full rates, collectives as rings of one latency and one bandwidth.
#[derive(Clone, Debug, PartialEq)]
pub struct Rings {
    /// FLOP/s of a device.
    pub flops_per_s: f64,
    /// Bytes/s of its memory.
    pub memory_bytes_per_s: f64,
    /// Seconds to launch an op.
    pub launch_s: f64,
    /// By axis: devices, seconds of latency, bytes/s.
    pub axes: Vec<(u64, f64, f64)>,
}

impl Prices for Rings {
    fn op_s(&self, load: &Load) -> f64 {
        let memory_s = load.bytes / self.memory_bytes_per_s;
        (load.flops / self.flops_per_s).max(memory_s) + self.launch_s
    }

    fn collective_s(&self, axis: usize, of: Collective, bytes: f64) -> f64 {
        let (size, latency_s, bytes_per_s) = self.axes[axis];
        let n = size as f64;
        let ring_s = latency_s + bytes * (n - 1.0) / (n * bytes_per_s);
        match of {
            Collective::AllReduce => 2.0 * ring_s,
            Collective::ReduceScatter | Collective::AllGather => ring_s,
            Collective::AllToAll => latency_s + bytes / n * (n - 1.0) / (n * bytes_per_s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::price::{Tables, placements};
    use super::*;

    fn mesh(sizes: &[u64]) -> Mesh {
        let axis = |size: &u64| Axis { name: String::new(), size: *size };
        Mesh { axes: sizes.iter().map(axis).collect(), is_ordered: true }
    }

    /// By dimension the elements that a device has.
    type Held = Vec<Vec<u64>>;

    fn chunk(of: &[u64], n: u64, at: u64) -> Vec<u64> {
        let size = of.len() / n as usize;
        of[at as usize * size..][..size].to_vec()
    }

    /// What a placement says that a device has, by its numbers on the axes.
    fn held(mesh: &Mesh, dims: &[u64], placement: &[Part], device: &[u64]) -> Held {
        let of_dim = |(dim, size): (usize, &u64)| {
            let order = mesh.order(placement, dim as u8).unwrap();
            let whole: Vec<u64> = (0..*size).collect();
            order.into_iter().fold(whole, |of, axis| chunk(&of, mesh.axes[axis].size, device[axis]))
        };
        dims.iter().enumerate().map(of_dim).collect()
    }

    fn devices(mesh: &Mesh) -> Vec<Vec<u64>> {
        mesh.axes.iter().fold(vec![Vec::new()], |all, axis| {
            let with = |of: &Vec<u64>| {
                let of = of.clone();
                (0..axis.size).map(move |at| of.iter().copied().chain([at]).collect())
            };
            all.iter().flat_map(with).collect()
        })
    }

    /// Devices that exchange parts as a move says have what the placement behind it says.
    #[test]
    fn moves_end_in_the_placements_that_they_name() {
        let mut n = 0;
        for sizes in [&[2, 3][..], &[3, 2], &[2, 2, 2], &[2, 3, 2]] {
            let (mesh, dims) = (mesh(sizes), [24, 12]);
            for from in placements(&mesh, &dims) {
                for Move { axis, to, .. } in mesh.moves(&dims, &from) {
                    let size = mesh.axes[axis].size;
                    for device in devices(&mesh) {
                        let peer = |at: u64| {
                            let mut peer = device.clone();
                            peer[axis] = at;
                            held(&mesh, &dims, &from, &peer)
                        };
                        let mut has = peer(device[axis]);
                        if let Some(dim) = from[axis].split().map(usize::from) {
                            has[dim] = (0..size).flat_map(|at| peer(at)[dim].clone()).collect();
                        }
                        if let Some(dim) = to[axis].split().map(usize::from) {
                            has[dim] = chunk(&has[dim], size, device[axis]);
                        }
                        assert_eq!(has, held(&mesh, &dims, &to, &device), "{from:?} {to:?}");
                        n += 1;
                    }
                }
            }
        }
        assert!(n > 10_000, "{n}");
    }

    /// By hand: of rows that hosts and devices split, either axis is gathered first by its order alone.
    #[test]
    fn the_axis_that_split_last_is_gathered_first() {
        let (mesh, dims) = (mesh(&[2, 4]), [16, 16]);
        let prices = Rings {
            flops_per_s: 1.0,
            memory_bytes_per_s: 1.0,
            launch_s: 0.0,
            axes: vec![(2, 0.0, 1.0), (4, 0.0, 1.0)],
        };
        let way = |from: [Part; 2], to: [Part; 2]| {
            let found = mesh.resharding(&prices, (&dims, 1.0), (&from, &to), &[]).unwrap();
            let table =
                Tables::default().of((&mesh, &prices), (&dims, 1.0), &[]).unwrap().way(&from, &to);
            assert_eq!(table.as_ref(), Some(&found));
            found.1
        };
        let (rows, whole) = (Part::Split(0), Part::Replicated);
        let gather = |axis| (axis, Collective::AllGather);
        assert_eq!(way([rows, rows], [rows, whole]), [gather(1)]);
        assert_eq!(way([Part::Strided(0, 4), rows], [whole, rows]), [gather(0)]);
        // Devices split columns while hosts gather rows.
        let columns = (1, Collective::AllToAll);
        assert_eq!(way([rows, rows], [whole, rows]), [columns, gather(0), columns]);
        assert_eq!(way([whole, rows], [Part::Strided(0, 4), rows]), []);
    }

    #[test]
    fn tables_have_the_shortest_ways() {
        for (sizes, is_ordered) in [(&[2, 4][..], true), (&[4, 2], false), (&[2, 2, 4], true)] {
            let mesh = Mesh { is_ordered, ..mesh(sizes) };
            let axes = sizes.iter().zip([3e9, 40e9, 7e9]).map(|(n, rate)| (*n, 5e-6, rate));
            let prices = Rings {
                flops_per_s: 1.0,
                memory_bytes_per_s: 1.0,
                launch_s: 0.0,
                axes: axes.collect(),
            };
            let (dims, mut tables) = ([64, 32], Tables::default());
            let without = [Collective::AllToAll];
            let table = tables.of((&mesh, &prices), (&dims, 2.0), &without).unwrap();
            let all = placements(&mesh, &dims);
            for (from, to) in all.iter().flat_map(|from| all.iter().map(move |to| (from, to))) {
                let found = mesh.resharding(&prices, (&dims, 2.0), (from, to), &without);
                let seconds = |of: Option<(f64, Vec<(usize, Collective)>)>| of.map(|of| of.0);
                assert_eq!(seconds(table.way(from, to)), seconds(found), "{from:?} {to:?}");
            }
        }
    }
}
