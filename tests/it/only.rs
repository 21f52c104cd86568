//! A measured configuration as the only one of a space.

use ir::card::Recompute;
use ir::plan::Parallelism;
use planner::training::order::Order;
use planner::training::search_3d::space::{Pins, RecomputeRule, Space, Split};

/// The space of one configuration of equal stages; an expert degree only where it is stated.
pub(crate) fn space(d: &Parallelism, recompute: Recompute, expert: Option<u32>) -> Space {
    let pins = Pins {
        data: Some(d.data),
        tensor: Some(d.tensor),
        pipeline: Some(d.pipeline),
        context: Some(d.context),
        expert,
        expert_tensor: None,
        micro_batch: Some(d.micro_batch),
        virtual_stages: Some(d.virtual_stages),
        orders: vec![if d.virtual_stages > 1 { Order::Interleaved } else { Order::OneFOneB }],
        recompute: match recompute {
            Recompute::None => RecomputeRule::None,
            Recompute::Selective => RecomputeRule::Selective,
            Recompute::PerOp => RecomputeRule::PerOp,
            _ => RecomputeRule::Full,
        },
        expert_overlap: Some(d.expert_overlap),
        zero: Some(d.zero),
        sequence: Some(d.sequence),
        split: Some(Split::Equal),
        mesh: Some(d.mesh),
        capabilities: None,
        may_offload: false,
    };
    let devices = vec![d.data * d.tensor * d.pipeline * d.context];
    Space { devices, global_batch: d.micro_batch * d.n_micro_batches * u64::from(d.data), pins }
}
