//! Meshes of devices, placements of tensors on them, and what resharding costs.

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
}

/// What an axis does to a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Each device has all of it.
    Replicated,
    /// Each device has a part of this dimension.
    Split(u8),
    /// Each device has a summand of it.
    Partial,
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
            if let Part::Split(dim) = part {
                let of = local.get_mut(usize::from(*dim))?;
                if *of % axis.size != 0 {
                    return None;
                }
                *of /= axis.size;
            }
        }
        Some(local.iter().map(|n| *n as f64).product())
    }

    /// The cheapest way from one placement to another, one axis after another, and its collectives; none where
    /// there is none. A summand is made by no collective.
    #[must_use]
    pub fn resharding(
        &self,
        prices: &dyn Prices,
        (dims, element_bytes): (&[u64], f64),
        (from, to): (&[Part], &[Part]),
    ) -> Option<(f64, Vec<(usize, Collective)>)> {
        if from == to {
            return Some((0.0, Vec::new()));
        }
        let mut best: Option<(f64, Vec<(usize, Collective)>)> = None;
        for axis in (0..from.len()).filter(|axis| from[*axis] != to[*axis]) {
            let collective = match (from[axis], to[axis]) {
                (_, Part::Partial) => return None,
                (Part::Replicated, _) => None,
                (Part::Partial, Part::Replicated) => Some(Collective::AllReduce),
                (Part::Partial, Part::Split(_)) => Some(Collective::ReduceScatter),
                (Part::Split(_), Part::Replicated) => Some(Collective::AllGather),
                (Part::Split(_), Part::Split(_)) => Some(Collective::AllToAll),
            };
            let (mut whole, mut next) = (from.to_vec(), from.to_vec());
            (whole[axis], next[axis]) = (Part::Replicated, to[axis]);
            let Some(elements) = self.local(dims, &whole) else { continue };
            if self.local(dims, &next).is_none() {
                continue;
            }
            let rest = self.resharding(prices, (dims, element_bytes), (&next, to));
            let Some((rest_s, mut steps)) = rest else { continue };
            let of = |of| prices.collective_s(axis, of, elements * element_bytes);
            let seconds = collective.map_or(0.0, of) + rest_s;
            if best.as_ref().is_none_or(|(least, _)| seconds < *least) {
                steps.splice(0..0, collective.map(|of| (axis, of)));
                best = Some((seconds, steps));
            }
        }
        best
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
