//! Layers of experts in parts ([`crate::streams::moe`]) at the prices of blocks.
//!
//! Tensor ranks are the devices of a host, replicas and expert ranks the hosts. A part of `1 / n` of the
//! tokens, rounded up, takes
//!
//! ```text
//! dispatch, combine   half an exchange of visits by an all-to-all between hosts
//! gather, scatter     its visits on all devices of a host
//! experts             their work without an exchange
//! ```
//!
//! each with its own start-up, launches and weights that are read again.

use ir::measured::CollectiveOperation;
use ir::stack::{Dispatcher, Stack};

use super::super::constants::{Constant, Constants};
use super::super::exchange::Tokens;
use super::super::precision;
use super::super::rank_groups::Group;
use super::super::run::Sharded;
use super::super::system::System;
use super::{experts, shared_out, without_experts};
use crate::streams::moe::PartTimes;
use crate::streams::moe_step::{Layer, Reduce};

/// Bytes at which an all-reduce of gradients is looked at for its start-up.
const FEW: f64 = 1e6;

/// A kind of layer, cut into up to so many parts.
#[must_use]
pub fn layer(
    run: Sharded<'_>,
    system: &System,
    (stack, constants): (&Stack, &Constants),
    most: u32,
) -> Layer {
    let time = without_experts(run, system, stack, constants);
    let tokens = run.parallelism.micro_batch.saturating_mul(run.card.sequence);
    let n_parts = match run.card.experts {
        Some(_) => u64::from(most).min(tokens) as u32,
        None => 0,
    };
    let times = |n: u32| part(run, system, (stack, constants), tokens.div_ceil(u64::from(n)));
    let both: Vec<[PartTimes; 2]> = (1..=n_parts).map(times).collect();
    // Each device has its layer's whole router.
    let n_experts = run.card.experts.map_or(0.0, |experts| experts.n_experts as f64);
    let parameters = shared_out(run).0 + n_experts * run.card.hidden as f64;
    Layer {
        forward: both.iter().map(|pair| pair[0]).collect(),
        backward: both.iter().map(|pair| pair[1]).collect(),
        others_s: [time.forward.seconds, time.backward.seconds],
        gradient_bytes: (parameters * run.gradients.exchanged()) as u64,
    }
}

/// A part of so many tokens of a host, forward and backward.
fn part(
    run: Sharded<'_>,
    system: &System,
    (stack, constants): (&Stack, &Constants),
    tokens: u64,
) -> [PartTimes; 2] {
    let mut card = run.card.clone();
    card.sequence = tokens;
    let degrees = ir::plan::Parallelism { micro_batch: 1, ..run.parallelism.clone() };
    let sharded = Sharded { card: &card, parallelism: &degrees, ..run };
    let (experts_s, heaviest) = experts::alone(sharded, (system, stack, constants));
    let network = constants.get(Constant::Network);
    let visits = card.experts.map_or(0.0, |experts| experts.per_token as f64);
    let bytes = precision::element(run.dtype) * card.hidden as f64;
    let each = heaviest * tokens as f64;
    let count = each / f64::from(degrees.tensor.max(1));
    let hosts = Group::experts(&degrees).spread(system.per_host);
    let sent = Tokens { count, bytes, visits };
    let exchange_s = system.visits_s(hosts, sent, Dispatcher::AllToAll, network) / 2.0;
    let inside = Group::tensor(&degrees).spread(system.per_host);
    let half_s = |half| match inside.ranks {
        0 | 1 => 0.0,
        _ => system.half_s(half, inside, each * visits * bytes, network),
    };
    let (gather, scatter) = (CollectiveOperation::AllGather, CollectiveOperation::ReduceScatter);
    let (gather_s, scatter_s) = (half_s(gather), half_s(scatter));
    experts_s.map(|experts_s| PartTimes { exchange_s, gather_s, experts_s, scatter_s })
}

/// The all-reduce of gradients of all replicas, by the line through what few and all bytes take.
#[must_use]
pub fn reduce(run: Sharded<'_>, system: &System, constants: &Constants, all: u64) -> Reduce {
    let group = Group::replicas(run.parallelism).spread(system.per_host);
    let network = constants.get(Constant::Network);
    let of = |bytes: f64| system.all_reduce_s(group, bytes, network);
    let many = (all as f64).max(2.0 * FEW);
    let per_byte_s = ((of(many) - of(FEW)) / (many - FEW)).max(0.0);
    Reduce { start_up_s: (of(FEW) - per_byte_s * FEW).max(0.0), per_byte_s }
}
