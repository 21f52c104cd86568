//! A time that no plan of a configuration falls below, whatever its cuts and what it computes again,
//! memory counted: ranks hold whole blocks, in whatever stages.
//!
//! With `n` blocks on a rank and `y` seconds of computing again for a micro-batch, a rank's passes,
//! what it exchanges behind them and its optimizer take `n S + y Y + E` seconds, of which none can
//! pass before a first micro-batch has come, `A` seconds after the step began, nor, where the last
//! gradient is sent on, after it has left on its way to the first rank ([`claims`]). With states
//! `s` and kept bytes `a` of a block, `k` micro-batches in flight and `q` bytes freed per second of
//! computing again,
//!
//! ```text
//! n S + y Y + E <= T - A        n (s + k a) - k q y <= room
//! ```
//!
//! so that a rank holds at most `n(T)` blocks, and at least those that are too many for all others:
//! so many blocks a first micro-batch passes on its way to the ranks behind, and its gradient on its
//! way back. `T` is too little where all ranks together hold less than the model. Of models with
//! several kinds of blocks, those of the kind with most work are counted so; of all kinds together,
//! the work alone.

use cost_model::runs::forms::model::kind::Kind;
use cost_model::runs::forms::model::priced::Priced;
use ir::card::BlockGroup;

use super::bound::lowered;
use super::claims::{Blocks, Claim, RankEnds, Way, claims, sent};
use super::space::{Configuration, RecomputeRule};
use crate::training::order::{InFlight, Order};

/// Halvings of the interval in which the least time is looked for.
const HALVINGS: u32 = 40;
/// Times that what ranks hold at least and at most is told from each other.
const TURNS: u32 = 4;

/// What one rank has.
struct Rank {
    /// Bytes for blocks.
    room: f64,
    /// Micro-batches in flight.
    in_flight: f64,
    /// Seconds of computing again that each micro-batch takes, whatever the memory.
    again_s: f64,
    /// What takes its time.
    claims: Vec<Claim>,
}

/// Bytes of a block of the counted kind.
struct Bytes {
    states: f64,
    all: f64,
    least: f64,
    /// Bytes freed per second of computing again.
    freed: f64,
}

/// A configuration, as far as its bound goes.
struct Relaxed {
    bytes: Bytes,
    ranks: Vec<Rank>,
    way: Way,
    /// Blocks of the counted kind.
    n_blocks: f64,
    /// Of them, what each rank holds at least.
    fewest: f64,
    /// Seconds of a step that other kinds take, whichever ranks have them.
    others_s: f64,
}

/// The bound, in seconds; `limit` in bytes of a device.
pub(super) fn of_configuration(
    priced: &Priced<'_>,
    configuration: &Configuration,
    in_flight: &InFlight,
    limit: f64,
) -> f64 {
    let of = |recompute| of_rule(priced, configuration, recompute, (in_flight, limit));
    match configuration.recompute {
        // Either no stage computes anything again or each does.
        RecomputeRule::Alike => of(RecomputeRule::None).min(of(RecomputeRule::Alike)),
        recompute => of(recompute),
    }
}

fn of_rule(
    priced: &Priced<'_>,
    configuration: &Configuration,
    recompute: RecomputeRule,
    (in_flight, limit): (&InFlight, f64),
) -> f64 {
    let degrees = &configuration.degrees;
    let kinds = &priced.passes.kinds;
    let groups = &priced.pricing.model.groups;
    let work = |index: &usize| {
        let kind = &kinds[*index];
        f64::from(groups[*index].n_blocks) * (kind.forward_s + kind.backward_s)
    };
    let used = || (0..kinds.len().min(groups.len())).filter(|index| groups[*index].n_blocks > 0);
    let Some(main) = used().max_by(|a, b| work(a).total_cmp(&work(b))) else { return 0.0 };
    let others_s: f64 = used().filter(|index| *index != main).map(|index| work(&index)).sum();
    let (bytes, again_s) = bytes(priced, (configuration, recompute), &kinds[main]);
    let is_only = used().count() == 1;
    let n_blocks = groups[main].n_blocks;
    let least = used().map(|index| sent(configuration.order, &kinds[index]));
    let least = least.fold([f64::INFINITY; 2], |a, b| [a[0].min(b[0]), a[1].min(b[1])]);
    let all_s = others_s + work(&main);
    let blocks = Blocks::of(priced, &kinds[main], (n_blocks, is_only), (again_s, all_s, least));
    let n_chunks = degrees.virtual_stages.max(1);
    let rank = |rank: u32| {
        let ends = RankEnds::of(priced, configuration, &blocks, rank);
        let claims = claims(priced, configuration, &blocks, ends);
        let is_pure = is_pure(groups, main, configuration, rank);
        let least = if is_pure { bytes.least } else { 0.0 };
        let base = room(priced, configuration, in_flight, (limit, rank, least));
        let again_s = match recompute {
            RecomputeRule::Alike if is_pure => f64::from(n_chunks) * kinds[main].recompute_s,
            _ => 0.0,
        };
        let is_head = rank == RankEnds::rank_of_head(configuration);
        let logits = if is_head { priced.logit_bytes } else { 0.0 };
        let rule = (configuration.order, recompute);
        let in_passes = |index| in_passes(priced, rule, &kinds[index], logits);
        // When a rank keeps most, it is about to run a backward pass; of several chunks that of the
        // head may be another one.
        let in_passes = match (is_head && n_chunks > 1, is_pure) {
            (true, _) => 0.0,
            (false, true) => in_passes(main),
            (false, false) => used().map(in_passes).fold(f64::INFINITY, f64::min),
        };
        Rank { claims, again_s, room: base.room - in_passes, ..base }
    };
    let relaxed = Relaxed {
        way: Way::of(priced, configuration, &blocks),
        ranks: (0..degrees.pipeline.max(1)).map(rank).collect(),
        bytes,
        n_blocks: f64::from(n_blocks),
        // Every stage holds a block.
        fewest: if is_only { f64::from(n_chunks) } else { 0.0 },
        others_s: others_s * degrees.n_micro_batches as f64,
    };
    lowered(relaxed.least_time(), degrees.virtual_stages, degrees)
}

/// Whether all stages of a rank hold blocks of one group alone, however blocks are cut: as many
/// stages come before them as there are blocks before that group, and behind them.
fn is_pure(groups: &[BlockGroup], main: usize, configuration: &Configuration, rank: u32) -> bool {
    let degrees = &configuration.degrees;
    let n_ranks = degrees.pipeline.max(1);
    let n_stages = n_ranks * degrees.virtual_stages.max(1);
    let count = |groups: &[BlockGroup]| {
        groups.iter().fold(0_u32, |n, group| n.saturating_add(group.n_blocks))
    };
    let (before, behind) = (count(&groups[..main]), count(&groups[main + 1..]));
    (0..n_stages)
        .filter(|stage| configuration.order.rank_of(n_ranks, *stage) == rank)
        .all(|stage| stage >= before && n_stages - 1 - stage >= behind)
}

impl Relaxed {
    /// Whether the model may fit into ranks that have so many seconds.
    fn holds(&self, step_s: f64) -> bool {
        let mut blocks = vec![self.fewest; self.ranks.len()];
        for _ in 0..TURNS {
            let waits = self.way.waits(&blocks);
            let most = |(rank, waits): (&Rank, &[f64; 3])| {
                let of =
                    |claim: &Claim| self.most(rank, claim, step_s - waits[claim.wait as usize]);
                // A rank holds whole blocks.
                let blocks = rank.claims.iter().map(of).fold(f64::INFINITY, f64::min);
                (blocks * (1.0 + 1e-9) + 1e-9).floor().min(self.n_blocks)
            };
            let most: Vec<f64> = self.ranks.iter().zip(&waits).map(most).collect();
            let all: f64 = most.iter().sum();
            let too_little = |most: &f64| *most < self.fewest;
            if all < self.n_blocks
                || most.iter().any(too_little)
                || !self.has_time(step_s, &most, &blocks)
            {
                return false;
            }
            let least = most.iter().map(|upper| (self.n_blocks - (all - upper)).max(self.fewest));
            let least: Vec<f64> = least.collect();
            if least == blocks {
                return true;
            }
            blocks = least;
        }
        true
    }

    /// Whether all ranks together have the seconds that blocks of all kinds take.
    fn has_time(&self, step_s: f64, most: &[f64], blocks: &[f64]) -> bool {
        let waits = self.way.waits(blocks);
        let lost_s = [
            waits.iter().map(|wait| wait[0]).sum(),
            self.way.lost_s(self.n_blocks, most, blocks[0]),
        ];
        // With the end of each step, and without.
        [0, 1].into_iter().zip(lost_s).all(|(at, lost_s)| {
            let claims = || self.ranks.iter().filter_map(|rank| rank.claims.get(at));
            let fixed_s: f64 = claims().map(|claim| claim.fixed_s).sum();
            let block_s = claims().map(|claim| claim.block_s).fold(f64::INFINITY, f64::min);
            let seconds = step_s * self.ranks.len() as f64 - fixed_s - lost_s;
            block_s.is_infinite()
                || seconds >= (self.n_blocks * block_s + self.others_s) * (1.0 - 1e-9)
        })
    }

    /// Blocks that a rank holds at most in so many seconds of a step.
    fn most(&self, rank: &Rank, claim: &Claim, step_s: f64) -> f64 {
        let own_s = step_s - claim.fixed_s - claim.recompute_s * rank.again_s;
        if own_s <= 0.0 || rank.room <= 0.0 {
            return 0.0;
        }
        let plain = own_s / claim.block_s.max(f64::MIN_POSITIVE);
        let bytes = self.bytes.states + rank.in_flight * self.bytes.all;
        let rate = rank.in_flight * self.bytes.freed;
        let room = rank.room + if rank.again_s > 0.0 { rate * rank.again_s } else { 0.0 };
        if plain * bytes <= room {
            return plain;
        }
        let smallest = self.bytes.states + rank.in_flight * self.bytes.least;
        let by_bytes = if smallest > 0.0 { rank.room / smallest } else { f64::INFINITY };
        let by_time = match (rate > 0.0, claim.recompute_s / rate) {
            (true, price) => (own_s + room * price) / (claim.block_s + bytes * price),
            (false, _) => room / bytes.max(f64::MIN_POSITIVE),
        };
        plain.min(by_bytes).min(by_time)
    }

    /// The least step.
    fn least_time(&self) -> f64 {
        let n_ranks = self.ranks.len() as f64;
        let all = || self.ranks.iter().filter_map(|rank| rank.claims.first());
        let block_s = all().map(|claim| claim.block_s).sum::<f64>() / n_ranks;
        let fixed_s: f64 = all().map(|claim| claim.fixed_s).sum();
        let work_s = self.n_blocks * block_s + self.others_s;
        let mut high = work_s.max(f64::MIN_POSITIVE);
        let mut low = 0.0;
        // With everything computed again and all on one rank: beyond this nothing fits.
        let most_s = 16.0 * (high + fixed_s) + self.way.longest_s(n_ranks, self.n_blocks);
        // Of times that are no numbers nothing is claimed; no comparison with them would end the loop.
        if !work_s.is_finite() || !most_s.is_finite() {
            return 0.0;
        }
        while !self.holds(high) {
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
            if self.holds(middle) { high = middle } else { low = middle }
        }
        low
    }
}

/// Bytes of a block, and seconds that it is computed again whatever the memory.
fn bytes(
    priced: &Priced<'_>,
    (configuration, recompute): (&Configuration, RecomputeRule),
    kind: &Kind,
) -> (Bytes, f64) {
    let states = kind.held_dense * priced.on_device.parameter[0]
        + kind.held_experts * priced.on_device.parameter[1];
    let fixed = |stored: f64, seconds: f64| {
        (Bytes { states, all: stored, least: stored, freed: 0.0 }, seconds)
    };
    let may = match recompute {
        RecomputeRule::None => return fixed(kind.all, 0.0),
        RecomputeRule::Selective => return fixed(kind.without_core, kind.core_s),
        RecomputeRule::PerOp => return fixed(kind.per_op, kind.per_op_s),
        RecomputeRule::Full => return fixed(kind.input, kind.recompute_s),
        RecomputeRule::Fitted => configuration.order.is_whole(),
        // What is pinned is computed again in split passes too.
        RecomputeRule::Alike => true,
    };
    if !may {
        return fixed(kind.all, 0.0);
    }
    let rate = |(stored, seconds): (f64, f64)| match (kind.all - stored, seconds > 0.0) {
        (bytes, true) => bytes.max(0.0) / seconds,
        (bytes, false) if bytes > 0.0 => f64::INFINITY,
        (_, false) => 0.0,
    };
    let freed = [(kind.input, kind.recompute_s), (kind.without_core, kind.core_s)].map(rate);
    let least = kind.input.min(kind.without_core);
    (Bytes { states, all: kind.all, least, freed: freed[0].max(freed[1]) }, 0.0)
}

/// Bytes that are there while a backward pass runs of a stage of one kind of blocks, beside what is
/// kept and so many bytes of logits, which are gone before the first block is computed again.
fn in_passes(
    priced: &Priced<'_>,
    (order, recompute): (Order, RecomputeRule),
    kind: &Kind,
    logits: f64,
) -> f64 {
    let gradients = if kind.held_experts > 0.0 { priced.in_flight } else { 0.0 };
    let again = match recompute {
        // What is computed again early may be when less is kept.
        _ if order.recomputes_early() => 0.0,
        RecomputeRule::Full | RecomputeRule::Alike => (kind.all - logits).max(0.0),
        _ => 0.0,
    };
    gradients + again
}

/// What a rank has for blocks, without claims; each of its chunks keeps so many bytes of a micro-batch
/// at least.
fn room(
    priced: &Priced<'_>,
    configuration: &Configuration,
    in_flight: &InFlight,
    (limit, rank, least): (f64, u32, f64),
) -> Rank {
    // Whatever the sizes of its chunks, at the fullest moment each holds so many.
    let moments = in_flight.get(rank as usize).map(Vec::as_slice).unwrap_or_default();
    let n_chunks = configuration.degrees.virtual_stages.max(1) as usize;
    let chunks = |moment: &Vec<u32>| {
        let counts = moment.get(..n_chunks).unwrap_or_default();
        let fewest = counts.iter().copied().min().unwrap_or(0);
        (fewest, counts.iter().map(|n| n - fewest).sum::<u32>())
    };
    let (in_flight, more) = moments.iter().map(chunks).max().unwrap_or_default();
    let mut room = limit - priced.rank_bytes - f64::from(more) * least;
    if rank == 0 {
        room -= priced.on_device.ends[0];
    }
    if rank == RankEnds::rank_of_head(configuration) {
        room -= priced.logit_bytes;
        if priced.has_own_head() {
            room -= priced.on_device.ends[1];
        }
    }
    Rank { room, in_flight: f64::from(in_flight), again_s: 0.0, claims: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::super::claims::Wait;
    use super::*;

    fn least(block_s: f64, away_s: f64, head_s: f64) -> f64 {
        let rank = |fixed_s| Rank {
            room: 1e9,
            in_flight: 1.0,
            again_s: 0.0,
            claims: vec![Claim { block_s, recompute_s: 1.0, fixed_s, wait: Wait::First }],
        };
        let relaxed = Relaxed {
            bytes: Bytes { states: 1.0, all: 1.0, least: 1.0, freed: 0.0 },
            ranks: vec![rank(0.0), rank(head_s)],
            way: Way { least: [away_s, 0.0], ..Way::default() },
            n_blocks: 8.0,
            fewest: 0.0,
            others_s: 0.0,
        };
        relaxed.least_time()
    }

    #[test]
    fn times_without_an_end_claim_nothing_and_return() {
        // Four micro-batches of eight blocks of a second on two ranks.
        assert!((least(4.0, 0.0, 0.0) / 16.0 - 1.0).abs() < 1e-5);
        for endless in [f64::INFINITY, f64::NAN, 1e308] {
            assert_eq!(least(endless, 0.0, 0.0), 0.0);
            assert_eq!(least(1.0, 0.0, endless), 0.0);
        }
        assert_eq!(least(1.0, f64::INFINITY, 0.0), 0.0);
    }
}
