//! What takes a rank's time in a step, as sums over its blocks, and how long it waits for others.
//!
//! A pass beside which parameters are gathered or gradients scattered takes the longer of both and a
//! share of the shorter one: at least either with that share of the other. What replicas exchange
//! behind the passes is hidden beside the last backward pass at most.

use cost_model::runs::forms::model::kind::Kind;
use cost_model::runs::forms::model::priced::Priced;
use cost_model::runs::oracle::{Place, Seat};
use ir::card::ZeroStage;

use super::space::Configuration;
use crate::training::order::Order;

/// Seconds of a step that a rank needs, less than which it never takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Claim {
    /// For each of its blocks.
    pub(super) block_s: f64,
    /// For each second of computing a micro-batch again.
    pub(super) recompute_s: f64,
    /// Besides.
    pub(super) fixed_s: f64,
    /// What else of the step passes.
    pub(super) wait: Wait,
}

/// What of a step passes before and after what a rank claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Wait {
    /// The way of the first micro-batch to the rank.
    #[default]
    First,
    /// That, the way of the last gradient to the first rank, and what comes behind it.
    Both,
    /// The end of the step on the first rank alone.
    End,
}

/// Blocks of the counted kind.
pub(super) struct Blocks<'k> {
    pub(super) kind: &'k Kind,
    /// Whether the model has no others.
    pub(super) is_only: bool,
    /// Seconds in which each is computed again, whatever the memory.
    again_s: f64,
    /// Forward and backward passes of a micro-batch through blocks of all kinds.
    all_s: f64,
    /// Forward and backward pass of a stage at least, up to the gradient that it sends.
    least: [f64; 2],
    ending: Ending,
}

impl<'k> Blocks<'k> {
    /// Of so many blocks, each of which is computed again for so long.
    pub(super) fn of(
        priced: &Priced<'_>,
        kind: &'k Kind,
        (n, is_only): (u32, bool),
        (again_s, all_s, least): (f64, f64, [f64; 2]),
    ) -> Self {
        let all_s = all_s + f64::from(n) * again_s;
        Self { kind, is_only, again_s, all_s, least, ending: Ending::of(priced, kind, n) }
    }
}

/// Seconds of a block, of a second of computing again, and of the head.
type Share = [f64; 3];

/// A pass of which a share is as long as what runs beside it, either being the longer one.
fn beside(slowed: f64, pass: Share, collective_s: f64) -> Vec<Share> {
    let [block_s, recompute, head_s] = pass;
    let mut shares = vec![[block_s + slowed * collective_s, recompute, head_s]];
    if collective_s > 0.0 {
        let [block_s, recompute, head_s] = pass.map(|seconds| slowed * seconds);
        shares.push([collective_s + block_s, recompute, head_s]);
    }
    shares
}

/// What comes behind the passes of each block, and of the ends.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Ending {
    /// All that is exchanged.
    exchange_s: f64,
    /// Of it, what may run beside passes at most, were the links free.
    overlapped_s: f64,
    /// Of it, what runs beside passes where no others use the links: at least and at most.
    hidden_s: [f64; 2],
    optimizer_s: f64,
    /// All that embedding or head exchange, on top of blocks.
    end_exchange_s: f64,
    end_optimizer_s: f64,
}

impl Ending {
    fn of(priced: &Priced<'_>, kind: &Kind, n: u32) -> Self {
        let exchange_s = |n: u32, ends: f64| {
            let n = f64::from(n);
            priced.last_exchange_s(n * kind.dense + ends, n * kind.experts)
        };
        // The fewest seconds for each block, however many are exchanged at once.
        let each_s = |blocks: u32| exchange_s(blocks, 0.0) / f64::from(blocks);
        let each_s = (1..=n.max(1)).map(each_s).fold(f64::INFINITY, f64::min);
        let ends = priced.passes.end_parameters;
        let on_top_s = |blocks: u32| exchange_s(blocks, ends) - f64::from(blocks) * each_s;
        let end_exchange_s = (0..=n).map(on_top_s).fold(f64::INFINITY, f64::min);
        let overlapped_s = priced.pricing.stack.overlap_data * each_s;
        let taken_s = kind.backward_links_s[usize::from(priced.exchanges_leave_host())];
        let free_s = (kind.backward_s - taken_s).max(0.0);
        let hidden_s = match priced.degrees.zero {
            // What is scattered beside the pass takes links too, and makes it longer.
            ZeroStage::Gradients | ZeroStage::Parameters => [0.0, overlapped_s],
            ZeroStage::None | ZeroStage::Optimizer if taken_s > 0.0 => {
                [overlapped_s.min(free_s); 2]
            }
            ZeroStage::None | ZeroStage::Optimizer => [overlapped_s; 2],
        };
        Self {
            exchange_s: each_s,
            overlapped_s,
            hidden_s,
            optimizer_s: priced.optimizer_s(kind.dense, kind.experts),
            end_exchange_s: end_exchange_s.max(0.0),
            end_optimizer_s: priced.optimizer_s(ends, 0.0),
        }
    }
}

/// What one rank has besides blocks, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct RankEnds {
    /// Of the head, for a micro-batch.
    head_s: f64,
    /// Of the host, for the messages of a micro-batch.
    messages_s: f64,
    /// What is exchanged of embedding and head.
    exchange_s: f64,
    /// Once a step, with nothing beside it.
    step_s: f64,
}

impl RankEnds {
    /// The rank of the last stage.
    pub(super) fn rank_of_head(configuration: &Configuration) -> u32 {
        let degrees = &configuration.degrees;
        let n_ranks = degrees.pipeline.max(1);
        configuration.order.rank_of(n_ranks, n_ranks * degrees.virtual_stages.max(1) - 1)
    }

    pub(super) fn of(
        priced: &Priced<'_>,
        configuration: &Configuration,
        blocks: &Blocks<'_>,
        rank: u32,
    ) -> Self {
        let degrees = &configuration.degrees;
        let n_chunks = degrees.virtual_stages.max(1);
        let n_stages = (degrees.pipeline.max(1) * n_chunks) as usize;
        let is_head = rank == Self::rank_of_head(configuration);
        let place = Place { first: rank == 0, last: is_head };
        let n_ends = match priced.passes.end_parameters {
            one if one > 0.0 => priced.end_parameters(place) / one,
            _ => 0.0,
        };
        let tie_s = if place.first || place.last { priced.tie_s(0, n_stages) } else { 0.0 };
        let seat = Seat { stage: 0, n_stages, rank: 0, next: 0 };
        let messages_s = f64::from(n_chunks) * priced.messages_s();
        let ending = &blocks.ending;
        Self {
            head_s: if is_head { priced.passes.head_s } else { 0.0 },
            messages_s,
            // Of both ends on one rank, what one of them adds.
            exchange_s: ending.end_exchange_s * n_ends.min(1.0),
            step_s: priced.host_step_s(seat) + tie_s + n_ends * ending.end_optimizer_s,
        }
    }
}

/// What a rank needs: its passes and its end of the step; its passes up to the last gradient that it
/// sends; its passes up to the last backward one, beside which the exchange begins, and all of that.
pub(super) fn claims(
    priced: &Priced<'_>,
    configuration: &Configuration,
    blocks: &Blocks<'_>,
    ends: RankEnds,
) -> Vec<Claim> {
    let (degrees, kind, order) = (&configuration.degrees, blocks.kind, configuration.order);
    let m = degrees.n_micro_batches as f64;
    let gather_s = priced.gather_s(kind.dense, kind.experts, 1.0);
    let scatter_s = priced.scatter_s(kind.dense, kind.experts, 1.0);
    let third = ends.head_s / 3.0;
    let forward = beside(priced.slowed(), [kind.forward_s, 0.0, third], gather_s);
    let backward = [kind.backward_s + blocks.again_s, 1.0, 2.0 * third];
    let backward = beside(priced.slowed(), backward, gather_s + scatter_s);
    let sum = |[f, b]: [f64; 2], (there, back): (&Share, &Share)| Claim {
        block_s: f * there[0] + b * back[0],
        recompute_s: f * there[1] + b * back[1],
        fixed_s: f * (there[2] + ends.messages_s / 2.0) + b * (back[2] + ends.messages_s / 2.0),
        wait: Wait::First,
    };
    let ending = &blocks.ending;
    // Head, messages and blocks of other kinds make the backward pass longer that hides exchanges.
    let is_plain = blocks.is_only && ends.head_s <= 0.0 && ends.messages_s <= 0.0;
    let hidden_s = if is_plain { ending.hidden_s[1] } else { ending.overlapped_s };
    let exposed = 1.0 - priced.pricing.stack.overlap_data;
    let pairs = || forward.iter().flat_map(|there| backward.iter().map(move |back| (there, back)));
    let mut claims: Vec<Claim> = Vec::new();
    for pair in pairs() {
        let all = sum([m, m], pair);
        claims.push(Claim {
            block_s: all.block_s + ending.exchange_s - hidden_s + ending.optimizer_s,
            fixed_s: all.fixed_s + exposed * ends.exchange_s + ends.step_s,
            ..all
        });
        let late = if order.is_whole() { [0.0; 2] } else { [kind.weight_s, third] };
        claims.push(Claim {
            block_s: all.block_s - m * late[0],
            fixed_s: all.fixed_s - m * late[1],
            wait: Wait::Both,
            ..all
        });
        claims.extend(there_and_back(priced, configuration, blocks, (ends, sum([1.0; 2], pair))));
        let n_ranks = degrees.pipeline.max(1);
        let before = order.backwards_before_last(n_ranks, degrees.virtual_stages, m);
        let Some(before) = before else { continue };
        let open = sum([m, before], pair);
        claims.push(Claim {
            block_s: open.block_s + ending.exchange_s + ending.optimizer_s,
            fixed_s: open.fixed_s + ends.exchange_s + ends.step_s,
            ..open
        });
    }
    claims
}

/// What the last of interleaved ranks needs beside the way of the first micro-batch through all
/// stages and that of the last one back: between them lie all passes but those of `p` micro-batches
/// of each chunk, and of one of the last chunk.
fn there_and_back(
    priced: &Priced<'_>,
    configuration: &Configuration,
    blocks: &Blocks<'_>,
    (ends, pass): (RankEnds, Claim),
) -> Option<Claim> {
    let degrees = &configuration.degrees;
    if configuration.order != Order::Interleaved || ends.head_s <= 0.0 {
        return None;
    }
    let [m, p, v] = [
        degrees.n_micro_batches as f64,
        f64::from(degrees.pipeline),
        f64::from(degrees.virtual_stages),
    ];
    let stage_s = blocks.least[0] + blocks.least[1] + ends.head_s;
    let way_s = blocks.all_s + ends.head_s + 2.0 * (p * v - 1.0) * round_hop_s(priced);
    Some(Claim {
        block_s: (m - p) * pass.block_s,
        recompute_s: (m - p) * pass.recompute_s,
        fixed_s: (m - p) * pass.fixed_s + way_s + (p - 1.0) * stage_s,
        wait: Wait::End,
    })
}

/// What passes before a rank begins and after it has sent its last gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Way {
    /// Seconds of a stage's forward pass, and of its backward pass up to the gradient that it sends,
    /// at least, each with its message.
    pub(super) least: [f64; 2],
    /// The same for each block that the rank holds; 0 where its stages may hold fewer.
    pub(super) block: [f64; 2],
    /// Seconds of a message, on the link and of the host.
    pub(super) hop_s: f64,
    /// Seconds at the end of the step that nothing hides, for each block of a rank.
    pub(super) end_s: f64,
    /// Seconds by which the exchange of a block is longer than the backward pass that hides it.
    pub(super) late_s: f64,
    /// Seconds of each rank at the end of a step, and of the first one besides.
    pub(super) step_s: [f64; 2],
    /// Chunks of interleaved ranks, and seconds of a block's two passes, with what is computed again
    /// whatever the memory, and of a message, one of those from the last rank to the first included.
    pub(super) chunks: Option<[f64; 3]>,
}

impl Way {
    /// Of some blocks.
    pub(super) fn of(
        priced: &Priced<'_>,
        configuration: &Configuration,
        blocks: &Blocks<'_>,
    ) -> Self {
        let (kind, ending) = (blocks.kind, &blocks.ending);
        let is_single = blocks.is_only && configuration.degrees.virtual_stages <= 1;
        let chunks = f64::from(configuration.degrees.virtual_stages);
        let both_s = kind.forward_s + kind.backward_s + blocks.again_s;
        let is_interleaved = configuration.order == Order::Interleaved;
        let way = Self {
            least: blocks.least,
            chunks: is_interleaved.then(|| [chunks, both_s, round_hop_s(priced)]),
            block: if is_single { sent(configuration.order, kind) } else { [0.0; 2] },
            hop_s: if configuration.degrees.pipeline > 1 { hop_s(priced) } else { 0.0 }
                + priced.messages_s() / 2.0,
            ..Self::default()
        };
        if !blocks.is_only {
            return way;
        }
        let first = RankEnds::of(priced, configuration, blocks, 0);
        let exposed = 1.0 - priced.pricing.stack.overlap_data;
        let host_s = priced.host_step_s(Seat { stage: 0, n_stages: 1, rank: 0, next: 0 });
        Self {
            end_s: ending.exchange_s - ending.hidden_s[1] + ending.optimizer_s,
            late_s: (ending.hidden_s[0] - kind.backward_s).max(0.0),
            step_s: [host_s, first.step_s - host_s + exposed * first.exchange_s],
            ..way
        }
    }

    /// Seconds of a rank at the end of the step that holds so many blocks.
    fn tail_s(&self, n: f64, is_first: bool) -> f64 {
        let first_s = if is_first { self.step_s[1] } else { 0.0 };
        n * self.end_s + self.late_s + self.step_s[0] + first_s
    }

    /// By rank, seconds of each [`Wait`], where ranks hold so many blocks at least.
    pub(super) fn waits(&self, blocks: &[f64]) -> Vec<[f64; 3]> {
        let (mut there, mut back) = (0.0, 0.0);
        // What any rank on the way back does at the end of the step, less what comes after it there.
        let mut longest = 0.0_f64;
        let pass = |n: f64, at: usize| self.hop_s + self.least[at].max(n * self.block[at]);
        let end_s = blocks.first().map_or(0.0, |n| self.tail_s(*n, true));
        let each = blocks.iter().enumerate().map(|(rank, n)| {
            let waits = [there, there + back + longest, end_s];
            longest = longest.max(self.tail_s(*n, rank == 0) - back);
            there += pass(*n, 0);
            back += pass(*n, 1);
            waits
        });
        each.collect()
    }

    /// Seconds that interleaved ranks lose together, before the first pass of a chunk, after the last
    /// one of a chunk, and at the end of the step on the first rank, which holds so many of the `n`
    /// blocks at least. Of chunk `c` of rank `r` the first pass comes after all stages before it, while
    /// only `p` passes of each of the rank's earlier chunks are done; the mean over all chunks of the
    /// sum over all ranks is `sum of (p - 1 - q) n_q / v` for `n_q` blocks on rank `q`, which is least
    /// where the last ranks hold as many as they can.
    pub(super) fn lost_s(&self, n: f64, most: &[f64], first: f64) -> f64 {
        let Some([chunks, both_s, hop_s]) = self.chunks else { return 0.0 };
        let p = most.len() as f64;
        let (mut left, mut blocks) = (n, 0.0);
        for (behind, most) in most.iter().rev().enumerate() {
            let taken = most.min(left);
            left -= taken;
            blocks += behind as f64 * taken;
        }
        let hops = p * (chunks * p - 1.0);
        blocks / chunks * both_s + hops * hop_s + p * self.tail_s(first, true)
    }

    /// Seconds that none of so many ranks is away beyond, whatever it holds of so many blocks.
    pub(super) fn longest_s(&self, n_ranks: f64, n_blocks: f64) -> f64 {
        let passes = |at: usize| n_ranks * self.least[at] + n_blocks * self.block[at];
        let ends_s = n_blocks * self.end_s + self.late_s + self.step_s[0] + self.step_s[1];
        let hops_s = self.chunks.map_or(self.hop_s, |[chunks, _, hop_s]| chunks * hop_s);
        2.0 * n_ranks * hops_s + passes(0) + passes(1) + ends_s
    }
}

/// Seconds of a block's forward pass, and of its backward pass up to the gradient that it sends.
pub(super) fn sent(order: Order, kind: &Kind) -> [f64; 2] {
    // Gradients of weights may come after the last one is sent on.
    let put_off = if order.is_whole() { 0.0 } else { kind.weight_s };
    [kind.forward_s, (kind.backward_s - put_off).max(0.0)]
}

/// Seconds in which the smallest message reaches the next rank.
fn hop_s(priced: &Priced<'_>) -> f64 {
    hops(priced, 1..priced.degrees.pipeline).fold(f64::INFINITY, f64::min)
}

/// The same where the last rank sends to the first one too.
fn round_hop_s(priced: &Priced<'_>) -> f64 {
    hops(priced, 1..priced.degrees.pipeline + 1).fold(f64::INFINITY, f64::min)
}

/// Seconds of the smallest message to such ranks, each from the one before it.
fn hops(priced: &Priced<'_>, to: std::ops::Range<u32>) -> impl Iterator<Item = f64> {
    let smallest = priced.messages.iter().copied().fold(f64::INFINITY, f64::min);
    let bytes = if smallest.is_finite() { smallest } else { 0.0 };
    to.map(move |rank| {
        let (bytes, link) = priced.way(rank - 1, rank % priced.degrees.pipeline, bytes);
        link.start_up_s + bytes / link.rate.get()
    })
}
