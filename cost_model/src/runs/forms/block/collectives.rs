//! What the ranks of a block exchange within one pass.

use ir::card::SequenceParallel;
use ir::measured::CollectiveOperation;
use ir::stack::{Pieces, Scaling, Stack};
use ir::tensor::DType;

use super::super::constants::{Constant, Constants};
use super::super::precision;
use super::super::rank_groups::{Group, Spread};
use super::super::run::Sharded;
use super::super::system::System;
use super::{Direction, Extents, collectives_of};

/// Exposed collectives of one pass, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exposed {
    /// Inside hosts.
    pub inside: f64,
    /// Between hosts.
    pub network: f64,
    /// Of both, those of context ranks; the others are those of tensor ranks.
    pub context: f64,
}

/// Exposed collectives of one pass: those of tensor ranks, and keys and values of the other context ranks
/// (backward with their gradients: Liu, Zaharia and Abbeel 2023, Ring Attention).
pub(super) fn collectives(
    run: Sharded<'_>,
    direction: Direction,
    system: &System,
    (stack, constants): (&Stack, &Constants),
) -> Exposed {
    let degrees = run.parallelism;
    let extents = Extents::of(run, stack.projections);
    let tensor = u64::from(degrees.tensor.max(1));
    let network = constants.get(Constant::Network);
    let per_token = precision::element(run.dtype) * extents.tokens as f64;
    let bytes = per_token * extents.hidden as f64;
    let part =
        if tensor < system.per_host { constants.get(Constant::PartCollectives) } else { 1.0 };
    let factor = constants.get(Constant::TensorCollectives) * part;
    let spread = |group: Group| group.spread(system.per_host);
    let of_tensor = spread(Group::tensor(degrees));
    let tensor_s =
        collectives_of(run) * factor * halves_s(run, (system, stack, constants), of_tensor, bytes);
    let (key, value) = extents.head_dims;
    let kv_bytes = per_token * run.card.n_kv_heads as f64 * (key as f64 + value as f64);
    let sent = match direction {
        Direction::Forward => kv_bytes,
        Direction::Backward => 2.0 * kv_bytes,
    };
    let of_context = Group::context(degrees);
    let next_s = system.next_in_ring_s(of_context, sent / tensor as f64, network);
    let of_context = spread(of_context);
    let context_s = (of_context.ranks - 1) as f64 * next_s;
    let mut seconds = [0.0; 2];
    let exposed = (1.0 - overlapped(run, system, stack)) * tensor_s;
    for (group, group_s) in [(of_tensor, exposed), (of_context, context_s)] {
        seconds[usize::from(group.leaves_host())] += group_s;
    }
    let [inside, network] = seconds;
    Exposed { inside, network, context: context_s }
}

/// Bytes that a gather sends over those of 16-bit values: sequence-parallel ranks cast to 8 bits before
/// they gather, but where scaling by rows needs the whole row.
fn gathered_share(run: Sharded<'_>, stack: &Stack) -> f64 {
    let casts = run.dtype == DType::F8 && run.parallelism.sequence == SequenceParallel::On;
    if casts && stack.scaling != Scaling::Row { 0.5 } else { 1.0 }
}

/// Seconds of a gather and a scatter of so many bytes, as measured, else each half an all-reduce, with
/// the copies that put pieces in order.
fn halves_s(
    run: Sharded<'_>,
    (system, stack, constants): (&System, &Stack, &Constants),
    group: Spread,
    bytes: f64,
) -> f64 {
    if group.ranks <= 1 {
        return 0.0;
    }
    let network = constants.get(Constant::Network);
    let share = gathered_share(run, stack);
    let is_split = run.parallelism.sequence == SequenceParallel::On;
    let half_s = |half, bytes| match is_split {
        true => system.half_s(half, group, bytes, network),
        false => system.all_reduce_s(group, bytes, network) / 2.0,
    };
    let copied = match (stack.pieces, run.parallelism.sequence) {
        (Pieces::Copied, SequenceParallel::On) => 2.0 * bytes * (1.0 + share),
        _ => 0.0,
    };
    let rates = system.rates(stack, constants, run.dtype);
    let (gather, scatter) = (CollectiveOperation::AllGather, CollectiveOperation::ReduceScatter);
    half_s(scatter, bytes) + half_s(gather, share * bytes) + rates.pointwise(copied)
}

/// Share of tensor-parallel collectives that runs beside products: what the stack overlaps, where
/// sequences are shared out inside one scale-up domain; the recipes of NVFP4 switch it off.
fn overlapped(run: Sharded<'_>, system: &System, stack: &Stack) -> f64 {
    let degrees = run.parallelism;
    let is_shared = degrees.sequence == SequenceParallel::On && system.is_in_domain(degrees);
    if is_shared && run.dtype != DType::F4 { stack.overlap_tensor } else { 0.0 }
}
