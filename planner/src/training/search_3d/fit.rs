//! From a configuration to stages: which blocks each holds, and what it computes again.

mod chunks;
mod least;

use std::cell::RefCell;
use std::ops::Range;

use cost_model::runs::forms::model::priced::Priced;
use cost_model::runs::forms::run::equal_blocks;
use cost_model::runs::oracle::{Place, StageFigures};
use ir::card::Recompute;
use ir::stack::AttentionKernel;
use rustc_hash::FxHashMap;

use super::space::{Configuration, RecomputeRule, Split};
use crate::training::order::{InFlight, Order};

/// Halvings of the interval in which the slowest rank's time is looked for.
const HALVINGS: u32 = 40;

/// A configuration with its stages.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// Blocks of each stage.
    pub blocks: Vec<Range<u32>>,
    /// What each stage computes again.
    pub recompute: Vec<Recompute>,
    /// Figures of each stage.
    pub figures: Vec<StageFigures>,
}

/// What a stage computes again, and its figures.
type Policy = (Recompute, StageFigures);

/// What shares blocks out to the stages of one configuration.
pub struct Fitter<'s, 'a> {
    pub(super) priced: &'s Priced<'a>,
    configuration: &'s Configuration,
    in_flight: &'s InFlight,
    /// Bytes of a rank that its stages may take.
    room: f64,
    /// Blocks that each stage computes again where all are alike.
    n_recomputed: u32,
    /// What [`Self::cheapest`] found, by rank, first block and blocks.
    known: RefCell<FxHashMap<[u32; 3], Option<Policy>>>,
}

impl<'s, 'a> Fitter<'s, 'a> {
    /// For one configuration; `limit` in bytes of a device.
    #[must_use]
    pub fn new(
        priced: &'s Priced<'a>,
        configuration: &'s Configuration,
        in_flight: &'s InFlight,
        limit: f64,
    ) -> Self {
        let room = limit - priced.rank_bytes;
        let known = RefCell::default();
        Self { priced, configuration, in_flight, room, n_recomputed: 0, known }
    }

    /// Stages within the memory of every rank; `None` where there are none of this kind.
    #[must_use]
    pub fn fit(&self) -> Option<Fitted> {
        match self.configuration.recompute {
            RecomputeRule::Alike => self.fit_alike(),
            _ => self.fit_stages(),
        }
    }

    /// Stages that all compute as many blocks again: more blocks need less memory.
    fn fit_alike(&self) -> Option<Fitted> {
        let with = |n_recomputed| self.recomputing(n_recomputed).fit_stages();
        if let Some(none) = with(0) {
            return Some(none);
        }
        let (mut low, mut high) = (0, self.priced.n_blocks());
        let mut best = with(high)?;
        while high - low > 1 {
            let middle = low.midpoint(high);
            match with(middle) {
                Some(fitted) => (best, high) = (fitted, middle),
                None => low = middle,
            }
        }
        Some(best)
    }

    /// The same where each stage computes so many blocks again.
    pub(super) fn recomputing(&self, n_recomputed: u32) -> Self {
        Fitter { n_recomputed, known: RefCell::default(), ..*self }
    }

    fn fit_stages(&self) -> Option<Fitted> {
        match self.configuration.degrees.virtual_stages {
            0 | 1 => self.fit_single(),
            _ => self.fit_chunks(),
        }
    }

    /// Whether there are stages within the memory of every rank.
    #[must_use]
    pub fn fits(&self) -> bool {
        match (self.configuration.degrees.virtual_stages, self.configuration.split) {
            _ if self.configuration.recompute == RecomputeRule::Alike => self.fit().is_some(),
            (0 | 1, Split::Balanced) => self.filled(f64::INFINITY).is_some(),
            _ => self.fit().is_some(),
        }
    }

    fn n_ranks(&self) -> u32 {
        self.configuration.degrees.pipeline.max(1)
    }

    fn n_stages(&self) -> u32 {
        self.n_ranks() * self.configuration.degrees.virtual_stages.max(1)
    }

    fn place(&self, stage: u32) -> Place {
        Place::of(stage as usize, self.n_stages() as usize)
    }

    /// Seconds of a stage's passes on one micro-batch.
    fn seconds(&self, figures: &StageFigures) -> f64 {
        figures.seconds() + if self.configuration.order.is_whole() { 0.0 } else { figures.split_s }
    }

    /// Bytes of a rank that holds one stage.
    fn bytes(&self, rank: u32, figures: &StageFigures) -> f64 {
        let activations = self.kept(rank, std::slice::from_ref(figures));
        figures.persistent() + activations + self.temporary(figures)
    }

    /// The most bytes that a rank keeps of micro-batches.
    fn kept(&self, rank: u32, stages: &[StageFigures]) -> f64 {
        let of = |moment: &Vec<u32>| -> f64 {
            let (whole, between) = moment.split_at(stages.len().min(moment.len()));
            let stash = whole.iter().zip(stages).map(|(n, stage)| f64::from(*n) * stage.stash());
            let made = between
                .iter()
                .zip(stages)
                .map(|(n, stage)| f64::from(*n) * (stage.split_bytes - stage.freed_by_input));
            stash.sum::<f64>() + made.sum::<f64>()
        };
        self.in_flight[rank as usize].iter().map(of).fold(0.0, f64::max)
    }

    /// What every stage computes again where all do alike.
    fn alike(&self) -> Recompute {
        match self.n_recomputed {
            0 => Recompute::None,
            blocks => Recompute::Block { blocks },
        }
    }

    fn temporary(&self, figures: &StageFigures) -> f64 {
        let recomputed = match self.configuration.order.recomputes_early() {
            true => figures.recompute_all,
            false => figures.recompute,
        };
        figures.temporary + recomputed
    }

    /// The cheapest policy that fits, with figures.
    fn cheapest(&self, rank: u32, blocks: &Range<u32>) -> Option<Policy> {
        let start = if self.priced.is_uniform() { 0 } else { blocks.start };
        let key = [rank, start, blocks.end - blocks.start];
        if let Some(known) = self.known.borrow().get(&key) {
            return *known;
        }
        let found = self.cheapest_of(rank, blocks);
        self.known.borrow_mut().insert(key, found);
        found
    }

    fn cheapest_of(&self, rank: u32, blocks: &Range<u32>) -> Option<Policy> {
        let place = self.place(rank);
        let with = |recompute| self.priced.figures(blocks, recompute, place);
        let fitting = |recompute| {
            let figures = with(recompute);
            (self.bytes(rank, &figures) <= self.room).then_some((recompute, figures))
        };
        let n = blocks.end - blocks.start;
        match self.configuration.recompute {
            RecomputeRule::None => fitting(Recompute::None),
            RecomputeRule::Selective => fitting(Recompute::Selective),
            RecomputeRule::PerOp => fitting(Recompute::PerOp),
            RecomputeRule::Full => fitting(Recompute::Full),
            RecomputeRule::Alike => fitting(self.alike()),
            RecomputeRule::Fitted => {
                if let Some(none) = fitting(Recompute::None) {
                    return Some(none);
                }
                if !self.configuration.order.is_whole() {
                    return None;
                }
                let all = fitting(Recompute::Full)?;
                // Fewest blocks; from one on, each further one needs less.
                let (mut low, mut high) = (0, n);
                while high - low > 1 {
                    let middle = low.midpoint(high);
                    match fitting(Recompute::Block { blocks: middle }) {
                        Some(_) => high = middle,
                        None => low = middle,
                    }
                }
                let block = Recompute::Block { blocks: high };
                let fewest = if high == n { Some(all) } else { fitting(block) };
                let core = match self.priced.pricing.stack.attention {
                    AttentionKernel::Unfused => fitting(Recompute::Selective),
                    AttentionKernel::Flash => None,
                };
                let faster = |a: &(Recompute, StageFigures), b: &(Recompute, StageFigures)| {
                    a.1.recompute_s.total_cmp(&b.1.recompute_s)
                };
                fewest.into_iter().chain(core).min_by(faster)
            }
        }
    }

    /// Given stages with as little computed again as fits; `None` where nothing does.
    pub(super) fn cut(&self, blocks: Vec<Range<u32>>) -> Option<Fitted> {
        match self.configuration.recompute {
            // How much all stages compute again is decided for all together.
            RecomputeRule::Alike => None,
            _ => self.cut_stages(blocks),
        }
    }

    /// The same where that is decided.
    pub(super) fn cut_stages(&self, blocks: Vec<Range<u32>>) -> Option<Fitted> {
        match self.configuration.degrees.virtual_stages {
            0 | 1 => self.cut_single(blocks),
            _ => self.cut_chunks(blocks),
        }
    }

    fn fit_single(&self) -> Option<Fitted> {
        self.cut_single(match self.configuration.split {
            Split::Equal => contiguous(&equal_blocks(self.priced.n_blocks(), self.n_ranks())),
            Split::Balanced => self.balanced()?,
        })
    }

    fn cut_single(&self, blocks: Vec<Range<u32>>) -> Option<Fitted> {
        let chosen = (0..self.n_ranks()).zip(&blocks);
        let chosen: Option<Vec<_>> =
            chosen.map(|(rank, blocks)| self.cheapest(rank, blocks)).collect();
        let (recompute, figures) = chosen?.into_iter().unzip();
        Some(Fitted { blocks, recompute, figures })
    }

    /// Contiguous stages of which the one with the greatest [`Self::weight`] has as little as can
    /// be: the least weight for which taking as many blocks as possible, stage by stage, takes them
    /// all. A weight grows with a stage's blocks and sinks with those before it, but for what unlike
    /// blocks compute again.
    fn balanced(&self) -> Option<Vec<Range<u32>>> {
        let (mut best, mut high) = self.filled(f64::INFINITY)?;
        let all_s = self.all_s();
        let m = self.configuration.degrees.n_micro_batches as f64;
        let share_s = all_s / f64::from(self.n_ranks());
        let mut low = if self.is_flush() { share_s * m } else { share_s } * (1.0 - 1e-9);
        for _ in 0..HALVINGS {
            if high - low <= 1e-6 * high {
                break;
            }
            let middle = low.midpoint(high);
            match self.filled(middle) {
                Some((blocks, most)) => {
                    high = most.min(middle);
                    best = blocks;
                }
                None => low = middle,
            }
        }
        Some(best)
    }

    /// Whether the order is 1F1B, of which the whole step is known and not only its slowest stage.
    fn is_flush(&self) -> bool {
        matches!(self.configuration.order, Order::OneFOneB | Order::EarlyRecompute)
    }

    /// Forward and backward passes of the whole model on one micro-batch, in seconds.
    fn all_s(&self) -> f64 {
        self.work_s(&(0..self.priced.n_blocks())) + self.priced.passes.head_s
    }

    /// Forward and backward passes of some blocks on one micro-batch, in seconds.
    fn work_s(&self, blocks: &Range<u32>) -> f64 {
        let all = self.priced.sum(blocks);
        all.forward_s + all.backward_s
    }

    /// What a stage that ends at a block makes of the step: its own seconds, and under 1F1B seconds
    /// that no step with it falls below. With F, B the stage's passes, `before` and `behind` those
    /// of the other stages, w the forward passes before the first gradient, a step takes at least
    /// 1. `before + m (F + B)`: its first forward pass waits for all earlier ones, and its last
    ///    backward pass goes back through them;
    /// 2. `all + (m - 1) B + (m - w) F`: the first gradient comes after a trip to the end and back;
    /// 3. `all + (m - w) (F + B) + behind`: so it does, and after the last forward pass there is
    ///    one more trip;
    /// 4. `before + m F + (m - w + 1) B + behind`: that last trip alone.
    fn weight(&self, rank: u32, before_s: f64, end: u32, figures: &StageFigures) -> f64 {
        if !self.is_flush() {
            return self.seconds(figures);
        }
        let n_ranks = self.n_ranks();
        let m = self.configuration.degrees.n_micro_batches as f64;
        let left = (m - f64::from(n_ranks - rank)).max(0.0);
        let (forward, backward) = (figures.forward_s, figures.backward_s + figures.recompute_s);
        let both = forward + backward;
        let all = self.all_s();
        let is_last = rank + 1 == n_ranks;
        let behind = if is_last { 0.0 } else { (all - self.work_s(&(0..end))).max(0.0) };
        let third = if left > 0.0 { all + left * both + behind } else { 0.0 };
        (before_s + m * both)
            .max(all + (m - 1.0) * backward + left * forward)
            .max(third)
            .max(before_s + m * forward + (left + 1.0) * backward + behind)
    }

    /// Stages of at most such a weight, each as long as it can be, and the greatest weight.
    fn filled(&self, most: f64) -> Option<(Vec<Range<u32>>, f64)> {
        let n_blocks = self.priced.n_blocks();
        let n_ranks = self.n_ranks();
        let (mut start, mut before_s, mut greatest) = (0, 0.0, 0.0f64);
        let mut stages = Vec::with_capacity(n_ranks as usize);
        for rank in 0..n_ranks {
            // Every later stage needs a block.
            let last = n_blocks.checked_sub(n_ranks - 1 - rank)?;
            let weighed = |end: u32| {
                let (_, figures) = self.cheapest(rank, &(start..end))?;
                Some((self.weight(rank, before_s, end, &figures), figures.seconds()))
            };
            let takes = |end: u32| weighed(end).is_some_and(|(weight, _)| weight <= most);
            if start >= last || !takes(start + 1) {
                return None;
            }
            let (mut low, mut high) = (start + 1, last + 1);
            while high - low > 1 {
                let middle = low.midpoint(high);
                if takes(middle) { low = middle } else { high = middle }
            }
            let (weight, own_s) = weighed(low)?;
            greatest = greatest.max(weight);
            before_s += own_s;
            stages.push(start..low);
            start = low;
        }
        (start == n_blocks).then_some((stages, greatest))
    }
}

/// Stages of so many blocks, one after the other.
pub(super) fn contiguous(sizes: &[u32]) -> Vec<Range<u32>> {
    let mut start = 0;
    let of = |n: &u32| {
        let range = start..start + n;
        start += n;
        range
    };
    sizes.iter().map(of).collect()
}
