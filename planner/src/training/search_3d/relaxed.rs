//! A time that no plan of a configuration falls below, whatever its cuts and what it computes again,
//! memory counted: stages may hold fractions of blocks.
//!
//! Rank `r` may compute for `T - r c` seconds, for before its first pass come `r` forward passes and
//! after its last one `r` backward passes, of at least a block each (`c` together; the forward pass
//! alone where gradients of weights come apart). With work `w`, exchanges beside it included,
//! states `s` and kept bytes `a` of a block, `k` micro-batches in flight and `q` bytes freed per
//! second of computing again, `n` blocks and `y` seconds again need
//!
//! ```text
//! m (n w + y) <= T - r c        n (s + k a) - k q y <= room
//! ```
//!
//! so that a rank holds at most `n(T)` blocks, and `T` is too little where all ranks together hold
//! less than the model. Of models with several kinds of blocks, those of the kind with most work are
//! counted so; of all kinds together, the work alone.

use cost_model::runs::forms::model::kind::Kind;
use cost_model::runs::forms::model::priced::Priced;

use super::bound::lowered;
use super::space::{Configuration, RecomputeRule};
use crate::training::order::InFlight;

/// Halvings of the interval in which the least time is looked for.
const HALVINGS: u32 = 40;

/// What one rank has.
struct Rank {
    /// Seconds of a step that are not its own.
    away_s: f64,
    /// Bytes for blocks.
    room: f64,
    /// Micro-batches in flight.
    in_flight: f64,
    /// Whether head and loss lie here.
    has_head: bool,
}

/// What a block of the counted kind needs.
struct Block {
    seconds: f64,
    states: f64,
    all: f64,
    least: f64,
    /// Bytes freed per second of computing again.
    freed: f64,
}

/// The bound, in seconds; `limit` in bytes of a device.
pub(super) fn of_configuration(
    priced: &Priced<'_>,
    configuration: &Configuration,
    in_flight: &InFlight,
    limit: f64,
) -> f64 {
    let kinds = &priced.passes.kinds;
    let groups = priced.pricing.model.groups.iter();
    let counts: Vec<f64> = groups.map(|group| f64::from(group.n_blocks)).collect();
    let work = |kind: &Kind| kind.forward_s + kind.backward_s;
    let of = |index: &usize| counts[*index] * work(&kinds[*index]);
    let n_kinds = kinds.len().min(counts.len());
    let Some(main) = (0..n_kinds).max_by(|a, b| of(a).total_cmp(&of(b))) else { return 0.0 };
    let others_s: f64 = (0..n_kinds).filter(|index| *index != main).map(|index| of(&index)).sum();
    // Of passes that are split, the gradients of weights may come after the last one is sent on.
    let sent = |kind: &Kind| match configuration.order.is_whole() {
        true => work(kind),
        false => kind.forward_s,
    };
    let used = (0..n_kinds).filter(|index| counts[*index] > 0.0);
    let least_s = used.map(|index| sent(&kinds[index])).fold(f64::INFINITY, f64::min);
    let hop_s = hop_s(priced);
    let back = if configuration.order.is_whole() { hop_s } else { 0.0 };
    let own = ranks(priced, in_flight, limit, least_s + hop_s + back, configuration);
    let m = configuration.degrees.n_micro_batches as f64;
    let (block, exchange_s) = needs(priced, configuration, &kinds[main]);
    let head_s = priced.passes.head_s;
    let all = (counts[main], others_s, head_s);
    let passes_s = least_time(&block, &own, m, all);
    // Behind the last pass either the gradient goes back to the first rank, or the rank exchanges
    // its gradients and steps.
    let used = (0..n_kinds).filter(|index| counts[*index] > 0.0);
    let forward_s = used.map(|index| kinds[index].forward_s).fold(f64::INFINITY, f64::min);
    let ahead = ranks(priced, in_flight, limit, forward_s + hop_s, configuration);
    let ending = Block { seconds: block.seconds + end_s(priced, main, counts[main]) / m, ..block };
    let passes_s = passes_s.max(least_time(&ending, &ahead, m, all));
    // What is exchanged may hide behind the head, other kinds and what is computed again, and they
    // behind it.
    let freed = if block.freed > 0.0 { f64::INFINITY } else { 0.0 };
    let exchanged = Block { seconds: exchange_s, freed, ..block };
    let exchanges_s = match exchange_s > 0.0 {
        true => least_time(&exchanged, &own, m, (counts[main], 0.0, 0.0)),
        false => 0.0,
    };
    lowered(passes_s.max(exchanges_s), configuration.degrees.virtual_stages, &configuration.degrees)
}

/// The least step of ranks that hold so many blocks, work of other kinds besides, and the head.
fn least_time(
    block: &Block,
    ranks: &[Rank],
    m: f64,
    (n_blocks, others_s, head_s): (f64, f64, f64),
) -> f64 {
    let work_s = n_blocks * block.seconds + others_s;
    let own_s = |rank: &Rank, step_s: f64| {
        let head_s = if rank.has_head { head_s } else { 0.0 };
        ((step_s - rank.away_s) / m - head_s).max(0.0)
    };
    let holds = |step_s: f64| {
        // A rank holds whole blocks.
        let whole = |blocks: f64| (blocks * (1.0 + 1e-9) + 1e-9).floor();
        let all = ranks.iter().map(|rank| whole(most(block, rank, own_s(rank, step_s))));
        let all: f64 = all.sum();
        let seconds: f64 = ranks.iter().map(|rank| own_s(rank, step_s)).sum();
        all >= n_blocks * (1.0 - 1e-9) && seconds >= work_s * (1.0 - 1e-9)
    };
    let mut high = m * work_s.max(f64::MIN_POSITIVE);
    let mut low = 0.0;
    // With everything computed again and all on one rank: beyond this nothing fits.
    let away_s = ranks.iter().map(|rank| rank.away_s).fold(0.0, f64::max);
    let most_s = 16.0 * (high + m * head_s) + away_s;
    // Of times that are no numbers nothing is claimed; no comparison with them would end the loop.
    if !work_s.is_finite() || !most_s.is_finite() {
        return 0.0;
    }
    while !holds(high) {
        low = high;
        high *= 2.0;
        if high > most_s {
            return low;
        }
    }
    for _ in 0..HALVINGS {
        if high - low <= 1e-6 * high {
            break;
        }
        let middle = f64::midpoint(low, high);
        if holds(middle) { high = middle } else { low = middle }
    }
    low
}

/// Seconds in which the smallest message reaches the next rank.
fn hop_s(priced: &Priced<'_>) -> f64 {
    let smallest = priced.messages.iter().copied().fold(f64::INFINITY, f64::min);
    let bytes = if smallest.is_finite() { smallest } else { 0.0 };
    let hop = |rank: u32| {
        let (bytes, link) = priced.way(rank, rank + 1, bytes);
        link.start_up_s + bytes / link.rate.get()
    };
    let hop = (1..priced.degrees.pipeline).map(|rank| hop(rank - 1)).fold(f64::INFINITY, f64::min);
    if hop.is_finite() { hop } else { 0.0 }
}

/// Seconds that a block adds to the end of the step: what of its exchange nothing hides, and the
/// optimizer. Start-up costs are paid per stage; here once for all blocks.
fn end_s(priced: &Priced<'_>, kind: usize, count: f64) -> f64 {
    let Some(kind) = priced.passes.kinds.get(kind).filter(|_| count > 0.0) else { return 0.0 };
    let (dense, experts) = (count * kind.dense, count * kind.experts);
    let hidden = priced.pricing.stack.overlap_data;
    let exchange_s = (1.0 - hidden) * priced.last_exchange_s(dense, experts);
    (exchange_s + priced.optimizer_s(dense, experts)) / count
}

/// What a block needs, and seconds of the exchanges beside its passes.
fn needs(priced: &Priced<'_>, configuration: &Configuration, kind: &Kind) -> (Block, f64) {
    let gather = priced.gather_s(kind.dense, kind.experts, 1.0);
    let scatter = priced.scatter_s(kind.dense, kind.experts, 1.0);
    // Every second product is computed again only where that is pinned or all that is said.
    let (per_op, per_op_s) = match configuration.recompute {
        RecomputeRule::PerOp => (kind.per_op, kind.per_op_s),
        _ => (kind.all, 0.0),
    };
    let freed = [
        (kind.all - kind.input, kind.recompute_s),
        (kind.all - kind.without_core, kind.core_s),
        (kind.all - per_op, per_op_s),
    ];
    let rate = |(bytes, seconds): (f64, f64)| match seconds > 0.0 {
        true => bytes.max(0.0) / seconds,
        false if bytes > 0.0 => f64::INFINITY,
        false => 0.0,
    };
    // What is pinned is computed again in split passes too.
    let may = match configuration.recompute {
        RecomputeRule::None => false,
        RecomputeRule::Fitted => configuration.order.is_whole(),
        RecomputeRule::Selective
        | RecomputeRule::PerOp
        | RecomputeRule::Full
        | RecomputeRule::Alike => true,
    };
    let least = if may { kind.input.min(kind.without_core).min(per_op) } else { kind.all };
    let exchange_s = 2.0 * gather + scatter;
    let block = Block {
        // Whatever hides the rest.
        seconds: kind.forward_s + kind.backward_s + priced.slowed() * exchange_s,
        states: kind.held_dense * priced.on_device.parameter[0]
            + kind.held_experts * priced.on_device.parameter[1],
        all: kind.all,
        least,
        freed: if may { freed.into_iter().map(rate).fold(0.0, f64::max) } else { 0.0 },
    };
    (block, exchange_s)
}

fn ranks(
    priced: &Priced<'_>,
    in_flight: &InFlight,
    limit: f64,
    least_s: f64,
    configuration: &Configuration,
) -> Vec<Rank> {
    let p = configuration.degrees.pipeline.max(1) as usize;
    let last_of = |stage: u32| configuration.order.rank_of(p as u32, stage) as usize;
    let n_stages = p as u32 * configuration.degrees.virtual_stages.max(1);
    let head = last_of(n_stages - 1);
    let of = |rank: usize| {
        // Whatever the sizes of its chunks, at the fullest moment each holds so many.
        let moments = in_flight.get(rank).map(Vec::as_slice).unwrap_or_default();
        let chunks = |moment: &Vec<u32>| moment.iter().copied().min().unwrap_or(0);
        let in_flight = moments.iter().map(chunks).max().unwrap_or(0);
        let mut room = limit - priced.rank_bytes;
        if rank == 0 {
            room -= priced.on_device.ends[0];
        }
        if rank == head {
            room -= priced.logit_bytes;
            if priced.has_own_head() {
                room -= priced.on_device.ends[1];
            }
        }
        let away_s = rank as f64 * least_s;
        Rank { away_s, room, in_flight: f64::from(in_flight), has_head: rank == head }
    };
    (0..p).map(of).collect()
}

/// Bytes of a block on a rank where nothing is computed again.
fn held(block: &Block, rank: &Rank) -> f64 {
    block.states + rank.in_flight * block.all
}

/// Blocks that a rank holds at most in so many seconds of each micro-batch.
fn most(block: &Block, rank: &Rank, own_s: f64) -> f64 {
    if own_s <= 0.0 || rank.room <= 0.0 {
        return 0.0;
    }
    let plain = own_s / block.seconds.max(f64::MIN_POSITIVE);
    let bytes = held(block, rank);
    if plain * bytes <= rank.room {
        return plain;
    }
    let smallest = block.states + rank.in_flight * block.least;
    let by_bytes = if smallest > 0.0 { rank.room / smallest } else { f64::INFINITY };
    let rate = rank.in_flight * block.freed;
    let by_time = if rate > 0.0 {
        (own_s + rank.room / rate) / (block.seconds + bytes / rate)
    } else {
        rank.room / bytes.max(f64::MIN_POSITIVE)
    };
    plain.min(by_bytes).min(by_time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn least(seconds: f64, away_s: f64, head_s: f64) -> f64 {
        let block = Block { seconds, states: 1.0, all: 1.0, least: 1.0, freed: 0.0 };
        let rank = |has_head| Rank { away_s, room: 1e9, in_flight: 1.0, has_head };
        least_time(&block, &[rank(false), rank(true)], 4.0, (8.0, 0.0, head_s))
    }

    #[test]
    fn times_without_an_end_claim_nothing_and_return() {
        // Four micro-batches of eight blocks of a second on two ranks.
        assert!((least(1.0, 0.0, 0.0) / 16.0 - 1.0).abs() < 1e-5);
        for endless in [f64::INFINITY, f64::NAN, 1e308] {
            assert_eq!(least(endless, 0.0, 0.0), 0.0);
            assert_eq!(least(1.0, 0.0, endless), 0.0);
        }
        assert_eq!(least(1.0, f64::INFINITY, 0.0), 0.0);
    }
}
