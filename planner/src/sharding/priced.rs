//! Prices of the cost model: kernels by shape, collectives as training plans have them.

use cost_model::kernels::rates::{Core, Rates};
use cost_model::runs::forms::exchange::Tokens;
use cost_model::runs::forms::rank_groups::Spread;
use cost_model::runs::forms::system::System;
use ir::measured::CollectiveOperation;
use ir::stack::Dispatcher;

use super::mesh::{Collective, Kernel, Load, Mesh, Prices};

/// Kernels and collectives of a mesh on the devices of a system, which are numbered host by host: the last axis
/// of the mesh has neighbours.
pub struct Priced<'a> {
    /// Devices and links.
    pub system: &'a System,
    /// Kernels of a device under a stack.
    pub rates: Rates,
    /// The same of elementwise kernels and attention.
    pub beside: Rates,
    /// Factor on rates between hosts.
    pub network: f64,
    /// By axis, how its groups lie on hosts.
    pub spreads: Vec<Spread>,
}

/// By axis of a mesh, how its groups lie on hosts of `per_host` devices; none where groups lie unevenly.
#[must_use]
pub fn spreads(mesh: &Mesh, per_host: u64) -> Option<Vec<Spread>> {
    let mut stride = 1_u64;
    let mut all = Vec::new();
    for axis in mesh.axes.iter().rev() {
        let span = stride.checked_mul(axis.size)?;
        let here = match () {
            () if per_host.is_multiple_of(span) => axis.size,
            () if stride.is_multiple_of(per_host) => 1,
            () if span.is_multiple_of(per_host) && per_host.is_multiple_of(stride) => {
                per_host / stride
            }
            () => return None,
        };
        all.push(Spread { ranks: axis.size, hosts: axis.size / here, most: here, least: here });
        stride = span;
    }
    all.reverse();
    Some(all)
}

impl Prices for Priced<'_> {
    fn op_s(&self, load: &Load) -> f64 {
        match load.kernel {
            Kernel::Pointwise => self.beside.start() + self.beside.pointwise(load.bytes),
            Kernel::Product([count, rows, columns, depth]) => {
                self.rates.product(count, [rows, columns, depth])
            }
            Kernel::Attention { tokens, head, is_backward } => {
                let (sequence, head_dim) = (tokens as f64, head as f64);
                let core = Core { flops: load.flops, sequence, head_dim };
                load.flops / self.beside.core_rate(core, is_backward)
            }
        }
    }

    fn collective_s(&self, axis: usize, of: Collective, bytes: f64) -> f64 {
        let spread = self.spreads[axis];
        let half = |half| self.system.half_s(half, spread, bytes, self.network);
        match of {
            Collective::AllReduce => self.system.all_reduce_s(spread, bytes, self.network),
            Collective::ReduceScatter => half(CollectiveOperation::ReduceScatter),
            Collective::AllGather => half(CollectiveOperation::AllGather),
            Collective::AllToAll => {
                let each = bytes / spread.ranks as f64;
                let tokens = Tokens { count: 1.0, bytes: each, visits: 1.0 };
                let both = Dispatcher::AllToAll;
                self.system.visits_s(spread, tokens, both, self.network) / 2.0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::mesh::Axis;
    use super::*;

    fn mesh(sizes: &[u64]) -> Mesh {
        let axis = |size: &u64| Axis { name: String::new(), size: *size };
        Mesh { axes: sizes.iter().map(axis).collect(), is_ordered: true }
    }

    /// Hosts of eight: the last axis has neighbours.
    #[test]
    fn axes_lie_on_hosts_as_devices_are_numbered() {
        let of = |sizes: &[u64]| {
            let all = spreads(&mesh(sizes), 8)?;
            Some(all.iter().map(|of| (of.hosts, of.most)).collect::<Vec<_>>())
        };
        assert_eq!(of(&[8, 8]), Some(vec![(8, 1), (1, 8)]));
        assert_eq!(of(&[16, 4]), Some(vec![(8, 2), (1, 4)]));
        assert_eq!(of(&[2, 4, 8]), Some(vec![(2, 1), (4, 1), (1, 8)]));
        assert_eq!(of(&[4, 16]), Some(vec![(4, 1), (2, 8)]));
        assert_eq!(of(&[5, 12]), None);
    }
}
