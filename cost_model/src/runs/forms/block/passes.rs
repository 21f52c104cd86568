//! The forward pass of a block in pieces ([`crate::streams::period`]) at the prices of blocks: compute and
//! exchange in turn.
//!
//! ```text
//! attention     all before the feed-forward part, and attention to tokens that are cached:
//!               max(keys and values over memory bandwidth, operations at the rate of cores)
//! exchange      half of the collectives of tensor ranks; of experts a dispatch
//! feed-forward  products and moves; of experts with those that every token visits
//! exchange      the other half; of experts a combine
//! ```
//!
//! Each piece of work takes at least half of the block's launches, where those are not recorded.

use ir::card::{ExpertCard, TransformerCard};
use ir::stack::{Dispatcher, Launch, Stack};

use super::super::constants::{Constant, Constants};
use super::super::exchange::Tokens;
use super::super::precision;
use super::super::rank_groups::Group;
use super::super::run::Sharded;
use super::super::system::System;
use super::cached::cached_s;
use super::{Pass, experts, floor, without_experts};

/// Seconds of a forward pass of as many samples as a micro-batch has.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pieces {
    /// Attention.
    pub attention_s: f64,
    /// The feed-forward part, or experts.
    pub feed_forward_s: f64,
    /// Each of both exchanges; 0 on one device.
    pub exchange_s: f64,
    /// Whether exchanges leave hosts.
    pub leaves_host: bool,
}

/// The pieces of a block whose samples have so many tokens cached.
#[must_use]
pub fn pieces(
    run: Sharded<'_>,
    cached: u64,
    system: &System,
    (stack, constants): (&Stack, &Constants),
) -> Pieces {
    // With experts of which every token visits none, a block is its attention.
    let beside = run.card.experts.unwrap_or(ExpertCard {
        n_shared: 1,
        feed_forward: run.card.feed_forward,
        ..ExpertCard::default()
    });
    let of = |n_shared: u64| {
        let experts = Some(ExpertCard { n_shared, ..beside });
        let card = TransformerCard { experts, ..run.card.clone() };
        without_experts(Sharded { card: &card, ..run }, system, stack, constants).forward
    };
    let (alone, all) = (of(0), of(beside.n_shared));
    let work_s = |pass: &Pass| pass.seconds - pass.collectives;
    let least_s = floor(run, stack, constants) / 2.0;
    let attention_s = work_s(&alone) + cached_s(run, cached, system, (stack, constants));
    let mut feed_forward_s = (work_s(&all) - work_s(&alone)).max(0.0);
    let (group, exchange_s) = match run.card.experts {
        None => (Group::tensor(run.parallelism), all.collectives / 2.0),
        Some(experts) => {
            let (experts_s, heaviest) = experts::alone(run, (system, stack, constants));
            feed_forward_s += match stack.launch {
                Launch::CudaGraphs => {
                    let seconds = experts::recorded(run, (system, stack, constants));
                    seconds[0].max(seconds[1])
                }
                _ => experts_s[0],
            };
            let group = Group::experts(run.parallelism);
            let tokens = Tokens {
                count: heaviest * samples_tokens(run),
                bytes: precision::element(run.dtype) * run.card.hidden as f64,
                visits: experts.per_token as f64,
            };
            let network = constants.get(Constant::Network);
            let spread = group.spread(system.per_host);
            let both_s = match spread.ranks {
                0 | 1 => 0.0,
                _ => system.visits_s(spread, tokens, Dispatcher::AllToAll, network),
            };
            (group, both_s / 2.0)
        }
    };
    Pieces {
        attention_s: attention_s.max(least_s),
        feed_forward_s: feed_forward_s.max(least_s),
        exchange_s,
        leaves_host: group.spread(system.per_host).leaves_host(),
    }
}

fn samples_tokens(run: Sharded<'_>) -> f64 {
    run.parallelism.micro_batch.saturating_mul(run.card.sequence) as f64
}
