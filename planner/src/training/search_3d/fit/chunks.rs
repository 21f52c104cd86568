//! Ranks that hold several stages.

use std::cell::RefCell;
use std::ops::Range;

use cost_model::runs::forms::run::equal_blocks;
use cost_model::runs::oracle::StageFigures;
use ir::card::Recompute;
use ir::stack::AttentionKernel;
use rustc_hash::FxHashMap;

use super::super::space::{RecomputeRule, Split};
use super::{Fitted, Fitter, HALVINGS, contiguous};

impl Fitter<'_, '_> {
    /// Stages of ranks that hold several: shared out by time alone, then as little computed again
    /// as the rank's memory allows, as evenly as possible over its chunks.
    pub(super) fn fit_chunks(&self) -> Option<Fitted> {
        self.cut_chunks(match self.configuration.split {
            Split::Equal => contiguous(&equal_blocks(self.priced.n_blocks(), self.n_stages())),
            Split::Balanced => self.balanced_chunks(),
        })
    }

    /// Given chunks with as little computed again as each rank's memory allows.
    pub(super) fn cut_chunks(&self, blocks: Vec<Range<u32>>) -> Option<Fitted> {
        let n_stages = self.n_stages();
        let mut recompute = vec![Recompute::None; n_stages as usize];
        for rank in 0..self.n_ranks() {
            let stages: Vec<u32> = (0..n_stages)
                .filter(|s| self.configuration.order.rank_of(self.n_ranks(), *s) == rank)
                .collect();
            self.fit_rank(rank, &stages, &blocks, &mut recompute)?;
        }
        let figures = (0..n_stages).map(|stage| {
            let index = stage as usize;
            self.priced.figures(&blocks[index], recompute[index], self.place(stage))
        });
        let figures = figures.collect();
        Some(Fitted { blocks, recompute, figures })
    }

    fn fit_rank(
        &self,
        rank: u32,
        stages: &[u32],
        blocks: &[Range<u32>],
        recompute: &mut [Recompute],
    ) -> Option<()> {
        let length = |stage: u32| blocks[stage as usize].end - blocks[stage as usize].start;
        let fits = |policy: &dyn Fn(u32) -> Recompute| {
            self.seconds_again(rank, stages, &|stage| {
                (blocks[stage as usize].clone(), policy(stage))
            })
        };
        let full = |stage: u32, n: u32| match n {
            0 => Recompute::None,
            n if n >= length(stage) => Recompute::Full,
            n => Recompute::Block { blocks: n },
        };
        let policy: Box<dyn Fn(u32) -> Recompute> = match self.configuration.recompute {
            RecomputeRule::None => Box::new(|_| Recompute::None),
            RecomputeRule::Selective => Box::new(|_| Recompute::Selective),
            RecomputeRule::PerOp => Box::new(|_| Recompute::PerOp),
            RecomputeRule::Full => Box::new(|_| Recompute::Full),
            RecomputeRule::Alike => Box::new(|_| self.alike()),
            RecomputeRule::Fitted if fits(&|_| Recompute::None).is_some() => {
                Box::new(|_| Recompute::None)
            }
            RecomputeRule::Fitted if !self.configuration.order.is_whole() => return None,
            RecomputeRule::Fitted => {
                let most = stages.iter().map(|stage| length(*stage)).max().unwrap_or(0);
                let n = (1..=most).find_map(|n| Some((n, fits(&|stage| full(stage, n))?)));
                let core = match self.priced.pricing.stack.attention {
                    AttentionKernel::Unfused => fits(&|_| Recompute::Selective),
                    AttentionKernel::Flash => None,
                };
                match (n, core) {
                    (Some((_, blocks)), Some(core)) if core <= blocks => {
                        Box::new(|_| Recompute::Selective)
                    }
                    (None, Some(_)) => Box::new(|_| Recompute::Selective),
                    (Some((n, _)), _) => Box::new(move |stage| full(stage, n)),
                    (None, None) => return None,
                }
            }
        };
        fits(&policy)?;
        stages.iter().for_each(|stage| recompute[*stage as usize] = policy(*stage));
        Some(())
    }

    /// Seconds of computing again on a rank, if its stages fit.
    fn seconds_again(
        &self,
        rank: u32,
        stages: &[u32],
        stage: &dyn Fn(u32) -> (Range<u32>, Recompute),
    ) -> Option<f64> {
        let of = |index: &u32| {
            let (blocks, policy) = stage(*index);
            self.priced.figures(&blocks, policy, self.place(*index))
        };
        let figures: Vec<StageFigures> = stages.iter().map(of).collect();
        let fixed: f64 = figures.iter().map(|each| each.persistent()).sum();
        let temporary = figures.iter().map(|each| self.temporary(each)).fold(0.0, f64::max);
        let activations = self.kept(rank, &figures);
        let recompute_s: f64 = figures.iter().map(|each| each.recompute_s).sum();
        (fixed + activations + temporary <= self.room).then_some(recompute_s)
    }

    /// Contiguous chunks whose slowest is as fast as can be, whatever they keep.
    fn balanced_chunks(&self) -> Vec<Range<u32>> {
        let n_stages = self.n_stages();
        let n_blocks = self.priced.n_blocks();
        let known: RefCell<FxHashMap<_, f64>> = RefCell::default();
        let seconds = |stage: u32, blocks: &Range<u32>| {
            let place = self.place(stage);
            let start = if self.priced.is_uniform() { 0 } else { blocks.start };
            let key = (place.first, place.last, start, blocks.end - blocks.start);
            let of = || self.seconds(&self.priced.figures(blocks, Recompute::None, place));
            *known.borrow_mut().entry(key).or_insert_with(of)
        };
        let filled = |most_s: f64| {
            let mut start = 0;
            let mut chunks = Vec::with_capacity(n_stages as usize);
            for stage in 0..n_stages {
                let last = n_blocks - (n_stages - 1 - stage);
                let mut end = start + 1;
                if seconds(stage, &(start..end)) > most_s {
                    return None;
                }
                while end < last && seconds(stage, &(start..end + 1)) <= most_s {
                    end += 1;
                }
                chunks.push(start..end);
                start = end;
            }
            (start == n_blocks).then_some(chunks)
        };
        let equal = contiguous(&equal_blocks(n_blocks, n_stages));
        let slowest = |chunks: &[Range<u32>]| {
            (0..).zip(chunks).map(|(s, c)| seconds(s, c)).fold(0.0, f64::max)
        };
        let mut best = equal;
        let (mut low, mut high) = (0.0, slowest(&best));
        for _ in 0..HALVINGS {
            if high - low <= 1e-6 * high {
                break;
            }
            let middle = f64::midpoint(low, high);
            match filled(middle) {
                Some(chunks) => {
                    high = slowest(&chunks).min(middle);
                    best = chunks;
                }
                None => low = middle,
            }
        }
        best
    }
}
